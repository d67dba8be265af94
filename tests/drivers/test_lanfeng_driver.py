"""The Lanfeng driver: settings, what it tells, what it sends, and a simulated station over TCP and a serial port."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import BadConfig, BadReply, NotReachable, NozzleState, Quality, Sample, Site, Transaction
from pumpwatch.testing import ScriptedLine
from pumpwatch_lanfeng import LanfengDriver, LanfengSettings, pumpwatch_drivers
from pumpwatch_lanfeng.frames import Question

NOW = datetime(2026, 11, 22, 4, 30, 15, tzinfo=UTC)
SITE = Site("S01", "D1", "S01-D1", ("S01-N01", "S01-N02"))
ONE = Site("S01", "D1", "S01-D1", ("S01-N01",))


@pytest.fixture(scope="module")
def buses() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bus_traffic", Path(__file__).parent / "bus_traffic.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def frame(gun: int, content: bytes) -> bytes:
    content = content.ljust(10, b"\0")
    return bytes((gun, *content, -sum(content) & 0xFF))


def bcd(value: int, octets: int) -> bytes:
    return bytes.fromhex(f"{value:0{2 * octets}d}")


class Gun:
    """One gun of a bench."""

    def __init__(self, price: int = 789) -> None:
        self.price, self.money, self.litres, self.status = price, 7_890, 1_000, 0x41
        self.totals = {0xAC: 7_890_000, 0xAD: 1_000_000}

    def answer(self, request: bytes) -> bytes:
        gun, command = request[0], request[2]
        if command in self.totals:
            return frame(gun, bytes((0, command, 0, 0)) + bcd(self.totals[command], 6))
        assert request == Question.STATE.to(gun)
        shown = bcd(self.price, 2) + bcd(self.money, 3) + bcd(self.litres, 3)
        return frame(gun, b"\0" + shown + bytes((self.status,)))


async def read(driver: LanfengDriver, at: datetime = NOW) -> tuple[dict[str, Sample], list]:
    reading = await driver.read(driver.tags(), at)
    return {sample.tag: sample for sample in reading.samples}, list(reading.records)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "guns"),
        ({"guns": []}, "guns"),
        ({"guns": [0]}, "guns"),
        ({"guns": [100]}, "guns"),
        ({"guns": [1, 1]}, "twice"),
        ({"guns": [1], "mode": "both"}, "mode"),
        ({"guns": [1], "gun": 1}, "gun"),
    ],
)
def test_settings_are_checked(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LanfengSettings.model_validate(given)


def test_every_nozzle_needs_its_gun() -> None:
    with pytest.raises(BadConfig, match="guns: 1 given for 2 nozzles"):
        LanfengDriver(LanfengSettings(guns=(1,)), SITE, ScriptedLine({}))
    assert pumpwatch_drivers() == [LanfengDriver]


# ---------------------------------------------------------------- asking


@pytest.mark.parametrize("echoes", [False, True])
async def test_a_filling_on_the_bench(echoes: bool) -> None:
    gun = Gun()
    line = ScriptedLine(lambda request: (request if echoes else b"") + gun.answer(request), chunk=5)
    driver = LanfengDriver(LanfengSettings(guns=(1,), mode="poll"), ONE, line)
    await driver.connect()
    await read(driver)
    samples, records = await read(driver)
    assert records == []
    assert {sample.quality for sample in samples.values()} == {Quality.GOOD}
    assert samples["nozzle-1.totalizer"].value == 10_000.0
    assert samples["nozzle-1.controlled"].value == 1
    for second, (status, litres) in enumerate([(0xC1, 0), (0xC2, 500), (0xC2, 2_000)], 1):
        gun.status, gun.litres, gun.money = status, litres, litres * 789 // 100
        samples, records = await read(driver, NOW + timedelta(seconds=second))
        assert records == []
    assert samples["nozzle-1.state"].value == NozzleState.FUELLING
    assert samples["nozzle-1.volume"] == Sample("nozzle-1.volume", 20.0, NOW + timedelta(seconds=3))
    gun.status, gun.litres, gun.money = 0x41, 2_550, 20_120
    gun.totals = {0xAC: 7_910_120, 0xAD: 1_002_550}
    samples, (sale,) = await read(driver, NOW + timedelta(seconds=4))
    assert sale == Transaction(
        nozzle_id="S01-N01",
        seq=round(NOW.timestamp()) + 4,
        start=NOW + timedelta(seconds=2),
        end=NOW + timedelta(seconds=4),
        volume_l=25.5,
        amount_cny=201.2,
        unit_price=7.89,
        totalizer_l=10_025.5,
        totalizer_cny=79_101.2,
    )
    for second in range(5, 15):
        assert (await read(driver, NOW + timedelta(seconds=second)))[1] == []


async def test_what_was_not_heard_again_is_stale() -> None:
    """A totalizer read before the filling that was told last is no totalizer after it."""
    gun, line = Gun(), ScriptedLine({})
    driver = LanfengDriver(LanfengSettings(guns=(1,)), ONE, line)
    await driver.connect()

    async def hear(second: int, *questions: Question) -> tuple[dict[str, Sample], list]:
        line.pass_on(b"".join(q.to(1) + gun.answer(q.to(1)) for q in (Question.STATE, *questions)))
        return await read(driver, NOW + timedelta(seconds=second))

    for second in range(2):
        samples, _ = await hear(second, Question.TOTAL_LITRES, Question.TOTAL_MONEY)
    assert samples["nozzle-1.totalizer"] == Sample("nozzle-1.totalizer", 10_000.0, NOW + timedelta(seconds=1))
    samples, _ = await hear(5)
    assert samples["nozzle-1.totalizer"] == Sample("nozzle-1.totalizer", 10_000.0, NOW + timedelta(seconds=1))
    told = []
    for second, (status, litres) in enumerate([(0xC2, 500), (0xC2, 2_000), (0x41, 2_550), (0x41, 2_550)], 10):
        gun.status, gun.litres, gun.money = status, litres, litres * 789 // 100
        samples, records = await hear(second)
        told += records
    assert [sale.volume_l for sale in told] == [25.5]
    for tag, value in (("totalizer", 10_000.0), ("totalizer_amount", 78_900.0)):
        stale = Sample(f"nozzle-1.{tag}", value, NOW + timedelta(seconds=1), Quality.STALE)
        assert samples[stale.tag] == stale
    gun.totals = {0xAC: 7_890_000 + gun.money, 0xAD: 1_002_550}
    samples, _ = await hear(20, Question.TOTAL_LITRES, Question.TOTAL_MONEY)
    assert samples["nozzle-1.totalizer"] == Sample("nozzle-1.totalizer", 10_025.5, NOW + timedelta(seconds=20))


async def test_numbers_are_the_same_after_a_restart_and_count_nothing() -> None:
    """They are seconds: a rule that looks for gaps in a count finds neither a count nor a jump."""
    numbers = []
    for first in (0, 1):  # the second driver has missed the first filling
        gun = Gun()
        driver = LanfengDriver(LanfengSettings(guns=(1,), mode="poll"), ONE, ScriptedLine(gun.answer))
        for second, (status, litres) in enumerate([(0x41, 1_000), *[(0xC2, 10), (0xC2, 20), (0x41, 2_550)] * 3]):
            gun.status, gun.litres, gun.money = status, litres, litres * 789 // 100
            gun.totals = {0xAC: 7_890_000, 0xAD: 1_000_000}
            if first and second < 4:
                continue
            for _ in range(2):
                numbers += [(sale.end, sale.seq) for sale in (await read(driver, NOW + timedelta(seconds=second)))[1]]
    assert len(numbers) == 5
    assert set(numbers[3:]) == set(numbers[1:3])
    assert [seq for _, seq in numbers[:3]] == [int(end.timestamp()) for end, _ in numbers[:3]]


async def test_other_decimals() -> None:
    gun = Gun()
    settings = LanfengSettings(guns=(1,), mode="poll", volume_decimals=3, amount_decimals=1, price_decimals=3)
    driver = LanfengDriver(settings, ONE, ScriptedLine(gun.answer))
    samples, _ = await read(driver)
    shown = [samples[f"nozzle-1.{name}"].value for name in ("volume", "amount", "price")]
    assert shown == [1.0, 789.0, 0.789]


async def test_a_garbled_gun_leaves_the_other() -> None:
    def answer(request: bytes) -> bytes:
        return b"\x02" + bytes(11) if request[0] == 2 else gun.answer(request)

    gun = Gun()
    driver = LanfengDriver(LanfengSettings(guns=(1, 2), mode="poll"), SITE, ScriptedLine(answer))
    samples, _ = await read(driver)
    assert samples["nozzle-1.state"].quality is Quality.GOOD
    assert samples["nozzle-2.state"].quality is Quality.BAD_REPLY
    driver = LanfengDriver(LanfengSettings(guns=(2,), mode="poll"), ONE, ScriptedLine(answer))
    with pytest.raises(BadReply, match="does not check"):
        await read(driver)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([0x41, 0xC1, 0xC2])), min_size=1, max_size=20))
def test_only_readings_are_ever_sent(answers: list[bytes | int]) -> None:
    """Whatever the guns say."""

    async def run() -> set[bytes]:
        gun, script = Gun(), iter(answers)

        def answer(request: bytes) -> bytes:
            said = next(script, 0x41)
            if isinstance(said, bytes):
                return said
            gun.status = said
            return gun.answer(request)

        line = ScriptedLine(answer)
        driver = LanfengDriver(LanfengSettings(guns=(1, 99), mode="poll"), SITE, line)
        for _ in answers:
            task = asyncio.ensure_future(driver.read(driver.tags(), NOW))
            for _ in range(30):  # a scripted line that has nothing more to say waits for ever
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except (asyncio.CancelledError, BadReply):
                continue
        return set(line.asked)

    allowed = {question.to(gun) for question in Question for gun in (1, 99)}
    assert {frame[2] for frame in allowed} == {0xB8, 0xAC, 0xAD}
    assert asyncio.run(run()) <= allowed


# ---------------------------------------------------------------- listening


async def test_silence_is_told_with_its_reason(buses: ModuleType) -> None:
    def listener() -> tuple[LanfengDriver, ScriptedLine]:
        line = ScriptedLine({})
        return LanfengDriver(LanfengSettings(guns=(1,)), ONE, line), line

    gun = Gun()
    ours, others = (Question.STATE.to(n) + gun.answer(Question.STATE.to(n)) for n in (1, 2))
    assert await buses.deaf(*listener(), ours, NOW, 60) == ""
    assert "nor is anybody else" in await buses.deaf(*listener(), b"", NOW, 60)
    assert "others on the line are" in await buses.deaf(*listener(), others, NOW, 60)
    assert "nor is anybody else" in await buses.deaf(*listener(), Question.STATE.to(1), NOW, 60)


async def test_a_line_that_is_gone_is_listened_to_anew() -> None:
    line = ScriptedLine({})
    driver = LanfengDriver(LanfengSettings(guns=(1,)), ONE, line)
    with pytest.raises(NotReachable, match="connect first"):
        await read(driver)
    await driver.connect()
    line.broken = True
    with pytest.raises(NotReachable, match="broken"):
        await read(driver)
    line.broken = False
    await driver.connect()
    assert len(line.ears) == 2
    await driver.close()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_noise_makes_no_sale(pieces: list[bytes]) -> None:
    async def run() -> None:
        line = ScriptedLine({})
        driver = LanfengDriver(LanfengSettings(guns=(1, 2)), SITE, line)
        await driver.connect()
        for piece in pieces:
            line.pass_on(piece)
            assert (await read(driver))[1] == []
        assert line.asked == []

    asyncio.run(run())


# ---------------------------------------------------------------- a simulated station


@pytest.mark.integration
@pytest.mark.parametrize("wire", ["tcp", "pty"])
@pytest.mark.parametrize("mode", ["tap", "poll"])
async def test_a_simulated_station(buses: ModuleType, tmp_path: Path, wire: str, mode: str) -> None:
    async with buses.live(tmp_path, "lanfeng", wire, mode) as bus:
        settings = LanfengSettings.model_validate({"guns": range(1, len(bus.nozzles) + 1), "mode": mode})
        driver = LanfengDriver(settings, Site("S01", "D1", "S01-D1", bus.nozzles), bus.line)
        told, samples = await bus.watch(driver, 3)
        states = {sample.value for sample in samples if sample.tag.endswith(".state")}
        assert states >= {NozzleState.IDLE, NozzleState.FUELLING}
        assert any(sample.tag.endswith(".totalizer") and sample.quality is Quality.GOOD for sample in samples)
        assert all(sale.start <= sale.end for sale in told)
        if mode == "tap":
            assert bus.sent == set()
        else:
            assert bus.sent <= {question.to(gun) for question in Question for gun in settings.guns}
