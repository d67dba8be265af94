"""IFSF: numbers and messages, exchanges that are disturbed, what a driver makes of a node, and what it may send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pumpwatch import (
    BadConfig,
    BadReply,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    NozzleState,
    PumpwatchError,
    Quality,
    Reading,
    Refused,
    Site,
    TankReading,
    Transaction,
)
from pumpwatch.testing import ScriptedLine
from pumpwatch_ifsf import IfsfDriver, IfsfSettings
from pumpwatch_ifsf.messages import (
    MOST_ANSWERED,
    Exchange,
    Kind,
    Message,
    Node,
    Read,
    Roll,
    Subnet,
    _cut,
    acknowledgement,
    messages,
)
from pumpwatch_ifsf.values import amount, bcd, crc, day, local_time, text

NOW = datetime(2024, 6, 1, 4, 30, 10, tzinfo=UTC)
OWN, PUMP = Node(2, 126), Node(1, 2)
Answers = dict[int, bytes]


def octets(text_: str) -> bytes:
    return bytes.fromhex(text_)


def encoded(receiver: Node, sender: Node, kind: int, token: int, address: bytes, content: bytes) -> bytes:
    body = bytes((len(address),)) + address + content
    return bytes((*receiver, *sender, 0, kind << 5 | token)) + len(body).to_bytes(2, "big") + body


def data(told: Answers) -> bytes:
    return b"".join(bytes((number, len(value))) + value for number, value in told.items())


@dataclass
class Pump:
    """A dispenser whose data bases a test fills by hand; it answers reads, and keeps what it was sent."""

    node: Node = PUMP
    bases: dict[str, Answers] = field(default_factory=dict)
    sent: list[Message] = field(default_factory=list)
    first: Callable[[], bytes] = bytes
    """What it sends before each answer."""
    refuses: str = ""
    """The data base that it does not let be read."""
    neighbours: tuple[Node, ...] = ()
    """Who else answers on its line, and has the same."""

    def answer(self, request: bytes) -> bytes:
        reply = self.first()
        for message, _ in messages(request):
            self.sent.append(message)
            if message.kind != Kind.READ or message.receiver not in {self.node, *self.neighbours}:
                continue
            if message.address.hex() == self.refuses:
                back = (message.sender, message.receiver, Kind.ACKNOWLEDGE, message.token, message.address)
                reply += encoded(*back, b"\x05")
            else:
                base = self.bases.get(message.address.hex(), {})
                told = data({number: base.get(number, b"") for number in message.content})
                reply += encoded(message.sender, message.receiver, Kind.ANSWER, message.token, message.address, told)
        return reply

    def point(self, state: int, number: int, *, at: str = "21", nozzle: int = 1, up: int = 0, volume: str = "") -> None:
        self.bases[at] = {
            20: bytes((state,)),
            21: bytes((up,)),
            29: octets(f"{number:04d}"),
            37: bytes((nozzle,)),
            35: octets("06" + (volume or "00002550")),
            34: octets("0600020120"),
            36: octets("04000789"),
        }

    def sell(self, number: int, *, at: str = "21", nozzle: int = 1, dated: bool = True, **more: bytes) -> None:
        self.bases[f"{at}21{number:04d}"] = {
            1: octets(f"{number:04d}"),
            5: octets("0600020120"),
            6: octets("0600002550"),
            7: octets("04000789"),
            8: bytes((nozzle,)),
            14: more.get("checksum", b""),
            202: octets("20240601") if dated else b"",
            203: octets("1230") + octets(f"{number % 60:02d}") if dated else b"",
            205: octets("0A") + octets(f"{100_000 + 2550 * number:012d}"),
        }

    def calculator(self, **more: bytes) -> None:
        self.bases["01"] = {
            53: b"DEMO-123456 ",
            54: b"4.2.1       ",
            61: more.get("checksum", octets("C0FFEE11")),
            80: octets("1021"),
            81: octets("0000"),
        }

    def line(self, chunk: int = 4096) -> ScriptedLine:
        return ScriptedLine(self.answer, chunk=chunk)


def site(count: int = 1) -> Site:
    return Site("S01", "D1", "S01-D1", tuple(f"S01-N{n:02d}" for n in range(1, count + 1)))


def driver_of(pump: Pump, count: int = 1, chunk: int = 4096, **settings: Any) -> IfsfDriver:
    given_ = {"node": pump.node.node} | settings
    return IfsfDriver(IfsfSettings.model_validate(given_), site(count), pump.line(chunk))


async def read(driver: IfsfDriver, now: datetime = NOW, *names: str) -> Reading:
    tags = [tag for tag in driver.tags() if not names or tag.name in names]
    async with asyncio.timeout(5):
        return await driver.read(tags, now)


def of(reading: Reading, kind: type) -> list[Any]:
    return [record for record in reading.records if isinstance(record, kind)]


def values(reading: Reading) -> dict[str, object]:
    return {sample.tag: sample.value for sample in reading.samples}


# ---------------------------------------------------------------- numbers and messages


def test_numbers() -> None:
    assert amount(octets("06 00 02 01 20")) == 201.20
    assert amount(octets("04 00 07 89")) == 7.89
    assert amount(octets("0A 12 34 56 78 90 12")) == 1234567890.12
    assert amount(octets("82 07 25")) == -7.25
    assert bcd(octets("12 34")) == 1234
    for wrong in ("06", "", "06 0A", "03 12", "FF 00"):
        with pytest.raises(BadReply):
            amount(octets(wrong))
    assert text(b"4.2.1 \0") == "4.2.1"
    assert day(octets("20 24 06 01")) == "2024-06-01"
    assert day(bytes(4)) == ""
    for wrong_day in ("20 24 13 01", "20 24", "2A 24 06 01", "00 00 01 01"):
        with pytest.raises(BadReply):
            day(octets(wrong_day))
    with pytest.raises(BadReply):
        text(b"\x80")
    with pytest.raises(BadReply):
        local_time(octets("20240601"), octets("246000"))


def test_the_checksum_is_a_crc_of_polynomial_and_seed() -> None:
    """Known check values of CRC-16/XMODEM, /CCITT-FALSE and /UMTS."""
    assert crc(0x1021, 0, b"123456789") == 0x31C3
    assert crc(0x1021, 0xFFFF, b"123456789") == 0x29B1
    assert crc(0x8005, 0, b"123456789") == 0xFEE8


def test_the_example_of_the_standard() -> None:
    ((message, end),) = messages(octets("02 01 01 02 00 29 00 05 01 21 14 01 03"))
    assert end == 13
    assert message == Message(Node(2, 1), Node(1, 2), Kind.ANSWER, 9, b"\x21", octets("14 01 03"))
    exchange = Exchange(Node(2, 1), [Read(Node(1, 2), b"\x21", (20,))], 9)
    assert exchange.request == octets("01 02 02 01 00 09 00 03 01 21 14")
    assert exchange.answers(octets("02 01 01 02 00 29 00 05 01 21 14 01 03")) == [{20: b"\x03"}]


def test_an_acknowledgement_says_taken_and_nothing_more() -> None:
    came = Message(OWN, PUMP, Kind.UNSOLICITED_TO_ACKNOWLEDGE, 7, b"\x21", octets("14 01 04"))
    assert acknowledgement(came) == octets("01 02 02 7E 00 E7 00 03 01 21 00")


@given(
    st.lists(st.sampled_from([b"\x21", b"\x21\x11", b"\x01"]), min_size=1, max_size=16), st.integers(0, 31), st.data()
)
def test_answers_in_any_order_and_any_pieces(addresses: list[bytes], token: int, draw: st.DataObject) -> None:
    reads = [Read(PUMP, address, (place,)) for place, address in enumerate(addresses)]
    exchange = Exchange(OWN, reads, token)
    replies = [
        encoded(OWN, PUMP, Kind.ANSWER, (token + place) % 32, read_.address, bytes((place, 1, place)))
        for place, read_ in enumerate(reads)
    ]
    noise = [
        b"",
        octets("C0A80114 0D9E 0102 01 00"),
        encoded(OWN, Node(1, 9), Kind.ANSWER, token, b"\x21", b"\0\0"),
        encoded(OWN, PUMP, Kind.UNSOLICITED, 3, b"\x21", octets("14 01 03")),
    ]
    mixed = draw.draw(st.permutations([*replies, *noise]))
    whole = b"".join(mixed)
    end = exchange.complete(whole)
    assert exchange.answers(whole[:end]) == [{place: bytes((place,))} for place in range(len(reads))]
    assert all(exchange.complete(whole[:size]) in {0, end} for size in range(len(whole)))
    assert [exchange.complete(whole[:size]) for size in range(end)] == [0] * end


# ---------------------------------------------------------------- a dispenser


async def test_states_of_a_fuelling_point() -> None:
    pump = Pump()
    driver = driver_of(pump)
    seen = []
    for state, up in ((1, 0), (2, 0), (3, 0), (4, 1), (5, 0), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1)):
        pump.point(state, 1, up=up)
        seen.append(values(await read(driver, NOW, "nozzle-1.state"))["nozzle-1.state"])
    states = NozzleState
    assert seen == [
        states.LOCKED,
        states.IDLE,
        states.IDLE,
        states.LIFTED,
        states.IDLE,
        states.LIFTED,
        states.LIFTED,
        states.LIFTED,
        states.FUELLING,
        states.STOPPED,
    ]
    pump.point(10, 1)
    reading = await read(driver, NOW, "nozzle-1.state")
    assert [s.quality for s in reading.samples if s.tag == "nozzle-1.state"] == [Quality.BAD_REPLY]


async def test_every_tag_is_told() -> None:
    pump = Pump()
    pump.point(3, 0)
    driver = driver_of(pump, 1)
    reading = await read(driver)
    assert {sample.tag for sample in reading.samples} == {tag.name for tag in driver.tags()}
    assert {sample.quality for sample in reading.samples if sample.value is None} == {Quality.BAD}


async def test_a_sale_is_told_once_when_it_is_complete() -> None:
    pump = Pump()
    driver = driver_of(pump)
    pump.point(3, 7)
    for number in (4, 5, 6, 7):
        pump.sell(number)
    assert [sale.seq for sale in of(await read(driver), Transaction)] == [4, 5, 6, 7]
    pump.point(8, 8)
    assert of(await read(driver), Transaction) == []
    pump.point(3, 8)
    assert of(await read(driver), Transaction) == [], "the buffer does not have it yet"
    pump.sell(8)
    (sale,) = of(await read(driver), Transaction)
    assert (sale.seq, sale.volume_l, sale.amount_cny, sale.unit_price) == (8, 25.5, 201.2, 7.89)
    assert sale.end == datetime(2024, 6, 1, 4, 30, 8, tzinfo=UTC)
    assert sale.totalizer_l == 1204.0
    assert of(await read(driver), Transaction) == []


@pytest.mark.parametrize("unit", ["00", "020101010080000201", "027e0101008000050121140103"])
def test_talk_without_end_is_looked_at_once_and_given_up(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, a message that never ends, messages that nobody asked for; in pieces of a segment each."""
    looked = 0

    def cut(received: bytes, at: int) -> tuple[Message | None, int]:
        nonlocal looked
        looked += 1
        return _cut(received, at)

    monkeypatch.setattr("pumpwatch_ifsf.messages._cut", cut)
    talk = octets(unit) * (2 * MOST_ANSWERED)
    for asked in (Exchange(OWN, [Read(PUMP, b"\x21", (20,))], 0), Roll(OWN, Subnet.DISPENSER, b"\1", 1)):
        looked = 0
        with pytest.raises(BadReply, match="without the answer"):
            for end in range(100, 2 * MOST_ANSWERED, 100):
                asked.complete(talk[:end])
        assert looked <= MOST_ANSWERED + 2 * 164, "each byte once, and what is not whole yet once a piece"


@pytest.mark.parametrize("counts_at_start", [True, False])
async def test_how_long_a_filling_took_is_what_was_seen(counts_at_start: bool) -> None:
    pump = Pump()
    driver = driver_of(pump)
    shown = (
        [(3, 7), (4, 7), (8, 8), (8, 8), (9, 8), (3, 8)]
        if counts_at_start
        else [(3, 7), (8, 7), (8, 7), (8, 8), (3, 8)]
    )
    pump.sell(8)
    found = []
    for seconds, (state, number) in enumerate(shown):
        pump.point(state, number, up=1)
        found += of(await read(driver, NOW + timedelta(seconds=10 * seconds), "nozzle-1.state"), Transaction)
    (sale,) = found
    assert sale.end - sale.start == timedelta(seconds=30 if counts_at_start else 20)


async def test_lifted_and_hung_again_is_no_filling() -> None:
    """A transaction of nothing is told only where its number would be missing; less than nothing is none at all."""
    nothing = {5: octets("0600000000"), 6: octets("0600000000")}
    less = {5: octets("8600020120"), 6: octets("8600002550")}
    for count, sold in ((1, [(5, 25.5), (6, 0.0)]), (2, [(0, 25.5)])):
        pump = Pump()
        driver = driver_of(pump, count, places=["1/1", "1/2"][:count])
        pump.point(3, 7)
        for number, change in ((5, {}), (6, nothing), (7, less)):
            pump.sell(number)
            pump.bases[f"2121{number:04d}"] |= change
        told = of(await read(driver), Transaction)
        assert [(sale.seq if count == 1 else 0, sale.volume_l) for sale in told] == sold


async def test_a_sale_that_never_comes_is_given_up() -> None:
    pump = Pump()
    driver = driver_of(pump)
    pump.point(3, 1)
    await read(driver)
    pump.point(3, 2)
    for _ in range(6):
        pump.sent.clear()
        await read(driver)
    assert [message for message in pump.sent if len(message.address) == 4] == []


async def test_after_9999_comes_1() -> None:
    pump = Pump()
    driver = driver_of(pump)
    for number in (9998, 9999, 1, 2):
        pump.sell(number)
    pump.point(3, 9998)
    assert [sale.seq for sale in of(await read(driver), Transaction)] == [9998]
    pump.point(3, 2)
    assert [sale.seq for sale in of(await read(driver), Transaction)] == [9999, 1, 2]


async def test_a_dispenser_that_dates_nothing_tells_what_was_seen_to_come() -> None:
    pump = Pump()
    driver = driver_of(pump)
    pump.point(3, 1)
    pump.sell(1, dated=False)
    assert of(await read(driver), Transaction) == [], "when it was is not known, and would be told twice"
    pump.point(3, 2)
    pump.sell(2, dated=False)
    later = NOW + timedelta(seconds=30)
    (sale,) = of(await read(driver, later), Transaction)
    assert (sale.seq, sale.end) == (2, later)


async def test_security_checksums() -> None:
    pump = Pump()
    driver = driver_of(pump)
    pump.calculator()
    pump.point(3, 1)
    right = crc(0x1021, 0, octets("21 0001 0600020120 0600002550")).to_bytes(3, "big")
    pump.sell(1, checksum=b"\0\0\0")
    reading = await read(driver)
    assert [sale.attributes["security_checksum"] for sale in of(reading, Transaction)] == ["none"]
    assert of(reading, DeviceEvent) == [], "a device that never fills it in"
    told = []
    for number, given_ in ((2, b""), (3, right), (4, b"\0\0\0")):
        pump.sell(number, checksum=given_)
        if number == 3:
            covered = octets("21 0003 0600020120 0600002550")
            pump.bases["21210003"][14] = crc(0x1021, 0, covered).to_bytes(3, "big")
        pump.point(3, number)
        reading = await read(driver)
        told += [
            (sale.attributes["security_checksum"], len(of(reading, DeviceEvent))) for sale in of(reading, Transaction)
        ]
    assert told == [("none", 0), ("sound", 0), ("wrong", 1)], "who fills it in once does so always"
    assert of(await read(driver_of(pump)), DeviceEvent) == of(await read(driver_of(pump)), DeviceEvent)


async def test_without_polynomial_nothing_is_claimed() -> None:
    pump = Pump()
    pump.point(3, 1)
    pump.sell(1, checksum=b"\0\x12\x34")
    (sale,) = of(await read(driver_of(pump)), Transaction)
    assert sale.attributes["security_checksum"] == "unknown"


async def test_who_it_is_and_what_has_changed() -> None:
    pump = Pump()
    pump.point(3, 0)
    pump.calculator()
    pump.bases["81"] = {2: b"\x64", 3: octets("2710")}
    driver = driver_of(pump)
    assert of(await read(driver), DeviceIdentity) == [
        DeviceIdentity("S01", "S01-D1", NOW, serial="DEMO-123456", firmware_version="4.2.1")
    ]
    assert of(await read(driver), DeviceIdentity) == []
    pump.calculator(checksum=octets("DEADBEEF"))
    pump.bases["81"][3] = octets("2774")
    reading = await read(driver)
    assert [event.detail for event in of(reading, DeviceEvent) if event.kind is EventKind.IDENTITY] == [
        {"field": "identity.software_checksum", "was": "c0ffee11", "is": "deadbeef"},
        {"field": "nozzle-1.calibration_factor", "was": 10000, "is": 10100},
    ]
    hour = NOW + timedelta(hours=1)
    assert [identity.at for identity in of(await read(driver, hour), DeviceIdentity)] == [hour]
    (told,) = of(await read(driver_of(pump, firmware_digest="checksum")), DeviceIdentity)
    assert told.firmware_digest == "deadbeef"


async def test_nozzles_that_share_a_point() -> None:
    pump = Pump()
    pump.point(8, 3, nozzle=2, up=2, volume="00001234")
    pump.sell(1, nozzle=1)
    pump.sell(2, nozzle=4)
    pump.point(4, 9, at="22", up=1)
    driver = driver_of(pump, 3, places=["1/1", "1/2", "2/1"])
    reading = await read(driver)
    told = values(reading)
    assert [told[f"nozzle-{n}.state"] for n in (1, 2, 3)] == [0, 2, 1]
    assert told["nozzle-2.volume"] == 12.34
    assert "nozzle-1.volume" not in told
    (sale,) = of(reading, Transaction)
    assert sale.nozzle_id == "S01-N01", "nozzle 3 of point 1 is nobody's"
    assert sale.seq == int(sale.end.timestamp())
    assert sale.attributes["transaction"] == "1"


async def test_what_is_refused_is_bad_and_the_rest_is_told() -> None:
    pump = Pump(refuses="81")
    pump.point(3, 0)
    told = {sample.tag: sample for sample in (await read(driver_of(pump))).samples}
    assert told["nozzle-1.state"].value == 0
    assert told["nozzle-1.pulse_factor"].quality is Quality.REFUSED


# ---------------------------------------------------------------- a gauge, and who is there


async def test_a_gauge() -> None:
    gauge = Pump(Node(9, 3))
    gauge.bases["22"] = {
        0x20: b"\x02",
        0x21: octets("0001"),
        0x40: octets("01234500"),
        0x41: octets("0A000001500025"),
        0x43: octets("021825"),
        0x46: octets("20240601"),
        0x47: octets("123000"),
    }
    tanks = Site("S01", "ATG", tank_ids=("S01-T1", "S01-T2"))
    driver = IfsfDriver(IfsfSettings(node=3), tanks, gauge.line())
    reading = await read(driver)
    (level,) = of(reading, TankReading)
    assert (level.tank_id, level.height_mm, level.volume_l, level.at) == ("S01-T2", 1234.5, 15000.25, NOW)
    assert [event.detail["active"] for event in of(reading, DeviceEvent)] == [True]
    gauge.bases["22"][0x21] = octets("0000")
    assert [event.detail["active"] for event in of(await read(driver), DeviceEvent)] == [False]
    assert {sample.tag for sample in reading.samples} >= {tag.name for tag in driver.tags()} - {"clock_difference"}


async def test_the_only_node_is_found() -> None:
    pump = Pump(Node(1, 77))
    pump.bases["01"] = {5: b"\x01"}
    pump.point(3, 0)
    driver = IfsfDriver(IfsfSettings(), site(), pump.line(chunk=3))
    with pytest.raises(BadReply, match="nobody has answered"):
        await read(driver)
    await driver.connect()
    assert values(await read(driver))["nozzle-1.state"] == 0


async def test_of_several_nodes_one_must_be_named() -> None:
    pump = Pump(Node(1, 3), {"01": {5: b"\x01"}}, neighbours=(Node(1, 5), Node(1, 127)))
    driver = IfsfDriver(IfsfSettings(), site(), pump.line(chunk=5))
    with pytest.raises(Refused, match="nodes 3, 5, 127 answer on this line"):
        await driver.connect()


def test_bad_settings_are_explained() -> None:
    line = ScriptedLine({})
    for wrong in (Site("S01", "D1"), Site("S01", "D1", None, ("N",), ("T",))):
        with pytest.raises(BadConfig, match="nozzles or tanks"):
            IfsfDriver(IfsfSettings(), wrong, line)
    with pytest.raises(BadConfig, match="four fuelling points"):
        IfsfDriver(IfsfSettings(), site(5), line)
    with pytest.raises(BadConfig, match="2 given for 1"):
        IfsfDriver(IfsfSettings(places=("1/1", "1/2")), site(1), line)
    for settings in ({"places": ["5/1"]}, {"places": ["1/1", "1/1"]}, {"node": 0}, {"own_node": 128}):
        with pytest.raises(ValidationError):
            IfsfSettings.model_validate(settings)


# ---------------------------------------------------------------- what it may send, and what may come


async def test_it_sends_reads_and_the_acknowledgements_that_are_demanded() -> None:
    pump = Pump()
    pump.point(3, 2)
    pump.calculator()
    pump.sell(1)
    pump.sell(2)
    unasked = encoded(OWN, PUMP, Kind.UNSOLICITED_TO_ACKNOWLEDGE, 9, b"\x21", octets("14 01 03"))
    driver = driver_of(pump)
    await read(driver)
    pump.first = lambda: unasked
    await read(driver)
    pump.first = bytes
    await read(driver)
    assert {message.kind for message in pump.sent} == {Kind.READ, Kind.ACKNOWLEDGE}
    acknowledged = [message for message in pump.sent if message.kind == Kind.ACKNOWLEDGE]
    assert acknowledged == [Message(PUMP, OWN, Kind.ACKNOWLEDGE, 9, b"\x21", b"\0")]


async def test_what_is_cut_short_is_not_lost() -> None:
    """The buffer is silent for once: what was owed is read at the next time."""
    pump = Pump()
    pump.point(3, 1)
    driver = driver_of(pump)
    await read(driver)
    pump.point(3, 2)
    pump.sell(2)
    silent = ScriptedLine(lambda request: None if len(request) < 40 else pump.answer(request))
    talking, driver.line = driver.line, silent
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await driver.read(driver.tags(), NOW)
    driver.line = talking
    assert [sale.seq for sale in of(await read(driver), Transaction)] == [2]


async def taken(driver: IfsfDriver, line: ScriptedLine) -> None:
    driver.line = line
    try:
        async with asyncio.timeout(0.02):
            await driver.connect()
            reading = await driver.read(driver.tags(), NOW)
    except (PumpwatchError, TimeoutError):
        return
    names = {tag.name for tag in driver.tags()}
    assert {sample.tag for sample in reading.samples} <= names
    for sale in of(reading, Transaction):
        assert 0 <= sale.volume_l < 1e7
        assert sale.end.tzinfo is UTC


def damaged(reply: bytes, draw: st.DataObject) -> bytes:
    start = draw.draw(st.integers(0, len(reply)))
    return reply[:start] + draw.draw(st.binary(max_size=9)) + reply[start + draw.draw(st.integers(0, 9)) :]


@given(st.data())
async def test_damage_is_survived(draw: st.DataObject) -> None:
    pump = Pump()
    pump.calculator()
    pump.point(3, 2)
    pump.sell(1)
    pump.sell(2)
    node = draw.draw(st.sampled_from([2, None]))
    await taken(driver_of(pump, 2, node=node), ScriptedLine(lambda request: damaged(pump.answer(request), draw)))


@given(st.binary(max_size=400))
async def test_noise_is_survived(noise: bytes) -> None:
    await taken(driver_of(Pump(), 2), ScriptedLine(lambda _: noise))


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=12)), max_size=12))
async def test_any_data_are_survived(told: Sequence[tuple[int, bytes]]) -> None:
    pump = Pump()
    given_ = dict(told)
    for base in ("01", "21", "81", "2111", "21210001", "21210002", "21210003"):
        pump.bases[base] = given_
    pump.bases["21"] = {29: octets("0003")} | given_
    await taken(driver_of(pump), pump.line())
    gauge = Pump(Node(9, 2), {"21": given_})
    driver = IfsfDriver(IfsfSettings(node=2), Site("S01", "ATG", tank_ids=("S01-T1",)), gauge.line())
    await taken(driver, gauge.line())
