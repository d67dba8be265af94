"""What is asked at once: only what concerns what has come, once an occasion, soon, and never for ever."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import ClassVar

import pytest

from pumpwatch import (
    About,
    Batch,
    Comparison,
    Declaration,
    Dispenser,
    NotReachable,
    Nozzle,
    PluginSettings,
    Review,
    Station,
    Tank,
    Text,
    Transaction,
    WorkOrder,
)
from pumpwatch.database import Database, ledger_url
from pumpwatch.detection import LiveHistory
from pumpwatch.engine import Judgement, reviewing, waking
from pumpwatch.engine.judging import lookback
from pumpwatch.engine.waking import ASKED_AT_MOST, BEFORE, COMPARED_AT_MOST, SETTLE_S, Waking
from pumpwatch.ledger import Ledger, Register
from pumpwatch.testing import FakeClock

ABOUT = About(Text("", ""), (), "", "", "", "", "", "")


class Big(Review):
    """Wakes once for each nozzle that sells more than a hundred litres."""

    rule: ClassVar[str] = "big"
    about: ClassVar[About] = ABOUT
    lookback: ClassVar[timedelta] = timedelta(days=3)
    wakes: ClassVar[tuple[type, ...]] = (Transaction,)

    def occasion(self, record, history):
        if record.volume_l > 1000.0:
            raise ZeroDivisionError("a bug")
        return record.nozzle_id if record.volume_l > 100.0 else None

    def review(self, past, since, until):
        return ()


class Each(Big):
    """Wakes for every filling."""

    rule: ClassVar[str] = "each"

    def occasion(self, record, history):
        return Review.occasion(self, record, history)


class Declared(Big):
    """Wakes for entries of the ledger."""

    rule: ClassVar[str] = "declared"
    lookback: ClassVar[timedelta] = timedelta(days=60)
    wakes: ClassVar[tuple[type, ...]] = (Declaration, WorkOrder)
    occasion = Review.occasion


class Sleeper(Big):
    """Never wakes."""

    rule: ClassVar[str] = "sleeper"
    wakes: ClassVar[tuple[type, ...]] = ()


class Twins(Comparison):
    """Wakes as ``Big``."""

    rule: ClassVar[str] = "twins"
    about: ClassVar[About] = ABOUT
    lookback: ClassVar[timedelta] = timedelta(days=3)
    wakes: ClassVar[tuple[type, ...]] = (Transaction,)
    occasion = Big.occasion

    def digest(self, past, since, until):
        return None

    def compare(self, digests, since, until):
        return ()


class Pairs(Twins):
    """Wakes for every filling."""

    rule: ClassVar[str] = "pairs"
    occasion = Review.occasion


class Papers:
    """A ledger's entries."""

    def __init__(self):
        self.declarations = [Declaration("S01", "2026-01", "92#", declared_sale_l=1.0)]

    async def entries(self, kind):
        return tuple(self.declarations) if kind is Declaration else ()


class Bench:
    """Looks that are written down instead of made."""

    def __init__(self, *rules):
        stations = tuple(Station(name, name) for name in ("S01", "S02"))
        dispensers = tuple(Dispenser(f"{s.station_id}-D1", s.station_id) for s in stations)
        tanks = tuple(Tank(f"{s.station_id}-T1", s.station_id, "92#", 3e4) for s in stations)
        nozzles = tuple(
            Nozzle(f"{s.station_id}-N0{n}", f"{s.station_id}-D1", f"{s.station_id}-T1", "92#")
            for s in stations
            for n in (1, 2)
        )
        self.clock, self.papers = FakeClock(), Papers()
        self.looks, self.told, self.trouble = [], [], []
        made = [rule(PluginSettings()) for rule in rules]
        history = LiveHistory(Register(stations, dispensers, tanks, nozzles), {})
        self.waking = Waking(made, self.papers, None, self.clock, history, self.hear, self.unknown)

    async def judge(self, rules, ledger, historian, since, until, stations, meanwhile):
        if self.trouble and (error := self.trouble.pop()):
            raise error
        self.looks.append(({rule.rule for rule in rules}, set(stations), since, until))
        return Judgement(findings=[f"{len(self.looks)}"])

    async def unknown(self, findings):
        return [f"new {finding}" for finding in findings]

    async def hear(self, findings):
        self.told += findings

    async def sold(self, *nozzles, volume=200.0, at=None):
        end = at or self.clock.now()
        sales = [
            Transaction(nozzle, 1, end - timedelta(minutes=1), end, volume, volume * 7.5, 7.5) for nozzle in nozzles
        ]
        await self.waking.take(Batch("S01", (), tuple(sales), self.clock.now()))

    async def passes(self, seconds):
        for _ in range(round(seconds)):
            await self.clock.advance(1.0)
            await asyncio.sleep(0)


@pytest.fixture
def bench(monkeypatch):
    @asynccontextmanager
    async def running(*rules, real=False):
        made = Bench(*rules)
        if not real:
            monkeypatch.setattr(waking, "judge_soon", made.judge)
        await made.waking.remember()
        task = asyncio.create_task(made.waking.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return running


async def test_only_what_concerns_it_is_asked_and_once(bench):
    async with bench(Big, Declared, Sleeper) as b:
        at = b.clock.now()
        await b.sold("S01-N01", volume=20.0)
        await b.passes(2 * SETTLE_S)
        assert b.looks == []
        await b.sold("S01-N01", "S01-N02", "S09-N01", at=at)
        await b.passes(SETTLE_S + 1)
        ((names, stations, since, until),) = b.looks
        assert (names, stations, since) == ({"big"}, {"S01"}, at - BEFORE)
        assert until >= at
        assert b.told == ["new 1"]
        await b.sold("S01-N01")
        await b.passes(5 * SETTLE_S)
        assert len(b.looks) == 1
        await b.sold("S02-N01")
        await b.passes(SETTLE_S + 1)
        assert b.looks[1:] == [({"big"}, {"S02"}, *b.looks[1][2:])]


async def test_what_a_device_kept_may_come_newest_first(bench):
    async with bench(Big) as b:
        now = b.clock.now()
        await b.sold("S01-N01")
        await b.passes(2 * SETTLE_S)
        await b.sold("S01-N01", at=now - timedelta(hours=2))
        await b.passes(2 * SETTLE_S)
        assert len(b.looks) == 1
        for days, since in ((2, now - timedelta(days=2) - BEFORE), (900, None)):
            await b.sold("S01-N01", at=now - timedelta(days=days))
            await b.passes(2 * SETTLE_S)
            assert since is None or b.looks[-1][2] == since
        assert len(b.looks) == 3
        assert b.looks[-1][2] > now - Big.lookback - 2 * BEFORE


async def test_a_comparison_is_put_to_all_stations(bench):
    async with bench(Big, Twins) as b:
        await b.sold("S01-N01")
        await b.passes(SETTLE_S + 1)
        assert [(names, stations) for names, stations, *_ in b.looks] == [({"big"}, {"S01"}), ({"twins"}, set())]


async def test_a_device_whose_clock_is_ahead_is_looked_at(bench):
    async with bench(Big) as b:
        await b.sold("S02-N01", at=datetime.max.replace(tzinfo=UTC))
        await b.sold("S02-N02", at=datetime.min.replace(tzinfo=UTC) + timedelta(minutes=1))
        await b.passes(SETTLE_S + 1)
        assert b.looks.pop()[3] <= b.clock.now() + timedelta(days=1)
        ahead = b.clock.now() + timedelta(minutes=30)
        await b.sold("S01-N01", at=ahead)
        await b.passes(SETTLE_S + 1)
        ((_, _, _, until),) = b.looks
        assert until == ahead


async def test_a_steady_stream_does_not_put_the_look_off_nor_ask_for_ever(bench):
    async with bench(Each) as b:
        for _ in range(round(2 * SETTLE_S)):
            await b.sold("S01-N01")
            await b.passes(1)
        assert 1 <= len(b.looks) <= 2
        for _ in range(1800):
            await b.sold("S01-N01")
            await b.passes(1)
        assert len(b.looks) == ASKED_AT_MOST
        for _ in range(1800):
            await b.sold("S01-N01")
            await b.passes(1)
        assert len(b.looks) > ASKED_AT_MOST


async def test_what_the_ledger_says_anew_is_an_occasion_and_what_it_said_is_none(bench):
    async with bench(Declared, Big) as b:
        b.waking.ledger_changed()
        await b.passes(2 * SETTLE_S)
        assert b.looks == []
        b.papers.declarations.append(Declaration("S02", "2026-01", "92#", declared_sale_l=2.0))
        b.waking.ledger_changed()
        await b.passes(2 * SETTLE_S)
        ((names, stations, since, until),) = b.looks
        assert (names, stations) == ({"declared"}, {"S02"})
        assert until - since >= Declared.lookback
        b.papers.declarations[0] = Declaration("S01", "2026-01", "92#", declared_sale_l=5.0)
        b.waking.ledger_changed()
        await b.passes(2 * SETTLE_S)
        assert [stations for _, stations, *_ in b.looks] == [{"S02"}, {"S01"}]


async def test_a_look_that_fails_for_want_of_disk_is_tried_again_and_a_bug_is_told(bench, caplog):
    async with bench(Big) as b:
        b.trouble = [ZeroDivisionError("a bug"), NotReachable("no disk")]
        await b.sold("S01-N01")
        await b.passes(SETTLE_S + 1)
        assert b.looks == []
        await b.passes(4 * SETTLE_S)
        assert b.looks == []
        assert "big could not look at what has come" in caplog.text
        await b.sold("S01-N01")
        await b.passes(3 * SETTLE_S)
        assert len(b.looks) == 1, "what a bug has lost is noted again"
        caplog.clear()
        await b.sold("S02-N01", "S02-N02", volume=2000.0)
        assert b.waking.failing == {"big": "ZeroDivisionError: a bug"}
        assert [r.getMessage() for r in caplog.records] == ["rule big could not name an occasion"]
        await b.sold("S02-N01")
        assert b.waking.failing == {}
        await b.passes(3 * SETTLE_S)
        assert b.looks[1][1] == {"S02"}


@pytest.mark.parametrize("error", [NotReachable("no disk"), ZeroDivisionError("a bug")])
async def test_a_look_that_fails_takes_no_other_with_it(bench, error):
    async with bench(Big, Each) as b:
        b.trouble = [None, error]
        await b.sold("S01-N01", volume=20.0)
        await b.sold("S02-N01")
        await b.passes(5 * SETTLE_S)
        again = [({"each"}, {"S01"})] if isinstance(error, NotReachable) else []
        assert [(names, stations) for names, stations, *_ in b.looks] == [({"big", "each"}, {"S02"}), *again]


async def test_tries_that_fail_for_want_of_disk_are_not_counted(bench):
    async with bench(Big) as b:
        b.trouble = [NotReachable("no disk")] * (ASKED_AT_MOST + 3)
        await b.sold("S01-N01")
        await b.passes(80 * SETTLE_S)
        assert len(b.looks) == 1


async def test_a_comparison_is_counted_for_all_stations_and_what_is_too_much_is_noted_again(bench):
    async with bench(Pairs) as b:
        at = b.clock.now()
        for n in range(COMPARED_AT_MOST + 2):
            await b.sold("S01-N01" if n % 2 else "S02-N01", at=at + timedelta(seconds=n))
            await b.passes(3 * SETTLE_S)
        assert len(b.looks) == COMPARED_AT_MOST
        await b.passes(3600)
        assert len(b.looks) == COMPARED_AT_MOST
        await b.sold("S01-N01", at=at + timedelta(seconds=COMPARED_AT_MOST + 1))
        await b.passes(3 * SETTLE_S)
        assert len(b.looks) == COMPARED_AT_MOST + 1


async def test_looks_at_single_stations_come_first_and_between_the_stations_of_a_comparison(bench, monkeypatch):
    async def here(call, *args):
        return call(*args)

    async with bench(Big, Twins, real=True) as b:
        read, failing = [], [NotReachable("no disk")]

        class Shelf:
            station_ids = ("S01", "S02", "S03")

            async def station(self, name, start, end):
                read.append(name)
                if len(read) == 3:
                    await b.sold("S02-N02")
                    await b.clock.sleep(SETTLE_S)
                if len(read) == 5 and failing:
                    raise failing.pop()
                return SimpleNamespace(station_id=name, channels=frozenset())

        async def load(ledger, historian):
            return Shelf()

        monkeypatch.setattr(waking, "Pasts", SimpleNamespace(load=load))
        monkeypatch.setattr(asyncio, "to_thread", here)
        await b.sold("S01-N02")
        await b.passes(20 * SETTLE_S)
        alone, first, broken, again = read[:1], read[1:3], read[3:5], read[5:]
        assert (alone, first) == (["S01"], ["S01", "S02"])
        assert broken == ["S02", "S03"], "the single look at S02, then the last station of the comparison"
        assert again == ["S01", "S02", "S03"], "what failed, with what the second filling occasioned"


# ---------------------------------------------------------------- with a server round it


async def never(*_, **__):
    await asyncio.Event().wait()


async def test_a_sale_with_an_expired_certificate_alarms_without_a_review(rig, sale, tmp_path, monkeypatch):
    today = FakeClock().now().date()
    async with Database.open(ledger_url(tmp_path)) as database:
        nozzle = Nozzle(
            "S01-N01", "S01-D1", "S01-T1", "92#", pulse_l=0.01, certificate_expires=today - timedelta(days=3)
        )
        await Ledger(database).put(
            [Station("S01", "示例一站"), Dispenser("S01-D1", "S01"), Tank("S01-T1", "S01", "92#", 3e4), nozzle]
        )
    async with rig() as r:
        monkeypatch.setattr(r.engine.reviewing, "judge", never)
        r.forecourt.records = [sale(r.clock.now().replace(microsecond=0), 2)]
        await r.until(r.engine.alarms.current)
        (alarm,) = r.engine.alarms.current()
        assert (alarm.rule, alarm.subject.nozzle_id, alarm.count) == ("certificate_expired", "S01-N01", 1)


async def test_a_declaration_that_is_imported_alarms_without_a_review(rig, monkeypatch):
    async with rig() as r:
        monkeypatch.setattr(r.engine.reviewing, "judge", never)
        first = (r.clock.now().replace(day=1) - timedelta(days=1)).replace(day=1, hour=4, minute=0, second=0)
        ends = [first + timedelta(hours=8 * n) for n in range(3 * 27)]
        sales = "nozzle_id,seq,start,end,volume_l,amount_cny,unit_price,payment\n" + "".join(
            f"S01-N01,{n},{(end - timedelta(minutes=1)).isoformat()},{end.isoformat()},33.0,247.5,7.5,cash\n"
            for n, end in enumerate(ends)
        )
        told = f"station_id,period,grade,declared_sale_l,declared_revenue_cny\nS01,{first:%Y-%m},92#,1000,7500\n"
        for table, rows in (("transactions", sales), ("declarations", told)):

            async def content(rows=rows):
                yield rows.encode()

            report = await r.engine.exchange.take(table, "csv", content())
            assert report.rejected == 0, report
        await r.until(r.engine.alarms.current)
        (alarm,) = r.engine.alarms.current()
        assert (alarm.rule, alarm.subject.station_id) == ("declared_sales", "S01")


async def test_the_first_review_after_a_start_looks_back_as_far_as_any_rule(rig, monkeypatch):
    monkeypatch.setattr(reviewing, "FIRST_REVIEW_S", 1.0)
    asked = []

    async def judge(since, until, **_):
        asked.append(until - since)
        return Judgement()

    async with rig() as r:
        monkeypatch.setattr(r.engine.reviewing, "judge", judge)
        await r.until(lambda: asked)
        assert asked[0] >= lookback(r.engine.wiring.rules) > timedelta(days=r.engine.settings.detection.review_days)
