"""Everything kept is answered, in the store or not yet; nothing is lost while the store or the journal is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pumpwatch import (
    Batch,
    DeviceEvent,
    EventKind,
    NotReachable,
    PluginSettings,
    Quality,
    Record,
    Refused,
    SampleBatch,
    Series,
    Store,
    Transaction,
)
from pumpwatch.clock import Clock, SystemClock
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian
from pumpwatch.historian.codec import decode

Make = Callable[..., Batch]
Rows = Callable[[SampleBatch], list[Any]]
PATH = "S01/D1/nozzle-1.volume"
FAR = timedelta(days=3_000)


class MoodyStore(EmbeddedStore):
    """A store that is away whenever it is told so, and remembers in which order it was written to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(EmbeddedSettings(), folder)
        self.away = False
        self.writes: list[list[int]] = []
        self.refusals = 0

    async def open(self) -> None:
        if self.away:
            raise NotReachable("demo store: nothing answers")
        await super().open()

    async def write(self, batches: Sequence[Batch]) -> None:
        self.refusals += self.away
        if self.away:
            raise NotReachable("demo store: nothing answers")
        await super().write(batches)
        self.writes.append([b.arrived.minute * 60 + b.arrived.second for b in batches])


class GoneStore(MoodyStore):
    """One that is not to be asked either while it is away."""

    async def series(self, path: str, start: datetime, end: datetime, limit: int = 100_000) -> Series:
        if self.away:
            raise NotReachable("demo store: nothing answers")
        return await super().series(path, start, end, limit)


class PlainStore(Store):
    """A store with nothing but what the contract asks for; another one does the work."""

    name = "plain"

    def __init__(self, inner: EmbeddedStore) -> None:
        super().__init__(PluginSettings(), inner.folder)
        self.inner = inner

    async def open(self) -> None:
        await self.inner.open()

    async def write(self, batches: Sequence[Batch]) -> None:
        await self.inner.write(batches)

    async def latest(self) -> SampleBatch:
        return await self.inner.latest()

    async def series(self, path: str, start: datetime, end: datetime, limit: int = 100_000) -> Series:
        return await self.inner.series(path, start, end, limit)

    async def transactions(self, **wanted: Any) -> Sequence[Transaction]:
        return await self.inner.transactions(**wanted)

    async def records(self, kind: type[Record], **wanted: Any) -> Sequence[Record]:
        return await self.inner.records(kind, **wanted)

    async def retention(self, now: datetime) -> None:
        await self.inner.retention(now)

    async def close(self) -> None:
        await self.inner.close()


@pytest.fixture
def store(tmp_path: Path) -> MoodyStore:
    return MoodyStore(tmp_path / "history" / "embedded")


@asynccontextmanager
async def running(folder: Path, store: Store, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Historian]:
    async with Historian.open(
        folder / "history", store, clock or SystemClock(), commit_s=0.01, **settings
    ) as historian:
        task = asyncio.create_task(historian.run())
        try:
            yield historian
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - the historian has no event for what tests want to know
            await asyncio.sleep(0.002)


async def values(historian: Historian, start: datetime, path: str = PATH) -> list[float]:
    found: list[float] = (await historian.series(path, start - FAR, start + FAR)).samples.values.tolist()
    return found


async def test_answers_span_store_journal_and_restart(
    tmp_path: Path, store: MoodyStore, make_batch: Make, rows: Rows, start: datetime
) -> None:
    gap = make_batch(6, value=float("nan"), quality=Quality.NOT_CONNECTED)
    async with running(tmp_path, store) as historian:
        for n in range(5):
            await historian.keep(make_batch(n))
        await historian.flush()
        assert (historian.gathering, historian.stored_samples) == (0, 10)
        await historian.keep(make_batch(5))
        await historian.keep(gap)
        await historian.keep(make_batch(7, station="S02"))
        await until(lambda: historian.acknowledged == 8)
        assert historian.gathering == 3
        assert historian.fill > 0
        whole = (await historian.series(PATH, start, start + FAR)).samples
        assert rows(whole) == [rows(make_batch(n).samples)[0] for n in range(6)] + [rows(gap.samples)[0]]
        assert whole.qualities.tolist()[-1] == Quality.NOT_CONNECTED
        newest = await historian.series(PATH, start, start + timedelta(seconds=6), limit=2)
        assert newest.samples.values.tolist() == [4.0, 5.0]
    store = MoodyStore(store.folder)
    async with running(tmp_path, store) as historian:  # what was not drained is taken up again
        assert historian.gathering == 3
        assert rows((await historian.series(PATH, start, start + FAR)).samples) == rows(whole)
        latest = {row[0]: row for row in rows(await historian.latest())}
        assert latest[PATH] == rows(gap.samples)[0]
        assert latest["S02/D1/nozzle-1.volume"] == rows(make_batch(7, station="S02").samples)[0]
        await historian.flush()
        assert historian.gathering == 0
        assert rows((await historian.series(PATH, start, start + FAR)).samples) == rows(whole)
        assert historian.damage == ()


async def test_records_are_answered_before_and_after_they_are_stored(
    tmp_path: Path, store: MoodyStore, make_batch: Make, start: datetime
) -> None:
    def sale(seq: int, **known: Any) -> Transaction:
        at = start + timedelta(minutes=seq)
        return Transaction("S01-N01", seq, at, at, 20.0, 156.6, 7.83, **known)

    down = DeviceEvent(start, "S01", "D1", EventKind.LINK, {"up": False})
    elsewhere = DeviceEvent(start, "S02", "D1", EventKind.LINK, {"up": True})
    async with running(tmp_path, store) as historian:

        async def check() -> None:
            want = [sale(3), sale(2), sale(1, tax_l=20.0)]
            assert list(await historian.transactions(nozzle_id="S01-N01")) == want
            assert list(await historian.transactions(station_id="S01", limit=1)) == want[:1]
            assert await historian.transactions(station_id="S02") == []
            assert list(await historian.transactions(start=sale(2).end, end=sale(3).end)) == want[1:2]
            span = {"start": start, "end": start + FAR}
            assert list(await historian.records(DeviceEvent, key="S01/D1", **span)) == [down]
            assert len(await historian.records(DeviceEvent, key="D1", **span)) == 2

        await historian.keep(make_batch(0, records=(sale(1), down)))
        await historian.flush()
        again = sale(1, tax_l=20.0)  # reported again, with what tax control says
        await historian.keep(make_batch(1, records=(sale(2), again, down)))
        await historian.keep(make_batch(1, station="S02", records=(elsewhere,)))
        await historian.keep(make_batch(2, records=(sale(3),)))
        await until(lambda: historian.acknowledged == 4)
        await check()
        await historian.flush()
        await check()


async def test_a_store_that_is_away_loses_nothing_and_gets_everything_once_in_order(
    tmp_path: Path, store: MoodyStore, make_batch: Make, hurried: Clock, start: datetime
) -> None:
    async with running(tmp_path, store, hurried, gather_s=0.0, gather_rows=10) as historian:
        await historian.keep(make_batch(0))
        await until(lambda: historian.gathering == 0)
        store.away = True
        for n in range(1, 60):
            await historian.keep(make_batch(n))
        await until(lambda: historian.acknowledged == 60 and store.refusals > 2)
        assert historian.gathering == historian.backlog == 59
        assert "nothing answers" in (historian.trouble or "")
        with pytest.raises(NotReachable):
            await historian.flush()
        assert await values(historian, start) == [float(n) for n in range(60)]
        store.away = False
        await until(lambda: historian.gathering == 0)
        assert historian.trouble is None
        assert [n for write in store.writes for n in write] == list(range(60))
        assert await values(historian, start) == [float(n) for n in range(60)]


async def test_it_starts_while_the_store_is_away(
    tmp_path: Path, store: MoodyStore, make_batch: Make, hurried: Clock, start: datetime
) -> None:
    store.away = True
    async with running(tmp_path, store, hurried) as historian:
        await historian.keep(make_batch(1))
        await until(lambda: historian.acknowledged == 1)
        with pytest.raises(NotReachable, match="nothing answers"):
            await historian.latest()
        store.away = False
        await historian.flush()
        assert await values(historian, start) == [1.0]


async def test_a_backlog_longer_than_memory_is_answered_from_disk(
    tmp_path: Path, store: MoodyStore, make_batch: Make, start: datetime
) -> None:
    sale = Transaction("S01-N01", 1, start, start, 20.0, 156.6, 7.83)
    async with running(tmp_path, store, commit_rows=4) as historian:
        historian._drain.tail.max_groups = 3
        for n in range(30):
            await historian.keep(make_batch(n, records=(sale,) if n == 0 else ()))
        await until(lambda: historian.acknowledged == 30)
        assert len(historian._drain.tail.batches()) < 10
        assert await values(historian, start) == [float(n) for n in range(30)]
        assert list(await historian.transactions()) == [sale]
        await historian.flush()
        assert [n for write in store.writes for n in write] == list(range(30))
        assert await values(historian, start) == [float(n) for n in range(30)]


async def test_while_the_store_is_away_a_question_fails_before_the_backlog_is_read(
    tmp_path: Path, make_batch: Make, hurried: Clock, start: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = GoneStore(tmp_path / "history" / "embedded")
    decoded: list[str] = []

    def counted(blob: bytes, what: str) -> list[Batch]:
        decoded.append(what)
        return decode(blob, what)

    async with running(tmp_path, store, hurried, commit_rows=4, gather_s=0.0) as historian:
        historian._drain.tail.max_groups = 3
        store.away = True
        for n in range(30):
            await historian.keep(make_batch(n))
        await until(lambda: historian.acknowledged == 30)
        with pytest.raises(NotReachable):
            await historian.flush()
        await until(lambda: historian.trouble is not None)
        monkeypatch.setattr("pumpwatch.historian.journal.decode", counted)
        span = {"start": start - FAR, "end": start + FAR}
        for question in (
            historian.latest(),
            historian.series(PATH, **span),
            historian.summaries(PATH, **span, width=timedelta(hours=1)),
            historian.samples(paths=(PATH,), **span),
            historian.transactions(),
            historian.records(DeviceEvent, **span),
        ):
            with pytest.raises(NotReachable, match="nothing answers"):
                await question
        assert decoded == []
        store.away = False
        assert await values(historian, start) == [float(n) for n in range(30)]


async def test_a_question_does_not_look_through_a_backlog_without_end(
    tmp_path: Path, store: MoodyStore, make_batch: Make, start: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pumpwatch.historian.historian._MOST_READ", 20)
    monkeypatch.setattr("pumpwatch.historian.historian._MANY", 3)  # and what is much is worked out in a thread
    sale = Transaction("S01-N01", 1, start, start, 20.0, 156.6, 7.83)
    async with running(tmp_path, store, commit_rows=4, gather_s=3_600.0) as historian:
        historian._drain.tail.max_groups = 3
        for n in range(30):
            await historian.keep(make_batch(n, records=(sale,) if n == 0 else ()))
        await until(lambda: historian.acknowledged == 30)
        with pytest.raises(NotReachable, match=r"wait for the store, too many .* ask for a shorter time"):
            await values(historian, start)
        short = await historian.samples(station_id="S01", start=start, end=start + timedelta(seconds=5))
        assert short.values.tolist() == [n + i / 100 for i in (1, 0) for n in range(5)]
        assert list(await historian.transactions()) == [sale]
        await historian.flush()
        assert await values(historian, start) == [float(n) for n in range(30)]


async def test_samples_gather_until_there_are_enough(tmp_path: Path, store: MoodyStore, make_batch: Make) -> None:
    async with running(tmp_path, store, gather_s=60.0, gather_rows=20) as historian:
        for n in range(9):
            await historian.keep(make_batch(n))
        await until(lambda: historian.acknowledged == 9)
        assert store.writes == []
        await historian.keep(make_batch(9))
        await until(lambda: historian.gathering == 0)
        assert len(store.writes) == 1


async def test_keep_waits_while_the_journal_is_full(
    tmp_path: Path, store: MoodyStore, make_batch: Make, hurried: Clock, start: datetime
) -> None:
    store.away = True
    async with running(tmp_path, store, hurried, max_bytes=4_000, queue_batches=5, commit_rows=4) as historian:
        kept = 0

        async def driver() -> None:
            nonlocal kept
            for n in range(60):
                await historian.keep(make_batch(n))
                kept += 1

        driving = asyncio.create_task(driver())
        await until(lambda: "full" in (historian.trouble or ""))
        await asyncio.sleep(0.03)
        held = kept
        assert held <= historian.journal.batches + 5
        assert held < 60
        assert historian.fill <= 1.0
        store.away = False
        await until(lambda: kept == 60)
        await driving
        await historian.flush()
        assert await values(historian, start) == [float(n) for n in range(60)]


async def test_cancellation_writes_what_is_queued_even_into_a_full_journal(
    tmp_path: Path, store: MoodyStore, make_batch: Make, start: datetime
) -> None:
    store.away = True
    async with running(tmp_path, store, max_bytes=1_500, commit_rows=2) as historian:
        for n in range(12):
            await historian.keep(make_batch(n))
        await until(lambda: historian.trouble is not None and "full" in historian.trouble)
        assert historian.acknowledged < 12
    store.away = False
    async with running(tmp_path, store) as historian:
        assert await values(historian, start) == [float(n) for n in range(12)]


async def test_at_any_moment_of_cancellation_nothing_is_lost(
    tmp_path: Path, store: MoodyStore, make_batch: Make, start: datetime
) -> None:
    kept = 0
    for round_ in range(12):
        async with running(tmp_path, MoodyStore(store.folder), gather_s=0.0, gather_rows=4) as historian:
            for _ in range(6):
                await historian.keep(make_batch(kept))
                kept += 1
            await asyncio.sleep(0.004 * round_)
    async with running(tmp_path, store) as historian:
        assert await values(historian, start) == [float(n) for n in range(kept)]


async def test_a_batch_the_store_will_never_take_is_set_aside_and_the_rest_goes_on(
    tmp_path: Path, store: MoodyStore, make_batch: Make, start: datetime
) -> None:
    broken = Transaction("S01-N01", 2**80, start, start, 1.0, 1.0, 1.0)
    async with running(tmp_path, store) as historian:
        for n in range(5):
            await historian.keep(make_batch(n, records=(broken,) if n == 2 else ()))
        await historian.flush()
        assert await values(historian, start) == [0.0, 1.0, 3.0, 4.0]
        assert historian.gathering == 0
        (note,) = historian.damage
        assert "cannot be stored" in note


async def test_a_record_without_time_zone_is_named_and_the_rest_is_kept(
    tmp_path: Path, store: MoodyStore, make_batch: Make, start: datetime
) -> None:
    naive = start.replace(tzinfo=None)
    async with running(tmp_path, store, queue_batches=4) as historian:
        for n in range(12):
            record = DeviceEvent(naive, "S01", "D1", EventKind.POWER)
            await historian.keep(make_batch(n, records=(record,) if n % 5 == 2 else ()))
        await historian.flush()
        assert await values(historian, start) == [float(n) for n in range(12) if n % 5 != 2]
        assert len(historian.damage) == 2
        assert "S01" in historian.damage[0]


async def test_a_full_journal_is_told_to_who_flushes(tmp_path: Path, store: MoodyStore, make_batch: Make) -> None:
    store.away = True
    async with Historian.open(tmp_path / "history", store, SystemClock(), max_bytes=100) as historian:
        await historian.keep(make_batch(1))
        with pytest.raises(NotReachable):
            await historian.flush()
        await historian.keep(make_batch(2))
        with pytest.raises(Refused, match="full"):
            await historian.flush()


async def test_a_store_that_tells_nothing_of_itself_is_written_to_within_moments(
    tmp_path: Path, store: MoodyStore, make_batch: Make, start: datetime
) -> None:
    plain = PlainStore(store)
    async with running(tmp_path, plain) as historian:
        await historian.keep(make_batch(1))
        await until(lambda: historian.gathering == 0)
        assert store.writes == [[1]]
        assert (historian.stored_samples, historian.damage) == (2, ())
        assert await values(historian, start) == [1.0]


async def test_a_filling_told_again_otherwise_is_kept_as_evidence_through_the_journal(
    tmp_path: Path, make_batch: Make, start: datetime
) -> None:
    """C07: the first report stands everywhere, and that another came is itself a record."""
    first = Transaction("S01-N01", 7, start, start, 20.0, 150.0, 7.5, tax_l=20.0, raw=b"first")
    edited = replace(first, volume_l=18.0, tax_l=18.0, raw=b"edited")
    store = EmbeddedStore(EmbeddedStore.Settings(), tmp_path / "embedded")
    soon = start + timedelta(days=1)
    async with Historian.open(tmp_path, store, SystemClock(), gather_s=3_600.0) as historian:
        await historian.keep(make_batch(0, records=(first,)))
        await historian.journaled()
        await historian.keep(make_batch(1, records=(edited,)))
        await historian.journaled()
        for _ in range(2):
            (known,) = await historian.transactions(nozzle_id="S01-N01")
            assert (known.volume_l, known.tax_l, known.raw) == (20.0, 20.0, b"first")
            await historian.flush()
        await historian.keep(make_batch(2, records=(edited,)))  # and once more
        await historian.flush()
        (event,) = await historian.records(DeviceEvent, start=start - timedelta(days=1), end=soon)
    assert isinstance(event, DeviceEvent)
    detail = {"code": "resubmitted", "seq": 7, "field": "volume_l", "first": 20.0, "later": 18.0}
    assert (event.kind, event.device_id, event.detail) == (EventKind.ALARM, "S01-N01", detail)
