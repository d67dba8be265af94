"""pulse_ratio: quiet on honest quantisation, loud on the first rewritten sale, the same in any order."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import judged, world

from pumpwatch import Channel, Department, Severity, WorkOrder, finding_id, to_us
from pumpwatch.testing import order_free, screened, without
from pumpwatch_metering.pulse_ratio import Comparison, PulseRatio, PulseRatioSettings, compare, error_estimate


def rule(**keys):
    return PulseRatio(PulseRatioSettings(**keys))


def draw_honest(n, *, seed, pulse_l, cut):
    """Displays and pulses of n honest sales: the two channels quantise apart, each at a random phase."""
    rng = np.random.default_rng(seed)
    litres = np.exp(rng.normal(math.log(30) - 0.11, 0.47, n)).clip(0.02, 400)
    pulses = np.floor(rng.random(n) + litres / pulse_l).astype(int)
    hundredths = np.floor(litres * 100) if cut else np.round(litres * 100)
    return np.round(hundredths / 100, 2), pulses


# displayed, pulses (0.01 L) → severity and cause; None is quiet
TABLE = [
    (20.00, 2000, None, None),
    (20.03, 2000, None, None),  # exactly at the threshold: 2 pulses and 0.01 L
    (20.04, 2000, "medium", "short_delivery"),  # +0.20 %
    (20.06, 2000, "medium", "short_delivery"),  # +0.30 % exactly is inside the tolerance
    (20.07, 2000, "high", "short_delivery"),
    (20.19, 2000, "high", "short_delivery"),
    (20.20, 2000, "critical", "short_delivery"),  # +1.00 % exactly
    (20.60, 2000, "critical", "short_delivery"),
    (19.97, 2000, None, None),
    (19.96, 2000, "low", "out_of_tolerance"),
    (19.94, 2000, "low", "out_of_tolerance"),
    (19.93, 2000, "medium", "out_of_tolerance"),
    (15.00, 2000, "medium", "out_of_tolerance"),
    (0.00, 0, None, None),
    (0.03, 0, None, None),
    (5.00, 0, "high", "short_delivery"),
    (0.00, 500, "medium", "out_of_tolerance"),
]


@pytest.mark.parametrize(("displayed", "pulses", "severity", "cause"), TABLE)
def test_one_sale(kit, displayed, pulses, severity, cause):
    found = kit.judge(rule(), [kit.sale(1, displayed, pulses)], kit.county())
    if severity is None:
        assert found == []
        return
    (finding,) = found
    assert (finding.severity, finding.cause) == (Severity(severity), cause)
    assert finding.departments == (Department.MARKET_REGULATION,)
    assert finding.subject.station_id == "S01"
    assert finding.subject.dispenser_id == "S01-D2"
    assert finding.subject.key == "S01-N03"


def test_limit_follows_the_certified_pulse(kit):
    history = kit.county()
    history.nozzles["S01-N03"] = replace(history.nozzles["S01-N03"], pulse_l=0.05)
    assert kit.judge(rule(), [kit.sale(1, 20.11, 400)], history) == []
    assert len(kit.judge(rule(), [kit.sale(2, 20.12, 400)], history)) == 1


def test_settings_move_the_limit(kit):
    assert kit.judge(rule(tolerance_pulses=4), [kit.sale(1, 20.05, 2000)], kit.county()) == []
    assert len(kit.judge(rule(tolerance_pulses=4), [kit.sale(1, 20.06, 2000)], kit.county())) == 1


def test_id_and_times(kit):
    bad = kit.sale(7, 20.6, 2000)
    (finding,) = kit.judge(rule(), [bad], kit.county())
    assert finding.id == finding_id("pulse_ratio", finding.subject, 7, bad.end.isoformat())
    assert (finding.onset, finding.detected_at) == (bad.start, bad.end)


class TestWithoutPulses:
    def test_encoder_litres_stand_in(self, kit):
        (finding,) = kit.judge(rule(), [kit.sale(1, 20.6, None, encoder_l=20.0)], kit.county())
        assert finding.estimate.value == pytest.approx(3.0)
        assert finding.evidence[-1].data["pulses"] is None

    def test_pulses_come_first_because_encoder_litres_may_be_rewritten_too(self, kit):
        (finding,) = kit.judge(rule(), [kit.sale(1, 20.6, 2000, encoder_l=20.6)], kit.county())
        assert finding.estimate.value == pytest.approx(3.0)

    @pytest.mark.parametrize("pulse_l", [None, 0.0])
    def test_pulses_without_a_certified_value_say_nothing(self, kit, pulse_l):
        history = kit.county()
        history.nozzles["S01-N03"] = replace(history.nozzles["S01-N03"], pulse_l=pulse_l)
        assert kit.judge(rule(), [kit.sale(1, 20.6, 2000)], history) == []
        assert len(kit.judge(rule(), [kit.sale(2, 20.6, 2000, encoder_l=20.0)], history)) == 1

    def test_no_encoder_channel_no_word(self, kit):
        assert kit.judge(rule(), [kit.sale(1, 20.6, None, encoder_l=None)], kit.county()) == []

    def test_unregistered_nozzle_is_named_by_its_id(self, kit):
        (finding,) = kit.judge(rule(), [kit.sale(1, 20.6, encoder_l=20.0, nozzle="S09-N12")], kit.county())
        assert finding.subject.station_id == "S09"
        assert finding.explanation.title.zh == "12号枪 少付 +3.00%"

    @pytest.mark.parametrize("counted", [math.nan, math.inf, -1.0])
    def test_nonsense_says_nothing(self, kit, counted):
        assert kit.judge(rule(), [kit.sale(1, 20.6, None, encoder_l=counted)], kit.county()) == []


class TestHonest:
    @pytest.mark.parametrize("cut", [False, True])
    @pytest.mark.parametrize("pulse_l", [0.01, 0.005, 0.001, 1 / 120, 0.02])
    def test_100_000_sales_in_all_are_quiet(self, kit, pulse_l, cut):
        history = kit.county()
        history.nozzles["S01-N03"] = replace(history.nozzles["S01-N03"], pulse_l=pulse_l)
        displays, pulses = draw_honest(10_000, seed=5, pulse_l=pulse_l, cut=cut)
        judged = rule()
        assert np.abs(displays - pulses * pulse_l).max() > pulse_l / 2  # the quantisation is there
        for seq, (shown, count) in enumerate(zip(displays.tolist(), pulses.tolist(), strict=True)):
            sale = kit.sale(seq, shown, count)
            history.take(sale)
            assert not list(judged.check(sale, history))


class TestPower:
    @pytest.mark.parametrize("percent", [0.5, 1.0, 3.0])
    def test_first_sale_of_ten_litres(self, kit, percent):
        rng = np.random.default_rng(11)
        judged = rule()
        for litres in [10.0, *rng.uniform(10, 60, 500)]:
            pulses = math.floor(rng.random() + litres / 0.01)
            shown = round(litres * (1 + percent / 100), 2)
            assert len(kit.judge(judged, [kit.sale(1, shown, pulses)], kit.county())) == 1

    def test_error_of_the_run_is_close_and_inside_its_interval(self, kit):
        pulses = [3000 + 17 * i for i in range(30)]
        sales = [kit.sale(i, round(p * 0.01 * 1.03, 2), p) for i, p in enumerate(pulses)]
        last = kit.judge(rule(), sales, kit.county())[-1]
        assert last.estimate.value == pytest.approx(3.0, abs=0.01)
        assert last.estimate.low < 3.0 < last.estimate.high
        assert last.estimate.high - last.estimate.low < 0.1
        assert last.estimate.confidence == 0.95
        assert last.onset == sales[0].start
        assert len(last.evidence) == 10
        assert last.evidence[-1].reference == "S01-N03/19"
        assert last.severity is Severity.CRITICAL


class TestInterval:
    """The interval holds the truth at least 95 times in 100, whichever way display and encoder quantise."""

    @pytest.mark.parametrize("display", ["round", "cut"])
    @pytest.mark.parametrize("encoder", ["any phase", "from zero", "up"])
    @pytest.mark.parametrize("n", [1, 3, 30])
    @pytest.mark.parametrize("error", [0.003, 0.03, 0.27])
    def test_coverage(self, kit, n, encoder, display, error):
        rng = np.random.default_rng(n)
        pulse_l, hits, trials = 0.01, 0, 300
        template = kit.sale(1)
        for _ in range(trials):
            litres = rng.uniform(5, 40, n)
            phase = {"any phase": rng.random(n), "from zero": np.zeros(n), "up": np.ones(n)}[encoder]
            counted = np.floor(phase + litres / pulse_l) * pulse_l
            steps = litres * (1 + error) / 0.01
            shown = (np.floor(steps) if display == "cut" else np.round(steps)) * 0.01
            run = [
                Comparison(replace(template, volume_l=s), c, pulse_l, 0.03, from_pulses=True)
                for s, c in zip(shown.tolist(), counted.tolist(), strict=True)
            ]
            estimate = error_estimate(run, 0.01)
            hits += estimate.low <= error * 100 <= estimate.high
        assert hits >= 0.95 * trials

    def test_it_does_not_shrink_to_nothing(self, kit):
        comparison = compare(kit.sale(1, 30.9, 3000), kit.county().nozzle("S01-N03"), PulseRatioSettings())
        wide = [error_estimate([comparison] * n, 0.01) for n in (1, 10, 1000)]
        assert [round((e.high - e.low) / 2, 3) for e in wide] == [0.068, 0.049, 0.035]

    def test_nothing_counted_is_told_in_litres(self, kit):
        (finding,) = kit.judge(rule(), [kit.sale(1, 5.0, 0)], kit.county())
        assert (finding.estimate.value, finding.estimate.unit) == (5.0, "L")
        assert finding.explanation.title.zh == "3号枪 少付 5.00 L 待核验"

    def test_a_drop_counted_has_no_upper_bound(self, kit):
        (finding,) = kit.judge(rule(), [kit.sale(1, 0.06, 1)], kit.county())
        assert finding.estimate.high is None
        assert "—" in finding.explanation.what.en


class TestRun:
    def onset_of_last(self, kit, displays, counted=2000):
        sales = [kit.sale(i, d, counted) for i, d in enumerate(displays)]
        last = kit.judge(rule(), sales, kit.county())[-1]
        return next(i for i, s in enumerate(sales) if s.start == last.onset), last

    def test_an_honest_sale_breaks_it(self, kit):
        assert self.onset_of_last(kit, [20.6, 20.6, 20.0, 20.6, 20.6])[0] == 3

    def test_a_sale_to_the_other_side_breaks_it(self, kit):
        assert self.onset_of_last(kit, [20.6, 20.6, 19.4, 20.6, 20.6])[0] == 3

    def test_levels_do_not_break_it(self, kit):
        first, last = self.onset_of_last(kit, [20.6, 21.6, 20.2, 25.4])
        assert first == 0
        assert last.estimate.value == pytest.approx((20.6 + 21.6 + 20.2 + 25.4 - 80) / 80 * 100, abs=1e-3)

    def test_a_sale_too_small_to_tell_does_not_break_it(self, kit):
        sales = [kit.sale(0, 20.1, 2000), kit.sale(1, 2.01, 200), kit.sale(2, 20.1, 2000)]
        last = kit.judge(rule(), sales, kit.county())[-1]
        assert last.onset == sales[0].start
        assert last.estimate.value == pytest.approx(0.5, abs=0.001)

    def test_it_never_begins_with_a_sale_too_small_to_tell(self, kit):
        sales = [kit.sale(0, 2.0, 200), kit.sale(1, 20.1, 2000)]
        assert kit.judge(rule(), sales, kit.county())[-1].onset == sales[1].start

    def test_a_sale_without_encoder_does_not_break_it(self, kit):
        sales = [kit.sale(0, 20.6, 2000), kit.sale(1, 20.6, None, encoder_l=None), kit.sale(2, 20.6, 2000)]
        assert kit.judge(rule(), sales, kit.county())[-1].onset == sales[0].start

    def test_a_long_run_begins_as_far_back_as_is_looked(self, kit):
        history = kit.county()
        sales = [kit.sale(i, 20.6, 2000) for i in range(217)]
        for sale in sales:
            history.take(sale)
        (last,) = rule().check(sales[216], history)  # the first of its local day
        assert last.onset == sales[156].start
        assert "61 sales in a row" in last.explanation.what.en

    def test_other_nozzles_do_not_matter(self, kit):
        history = kit.county()
        kit.judge(rule(), [kit.sale(i, 20.6, 2000, nozzle="S01-N04") for i in range(5)], history)
        assert kit.judge(rule(), [kit.sale(9, 20.0, 2000)], history) == []


levels = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0, -1.0]), st.integers(50, 6000)), min_size=1, max_size=40
)


def told(kit, records, history=None):
    """What stands after the records arrived in this order, each late one having the next ``reach`` judged again."""
    judged, history = rule(), history or kit.county()
    standing = {}
    for record in records:
        history.take(record)
        sales = history.sales[record.nozzle_id]
        at = sales.index(next(s for s in sales if s.key == record.key))
        for sale in sales[at : at + 1 + judged.reach]:
            standing[sale.key] = {f.id: f for f in judged.check(sale, history)}
    return {key: found for key, found in standing.items() if found}


class TestOrder:
    @given(levels=levels, data=st.data())
    @settings(max_examples=40, deadline=None)
    def test_any_order_and_any_repeats_end_in_the_same_findings(self, kit, levels, data):
        sales = [kit.sale(i, round(p * 0.01 * (1 + e / 100), 2), p) for i, (e, p) in enumerate(levels)]
        records = data.draw(st.permutations(sales + sales[: len(sales) // 2]))
        assert told(kit, records) == told(kit, sales)

    @given(levels=levels)
    @settings(max_examples=30, deadline=None)
    def test_a_batch_known_whole_before_it_is_judged_gives_the_same(self, kit, levels):
        sales = [kit.sale(i, round(p * 0.01 * (1 + e / 100), 2), p) for i, (e, p) in enumerate(levels)]
        in_order = kit.last_told(kit.judge(rule(), sales, kit.county()))
        history = kit.county()
        for sale in sales:
            history.take(sale)
        assert kit.last_told(kit.judge(rule(), sales, history)) == in_order

    def test_a_run_is_told_sale_by_sale_then_once_a_local_day(self, kit):
        sales = [kit.sale(i, 20.6, 2000) for i in range(300)]  # 144 a day from local noon on
        found = kit.judge(rule(), sales, kit.county())
        assert [f.detected_at for f in found[:20]] == [s.end for s in sales[:20]]
        assert [f.detected_at for f in found[20:]] == [sales[72].end, sales[216].end]

    def test_a_late_honest_sale_shortens_the_run(self, kit):
        sales = [kit.sale(i, 20.0 if i == 2 else 20.6, 2000) for i in range(5)]
        standing = told(kit, [*sales[:2], *sales[3:], sales[2]])
        (last,) = standing[sales[-1].key].values()
        assert (last.detected_at, last.onset) == (sales[-1].end, sales[3].start)

    def test_the_same_instant_in_another_zone_is_the_same_finding(self, kit):
        from datetime import timezone

        china = timezone(timedelta(hours=8))
        utc = kit.sale(1, 20.6, 2000)
        local = replace(utc, start=utc.start.astimezone(china), end=utc.end.astimezone(china))
        (a,), (b,) = (kit.judge(rule(), [s], kit.county()) for s in (utc, local))
        assert a.id == b.id


class TestScattered:
    def sales(self, kit, excess):
        """Forty sales of odd volumes; ``excess(i, pulses)`` litres more on the display."""
        pulses = [1500 + (797 * i) % 3000 for i in range(40)]
        return [kit.sale(i, round(p / 100 + excess(i, p), 2), p) for i, p in enumerate(pulses)]

    def last(self, kit, excess):
        return kit.judge(rule(), self.sales(kit, excess), kit.county())[-1]

    def test_a_display_that_does_not_return_to_zero(self, kit):
        last = self.last(kit, lambda i, _: (0.0, 0.25, 0.35, 0.45)[i % 4] if i % 9 == 2 else 0.0)
        assert last.estimate.unit == "L"
        assert last.estimate.low < last.estimate.value < last.estimate.high
        assert "return to zero" in last.explanation.why.en
        assert "不回零" in last.explanation.why.zh
        assert "of the last 39 sales" in last.explanation.what.en

    def test_a_display_that_jumps(self, kit):
        last = self.last(kit, lambda i, p: p / 100 * (0.06, 0.075, 0.09)[i % 3] if i % 8 == 1 else 0.0)
        assert last.estimate.unit == "%"
        assert last.estimate.low < 7.5 < last.estimate.high
        assert "jumps" in last.explanation.why.en

    def test_the_first_one_stands_alone(self, kit):
        first = kit.judge(rule(), self.sales(kit, lambda i, _: 0.4 if i % 10 == 9 else 0.0), kit.county())[0]
        assert len(first.evidence) == 1
        assert "jumps" in first.explanation.otherwise.en

    def test_a_steady_ratio_is_not_scattered(self, kit):
        last = self.last(kit, lambda i, p: p / 100 * 0.02 if i >= 20 else 0.0)
        assert last.estimate.value == pytest.approx(2.0, abs=0.02)
        assert "in a row" in last.explanation.what.en


class TestCertificate:
    """A verification changed the litres a pulse; the register does not know yet."""

    def county(self, kit, *, days=0.0, **more):
        history = kit.county()
        at = kit.NOON + timedelta(minutes=95) - timedelta(days=days)
        keys = {
            "certificate_no": "DEMO-2026-1",
            "signed_by_institute": "示例县计量检定所",
            "signed_by_station": "示例",
        } | more
        history.orders.append(WorkOrder("S01", "S01-N03", at, "calibration", **keys))
        return history

    def sales(self, kit, percent=0.5, changed=10, n=30):
        pulses = [2000 + 83 * (i % 11) for i in range(n)]
        return [
            kit.sale(i, round(p * 0.01 * (1 + (percent / 100 if i >= changed else 0.0)), 2), p)
            for i, p in enumerate(pulses)
        ]

    def test_it_is_one_note_and_no_alarm(self, kit):
        (note,) = kit.judge(rule(), self.sales(kit, percent=0.28), self.county(kit))
        assert (note.severity, note.cause) == (Severity.INFO, "out_of_tolerance")
        assert "DEMO-2026-1" in note.explanation.why.zh
        assert len(note.explanation.title.en) <= 40

    @pytest.mark.parametrize("how", ["no certificate", "later", "too large", "long ago", "before"])
    def test_what_it_does_not_explain(self, kit, how):
        sales, history = self.sales(kit), self.county(kit)
        if how == "no certificate":
            history = self.county(kit, certificate_no=None)
        elif how == "later":  # honest for four sales after the certificate
            sales = self.sales(kit, changed=14)
        elif how == "too large":
            sales = self.sales(kit, percent=1.5)
        elif how == "long ago":
            history = self.county(kit, days=31)
        else:
            sales = self.sales(kit, changed=8)
        found = [f for f in kit.judge(rule(), sales, history) if f.severity is not Severity.INFO]
        assert found
        assert found[0].cause == "short_delivery"

    def test_beyond_the_tolerance_it_stays_a_low_alarm(self, kit):
        (low,) = kit.judge(rule(), self.sales(kit), self.county(kit))
        assert (low.severity, low.cause) == (Severity.LOW, "out_of_tolerance")
        assert "Confirm the certificate" in low.explanation.why.en

    def test_it_is_told_although_the_first_sale_is_too_small_to_show_it(self, kit):
        sales = [replace(s, volume_l=2.0, encoder_pulses=200) if s.seq == 10 else s for s in self.sales(kit)]
        (low,) = kit.judge(rule(), sales, self.county(kit))
        assert low.detected_at == sales[11].end

    @pytest.mark.parametrize("lacking", ["signed_by_institute", "signed_by_station", "certificate_no"])
    @pytest.mark.parametrize("value", [None, " "])
    @pytest.mark.parametrize("attributes", [{}, {"pulse_l": "0.01005"}])
    def test_a_paper_that_not_all_have_signed_explains_nothing(self, kit, lacking, value, attributes):
        history = self.county(kit, attributes=attributes, **{lacking: value})
        found = kit.judge(rule(), self.sales(kit), history)
        assert len(found) == 20
        assert {f.severity for f in found} == {Severity.HIGH}

    @pytest.mark.parametrize("told", ["0.0103", "0.0101", "nan", "x", "1e400", 10**400, None])
    def test_a_certificate_far_from_the_register_explains_nothing(self, kit, told):
        history = self.county(kit, attributes={"pulse_l": told})
        found = kit.judge(rule(), self.sales(kit, percent=3.0), history)
        assert len(found) == 20
        assert {f.severity for f in found} == {Severity.CRITICAL}

    def test_the_value_on_the_certificate_counts(self, kit):
        history = self.county(kit, days=40, attributes={"pulse_l": "0.01005"})
        (low,) = kit.judge(rule(), self.sales(kit, changed=0), history)
        assert (low.severity, low.detected_at) == (Severity.LOW, self.sales(kit)[0].end)
        (finding,) = kit.judge(rule(), [kit.sale(40, 20.6, 2000)], history)
        assert finding.estimate.value == pytest.approx((20.6 / 20.1 - 1) * 100, abs=0.001)


class TestUncounted:
    """A nozzle that counts, and some sales that come without."""

    def judged(self, kit, without, n=130, **more):
        lacking = {"encoder_pulses": None, "encoder_l": None} | more
        sales = [kit.sale(i, 20.0 + i % 7, encoder_l=20.0 + i % 7) for i in range(n)]
        sales = [
            replace(s, **lacking) if s.seq in without else replace(s, encoder_pulses=2000 + i % 7 * 100)
            for i, s in enumerate(sales)
        ]
        return kit.judge(rule(), sales, kit.county())

    def test_a_note_and_an_alarm_from_the_third_on(self, kit):
        found = self.judged(kit, {70, 80, 90, 100})
        assert [f.severity for f in found] == [Severity.INFO, Severity.INFO, Severity.LOW, Severity.LOW]
        assert {(f.cause, f.subject.key) for f in found} == {("collector_outage", "S01-N03")}
        assert len({f.id for f in found}) == 4
        assert "as 2 sales of the last 61, 43.00 L in all" in found[1].explanation.what.en
        assert len(found[2].evidence) == 3
        assert found[2].onset < found[2].detected_at

    def test_litres_that_may_have_been_reckoned_anew_do_not_stand_in_for_pulses(self, kit):
        (note,) = self.judged(kit, {70}, volume_l=20.6, encoder_l=20.6)
        assert note.cause == "collector_outage"

    @pytest.mark.parametrize("without", [{20}, set(range(0, 130, 4)), set(range(130))])
    def test_a_short_past_and_channels_that_come_and_go_are_quiet(self, kit, without):
        assert self.judged(kit, without) == []

    def test_litres_that_are_mostly_there_do_not_make_holes_in_the_pulses_rare(self, kit):
        sales = [
            kit.sale(i, 20.0, None if i % 4 == 0 else 2000, encoder_l=None if i % 12 == 0 else 20.0) for i in range(240)
        ]
        assert kit.judge(rule(), sales, kit.county()) == []

    def test_a_channel_that_dies_is_told_and_then_enough(self, kit):
        assert len(self.judged(kit, set(range(70, 130)))) == 7

    def test_a_drop_needs_no_count(self, kit):
        assert self.judged(kit, {70}, volume_l=0.03) == []

    def test_jumps_without_their_counts(self):
        past, (item, *_) = world("F18", "S15", days=35)
        sales = past.sales
        beyond = np.abs(sales.volume_l - sales.encoder_l) > 0.0301
        gone = np.where(beyond, np.nan, 1.0)
        holes = replace(sales, encoder_pulses=sales.encoder_pulses * gone, encoder_l=sales.encoder_l * gone)
        found = screened(rule(), replace(past, sales=holes))
        assert len(found) == beyond.sum()
        assert {(f.cause, f.subject.nozzle_id) for f in found} == {("collector_outage", item["subject"]["nozzle_id"])}
        assert order_free(rule(), replace(past, sales=holes)) == found


class TestWorlds:
    @pytest.mark.parametrize(("name", "station"), [("F01", "S06"), ("F18", "S15"), ("F19", "S20")])
    def test_found_on_the_first_record(self, name, station):
        past, (item, *_) = world(name, station, days=35, **({"percent": 0.5} if name == "F01" else {}))
        found = judged(past, PulseRatio)
        assert {(f.cause, f.subject.nozzle_id) for f in found} == {(item["cause"], item["subject"]["nozzle_id"])}
        sales = past.sales.take(past.sales.of(item["subject"]["nozzle_id"]))
        beyond = np.abs(sales.volume_l - sales.encoder_l) > 0.0301
        assert to_us(found[0].detected_at) == sales.end_us[np.flatnonzero(beyond)[0]]
        assert all(len(json.dumps(dict(e.data), allow_nan=False)) > 2 for f in found for e in f.evidence)
        assert all(sum(len(c.x) for c in f.figures[0].curves) <= 400 for f in found)

    def test_screen_and_order(self):
        past, _ = world("F18", "S15", days=35)
        assert screened(PulseRatio(PulseRatioSettings()), past)
        assert order_free(PulseRatio(PulseRatioSettings()), past)

    def test_a_nozzle_without_encoder(self):
        past, (item, *_) = world("F18", "S15", days=35)
        lacking = past.sales.nozzle_ids.index(item["subject"]["nozzle_id"])
        sales = past.sales
        gone = np.where(sales.nozzle == lacking, np.nan, 1.0)
        partly = replace(
            past,
            sales=replace(sales, encoder_pulses=sales.encoder_pulses * gone, encoder_l=sales.encoder_l * gone),
        )
        assert judged(partly, PulseRatio) == []
        assert judged(without(past, Channel.ENCODER), PulseRatio) == []


class TestWords:
    def text(self, kit, displayed, pulses=2000, **more):
        (finding,) = kit.judge(rule(), [kit.sale(12, displayed, pulses, **more)], kit.county())
        return finding.explanation

    def test_short(self, kit):
        said = self.text(kit, 20.6, tax_l=20.6)
        assert (said.title.zh, said.title.en) == ("3号枪 少付 +3.00%", "Nozzle 3 short +3.00%")
        for part in ("20.60 L", "20.00 L", "2,000", "0.01 L", "0.60 L", "+3.00%", "¥4.50", "2026-11-22 14:00:00"):
            assert part in said.what.zh
            assert part in said.what.en

    def test_money_of_the_run(self, kit):
        last = kit.judge(rule(), [kit.sale(i, 20.6, 2000) for i in range(4)], kit.county())[-1]
        assert "2.40 L" in last.explanation.what.zh
        assert "¥18.00" in last.explanation.what.zh
        assert "4 sales in a row: +3.00%" in last.explanation.what.en
        assert "in all customer short 2.40 L, ¥18.00" in last.explanation.what.en

    @pytest.mark.parametrize(
        ("displayed", "zh", "en"),
        [
            (20.05, "3号枪 少付 +0.25% 待核验", "Nozzle 3 short +0.25%, verify"),
            (20.12, "3号枪 少付 +0.60% 待核验", "Nozzle 3 short +0.60%, verify"),
            (20.14, "3号枪 少付 +0.70%", "Nozzle 3 short +0.70%"),
            (19.8, "3号枪 多付 −1.00%", "Nozzle 3 gives more −1.00%"),
            (19.95, "3号枪 多付 −0.25% 待核验", "Nozzle 3 gives more −0.25%, verify"),
        ],
    )
    def test_titles(self, kit, displayed, zh, en):
        title = self.text(kit, displayed).title
        assert (title.zh, title.en) == (zh, en)

    def test_inside_the_tolerance_it_asks_for_verification_only(self, kit):
        said = self.text(kit, 20.05)
        assert "请核验" in said.why.zh
        assert "inside the tolerance" in said.why.en
        assert "verify" in said.why.en

    def test_an_interval_that_touches_the_band_asks_for_verification(self, kit):
        history = kit.county()
        history.nozzles["S01-N03"] = replace(history.nozzles["S01-N03"], pulse_l=1 / 120)
        (finding,) = kit.judge(rule(), [kit.sale(1, 4.53, 540)], history)
        assert finding.estimate.value > 0.6
        assert finding.estimate.low < 0.3
        assert finding.explanation.title.en.endswith("verify")
        assert "out of tolerance, verify" in finding.explanation.why.en

    def test_nothing_counted_points_to_the_line_first(self, kit):
        said = self.text(kit, 5.0, 0)
        assert "verify the collector's line first" in said.why.en
