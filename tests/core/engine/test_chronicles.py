"""Chronicles: what they find is the same whatever is kept, lost, late, changed, gone or damaged."""

from __future__ import annotations

import random
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pumpwatch import (
    Channel,
    Chronicle,
    DeviceEvent,
    Digests,
    EventKind,
    Explanation,
    Finding,
    PluginSettings,
    SampleBatch,
    Severity,
    Subject,
    Text,
    Transaction,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.canonical import FarPast, Pasts, import_folder
from pumpwatch.database import Database, ledger_url
from pumpwatch.detection import in_order
from pumpwatch.engine import chronicles as chronicles_module
from pumpwatch.engine.chronicles import judge_chronicles
from pumpwatch.engine.shelf import FILE_NAME, mend, set_aside
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian
from pumpwatch.ledger import Ledger
from pumpwatch.model import Batch
from pumpwatch.testing import FakeClock

DAY_US = 86_400_000_000
START = datetime(2026, 3, 1, 16, tzinfo=UTC)
"""Midnight in Asia/Shanghai."""
DAYS = 24
COUNTY = {
    "stations": "station_id,name\nS01,示例一\n",
    "dispensers": "dispenser_id,station_id\nS01-D1,S01\n",
    "tanks": "tank_id,station_id,grade,capacity_l\nS01-T1,S01,92#,30000\n",
    "nozzles": "nozzle_id,dispenser_id,tank_id,grade\nS01-N01,S01-D1,S01-T1,92#\n",
}
ORDER = "station_id,device_id,time,kind,signed_by_station,detail\n"


class BusyDays(Chronicle):
    """Claims a day that sold more than those before it, so that every record of its context counts."""

    rule = "busy_days"
    days = 10
    context = timedelta(days=2)
    lookback = timedelta(days=13)
    made: list[int]

    def __init__(self, settings):
        super().__init__(settings)
        self.made, self.read = [], []

    @property
    def utc_offset_us(self):
        return 8 * 3_600_000_000

    def digest(self, past, day):
        self.made.append(day)
        start = day * DAY_US - self.utc_offset_us
        ends, sales = past.sales.end_us, past.sales
        inside = (ends >= start - 2 * DAY_US) & (ends < start + DAY_US + 3_600_000_000)
        today = inside & (sales.start_us >= start) & (sales.start_us < start + DAY_US)
        if not today.any():
            return {}
        before = from_us(start) - timedelta(days=2), from_us(start + DAY_US)
        told = [
            sales.volume_l[today].sum(),
            sales.volume_l[inside].sum(),
            np.nansum(sales.encoder_pulses[inside]),
            sum(before[0] <= event.at < before[1] for event in past.events),
            sum(to_us(order.at) < start for order in past.work_orders),
        ]
        return {"S01-N01": np.array(told, np.float32), "none": np.zeros((0, 3), np.float32)}

    def conclude(self, past, digests, since, until, memory=None):
        for day in sorted(digests):
            litres = self._of(digests, day, {} if memory is None else memory)
            at = from_us((day + 1) * DAY_US - self.utc_offset_us)
            if since < at <= until:
                first = day - self.days
                total = sum(
                    self._of(digests, one, {} if memory is None else memory)[0] for one in digests if one >= first
                )
                subject = Subject(past.station_id, nozzle_id="S01-N01")
                words = Text("忙", f"{total:.6f} {litres}")
                yield Finding(
                    id=finding_id(self.rule, subject, day),
                    rule=self.rule,
                    cause="busy",
                    subject=subject,
                    severity=Severity.INFO,
                    departments=(),
                    onset=at,
                    detected_at=at,
                    explanation=Explanation(words, words, words, words, words),
                )

    def _of(self, digests, day, memory):
        mark = digests.mark(day) if isinstance(digests, Digests) else None
        known = memory.get(str(day), b"")
        if mark is not None and known.startswith(mark):
            return np.frombuffer(known[len(mark) :], np.float32).tolist()
        self.read.append(day)
        told = digests[day]["S01-N01"]
        if mark is not None:
            memory[str(day)] = mark + told.tobytes()
        return told.tolist()


class Rig:
    """A data folder, and what a chronicle says of it."""

    def __init__(self, folder, database, historian):
        self.folder, self.ledger, self.historian = folder, Ledger(database), historian
        self.database = database
        self.kept = folder / FILE_NAME
        self.rule = BusyDays(PluginSettings())

    async def ledger_has(self, **tables):
        folder = self.folder / "tables"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, text in tables.items():
            (folder / f"{name}.csv").write_text(text, encoding="utf-8")
        await import_folder(self.database, self.historian, folder)

    async def tell(self, *records):
        nothing = SampleBatch("S01", (), np.empty(0, np.int64), np.empty(0), (), np.empty(0, np.uint8))
        await self.historian.store.write([Batch("S01", nothing, records, START)])

    async def say(self, since, until, path):
        """What is said, and the days that were made for it."""
        pasts = await Pasts.load(self.ledger, self.historian)
        self.rule.made, self.rule.read = [], []
        async with pasts.lent() as lent:
            far = await pasts.far(lent, "S01", since, until)
            said = judge_chronicles(far, [self.rule], since, until, path)
        assert not said.off
        assert not said.failing
        return said, [(f.id, f.detected_at, f.explanation.what.en) for f in in_order(said.findings)]

    async def review(self, since, until):
        """What the rule says when it is put as any review is."""
        pasts = await Pasts.load(self.ledger, self.historian)
        past = await pasts.station("S01", since - self.rule.lookback, until + timedelta(microseconds=1))
        findings = [f for f in self.rule.review(past, since, until) if since < f.detected_at <= until]
        return [(f.id, f.detected_at, f.explanation.what.en) for f in in_order(findings)]

    async def same(self, since, until):
        """Say it with what is kept, without, and as a review; how many days were made with what is kept."""
        assert mend(self.kept) is None
        said, with_kept = await self.say(since, until, self.kept)
        assert said.trouble is None
        made = list(self.rule.made)
        _, without = await self.say(since, until, None)
        assert with_kept == without == await self.review(since, until)
        return made


@pytest.fixture
def rig(tmp_path):
    @asynccontextmanager
    async def opened():
        store = EmbeddedStore(EmbeddedSettings(), tmp_path / "history" / "embedded")
        async with (
            Database.open(ledger_url(tmp_path)) as database,
            Historian.open(tmp_path / "history", store, FakeClock(START)) as historian,
        ):
            yield Rig(tmp_path, database, historian)

    return opened


def sale(seq, at, litres=10.0, **more):
    end = at + timedelta(minutes=2)
    return Transaction("S01-N01", seq, at, end, litres, litres * 7.5, 7.5, **more)


def sales(days=DAYS, each=6):
    return [
        sale(d * 100 + n, START + timedelta(days=d, hours=4 * n, minutes=7), 10.0 + d + n)
        for d in range(days)
        for n in range(each)
    ]


async def test_a_days_step_makes_one_day(rig):
    async with rig() as r:
        await r.ledger_has(**COUNTY)
        await r.tell(*sales())
        until = START + timedelta(days=20, hours=2)
        first = await r.same(until - timedelta(days=5), until)
        assert len(first) == 17, "fifteen days before the five, and the one that has begun"
        again = await r.same(until - timedelta(days=5), until)
        assert len(again) == 1
        later = until + timedelta(days=1)
        assert len(await r.same(later - timedelta(days=5), later)) == 2


async def test_what_is_remembered_outlives_a_restart(rig):
    until = START + timedelta(days=20, hours=2)
    async with rig() as r:
        await r.ledger_has(**COUNTY)
        await r.tell(*sales())
        await r.same(until - timedelta(days=5), until)
    async with rig() as r:
        await r.say(until - timedelta(days=5), until, r.kept)
        assert len(r.rule.made) == 1
        assert set(r.rule.read) == set(r.rule.made), "of the other days not even the digest was read"


async def test_a_day_is_kept_when_its_last_filling_must_be_known(rig):
    async with rig() as r:
        await r.ledger_has(**COUNTY)
        await r.tell(*sales())
        midnight = START + timedelta(days=20)
        for hours, fresh in ((0.5, 2), (0.6, 2), (1.0, 2), (1.1, 1)):
            until = midnight + timedelta(hours=hours)
            assert len(await r.same(until - timedelta(days=5), until)) >= fresh
        assert len(await r.same(until - timedelta(days=5), until)) == 1


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_stale_is_ever_said(rig, seed):
    chance = random.Random(seed)
    async with rig() as r:
        await r.ledger_has(**COUNTY)
        known = sales(16)
        await r.tell(*known)
        until = START + timedelta(days=14, hours=3)
        for step in range(14):
            at = START + timedelta(days=chance.uniform(0, 15))
            some = chance.choice(known)
            match chance.choice(
                ["late", "again", "fuller", "other", "event", "order", "lost", "gone", "on", "nothing"]
            ):
                case "late":
                    known.append(sale(9000 + step, at, 33.0))
                    await r.tell(known[-1])
                case "again":
                    await r.tell(some)
                case "fuller":
                    await r.tell(replace(some, encoder_pulses=1000 + step))
                case "other":
                    await r.tell(replace(some, volume_l=some.volume_l + 1.0))
                case "event":
                    await r.tell(DeviceEvent(at, "S01", "D1", EventKind.POWER, {}))
                case "order":
                    await r.ledger_has(work_orders=f"{ORDER}S01,S01-D1,{at.isoformat()},repair,示例,board\n")
                case "lost":
                    r.kept.unlink(missing_ok=True)
                case "gone":
                    r.historian.store._records.forget(Transaction, to_us(START + timedelta(days=step / 8)))
                case "on":
                    until += timedelta(hours=chance.uniform(0, 20))
            await r.same(until - timedelta(days=chance.choice([2, 5])), until)


async def test_a_damaged_file_is_named_and_begun_anew(rig):
    until = START + timedelta(days=20, hours=2)
    since = until - timedelta(days=5)
    async with rig() as r:
        await r.ledger_has(**COUNTY)
        await r.tell(*sales())
        await r.same(since, until)
        with closing(sqlite3.connect(r.kept)) as file, file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            file.execute("DELETE FROM memories")
            file.execute("UPDATE digests SET body = x'00' WHERE day = (SELECT max(day) FROM digests)")
        said, told = await r.say(since, until, r.kept)
        assert said.spoilt
        assert told == await r.review(since, until)
        sentence = set_aside(r.kept, said.trouble)
        assert "damaged" in sentence
        assert len(await r.same(since, until)) == 17

        with closing(sqlite3.connect(r.kept)) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        r.kept.write_bytes(b"no database at all" * 500)
        assert "damaged" in mend(r.kept)
        assert len(await r.same(since, until)) == 17
        assert len(list(r.folder.glob(f"{FILE_NAME}.damaged-*"))) >= 2


async def test_a_full_disk_or_a_locked_file_changes_no_finding(rig):
    until = START + timedelta(days=20, hours=2)
    since = until - timedelta(days=5)
    async with rig() as r:
        await r.ledger_has(**COUNTY)
        await r.tell(*sales())
        said, told = await r.say(since, until, r.folder / "nothing" / "there.sqlite")
        assert said.trouble
        assert not said.spoilt
        assert told == await r.review(since, until)


async def test_another_program_or_other_settings_use_nothing_of_it(rig, monkeypatch):
    until = START + timedelta(days=20, hours=2)
    since = until - timedelta(days=5)
    async with rig() as r:
        await r.ledger_has(**COUNTY)
        await r.tell(*sales())
        await r.same(since, until)
        monkeypatch.setattr(BusyDays, "version", 2)
        assert len(await r.same(since, until)) == 17
        monkeypatch.setattr(chronicles_module, "_files", lambda package: package.encode())
        assert len(await r.same(since, until)) == 17
        assert len(await r.same(since, until)) == 1


async def test_a_rule_that_raises_is_named_and_the_others_go_on(rig):
    class Fails(BusyDays):
        rule = "fails"

        def digest(self, past, day):
            raise ZeroDivisionError("a bug")

    until = START + timedelta(days=20, hours=2)
    async with rig() as r:
        await r.ledger_has(**COUNTY)
        await r.tell(*sales())
        assert mend(r.kept) is None
        pasts = await Pasts.load(r.ledger, r.historian)
        async with pasts.lent() as lent:
            far = await pasts.far(lent, "S01", START, until)
            said = judge_chronicles(far, [Fails(PluginSettings()), r.rule], START, until, r.kept)
        assert said.failing == {"fails": "S01: ZeroDivisionError: a bug"}
        assert said.findings


async def test_a_step_reads_what_its_days_need_and_more_only_for_a_rule_that_looks(rig, monkeypatch):
    class Looks(BusyDays):
        """Needs what was told in the last time, but not of the days that are made; and looks at records."""

        needs = frozenset({Channel.ENCODER})

        def conclude(self, past, digests, since, until, memory=None):
            self.past = past, replace(past, work_orders=())
            return super().conclude(past, digests, since, until, memory)

    class Lacks(BusyDays):
        rule = "lacks"
        needs = frozenset({Channel.TAX})

    spans, read = [], FarPast.read

    def noted(far, touched=None):
        spans.append((far.registered.start, far.registered.end))
        return read(far, touched)

    until = START + timedelta(days=20, hours=2)
    since = until - timedelta(days=5)
    monkeypatch.setattr(FarPast, "read", noted)
    async with rig() as r:
        await r.ledger_has(**COUNTY)
        await r.tell(*sales(), sale(7_000, since - timedelta(days=1), encoder_pulses=5))
        await r.same(since, until)
        spans.clear()
        await r.say(since, until, r.kept)
        end = until + timedelta(microseconds=1)
        assert spans == [(START + timedelta(days=18), end)]

        r.rule = Looks(PluginSettings())
        await r.same(since, until)
        spans.clear()
        await r.say(since, until, r.kept)
        assert spans == [(START + timedelta(days=18), end), (since - timedelta(days=2), end)]
        pasts = await Pasts.load(r.ledger, r.historian)
        expected = await pasts.station("S01", since - timedelta(days=2), end)
        for past in r.rule.past:
            assert (past.start, past.end, past.channels) == (expected.start, expected.end, expected.channels)
            assert past.sales.end_us.tolist() == expected.sales.end_us.tolist()
        assert type(r.rule.past[1]) is type(expected)
        async with pasts.lent() as lent:
            far = await pasts.far(lent, "S01", since, until)
            said = judge_chronicles(far, [Lacks(PluginSettings())], since, until, r.kept)
        assert said.off == {"lacks": "tax"}
        assert not said.failing
