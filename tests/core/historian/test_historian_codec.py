"""Batches come out of the codec as they went in, and changed bytes never come out at all."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import (
    BadReply,
    Batch,
    Delivery,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    Record,
    SampleBatch,
    TankReading,
    Transaction,
    from_us,
)
from pumpwatch.historian.codec import decode, encode

zones = st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-3, minutes=-30))])
times = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=zones)  # noqa: DTZ001 - bounds carry no zone
text = st.text(max_size=12)
some_text = st.none() | text
real = st.floats(allow_nan=False)
some_real = st.none() | real
whole = st.integers(-(2**63), 2**63 - 1)
detail = st.dictionaries(text, st.none() | st.booleans() | whole | real | text, max_size=4)

records: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        Transaction,
        text,
        whole,
        times,
        times,
        real,
        real,
        real,
        totalizer_l=some_real,
        totalizer_cny=some_real,
        encoder_l=some_real,
        encoder_pulses=st.none() | whole,
        tax_l=some_real,
        tax_cny=some_real,
        payment=some_text,
        preset_kind=some_text,
        preset_value=some_real,
        raw=st.binary(max_size=40),
    ),
    st.builds(TankReading, text, times, real, some_real, some_real, some_real, some_real, some_real),
    st.builds(Delivery, text, times, some_real, some_real, st.none() | times, some_text),
    st.builds(
        DeviceIdentity,
        text,
        text,
        times,
        some_text,
        some_text,
        some_text,
        some_text,
        some_text,
        st.dictionaries(text, text, max_size=3),
    ),
    st.builds(DeviceEvent, times, text, text, st.sampled_from(EventKind), detail),
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    n = draw(st.integers(0, 8))
    any_text = st.text(st.characters(), max_size=8) | st.sampled_from(["", "\udce9"])
    texts = draw(st.just([]) | st.lists(st.none() | any_text, min_size=n, max_size=n))
    samples = SampleBatch(
        draw(text),
        tuple(draw(st.lists(text, min_size=n, max_size=n))),
        np.array(draw(st.lists(whole, min_size=n, max_size=n)), np.int64),
        np.array(draw(st.lists(st.floats(), min_size=n, max_size=n)), np.float64),
        tuple(texts),
        np.array(draw(st.lists(st.integers(0, 255), min_size=n, max_size=n)), np.uint8),
    )
    return Batch(draw(text), samples, tuple(draw(st.lists(records, max_size=3))), draw(times))


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(batches(), max_size=4))
def test_what_goes_in_comes_out(given_batches: list[Batch]) -> None:
    got = decode(encode(given_batches), "here")
    assert len(got) == len(given_batches)
    for a, b in zip(given_batches, got, strict=True):
        assert (a.station, a.records, a.arrived) == (b.station, b.records, b.arrived)
        assert (a.samples.station, a.samples.paths, a.samples.texts) == (
            b.samples.station,
            b.samples.paths,
            b.samples.texts,
        )
        assert a.samples.at_us.tolist() == b.samples.at_us.tolist()
        assert a.samples.values.tobytes() == b.samples.values.tobytes()  # bit by bit: NaN, infinities, minus zero
        assert a.samples.qualities.tolist() == b.samples.qualities.tolist()
        assert (b.samples.at_us.dtype, b.samples.values.dtype, b.samples.qualities.dtype) == (
            np.int64,
            np.float64,
            np.uint8,
        )


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(batches(), min_size=1, max_size=2), st.data())
def test_a_changed_or_cut_blob_is_named(given_batches: list[Batch], data: st.DataObject) -> None:
    blob = bytearray(encode(given_batches))
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadReply, match="journal X"):
        decode(bytes(blob), "journal X")
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadReply, match="journal X"):
        decode(bytes(blob[: data.draw(st.integers(0, len(blob) - 1))]), "journal X")


def test_required_numbers_may_be_nan() -> None:
    at = from_us(1_700_000_000_123_456)
    sale = Transaction("S01-N01", 7, at, at, math.nan, math.inf, -0.0)
    empty = SampleBatch("S01", (), np.empty(0, np.int64), np.empty(0, np.float64), (), np.empty(0, np.uint8))
    (batch,) = decode(encode([Batch("S01", empty, (sale,), at)]), "here")
    (got,) = batch.records
    assert isinstance(got, Transaction)
    assert math.isnan(got.volume_l)
    assert (got.amount_cny, math.copysign(1, got.unit_price), got.end) == (math.inf, -1, at)


def test_a_batch_with_unequal_columns_is_refused() -> None:
    bad = SampleBatch("S01", ("S01/D1/a",), np.zeros(2, np.int64), np.zeros(1), (), np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="S01"):
        encode([Batch("S01", bad, (), from_us(0))])
