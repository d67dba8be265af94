"""Acquisition on a clock turned by hand: schedules, deadlines, failures, what is passed on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from pumpwatch import (
    BadReply,
    Batch,
    DeviceEvent,
    DeviceIdentity,
    Driver,
    EventKind,
    NotReachable,
    NozzleState,
    PluginSettings,
    Quality,
    Reading,
    Refused,
    Sample,
    ScanClass,
    Site,
    Tag,
    to_us,
)
from pumpwatch.acquisition import Acquisition, Device
from pumpwatch.hub import Hub
from pumpwatch.settings import AcquisitionSettings
from pumpwatch.testing import FakeClock, ScriptedLine

FAST = Tag("nozzle-1.volume", "L", ScanClass.FAST)
SLOW = Tag("identity.serial", "", ScanClass.SLOW)


class Puppet(Driver):
    """A driver whose next answer the test decides."""

    name = "puppet"

    def __init__(self, site: Site) -> None:
        super().__init__(PluginSettings(), site, ScriptedLine({}))
        self.reads: list[list[str]] = []
        self.connects = 0
        self.volume = 0.0
        self.error: Exception | None = None
        self.hang = False
        self.records: list[DeviceIdentity] = []

    def tags(self) -> Sequence[Tag]:
        return [FAST, SLOW]

    async def connect(self) -> None:
        self.connects += 1

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        self.reads.append([t.name for t in tags])
        if self.hang:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
        values = {FAST.name: self.volume, SLOW.name: "A-1"}
        return Reading([Sample(t.name, values[t.name], now) for t in tags], list(self.records))


class Bench:
    """One hub, one clock, some puppets, and everything that was published."""

    def __init__(self, count: int = 1, *, shared_line: bool = False) -> None:
        self.clock = FakeClock()
        self.hub = Hub()
        self.batches: list[Batch] = []
        self.hub.attach(self._keep)
        turn = asyncio.Lock()
        self.puppets = [Puppet(Site("S01", f"D{i + 1}", f"S01-D{i + 1}")) for i in range(count)]
        self.devices = [Device(p.site, p, turn if shared_line else asyncio.Lock()) for p in self.puppets]
        settings = AcquisitionSettings(fast_s=1, normal_s=10, slow_s=30, timeout_s=0.5, heartbeat_s=10)
        self.acquisition = Acquisition(self.devices, settings, self.hub, self.clock)

    async def _keep(self, batch: Batch) -> None:
        self.batches.append(batch)

    async def __aenter__(self) -> Bench:
        self._task = asyncio.create_task(self.acquisition.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task

    def links(self) -> list[bool]:
        return [r.detail["up"] for b in self.batches for r in b.records if isinstance(r, DeviceEvent)]


async def test_each_scan_class_keeps_its_own_period() -> None:
    async with Bench() as bench:
        await bench.clock.advance(61)
        reads = bench.puppets[0].reads
        assert reads[0] == [FAST.name, SLOW.name]
        assert 60 <= len(reads) <= 61
        assert sum(SLOW.name in r for r in reads) in {2, 3}


@pytest.mark.parametrize("seed", range(40))
async def test_a_timer_that_rings_a_hair_early_does_not_scan_twice(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumpwatch.acquisition.scanning.random", random.Random(seed))  # every sixth phase rounds so
    async with Bench() as bench:
        await bench.clock.advance(61)
        assert 60 <= len(bench.puppets[0].reads) <= 61
        assert bench.devices[0].overruns == 0


async def test_an_unchanged_value_is_passed_on_once_a_heartbeat() -> None:
    async with Bench() as bench:
        await bench.clock.advance(30)
        said = [b for b in bench.batches if f"S01/D1/{FAST.name}" in b.samples.paths]
        assert len(said) == 3
        bench.puppets[0].volume = 1.25
        await bench.clock.advance(1)
        assert bench.hub.latest[f"S01/D1/{FAST.name}"].value == 1.25


async def test_a_devices_clock_that_is_ahead_keeps_no_silent_device_fresh() -> None:
    async with Bench() as bench:
        puppet = bench.puppets[0]

        async def ahead(tags: Sequence[Tag], now: datetime) -> Reading:
            return Reading([Sample(FAST.name, 1.0, now + timedelta(days=900))], [])

        puppet.read = ahead  # type: ignore[method-assign]
        await bench.clock.advance(5)
        assert 0 < bench.devices[0].last_good_us <= to_us(bench.clock.now())


async def test_a_heartbeat_does_not_wait_for_another_scan_because_the_last_one_took_longer() -> None:
    async with Bench() as bench:
        puppet = bench.puppets[0]
        read = puppet.read

        async def slow_at_first(tags: Sequence[Tag], now: datetime) -> Reading:
            if not puppet.reads:
                await bench.clock.sleep(0.3)
            return await read(tags, now)

        puppet.read = slow_at_first  # type: ignore[method-assign]
        await bench.clock.advance(35)
        said = [b.arrived for b in bench.batches if f"S01/D1/{FAST.name}" in b.samples.paths]
        assert [round((b - a).total_seconds(), 3) for a, b in pairwise(said)][:2] == [9.7, 10.0]


@pytest.mark.parametrize(
    ("error", "quality"),
    [
        (NotReachable("gone"), Quality.NOT_CONNECTED),
        (BadReply("??"), Quality.BAD_REPLY),
        (Refused("no"), Quality.REFUSED),
        (ZeroDivisionError("a bug"), Quality.BAD),
    ],
)
async def test_a_failed_read_makes_every_tag_bad_within_one_scan(error: Exception, quality: Quality) -> None:
    async with Bench() as bench:
        await bench.clock.advance(3)
        bench.puppets[0].error = error
        await bench.clock.advance(1)
        assert {bench.hub.latest[f"S01/D1/{t.name}"].quality for t in (FAST, SLOW)} == {quality}
        assert bench.links() == [True, False]
        assert str(error) in bench.devices[0].reason


async def test_a_number_that_no_float_holds_is_a_bad_reply_and_the_device_goes_on() -> None:
    async with Bench() as bench:
        await bench.clock.advance(3)
        (puppet,) = bench.puppets
        puppet.volume = -(10**400)
        await bench.clock.advance(1)
        assert bench.hub.latest[f"S01/D1/{FAST.name}"].quality == Quality.BAD_REPLY
        puppet.volume = 4.0
        await bench.clock.advance(3)
        assert bench.links() == [True, False, True]


async def test_a_silent_device_meets_its_deadline() -> None:
    async with Bench() as bench:
        await bench.clock.advance(3)
        bench.puppets[0].hang = True
        await bench.clock.advance(2)
        assert bench.hub.latest[f"S01/D1/{FAST.name}"].quality is Quality.NOT_CONNECTED
        assert bench.devices[0].connected is False


async def test_a_failing_device_backs_off_and_comes_back_alone() -> None:
    async with Bench() as bench:
        await bench.clock.advance(3)
        bench.puppets[0].error = NotReachable("gone")
        await bench.clock.advance(120)
        during = len(bench.puppets[0].reads)
        assert during < 30, "once a second would be 120"
        bench.puppets[0].error = None
        await bench.clock.advance(31)
        assert bench.devices[0].connected
        assert bench.links() == [True, False, True]
        assert bench.hub.latest[f"S01/D1/{SLOW.name}"].quality is Quality.GOOD
        assert bench.puppets[0].connects > 1


async def test_a_hanging_device_on_another_line_delays_nobody() -> None:
    async with Bench(2) as bench:
        bench.puppets[0].hang = True
        await bench.clock.advance(20)
        assert len(bench.puppets[1].reads) >= 19
        assert max(bench.devices[1].delays) == 0


async def test_devices_on_one_line_take_turns() -> None:
    async with Bench(2, shared_line=True) as bench:
        bench.puppets[0].hang = True
        await bench.clock.advance(60)
        assert bench.devices[1].connected
        assert len(bench.puppets[1].reads) >= 40, "the silent neighbour backs off, so the line is free again"


async def test_an_unchanged_identity_is_passed_on_once() -> None:
    async with Bench() as bench:
        puppet = bench.puppets[0]
        for _ in range(5):
            puppet.records = [DeviceIdentity("S01", "S01-D1", bench.clock.now(), mainboard_serial="M1")]
            await bench.clock.advance(2)
        puppet.records = [DeviceIdentity("S01", "S01-D1", bench.clock.now(), mainboard_serial="M2")]
        await bench.clock.advance(2)
        seen = [r.mainboard_serial for b in bench.batches for r in b.records if isinstance(r, DeviceIdentity)]
        assert seen == ["M1", "M2"]


async def test_a_full_sink_slows_the_readers_down() -> None:
    bench = Bench()
    gate = asyncio.Event()

    async def full(_: Batch) -> None:
        await gate.wait()

    bench.hub.attach(full)
    async with bench:
        await bench.clock.advance(10)
        assert len(bench.puppets[0].reads) == 1
        gate.set()
        await bench.clock.advance(5)
        assert len(bench.puppets[0].reads) > 4


async def test_scan_delays_are_known() -> None:
    async with Bench() as bench:
        assert bench.acquisition.delay_ms(99) is None
        await bench.clock.advance(5)
        assert bench.acquisition.delay_ms(99) == 0
        assert bench.acquisition.delay_ms(99, "S99") is None


class Pump(Puppet):
    """A nozzle that shows what the test wants."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.state = NozzleState.IDLE
        self.flow = 0.0

    def tags(self) -> Sequence[Tag]:
        return [Tag(f"nozzle-1.{name}", "", ScanClass.FAST) for name in ("state", "volume", "flow")]

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        if self.hang:
            await asyncio.Event().wait()
        shown = {"state": int(self.state), "volume": self.volume, "flow": self.flow}
        return Reading([Sample(f"nozzle-1.{name}", value, now) for name, value in shown.items()])


@pytest.mark.parametrize(("left", "jump", "silent", "wrong"), [
    (0.0, 0.0, False, None), (0.0, 1.5, False, "jump"), (0.3, 0.0, False, "no_zero"), (0.3, 2.0, False, "no_zero jump"),
    (0.0, 1.5, True, None),
])  # fmt: skip
async def test_a_filling_whose_looks_do_not_fit_is_an_event(
    left: float, jump: float, silent: bool, wrong: str | None
) -> None:
    bench, pump = Bench(), Pump(Site("S01", "D1", "S01-D1", ("S01-N01",)))
    pump.volume = 21.37
    bench.devices = [Device(pump.site, pump, asyncio.Lock())]
    settings = AcquisitionSettings(fast_s=1, normal_s=10, slow_s=30, timeout_s=0.5, heartbeat_s=10)
    bench.acquisition = Acquisition(bench.devices, settings, bench.hub, bench.clock)
    async with bench:
        await bench.clock.advance(5)
        pump.state, pump.volume = NozzleState.LIFTED, left
        await bench.clock.advance(4)
        pump.state, pump.flow = NozzleState.FUELLING, 36.0
        for second in range(30):
            pump.volume = round(pump.volume + 0.6 + (jump if second == 15 else 0.0), 2)
            pump.hang = silent and 13 <= second <= 17
            await bench.clock.advance(1)
        pump.flow = 0.0
        await bench.clock.advance(2)
        pump.state = NozzleState.IDLE
        await bench.clock.advance(3)
    told = [r for b in bench.batches for r in b.records if isinstance(r, DeviceEvent) and r.kind is EventKind.ALARM]
    assert [e.detail["wrong"] for e in told] == ([] if wrong is None else [wrong])
    assert {(e.station_id, e.device_id) for e in told} <= {("S01", "S01-N01")}
    for event in told:
        assert event.detail["excess_l"] == pytest.approx(left + jump, abs=0.05)
