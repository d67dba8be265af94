"""covert_test: the error with its interval, its record at the station, and honest measuring noise that stays a note."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from worlds import judged, world

from pumpwatch import CovertTest, DeviceEvent, EventKind, Severity, from_us
from pumpwatch_papers import CovertTests

NOZZLE = "S20-N03"


@pytest.fixture(scope="module")
def past():
    return replace(world("", "S20", days=16)[0], covert_tests=())


def row_of(past, least_l=20.0):
    """A filling in the middle of the past."""
    mine = past.sales.of(NOZZLE)
    middle = (past.sales.end_us > past.sales.end_us[mine][0] + 8 * 86_400_000_000)[mine]
    return mine.start + int(np.flatnonzero(middle & (past.sales.volume_l[mine] > least_l))[0])


def covertly(past, row, error_percent, *, minutes=1.0, displayed=None, uncertainty=0.1):
    sale = past.sales.record(row)
    shown = sale.volume_l if displayed is None else displayed
    measured = shown / (1.0 + error_percent / 100.0)
    test = CovertTest(NOZZLE, sale.end + timedelta(minutes=minutes), shown, measured, uncertainty)
    return replace(past, covert_tests=(test,)), test, sale


@pytest.mark.parametrize(
    ("error", "cause", "severity"),
    [
        (0.0, "covert_test", Severity.INFO),
        (0.35, "covert_test", Severity.INFO),
        (-0.4, "covert_test", Severity.INFO),
        (2.0, "short_delivery", Severity.HIGH),
        (-2.0, "out_of_tolerance", Severity.LOW),
    ],
)
def test_the_verdict(past, error, cause, severity):
    past, test, sale = covertly(past, row_of(past), error)
    (finding,) = judged(past, CovertTests)
    assert (finding.cause, finding.severity, finding.subject.nozzle_id) == (cause, severity, NOZZLE)
    assert finding.estimate.value == pytest.approx(error, abs=1e-3)
    assert finding.estimate.low < error < finding.estimate.high
    assert finding.detected_at == test.at + timedelta(minutes=90)
    assert finding.evidence[1].reference == f"{NOZZLE}/{sale.seq}"
    assert len(finding.figures[0].curves) == 5


def test_a_sharp_measure_tells_a_little_too_much(past):
    past, _, _ = covertly(past, row_of(past), 0.5)
    (finding,) = judged(past, CovertTests, offset_l=0.0, repeatability_percent=0.01)
    assert (finding.cause, finding.severity) == ("out_of_tolerance", Severity.MEDIUM)


def test_the_interval_holds_what_a_single_filling_holds(past):
    row = row_of(past)
    widths = []
    for uncertainty in (0.1, None, 0.6):
        (finding,) = judged(covertly(past, row, 0.1, uncertainty=uncertainty)[0], CovertTests)
        widths.append(finding.estimate.high - finding.estimate.low)
    assert widths == sorted(widths)
    measured = past.sales.volume_l[row] / 1.001
    variance = 0.05**2 + 0.05**2 + (3.0 / measured) ** 2
    assert widths[0] == pytest.approx(2 * 1.96 * variance**0.5, abs=1e-3)


@pytest.mark.parametrize("minutes", [-80.0, 4.0, 80.0])
def test_a_clock_that_is_off_still_matches(past, minutes):
    past, _, sale = covertly(past, row_of(past), 0.0, minutes=minutes)
    (finding,) = judged(past, CovertTests)
    assert finding.evidence[1].data["displayed_l"] == sale.volume_l


class TestNotRecorded:
    def test_it_is_told_after_the_wait(self, past):
        past, test, _ = covertly(past, row_of(past), 0.0, displayed=123.45)
        verdict, missing = judged(past, CovertTests)
        assert verdict.severity is Severity.INFO
        assert "do not have this sale" in verdict.explanation.what.en
        assert (missing.cause, missing.severity) == ("offline_sale", Severity.HIGH)
        assert missing.detected_at == test.at + timedelta(days=3.5)
        assert missing.estimate.value == 123.45

    def test_a_silent_collector_explains_it(self, past):
        past, test, _ = covertly(past, row_of(past), 0.0, displayed=123.45)
        down = DeviceEvent(test.at - timedelta(hours=1), "S20", "S20", EventKind.LINK, {"up": False})
        up = replace(down, at=test.at - timedelta(minutes=30), detail={"up": True})
        found = judged(replace(past, events=(down,)), CovertTests)
        assert [f.severity for f in found] == [Severity.INFO, Severity.INFO]
        found = judged(replace(past, events=(down, up)), CovertTests)
        assert [f.severity for f in found] == [Severity.INFO, Severity.HIGH]

    def test_a_station_without_records_is_not_blamed(self, past):
        past, _, _ = covertly(past, row_of(past), 0.0, displayed=123.45)
        bare = replace(past, sales=past.sales.take(slice(0, 0)))
        assert [f.cause for f in judged(bare, CovertTests)] == ["covert_test"]


def test_what_cannot_be_measured_is_left_out(past):
    nothing = CovertTest(NOZZLE, from_us(int(past.sales.end_us[row_of(past)])), 20.0, 0.0)
    unknown = replace(nothing, measured_l=float("nan"))
    assert judged(replace(past, covert_tests=(nothing, unknown)), CovertTests) == []


def test_cuts_leave_no_seam(past):
    made = [covertly(past, row_of(past), 1.5)[1], covertly(past, row_of(past), 0.0, displayed=99.0, minutes=200.0)[1]]
    past = replace(past, covert_tests=tuple(made))
    rule = CovertTests(CovertTests.Settings())
    whole = {f.id: f for f in rule.review(past, past.start, past.end)}
    assert len(whole) == 3
    for hours in range(1, 16 * 24, 7):
        middle = past.start + timedelta(hours=hours)
        parts = {}
        for since, until in ((past.start, middle), (middle, past.end)):
            seen = past.between(since - rule.lookback, until + timedelta(microseconds=1))
            parts |= {f.id: f for f in rule.review(seen, since, until)}
        assert parts == whole


def test_a_short_nozzle_shows_in_its_covert_tests():
    past, (item,) = world("F01", "S20", days=16, onset="P3D", percent=5.0)
    nozzle = item["subject"]["nozzle_id"]
    mine = past.sales.of(nozzle)
    row = mine.stop - 40
    sale = past.sales.record(row)
    test = CovertTest(nozzle, sale.end, sale.volume_l, round(sale.volume_l / 1.05, 2), 0.1)
    (finding,) = judged(replace(past, covert_tests=(test,)), CovertTests)
    assert finding.cause == "short_delivery"
