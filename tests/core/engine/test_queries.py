"""Questions to what is kept: the same answer in one page and in many, whether in the journal or in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pumpwatch import (
    BadConfig,
    Batch,
    Dispenser,
    Nozzle,
    Quality,
    Record,
    SampleBatch,
    Station,
    Tank,
    TankReading,
    Transaction,
    to_us,
)
from pumpwatch.engine import FillingFilter, Pace, Queries
from pumpwatch.engine.queries import completeness, samples
from pumpwatch.engine.queries.pages import cursor, place_of
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian
from pumpwatch.hub import Last
from pumpwatch.ledger import Register
from pumpwatch.testing import FakeClock

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 3, 4, 4, tzinfo=UTC)
START = datetime(2026, 3, 1, 16, tzinfo=UTC)
"""Midnight of 2 March at the station."""
FLOW, STATE, LEVEL = "S01/D1/nozzle-1.flow", "S01/D1/nozzle-1.state", "S01/TLS/tank-1.height"
REGISTER = Register(
    (Station("S01", "示例一"), Station("S02", "示例二")),
    (Dispenser("S01-D1", "S01"),),
    (Tank("S01-T1", "S01", "92#", 30_000.0),),
    (Nozzle("S01-N01", "S01-D1", "S01-T1", "92#"), Nozzle("S01-N02", "S01-D1", "S01-T1", "95#")),
)


def sale(seq: int, at: datetime, nozzle: str = "S01-N01", litres: float = 20.0, **more: object) -> Transaction:
    facts = {"volume_l": litres, "amount_cny": litres * 7.5, "unit_price": 7.5, **more}
    return Transaction(nozzle, seq, at - timedelta(seconds=40), at, **facts)


class Kept:
    """A historian with what a test put in, and the questions to it."""

    def __init__(self, historian: Historian, clock: FakeClock) -> None:
        self.historian = historian
        self.latest: dict[str, Last] = {}
        self.pace = Pace({FLOW: 10.0, STATE: 10.0})
        self.ask = Queries(historian, lambda: REGISTER, self.latest, lambda: self.pace, ZONE, clock)

    async def put(self, *samples: tuple[str, datetime, float | str, Quality], records: tuple[Record, ...] = ()) -> None:
        values = [v for _, _, v, _ in samples]
        texts = tuple(v if isinstance(v, str) else None for v in values)
        batch = SampleBatch(
            "S01",
            tuple(path for path, *_ in samples),
            np.array([to_us(at) for _, at, _, _ in samples], np.int64),
            np.array([np.nan if isinstance(v, str) else v for v in values], np.float64),
            texts if any(t is not None for t in texts) else (),
            np.array([q for *_, q in samples], np.uint8),
        )
        for path, at, value, quality in samples:
            self.latest[path] = Last(value, to_us(at), quality)
        await self.historian.keep(Batch("S01", batch, records, NOW))

    async def settle(self, *, stored: bool) -> None:
        await (self.historian.flush() if stored else self.historian.journaled())


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    clock = FakeClock(NOW)
    store = EmbeddedStore(EmbeddedSettings(), tmp_path / "embedded")
    async with Historian.open(tmp_path, store, clock) as historian:
        yield Kept(historian, clock)


def every(seconds: float, start: datetime, end: datetime) -> list[datetime]:
    return [start + timedelta(seconds=seconds * i) for i in range(int((end - start).total_seconds() / seconds))]


async def all_pages(ask, limit: int) -> list[dict]:
    """Every page of a question, put together; none is longer than asked for."""
    rows, after = [], None
    for _ in range(2_000):
        page = await ask(after=after, limit=limit)
        assert page.table.num_rows <= limit
        rows += page.table.to_pylist()
        after = page.after
        if after is None:
            return rows
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("stored", [False, True])
async def test_samples_are_the_same_in_pages(kept, stored) -> None:
    times = every(10, START, START + timedelta(minutes=2))
    await kept.put(*((FLOW, at, float(i), Quality.GOOD) for i, at in enumerate(times)))
    await kept.settle(stored=stored)
    await kept.put((STATE, START, "停", Quality.UNCERTAIN), ("S02/D1/x", START, 1.0, Quality.GOOD))
    await kept.historian.journaled()

    async def ask(**page):
        return await kept.ask.samples((STATE, FLOW), start=START, end=NOW, **page)

    whole = await all_pages(ask, 1_000)
    assert [r["path"] for r in whole] == [FLOW] * len(times) + [STATE]
    assert [r["at"] for r in whole[:-1]] == times
    assert whole[-1] | {"at": None} == {"path": STATE, "at": None, "value": None, "text": "停", "quality": 0x40}
    assert await all_pages(ask, 5) == whole
    station = await kept.ask.samples(station_id="S01", start=START, end=NOW)
    assert [r for r in station.table.to_pylist() if r["path"] != "S02/D1/x"] == whole


async def test_buckets_are_what_numpy_says(kept) -> None:
    times = every(7, START, START + timedelta(minutes=20))
    values = np.sin(np.arange(len(times))) * 30
    await kept.put(*((FLOW, at, float(v), Quality.GOOD) for at, v in zip(times, values, strict=True)))
    await kept.put((STATE, START + timedelta(seconds=61), 1.0, Quality.NOT_CONNECTED))
    await kept.settle(stored=True)

    async def ask(**page):
        width = timedelta(seconds=90)
        return await kept.ask.summaries((FLOW, STATE), width, start=START, end=NOW, **page)

    rows = await all_pages(ask, 1_000)
    at = np.array([(t - START).total_seconds() for t in times])
    for row in rows[:-1]:
        begin = (row["start"] - START).total_seconds()
        mine = values[(at >= begin) & (at < begin + 90)]
        assert (row["count"], row["good"]) == (len(mine), len(mine))
        told = [row[name] for name in ("min", "max", "mean", "last")]
        assert told == pytest.approx([mine.min(), mine.max(), mine.mean(), mine[-1]])
    assert sum(row["count"] for row in rows[:-1]) == len(times)
    assert (rows[-1]["path"], rows[-1]["count"], rows[-1]["good"], rows[-1]["last"]) == (STATE, 1, 0, None)
    assert await all_pages(ask, 3) == rows


async def test_a_page_of_buckets_asks_for_so_much_and_no_more(kept, monkeypatch) -> None:
    await kept.put((FLOW, START, 1.0, Quality.GOOD), (FLOW, START + timedelta(hours=9), 2.0, Quality.GOOD))
    await kept.settle(stored=True)
    asked = []
    ask = kept.historian.summaries

    async def counted(*question):
        asked.append(question)
        return await ask(*question)

    monkeypatch.setattr(kept.historian, "summaries", counted)
    second = timedelta(seconds=1)
    rows, after = [], None
    for _ in range(10):
        page = await kept.ask.summaries((FLOW, STATE), second, start=START, end=NOW, limit=1, after=after)
        rows += page.table.to_pylist()
        if (after := page.after) is None:
            break
    assert [row["start"] for row in rows] == [START, START + timedelta(hours=9)]
    assert len(asked) < 50
    asked.clear()
    page = await kept.ask.summaries((FLOW,), second, start=datetime(1970, 1, 1, tzinfo=UTC), end=NOW, limit=1)
    assert page.after is not None
    assert len(asked) <= 256


async def test_values_as_of_given_times(kept) -> None:
    dice = np.random.default_rng(3)
    times = [START + timedelta(seconds=float(s)) for s in np.cumsum(dice.integers(1, 400, 60))]
    await kept.put(*((FLOW, at, float(i), Quality.GOOD) for i, at in enumerate(times)))
    await kept.put((STATE, times[5], "加油", Quality.STALE))
    await kept.settle(stored=True)
    asked = [START + timedelta(seconds=float(s)) for s in dice.integers(-50, 15_000, 80)]
    page = await kept.ask.as_of((FLOW, STATE), asked, lookback=timedelta(seconds=120))
    for row, at in zip(page.table.to_pylist(), asked, strict=True):
        known = [i for i, t in enumerate(times) if t <= at and at - t <= timedelta(seconds=120)]
        assert (row["at"], row[FLOW]) == (at, float(known[-1]) if known else None)
        assert row[f"{FLOW}:at"] == (times[known[-1]] if known else None)
        assert row[f"{FLOW}:quality"] == (0 if known else None)
        assert row[f"{STATE}:text"] == ("加油" if timedelta(0) <= at - times[5] <= timedelta(seconds=120) else None)


async def test_an_as_of_question_turns_no_pages_without_end(kept, monkeypatch) -> None:
    monkeypatch.setattr(samples, "_AT_ONCE", 5)
    monkeypatch.setattr(samples, "_MOST_PAGES", 3)
    await kept.put(*((FLOW, START + timedelta(seconds=i), float(i), Quality.GOOD) for i in range(30)))
    await kept.settle(stored=True)
    page = await kept.ask.as_of((FLOW,), [START + timedelta(seconds=14)])
    assert page.table[FLOW].to_pylist() == [14.0]
    with pytest.raises(BadConfig, match="more than 15 samples lie before these times"):
        await kept.ask.as_of((FLOW,), [START + timedelta(seconds=29)])


async def test_values_as_of_each_filling(kept) -> None:
    ends = [START + timedelta(hours=h) for h in (1, 5, 9)]
    await kept.put(
        *((LEVEL, at - timedelta(seconds=30), 1_000.0 - i, Quality.GOOD) for i, at in enumerate(ends)),
        records=tuple(sale(i, at) for i, at in enumerate(ends)),
    )
    await kept.settle(stored=True)

    async def ask(**page):
        return await kept.ask.as_of_fillings((LEVEL,), FillingFilter("S01"), **page)

    rows = await all_pages(ask, 2)
    assert [(r["seq"], r[LEVEL]) for r in rows] == [(2, 998.0), (1, 999.0), (0, 1_000.0)]


async def test_fillings_through_pages_of_one_moment(kept) -> None:
    moments = [START + timedelta(minutes=m // 7) for m in range(40)]
    records = [sale(i, at, ("S01-N01", "S01-N02")[i % 2], litres=float(i)) for i, at in enumerate(moments)]
    await kept.put(records=tuple(records[:25]))
    await kept.settle(stored=True)
    await kept.put(records=tuple(records[20:]))
    await kept.settle(stored=False)
    newest = sorted(records, key=lambda s: (-to_us(s.end), s.nozzle_id, s.seq))
    for limit in (1, 3, 6, 100):
        rows = await all_pages(lambda **page: kept.ask.transactions(FillingFilter("S01"), **page), limit)
        assert [(r["nozzle_id"], r["seq"]) for r in rows] == [(s.nozzle_id, s.seq) for s in newest], limit
    wanted = FillingFilter(grade="95#", least_l=5.0, most_l=11.0)
    rows = await all_pages(lambda **page: kept.ask.transactions(wanted, **page), 2)
    assert [r["volume_l"] for r in rows] == [11.0, 9.0, 7.0, 5.0] or sorted(r["volume_l"] for r in rows) == [
        5,
        7,
        9,
        11,
    ]
    assert {r["dispenser_id"] for r in rows} == {"S01-D1"}


async def test_one_page_looks_at_no_more_than_it_may(kept, monkeypatch) -> None:
    monkeypatch.setattr("pumpwatch.engine.queries.fillings._LOOKED_AT", 4)
    await kept.put(records=tuple(sale(i, START + timedelta(minutes=i)) for i in range(10)))
    await kept.settle(stored=True)
    first = await kept.ask.transactions(FillingFilter(payment="cash"))
    assert first.table.num_rows == 0
    assert first.after is not None
    rows = await all_pages(lambda **page: kept.ask.transactions(FillingFilter(payment="cash"), **page), 5)
    assert rows == []


async def heard(kept, seconds: list[float], bad: dict[float, Quality] | None = None, path: str = FLOW) -> None:
    at = {START + timedelta(seconds=s): Quality.GOOD for s in seconds}
    at |= {START + timedelta(seconds=s): q for s, q in (bad or {}).items()}
    await kept.put(*((path, t, 1.0, q) for t, q in sorted(at.items())))
    await kept.settle(stored=True)


async def gaps_of(kept, subject: str, end_s: float, limit: int = 100, **asked) -> list[tuple]:
    async def ask(**page):
        end = START + timedelta(seconds=end_s)
        return await kept.ask.gaps(subject, start=START, end=end, **asked, **page)

    return [
        (
            (r["start"] - START).total_seconds(),
            r["end"] and (r["end"] - START).total_seconds(),
            r["seconds"],
            r["reason"],
        )
        for r in await all_pages(ask, limit)
    ]


async def test_gaps_are_silences_and_bad_values(kept) -> None:
    good = [*range(0, 200, 10), *range(500, 600, 10), *range(700, 900, 10)]
    await heard(kept, good, {605.0: Quality.NOT_CONNECTED, 615.0: Quality.STALE, 650.0: Quality.BAD_REPLY})
    told = [(190, 500, 310, "silent"), (615, 700, 85, "bad_reply"), (890, None, 110, "silent")]
    assert await gaps_of(kept, FLOW, 1_000) == told
    short = await gaps_of(kept, FLOW, 1_000, longest=timedelta(seconds=12))
    assert (590, 615, 25, "not_connected") in short
    assert await gaps_of(kept, FLOW, 1_000, limit=1) == told
    assert await gaps_of(kept, FLOW, 1_000, longest=timedelta(seconds=200)) == [(190, 500, 310, "silent")]


async def test_a_device_is_silent_when_all_its_tags_are(kept) -> None:
    await heard(kept, list(range(0, 300, 10)))
    await heard(kept, [*range(0, 100, 10), *range(400, 500, 10)], path=STATE)
    assert await gaps_of(kept, "S01/D1", 500) == [(290, 400, 110, "silent")]
    assert [g[:2] for g in await gaps_of(kept, STATE, 500)] == [(90, 400)]


async def test_a_gap_over_midnight_and_pages_is_one(kept) -> None:
    day = 86_400.0
    await heard(kept, [0.0, 5.0, 2.4 * day, 2.4 * day + 5])
    assert await gaps_of(kept, FLOW, 2.4 * day + 6) == [(5.0, 2.4 * day, 2.4 * day - 5.0, "silent")]
    with pytest.raises(BadConfig, match="no tag or device"):
        await kept.ask.gaps("S01/D9", start=START, end=NOW)


async def complete(kept, first: date = date(2026, 3, 2), days: int = 1, limit: int = 100) -> list[dict]:
    async def ask(**page):
        return await kept.ask.completeness(("S01",), first=first, end=first + timedelta(days), **page)

    return await all_pages(ask, limit)


async def test_tags_count_by_slots_and_a_heartbeat_is_enough(kept, monkeypatch) -> None:
    end = START + timedelta(hours=36)
    kept.pace = Pace({FLOW: 10.0, LEVEL: 300.0})
    away = (START + timedelta(hours=2), START + timedelta(hours=3))
    at = [t for t in every(10, START + timedelta(hours=1), end) if not away[0] <= t < away[1]]
    await kept.put(*((FLOW, t, 5.0, Quality.GOOD) for t in at))
    await kept.put(*((FLOW, t, 5.0, Quality.NOT_CONNECTED) for t in every(10, *away)))
    await kept.put(*((LEVEL, t, 7.0, Quality.GOOD) for t in every(300, START, end)))
    await kept.settle(stored=True)
    first, second = await complete(kept, days=2)
    assert (first["tags_expected"], first["tags_received"]) == (23 * 60 + 144, 22 * 60 + 144)
    assert first["tags_percent"] == pytest.approx(100 * (22 * 60 + 144) / (23 * 60 + 144))
    assert (second["tags_expected"], second["tags_received"]) == (24 * 60 + 144, 12 * 60 + 72)
    monkeypatch.setattr(completeness, "_MOST_LOOKS", 1)
    monkeypatch.setattr(completeness, "_DAYS_AT_ONCE", 1)
    page = await kept.ask.completeness(("S01",), first=date(2026, 3, 2), end=date(2026, 3, 4))
    assert (len(page.table), page.after is None) == (1, False)
    assert await complete(kept, days=2) == [first, second]
    (third,) = await complete(kept, date(2026, 3, 4))
    assert third["tags_expected"] == 12 * 60 + 72  # the day is not over


async def test_numbers_left_out_are_missing_fillings(kept) -> None:
    noon = START + timedelta(hours=12)
    numbers = [*range(1, 21), *range(24, 30), 31]
    records = [sale(n, noon + timedelta(minutes=3 * n)) for n in numbers]
    records += [sale(9_000 + n, noon + timedelta(minutes=120 + 3 * n)) for n in range(5)]  # another board's counter
    records += [sale(int(n), noon + timedelta(minutes=n), "S01-N02") for n in range(100, 1_000, 60)]  # numbered by time
    swapped = {24: noon + timedelta(minutes=75.5), 25: noon + timedelta(minutes=75)}
    records = [replace(r, end=swapped.get(r.seq, r.end)) if r.nozzle_id == "S01-N01" else r for r in records]
    await kept.put(records=tuple(records))
    await kept.settle(stored=True)
    (row,) = await complete(kept)
    assert row["numbers_missing"] == "S01-N01 21-23, 30"
    inside = sum(r.end < START + timedelta(days=1) for r in records)
    assert (row["fillings_received"], row["fillings_expected"]) == (inside, inside + 4)


async def test_a_gap_over_midnight_counts_on_the_day_that_shows_it(kept) -> None:
    ends = [START + timedelta(hours=h) for h in (20, 22, 26, 28)]
    await kept.put(records=tuple(sale(n, at) for n, at in zip((1, 2, 5, 6), ends, strict=True)))
    await kept.settle(stored=True)
    rows = await complete(kept, days=2)
    assert [(r["fillings_received"], r["fillings_expected"]) for r in rows] == [(2, 2), (2, 4)]
    assert await complete(kept, days=2, limit=1) == rows


async def test_readings_are_expected_at_their_usual_step(kept) -> None:
    step = 300
    at = [t for i, t in enumerate(every(step, START, START + timedelta(hours=48))) if not 270 <= i < 310]
    await kept.put(records=tuple(TankReading("S01-T1", t, 1_000.0) for t in at))
    await kept.settle(stored=True)
    rows = await complete(kept, days=2)
    assert [(r["readings_received"], r["readings_expected"]) for r in rows] == [(270, 288), (266, 288)]
    (third,) = await complete(kept, date(2026, 3, 4))
    assert third["readings_received"] == 0
    assert third["readings_expected"] == 12 * 12 - 1


async def test_what_cannot_be_asked_says_so(kept) -> None:
    day = date(2026, 3, 2)
    for words, asked in {
        "limit": kept.ask.samples((FLOW,), start=START, end=NOW, limit=0),
        "path": kept.ask.samples(start=START, end=NOW),
        "width": kept.ask.summaries((FLOW,), timedelta(0), start=START, end=NOW),
        "lookback": kept.ask.as_of((FLOW,), [NOW], lookback=timedelta(days=99)),
        "twice": kept.ask.as_of((FLOW, FLOW), [NOW]),
        "5,001 looks into the past": kept.ask.as_of((FLOW,), [NOW - timedelta(days=n) for n in range(5_001)]),
        "no station": kept.ask.completeness(("S99",), first=day, end=day),
        "later": kept.ask.completeness(first=day, end=date(2026, 3, 1)),
        "too many": kept.ask.samples(["S01/D1/x"] * 300, start=START, end=NOW),
        "longer": kept.ask.gaps(FLOW, longest=timedelta(0), start=START, end=NOW),
    }.items():
        if words == "longer":
            kept.latest[FLOW] = Last(1.0, 0, Quality.GOOD)
        with pytest.raises(BadConfig, match=words):
            await asked


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda b: cursor(b.hex(), len(b))))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_a_foreign_cursor_is_refused_or_fits(after: str) -> None:
    try:
        place = place_of(after, (str, int, int))
    except BadConfig as error:
        assert "cursor" in str(error)
    else:
        assert [type(part) for part in place] == [str, int, int]


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=200), st.integers(-(2**52), 2**52))
@example("站" * 200, 0)
@example("S01/D1/1号\u3000枪", 0)
def test_a_cursor_comes_back(path: str, at_us: int) -> None:
    assert place_of(cursor(path, at_us), (str, int)) == [path, at_us]


def test_slots_fit_into_a_day() -> None:
    assert [Pace({"x": s}).slot_min("x") for s in (1, 10, 30, 60, 200, 3_600, 90_000)] == [1, 1, 1, 2, 8, 120, 1_440]
    assert Pace({}, 10.0).longest_s("unknown") == 20.0
