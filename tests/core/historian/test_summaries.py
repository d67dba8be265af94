"""Summaries and pages of samples: as if everything had arrived once, in order, and lain in one place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import Batch, Quality, SampleBatch, Store, Summaries, from_us, to_us
from pumpwatch.clock import SystemClock
from pumpwatch.historian import Historian
from pumpwatch.historian.embedded import EmbeddedStore

START = datetime(2026, 11, 20, 22, 58, tzinfo=UTC)
PATHS = ("S01/D1/a", "S01/D1/b", "S02/D1/a")
NEVER = timedelta(days=3650)

Row = tuple[str, int, float, str | None, int]


def rows_of(samples: SampleBatch) -> list[Row]:
    texts = samples.texts or (None,) * len(samples)
    columns = (samples.paths, samples.at_us.tolist(), samples.values.tolist(), texts, samples.qualities.tolist())
    return list(zip(*columns, strict=True))


def expected(rows: Sequence[Row], start: datetime, end: datetime, width: timedelta) -> Iterator[tuple[float, ...]]:
    """Bucket by bucket, as the docstring of ``Summaries`` says it."""
    begin = start
    while begin < end:
        until = min(begin + width, end)
        inside = [r for r in rows if to_us(begin) <= r[1] < to_us(until)]
        good = [r[2] for r in inside if math.isfinite(r[2]) and r[4] < Quality.BAD]
        if inside:
            shown = (min(good), max(good), math.fsum(good) / len(good), good[-1]) if good else (math.nan,) * 4
            yield (to_us(begin), len(inside), len(good), *shown)
        begin += width


def check(found: Summaries, rows: Sequence[Row], start: datetime, end: datetime, width: timedelta) -> None:
    columns = (found.start_us, found.count, found.good, found.low, found.high, found.mean, found.last)
    told = list(zip(*(c.tolist() for c in columns), strict=True))
    wanted = list(expected(rows, start, end, width))
    assert [t[:3] for t in told] == [w[:3] for w in wanted]
    np.testing.assert_array_equal([t[3:5] + t[6:] for t in told], [w[3:5] + w[6:] for w in wanted])
    np.testing.assert_allclose([t[5] for t in told], [w[5] for w in wanted], rtol=1e-12, atol=1e-12)


arrivals = st.lists(
    st.tuples(
        st.sampled_from(PATHS),
        st.integers(0, 4 * 3600).map(lambda second: to_us(START) + second * 1_000_000),
        st.one_of(st.floats(-1e6, 1e6).map(lambda v: round(v, 2)), st.just(math.nan), st.just(math.inf)),
        st.sampled_from((None, None, None, "text")),
        st.sampled_from((Quality.GOOD, Quality.GOOD, Quality.STALE, Quality.BAD)),
    ),
    max_size=60,
)


def in_batches(rows: Sequence[Row], size: int) -> Iterator[Batch]:
    for at in range(0, len(rows), size):
        some = rows[at : at + size]
        for station in ("S01", "S02"):
            if here := [r for r in some if r[0].startswith(station)]:
                paths, times, values, texts, qualities = zip(*here, strict=True)
                values = tuple(math.nan if t else v for v, t in zip(values, texts, strict=True))
                columns = np.array(times), np.array(values), texts, np.array(qualities, np.uint8)
                yield Batch(station, SampleBatch(station, paths, *columns), (), START)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), rows=arrivals, size=st.integers(1, 20))
async def test_late_repeated_and_unsealed_data_are_summed_up_as_if_they_had_come_in_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, rows: list[Row], size: int
) -> None:
    folder = tmp_path_factory.mktemp("historian")
    again = data.draw(st.lists(st.sampled_from(rows), max_size=10)) if rows else []
    store = EmbeddedStore(EmbeddedStore.Settings.model_validate({"merge_at": 3}), folder / "embedded")
    start = START + timedelta(seconds=data.draw(st.sampled_from((0, 60, 90, 120, 120 + 1800))))
    end = START + timedelta(seconds=data.draw(st.sampled_from((3600, 7320, 7333, 5 * 3600))))
    width = timedelta(seconds=data.draw(st.sampled_from((7, 60, 300, 3600, 5400, 86400))))
    batches = list(in_batches([*rows, *again], size))
    known: dict[tuple[str, int], Row] = {}
    for batch in batches:
        known |= {r[:2]: r for r in rows_of(batch.samples)}
    whole = [known[k] for k in sorted(known) if to_us(start) <= k[1] < to_us(end)]
    async with Historian.open(folder, store, SystemClock(), gather_s=NEVER.total_seconds()) as historian:
        for batch in batches:
            await historian.keep(batch)
            if data.draw(st.booleans()):
                await historian.flush()
        await historian.journaled()
        for path in PATHS:
            here = [r for r in whole if r[0] == path]
            check(await historian.summaries(path, start, end, width), here, start, end, width)
        await check_pages(historian, whole, start, end)
        await historian.flush()
        await store.tidied()
        await check_pages(store, whole, start, end)
        for path in PATHS:
            here = [r for r in whole if r[0] == path]
            check(await store.summaries(path, start, end, width), here, start, end, width)
            check(await Store.summaries(store, path, start, end, width), here, start, end, width)


async def check_pages(asked: Historian | Store, whole: Sequence[Row], start: datetime, end: datetime) -> None:
    """Whole and page by page; all, of a station, of a path."""
    choices: tuple[tuple[str | None, tuple[str, ...]], ...] = (
        (None, ()),
        ("S01", ()),
        ("S02", PATHS[:1]),
        (None, PATHS[1:]),
    )
    for station, paths in choices:
        wanted = [
            r for r in whole if (not paths or r[0] in paths) and (station is None or r[0].startswith(station + "/"))
        ]
        for limit in (100_000, 7):
            found: list[Row] = []
            after = None
            while page := rows_of(
                await asked.samples(station_id=station, paths=paths, start=start, end=end, after=after, limit=limit)
            ):
                assert len(page) <= limit
                found += page
                after = page[-1][0], from_us(page[-1][1])
                if len(page) < limit:
                    break
            assert repr(found) == repr(wanted)
