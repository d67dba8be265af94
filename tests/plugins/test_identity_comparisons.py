"""cloned_serial and firmware_campaign by hand: windows, moves with papers, placeholders, odd digests, cuts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import (
    DeviceEvent,
    DeviceIdentity,
    Dispenser,
    EventKind,
    Nozzle,
    Severity,
    Station,
    StationPast,
    WorkOrder,
)
from pumpwatch.detection.replay import PastHistory, compare_stations
from pumpwatch.past import SALE_COLUMNS, Sales
from pumpwatch_integrity.campaign import CampaignSettings, FirmwareCampaign
from pumpwatch_integrity.clones import ClonedSerial, CloneSettings

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=200)
DAY = timedelta(days=1)
DIGEST = {"1.0": "aa" * 32, "2.0": "bb" * 32}


def past(number, *, events=(), identities=(), orders=(), dispensers=2, **board):
    """A station with so many dispensers of one nozzle, all of one model."""
    station = f"S{number:02}"
    made = tuple(
        Dispenser(
            f"{station}-D{d}",
            station,
            brand="demo",
            model="G4",
            mainboard_serial=board.get(f"d{d}", f"MB-{number}{d}00"),
            firmware_version="1.0",
            firmware_digest=DIGEST["1.0"],
            installed_on=date(2025, 1, 1),
        )
        for d in range(1, dispensers + 1)
    )
    nozzles = tuple(
        Nozzle(f"{station}-N{d:02}", f"{station}-D{d}", f"{station}-T1", "92#", encoder_serial=f"EN-{number}{d}00")
        for d in range(1, dispensers + 1)
    )
    empty = Sales((), **{name: np.zeros(0, np.int64) for name in SALE_COLUMNS})
    return StationPast(
        Station(station, station), made, nozzles, (), START, END, empty, {},
        events=tuple(sorted(events, key=lambda e: e.at)), identities=tuple(identities), work_orders=tuple(orders),
    )  # fmt: skip


def event(station, device, day, **detail):
    return DeviceEvent(START + day * DAY, station, device, EventKind.IDENTITY, detail)


def order(station, device, day, **more):
    signed = {"signed_by_repairer": "r", "signed_by_institute": "i", "signed_by_station": "s"}
    return WorkOrder(station, device, START + day * DAY, "repair", **{**signed, **more})


def compared(rule, *pasts, since=START, until=END, cut=False):
    if cut:
        pasts = [p.between(since - rule.lookback, until + timedelta(microseconds=1)) for p in pasts]
    digests = {p.station_id: {rule.rule: rule.digest(p, since, until)} for p in pasts}
    return compare_stations(digests, [rule], since, until)


CLONE = ClonedSerial(CloneSettings())
CAMPAIGN = FirmwareCampaign(CampaignSettings())


class TestClones:
    def test_a_serial_of_another_station(self):
        one, two = past(1), past(2, events=[event("S02", "S02-D1", 5, mainboard_serial="mb-1100 ")])
        (finding,) = compared(CLONE, one, two)
        assert (finding.subject.key, finding.severity) == ("S02-D1", Severity.CRITICAL)
        assert finding.evidence[0].data["also_at"] == "S01-D1"
        assert "S01" in finding.explanation.what.en

    def test_an_encoder_of_another_nozzle(self):
        (finding,) = compared(CLONE, past(1, events=[event("S01", "S01-N02", 5, encoder_serial="EN-1100")]))
        assert finding.subject.nozzle_id == "S01-N02"
        assert finding.evidence[0].data["also_at"] == "S01-N01"

    def test_who_has_another_one_by_now_holds_it_no_more(self):
        swap = [event("S01", "S01-D1", 4, mainboard_serial="MB-NEW")]
        taken = [*swap, event("S01", "S01-D2", 5, mainboard_serial="MB-1100")]
        assert compared(CLONE, past(1, events=taken)) == []
        long_ago = [*swap, event("S01", "S01-D2", 120, mainboard_serial="MB-1100")]
        assert len(compared(CLONE, past(1, events=long_ago))) == 1

    def test_boards_exchanged_in_the_same_second_are_not_cloned(self):
        both = [
            event("S01", "S01-D1", 4, mainboard_serial="MB-1200"),
            event("S01", "S01-D2", 4, mainboard_serial="MB-1100"),
        ]
        assert compared(CLONE, past(1, events=both)) == []

    def test_signed_by_all_it_is_a_note(self):
        moved = [event("S01", "S01-D2", 5, mainboard_serial="MB-1100")]
        (finding,) = compared(CLONE, past(1, events=moved, orders=[order("S01", "S01-D2", 4)]))
        assert finding.severity is Severity.INFO
        half = order("S01", "S01-D2", 4, signed_by_institute=None)
        (finding,) = compared(CLONE, past(1, events=moved, orders=[half]))
        assert finding.severity is Severity.CRITICAL

    @pytest.mark.parametrize("serial", ["0000000", "FFFF", "N/A", "-"])
    def test_placeholders_are_no_serials(self, serial):
        assert compared(CLONE, past(1, events=[event("S01", "S01-D2", 5, mainboard_serial=serial)], d1=serial)) == []

    def test_the_ledgers_own_double_is_told_on_the_day_of_the_later_one(self):
        twice = past(1, d2="MB-1100")
        new = replace(twice.dispensers[1], installed_on=date(2026, 3, 10))
        (finding,) = compared(CLONE, replace(twice, dispensers=(twice.dispensers[0], new)))
        assert finding.subject.key == "S01-D2"
        assert finding.detected_at == datetime(2026, 3, 9, 16, tzinfo=UTC)
        assert compared(CLONE, twice) == []

    def test_telling_it_each_minute_is_one_finding(self):
        told = [
            DeviceIdentity(
                "S01", "S01-D2", START + timedelta(minutes=i), mainboard_serial="MB-1100" if i > 99 else "MB-1200"
            )
            for i in range(3_000)
        ]
        (finding,) = compared(CLONE, past(1, identities=told))
        assert finding.detected_at == START + timedelta(minutes=100)
        digest = CLONE.digest(past(1, identities=told), START, END)
        assert len(digest.claims) <= 5

    def test_a_serial_that_the_ledger_has_elsewhere_is_an_occasion_once(self):
        history = PastHistory(past(1))
        minute, own = timedelta(minutes=1), {"mainboard_serial": "mb-1200 ", "encoder_serials": {"S01-N02": "EN-1200"}}
        named = [
            CLONE.occasion(DeviceIdentity("S01", "S01-D2", START + i * minute, **told), history)
            for i, told in enumerate([own, {**own, "mainboard_serial": "MB-1100"}, {"mainboard_serial": "MB-1100"}])
        ]
        assert named[0] is None
        assert named[1] is not None
        assert named[1] == named[2]
        assert CLONE.occasion(event("S01", "S01-N02", 5, encoder_serial="EN-1200"), history) is None
        assert CLONE.occasion(event("S01", "S01-N02", 5, encoder_serial="EN-1100"), history) not in {None, named[1]}
        for quiet in (
            DeviceIdentity("S01", "S01-D2", START, mainboard_serial="0000000"),
            DeviceIdentity("S01", "S01-D2", START),
            replace(event("S01", "S01-D2", 5, mainboard_serial="MB-1100"), kind=EventKind.SEAL),
        ):
            assert CLONE.occasion(quiet, history) is None
        unknown = DeviceIdentity("S01", "S01-D9", START, mainboard_serial="MB-1100")
        assert CLONE.occasion(unknown, history) is not None


def upgraded(number, day, *, version="2.0", digest=None, papers=True, dispensers=2):
    station = f"S{number:02}"
    names = [f"{station}-D{d}" for d in range(1, dispensers + 1)]
    told = {"firmware_version": version, "firmware_digest": digest or DIGEST[version]}
    orders = [order(station, name, day, signed_by_institute=None) for name in names] if papers else []
    return past(
        number, events=[event(station, name, day, **told) for name in names], orders=orders, dispensers=dispensers
    )


class TestCampaign:
    def test_it_is_told_when_it_has_come_to_rest(self):
        (finding,) = compared(CAMPAIGN, *(upgraded(n, 10 + n % 4) for n in range(1, 9)))
        assert finding.estimate.value == 16
        assert finding.onset == START + 10 * DAY
        assert finding.detected_at == START + 18 * DAY
        assert finding.figures[0].curves[0].y[-1] == 16

    def test_without_papers_or_at_few_stations_it_is_none(self):
        assert compared(CAMPAIGN, *(upgraded(n, 10, papers=False) for n in range(1, 9))) == []
        assert compared(CAMPAIGN, upgraded(1, 10, dispensers=4), upgraded(2, 10, dispensers=4)) == []

    def test_who_came_along_without_papers_is_named(self):
        (finding,) = compared(CAMPAIGN, *(upgraded(n, 10, papers=n > 1) for n in range(1, 9)))
        assert "S01-D1" in finding.explanation.what.en
        assert "14 of them with a work order" in finding.explanation.what.en

    def test_an_odd_digest_is_an_alarm(self):
        pasts = [upgraded(n, 10) for n in range(1, 9)]
        notice, *odd = sorted(
            compared(CAMPAIGN, *pasts, upgraded(9, 11, digest="cc" * 32)), key=lambda f: f.rule + f.cause
        )
        assert notice.severity is Severity.INFO
        assert [f.subject.key for f in odd] == ["S09-D1", "S09-D2"]
        assert {f.severity for f in odd} == {Severity.CRITICAL}
        assert {f.cause for f in odd} == {"identity_change"}

    def test_two_rounds_are_two_notices(self):
        pasts = [upgraded(n, 10 if n < 5 else 40) for n in range(1, 9)]
        assert [f.estimate.value for f in compared(CAMPAIGN, *pasts)] == [8, 8]


@settings(max_examples=40, deadline=None)
@given(cut=st.floats(1.0, 199.0), days=st.lists(st.integers(1, 190), min_size=8, max_size=8))
def test_findings_do_not_depend_on_where_the_past_is_cut(cut, days):
    pasts = [upgraded(n, day) for n, day in enumerate(days, 1)]
    taken = event("S09", "S09-D1", days[0], mainboard_serial="MB-1100")
    pasts.append(past(9, events=[taken, event("S09", "S09-D1", 195, mainboard_serial="MB-9100")]))
    middle = START + cut * DAY
    for rule in (CLONE, CAMPAIGN):
        whole = compared(rule, *pasts)
        parts = compared(rule, *pasts, until=middle, cut=True) + compared(rule, *pasts, since=middle, cut=True)
        assert {f.id: (f.detected_at, f.estimate) for f in whole} == {f.id: (f.detected_at, f.estimate) for f in parts}
