"""The TLS-350 codec and driver: envelopes, reports, units and time, deliveries and alarms as they change."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import (
    BadReply,
    Delivery,
    DeviceEvent,
    EventKind,
    NotReachable,
    PumpwatchError,
    Quality,
    Refused,
    ScanClass,
    Site,
    TagKind,
    TankReading,
)
from pumpwatch.line import WireLine
from pumpwatch.settings import LineAddress
from pumpwatch.testing import ScriptedLine
from pumpwatch_tls350 import Tls350Driver, Tls350Settings
from pumpwatch_tls350.alarms import CATEGORIES, SYSTEM, TANK, meaning
from pumpwatch_tls350.envelope import LONGEST, Question, checksum

NOW = datetime(2026, 11, 22, 4, 30, 15, tzinfo=UTC)
LOCAL = timedelta(hours=8)
SITE = Site("S01", "TLS", None, (), ("S01-T1", "S01-T2"))
REFUSED = b"\x019999FF1B\x03"


def reply(code: str, body: str, at: datetime = NOW + LOCAL) -> bytes:
    data = b"\x01" + f"{code}{at:%y%m%d%H%M}{body}&&".encode()
    return data + checksum(data) + b"\x03"


def floats(*values: float) -> str:
    return f"{len(values):02X}" + "".join(struct.pack(">f", value).hex().upper() for value in values)


@dataclass
class Console:
    """A TLS console with two tanks that a test sets as it likes."""

    status: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})
    deliveries: dict[int, list[tuple[datetime, datetime, float, float]]] = field(default_factory=lambda: {1: [], 2: []})
    alarms: list[str] = field(default_factory=list)
    tank_alarms: dict[int, list[str]] = field(default_factory=dict)
    clock: datetime = NOW + LOCAL
    refuses: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    garbles: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def answer(self, request: bytes) -> bytes | None:
        assert request.startswith(b"\x01") and request.endswith(b"\r\n")
        code = request[1:-2].decode()
        self.asked.append(code)
        if code in self.refuses:
            return REFUSED
        if code in self.silent:
            return None
        body = self.body(code)
        if body is None:
            return REFUSED
        answer = reply(code, body, self.clock)
        return answer.replace(b"&&", b"&%") if code in self.garbles else answer

    def body(self, code: str) -> str | None:
        match code[:4]:
            case "i201":
                values = floats(5000.5, 4990.25, 15000, 1234.5, 12.5, 21.5, 30)
                return "".join(f"{n:02d}1{self.status[n]:04X}{values}" for n in (1, 2))
            case "i202":
                tank = int(code[4:])
                text = f"{tank:02d}1{len(self.deliveries[tank]):02d}"
                for start, end, before, after in self.deliveries[tank]:
                    values = floats(before, before, 0, 20, after, after, 0, 20, 500, 900)
                    text += f"{start:%y%m%d%H%M}{end:%y%m%d%H%M}{values}"
                return text
            case "i101":
                return "".join(self.alarms) or "000000"
            case "i205":
                return "".join(
                    f"{n:02d}{len(self.tank_alarms.get(n, [])):02X}{''.join(self.tank_alarms.get(n, []))}"
                    for n in (1, 2)
                )
            case "i902":
                return "SOFTWARE# 346330-100-CCREATED - 98.04.28.15.55"
        return None


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def gauge(console: Console) -> Tls350Driver:
    return Tls350Driver(Tls350Settings(), SITE, ScriptedLine(console.answer, chunk=19))


async def read(driver: Tls350Driver, *classes: ScanClass, now: datetime = NOW) -> tuple[dict, list]:
    tags = [tag for tag in driver.tags() if not classes or tag.scan in classes]
    reading = await driver.read(tags, now)
    return {sample.tag: sample for sample in reading.samples}, list(reading.records)


def of(kind: type, records: list) -> list:
    return [record for record in records if isinstance(record, kind)]


# ---------------------------------------------------------------- envelope


def test_checksums_of_the_manual() -> None:
    assert checksum(b"\x019999") == b"FF1B"
    assert checksum(b"\x01i101009707290902000000&&") == b"FB2B"


def test_questions_end_with_cr_lf_and_may_carry_a_security_code() -> None:
    assert Question("i20100").request == b"\x01i20100\r\n"
    assert Question("i20100", "ABC123").request == b"\x01ABC123i20100\r\n"


def test_what_comes_before_and_after_a_reply() -> None:
    question, answer = Question("i10100"), reply("i10100", "000000")
    late = reply("i20500", "01000200")
    received = b"\r\n" + late + b"\r\n\0" + answer + b"\r\n"
    assert question.complete(received) == len(received) - 2
    assert question.report(received).body == "000000"
    for end in range(len(b"\r\n" + late + b"\r\n\0" + answer)):
        assert question.complete(received[:end]) == 0


@pytest.mark.parametrize(
    ("what", "answer", "says"),
    [
        ("no beginning", b"i10100" + b"\x03", "does not begin with SOH: 693130313030"),
        ("no checksum", b"\x01i101002611221230000000\x03", "wrong checksum: 0169"),
        ("no ampersands", reply("i10100", "000000").replace(b"&&", b"%%"), "wrong checksum"),
        ("another question's damaged reply", reply("i10100", "000000").replace(b"i101", b"i102"), "wrong checksum"),
        ("a question nobody asked", reply("i20C01", "01100"), "answered another question: 016932304330"),
        ("no time", b"\x01i10100&&" + checksum(b"\x01i10100&&") + b"\x03", "no time YYMMDDHHmm: ''"),
        ("an impossible time", reply("i10100", "", NOW).replace(b"2611220430", b"2613220430"), "wrong checksum"),
    ],
)
def test_damaged_envelopes(what: str, answer: bytes, says: str) -> None:
    question = Question("i10100")
    with pytest.raises(BadReply, match=says):
        question.complete(answer)
        question.report(answer)


def test_a_month_that_is_none() -> None:
    data = b"\x01i101002613220430000000&&"
    with pytest.raises(BadReply, match="no time: '2613220430'"):
        Question("i10100").report(data + checksum(data) + b"\x03")


def test_a_reply_without_end_is_given_up() -> None:
    question = Question("i10100")
    assert question.complete(b"\x01" * LONGEST) == 0
    with pytest.raises(BadReply, match="no answer; check that a TLS console"):
        question.complete(b"\x01" * (LONGEST + 1))
    with pytest.raises(BadReply, match="no answer"):
        question.complete(reply("i20500", "0100") * (LONGEST // 20))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["i20100", "i20201", "i10100", "i20500", "i90200"]))
def test_rubbish_in_an_envelope_never_does_more_than_complain(data: bytes, code: str) -> None:
    question = Question(code)
    for act in (question.complete, question.report):
        try:
            act(data)
        except PumpwatchError as error:
            assert isinstance(error, BadReply | Refused)


# ---------------------------------------------------------------- tags and values


def test_tags(gauge: Tls350Driver) -> None:
    tags = {tag.name: tag for tag in gauge.tags()}
    units = {"volume": "L", "volume_20c": "L", "ullage": "L", "height": "mm", "water": "mm", "temperature": "°C"}
    for n in (1, 2):
        assert {k: tags[f"tank-{n}.{k}"].unit for k in units} == units
        assert tags[f"tank-{n}.water_volume"].unit == "L"
    assert tags["status"].kind is TagKind.STATE
    assert (tags["identity.software"].scan, tags["identity.software"].kind) == (ScanClass.SLOW, TagKind.IDENTITY)
    assert (tags["clock_difference"].scan, tags["clock_difference"].unit) == (ScanClass.SLOW, "s")
    assert not any(tag.scan is ScanClass.FAST for tag in tags.values())
    assert len(tags) == 17


async def test_a_scan_of_everything(gauge, console) -> None:
    samples, records = await read(gauge)
    assert samples.keys() == {tag.name for tag in gauge.tags()}
    assert samples["tank-2.volume"].value == 5000.5
    assert samples["tank-1.volume_20c"].value == 4990.25
    assert samples["tank-1.water"].value == 12.5
    assert samples["status"].value == "normal"
    assert samples["identity.software"].value == "346330-100-C, 98.04.28.15.55"
    assert samples["clock_difference"].value == 0
    assert all(s.at == NOW and s.quality is Quality.GOOD for s in samples.values())
    assert records[0] == TankReading("S01-T1", NOW, 1234.5, 5000.5, 4990.25, 12.5, 21.5)
    assert len(records) == 2
    assert console.asked == ["i20100", "i10100", "i90200", "i20201", "i20202"]


async def test_only_what_is_due_is_asked(gauge, console) -> None:
    await read(gauge, ScanClass.NORMAL)
    console.asked.clear()
    await read(gauge, ScanClass.NORMAL)
    assert console.asked == ["i20100", "i10100"]
    console.asked.clear()
    for _ in range(3):
        await read(gauge, ScanClass.SLOW)
    assert console.asked == ["i90200", "i20201", "i90200", "i20202", "i90200", "i20201"]


async def test_us_units(console) -> None:
    gauge = Tls350Driver(Tls350Settings(units="us"), SITE, ScriptedLine(console.answer))
    samples, _ = await read(gauge)
    assert samples["tank-1.volume"].value == pytest.approx(18928.95, abs=0.01)
    assert samples["tank-1.height"].value == pytest.approx(31356.3)
    assert samples["tank-1.temperature"].value == pytest.approx(-5.8333, abs=1e-4)


@pytest.mark.parametrize(("ahead", "used"), [(-45, True), (75, True), (-165, False), (165, False)])
async def test_the_consoles_time_is_kept_when_it_is_not_now(gauge, console, ahead, used) -> None:
    """The console's minute 12:30 begins 15 s before now."""
    console.clock = NOW + LOCAL + timedelta(seconds=ahead)
    samples, records = await read(gauge, ScanClass.NORMAL)
    told = console.clock.replace(second=0) - LOCAL
    assert samples["tank-1.volume"].at == samples["status"].at == records[0].at == (NOW if used else told)


async def test_the_clock_difference(console) -> None:
    gauge = Tls350Driver(Tls350Settings(clock_offset_h=-3.5), SITE, ScriptedLine(console.answer))
    console.clock = NOW - timedelta(hours=3.5) + timedelta(minutes=7)
    samples, _ = await read(gauge, ScanClass.SLOW)
    assert samples["clock_difference"].value == 7 * 60


async def test_one_refused_report_leaves_the_others(gauge, console) -> None:
    console.refuses = {"i10100"}
    console.garbles = {"i90200"}
    samples, _ = await read(gauge)
    assert samples["status"].quality is Quality.REFUSED
    assert samples["identity.software"].quality is Quality.BAD_REPLY
    assert samples["tank-1.volume"].quality is Quality.GOOD
    console.refuses = {"i20100", "i10100"}
    with pytest.raises(Refused, match="i20100"):
        await read(gauge, ScanClass.NORMAL)


async def test_a_broken_line_is_not_reachable(gauge) -> None:
    gauge.line.broken = True
    with pytest.raises(NotReachable):
        await read(gauge)


@pytest.mark.parametrize("given", [{"security_code": "12345"}, {"security_code": "1234油6"}, {"units": "imperial"}])
def test_settings_are_checked(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Tls350Settings"):
        Tls350Settings.model_validate(given)


def test_a_security_code_does_not_show() -> None:
    assert "ABC123" not in repr(Tls350Settings.model_validate({"security_code": "ABC123"}))


# ---------------------------------------------------------------- deliveries


def local(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, 22, hour, minute)  # noqa: DTZ001 - the console's own time


async def test_deliveries_are_told_once(gauge, console) -> None:
    console.deliveries[2] = [(local(6), local(6, 20), 1000, 9000)]
    _, records = await read(gauge)
    start = datetime(2026, 11, 21, 22, tzinfo=UTC)
    assert of(Delivery, records) == [
        Delivery("S01-T2", start, received_l=8000.0, end=start + timedelta(minutes=20)),
    ]
    await gauge.connect()
    _, records = await read(gauge)
    assert of(Delivery, records) == []
    console.deliveries[2].append((local(9), local(9, 30), 2000, 12500))
    await gauge.connect()
    _, records = await read(gauge)
    assert [(d.tank_id, d.received_l) for d in of(Delivery, records)] == [("S01-T2", 10500.0)]


async def test_the_end_of_a_delivery_is_followed_at_once(gauge, console) -> None:
    await read(gauge)
    console.status[1] = 1
    await read(gauge, ScanClass.NORMAL)
    console.asked.clear()
    _, records = await read(gauge, ScanClass.NORMAL)
    assert of(Delivery, records) == [] and "i20201" not in console.asked
    console.status[1] = 0
    console.deliveries[1] = [(local(11), local(12), 1000, 4000)]
    _, records = await read(gauge, ScanClass.NORMAL)
    assert [d.received_l for d in of(Delivery, records)] == [3000.0]
    assert console.asked.count("i20201") == 1


async def test_the_oldest_deliveries_leave_the_memory(gauge, console) -> None:
    console.deliveries[1] = [(local(h), local(h, 30), 0, 100 + h) for h in range(10)]
    _, records = await read(gauge)
    assert len(of(Delivery, records)) == 10
    console.deliveries[1] = [*console.deliveries[1][1:], (local(10), local(10, 30), 0, 110)]
    await gauge.connect()
    _, records = await read(gauge)
    assert [d.received_l for d in of(Delivery, records)] == [110.0]


async def test_a_volume_that_is_no_number(gauge, console) -> None:
    console.deliveries[1] = [(local(1), local(2), float("nan"), 100)]
    _, records = await read(gauge)
    assert [d.received_l for d in of(Delivery, records)] == [None]


async def test_a_console_without_delivery_reports_says_so_once(gauge, console) -> None:
    console.refuses = {"i20201", "i20202"}
    _, records = await read(gauge)
    assert [e.detail["code"] for e in of(DeviceEvent, records)] == ["i20201", "i20202"]
    for _ in range(3):
        _, records = await read(gauge)
        assert of(DeviceEvent, records) == []
    console.refuses = set()
    await gauge.connect()
    _, records = await read(gauge)
    assert [(e.detail["code"], e.detail["active"]) for e in of(DeviceEvent, records)] == [
        ("i20201", False),
        ("i20202", False),
    ]


async def test_an_exchange_cut_short_loses_nothing_and_a_slow_line_is_not_asked_for_ever(gauge, console) -> None:
    console.deliveries = {1: [(local(1), local(2), 0, 100)], 2: [(local(3), local(4), 0, 200)]}
    console.alarms = ["020402"]
    console.silent = {"i20202"}
    for _ in range(3):
        await gauge.connect()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await read(gauge)
    _, records = await read(gauge)
    assert [d.received_l for d in of(Delivery, records)] == [100.0]
    assert [e.detail["code"] for e in of(DeviceEvent, records)] == ["020402", "i20202"]
    console.silent = set()
    console.status[2] = 1
    await read(gauge, ScanClass.NORMAL)
    console.status[2] = 0
    _, records = await read(gauge, ScanClass.NORMAL)
    assert [d.received_l for d in of(Delivery, records)] == [200.0]


# ---------------------------------------------------------------- alarms


def events(records: list) -> list[tuple[object, object]]:
    return [(e.detail["code"], e.detail["active"]) for e in of(DeviceEvent, records)]


async def test_alarms_come_and_go_as_events(gauge, console) -> None:
    await read(gauge)
    console.alarms = ["020601", "011200"]
    samples, records = await read(gauge, ScanClass.NORMAL)
    assert samples["status"].value == "011200,020601"
    assert events(records) == [("011200", True), ("020601", True)]
    first = of(DeviceEvent, records)[1]
    assert (first.kind, first.station_id, first.device_id, first.at) == (EventKind.ALARM, "S01", "TLS", NOW)
    assert dict(first.detail) == {
        "code": "020601",
        "active": True,
        "tank_id": "S01-T1",
        "zh": "油罐 1：油量突降报警",
        "en": "Tank 1: sudden loss alarm",
    }
    _, records = await read(gauge, ScanClass.NORMAL)
    assert events(records) == []
    console.alarms = ["020601"]
    _, records = await read(gauge, ScanClass.NORMAL)
    assert events(records) == [("011200", False)]
    console.alarms = []
    _, records = await read(gauge, ScanClass.NORMAL)
    assert events(records) == [("020601", False)]


async def test_a_tanks_own_alarm_lasts_until_both_reports_are_clear(gauge, console) -> None:
    console.alarms, console.tank_alarms = ["020402"], {2: ["04", "10"]}
    _, records = await read(gauge, ScanClass.NORMAL)
    assert events(records) == [("020402", True), ("021002", True)]
    console.alarms, console.garbles = [], {"i20500"}
    _, records = await read(gauge, ScanClass.NORMAL)
    assert events(records) == []
    console.garbles, console.tank_alarms = set(), {2: ["10"]}
    _, records = await read(gauge, ScanClass.NORMAL)
    assert events(records) == [("020402", False)]
    console.tank_alarms = {}
    _, records = await read(gauge, ScanClass.NORMAL)
    assert events(records) == [("021002", False)]
    console.asked.clear()
    await read(gauge, ScanClass.NORMAL)
    assert "i20500" not in console.asked


def test_every_alarm_has_a_meaning_in_both_languages() -> None:
    codes = [f"02{n:02d}01" for n in range(1, 31)] + [f"01{alarm}00" for alarm in SYSTEM] + ["020401", "i20203"]
    codes += [f"{category}0101" for category in CATEGORIES]
    for code in codes:
        text = meaning(code)
        assert text.zh and text.en[0].isupper()
        assert any("一" <= char <= "鿿" for char in text.zh) or code.startswith("29")
    assert {f"{n:02d}" for n in range(1, 31)} == TANK.keys()
    assert meaning("770502").en == "Category 77 2: alarm 05"


# ---------------------------------------------------------------- fuzz and a real socket


@settings(max_examples=200, deadline=None)
@given(st.data(), st.booleans())
def test_rubbish_reports_never_do_more_than_complain(data: st.DataObject, enveloped: bool) -> None:
    """Any bytes, and any text in a sound envelope."""
    text = st.text(st.sampled_from("0123456789ABCDEFabcdef &#_-+."), max_size=200)

    def answer(request: bytes) -> bytes:
        code = request[1:-2].decode()
        return reply(code, data.draw(text)) if enveloped else data.draw(st.binary(max_size=200)) + b"\x03"

    async def run() -> None:
        line = ScriptedLine(answer, chunk=data.draw(st.integers(1, 64)))
        gauge = Tls350Driver(Tls350Settings(), SITE, line)
        task = asyncio.ensure_future(gauge.read(gauge.tags(), NOW))
        for _ in range(20):  # a scripted line that has nothing more to say waits for ever
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            assert not enveloped
        except PumpwatchError as error:
            assert isinstance(error, BadReply | Refused | NotReachable)

    asyncio.run(run())


@pytest.mark.integration
async def test_over_a_real_socket_in_dribbles(console) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with suppress(ConnectionError):
            while command := await reader.readline():
                answer = console.answer(command)
                for i in range(0, len(answer), 50):
                    writer.write(answer[i : i + 50])
                    await writer.drain()
                    await asyncio.sleep(0)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    serving: list[asyncio.Task[None]] = []

    console.deliveries[1] = [(local(1), local(2), 0, 100)]
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line = WireLine(LineAddress.parse(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    gauge = Tls350Driver(Tls350Settings(), SITE, line)
    try:
        async with asyncio.timeout(30):
            samples, records = await read(gauge)
    finally:
        line.close()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*serving)
    assert samples["tank-2.volume"].value == 5000.5
    assert [type(record) for record in records] == [TankReading, TankReading, Delivery]
