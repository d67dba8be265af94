"""amount: always rounding up shows on the first record; fair rounding, finer litres, presets and discounts do not."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import judged, world

from pumpwatch import Department, Severity, to_us
from pumpwatch.testing import order_free, screened
from pumpwatch_metering import Amount
from pumpwatch_metering.amount import AmountSettings

PRICE = 7.53


def rule(**keys):
    return Amount(AmountSettings(**keys))


def rounded(litres, price, how):
    exact = Decimal(f"{litres:.2f}") * Decimal(f"{price:.2f}")
    return float(exact.quantize(Decimal("0.01"), how))


def sales_of(kit, n, how=ROUND_HALF_UP, *, first=0, price=PRICE, **more):
    """``n`` sales of odd volumes, rounded in this way."""
    made = []
    for i in range(first, first + n):
        litres = 12.0 + (i * 737 % 4001) / 100
        made.append(replace(kit.sale(i, litres), unit_price=price, amount_cny=rounded(litres, price, how), **more))
    return made


def test_rounding_up_is_found_on_the_first_record_that_shows_it(kit):
    fair, up = sales_of(kit, 40), sales_of(kit, 20, ROUND_CEILING, first=40)
    found = kit.judge(rule(), [*fair, *up], kit.county())
    shows = [s for s in up if s.amount_cny != rounded(s.volume_l, PRICE, ROUND_HALF_UP)]
    assert len(shows) >= 5
    assert [f.detected_at for f in found] == [s.end for s in shows]
    (first, *_) = found
    assert (first.cause, first.severity) == ("overcharging", Severity.MEDIUM)
    assert first.departments == (Department.MARKET_REGULATION,)
    assert first.subject.key == "S01-N03"
    assert found[-1].onset == shows[0].start
    assert found[-1].estimate.unit == "fen"
    assert found[-1].estimate.low < 0.5 < found[-1].estimate.high


def test_without_a_past_it_takes_25_sales(kit):
    up = sales_of(kit, 60, ROUND_CEILING)
    found = kit.judge(rule(), up, kit.county())
    assert found
    assert found[0].detected_at >= up[24].end
    assert found[0].detected_at <= up[30].end


def test_much_too_much_needs_no_past(kit):
    (finding,) = kit.judge(rule(), [replace(kit.sale(1, 20.0), amount_cny=151.0)], kit.county())
    assert finding.severity is Severity.HIGH
    assert finding.estimate.value == pytest.approx(100.0)
    assert "100.00 fen" in finding.explanation.what.en
    assert "¥150.00" in finding.explanation.what.zh


def test_those_that_were_too_low_are_told(kit):
    much = replace(kit.sale(9, 20.0), amount_cny=151.0)
    none, one, two = (
        kit.judge(
            rule(), [*(replace(kit.sale(i), amount_cny=149.97) for i in range(n)), kit.sale(8), much], kit.county()
        )
        for n in (0, 1, 2)
    )
    assert "none was too low" in none[0].explanation.what.en
    assert "always up" in none[0].explanation.why.en
    assert "1 was too low" in one[0].explanation.what.en
    assert "2 were too low" in two[0].explanation.what.en
    assert "2 笔偏低" in two[0].explanation.what.zh
    assert "always up" not in two[0].explanation.why.en


def test_a_long_affair_is_told_once_a_local_day(kit):
    up = sales_of(kit, 400, ROUND_CEILING, first=40)
    found = kit.judge(rule(), [*sales_of(kit, 40), *up], kit.county())
    assert 10 <= len(found) <= 16


@given(litres=st.integers(1, 20_000), price=st.integers(100, 1_500))
@settings(max_examples=300)
def test_fair_rounding_is_quiet(kit, litres, price):
    sale = kit.sale(1, litres / 100)
    sale = replace(sale, unit_price=price / 100, amount_cny=rounded(litres / 100, price / 100, ROUND_HALF_UP))
    assert kit.judge(rule(), [sale], kit.county()) == []


def test_finer_litres_than_displayed_are_quiet(kit):
    chance = np.random.default_rng(3)
    history, judged_ = kit.county(), rule()
    for i in range(3_000):
        exact = float(chance.uniform(3.0, 90.0))
        sale = replace(kit.sale(i, round(exact, 2)), unit_price=PRICE, amount_cny=round(exact * PRICE, 2))
        history.take(sale)
        assert not list(judged_.check(sale, history))


def test_a_discount_is_quiet_and_hides_nothing(kit):
    cheap = [replace(s, amount_cny=round(s.amount_cny * 0.95, 2)) for s in sales_of(kit, 10, first=30)]
    assert kit.judge(rule(), [*sales_of(kit, 30), *cheap], kit.county()) == []
    up = sales_of(kit, 10, ROUND_CEILING, first=40)
    assert kit.judge(rule(), [*sales_of(kit, 30), *cheap, *up], kit.county())


class TestPreset:
    def keyed(self, kit, i, litres, amount):
        sale = replace(kit.sale(i, litres), unit_price=PRICE, amount_cny=amount)
        return replace(sale, preset_kind="money", preset_value=200.0)

    def test_a_dispenser_that_shows_what_was_keyed_in(self, kit):
        sums = [self.keyed(kit, i, 26.55, 200.0) for i in range(3)]  # 199.92
        assert kit.judge(rule(), [*sums, *sales_of(kit, 30, first=3)], kit.county()) == []
        assert kit.judge(rule(), [self.keyed(kit, 40, 26.50, 200.0)], kit.county())  # 199.55 is too far

    def test_one_that_never_did_before(self, kit):
        before = [self.keyed(kit, i, 26.57, 200.07) for i in range(30)]
        late = self.keyed(kit, 40, 26.56, 200.0)  # 199.9968
        assert kit.judge(rule(), [*before, late], kit.county()) == []
        late = self.keyed(kit, 40, 26.55, 200.0)
        assert len(kit.judge(rule(), [*before, late], kit.county())) == 1


def test_a_larger_payment_step(kit):
    tenth = [replace(s, amount_cny=round(s.volume_l * PRICE, 1)) for s in sales_of(kit, 60)]
    assert kit.judge(rule(payment_step_cny=0.1), tenth, kit.county()) == []


class TestWorlds:
    @pytest.mark.parametrize("fen", [0.5, 1.0])
    def test_found_on_the_first_record(self, fen):
        past, (item,) = world("F22", "S15", days=28, onset="P14D", fen=fen)
        found = judged(past, Amount)
        assert {(f.cause, f.subject.nozzle_id) for f in found} == {(item["cause"], item["subject"]["nozzle_id"])}
        sales = past.sales
        beyond = sales.amount_cny - sales.volume_l * sales.unit_price > 0.00501
        assert to_us(found[0].detected_at) == sales.end_us[beyond].min()
        assert len(found) < 60

    def test_screen_and_order(self):
        past, _ = world("F22", "S15", days=28, onset="P14D", fen=0.5)
        assert screened(rule(), past)
        assert order_free(rule(), past)

    @pytest.mark.parametrize("name", ["", "H07", "H18"])
    def test_honest_ones_are_quiet(self, name):
        assert judged(world(name, "S15", days=28, onset="P7D" if name else "P0D")[0], Amount) == []
