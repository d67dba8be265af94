"""The OPC UA driver without a wire: thin decoding against the library, qualities, the mailbox, broken bytes."""

from __future__ import annotations

import asyncio
import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua.ua_binary import extensionobject_to_binary, struct_from_binary, struct_to_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import Quality, Tag, TagKind
from pumpwatch_opcua.addresses import BrowsePath, Name, NodeAddress, namespaces, parse
from pumpwatch_opcua.decoding import Changes, Message, created_items, data_value, publish_response, read_response
from pumpwatch_opcua.nodemap import Point, TagEntry
from pumpwatch_opcua.points import Intake, LivePoint
from pumpwatch_opcua.session import MOST_MISSING, Mailbox
from pumpwatch_opcua.values import OVERFLOW, moment, plain, quality_of, ticks_of

NOW = datetime(2026, 11, 22, 4, 30, 15, tzinfo=UTC)
CODES = ua.StatusCodes
TYPES = ua.VariantType

# ---------------------------------------------------------------- decoding

whole_numbers = {
    TYPES.SByte: (-(1 << 7), (1 << 7) - 1),
    TYPES.Byte: (0, (1 << 8) - 1),
    TYPES.Int16: (-(1 << 15), (1 << 15) - 1),
    TYPES.UInt16: (0, (1 << 16) - 1),
    TYPES.Int32: (-(1 << 31), (1 << 31) - 1),
    TYPES.UInt32: (0, (1 << 32) - 1),
    TYPES.Int64: (-(1 << 63), (1 << 63) - 1),
    TYPES.UInt64: (0, (1 << 64) - 1),
}
CENTURIES = (datetime(1700, 1, 1), datetime(9000, 1, 1))  # noqa: DTZ001 - hypothesis adds the zone
times = st.datetimes(*CENTURIES, timezones=st.just(UTC))
variants = st.one_of(
    *(st.integers(low, high).map(lambda v, t=kind: ua.Variant(v, t)) for kind, (low, high) in whole_numbers.items()),
    st.booleans().map(lambda v: ua.Variant(v, TYPES.Boolean)),
    st.floats(width=32, allow_nan=False).map(lambda v: ua.Variant(v, TYPES.Float)),
    st.floats(allow_nan=False).map(lambda v: ua.Variant(v, TYPES.Double)),
    st.text(max_size=20).map(lambda v: ua.Variant(v, TYPES.String)),
    st.binary(max_size=20).map(lambda v: ua.Variant(v, TYPES.ByteString)),
    times.map(lambda v: ua.Variant(v, TYPES.DateTime)),
    st.text(max_size=9).map(lambda v: ua.Variant(ua.LocalizedText(v), TYPES.LocalizedText)),
    st.lists(st.floats(allow_nan=False), max_size=4).map(lambda v: ua.Variant(v, TYPES.Double, is_array=True)),
    st.just(ua.Variant()),
)
data_values = st.builds(
    ua.DataValue,
    Value=variants,
    StatusCode=st.none() | st.integers(0, (1 << 32) - 1).map(ua.StatusCode),
    SourceTimestamp=st.none() | times,
    ServerTimestamp=st.none() | times,
)


def ticks(at: datetime | None) -> int:
    return 0 if at is None else ticks_of(at)


def reference(value: ua.DataValue) -> tuple[Any, int, int, int]:
    """What the library says of its own bytes."""
    told = struct_from_binary(ua.DataValue, Buffer(struct_to_binary(value)))
    status = told.StatusCode.value if told.StatusCode else 0
    return told.Value.Value, status, ticks(told.SourceTimestamp), ticks(told.ServerTimestamp)


def published(*notifications: Any, number: int = 7, subscription: int = 3, available: int = 0) -> bytes:
    response = ua.PublishResponse()
    response.Parameters.SubscriptionId = subscription
    response.Parameters.AvailableSequenceNumbers = list(range(available))
    response.Parameters.NotificationMessage.SequenceNumber = number
    response.Parameters.NotificationMessage.NotificationData = list(notifications)
    return struct_to_binary(response)


def changes(*values: tuple[int, ua.DataValue]) -> ua.DataChangeNotification:
    items = [ua.MonitoredItemNotification(ClientHandle=handle, Value=value) for handle, value in values]
    return ua.DataChangeNotification(MonitoredItems=items)


@given(st.lists(st.tuples(st.integers(0, (1 << 32) - 1), data_values), max_size=6), st.integers(0, 3))
def test_the_library_understands_a_notification_likewise(values, available) -> None:
    status = ua.StatusChangeNotification(Status=ua.StatusCode(CODES.BadTimeout))
    told = publish_response(published(changes(*values), status, number=9, available=available))
    assert (told.subscription, told.sequence, len(told.notifications)) == (3, 9, 2)
    assert told.notifications[0] == [(handle, reference(value)) for handle, value in values]
    assert told.notifications[1].Status.value == CODES.BadTimeout


@given(st.lists(data_values, max_size=6))
def test_the_library_understands_a_read_likewise(values) -> None:
    response = ua.ReadResponse()
    response.Results = values
    assert read_response(struct_to_binary(response)) == [reference(value) for value in values]


@given(st.lists(st.integers(0, (1 << 32) - 1), max_size=5), st.booleans())
def test_the_library_understands_created_items_likewise(codes, with_filter) -> None:
    response = ua.CreateMonitoredItemsResponse()
    response.Results = [ua.MonitoredItemCreateResult(StatusCode=ua.StatusCode(code)) for code in codes]
    if with_filter and codes:
        response.Results[0].FilterResult = ua.EventFilterResult()
        assert created_items(struct_to_binary(response)) is None
    else:
        assert created_items(struct_to_binary(response)) == codes


@pytest.mark.parametrize(("kind", "value"), [(11, struct.pack("<d", 2.5)), (12, struct.pack("<i", 2) + b"ab")])
def test_picoseconds_stand_behind_their_time(kind: int, value: bytes) -> None:
    """OPC 10000-6, 5.2.2.17; the library has them at the end."""
    whole = bytes([0x3F, kind]) + value + struct.pack("<IqHqH", CODES.Uncertain, 11, 7, 22, 8)
    told, end = data_value(whole + b"more", 0)
    assert (told, end) == (("ab" if kind == 12 else 2.5, CODES.Uncertain, 11, 22), len(whole))


def test_a_fault_is_raised() -> None:
    response = ua.PublishResponse()
    response.ResponseHeader.ServiceResult = ua.StatusCode(CODES.BadNoSubscription)
    with pytest.raises(ua.UaStatusCodeError, match="BadNoSubscription"):
        publish_response(struct_to_binary(response))


NULLS = b"\x80" + struct.pack("<i", 2**31 - 1)
"""A variant: an array of two thousand million elements that take no bytes."""


@pytest.mark.parametrize(
    "variant",
    [
        NULLS,
        b"\xc0" + NULLS[1:],
        b"\x18" + NULLS,
        b"\x98" + struct.pack("<i", 1) + NULLS,
        b"\x98" + struct.pack("<i", 2) + b"\x03\x07" + NULLS,
        b"\x17\x01" + NULLS,
        b"\x97" + struct.pack("<i", 1) + b"\x01" + NULLS,
        b"\x98" + struct.pack("<i", 1) + b"\x97" + struct.pack("<i", 1) + b"\x01\x98" + struct.pack("<i", 1) + NULLS,
        b"\x16\x01\x00"
        + struct.pack("<HBi", ua.ObjectIds.KeyValuePair_Encoding_DefaultBinary, 1, 11)
        + struct.pack("<Hi", 0, -1)
        + NULLS,
    ],
    ids=["alone", "with dimensions", "variant", "variants", "second", "data value", "data values", "deep", "structure"],
)
def test_an_array_of_nothing_is_not_believed_to_be_long(variant: bytes) -> None:
    """Found by fuzzing: its elements filled the memory."""
    with pytest.raises(NotEnoughData, match="nothing"):
        data_value(b"\x01" + variant + bytes(40), 0)


def test_an_array_of_nothing_may_be_empty_or_none() -> None:
    assert data_value(b"\x01\x80" + struct.pack("<i", 0), 0)[0][0] == []
    assert data_value(b"\x01\x80" + struct.pack("<i", -1), 0)[0][0] is None


@given(data=st.data())
@settings(max_examples=150)
def test_broken_bytes_end_in_an_error_or_a_message(data) -> None:
    whole = published(changes(*data.draw(st.lists(st.tuples(st.integers(0, 9), data_values), min_size=1, max_size=3))))
    broken = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole)), st.integers(0, 255)), max_size=4)):
        if place < len(broken):
            broken[place] = value
    try:
        told = publish_response(bytes(broken))
    except Exception as error:
        assert not isinstance(error, MemoryError | RecursionError)
    else:
        assert isinstance(told, Message)


# ---------------------------------------------------------------- qualities and values


@pytest.mark.parametrize(
    ("code", "quality"),
    [
        (CODES.Good, Quality.GOOD),
        (CODES.Good | 0x0480, Quality.GOOD),
        (CODES.GoodClamped, Quality.GOOD),
        (CODES.GoodLocalOverride, Quality.SUBSTITUTED),
        (CODES.Uncertain, Quality.UNCERTAIN),
        (CODES.UncertainSensorNotAccurate, Quality.UNCERTAIN),
        (CODES.UncertainLastUsableValue, Quality.STALE),
        (CODES.UncertainNoCommunicationLastUsableValue | 0x0400, Quality.STALE),
        (CODES.UncertainSubstituteValue, Quality.SUBSTITUTED),
        (CODES.Bad, Quality.BAD),
        (CODES.BadSensorFailure, Quality.BAD),
        (CODES.BadNoCommunication, Quality.NOT_CONNECTED),
        (CODES.BadOutOfRange, Quality.OUT_OF_RANGE),
        (CODES.BadNodeIdUnknown, Quality.REFUSED),
        (CODES.BadUserAccessDenied, Quality.REFUSED),
        (CODES.BadTypeMismatch, Quality.BAD_REPLY),
        (0xFFFF_FFFF, Quality.BAD),
    ],
)
def test_status_codes(code: int, quality: Quality) -> None:
    assert quality_of(code) is quality


def test_the_severity_of_every_code_is_kept() -> None:
    codes = {name: code for name, code in vars(CODES).items() if isinstance(code, int)}
    assert len(codes) > 200
    for name, code in codes.items():
        told = quality_of(code)
        if name != "GoodLocalOverride":
            assert (told.is_bad, told.is_good) == (name.startswith("Bad"), name.startswith("Good")), name


@given(times)
def test_ticks_and_times(at: datetime) -> None:
    assert moment(ticks_of(at)) == at


def test_plain_values() -> None:
    assert plain(True) == 1
    assert plain(NOW.replace(tzinfo=None)) == plain(NOW) == NOW.timestamp()
    assert plain(b"\x01\xff") == "01ff"
    assert plain(ua.LocalizedText("枪")) == "枪"
    assert plain(ua.NodeId("x", 2)) == "ns=2;s=x"
    assert plain(ua.ExtensionObject()) is None


def point(handle: int = 1, **keys: Any) -> LivePoint:
    entry = TagEntry(name="a", node="ns=1;i=1", **keys)
    return LivePoint(Point(tag=Tag("a", kind=entry.kind), address=parse(entry.node), entry=entry), handle)


@pytest.mark.parametrize(
    ("keys", "value", "told"),
    [
        ({}, 2.5, (2.5, Quality.GOOD)),
        ({}, 7, (7, Quality.GOOD)),
        ({}, True, (1, Quality.GOOD)),
        ({}, math.nan, (None, Quality.BAD_REPLY)),
        ({}, -math.inf, (None, Quality.BAD_REPLY)),
        ({}, "12", (None, Quality.BAD_REPLY)),
        ({}, None, (None, Quality.BAD_REPLY)),
        ({}, [1.0], (None, Quality.BAD_REPLY)),
        ({}, ua.ExtensionObject(), (None, Quality.BAD_REPLY)),
        ({"scale": 0.01}, 12345, (123.45, Quality.GOOD)),
        ({"scale": 2.5}, 4, (10.0, Quality.GOOD)),
        ({"low": 0, "high": 4}, 9, (9, Quality.OUT_OF_RANGE)),
        ({"index": 1}, [1.0, 2.0], (2.0, Quality.GOOD)),
        ({"index": 2}, [1.0, 2.0], (None, Quality.BAD_REPLY)),
        ({"index": 0}, 1.0, (None, Quality.BAD_REPLY)),
        ({"index": 0}, [[1.0]], (None, Quality.BAD_REPLY)),
        ({"words": {"Idle": 0, "7": 3}}, "Idle ", (0, Quality.GOOD)),
        ({"words": {"Idle": 0, "7": 3}}, 7, (3, Quality.GOOD)),
        ({"words": {"Idle": 0}}, "On fire", (None, Quality.OUT_OF_RANGE)),
        ({"kind": "state"}, "running", ("running", Quality.GOOD)),
        ({"kind": "identity"}, "MB-1\0 ", ("MB-1", Quality.GOOD)),
        ({"kind": "identity"}, 17, ("17", Quality.GOOD)),
        ({"kind": "identity"}, "a\udcffb\n", ("a\\udcffb\\n", Quality.UNCERTAIN)),
        ({"kind": "identity"}, "x" * 5000, (None, Quality.BAD_REPLY)),
        ({"kind": "identity"}, None, (None, Quality.BAD_REPLY)),
    ],
)
def test_what_a_tag_makes_of_a_value(keys: dict[str, Any], value: object, told: tuple[object, Quality]) -> None:
    assert point(**keys).convert(value, 0) == told


def test_the_worse_of_two_qualities() -> None:
    assert point().convert(2.5, CODES.UncertainLastUsableValue) == (2.5, Quality.STALE)
    assert point().convert(2.5, CODES.BadSensorFailure) == (None, Quality.BAD)
    assert point().convert("x", CODES.UncertainLastUsableValue) == (None, Quality.BAD_REPLY)


@given(
    st.one_of(
        st.floats(),
        st.integers(-(1 << 64), 1 << 64),
        st.text(),
        st.booleans(),
        st.none(),
        st.binary(),
        st.lists(st.floats(), max_size=3),
        st.datetimes(),
        st.builds(ua.ExtensionObject),
    ),
    st.integers(0, (1 << 32) - 1),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.sampled_from(list(TagKind)),
)
def test_no_value_is_a_crash(value, status, source, server, kind) -> None:
    (sample,) = Intake([point(kind=kind)]).changed([(1, (value, status, source, server))], NOW)
    assert sample.at.tzinfo is UTC
    assert sample.at <= NOW + timedelta(days=1)
    if not sample.quality.is_bad:
        assert isinstance(sample.value, float | int | str)
        assert not isinstance(sample.value, float) or math.isfinite(sample.value)
        assert not isinstance(sample.value, str) or sample.value.encode() is not None


# ---------------------------------------------------------------- once each, in order


def test_an_update_is_told_once() -> None:
    intake = Intake([point()])
    at = ticks_of(NOW)
    first, second = (1.0, 0, at, at), (2.0, 0, at, at + 5)
    assert [s.value for s in intake.changed([(1, first), (1, first), (1, second), (9, first)], NOW)] == [1.0, 2.0]
    assert intake.read(intake.points[0], (2.0, 0, at, at + 99), NOW) is None, "the server's time is of the reading"
    bad = (2.0, CODES.BadNoCommunication, at, at)
    assert intake.read(intake.points[0], bad, NOW) is not None
    nan = (math.nan, 0, at + 10, at)
    assert len(intake.changed([(1, nan), (1, nan)], NOW)) == 1


def test_what_was_read_meanwhile_is_newer_than_what_is_told_first() -> None:
    intake = Intake([point()])
    at = ticks_of(NOW)
    assert intake.read(intake.points[0], (2.0, 0, at, at), NOW) is not None
    samples = intake.changed(
        [(1, (1.0, 0, at - 10_000_000, at)), (1, (2.0, 0, at, at)), (1, (3.0, 0, at + 10, at))], NOW
    )
    assert [(s.value, s.quality) for s in samples] == [(1.0, Quality.BACKFILLED), (3.0, Quality.GOOD)]
    assert intake.points[0].sample == samples[-1]


def test_times_that_cannot_be() -> None:
    intake = Intake([point()])
    server = ticks_of(NOW) - 50
    told = [(source, intake.changed([(1, (1.0, 0, source, server))], NOW)[0]) for source in (0, 1, server + 10**15)]
    assert [(s.at, s.quality) for _, s in told] == [
        (NOW - timedelta(microseconds=5), Quality.GOOD),
        (NOW - timedelta(microseconds=5), Quality.UNCERTAIN),
        (NOW - timedelta(microseconds=5), Quality.UNCERTAIN),
    ]
    assert intake.changed([(1, (2.0, 0, 0, 0))], NOW)[0].at == NOW


def test_overflows_are_counted() -> None:
    intake = Intake([point()])
    (sample,) = intake.changed([(1, (1.0, OVERFLOW, ticks_of(NOW), 0))], NOW)
    assert (sample.quality, intake.lost) == (Quality.GOOD, 1)


def message(number: int, *values: float) -> Message:
    told = Changes([(1, (value, 0, 0, 0)) for value in values])
    return Message(1, number, [told] if values else [])


def drained(box: Mailbox) -> list[float]:
    return [update[0] for told in box.drain() for _, update in told]


def test_messages_are_in_order_and_gaps_are_known() -> None:
    box = Mailbox()
    for told in (message(5, 1.0), message(8, 4.0), message(8, 4.0), message(5, 1.0)):
        box.put(told)
    assert list(box.missing) == [6, 7]
    box.put(message(7, 3.0))
    assert list(box.missing) == [6], "it was only late"
    box.recovered(message(6, 2.0))
    assert drained(box) == [1.0, 2.0, 3.0, 4.0]
    box.put(message(10))
    assert list(box.missing) == [9], "a keep-alive tells the number that comes next"
    box.put(message(10, 5.0))
    assert drained(box) == [5.0]
    assert not drained(box)


def test_numbers_begin_again() -> None:
    box = Mailbox()
    box.put(message((1 << 32) - 1, 1.0))
    box.put(message(1, 2.0))
    assert not box.missing
    assert sorted(drained(box)) == [1.0, 2.0]
    box.put(message((1 << 31) - 2, 3.0))
    assert len(box.missing) == MOST_MISSING


async def test_a_full_box_makes_the_server_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumpwatch_opcua.session.MOST_WAITING", 2)
    box = Mailbox()
    data = ua.NotificationMessage(SequenceNumber=1, NotificationData=message(1, 1.0, 2.0).notifications)
    taking = asyncio.create_task(box.take(ua.PublishResult(NotificationMessage=data)))
    await asyncio.sleep(0)
    assert not taking.done()
    assert drained(box) == [1.0, 2.0]
    await taking


# ---------------------------------------------------------------- addresses


def test_addresses() -> None:
    assert parse("/a:Pump/2:x&/y&:z/plain") == BrowsePath((Name("a", "Pump"), Name("2", "x/y:z"), Name("", "plain")))
    assert parse("ns=a;s=x;y=1") == NodeAddress("a", "x;y=1")
    assert parse("nsu=urn:x:y;i=7") == NodeAddress("urn:x:y", 7)
    assert parse("i=2258") == NodeAddress("", 2258)
    index = namespaces(["http://opcfoundation.org/UA/", "urn:server", "urn:x"], {"a": "urn:x", "b": "urn:none"})
    assert parse("ns=a;s=x").resolved(index) == ua.NodeId("x", 2)
    assert parse("nsu=urn:server;b=AQI=").resolved(index) == ua.NodeId(b"\x01\x02", 1)
    path = parse("/a:Pump").resolved(index)
    assert path.RelativePath.Elements[0].TargetName == ua.QualifiedName("Pump", 2)
    with pytest.raises(KeyError):
        parse("ns=b;s=x").resolved(index)


@pytest.mark.parametrize("text", ["", "/", "//x", "x", "/a:b:c", "/a/", "ns=1", "ns=1;i=x", "g=nonsense", "/a&"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse(text)


def test_the_bytes_of_an_unknown_structure_are_skipped() -> None:
    unknown = ua.ExtensionObject(TypeId=ua.NodeId(9999, 1), Body=b"abc")
    assert len(extensionobject_to_binary(unknown)) > 3
    value = ua.DataValue(ua.Variant(unknown, TYPES.ExtensionObject), SourceTimestamp=NOW)
    told = publish_response(published(changes((1, value), (2, ua.DataValue(ua.Variant(1.5, TYPES.Double))))))
    assert [update[0] for _, update in told.notifications[0]][1] == 1.5


def test_a_size_below_zero_is_an_error_and_no_way_back() -> None:
    """A table of strings of which one has a size of -9: the library's buffer would read it again and again."""
    data = bytes.fromhex("00000000a4a4a4000000001100310000a401000000000100000000f7fffffff0000000000a003d0a")
    with pytest.raises(NotEnoughData):
        publish_response(data)
