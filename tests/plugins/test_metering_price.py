"""price: what tax control was told, the posted price and the ceiling; holds, clocks and discounts are quiet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from worlds import judged, world

from pumpwatch import Channel, Department, DeviceEvent, EventKind, Severity
from pumpwatch.testing import order_free, screened, without
from pumpwatch_metering import Price
from pumpwatch_metering.price import PriceSettings


def rule(**keys):
    return Price(PriceSettings(**keys))


def taxed(kit, seq, told, *, litres=20.0, **more):
    """A sale of ``litres`` at 7.50 of which tax control was told ``told`` yuan."""
    sale = kit.sale(seq, litres, tax_l=more.pop("tax_l", litres), tax_cny=told)
    return replace(sale, **more)


def posted(kit, history, price, minutes, grade="92#"):
    history.take(
        DeviceEvent(
            kit.NOON + timedelta(minutes=minutes), "S01", "S01", EventKind.PRICE, {"grade": grade, "unit_price": price}
        )
    )


class TestTax:
    @pytest.mark.parametrize("told", [150.0, 149.99, 150.01, 160.0])
    def test_rounding_and_more_are_quiet(self, kit, told):
        assert kit.judge(rule(), [taxed(kit, 1, told)], kit.county()) == []

    def test_less_is_told_on_the_first_record(self, kit):
        (finding,) = kit.judge(rule(), [taxed(kit, 1, 145.5)], kit.county())
        assert (finding.cause, finding.severity) == ("under_declared_sales", Severity.HIGH)
        assert finding.departments == (Department.TAX,)
        assert (finding.subject.key, finding.subject.nozzle_id) == ("S01", None)
        assert finding.estimate.value == pytest.approx(3.0)
        assert finding.estimate.low < 3.0 < finding.estimate.high
        assert finding.explanation.title.zh == "示例 税控少计 −3.00%"
        for part in ("¥7.50", "¥150.00", "¥145.50", "¥4.50", "−3.00%"):
            assert part in finding.explanation.what.zh
            assert part in finding.explanation.what.en

    def test_a_discount_on_both_sides_is_quiet(self, kit):
        assert kit.judge(rule(), [taxed(kit, 1, 142.5, amount_cny=142.5)], kit.county()) == []

    def test_fewer_litres_told_at_the_right_price_are_others(self, kit):
        assert kit.judge(rule(), [taxed(kit, 1, 75.0, tax_l=10.0)], kit.county()) == []

    @pytest.mark.parametrize("more", [{"tax_l": 0.0}, {"amount_cny": 0.0}, {"unit_price": 0.0}, {"tax_l": -1.0}])
    def test_nothing_taxed_or_paid_says_nothing(self, kit, more):
        assert kit.judge(rule(), [taxed(kit, 1, -5.0, **more)], kit.county()) == []

    def test_no_litres_say_nothing(self, kit):
        assert kit.judge(rule(), [taxed(kit, 1, 0.0, litres=0.0)], kit.county()) == []

    def test_a_nozzle_is_told_once_a_local_day_and_after_an_honest_sale(self, kit):
        sales = [taxed(kit, i, 150.0 if i == 9 else 145.5) for i in range(300)]
        found = kit.judge(rule(), sales, kit.county())
        assert [f.detected_at for f in found] == [sales[i].end for i in (0, 10, 72, 216)]


class TestPosted:
    def test_dearer_than_posted(self, kit):
        history = kit.county()
        posted(kit, history, 7.3, -600)
        (finding,) = kit.judge(rule(), [kit.sale(1), kit.sale(2)], history)
        assert (finding.cause, finding.subject.key) == ("overcharging", "S01-N03")
        assert finding.estimate.value == pytest.approx(0.2)
        assert "¥4.00" in finding.explanation.what.en
        assert finding.evidence[0].data["limit"] == "posted"

    @pytest.mark.parametrize("price", [7.5, 7.6])
    def test_as_posted_or_cheaper(self, kit, price):
        history = kit.county()
        posted(kit, history, price, -600)
        assert kit.judge(rule(), [kit.sale(1)], history) == []

    def test_held_over_a_change_either_way(self, kit):
        for minutes, quiet in ((-100, True), (120, True), (-300, False)):
            history = kit.county()
            posted(kit, history, 7.5 if minutes < 0 else 7.3, -6_000)
            posted(kit, history, 7.3 if minutes < 0 else 7.5, minutes)
            assert (kit.judge(rule(), [kit.sale(1)], history) == []) is quiet, minutes

    def test_a_price_that_did_not_follow_is_found_within_six_hours(self, kit):
        history = kit.county()
        posted(kit, history, 7.5, -6_000)
        posted(kit, history, 7.3, 60)
        (first, *_) = kit.judge(rule(), [kit.sale(i) for i in range(80)], history)
        assert kit.NOON + timedelta(hours=3) <= first.detected_at <= kit.NOON + timedelta(hours=9)

    def test_another_grade_or_nothing_posted_yet(self, kit):
        history = kit.county()
        posted(kit, history, 7.0, -600, grade="95#")
        posted(kit, history, 7.0, 60)
        assert kit.judge(rule(), [kit.sale(1)], history) == []

    def test_a_clock_that_was_set(self, kit):
        """Behind or ahead by more than the grace, all prices posted in that time are right."""
        for changed, detail, quiet in (
            (-300, {"ahead_s": 4 * 3600.0}, True),
            (-300, {"step_s": -4 * 3600.0}, True),
            (-300, {"ahead_s": -4 * 3600.0}, False),
            (-300, {"step_s": 4 * 3600.0}, False),
            (-300, {"ahead_s": 2 * 3600}, False),
            (-300, {"ahead_s": 2.1}, False),
            (-300, {}, False),
            (-600, {"ahead_s": 4 * 3600.0}, False),
            (300, {"ahead_s": -5 * 3600.0}, True),
            (300, {"ahead_s": 5 * 3600.0}, False),
            (-300, {"ahead_s": 10**400}, False),
            (-300, {"ahead_s": float("nan"), "step_s": "x"}, False),
        ):
            history = kit.county()
            posted(kit, history, 7.5 if changed < 0 else 7.3, -6_000)
            posted(kit, history, 7.3 if changed < 0 else 7.5, changed)
            at = kit.NOON - timedelta(hours=20)
            history.take(DeviceEvent(at, "S01", "S01-D2", EventKind.CLOCK, detail))
            history.take(DeviceEvent(at, "S01", "S01-D1", EventKind.CLOCK, {"ahead_s": 30 * 3600.0}))
            assert (kit.judge(rule(), [kit.sale(1)], history) == []) is quiet, (changed, detail)

    @pytest.mark.parametrize("told", [{}, {"grade": "92#"}, {"grade": "92#", "unit_price": "7.3"}, {"unit_price": 7.3}])
    def test_events_that_tell_nothing(self, kit, told):
        history = kit.county()
        history.take(DeviceEvent(kit.NOON - timedelta(hours=9), "S01", "S01", EventKind.PRICE, told))
        assert kit.judge(rule(), [kit.sale(1)], history) == []


def test_ceiling(kit):
    assert kit.judge(rule(ceiling_cny_l={"92#": 7.5, "95#": 7.0}), [kit.sale(1)], kit.county()) == []
    (finding,) = kit.judge(rule(ceiling_cny_l={"92#": 7.4}), [kit.sale(1)], kit.county())
    assert (finding.cause, finding.evidence[0].data["limit"]) == ("overcharging", "ceiling")
    assert len(finding.explanation.title.en) <= 40


class TestWorlds:
    @pytest.mark.parametrize("percent", [0.5, 3.0])
    def test_found_on_the_first_record(self, percent):
        past, (item,) = world("T10", "S06", days=21, onset="P14D", percent=percent)
        found = judged(past, Price)
        assert {(f.cause, f.subject.key) for f in found} == {(item["cause"], "S06")}
        sales = past.sales
        less = sales.tax_l * sales.unit_price - sales.tax_cny > 0.02
        assert found[0].detected_at.timestamp() * 1e6 == sales.end_us[less].min()
        assert all(f.estimate.value == pytest.approx(percent, abs=0.08) for f in found)
        assert judged(without(past, Channel.TAX), Price) == []

    def test_screen_and_order(self):
        past, _ = world("T10", "S06", days=14, onset="P12D", percent=3.0)
        assert screened(rule(), past)
        assert order_free(rule(), past)

    def test_screen_passes_over_what_says_nothing(self):
        past, _ = world("T10", "S06", days=14, onset="P12D", percent=3.0)
        tax_l, tax_cny = past.sales.tax_l.copy(), past.sales.tax_cny.copy()
        tax_l[::3], tax_cny[::3] = 0.0, -5.0
        found = screened(rule(), replace(past, sales=replace(past.sales, tax_l=tax_l, tax_cny=tax_cny)))
        assert {f.cause for f in found} == {"under_declared_sales"}

    def test_screen_knows_posted_prices_and_ceilings(self):
        past, _ = world("H07", "S06", days=14, onset="P1D")
        assert screened(rule(), past) == []
        raised = replace(past.sales, unit_price=past.sales.unit_price + 0.3 * (np.arange(len(past.sales)) % 307 == 5))
        tax = raised.tax_cny + 10.0
        dear = replace(past, sales=replace(raised, tax_cny=tax))
        assert {f.cause for f in screened(rule(), dear)} == {"overcharging"}
        limited = rule(ceiling_cny_l={"92#": float(np.quantile(dear.sales.unit_price, 0.3))})
        assert len(screened(limited, dear)) > len(screened(rule(), dear))

    @pytest.mark.parametrize("name", ["", "H07", "H10", "H20"])
    def test_honest_ones_are_quiet(self, name):
        assert judged(world(name, "S06", days=28, onset="P7D" if name else "P0D")[0], Price) == []
