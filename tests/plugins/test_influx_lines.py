"""Line protocol: what a reader finds, compared with influxdb_client; what comes back; what is told twice."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from influxdb_client import Point, WritePrecision

from pumpwatch import Quality, SampleBatch, to_us
from pumpwatch_influx.influxql import identifier, string
from pumpwatch_influx.line_protocol import (
    FIRST_US,
    LAST_US,
    SAMPLES,
    Encoder,
    head,
    line,
    named,
    quoted,
    telling,
    told,
    unnamed,
)
from pumpwatch_influx.settings import InfluxSettings
from pumpwatch_influx.store import InfluxStore

T = to_us(datetime(2026, 11, 22, tzinfo=UTC))
ANY = st.text(st.characters(), max_size=12)
"""Surrogates and control characters too."""
PLAIN = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='%:"\\'), min_size=1, max_size=12)
"""What both encoders write as it is."""
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def split(text: str, at: str) -> list[str]:
    """Split at characters that are neither escaped nor between quotes, as the protocol's reference says."""
    parts, quoted_now, i, begin = [], False, 0, 0
    while i < len(text):
        if text[i] == "\\":
            i += 1
        elif text[i] == '"' and at != "=":
            quoted_now = not quoted_now
        elif text[i] == at and not quoted_now:
            parts.append(text[begin:i])
            begin = i + 1
        i += 1
    return [*parts, text[begin:]]


def plain(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)


def read(text: str) -> tuple[str, dict[str, str], dict[str, object], int]:
    """Measurement, tags, fields and time of a line."""
    keys, fields, time = split(text, " ")
    measurement, *tags = split(keys, ",")
    found: dict[str, object] = {}
    for one in split(fields, ","):
        key, value = one.split("=", 1) if "\\=" not in one.partition('"')[0] else split(one, "=")[:2]
        if value.startswith('"'):
            found[plain(key)] = re.sub(r'\\(["\\])', r"\1", value[1:-1])
        else:
            found[plain(key)] = int(value[:-1]) if value.endswith("i") else float(value)
    return measurement, {plain(k): plain(v) for k, v in (split(t, "=") for t in tags)}, found, int(time)


def batch(*rows: tuple[str, int, float | str | None, int]) -> SampleBatch:
    texts = tuple(v if isinstance(v, str) else None for _, _, v, _ in rows)
    return SampleBatch(
        "S1",
        tuple(path for path, _, _, _ in rows),
        np.array([at for _, at, _, _ in rows], np.int64),
        np.array([v if isinstance(v, float) else math.nan for _, _, v, _ in rows]),
        texts if any(texts) else (),
        np.array([q for _, _, _, q in rows], np.uint8),
    )


# ---------------------------------------------------------------- against influxdb_client


@given(
    st.dictionaries(PLAIN.filter(lambda n: not re.match("_|(time|station|device)$", n)), NUMBERS, min_size=1),
    PLAIN.filter(lambda n: not re.match("_|(time|station|device)$", n) and "/" not in n),
    st.integers(FIRST_US, LAST_US),
)
def test_samples_say_what_influxdb_client_says(fields: dict[str, float], device: str, at: int) -> None:
    rows = [(f"S1/{device}/{name}", at, value, 0) for name, value in fields.items()]
    (mine,) = Encoder().encode([batch(*rows)]).first
    point = Point(SAMPLES).tag("station", "S1").tag("device", device).time(at, WritePrecision.US)
    for name, value in fields.items():
        point.field(name, value)
    assert read(mine) == read(point.to_line_protocol())


@given(PLAIN, st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="%")), st.integers())
def test_records_say_what_influxdb_client_says(name: str, text: str, number: int) -> None:
    number %= 2**63
    tagged = name if not re.match("_|(time|station|device)$", name) else "x"
    mine = line(head("transaction", {"nozzle": tagged}), {"payment": quoted(text), "seq": f"{number}i"}, T)
    point = Point("transaction").tag("nozzle", tagged).field("payment", text).field("seq", number)
    assert read(mine) == read(point.time(T, WritePrecision.US).to_line_protocol())


# ---------------------------------------------------------------- anything comes back


@given(ANY)
def test_names_and_texts_come_back_and_have_no_control_characters(text: str) -> None:
    assert unnamed(named(text)) == text
    assert told(telling(text)) == text
    assert named(text)
    for written in (named(text), telling(text)):
        written.encode()  # no lone surrogates
        assert not re.search(r"[\x00-\x1f\x7f]", written)
    assert not re.search(r"[:\\]", named(text))
    assert named(text) not in {"time", "station", "device"}


@given(ANY, ANY)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (named(one) == named(other)) == (one == other)


@given(ANY)
def test_quoted_for_a_question_nothing_gets_out(text: str) -> None:
    for written, quote in ((identifier(named(text)), '"'), (string(named(text)), "'"), (string(text), "'")):
        inside = re.sub(r"\\.", "", written[1:-1])
        assert quote not in inside
        assert "\n" not in inside
        assert not inside.endswith("\\")


@given(st.lists(st.tuples(ANY, st.integers(0, 3), st.one_of(ANY, st.floats(), st.none()), st.integers(0, 255))))
def test_anything_makes_readable_lines_each_point_once(rows: list[tuple[str, int, float | str | None, int]]) -> None:
    lines = Encoder().encode([batch(*((path, T + at, value, quality) for path, at, value, quality in rows))])
    for some in (lines.first, lines.later):
        points = [(tuple(sorted(tags.items())), at) for _, tags, _, at in map(read, some)]
        assert len(points) == len(set(points))
        assert not any("\n" in one for one in some)


# ---------------------------------------------------------------- what is told twice


def test_usual_samples_of_a_device_and_time_are_one_line_without_quality() -> None:
    rows = [("S1/D1/a", T, 1.0, 0), ("S1/D1/b", T, 2.5, 0), ("S1/D2/a", T, 3.0, 0), ("S1/D1/a", T + 1, 4.0, 0)]
    assert Encoder().encode([batch(*rows)]).first == [
        f"samples,device=D1,station=S1 a=1,b=2.5 {T}",
        f"samples,device=D2,station=S1 a=3 {T}",
        f"samples,device=D1,station=S1 a=4 {T + 1}",
    ]


def test_quality_stands_where_it_is_not_good_and_unusable_numbers_apart() -> None:
    rows = [
        ("S1/D1/a", T, 1.0, Quality.UNCERTAIN),
        ("S1/D1/b", T, 2.0, Quality.BAD),
        ("S1/D1/c", T, None, Quality.NOT_CONNECTED),
        ("S1/D1/d", T, "on", 0),
        ("S1/D1/e", T, None, 0),
        ("S1/D1/f", T, math.inf, 0),
        ("S1/D1/g", T, 3.0, 0),
    ]
    (only,) = Encoder().encode([batch(*rows)]).first
    assert read(only)[2] == {
        "a": 1.0,
        "a:quality": 64,
        "b:bad": 2.0,
        "b:quality": 128,
        "c:quality": 129,
        "d:text": "on",
        "e:quality": 3 << 8,
        "f:quality": 4 << 8,
        "g": 3.0,
    }


def test_what_may_overwrite_says_which_fields_count() -> None:
    encoder = Encoder()
    assert len(encoder.encode([batch(("S1/D1/a", T, None, Quality.BAD))]).first) == 1
    again = encoder.encode([batch(("S1/D1/a", T, 1.0, 0), ("S1/D1/a", T + 1, 1.0, 0))])
    assert [read(one)[2] for one in again.first] == [{"a": 1.0}, {"a": 1.0, "a:quality": 1 << 8}]
    encoder.note("S1", "D2", T)
    assert "a:quality" in encoder.encode([batch(("S1/D2/a", T, 1.0, 0))]).first[0]


def test_a_point_that_is_told_twice_in_one_write_is_written_after_itself() -> None:
    lines = Encoder().encode([batch(("S1/D1/a", T, 1.0, 0), ("S1/D2/a", T, 1.0, 0), ("S1/D1/b", T, 2.0, 0))])
    assert [len(lines.first), len(lines.later)] == [2, 1]


def test_times_that_influxdb_cannot_count_are_refused_and_the_others_are_not() -> None:
    lines = Encoder().encode([batch(("S1/D1/a", LAST_US + 1, 1.0, 0), ("S1/D1/a", LAST_US, 2.0, 0))])
    assert [len(lines.first), len(lines.refused)] == [1, 1]
    assert "S1/D1/a" in lines.refused[0]


def test_the_bench_is_given_the_same_bytes() -> None:
    from pathlib import Path

    from pumpwatch import Batch, from_us

    store = InfluxStore(InfluxSettings(), Path("unused"))
    samples = batch(("S1/D1/a", T, 1.0, 0), ("S1/D1/b", T, 2.0, 0))
    written = store.encoded([Batch("S1", samples, (), from_us(T))])
    assert written == f"samples,device=D1,station=S1 a=1,b=2 {T}".encode()
