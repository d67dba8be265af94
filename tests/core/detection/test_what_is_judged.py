"""What rules are given, live and of the past: all that is known, the same papers, and no rule silences another."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import lru_cache

import pytest

from pumpwatch import DeviceEvent, EventKind, PluginSettings, RecordRule, Review, Transaction, WorkOrder
from pumpwatch.detection import Detection, LiveHistory, PastHistory
from pumpwatch.detection.replay import compare_each, judge_each
from pumpwatch.ledger import Register
from pumpwatch.plugins import Plugins
from pumpwatch.testing import FakeClock
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.fleet import Fleet
from pumpwatch_sim.staging import stage


@lru_cache
def station():
    fleet = Fleet.model_validate(
        {
            "name": "judged",
            "seed": 3,
            "start": "2026-03-02T00:00:00+08:00",
            "days": 5,
            "stations": {"count": 1},
            "scenario": [{"name": "totalizer_rollback", "onset": "P2D"}],
        }
    )
    staging = stage(fleet, fleet.start)
    return station_past(staging, staging.county.stations[0].station_id)


def rule(name):
    kind = Plugins.discover().rules[name]
    return kind(kind.Settings())


class Broken(Review):
    rule = "broken"
    lookback = timedelta(0)

    def review(self, past, since, until):
        raise ZeroDivisionError(past.station_id)


def test_a_rule_that_raises_is_named_and_the_others_go_on():
    past = station()
    rules = [Broken(PluginSettings()), rule("totalizer_continuity")]
    findings, digests, off, failing = judge_each(past, rules, past.start, past.end)
    assert {f.rule for f in findings} == {"totalizer_continuity"}
    assert (digests, off) == ({}, {})
    assert failing == {"broken": f"{past.station_id}: ZeroDivisionError: {past.station_id}"}
    assert compare_each({}, rules, past.start, past.end) == ([], {})


def test_a_record_that_raises_is_told_and_the_others_are_judged():
    past = station()
    told = rule("totalizer_continuity")
    every = judge_each(past, [told], past.start, past.end)[0]
    check, spoilt = type(told).check, past.sales.record(len(past.sales) // 3)

    class Choking(type(told)):
        def screen(self, past):
            return None

        def check(self, record, history):
            if record == spoilt:
                raise ZeroDivisionError("a bug")
            yield from check(self, record, history)

    findings, _, _, failing = judge_each(past, [Choking(told.settings)], past.start, past.end)
    assert findings == every != []
    assert failing == {told.rule: f"{past.station_id}: ZeroDivisionError: a bug"}


def register(past, *orders):
    return Register((past.station,), past.dispensers, past.tanks, past.nozzles, orders)


def test_the_past_has_the_papers_that_the_ledger_gives():
    past = station()
    nozzle = past.nozzles[0]
    names = [past.station_id, nozzle.dispenser_id, nozzle.nozzle_id, nozzle.dispenser_id.split("-", 1)[1], "elsewhere"]
    orders = tuple(
        WorkOrder(past.station_id, name, past.start + timedelta(hours=n), "repair", signed_by_repairer=signer)
        for n, (name, signer) in enumerate((name, signer) for name in names for signer in ("示例", None))
    )
    ledger, history = register(past, *orders), PastHistory(replace(past, work_orders=orders))
    for name in (past.station_id, nozzle.dispenser_id, nozzle.nozzle_id, past.tanks[0].tank_id):
        expected = ledger.work_orders(name, past.start + timedelta(hours=2))
        assert list(history.work_orders(name, past.start + timedelta(hours=2))) == list(expected)
    assert [o.device_id for o in history.work_orders(nozzle.nozzle_id, past.start)] == names[:4]


class Taxed(RecordRule):
    """Finds nothing; remembers what it was given."""

    rule = "taxed"
    watches = (Transaction,)
    patience = timedelta(seconds=20)

    def __init__(self):
        super().__init__(PluginSettings())
        self.given = []

    def check(self, record, history):
        self.given.append(record.tax_l)
        return ()


class Counting(RecordRule):
    """Says the same of every filling."""

    rule = "counting"
    watches = (Transaction,)

    def check(self, record, history):
        told = rule("totalizer_continuity")
        past = station()
        finding = judge_each(past, [told], past.start, past.end)[0][0]
        return [replace(finding, id=f"{record.seq}", rule=self.rule)]


@pytest.fixture
def bench():
    said = []

    async def hear(finding):
        said.append(finding.id)

    async def nothing(*_):
        pass

    def make(*rules):
        clock = FakeClock(station().end)
        history = LiveHistory(register(station()), {})
        return Detection(list(rules), history, clock, hear, nothing, nothing, nothing), clock, said

    return make


async def test_what_a_second_report_fills_is_judged_with_it(bench):
    taxed = Taxed()
    detection, clock, _ = bench(taxed)
    whole = station().sales.record(5)
    await detection.judge([replace(whole, tax_l=None, tax_cny=None)])
    await detection.judge([whole])
    await detection.judge([whole])
    await detection.judge_patiently_until(clock.monotonic() + 60)
    assert taxed.given == [whole.tax_l]
    assert detection.history.known(replace(whole, tax_l=None)) == whole


class Reaching(Taxed):
    """As ``Taxed``, and of the filling before too."""

    rule = "reaching"
    reach = 1


async def test_a_filling_waits_once_for_a_patient_rule_whoever_else_waits(bench):
    taxed, reaching = Taxed(), Reaching()
    detection, clock, _ = bench(taxed, reaching)
    first, later = station().sales.record(5), station().sales.record(6)
    assert first.nozzle_id == later.nozzle_id
    await detection.judge([later])
    await detection.judge([first])
    await detection.judge_patiently_until(clock.monotonic() + 60)
    assert (len(taxed.given), len(reaching.given)) == (2, 2)


async def test_a_late_event_has_claims_judged_again_but_not_told_again(bench):
    detection, _, said = bench(Counting(PluginSettings()))
    sales = [station().sales.record(row) for row in range(3)]
    await detection.judge(sales)
    assert said == [str(sale.seq) for sale in sales]
    event = DeviceEvent(sales[0].end, station().station_id, "D1", EventKind.POWER, {"up": False})
    await detection.judge([event])
    assert len(said) == 3
