"""totalizer_continuity: litres without a record, totalizers set back, roll-over, and records in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import judged, world

from pumpwatch import Channel, Department, Severity, WorkOrder, finding_id, to_us
from pumpwatch.testing import order_free, screened, without
from pumpwatch.wording import litres
from pumpwatch_metering.totalizer import TotalizerContinuity, TotalizerSettings, totalizer_gap


def rule(**keys):
    return TotalizerContinuity(TotalizerSettings(**keys))


def pair(kit, gap, *, before=50_000.0, volume=20.0, modulus=None, gap_cny=None):
    """Two neighbouring sales between which the totalizer moved by ``gap`` beyond the second's litres."""
    after = before + volume + gap
    money = {} if gap_cny is None else {"totalizer_cny": 1000.0}
    money2 = {} if gap_cny is None else {"totalizer_cny": 1000.0 + volume * 7.5 + gap_cny}
    after = round(after % modulus if modulus else after, 2)
    return [
        kit.sale(1, 10.0, totalizer_l=before, **money),
        kit.sale(2, volume, totalizer_l=after, **money2),
    ]


TABLE = [
    (0.0, None, None),
    (0.02, None, None),  # exactly at the threshold
    (-0.02, None, None),
    (0.03, "medium", "offline_sale"),
    (0.99, "medium", "offline_sale"),
    (1.0, "critical", "offline_sale"),
    (45.2, "critical", "offline_sale"),
    (-0.03, "critical", "totalizer_rollback"),
    (-500.0, "critical", "totalizer_rollback"),
    (-50_000.0, "critical", "totalizer_rollback"),
]


@pytest.mark.parametrize(("gap", "severity", "cause"), TABLE)
def test_pairs(kit, gap, severity, cause):
    found = kit.judge(rule(), pair(kit, gap, before=60_000.0), kit.county())
    if severity is None:
        assert found == []
        return
    (finding,) = found
    assert (finding.severity, finding.cause) == (Severity(severity), cause)
    assert finding.departments == (Department.MARKET_REGULATION, Department.TAX)
    assert finding.estimate.value == pytest.approx(gap)
    assert finding.estimate.unit == "L"


def test_id_and_times(kit):
    first, second = pair(kit, 45.2)
    (finding,) = kit.judge(rule(), [first, second], kit.county())
    assert finding.id == finding_id("totalizer_continuity", finding.subject, 2, second.end.isoformat())
    assert (finding.onset, finding.detected_at) == (first.end, second.end)
    assert [e.reference for e in finding.evidence] == ["S01-N03/1", "S01-N03/2", "S01-N03/1-2"]


class TestRollOver:
    @pytest.mark.parametrize("modulus", [1e5, 1e6, 1e7, 1e8, 1e9, 42_949_672.96, 4_294_967.296])
    def test_usual_ones_are_quiet(self, kit, modulus):
        before = round(modulus - 7.5, 2)
        sales = pair(kit, 0.0, before=before, modulus=modulus)
        assert sales[1].totalizer_l < before
        assert kit.judge(rule(), sales, kit.county()) == []

    def test_exactly_at_the_edge(self, kit):
        assert kit.judge(rule(), pair(kit, 0.0, before=1e7 - 20.0, modulus=1e7), kit.county()) == []

    def test_litres_without_record_are_seen_through_it(self, kit):
        (finding,) = kit.judge(rule(), pair(kit, 120.0, before=1e7 - 7.5, modulus=1e7), kit.county())
        assert (finding.cause, finding.estimate.value) == ("offline_sale", pytest.approx(120.0))

    def test_a_counter_that_has_more_digits_just_goes_on(self, kit):
        assert kit.judge(rule(), pair(kit, 0.0, before=1e7 - 7.5), kit.county()) == []

    def test_a_set_back_totalizer_is_not_taken_for_one(self, kit):
        for back in (-10_000.0, -100_000.0, -1_000_000.0):
            (finding,) = kit.judge(rule(), pair(kit, back, before=2_345_678.0), kit.county())
            assert finding.cause == "totalizer_rollback"

    def test_a_told_modulus(self, kit):
        told = rule(totalizer_modulus_l=500_000.0)
        assert kit.judge(told, pair(kit, 0.0, before=499_990.0, modulus=500_000.0), kit.county()) == []
        (finding,) = kit.judge(told, pair(kit, -500.0, before=499_990.0, modulus=500_000.0), kit.county())
        assert (finding.cause, finding.estimate.value) == ("totalizer_rollback", pytest.approx(-500.0))

    @given(
        before=st.integers(0, 10**9 - 1),
        volume=st.integers(1, 20_000),
        gap=st.integers(-100_000, 100_000),
    )
    def test_gap_modulo_a_told_modulus(self, before, volume, gap):
        after = (before + volume + gap) % 10**9
        assert totalizer_gap(before / 100, volume / 100, after / 100, modulus=1e7) == pytest.approx(gap / 100, abs=1e-6)

    @given(before=st.integers(0, 10**9 - 1), volume=st.integers(1, 20_000))
    def test_honest_counters_of_seven_digits_never_show_a_gap(self, before, volume):
        after = (before + volume) % 10**9
        assert abs(totalizer_gap(before / 100, volume / 100, after / 100)) < 1e-6


class TestNotJudged:
    def test_a_gap_in_the_sequence(self, kit):
        first, second = pair(kit, 300.0)
        assert kit.judge(rule(), [first, replace(second, seq=3)], kit.county()) == []

    @pytest.mark.parametrize("lacking", [0, 1])
    def test_a_totalizer_that_is_not_known(self, kit, lacking):
        sales = pair(kit, 300.0)
        sales[lacking] = replace(sales[lacking], totalizer_l=None)
        assert kit.judge(rule(), sales, kit.county()) == []
        assert kit.judge(rule(), reversed(sales), kit.county()) == []

    def test_numbers_that_fall_back_or_stand_still(self, kit):
        """A memory that was replaced, or a clock that was set: neighbours in time, not by number."""
        first, second = pair(kit, -300.0)
        for seq in (0, 1):
            assert kit.judge(rule(), [first, replace(second, seq=seq)], kit.county()) == []

    def test_the_same_numbers_again_after_a_memory_was_replaced(self, kit):
        old = kit.sale(1, 10.0, totalizer_l=900_000.0, start=kit.NOON - timedelta(days=40))
        first, second = pair(kit, 0.0)
        assert kit.judge(rule(), [old, first, second], kit.county()) == []

    def test_another_nozzle(self, kit):
        first, second = pair(kit, 300.0)
        assert kit.judge(rule(), [replace(first, nozzle_id="S01-N04"), second], kit.county()) == []


class TestAcrossAGap:
    def test_a_totalizer_that_fell_is_told_even_so(self, kit):
        first, second = pair(kit, -5_000.0)
        (finding,) = kit.judge(rule(), [first, replace(second, seq=9)], kit.county())
        assert finding.cause == "totalizer_rollback"
        assert "7 numbers are missing" in finding.explanation.why.en

    def test_a_roll_over_among_lost_records_is_quiet(self, kit):
        first, second = pair(kit, 1_500.0, before=1e5 - 7.5, modulus=1e5)
        assert kit.judge(rule(), [first, replace(second, seq=9)], kit.county()) == []
        (finding,) = kit.judge(rule(), [first, second], kit.county())
        assert finding.cause == "totalizer_rollback"

    def test_set_back_through_zero(self, kit):
        for back in (500.0, 50_000.0):
            sales = pair(kit, -back, before=400.0, modulus=1e7)
            (finding,) = kit.judge(rule(), sales, kit.county())
            assert (finding.cause, finding.estimate.value) == ("totalizer_rollback", pytest.approx(-back))

    def test_much_that_a_nozzle_can_give_is_no_set_back(self, kit):
        (finding,) = kit.judge(rule(), pair(kit, 2_500.0), kit.county())
        assert (finding.cause, finding.estimate.value) == ("offline_sale", pytest.approx(2_500.0))


class TestWithoutATotalizer:
    """Sales that came without one between two that have theirs."""

    def sales(self, kit, gap, between=1, *, lose=0):
        first, last = kit.sale(1, 10.0, totalizer_l=50_000.0), 2 + between
        null = [kit.sale(2 + i, 12.5, totalizer_l=None) for i in range(between)]
        after = round(50_000.0 + 12.5 * between + 20.0 + gap, 2)
        return [first, *null[lose:], kit.sale(last, 20.0, totalizer_l=after)]

    @pytest.mark.parametrize("between", [1, 5, 19])
    def test_their_litres_are_added(self, kit, between):
        assert kit.judge(rule(), self.sales(kit, 0.0, between), kit.county()) == []
        (finding,) = kit.judge(rule(), self.sales(kit, -5_000.0, between), kit.county())
        assert (finding.cause, finding.severity) == ("totalizer_rollback", Severity.CRITICAL)
        assert finding.estimate.value == pytest.approx(-5_000.0)
        assert finding.evidence[2].data["without_totalizer"] == between
        assert litres(12.5 * between) in finding.explanation.what.zh
        assert litres(12.5 * between) in finding.explanation.what.en
        assert finding.figures[0].curves[0].y[-1] == pytest.approx(-5_000.0)

    def test_litres_without_a_record_are_seen_over_them(self, kit):
        (finding,) = kit.judge(rule(), self.sales(kit, 120.0, 3), kit.county())
        assert (finding.cause, finding.estimate.value) == ("offline_sale", pytest.approx(120.0))

    def test_each_may_be_rounded(self, kit):
        assert kit.judge(rule(), self.sales(kit, 0.05, 3), kit.county()) == []
        assert len(kit.judge(rule(), self.sales(kit, 0.06, 3), kit.county())) == 1

    def test_one_more_that_is_missing_can_only_have_moved_it_on(self, kit):
        assert kit.judge(rule(), self.sales(kit, 12.5, 2, lose=1), kit.county()) == []
        assert len(kit.judge(rule(), self.sales(kit, -50.0, 2, lose=1), kit.county())) == 1

    def test_numbers_that_do_not_rise(self, kit):
        first, between, last = self.sales(kit, -5_000.0)
        assert kit.judge(rule(), [first, replace(between, seq=9), last], kit.county()) == []

    def test_holes_in_a_world(self):
        past, (item,) = world("T03", "S06", days=28, litres=5_000.0)
        chance, sales = np.random.default_rng(4), past.sales
        lost = chance.random(len(sales)) < 0.3
        mine = sales.take(sales.of(item["subject"]["nozzle_id"]))
        first = np.flatnonzero(mine.start_us >= to_us(datetime.fromisoformat(item["onset"])))[0]
        lost[np.flatnonzero(sales.nozzle == sales.nozzle_ids.index(item["subject"]["nozzle_id"]))[first]] = True
        holes = replace(sales, totalizer_l=np.where(lost, np.nan, sales.totalizer_l))
        (finding,) = screened(rule(), replace(past, sales=holes))
        assert finding.estimate.value == pytest.approx(-5_000.0)
        assert order_free(rule(), replace(past, sales=holes)) == [finding]


ALL = {"signed_by_repairer": "示例维修一部", "signed_by_institute": "示例县计量检定所", "signed_by_station": "示例"}


class TestWorkOrder:
    def judged(self, kit, gap=-40_000.0, **keys):
        history = kit.county()
        first, second = pair(kit, gap)
        order = {"at": first.end, "kind": "repair", "device_id": "S01-D2", **ALL} | keys
        history.orders.append(WorkOrder("S01", **order))
        (finding,) = kit.judge(rule(), [first, second], history)
        return finding

    def test_a_new_mainboard_is_a_low_alarm(self, kit):
        finding = self.judged(kit)
        assert finding.severity is Severity.LOW
        assert finding.evidence[-1].kind == "work_order"
        assert finding.evidence[-1].data["explains"] is True
        assert "may be the reason" in finding.explanation.why.en

    def test_what_explains_nothing(self, kit):
        for keys in (
            {"kind": "inspection"},
            {"signed_by_repairer": None},
            {"signed_by_institute": None},
            {"signed_by_station": " "},
            {"device_id": "S01-D1"},
            {"at": kit.NOON - timedelta(hours=13)},
            {"at": kit.NOON + timedelta(days=1)},
        ):
            assert self.judged(kit, **keys).severity is Severity.CRITICAL

    def test_a_paper_that_is_not_enough_is_told(self, kit):
        finding = self.judged(kit, signed_by_institute=None)
        assert finding.evidence[-1].data["explains"] is False
        assert "not enough to explain it" in finding.explanation.why.en

    @pytest.mark.parametrize(
        ("gap", "lacking", "severity"),
        [
            (0.5, (), Severity.INFO),
            (0.5, ("signed_by_institute", "signed_by_station"), Severity.MEDIUM),
            (200.0, (), Severity.LOW),
            (200.0, ("signed_by_institute",), Severity.LOW),
            (200.0, ("signed_by_station",), Severity.LOW),
            (200.0, ("signed_by_repairer",), Severity.CRITICAL),
            (200.0, ("signed_by_institute", "signed_by_station"), Severity.CRITICAL),
            (200.5, (), Severity.CRITICAL),
        ],
    )
    def test_draws_of_a_repair_have_a_bound(self, kit, gap, lacking, severity):
        assert self.judged(kit, gap, **dict.fromkeys(lacking)).severity is severity

    def test_one_that_explains_comes_before_a_later_one(self, kit):
        history = kit.county()
        first, second = pair(kit, -40_000.0)
        history.orders.append(WorkOrder("S01", "S01-D2", first.end, "repair", **ALL))
        history.orders.append(WorkOrder("S01", "S01-N03", second.start, "repair", signed_by_repairer="示例维修一部"))
        (finding,) = kit.judge(rule(), [first, second], history)
        assert finding.severity is Severity.LOW


class TestWorlds:
    @pytest.mark.parametrize("station", ["S06", "S20"])
    def test_set_back(self, station):
        past, (item,) = world("T03", station, days=28, litres=500.0)
        (finding,) = judged(past, TotalizerContinuity)
        assert (finding.cause, finding.subject.nozzle_id) == (item["cause"], item["subject"]["nozzle_id"])
        mine = past.sales.take(past.sales.of(item["subject"]["nozzle_id"]))
        onset = to_us(datetime.fromisoformat(item["onset"]))
        assert to_us(finding.detected_at) == mine.end_us[np.flatnonzero(mine.start_us >= onset)[0]]
        assert finding.estimate.value == pytest.approx(-500.0)

    def test_sales_without_a_record(self):
        past, (item,) = world("T05", "S06", days=28, onset="P14D")
        found = judged(past, TotalizerContinuity)
        assert len(found) >= 12
        assert {(f.cause, f.subject.nozzle_id) for f in found} == {(item["cause"], item["subject"]["nozzle_id"])}
        assert all(f.estimate.value == pytest.approx(120.0, abs=1.0) for f in found)

    @pytest.mark.parametrize("name", ["T02", "T04", "F14", "C06", "C09", "H08", "H14", "H15", "H20"])
    def test_what_others_say_or_nobody(self, name):
        past, _ = world(name, "S06", days=28, onset="P10D")
        assert judged(past, TotalizerContinuity) == []

    def test_screen_order_and_a_missing_channel(self):
        past, _ = world("T05", "S06", days=28, onset="P14D")
        judge = TotalizerContinuity(TotalizerSettings())
        assert screened(judge, past)
        assert order_free(judge, past)
        assert judged(without(past, Channel.TOTALIZERS), TotalizerContinuity) == []
        nothing = np.full(len(past.sales), np.nan)
        assert judged(replace(past, sales=replace(past.sales, totalizer_cny=nothing)), TotalizerContinuity)


class TestWords:
    def test_unrecorded_litres(self, kit):
        (finding,) = kit.judge(rule(), pair(kit, 45.2, gap_cny=339.0), kit.county())
        said = finding.explanation
        assert (said.title.zh, said.title.en) == ("3号枪 无记录出油 45.20 L", "Nozzle 3 unrecorded 45.20 L")
        assert "50,065.20 L" in said.what.zh
        assert "¥339.00" in said.why.zh
        assert "fits the price" in said.why.en
        assert finding.evidence[-1].data == {"gap_l": 45.2, "gap_cny": 339.0, "gap_price": 7.5, "without_totalizer": 0}

    def test_set_back(self, kit):
        (finding,) = kit.judge(rule(), pair(kit, -500.0), kit.county())
        said = finding.explanation
        assert (said.title.zh, said.title.en) == ("3号枪 泵码倒退 −500.00 L", "Nozzle 3 totalizer back −500.00 L")
        assert "500.00 L" in said.what.en

    @pytest.mark.parametrize(
        ("gap_cny", "says"),
        [(None, "not known"), (0.0, "no gap"), (339.0, "fits the price"), (90.4, "does not fit the price")],
    )
    def test_what_the_amount_totalizer_adds(self, kit, gap_cny, says):
        (finding,) = kit.judge(rule(), pair(kit, 45.2, gap_cny=gap_cny), kit.county())
        assert says in finding.explanation.why.en
