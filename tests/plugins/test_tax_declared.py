"""declared_sales: any month declared too small is told, whatever is missing; honest months never are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
import pytest
import worlds

from pumpwatch import Severity, to_us
from pumpwatch.past import Channel
from pumpwatch.testing.rules import cut_invariant, without
from pumpwatch_tax.declared_sales import DeclaredSales, DeclaredSalesSettings
from pumpwatch_tax.periods import day_end, days_ending, month_of, months_ending, week_start_us, weeks_ending

APRIL_ENDS = datetime(2026, 4, 30, 16, tzinfo=UTC)


def honest(station="S01"):
    return worlds.world(station=station, days=62)[0]


def declaring(past, share, grade=None):
    """The same station, declaring this share (of one grade)."""
    return replace(
        past,
        declarations=tuple(
            replace(d, declared_sale_l=d.declared_sale_l * share, declared_revenue_cny=d.declared_revenue_cny * share)
            if grade in (None, d.grade)
            else d
            for d in past.declarations
        ),
    )


@pytest.mark.parametrize("percent", [5.0, 20.0, 90.0])
def test_t07_is_told_when_its_month_is_over(percent):
    past, (item,) = worlds.world("T07", days=62, percent=percent)
    (finding,) = worlds.judged(past, DeclaredSales)
    assert (finding.cause, finding.subject.key) == (item["cause"], "S01")
    assert finding.detected_at == APRIL_ENDS
    assert finding.severity is Severity.HIGH if percent > 5.0 else finding.severity is not Severity.INFO
    assert finding.estimate.low <= percent <= finding.estimate.high
    assert len(finding.evidence) == len({d.grade for d in past.declarations})


def test_an_honest_month_is_quiet_and_nearly_exact():
    past = honest()
    assert worlds.judged(past, DeclaredSales) == []
    assert len(worlds.judged(declaring(past, 0.993), DeclaredSales)) == 1


def test_one_grade_is_enough():
    past = declaring(honest(), 0.9, "0#")
    (finding,) = worlds.judged(past, DeclaredSales)
    assert finding.estimate.value < 10.0
    missing = {e.reference[-2:]: e.data["not_declared_l"] for e in finding.evidence}
    assert missing.pop("0#") > 1_000.0
    assert all(litres < 150.0 for litres in missing.values())


def without_grade(past, *grades):
    return replace(past, declarations=tuple(d for d in past.declarations if d.grade not in grades))


def test_a_grade_that_is_sold_and_left_out_is_told():
    past = honest()
    (finding,) = worlds.judged(without_grade(past, "0#"), DeclaredSales)
    left_out = next(e for e in finding.evidence if e.reference.endswith("/0#"))
    assert left_out.data["declared_l"] == 0.0
    assert left_out.data["not_declared_l"] > 10_000.0
    assert finding.severity is Severity.HIGH
    assert finding.estimate.low > 10.0
    blank = [replace(d, declared_sale_l=None, declared_revenue_cny=None) for d in past.declarations if d.grade == "0#"]
    empty = replace(past, declarations=(*without_grade(past, "0#").declarations, *blank))
    assert [f.id for f in worlds.judged(empty, DeclaredSales)] == [finding.id]


def test_a_grade_under_another_name_is_declared():
    past = honest()
    renamed = tuple(replace(d, grade="柴油") if d.grade == "0#" else d for d in past.declarations)
    assert worlds.judged(replace(past, declarations=renamed), DeclaredSales) == []
    little = replace(
        past, declarations=tuple(replace(d, declared_sale_l=9.0) if d.grade == "柴油" else d for d in renamed)
    )
    (finding,) = worlds.judged(little, DeclaredSales)
    assert finding.estimate.value > 10.0


def test_a_month_without_any_declaration_is_told():
    past, _ = worlds.world(days=92)
    stopped = replace(past, declarations=tuple(d for d in past.declarations if d.period != "2026-04"))
    assert worlds.judged(stopped, DeclaredSales) == []  # nothing earlier is declared
    march = tuple(replace(d, period="2026-03") for d in past.declarations if d.period == "2026-04")
    stopped = replace(stopped, declarations=(*march, *stopped.declarations))
    found = [f for f in worlds.judged(stopped, DeclaredSales) if "2026-04" in f.explanation.title.zh]
    (finding,) = found
    assert (finding.severity, finding.detected_at) == (Severity.MEDIUM, APRIL_ENDS + timedelta(days=20))
    assert finding.estimate.value == 100.0
    assert len(finding.evidence) == 3
    cut_invariant(DeclaredSales(DeclaredSalesSettings()), stopped, [APRIL_ENDS, APRIL_ENDS + timedelta(days=20)])


def test_missing_data_never_alarm():
    past = honest()
    rows = np.random.default_rng(1).random(len(past.sales)) < 0.7
    assert worlds.judged(replace(past, sales=past.sales.take(rows)), DeclaredSales) == []
    assert worlds.judged(past.between(past.start + timedelta(days=40), past.end), DeclaredSales) == []
    assert worlds.judged(without(past, Channel.DECLARATIONS), DeclaredSales) == []
    nothing = replace(past, declarations=tuple(replace(d, declared_sale_l=None) for d in past.declarations))
    assert worlds.judged(nothing, DeclaredSales) == []


def test_half_of_the_records_still_show_a_tenth_declared():
    past = declaring(honest(), 0.1)
    rows = np.random.default_rng(1).random(len(past.sales)) < 0.5
    (finding,) = worlds.judged(replace(past, sales=past.sales.take(rows)), DeclaredSales)
    assert finding.estimate.value == pytest.approx(80.0, abs=2.0)


@pytest.mark.parametrize("name", ["H08", "H09", "H10"])
def test_draws_and_own_use_are_no_sales(name):
    parameters = {"draws": 60} if name == "H08" else {"litres_per_day": 150} if name == "H10" else {}
    past, _ = worlds.world(name, days=62, onset="P40D" if name != "H10" else "P20D", **parameters)
    assert worlds.judged(past, DeclaredSales) == []


def test_where_payments_are_not_told_only_taxed_sales_count():
    past, _ = worlds.world("H10", days=62, litres_per_day=150)
    blank = replace(past.sales, payment=np.full(len(past.sales), -1, np.int16))
    assert worlds.judged(replace(past, sales=blank), DeclaredSales) == []
    assert len(worlds.judged(replace(declaring(past, 0.9), sales=blank), DeclaredSales)) == 1


@pytest.mark.parametrize("name", ["T01", "T10"])
def test_what_tax_control_lacks_already_is_a_note(name):
    past, _ = worlds.world(name, days=62)
    (finding,) = worlds.judged(past, DeclaredSales)
    assert finding.severity is Severity.INFO


def test_it_may_wait_until_the_declaration_is_filed():
    past, _ = worlds.world("T07", days=92)
    found = worlds.judged(past, DeclaredSales, filing_days=15)
    assert found[0].detected_at == APRIL_ENDS + timedelta(days=15)


def test_where_it_is_cut_does_not_matter():
    past, _ = worlds.world("T07", days=92)
    dice = Random(3)
    for filing in (0, 15):
        cuts = [past.start + dice.random() * (past.end - past.start) for _ in range(4)]
        rule = DeclaredSales(DeclaredSalesSettings(filing_days=filing))
        assert cut_invariant(rule, past, [*cuts, APRIL_ENDS, APRIL_ENDS + timedelta(days=filing)])


class TestPeriods:
    def test_months(self):
        month = month_of(APRIL_ENDS, 8.0)
        assert (month.period, month.days, month.start) == ("2026-05", 31, APRIL_ENDS)
        assert month_of(APRIL_ENDS - timedelta(microseconds=1), 8.0).period == "2026-04"
        assert month_of(datetime(2026, 12, 31, 20, tzinfo=UTC), 8.0).period == "2027-01"
        late = APRIL_ENDS + timedelta(days=15)
        told = [m.period for m in months_ending(late - timedelta(hours=1), late, 8.0, timedelta(days=15))]
        assert told == ["2026-04"]
        assert list(months_ending(late, late + timedelta(hours=1), 8.0, timedelta(days=15))) == []

    @pytest.mark.parametrize("ending", [days_ending, weeks_ending])
    def test_parts_make_the_whole(self, ending):
        start, dice = datetime(2026, 3, 1, tzinfo=UTC), Random(5)
        places = sorted(start + timedelta(days=60) * dice.random() for _ in range(20))
        parts = [
            n
            for a, b in zip([start, *places], [*places, start + timedelta(days=60)], strict=True)
            for n in ending(a, b, 8.0)
        ]
        assert parts == list(ending(start, start + timedelta(days=60), 8.0))

    def test_days_and_weeks_end_at_local_midnight(self):
        (day,) = days_ending(APRIL_ENDS - timedelta(seconds=1), APRIL_ENDS, 8.0)
        assert day_end(day, 8.0) == APRIL_ENDS
        assert list(days_ending(APRIL_ENDS, APRIL_ENDS + timedelta(seconds=1), 8.0)) == []
        monday = datetime(2026, 4, 26, 16, tzinfo=UTC)
        (week,) = weeks_ending(monday - timedelta(seconds=1), monday, 8.0)
        assert week_start_us(week + 1, 8.0) == to_us(monday)


def test_lost_records_widen_the_interval_up_to_the_totalizers():
    past = declaring(honest(), 0.8)
    whole = worlds.judged(past, DeclaredSales)[0].estimate
    keep = np.random.default_rng(2).random(len(past.sales)) < 0.95
    (finding,) = worlds.judged(replace(past, sales=past.sales.take(keep)), DeclaredSales)
    assert whole.high - whole.low < 0.5
    assert finding.estimate.value == pytest.approx(15.8, abs=0.5)
    assert finding.estimate.high == pytest.approx(20.0, abs=0.3)
    (part,) = worlds.judged(past.between(past.start + timedelta(days=33), past.end), DeclaredSales)
    assert part.estimate.low < part.estimate.value < 20.0 < part.estimate.high + 1.0
