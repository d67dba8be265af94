"""sequence: one missing number is enough; clocks, roll-overs, duplicates and late records are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import DeviceEvent, EventKind, Severity, WorkOrder, to_us
from pumpwatch.testing.rules import order_free, screened
from pumpwatch_tax.sequence import SequenceContinuity, SequenceSettings


def rule(**keys):
    return SequenceContinuity(SequenceSettings(**keys))


def sales(kit, numbers, minutes=None, litres=20.0):
    """Sales with these numbers, ten minutes apart, and totalizers that count every number there ever was."""
    at = minutes or [10 * n for n in range(len(numbers))]
    return [
        replace(
            kit.sale(place, litres, start=kit.NOON + timedelta(minutes=at[place])),
            seq=number,
            totalizer_l=1_000.0 + litres * number,
            totalizer_cny=7_500.0 + litres * 7.5 * number,
        )
        for place, number in enumerate(numbers)
    ]


def said(kit, records, history=None, **keys):
    return kit.judge(rule(**keys), records, history or kit.county())


def kind(finding):
    return finding.evidence[-1].data["kind"], finding.evidence[-1].data["missing"]


@pytest.mark.parametrize("missing", [1, 20, 200])
def test_a_gap_is_told_with_its_litres_and_yuan(kit, missing):
    found = said(kit, sales(kit, [1, 2, 3, 4 + missing, 5 + missing]))
    (finding,) = found
    assert (finding.cause, finding.severity, kind(finding)) == ("sequence_gap", Severity.HIGH, ("gap", missing))
    assert finding.estimate.value == pytest.approx(20.0 * missing)
    assert finding.evidence[-1].data["cny"] == pytest.approx(150.0 * missing)
    assert finding.subject.nozzle_id == "S01-N03"
    assert finding.subject.dispenser_id == "S01-D2"
    assert sum(len(c.x) for f in finding.figures for c in f.curves) <= 400


def test_without_totalizers_the_usual_sale_is_taken(kit):
    records = [replace(s, totalizer_l=None, totalizer_cny=None) for s in sales(kit, [*range(1, 9), 12])]
    (finding,) = said(kit, records)
    assert finding.estimate.value == pytest.approx(60.0)
    assert "估计" in finding.explanation.what.zh


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, 2, 3, 3, 4], [("repeat", 0)]),
        ([500, 501, 502, 303, 304], [("back", 0)]),
        ([500, 501, 502, 500, 501, 502], [("repeat", 0)]),
        ([1, 2, 3, 9_000, 9_001], [("jump", 0)]),
    ],
)
def test_repeats_falls_and_jumps(kit, numbers, expected):
    assert [kind(f) for f in said(kit, sales(kit, numbers))] == expected


@pytest.mark.parametrize(
    "numbers",
    [
        [9_997, 9_998, 9_999, 0, 1],
        [99_998, 99_999, 1, 2],
        [65_534, 65_535, 0, 1],
        [999_999_998, 999_999_999, 0, 1],
    ],
)
def test_numbers_that_roll_over(kit, numbers):
    assert said(kit, sales(kit, numbers)) == []


def test_a_gap_at_the_roll_over(kit):
    (finding,) = said(kit, sales(kit, [9_996, 9_997, 2, 3]))
    assert kind(finding) == ("gap", 4)


def test_a_clock_set_back_only_changes_the_order(kit):
    records = sales(kit, range(1, 11), [0, 10, 20, 30, 40, 15, 25, 35, 45, 55])
    history = kit.county()
    for record in records:
        history.take(record)
    assert said(kit, records, history) == []


def test_numbers_shared_by_the_nozzles_of_a_dispenser(kit):
    assert said(kit, sales(kit, [1, 4, 5, 9, 13, 15, 18, 21, 30, 32, 37])) != []
    assert said(kit, sales(kit, [1, 4, 6, 9, 13, 15, 18, 21, 30, 32, 37])) == []


def test_the_same_batch_again_is_nothing(kit):
    history = kit.county()
    batch = sales(kit, range(1, 30))
    assert said(kit, batch, history) == []
    assert said(kit, batch, history) == []


def test_late_records_withdraw_it(kit):
    history = kit.county()
    records = sales(kit, range(1, 12))
    first = said(kit, [*records[:4], *records[8:]], history)
    assert [kind(f) for f in first] == [("gap", 4)]
    assert said(kit, records[4:8][::-1], history) != []
    assert kit.judge(rule(), records, history) == []


class TestHonestReasons:
    gap = (1, 2, 3, 4, 5, 9, 10)

    def told(self, kit, *events, orders=(), numbers=gap):
        history = kit.county()
        for event in events:
            history.take(event)
        history.orders += orders
        return [
            f.severity
            for f in said(kit, sales(kit, numbers, minutes=[*range(0, 50, 10), 120, 130][: len(numbers)]), history)
        ]

    def down(self, kit, reason, minutes, device="S01-D2"):
        start = kit.NOON + timedelta(minutes=45)
        return [
            DeviceEvent(start, "S01", device, EventKind.LINK, {"up": False, "reason": reason}),
            DeviceEvent(
                start + timedelta(minutes=minutes), "S01", device, EventKind.LINK, {"up": True, "reason": reason}
            ),
        ]

    def test_none(self, kit):
        assert self.told(kit) == [Severity.HIGH]

    def test_a_silent_link_into_which_they_fit(self, kit):
        assert self.told(kit, *self.down(kit, "timeout", 60)) == [Severity.INFO]
        assert self.told(kit, *self.down(kit, "timeout", 2)) == [Severity.HIGH]
        assert self.told(kit, *self.down(kit, "timeout", 60, "S01-D1")) == [Severity.HIGH]
        assert self.told(kit, *self.down(kit, "timeout", 60, "D2")) == [Severity.INFO]

    def test_a_silence_that_nothing_else_judges_is_low(self, kit):
        assert self.told(kit, *self.down(kit, "timeout", 4.5)) == [Severity.LOW]
        assert self.told(kit, *self.down(kit, "timeout", 60)[:1]) == [Severity.LOW]
        early = self.down(kit, "timeout", 5 * 24 * 60)
        moved = [replace(event, at=event.at - timedelta(days=5) + timedelta(hours=1)) for event in early]
        assert self.told(kit, *moved) == [Severity.LOW]

    def test_so_is_one_in_which_the_dispenser_sold(self, kit):
        beside = replace(kit.sale(1, 20.0, start=kit.NOON + timedelta(minutes=70)), nozzle_id="S01-N04")
        assert self.told(kit, beside, *self.down(kit, "timeout", 60)) == [Severity.LOW]
        away = replace(beside, nozzle_id="S01-N01")
        assert self.told(kit, away, *self.down(kit, "timeout", 60)) == [Severity.INFO]

    def test_many_short_silences_a_day_are_more_than_low(self, kit):
        numbers = [1, 2, 3, 4, 5, *range(7, 21, 2)]
        history = kit.county()
        records = sales(kit, numbers)
        for before, sale in pairwise(records[4:]):
            middle = before.end + (sale.start - before.end) / 2
            for up, edge in ((False, -2), (True, 2)):
                detail = {"up": up, "reason": "timeout"}
                at = middle + timedelta(minutes=edge)
                history.take(DeviceEvent(at, "S01", "S01-D2", EventKind.LINK, detail))
        severities = [f.severity for f in said(kit, records, history)]
        assert severities == [Severity.LOW] * 3 + [Severity.MEDIUM] * 4

    def test_a_lost_uplink_is_low_until_the_records_come(self, kit):
        assert self.told(kit, *self.down(kit, "uplink", 60, "S01")) == [Severity.LOW]

    @pytest.mark.parametrize(
        ("kind_of_work", "signed", "severity"),
        [("repair", "I", Severity.INFO), ("repair", None, Severity.HIGH), ("inspection", "I", Severity.HIGH)],
    )
    def test_signed_work(self, kit, kind_of_work, signed, severity):
        order = WorkOrder("S01", "S01-D2", kit.NOON + timedelta(hours=1), kind_of_work, "R", signed, "S")
        assert self.told(kit, orders=[order]) == [severity]

    def test_another_identity_has_its_own_alarm(self, kit):
        event = DeviceEvent(kit.NOON + timedelta(hours=1), "S01", "S01-D2", EventKind.IDENTITY, {"tax_serial": "X"})
        back = (501, 502, 503, 504, 505, 305, 306)
        assert self.told(kit, event, numbers=back) == [Severity.INFO]
        assert self.told(kit, event) == [Severity.HIGH]
        same = replace(event, detail={"tax_serial": "tax-2 "})
        assert self.told(kit, same, numbers=back) == [Severity.HIGH]


@pytest.mark.parametrize("records", [1, 20, 200])
def test_t04_is_found_on_the_first_record(records):
    past, (item,) = worlds.world("T04", days=35, records=records)
    found = [f for f in worlds.judged(past, SequenceContinuity) if f.severity is not Severity.INFO]
    rows = past.sales.of(item["subject"]["nozzle_id"])
    numbers, ends = past.sales.seq[rows], past.sales.end_us[rows]
    assert [to_us(f.detected_at) for f in found] == ends[1:][np.diff(numbers) > 1].tolist()
    assert {f.subject.nozzle_id for f in found} == {item["subject"]["nozzle_id"]}
    assert all(f.estimate.value > 5.0 * records for f in found)


def test_c09_is_found_on_the_first_record():
    past, (item,) = worlds.world("C09", days=28, percent=10.0)
    found = worlds.judged(past, SequenceContinuity)
    assert found[0].detected_at > datetime.fromisoformat(item["onset"])
    assert all(f.cause == "sequence_gap" and f.estimate.value > 30.0 for f in found)
    assert len({f.subject.nozzle_id for f in found}) == len(past.nozzles)


@pytest.mark.parametrize("name", ["H05", "H06", "H14", "H15", "H20", "C05", "C06"])
def test_honest_days_and_clocks_are_quiet(name):
    past, _ = worlds.world(name, days=28)
    assert worlds.judged(past, SequenceContinuity) == []


@pytest.mark.parametrize("name", ["C01", "C02", "F14", "T02"])
def test_what_has_an_alarm_of_its_own_is_a_note(name):
    past, _ = worlds.world(name, days=28)
    found = worlds.judged(past, SequenceContinuity)
    assert found
    assert {f.severity for f in found} == {Severity.INFO}


@pytest.mark.parametrize("name", ["T02", "C06", "H06", "T04"])
def test_order_and_screen_do_not_matter(name):
    past, _ = worlds.world(name, days=28)
    cut = past.between(past.start + timedelta(days=19), past.start + timedelta(days=23))
    order_free(rule(), cut, seed=len(name))
    screened(rule(), cut)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([1, 1, 1, 1, 1, 0, 2, 3, -4, 30_000, -40_000]), min_size=3, max_size=40))
def test_the_screen_leaves_out_nothing(steps):
    past, _ = worlds.world(days=28)
    rows = past.sales.of(past.sales.nozzle_ids[0])
    few = past.sales.take(slice(rows.start, rows.start + len(steps)))
    numbers = np.cumsum(steps[: len(few)]) + 50_000
    screened(rule(), replace(past, sales=replace(few, seq=numbers.astype(np.int64))))
