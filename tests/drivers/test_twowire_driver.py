"""The Two-Wire driver: settings, what it tells, what it sends, and a simulated station over TCP and a serial port."""

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

from pumpwatch import BadConfig, BadReply, DeviceEvent, NotReachable, NozzleState, Quality, Sample, Site, Transaction
from pumpwatch.testing import ScriptedLine
from pumpwatch_twowire import TwoWireDriver, TwoWireSettings, pumpwatch_drivers
from pumpwatch_twowire.words import Question

NOW = datetime(2026, 11, 22, 4, 30, 15, tzinfo=UTC)
SITE = Site("S01", "D1", "S01-D1", ("S01-N01", "S01-N02"))
ONE = Site("S01", "D1", "S01-D1", ("S01-N01",))
SALE = bytes.fromhex(
    "FF F1 F8 EB E0 E0 E0 E1 F6 E0 F4 F7 E9 E8 E7 E0 F9 E0 E0 E5 E5 E2 E0 FA E0 E2 E1 E0 E2 E0 FB E4 F0"
)


@pytest.fixture(scope="module")
def buses() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bus_traffic", Path(__file__).parent / "bus_traffic.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def words(number: int, digits: int) -> bytes:
    return bytes(0xE0 | int(digit) for digit in reversed(f"{number:0{digits}d}"))


def closed(block: bytes) -> bytes:
    block += b"\xfb"
    return block + bytes((0xE0 | (-sum(byte & 15 for byte in block) & 15), 0xF0))


def totals(volume: int, money: int, price: int = 789) -> bytes:
    head = b"\xff\xf6\xe0\xf9" + words(volume, 8) + b"\xfa" + words(money, 8)
    return closed(head + b"\xf4" + words(price, 4) + b"\xf5" + words(price, 4))


class Pump:
    """One pump of a bench: it answers and remembers nothing."""

    def __init__(self) -> None:
        self.status, self.money, self.sale, self.totals = 6, 0, SALE, totals(1_000_000, 7_890_000)

    def answer(self, request: bytes) -> bytes | None:
        (byte,) = request
        match byte >> 4:
            case 0:
                return bytes((self.status << 4 | byte & 15,))
            case 4:
                return self.sale
            case 5:
                return self.totals
            case 6:
                return words(self.money, 6)
        raise AssertionError(f"{byte:02X} is no reading")


async def read(driver: TwoWireDriver, at: datetime = NOW) -> tuple[dict[str, Sample], list]:
    reading = await driver.read(driver.tags(), at)
    return {sample.tag: sample for sample in reading.samples}, list(reading.records)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "pumps"),
        ({"pumps": []}, "pumps"),
        ({"pumps": [0]}, "pumps"),
        ({"pumps": [17]}, "pumps"),
        ({"pumps": [1], "grades": [0, 1]}, "grades: 2 given for 1"),
        ({"pumps": [1, 1], "grades": [0, 0]}, "pump 1 has grade 0 twice"),
        ({"pumps": [1], "digits": 7}, "digits"),
        ({"pumps": [1], "mode": "both"}, "mode"),
        ({"pumps": [1], "silence_s": 0}, "silence_s"),
        ({"pumps": [1], "pump": 1}, "pump"),
    ],
)
def test_settings_are_checked(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TwoWireSettings.model_validate(given)


def test_every_nozzle_needs_its_pump() -> None:
    with pytest.raises(BadConfig, match="pumps: 1 given for 2 nozzles"):
        TwoWireDriver(TwoWireSettings(pumps=(1,)), SITE, ScriptedLine({}))


def test_where_nozzles_stand() -> None:
    assert TwoWireSettings(pumps=(3, 3, 4, 3)).places == ((3, 0), (3, 1), (4, 0), (3, 2))
    assert TwoWireSettings(pumps=(3, 4), grades=(2, 5)).places == ((3, 2), (4, 5))
    assert pumpwatch_drivers() == [TwoWireDriver]


# ---------------------------------------------------------------- asking


async def test_a_filling_on_the_bench() -> None:
    pump = Pump()
    driver = TwoWireDriver(TwoWireSettings(pumps=(1,), mode="poll"), ONE, ScriptedLine(pump.answer, chunk=1))
    await driver.connect()
    samples, records = await read(driver)
    assert records == []
    assert samples["nozzle-1.state"].value == NozzleState.IDLE
    samples, _ = await read(driver)
    assert samples["nozzle-1.totalizer"].value == 10_000.0, "two readings agree"
    assert samples["nozzle-1.price"].value == 7.89
    pump.status = 7
    samples, _ = await read(driver, NOW + timedelta(seconds=5))
    assert samples["nozzle-1.state"].value == NozzleState.LIFTED
    pump.status, pump.money = 9, 10_000
    for second in range(10, 40):
        samples, records = await read(driver, NOW + timedelta(seconds=second))
        assert records == []
    assert samples["nozzle-1.state"].value == NozzleState.FUELLING
    assert samples["nozzle-1.amount"] == Sample(
        "nozzle-1.amount", 100.0, NOW + timedelta(seconds=39), Quality.UNCERTAIN
    )
    assert samples["nozzle-1.volume"].value == 12.67
    pump.status, pump.totals = 11, totals(1_002_550, 7_910_120)
    samples, (sale,) = await read(driver, NOW + timedelta(seconds=40))
    assert sale == Transaction(
        nozzle_id="S01-N01",
        seq=round(NOW.timestamp()) + 40,
        start=NOW + timedelta(seconds=10),
        end=NOW + timedelta(seconds=40),
        volume_l=25.5,
        amount_cny=201.2,
        unit_price=7.89,
        totalizer_l=10_025.5,
        totalizer_cny=79_101.2,
        raw=SALE,
    )
    assert samples["nozzle-1.volume"] == Sample("nozzle-1.volume", 25.5, NOW + timedelta(seconds=40))
    for second in range(41, 50):
        _, records = await read(driver, NOW + timedelta(seconds=second))
        assert records == [], "the filling has been told"
    pump.status = 6
    samples, records = await read(driver, NOW + timedelta(seconds=50))
    assert (records, samples["nozzle-1.totalizer"].value) == ([], 10_025.5)


async def test_what_was_not_heard_again_is_stale() -> None:
    """Nothing says when the display goes back to zero, nor what the totals are before they are read again."""
    pump, line = Pump(), ScriptedLine({})
    driver = TwoWireDriver(TwoWireSettings(pumps=(1,)), ONE, line)
    await driver.connect()

    async def hear(second: int, *questions: int) -> tuple[dict[str, Sample], list]:
        asked = [bytes((question << 4 | 1,)) for question in (0, *questions)]
        line.pass_on(b"".join(each + (pump.answer(each) or b"") for each in asked))
        return await read(driver, NOW + timedelta(seconds=second))

    for second in range(2):
        samples, _ = await hear(second, 5)
    assert samples["nozzle-1.totalizer"] == Sample("nozzle-1.totalizer", 10_000.0, NOW + timedelta(seconds=1))
    told = []
    for second, status, *block in ((5, 9), (6, 9), (7, 11), (8, 11, 4), (9, 6), (10, 6)):
        pump.status = status
        samples, records = await hear(second, *block)
        told += records
    assert [sale.volume_l for sale in told] == [25.5]
    assert samples["nozzle-1.volume"] == Sample("nozzle-1.volume", 25.5, NOW + timedelta(seconds=10))
    stale = Sample("nozzle-1.totalizer", 10_000.0, NOW + timedelta(seconds=1), Quality.STALE)
    assert samples[stale.tag] == stale
    for second, status in ((20, 7), (21, 7), (22, 9), (23, 9)):
        pump.status = status
        samples, _ = await hear(second)
        assert second == 20 or samples["nozzle-1.volume"].quality is Quality.STALE, "its zero is not reported"
        assert second == 20 or samples["nozzle-1.amount"].quality is Quality.STALE
    assert samples["nozzle-1.state"].value == NozzleState.FUELLING


async def test_the_same_figures_again_are_another_filling() -> None:
    pump = Pump()
    driver = TwoWireDriver(TwoWireSettings(pumps=(1,), mode="poll"), ONE, ScriptedLine(pump.answer))
    told = []
    for number in range(3):
        for status in (7, 9, 9, 9, 11, 6, 6):
            pump.status = status
            pump.totals = totals(1_000_000 + (number + (status in {11, 6})) * 2_550, 7_890_000)
            told += (await read(driver, NOW + timedelta(seconds=len(told))))[1]
    assert [sale.volume_l for sale in told] == [25.5] * 3
    # Each ended a second after the one before; no number is given twice.
    assert len({(sale.nozzle_id, sale.seq) for sale in told}) == 3


async def test_money_that_is_not_price_times_volume_needs_a_second_reading() -> None:
    pump = Pump()
    wrong = bytearray(SALE)
    wrong[24] |= 9  # nine fen more
    pump.sale, pump.status = closed(bytes(wrong[:-3])), 9
    driver = TwoWireDriver(TwoWireSettings(pumps=(1,), mode="poll"), ONE, ScriptedLine(pump.answer))
    await read(driver)
    pump.status = 11
    _, records = await read(driver)
    assert records == []
    _, (sale,) = await read(driver)
    assert (sale.volume_l, sale.amount_cny) == (25.5, 201.29)


async def test_a_grade_nobody_has_is_an_alarm() -> None:
    pump = Pump()
    pump.status = 11
    settings = TwoWireSettings(pumps=(1,), grades=(3,), mode="poll")
    driver = TwoWireDriver(settings, ONE, ScriptedLine(pump.answer))
    _, (event,) = await read(driver)
    assert isinstance(event, DeviceEvent)
    assert (event.detail["code"], event.detail["grade"], event.detail["volume_l"]) == ("unknown_grade", 0, 25.5)


async def test_which_nozzle_of_a_pump_is_out_must_be_heard() -> None:
    pump = Pump()
    pump.status = 9
    driver = TwoWireDriver(TwoWireSettings(pumps=(1, 1), mode="poll"), SITE, ScriptedLine(pump.answer))
    samples, _ = await read(driver)
    for name in ("nozzle-1.state", "nozzle-2.state"):
        assert (samples[name].value, samples[name].quality) == (NozzleState.FUELLING, Quality.UNCERTAIN)


async def test_a_garbled_pump_leaves_the_other() -> None:
    def answer(request: bytes) -> bytes | None:
        return b"\x33" if request == b"\x02" else pump.answer(request)

    pump = Pump()
    driver = TwoWireDriver(TwoWireSettings(pumps=(1, 2), mode="poll"), SITE, ScriptedLine(answer))
    samples, _ = await read(driver)
    assert samples["nozzle-1.state"].quality is Quality.GOOD
    assert samples["nozzle-2.state"].quality is Quality.BAD_REPLY
    driver = TwoWireDriver(TwoWireSettings(pumps=(2,), mode="poll"), ONE, ScriptedLine(answer))
    with pytest.raises(BadReply, match="33"):
        await read(driver)


async def test_a_data_error_is_no_echo_once_the_line_is_known() -> None:
    pump = Pump()
    driver = TwoWireDriver(TwoWireSettings(pumps=(1,), mode="poll"), ONE, ScriptedLine(pump.answer))
    await read(driver)
    pump.status = 0
    samples, _ = await read(driver)
    assert samples["nozzle-1.state"].value == NozzleState.IDLE


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 15)), min_size=1, max_size=25))
def test_only_readings_are_ever_sent(answers: list[bytes | int]) -> None:
    """Whatever the pumps say; the first nibble of every byte sent is one of four."""

    async def run() -> set[bytes]:
        pump, script = Pump(), iter(answers)

        def answer(request: bytes) -> bytes | None:
            said = next(script, 6)
            if isinstance(said, bytes):
                return said
            pump.status = said
            return pump.answer(request)

        line = ScriptedLine(answer)
        driver = TwoWireDriver(TwoWireSettings(pumps=(1, 16), mode="poll"), SITE, line)
        for _ in answers:
            task = asyncio.ensure_future(driver.read(driver.tags(), NOW))
            for _ in range(40):  # a scripted line that has nothing more to say waits for ever
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except (asyncio.CancelledError, BadReply):
                continue
        return set(line.asked)

    allowed = {question.to(pump) for question in Question for pump in (1, 16)}
    assert {byte for question in allowed for byte in question} == {0x01, 0x41, 0x51, 0x61, 0x00, 0x40, 0x50, 0x60}
    assert asyncio.run(run()) <= allowed


# ---------------------------------------------------------------- listening


async def test_silence_is_told_with_its_reason(buses: ModuleType) -> None:
    def listener() -> tuple[TwoWireDriver, ScriptedLine]:
        line = ScriptedLine({})
        return TwoWireDriver(TwoWireSettings(pumps=(1,)), ONE, line), line

    assert await buses.deaf(*listener(), b"\x01\x61", NOW, 60) == ""
    assert "nor is anybody else" in await buses.deaf(*listener(), b"", NOW, 60)
    assert "others on the line are" in await buses.deaf(*listener(), b"\x02\x62", NOW, 60)
    assert "nor is anybody else" in await buses.deaf(*listener(), b"\x01\x02\x03", NOW, 60)


async def test_it_is_heard_again_without_listening_anew() -> None:
    line = ScriptedLine({})
    driver = TwoWireDriver(TwoWireSettings(pumps=(1,)), ONE, line)
    await driver.connect()
    await read(driver)
    later = NOW + timedelta(seconds=20)
    with pytest.raises(NotReachable):
        await read(driver, later)
    line.pass_on(b"\x01\x61\x01\x61")
    await driver.connect()
    samples, _ = await read(driver, later)
    assert samples["nozzle-1.state"].value == NozzleState.IDLE
    assert len(line.ears) == 1


async def test_a_line_that_is_gone_is_listened_to_anew() -> None:
    line = ScriptedLine({})
    driver = TwoWireDriver(TwoWireSettings(pumps=(1,)), ONE, line)
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


async def test_one_silent_pump_of_two() -> None:
    line = ScriptedLine({})
    driver = TwoWireDriver(TwoWireSettings(pumps=(1, 2)), SITE, line)
    await driver.connect()
    line.pass_on(b"\x01\x61\x01\x61")
    samples, _ = await read(driver)
    assert samples["nozzle-1.state"].quality is Quality.GOOD
    assert samples["nozzle-2.state"].quality is Quality.NOT_CONNECTED


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_noise_makes_no_sale(pieces: list[bytes]) -> None:
    async def run() -> None:
        line = ScriptedLine({})
        driver = TwoWireDriver(TwoWireSettings(pumps=(1, 2)), SITE, line)
        await driver.connect()
        for piece in pieces:
            line.pass_on(piece)
            _, records = await read(driver)
            assert records == []
        assert line.asked == []

    asyncio.run(run())


# ---------------------------------------------------------------- a simulated station


@pytest.mark.integration
@pytest.mark.parametrize("wire", ["tcp", "pty"])
@pytest.mark.parametrize("mode", ["tap", "poll"])
async def test_a_simulated_station(buses: ModuleType, tmp_path: Path, wire: str, mode: str) -> None:
    async with buses.live(tmp_path, "twowire", wire, mode) as bus:
        settings = TwoWireSettings.model_validate({"pumps": range(1, len(bus.nozzles) + 1), "mode": mode})
        driver = TwoWireDriver(settings, Site("S01", "D1", "S01-D1", bus.nozzles), bus.line)
        told, samples = await bus.watch(driver, 3)
        states = {sample.value for sample in samples if sample.tag.endswith(".state")}
        assert states >= {NozzleState.IDLE, NozzleState.FUELLING}
        assert any(sample.tag.endswith(".amount") and sample.quality is Quality.UNCERTAIN for sample in samples)
        assert any(sample.tag.endswith(".totalizer") and sample.quality is Quality.GOOD for sample in samples)
        assert all(sale.start <= sale.end for sale in told)
        if mode == "tap":
            assert bus.sent == set()
        else:
            assert bus.sent <= {question.to(pump) for question in Question for pump in settings.pumps}
