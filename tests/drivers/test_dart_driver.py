"""The DART driver on lines: the simulator's pumps over TCP and a pseudo-terminal, listened to and polled; bad lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import (
    BadConfig,
    BadReply,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    NotReachable,
    NozzleState,
    PumpwatchError,
    Quality,
    Reading,
    Record,
    Sample,
    Site,
    Transaction,
)
from pumpwatch.clock import SystemClock
from pumpwatch.line import WireLine
from pumpwatch.settings import LineAddress
from pumpwatch.testing import ScriptedLine
from pumpwatch_dart import DartDriver, DartSettings
from pumpwatch_dart import polling as talking
from pumpwatch_dart.frames import Cutter, Frame, Kind, control, data
from pumpwatch_sim.fleet import Fleet, LineEntry, Stations
from pumpwatch_sim.live import lines
from pumpwatch_sim.live.sim import Sim, running
from pumpwatch_sim.staging import stage

NOW = datetime(2026, 11, 22, 4, 30, 15, tzinfo=UTC)
SITE = Site("S01", "D1", "S01-D1", ("S01-N01",))
READS = {b"\x01\x01\x00", b"\x01\x01\x02", b"\x01\x01\x03", b"\x01\x01\x04"} | {
    bytes((0x65, 1, part + nozzle)) for part in (0x00, 0x10) for nozzle in range(1, 10)
}
"""Payloads that change nothing at a pump."""


def is_harmless(sent: bytes) -> bool:
    """Whether these bytes are polls, acknowledgements and questions alone; cut and checked by other code than ours."""
    while sent:
        if not 0x50 <= sent[0] <= 0x6F:
            return False
        if sent[1] == 0x20 or sent[1] & 0xF0 == 0xC0:
            frame, sent = sent[:3], sent[3:]
            if frame[2:] != b"\xfa":
                return False
            continue
        end = sent.find(b"\x03\xfa") + 2
        frame, sent = sent[:end].replace(b"\x10\xfa", b"\xfa"), sent[end:]
        if end < 2 or frame[1] & 0xF0 != 0x30 or frame[2:-4] not in READS:
            return False
    return True


# ---------------------------------------------------------------- the live simulator


@asynccontextmanager
async def station(folder: Path, wire: str, mode: str, speed: float) -> AsyncIterator[Sim]:
    """A very busy station whose time passes fast."""
    line = LineEntry(protocol="dart", wire=wire, mode=mode)  # type: ignore[arg-type]
    stations = Stations(count=1, hours="flat", demand=20.0, outages=False)
    fleet = Fleet(name="dart", seed=3, stations=stations, line=(line,))
    clock = SystemClock()
    async with running(stage(fleet, clock.now()), clock, folder, speed) as sim:
        yield sim


def drivers_of(sim: Sim, mode: str, line: WireLine) -> list[DartDriver]:
    (player,) = sim.players
    offer = next(each.offer for each in sim.outlets["S01"].lines if each.protocol == "dart")
    return [
        DartDriver(
            DartSettings(address=offer.devices[d.dispenser_id], mode=mode, identity_is="mainboard_serial"),
            Site("S01", f"D{n}", d.dispenser_id, tuple(nozzle.nozzle_id for nozzle in d.nozzles)),
            line,
        )
        for n, d in enumerate(player.dispensers, 1)
    ]


@pytest.mark.integration
@pytest.mark.parametrize("wire", ["tcp", "pty"])
@pytest.mark.parametrize(("mode", "speed"), [("tap", 15.0), ("poll", 12.0)])
async def test_a_simulated_station(
    tmp_path: Path, wire: str, mode: str, speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "TURN_S", 0.01)  # as fast as controllers are
    async with station(tmp_path, wire, mode, speed) as sim:
        offer = next(each.offer for each in sim.outlets["S01"].lines if each.protocol == "dart")
        line = WireLine(LineAddress.parse(offer.address))
        sent = bytearray()
        line.on_bytes = lambda mark, passed: sent.extend(passed if mark == ">" else b"")
        drivers = drivers_of(sim, mode, line)
        try:
            samples, records, sold = await watch(sim, drivers)
        finally:
            line.close()
        told = [record for record in records if isinstance(record, Transaction)]
        for sale in told:
            figures = round(sale.volume_l * 100), round(sale.amount_cny * 100), round(sale.unit_price * 100)
            assert figures in sold[sale.nozzle_id]
            assert sale.start <= sale.end
        assert len({sale.key for sale in told}) == len(told)
        assert {NozzleState.IDLE, NozzleState.LIFTED} <= samples["state"]
        assert {NozzleState.FUELLING, NozzleState.STOPPED} & samples["state"]  # stopped where the machine is too busy
        assert len(samples["volume"]) > 3
        if mode == "tap":
            assert not sent
            return
        assert is_harmless(bytes(sent))
        (player,) = sim.players
        numbers = {r.dispenser_id: r.mainboard_serial for r in records if isinstance(r, DeviceIdentity)}
        for dispenser in player.dispensers:
            assert len(numbers[dispenser.dispenser_id] or "") == 10


async def watch(
    sim: Sim, drivers: list[DartDriver]
) -> tuple[dict[str, set[object]], list[Record], dict[str, set[tuple[int, int, int]]]]:
    """Read until a filling has been told with its totalizers and some were seen running.

    Values by kind of tag, records, what was sold.
    """
    (player,) = sim.players
    samples: dict[str, set[object]] = {}
    records: list[Record] = []
    sold: dict[str, set[tuple[int, int, int]]] = {nozzle.nozzle_id: set() for nozzle in player.nozzles}
    async with asyncio.timeout(120):
        for driver in drivers:
            await driver.connect()
        while not enough(records, samples):
            for driver in drivers:
                reading = await driver.read(driver.tags(), datetime.now(UTC))
                records += reading.records
                for sample in reading.samples:
                    if sample.quality is Quality.GOOD:
                        samples.setdefault(sample.tag.rpartition(".")[2], set()).add(sample.value)
            for nozzle in player.nozzles:
                sales = {(sale.volume, sale.amount, sale.price) for sale in nozzle.sales if sale is not None}
                sold[nozzle.nozzle_id] |= sales
            await asyncio.sleep(0.02)
    return samples, records, sold


def enough(records: list[Record], samples: dict[str, set[object]]) -> bool:
    sales = [record for record in records if isinstance(record, Transaction)]
    whole = [sale for sale in sales if sale.totalizer_l is not None and sale.totalizer_cny is not None]
    running = len(samples.get("volume", set())) > 3  # a busy machine looks seldom
    return len(whole) >= 1 and running and NozzleState.LIFTED in samples.get("state", set())


# ---------------------------------------------------------------- listening

POLL, EOT = control(Kind.POLL, 0x50), control(Kind.EOT, 0x50)
LIFTED = POLL + data(0x50, 1, bytes.fromhex("0304 000789 11")) + control(Kind.ACK, 0x50, 1)
FILLING = POLL + data(0x50, 2, bytes.fromhex("010104 0304 000789 11 0208 00000100 00000789"))
COMPLETED = POLL + data(0x50, 3, bytes.fromhex("0208 00002500 00019725 0304 000789 00 010105"))


def listening(**more: object) -> tuple[DartDriver, ScriptedLine]:
    line = ScriptedLine({})
    return DartDriver(DartSettings(address=0x50, **more), SITE, line), line  # type: ignore[arg-type]


async def read(driver: DartDriver, at: float) -> Reading:
    return await driver.read(driver.tags(), NOW + timedelta(seconds=at))


def value(reading: Reading, tag: str) -> Sample:
    return next(sample for sample in reading.samples if sample.tag == tag)


async def test_a_tap_never_asks() -> None:
    driver, line = listening()
    await driver.connect()
    for second in range(60):
        line.pass_on([POLL + EOT, LIFTED, FILLING, COMPLETED][second % 4])
        await read(driver, second)
    assert line.asked == []


async def test_a_filling_is_told_when_the_totalizers_had_their_time() -> None:
    driver, line = listening()
    await driver.connect()
    line.pass_on(LIFTED)
    before = await read(driver, 0)
    assert value(before, "nozzle-1.state").value == NozzleState.LIFTED
    line.pass_on(FILLING)
    during = await read(driver, 5)
    assert (value(during, "nozzle-1.state").value, value(during, "nozzle-1.volume").value) == (2, 1.0)
    line.pass_on(COMPLETED)
    after = await read(driver, 30)
    assert (value(after, "nozzle-1.state").value, value(after, "nozzle-1.volume").value) == (0, 25.0)
    assert list(after.records) == []
    line.pass_on(POLL + EOT)
    assert list((await read(driver, 39)).records) == []
    line.pass_on(POLL + EOT)
    (sale,) = (await read(driver, 41)).records
    assert isinstance(sale, Transaction)
    assert (sale.volume_l, sale.amount_cny, sale.unit_price, sale.totalizer_l) == (25.0, 197.25, 7.89, None)
    assert (sale.start, sale.end) == (NOW + timedelta(seconds=3.5), NOW + timedelta(seconds=30))
    assert sale.raw == COMPLETED[3:]
    line.pass_on(POLL + EOT)
    assert list((await read(driver, 60)).records) == []


@pytest.mark.parametrize("nozzle", [2, 5, 15])
async def test_a_nozzle_beyond_the_configuration_is_an_alarm_and_harms_no_other_side(nozzle: int) -> None:
    line = ScriptedLine({})
    site = Site("S01", "D1", "S01-D1", ("S01-N01", "S01-N02"))
    driver = DartDriver(DartSettings(address=0x50), site, line)
    await driver.connect()

    def said(transactions: str, number: int) -> bytes:
        foreign = bytes.fromhex(transactions.replace("NN", f"{nozzle + 0x10:02x}").replace("HH", f"{nozzle:02x}"))
        return control(Kind.POLL, 0x51) + data(0x51, number, foreign)

    lifted, filling = "0304 000789 NN", "010104 0304 000789 NN 0208 00000100 00000789"
    completed = "0208 00003000 00023670 0304 000789 HH 010105"
    records: list[Record] = []
    for second, passed in enumerate(
        (
            said(lifted, 1) + LIFTED,
            said(filling, 2) + FILLING,
            said(completed, 3) + COMPLETED,
            *[POLL + EOT + control(Kind.POLL, 0x51) + control(Kind.EOT, 0x51)] * 6,
        )
    ):
        line.pass_on(passed)
        records += (await read(driver, 4 * second)).records
    event, sale = sorted(records, key=lambda record: isinstance(record, Transaction))
    assert isinstance(event, DeviceEvent) and isinstance(sale, Transaction)
    assert (sale.nozzle_id, sale.volume_l) == ("S01-N01", 25.0)
    told = {key: event.detail[key] for key in ("code", "side", "nozzle", "volume_l")}
    assert told == {"code": "unknown_nozzle", "side": 2, "nozzle": nozzle, "volume_l": 30.0}


async def test_the_volume_of_a_lifted_nozzle_is_stale() -> None:
    """Nothing tells when the display goes back to zero; the old filling must not look like a display that did not."""
    driver, line = listening()
    await driver.connect()
    line.pass_on(FILLING + COMPLETED)
    await read(driver, 0)
    line.pass_on(POLL + data(0x50, 4, bytes.fromhex("0304 000789 11")))
    reading = await read(driver, 1)
    assert value(reading, "nozzle-1.volume")[1::2] == (25.0, Quality.STALE)


async def test_what_passed_while_nobody_read_is_spread_over_that_time() -> None:
    driver, line = listening()
    await driver.connect()
    line.pass_on(POLL + EOT)
    await read(driver, 0)
    idle = (POLL + EOT) * 40
    line.pass_on(idle + LIFTED + idle + FILLING + idle + COMPLETED + idle * 3)
    (sale,) = (await read(driver, 60)).records
    assert isinstance(sale, Transaction)
    assert NOW + timedelta(seconds=10) < sale.start < sale.end - timedelta(seconds=5)
    assert sale.end < NOW + timedelta(seconds=40)


async def test_silence() -> None:
    driver, line = listening(silence_s=10.0)
    await driver.connect()
    assert value(await read(driver, 0), "nozzle-1.state").quality is Quality.UNCERTAIN
    with pytest.raises(NotReachable, match="0x50; check wires"):
        await read(driver, 10)
    line.pass_on(b"\x12\x34\xff" * 30)
    with pytest.raises(NotReachable, match="90 other bytes; check baud"):
        await read(driver, 11)
    line.pass_on(POLL * 5)
    with pytest.raises(NotReachable, match="though the controller polls"):
        await read(driver, 12)
    await driver.connect()
    assert len(line.ears) == 1, "it still listens"
    line.pass_on(POLL + EOT)
    assert value(await read(driver, 13), "nozzle-1.state").value == 0


async def test_a_pump_that_is_not_polled_cannot_speak() -> None:
    """A controller that is busy with others for a while is no silent pump."""
    driver, line = listening(silence_s=10.0)
    await driver.connect()
    other = control(Kind.POLL, 0x51) + control(Kind.EOT, 0x51)
    for second in range(50):
        line.pass_on(other)
        await read(driver, second)
    with pytest.raises(NotReachable):
        for second in range(50, 70):
            line.pass_on(other)
            await read(driver, second)


async def test_one_silent_side_of_two() -> None:
    line = ScriptedLine({})
    site = Site("S01", "D1", "S01-D1", ("S01-N01", "S01-N02"))
    driver = DartDriver(DartSettings(address=[0x50, 0x60]), site, line)  # type: ignore[arg-type]
    await driver.connect()
    for second in range(12):
        line.pass_on(POLL + EOT + control(Kind.POLL, 0x60))
        reading = await read(driver, second)
    assert value(reading, "nozzle-1.state").quality is Quality.UNCERTAIN
    assert value(reading, "nozzle-2.state").quality is Quality.NOT_CONNECTED
    assert value(reading, "side-2.status").quality is Quality.NOT_CONNECTED


async def test_a_line_that_breaks_in_a_filling() -> None:
    """What ended meanwhile is not told, and the next filling is."""
    driver, line = listening()
    await driver.connect()
    line.pass_on(LIFTED + FILLING)
    await read(driver, 0)
    line.broken = True
    with pytest.raises(NotReachable):
        await read(driver, 1)
    with pytest.raises(NotReachable):
        await driver.connect()
    line.broken = False
    await driver.connect()
    line.pass_on(COMPLETED)
    await read(driver, 5)
    line.pass_on(POLL + data(0x50, 5, bytes.fromhex("0208 00000100 00000789")) + control(Kind.ACK, 0x50, 5))
    await read(driver, 20)
    line.pass_on(POLL + data(0x50, 6, bytes.fromhex("0208 00000300 00002367 0304 000789 00 010105")))
    await read(driver, 30)
    line.pass_on(POLL + EOT)
    (sale,) = (await read(driver, 41)).records
    assert isinstance(sale, Transaction)
    assert sale.volume_l == 3.0


async def test_alarms_identity_and_decimals() -> None:
    driver, line = listening(identity_is="serial")
    await driver.connect()
    parameters = bytes.fromhex("0733") + bytes(22) + bytes((3, 0, 0)) + bytes(26)
    line.pass_on(POLL + data(0x50, 1, bytes.fromhex("0501 04")) + POLL + data(0x50, 2, parameters))
    line.pass_on(POLL + data(0x50, 3, bytes.fromhex("0905 0000000017")))
    alarm, decimals, identity = (await read(driver, 0)).records
    assert isinstance(alarm, DeviceEvent)
    assert (alarm.kind, alarm.detail["code"], alarm.detail["en"]) == (
        EventKind.ALARM,
        "DC5-04",
        "program checksum error",
    )
    assert isinstance(decimals, DeviceEvent)
    assert (decimals.detail["code"], decimals.detail["told"]) == ("decimals", "3/0/0")
    assert identity == DeviceIdentity("S01", "S01-D1", NOW, serial="0000000017")
    line.pass_on(POLL + data(0x50, 4, bytes.fromhex("0905 0000000018")) + POLL + data(0x50, 5, bytes.fromhex("050120")))
    vapour, changed, again = (await read(driver, 1)).records
    assert isinstance(vapour, DeviceEvent)
    assert vapour.detail["en"] == "vapour recovery alarm 32"
    assert isinstance(changed, DeviceEvent)
    assert (changed.kind, changed.detail) == (EventKind.IDENTITY, {"number": "0000000018", "before": "0000000017"})
    assert isinstance(again, DeviceIdentity)
    line.pass_on(POLL + EOT)
    assert list((await read(driver, 2)).records) == []


# ---------------------------------------------------------------- polling


class Pump:
    """A pump that says what the test gives it, one after the other, and keeps what it was asked."""

    def __init__(self, *said: bytes, damage: int = 0) -> None:
        self.said = [data(0x50, n % 16, payload) for n, payload in enumerate(said, 1)]
        self.damage = damage
        self.asked: list[bytes] = []
        self.refuses = False

    def answer(self, request: bytes) -> bytes:
        self.asked.append(request)
        if request[1] & 0xF0 == 0x30:
            return control(Kind.NAK if self.refuses else Kind.ACK, 0x50, request[1] & 0x0F)
        if request[1] & 0xF0 == 0xC0:
            assert self.said[0][1] & 0x0F == request[1] & 0x0F
            self.said.pop(0)
        if not self.said:
            return EOT
        if self.damage:
            self.damage -= 1
            return self.said[0][:-5] + b"\xaa" + self.said[0][-4:]
        return self.said[0]


def polling(pump: Pump, chunk: int = 1 << 16, **more: object) -> DartDriver:
    line = ScriptedLine(pump.answer, chunk=chunk)
    return DartDriver(DartSettings(address=0x50, mode="poll", **more), SITE, line)  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk", [1, 4096])
async def test_a_polled_filling(chunk: int) -> None:
    pump = Pump(LIFTED[5:-7], FILLING[5:-4])
    driver = polling(pump, chunk)
    await driver.connect()
    reading = await read(driver, 0)
    assert (value(reading, "nozzle-1.state").value, value(reading, "nozzle-1.volume").value) == (2, 1.0)
    pump.said = [COMPLETED[3:]]
    await read(driver, 30)
    pump.said = [data(0x50, 4, bytes.fromhex("65 0D 01 99 0000123456 99 0000654321"))]
    (sale,) = (await read(driver, 31)).records
    assert isinstance(sale, Transaction)
    assert (sale.volume_l, sale.totalizer_l, sale.totalizer_cny) == (25.0, 1234.56, 6543.21)
    assert all(map(is_harmless, pump.asked))


async def test_the_end_of_a_filling_that_no_scan_saw_is_told_once() -> None:
    pump = Pump()
    driver = polling(pump)
    await driver.connect()
    await read(driver, 0)
    pump.said = [COMPLETED[3:]]
    await read(driver, 60)
    pump.said = [COMPLETED[3:]]
    await read(driver, 61)
    (sale,) = (await read(driver, 71)).records
    assert isinstance(sale, Transaction)
    assert (sale.start, sale.end) == (NOW, NOW + timedelta(seconds=60))
    assert list((await read(driver, 90)).records) == []


async def test_what_stood_there_at_the_first_poll_is_no_filling() -> None:
    driver = polling(Pump(bytes.fromhex("0208 00002500 00019725 0304 000789 00 010105")))
    await driver.connect()
    for second in (0, 1, 20, 40):
        assert list((await read(driver, second)).records) == []


async def test_damaged_replies_are_asked_for_again() -> None:
    pump = Pump(bytes.fromhex("0101 07"), damage=2)
    driver = polling(pump)
    await driver.connect()
    assert value(await read(driver, 0), "nozzle-1.state").value == NozzleState.LOCKED
    pump.said, pump.damage = [data(0x50, 9, bytes.fromhex("0101 01"))], 3
    with pytest.raises(BadReply, match="0x50: damaged replies"):
        await read(driver, 1)
    assert value(await read(driver, 2), "nozzle-1.state").value == NozzleState.IDLE


async def test_a_pump_that_refuses_questions_is_still_read() -> None:
    pump = Pump(bytes.fromhex("0101 01"))
    pump.refuses = True
    driver = polling(pump)
    await driver.connect()
    assert value(await read(driver, 0), "side-1.status").value == 1


async def test_an_exchange_cut_short_loses_nothing() -> None:
    """The completion has been taken, its acknowledgement was never answered."""
    pump = Pump(LIFTED[5:-7], FILLING[5:-4])
    driver = polling(pump)
    await driver.connect()
    await read(driver, 0)
    pump.said = [COMPLETED[3:]]
    answer = pump.answer
    driver.line = ScriptedLine(lambda request: None if request[1] & 0xF0 == 0xC0 else answer(request))
    for polled in driver._polled.values():
        polled.talk._line = driver.line
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await read(driver, 30)
    driver._polled[0x50].talk._line = ScriptedLine(answer)
    await read(driver, 31)
    (sale,) = (await read(driver, 45)).records
    assert isinstance(sale, Transaction)
    assert sale.volume_l == 25.0


class Trickle:
    """A line on which what comes back is no answer, segment by segment as a socket hands it on."""

    address = "trickle"

    def __init__(self, received: bytes, segment: int) -> None:
        self.received, self.segment, self.looked = received, segment, 0

    async def ask(self, request: bytes, complete: Callable[[bytes], int]) -> bytes:
        for end in range(self.segment, len(self.received) + 1, self.segment):
            self.looked = end
            if length := complete(self.received[:end]):
                return self.received[:length]
        raise AssertionError("the line is asked for ever")

    async def listen(self) -> None:
        raise AssertionError("a polled line is not listened to")


@pytest.mark.parametrize("segment", [1, 100, 1460])
async def test_much_that_is_no_answer_is_given_up_soon(segment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fed = 0

    class CountingCutter(Cutter):
        def feed(self, received: bytes) -> list[Frame]:
            nonlocal fed
            fed += len(received)
            return super().feed(received)

    monkeypatch.setattr(talking, "Cutter", CountingCutter)
    others = (b"\x5f\x3f" * 127 + data(0x60, 1, b"\x01\x01\x01")) * 250
    line = Trickle(others, segment)
    driver = DartDriver(DartSettings(address=0x50, mode="poll"), SITE, line)  # type: ignore[arg-type]
    await driver.connect()
    with pytest.raises(BadReply, match="no answer in"):
        await read(driver, 0)
    assert line.looked <= talking.MOST_RECEIVED + segment
    assert fed == line.looked, "each byte is looked at once"


class Babble:
    """A line on which anything may come back; what never makes a reply is a peer that is gone."""

    address = "tcp://babble:1"

    def __init__(self, replies: list[bytes]) -> None:
        self._replies = replies

    async def ask(self, request: bytes, complete: Callable[[bytes], int]) -> bytes:
        reply = self._replies.pop(0) if self._replies else b""
        for end in range(len(reply) + 1):
            if length := complete(reply[:end]):
                return reply[:length]
        raise NotReachable("gone")

    async def listen(self) -> None:
        raise AssertionError("listened")


FRAMES = st.one_of(
    st.binary(max_size=40),
    st.builds(control, st.sampled_from([k for k in Kind if k]), st.sampled_from([0x50, 0x51]), st.integers(0, 15)),
    st.builds(data, st.sampled_from([0x50, 0x51]), st.integers(0, 15), st.binary(max_size=30)),
    st.sampled_from([EOT, COMPLETED[3:], FILLING[3:], control(Kind.ACK, 0x50)]),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(FRAMES, max_size=12))
def test_whatever_comes_back_raises_only_our_errors(replies: list[bytes]) -> None:
    driver = DartDriver(DartSettings(address=0x50, mode="poll"), SITE, Babble(replies))  # type: ignore[arg-type]

    async def scan() -> None:
        await driver.connect()
        for second in range(6):
            try:
                await read(driver, second)
            except PumpwatchError:
                continue

    asyncio.run(scan())


# ---------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("keys", "nozzles", "says"),
    [
        ({"address": 0x50}, 0, "nozzles: a dispenser has at least one"),
        ({"address": 0x6F}, 2, "address: 2 sides from 0x6f go beyond 0x6f"),
        ({"address": [0x50]}, 2, "address: 1 sides with 1 nozzles each, but 2 nozzles are given"),
        ({"address": [0x50, 0x51], "nozzles_per_side": 2}, 2, "address: 2 sides with 2 nozzles each"),
    ],
)
def test_what_can_never_work_is_said_at_start(keys: dict[str, object], nozzles: int, says: str) -> None:
    site = Site("S01", "D1", "S01-D1", tuple(f"S01-N{n:02d}" for n in range(1, nozzles + 1)))
    with pytest.raises(BadConfig, match=says):
        DartDriver(DartSettings.model_validate(keys), site, ScriptedLine({}))


@pytest.mark.parametrize(
    "keys",
    [{}, {"address": 0x4F}, {"address": 0x70}, {"address": []}, {"address": [0x50, 0x50]}, {"address": 80, "x": 1}],
)
def test_settings_that_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"address|x"):
        DartSettings.model_validate(keys)


async def test_a_display_that_was_not_heard_since_the_last_scan_is_stale() -> None:
    """It would seem to stand still and then to jump; at rest it is what it was."""
    driver, line = listening()
    await driver.connect()
    line.pass_on(LIFTED + FILLING)
    assert value(await read(driver, 0), "nozzle-1.volume")[1::2] == (1.0, Quality.GOOD)
    assert value(await read(driver, 1), "nozzle-1.volume")[1::2] == (1.0, Quality.STALE)
    for second in range(2, 9):
        unheard = await read(driver, second)
    assert value(unheard, "nozzle-1.state").value == NozzleState.FUELLING
    line.pass_on(POLL + EOT)
    assert value(await read(driver, 12), "nozzle-1.volume")[1::2] == (1.0, Quality.GOOD)
    assert value(await read(driver, 13), "nozzle-1.state").value == NozzleState.STOPPED
    line.pass_on(COMPLETED)
    await read(driver, 14)
    assert value(await read(driver, 15), "nozzle-1.volume")[1::2] == (25.0, Quality.GOOD)
