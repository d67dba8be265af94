"""flow: what no nozzle can do; one clock that was set is a note, two are too many."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from worlds import judged, world

from pumpwatch import Severity
from pumpwatch.testing import order_free, screened
from pumpwatch_metering import Flow
from pumpwatch_metering.flow import FlowSettings


def rule(**keys):
    return Flow(FlowSettings(**keys))


def after_honest_ones(kit, *odd, n=20):
    """What is said of these sales after ``n`` honest ones of two minutes each."""
    history = kit.county()
    assert kit.judge(rule(), [kit.sale(i) for i in range(n)], history) == []
    return kit.judge(rule(), odd, history)


def lasting(kit, seq, seconds, litres=20.0):
    sale = kit.sale(seq, litres)
    return replace(sale, end=sale.start + timedelta(seconds=seconds))


class TestTooFast:
    @pytest.mark.parametrize(("seconds", "litres"), [(6, 20.0), (0, 5.0), (55, 150.0), (0, 0.0)])
    def test_what_a_nozzle_can_do(self, kit, seconds, litres):
        assert after_honest_ones(kit, lasting(kit, 20, seconds, litres)) == []

    def test_one_is_a_note_and_another_an_alarm(self, kit):
        one, two = after_honest_ones(kit, lasting(kit, 20, 3), lasting(kit, 25, 0))
        assert (one.severity, two.severity) == (Severity.INFO, Severity.MEDIUM)
        assert (two.cause, two.subject.key) == ("synthetic_data", "S01-N03")
        assert one.estimate.value == pytest.approx(240.0)
        assert len(two.evidence) == 2
        assert "1 was another sale" in two.explanation.what.en
        assert "verify" in two.explanation.why.en
        assert "honest" not in two.explanation.why.en

    def test_far_apart_they_stay_notes(self, kit):
        rest = [kit.sale(i) for i in range(21, 90)]
        found = after_honest_ones(kit, lasting(kit, 20, 3), *rest, lasting(kit, 90, 3))
        assert [f.severity for f in found] == [Severity.INFO, Severity.INFO]

    def test_a_site_that_does_not_tell_starts(self, kit):
        sales = [lasting(kit, i, 0) for i in range(80)]
        assert kit.judge(rule(), sales, kit.county()) == []

    def test_without_a_past_times_are_not_judged(self, kit):
        assert kit.judge(rule(), [lasting(kit, 1, 1)], kit.county()) == []


class TestTooMuch:
    @pytest.mark.parametrize("litres", [2_000.01, 9_999.0, -1.0])
    def test_an_alarm_on_the_first_record(self, kit, litres):
        (finding,) = kit.judge(rule(), [lasting(kit, 1, 7_200, litres)], kit.county())
        assert finding.severity is Severity.MEDIUM
        assert len(finding.explanation.title.en) <= 40

    def test_a_large_sale(self, kit):
        assert kit.judge(rule(), [lasting(kit, 1, 1_800, 2_000.0)], kit.county()) == []


class TestTimes:
    def test_an_end_before_its_start(self, kit):
        assert after_honest_ones(kit, lasting(kit, 20, -300)) == []
        (finding,) = after_honest_ones(kit, lasting(kit, 20, -301))
        assert finding.severity is Severity.INFO
        assert finding.onset <= finding.detected_at
        assert "−301 s" in finding.explanation.what.en

    def test_two_sales_at_once(self, kit):
        long = replace(kit.sale(20), end=kit.sale(20).start + timedelta(minutes=11))
        within = replace(kit.sale(21), start=long.start + timedelta(minutes=1), end=long.end + timedelta(minutes=1))
        (finding,) = after_honest_ones(kit, long, within)
        assert (finding.estimate.value, finding.estimate.unit) == (600.0, "s")
        assert after_honest_ones(kit, long, replace(within, seq=23)) == []
        assert after_honest_ones(kit, long, replace(within, start=long.end - timedelta(minutes=5))) == []


class TestWorlds:
    @pytest.mark.parametrize("name", ["", "H03", "H05", "H06", "H08", "H20", "C06", "F14", "T02", "C09", "C05"])
    def test_nobody_is_alarmed(self, name):
        past, _ = world(name, "S06", days=28, onset="P10D" if name else "P0D")
        assert [f for f in judged(past, Flow) if f.severity is not Severity.INFO] == []

    def test_invented_records_screen_and_order(self):
        past, _ = world("", "S06", days=21)
        sales, chance = past.sales, np.random.default_rng(2)
        end, volume, start = sales.end_us.copy(), sales.volume_l.copy(), sales.start_us.copy()
        for row in chance.integers(0, len(sales), 40):
            match row % 4:
                case 0:
                    start[row] = end[row]
                case 1:
                    start[row] = end[row] + 400_000_000
                case 2:
                    volume[row] = 3_000.0
                case _:
                    start[row] -= 3_600_000_000
        odd = replace(past, sales=replace(sales, start_us=start, volume_l=volume))
        found = screened(rule(), odd)
        assert {f.estimate.unit for f in found} == {"L", "L/min", "s"}
        assert {f.severity for f in found} == {Severity.INFO, Severity.MEDIUM}
        assert order_free(rule(), odd) == found
