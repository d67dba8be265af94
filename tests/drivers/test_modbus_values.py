"""Values in registers: every type, every order, one by one and all at once."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import Quality, Tag
from pumpwatch_modbus.reads import Span
from pumpwatch_modbus.values import CODES, WIDTHS, Encoding, Layout, Order, Point

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ORDERS = [Order(words, octets) for words in (True, False) for octets in (True, False)]


def laid(data: bytes, order: Order) -> bytes:
    """A number as a device of this order lays it over registers; written without the code under test."""
    words = [data[i : i + 2] for i in range(0, len(data), 2)]
    if not order.high_word_first:
        words.reverse()
    return b"".join(word if order.high_byte_first else word[::-1] for word in words)


def read(encoding: Encoding, data: bytes, order: Order = ORDERS[0]) -> tuple[object, Quality]:
    return encoding.reader(order)(data)


numbers = st.one_of(
    st.tuples(st.just("u16"), st.integers(0, 2**16 - 1)),
    st.tuples(st.just("i16"), st.integers(-(2**15), 2**15 - 1)),
    st.tuples(st.just("u32"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("i32"), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("u64"), st.integers(0, 2**64 - 1)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(numbers, st.integers(0, 3)), min_size=1, max_size=20), st.sampled_from(ORDERS))
def test_a_whole_read_gives_what_each_value_gives(items: list, order: Order) -> None:
    data, points, expected = b"", [], {}
    for i, ((kind, value), gap) in enumerate(items):
        data += b"\xaa\xbb" * gap
        at = Span(500 + len(data) // 2, WIDTHS[kind])
        data += laid(struct.pack(">" + CODES[kind], value), order)
        points.append(Point(Tag(f"t{i}"), at, Encoding(kind, at.size)))
        expected[f"t{i}"] = value
    cut = data_cut(points, len(data) // 2)
    reads = [Span(500, cut), Span(500 + cut, len(data) // 2 - cut)]
    layout = Layout(points, reads, order, exact={"t0"})
    samples = layout.decode([data[: 2 * cut], data[2 * cut :]], NOW)
    assert {s.tag: s.value for s in samples} == expected
    assert all(s.quality is Quality.GOOD and s.at is NOW for s in samples)
    assert isinstance(samples.only({"t0"})[0].value, int)


def data_cut(points: list[Point], registers: int) -> int:
    """Where a read may end without tearing a value in two, about the middle."""
    ends = [point.at.end - 500 for point in points]
    return ends[len(ends) // 2] if len(ends) > 1 else registers


def test_a_read_that_failed_spoils_its_own_values_only() -> None:
    points = [Point(Tag(f"t{i}"), Span(at, 1), Encoding("u16", 1)) for i, at in enumerate((0, 1, 50, 90))]
    points.append(Point(Tag("text"), Span(51, 1), Encoding("ascii", 1)))
    layout = Layout(points, [Span(0, 2), Span(50, 2)], Order())
    samples = layout.decode([b"\0\1\0\2", Quality.BAD_REPLY], NOW)
    assert {s.tag: (s.value, s.quality) for s in samples} == {
        "t0": (1, Quality.GOOD),
        "t1": (2, Quality.GOOD),
        "t2": (None, Quality.BAD_REPLY),
        "text": (None, Quality.BAD_REPLY),
        "t3": (None, Quality.REFUSED),
    }
    again = layout.decode([b"\0\1\0\2", b"\0\7OK"], NOW)
    assert {s.tag: s.value for s in again} == {"t0": 1, "t1": 2, "t2": 7, "text": "OK", "t3": None}


@pytest.mark.parametrize("order", ORDERS)
def test_overlapping_and_scaled_and_odd_values_in_one_read(order: Order) -> None:
    number = laid(struct.pack(">I", 1_234_567), order)
    text = b"AB" if order.high_byte_first else b"BA"
    points = [
        Point(Tag("litres"), Span(10, 2), Encoding("u32", 2, scale=0.01)),
        Point(Tag("raw"), Span(10, 2), Encoding("u32", 2)),
        Point(Tag("gallons"), Span(10, 2), Encoding("u32", 2, scale=0.264172)),
        Point(Tag("text"), Span(12, 1), Encoding("ascii", 1)),
        Point(Tag("digest"), Span(12, 1), Encoding("hex", 1)),
    ]
    layout = Layout(points, [Span(10, 3)], order)
    samples = layout.decode([number + text], NOW)
    assert tuple(s.tag for s in samples) == layout.tags
    values = {s.tag: s.value for s in samples}
    assert values == {
        "litres": 12345.67,
        "raw": 1_234_567,
        "gallons": pytest.approx(326_138.03, abs=0.01),
        "text": "AB",
        "digest": "4142",
    }


def test_decimals_come_out_exact() -> None:
    for raw in (1, 7, 12345, 2051, 999_999):
        assert read(Encoding("u32", 2, scale=0.01), struct.pack(">I", raw))[0] == float(f"{raw}e-2")
        assert read(Encoding("u32", 2, scale=0.0001), struct.pack(">I", raw))[0] == float(f"{raw}e-4")


@pytest.mark.parametrize(
    ("encoding", "data", "value", "quality"),
    [
        (Encoding("bcd4", 1), "1234", 1234, Quality.GOOD),
        (Encoding("bcd8", 2, scale=0.01), "00123456", 1234.56, Quality.GOOD),
        (Encoding("bcd12", 3), "000000999999", 999999, Quality.GOOD),
        (Encoding("bcd4", 1), "12a4", None, Quality.BAD_REPLY),
        (Encoding("f32", 2), "45a68800", 5329.0, Quality.GOOD),
        (Encoding("f32", 2), "7fc00000", None, Quality.BAD_REPLY),
        (Encoding("f32", 2), "ff800000", None, Quality.BAD_REPLY),
        (Encoding("bits", 1, bit=1), "0002", 1, Quality.GOOD),
        (Encoding("bits", 1, bit=0), "0002", 0, Quality.GOOD),
        (Encoding("bits", 1, bit=4, bits=4), "00b0", 11, Quality.GOOD),
        (Encoding("u16", 1, low=0, high=4), "0004", 4, Quality.GOOD),
        (Encoding("u16", 1, low=0, high=4), "0005", 5, Quality.OUT_OF_RANGE),
        (Encoding("i16", 1, low=0), "ffff", -1, Quality.OUT_OF_RANGE),
        (Encoding("ascii", 4), "4142432d31000000", "ABC-1", Quality.GOOD),
        (Encoding("ascii", 2), "00000000", "", Quality.GOOD),
        (Encoding("ascii", 2), "4120ffff", "A \\xff\\xff", Quality.UNCERTAIN),
        (Encoding("ascii", 2), "41074242", "A\\x07BB", Quality.UNCERTAIN),
        (Encoding("hex", 2), "00ff10ab", "00ff10ab", Quality.GOOD),
    ],
)
def test_every_type(encoding: Encoding, data: str, value: object, quality: Quality) -> None:
    assert read(encoding, bytes.fromhex(data)) == (value, quality)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(ORDERS))
def test_floats_in_every_order(value: float, order: Order) -> None:
    found = read(Encoding("f32", 2), laid(struct.pack(">f", value), order), order)[0]
    assert found == value and math.copysign(1, found) == math.copysign(1, value)


def test_bcd_follows_the_orders() -> None:
    for order in ORDERS:
        assert read(Encoding("bcd12", 3), laid(bytes.fromhex("001234567890"), order), order)[0] == 1_234_567_890
