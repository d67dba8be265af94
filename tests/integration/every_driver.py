"""A driver reads a simulated station through the whole engine; for the tests ``test_every_driver_*``.

What the protocol carries is to be there in the end: states and live volumes as tags, fillings as the pumps have them
in the historian, totalizers, what the device says it is, and its alarms. Engine and simulator share a clock that is
turned by hand.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pumpwatch import DeviceEvent, DeviceIdentity, EventKind, NozzleState, Quality, Sample, Transaction
from pumpwatch.engine import Engine
from pumpwatch.line.wire import Wire
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings
from pumpwatch.testing import FakeClock
from pumpwatch_sim.fleet import Fleet, LineEntry, ScenarioEntry, Stations
from pumpwatch_sim.live import lines
from pumpwatch_sim.live.lines import BusLine, Line
from pumpwatch_sim.live.nozzle import NozzlePlayer
from pumpwatch_sim.live.sim import Sim, running
from pumpwatch_sim.live.views import DispenserView
from pumpwatch_sim.live.wires import Pty
from pumpwatch_sim.staging import stage
from pumpwatch_sim.wire import opcua

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
WATCHED_S = 145
WARM_S = 45
"""Fillings that end before that may be over when the driver first looks."""
LATE_S = 30
"""Fillings may be told so long after they ended."""
SETTLES_S = 30
"""So long a totalizer that was read once may wait for a reading that agrees."""
TURNS = 12
"""Questions that the station's own controller asks in a second."""
MOST_WAITS = 4_000
"""Looks whether what was sent over a terminal has arrived; after that nobody reads it."""
SWAPPED_S = 65
"""When a dispenser's mainboard is replaced."""


@dataclass(frozen=True)
class Case:
    """A driver on a line, and what of the six things its protocol carries."""

    driver: str
    wire: str = "tcp"
    mode: str = "poll"
    protocol: str = ""
    """As the simulator calls it, when that is not the driver's name."""
    identity: bool = True
    alarm: str | None = None
    """Code of the event by which a self-lock is told."""
    locked: NozzleState | None = NozzleState.LOCKED
    """The state by which it is shown; None where the protocol knows none."""
    uncertain: bool = False
    """Whether the live volume is reckoned from the money."""
    roll: int = 10**12
    """Hundredths of a litre after which totals begin again at zero."""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def spoken(self) -> str:
        return self.protocol or self.driver


def _modbus(wire: str, mode: str) -> Case:
    return Case("modbus", wire, mode, protocol="modbus-rtu" if wire == "pty" else "", alarm="locked")


_QUICK: dict[str, Any] = {"publishing_s": 0.05, "sampling_s": 0}
"""An OPC UA server looks at its values by a clock of its own."""
CASES = {
    "dart": partial(Case, "dart", alarm="DC5-06", settings={"identity_is": "mainboard_serial"}),
    "twowire": partial(Case, "twowire", identity=False, locked=NozzleState.STOPPED, uncertain=True, roll=10**8),
    "lanfeng": partial(Case, "lanfeng", identity=False, locked=None),
    "modbus": _modbus,
    "ifsf": partial(Case, "ifsf", settings={"firmware_digest": "checksum"}),
    "opcua": partial(Case, "opcua", alarm="device_health", settings=_QUICK),
}


@dataclass(slots=True)
class Post:
    """Bytes on their way from the simulator to the engine over a terminal: not even the system tells of those."""

    sent: int = 0
    taken: int = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        send, receive, forget = Pty.send, Wire.data_received, Pty.forget

        def sending(wire: Pty, data: bytes) -> None:
            self.sent += len(data)
            send(wire, data)

        def receiving(wire: Wire, data: bytes) -> None:
            self.taken += len(data)
            receive(wire, data)

        def forgetting(wire: Pty) -> None:
            self.taken = self.sent
            forget(wire)

        monkeypatch.setattr(Pty, "send", sending)
        monkeypatch.setattr(Wire, "data_received", receiving)
        monkeypatch.setattr(Pty, "forget", forgetting)


class Rig:
    """A running engine beside a running simulator, and what has been seen of both."""

    def __init__(self, case: Case, engine: Engine, sim: Sim, clock: FakeClock, post: Post) -> None:
        self.case = case
        self.post = post
        self.engine = engine
        self.clock = clock
        outlet = sim.outlets["S01"]
        self.player = outlet.player
        self.line: Line = next(line for line in outlet.lines if line.protocol == case.spoken)
        self.tags = {
            nozzle.nozzle_id: f"S01/D{dispenser.unit}/nozzle-{nozzle.number}"
            for dispenser in self.player.dispensers
            for nozzle in dispenser.nozzles
        }
        self.sold: dict[tuple[str, int], tuple[int, int, int, int]] = {}
        """Volume, amount, price and totalizer in hundredths, by nozzle and number."""
        self.ended: dict[tuple[str, int], float] = {}
        self.states: set[object] = set()
        self.live: list[tuple[float, float]] = []
        """Litres of a tag and of the pump's display while fuel flowed, one pair a second and nozzle."""

    def latest(self, nozzle_id: str, name: str) -> Sample | None:
        return self.engine.hub.latest.get(f"{self.tags[nozzle_id]}.{name}")

    async def watch(self, seconds: int) -> None:
        for _ in range(seconds):
            await self._second()
            for nozzle in self.player.nozzles:
                for sale in filter(None, nozzle.sales):
                    key = nozzle.nozzle_id, sale.sequence
                    self.sold[key] = sale.volume, sale.amount, sale.price, sale.totalizer
                    self.ended[key] = sale.end_s - START.timestamp()
                self._look(nozzle)

    async def _second(self) -> None:
        if isinstance(self.line, BusLine) and self.case.mode == "tap":
            for turn in range(TURNS):
                if turn % 3 == 0:
                    await self.clock.advance(3.0 / TURNS)
                if peers := self.line._listeners():
                    self.line._ask(peers)
                await self._quiet()
        else:
            await self.clock.advance(1.0)
            await self._quiet()
        if self.case.driver == "opcua":
            await asyncio.sleep(0.05)  # the server looks at its values by a clock of its own

    async def _quiet(self) -> None:
        """Until no device is being read and what was sent has arrived."""
        await asyncio.sleep(0)
        for device in self.engine.acquisition.devices:
            async with device.turn:
                pass
        heard = any(device.connected for device in self.engine.acquisition.devices)
        for _ in range(MOST_WAITS if heard else 0):  # a terminal hands on when the system finds time
            if self.post.taken >= self.post.sent:
                return
            await asyncio.sleep(0.0005)
        self.post.taken = self.post.sent  # nobody read it

    def _look(self, nozzle: NozzlePlayer) -> None:
        state, volume = self.latest(nozzle.nozzle_id, "state"), self.latest(nozzle.nozzle_id, "volume")
        if state is None or volume is None or not state.quality.is_good:
            return
        self.states.add(state.value)
        flows = state.value == NozzleState.FUELLING and nozzle.state is NozzleState.FUELLING
        wanted = Quality.UNCERTAIN if self.case.uncertain else Quality.GOOD
        if flows and volume.quality is wanted and isinstance(volume.value, float):
            self.live.append((volume.value, nozzle.volume / 100))

    async def sales(self) -> list[Transaction]:
        await self.engine.historian.flush()
        return list(await self.engine.historian.transactions(limit=10_000))

    async def records(self, kind: type) -> list[Any]:
        await self.engine.historian.flush()
        day = timedelta(days=1)
        return list(await self.engine.historian.records(kind, start=START - day, end=START + day, limit=10_000))


def device(case: Case, dispenser: DispenserView, line: Line) -> str:
    first, nozzles = line.offer.devices[dispenser.dispenser_id], [nozzle.nozzle_id for nozzle in dispenser.nozzles]
    numbers = list(range(first, first + len(nozzles)))
    settings: dict[str, Any] = {
        "dart": {"address": numbers, "mode": case.mode},
        "twowire": {"pumps": numbers, "mode": case.mode},
        "lanfeng": {"guns": numbers, "mode": case.mode},
        "modbus": {"brand": "generic-4", "unit": dispenser.unit},
        "ifsf": {"node": dispenser.unit},
        "opcua": {"brand": "county"},
    }[case.driver] | case.settings
    if case.spoken == "modbus-rtu":
        settings["framing"] = "rtu"
    written = ", ".join(f"{key} = {value!r}" for key, value in settings.items()).replace("'", '"')
    return f"""
[[stations.devices]]
id = "D{dispenser.unit}"
driver = "{case.driver}"
line = "{line.offer.address}"
dispenser = "{dispenser.dispenser_id}"
nozzles = {nozzles}
settings = {{ {written} }}
"""


@asynccontextmanager
async def rig(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    for pause in ("TURN_S", "NOBODY_S"):  # the controller's turns are taken by hand
        monkeypatch.setattr(lines, pause, 1e6)
    monkeypatch.setattr(opcua, "PERIOD_S", 0.02)
    clock, post = FakeClock(START), Post()
    if case.wire == "pty":
        post.watch(monkeypatch)
    monkeypatch.setattr(opcua, "wall_clock", clock.now)
    fleet = Fleet(
        name="every",
        stations=Stations(count=1, hours="flat", demand=20.0, outages=False, tanks=2, nozzles_per_tank=4),
        line=(LineEntry.model_validate({"protocol": case.spoken, "wire": case.wire, "mode": case.mode}),),
        scenario=(
            ScenarioEntry(name="demo_mainboard_swap", station="S01", dispenser="S01-D1", onset=f"PT{SWAPPED_S}S"),
        ),
    )
    async with running(stage(fleet, START), clock, folder / "sim") as sim:
        outlet = sim.outlets["S01"]
        line = next(line for line in outlet.lines if line.protocol == case.spoken)
        devices = [device(case, dispenser, line) for dispenser in outlet.player.dispensers]
        config = '[acquisition]\ntimeout_s = 30\n[detection]\nreview_s = 0\n[[stations]]\nid = "S01"\n'
        settings = parse_settings(config + "".join(devices))
        async with Engine.open(settings, folder / "data", Plugins.discover(), clock) as engine:
            task = asyncio.create_task(engine.run())
            try:
                yield Rig(case, engine, sim, clock, post)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def check_all(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch a station for a while and look for the six things."""
    async with rig(case, folder, monkeypatch) as one:
        await one.watch(WATCHED_S)
        assert [d.reason for d in one.engine.acquisition.devices if not d.connected] == []
        assert {NozzleState.IDLE, NozzleState.LIFTED, NozzleState.FUELLING} <= one.states
        check_live(one)
        await check_fillings(one)
        if case.identity:
            await check_identity(one)
        if case.locked is not None:
            await check_lock(one, monkeypatch)


def check_live(one: Rig) -> None:
    """The display is followed while fuel flows: never ahead, never more than three seconds behind."""
    assert len(one.live) >= 40
    assert len({volume for volume, _ in one.live}) >= 30
    assert max(told - shown for told, shown in one.live) <= 0.02
    assert max(shown - told for told, shown in one.live) <= 3.0


async def check_fillings(one: Rig) -> None:
    """Each is there once with the pump's own figures and totals, and nothing else is."""
    sales, true = await one.sales(), Counter((key[0], *figures[:3]) for key, figures in one.sold.items())
    told = Counter((s.nozzle_id, *map(_hundredths, (s.volume_l, s.amount_cny, s.unit_price))) for s in sales)
    assert told - true == Counter(), "sales that never were"
    due = (key for key, ended in one.ended.items() if WARM_S < ended < WATCHED_S - LATE_S)
    wanted = Counter((key[0], *one.sold[key][:3]) for key in due)
    assert wanted.total() >= 5
    assert wanted - told == Counter(), "sales that are missing"
    counted = [(s.nozzle_id, *map(_hundredths, (s.volume_l, s.totalizer_l))) for s in sales if s.totalizer_l]
    assert [each for each in counted if each not in _totals(one)] == []
    firsts = len({sale.nozzle_id for sale in sales})  # nothing may agree with the first reading
    assert len(counted) >= 0.9 * (len(sales) - firsts)
    for nozzle_id in {nozzle_id for nozzle_id, _, _ in counted}:
        tag = await _settled(one, nozzle_id)
        assert _hundredths(tag.value) in {total for nozzle, _, total in _totals(one) if nozzle == nozzle_id}


def _totals(one: Rig) -> set[tuple[str, int, int]]:
    """Nozzle, volume and the totalizer after it, of all that was sold by now."""
    return {(key[0], figures[0], figures[3] % one.case.roll) for key, figures in one.sold.items()}


async def _settled(one: Rig, nozzle_id: str) -> Sample:
    """The totalizer's tag, when it is good: a reading that nothing agrees with yet is kept back."""
    for _ in range(SETTLES_S):
        tag = one.latest(nozzle_id, "totalizer")
        if tag is not None and tag.quality.is_good:
            return tag
        await one.watch(1)
    raise AssertionError(f"{nozzle_id}: no good totalizer in {SETTLES_S} s")


def _hundredths(value: Any) -> int:
    return round(100 * value)


async def check_identity(one: Rig) -> None:
    """What the device says it is, before and after its mainboard was replaced."""
    swapped, at = one.player.dispensers[0].dispenser_id, START + timedelta(seconds=SWAPPED_S)
    told = [record for record in await one.records(DeviceIdentity) if record.dispenser_id == swapped]
    before, after = ([replace(r, at=at) for r in told if (r.at > at) is later] for later in (False, True))
    assert before
    assert after
    assert all(record == before[0] for record in before)
    assert all(record == after[0] != before[0] for record in after)


async def check_lock(one: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nozzle that has locked itself is shown so, and told as the protocol tells it."""
    while (locked := next((n for n in one.player.nozzles if n.state is NozzleState.IDLE), None)) is None:
        await one.watch(1)
    state = NozzlePlayer.state
    assert isinstance(state, property)
    assert state.fget is not None
    honest = state.fget
    monkeypatch.setattr(
        NozzlePlayer,
        "state",
        property(lambda nozzle: NozzleState.LOCKED if nozzle.nozzle_id == locked.nozzle_id else honest(nozzle)),
    )
    monkeypatch.setattr(NozzlePlayer, "changes", property(lambda nozzle: nozzle._now_us()))
    await one.watch(20)
    shown = one.latest(locked.nozzle_id, "state")
    assert shown is not None
    assert shown.value == one.case.locked
    if one.case.alarm is not None:
        events = [e for e in await one.records(DeviceEvent) if e.kind in {EventKind.ALARM, EventKind.LOCK}]
        assert one.case.alarm in {word for event in events for word in (*event.detail, event.detail.get("code"))}
