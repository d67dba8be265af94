"""What is passed on of a device's samples: one by one and in columns it is the same."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import Quality, Sample, SampleBatch, SampleColumns
from pumpwatch.acquisition.sending import Sending
from pumpwatch.contracts import Site

SITE = Site("S01", "D1")
HEARTBEAT = 10.0
NOW = datetime(2026, 11, 22, tzinfo=UTC)
TAGS = ("a", "b", "c", "d")

values = st.one_of(st.none(), st.sampled_from([0.0, 1.5, 7, 2**53, "on", "off"]))
rows = st.dictionaries(
    st.sampled_from(TAGS), st.tuples(values, st.sampled_from([Quality.GOOD, Quality.BAD])), min_size=1
)
scans = st.lists(st.tuples(rows, st.booleans(), st.sampled_from([0.0, 1.0, HEARTBEAT])), max_size=12)


def columns(samples: list[Sample]) -> SampleColumns:
    numbers = [s.value if isinstance(s.value, int | float) else math.nan for s in samples]
    exact = {i: s.value for i, s in enumerate(samples) if isinstance(s.value, str | int)}
    qualities = np.array([s.quality for s in samples], np.uint8)
    return SampleColumns(tuple(s.tag for s in samples), np.array(numbers, float), qualities, samples[0].at, exact)


def told(batch: SampleBatch | None) -> list[tuple]:
    if batch is None:
        return []
    texts = batch.texts or (None,) * len(batch)
    numbers = [None if math.isnan(v) else v for v in batch.values]
    return sorted(
        zip(batch.paths, batch.at_us.tolist(), numbers, texts, batch.qualities.tolist(), strict=True), key=str
    )


@settings(max_examples=300, deadline=None)
@given(scans)
def test_columns_and_samples_in_any_turn_are_passed_on_alike(scans: list) -> None:
    by_one, mixed = Sending(SITE, HEARTBEAT), Sending(SITE, HEARTBEAT)
    clock = 0.0
    for rows, in_columns, later in scans:
        clock += later
        samples = [Sample(tag, value, NOW + timedelta(seconds=clock), q) for tag, (value, q) in rows.items()]
        expected = told(by_one.news(samples, clock))
        assert told(mixed.news(columns(samples) if in_columns else samples, clock)) == expected


def test_columns_look_like_the_list_of_their_samples() -> None:
    samples = [Sample("a", 1.5, NOW), Sample("b", None, NOW, Quality.BAD), Sample("c", "on", NOW), Sample("d", 7, NOW)]
    these = columns(samples)
    assert list(these) == samples and these[1:3] == samples[1:3] and these[-1] == samples[-1] and len(these) == 4
    assert isinstance(these[3].value, int) and type(these[1].quality) is Quality
    assert these.only({"c", "b"}) == samples[1:3]
    doubted = these.doubted({"a": Quality.STALE})
    assert [s.quality for s in doubted] == [Quality.STALE, Quality.BAD, Quality.GOOD, Quality.GOOD]
    assert these[0].quality is Quality.GOOD


def test_a_tag_told_twice_in_one_reading_is_passed_on_twice() -> None:
    sending = Sending(SITE, HEARTBEAT)
    changes = [Sample("a", value, NOW) for value in (1.0, 2.0, 1.0)]
    batch = sending.news(changes, 0.0)
    assert batch is not None and batch.values.tolist() == [1.0, 2.0, 1.0]
