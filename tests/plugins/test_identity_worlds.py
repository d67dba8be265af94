"""The rules of identity in simulated stations: what each scenario leaves is found at its first record."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

import pytest
from worlds import judged, staged

from pumpwatch import Severity
from pumpwatch.detection.arbitration import arbitrate
from pumpwatch.detection.replay import compare_stations
from pumpwatch_integrity.campaign import CampaignSettings, FirmwareCampaign
from pumpwatch_integrity.clones import ClonedSerial, CloneSettings
from pumpwatch_integrity.identity import IdentityChange
from pumpwatch_integrity.locks import SelfLock
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.dataset.truth import truth_of

STATION = "S20"


@lru_cache
def world(name):
    """Twelve days of a small station with a scenario on the fifth, and its truth."""
    staging = staged({"name": name, "station": STATION, "onset": "P5D"}, days=12, tank_reading_minutes=60)
    return station_past(staging, STATION), truth_of(staging)["items"]


def compared(pasts, rule, since=None, until=None):
    since, until = since or pasts[0].start, until or pasts[0].end
    digests = {past.station_id: {rule.rule: rule.digest(past, since, until)} for past in pasts}
    return compare_stations(digests, [rule], since, until)


@pytest.mark.parametrize(("scenario", "minutes"), [("F14", 25), ("F15", 0), ("F17", 0), ("F02", 0), ("F05", 0)])
def test_what_says_it_is_another_is_found_at_once(scenario, minutes):
    past, items = world(scenario)
    wanted = [item for item in items if item["cause"] == "identity_change"]
    found = judged(past, IdentityChange)
    assert {f.severity for f in found} == {Severity.CRITICAL}
    assert {f.subject.key for f in found} == {i["subject"]["nozzle_id"] or i["subject"]["dispenser_id"] for i in wanted}
    for finding in found:
        late = finding.detected_at - datetime.fromisoformat(wanted[0]["onset"])
        assert late.total_seconds() == minutes * 60


def test_a_new_tax_memory_is_for_the_tax_office_too():
    past, (item,) = world("T02")
    (finding,) = judged(past, IdentityChange)
    assert finding.subject.dispenser_id == item["subject"]["dispenser_id"]
    assert {str(department) for department in finding.departments} == {"market_regulation", "tax"}


def test_the_lock_after_an_encoder_was_changed_names_its_nozzle():
    past, items = world("F17")
    (finding,) = judged(past, SelfLock)
    assert (finding.cause, finding.subject.nozzle_id) == ("identity_change", items[0]["subject"]["nozzle_id"])


@pytest.mark.parametrize("scenario", ["H09", "H11", "P04"])
def test_what_has_papers_is_no_alarm(scenario):
    past, _ = world(scenario)
    found = judged(past, IdentityChange, SelfLock)
    assert {f.severity for f in found} <= {Severity.INFO}
    assert bool(found) is (scenario in {"H11", "P04"})
    assert compared([past], ClonedSerial(CloneSettings())) == []


def test_a_cloned_serial_names_both_places():
    past, (item,) = world("F15")
    (finding,) = compared([past], ClonedSerial(CloneSettings()))
    assert (finding.cause, finding.subject.dispenser_id) == ("identity_change", item["subject"]["dispenser_id"])
    assert finding.detected_at == datetime.fromisoformat(item["onset"])
    assert len(finding.evidence) == 2
    names = [dispenser.dispenser_id for dispenser in past.dispensers]
    twin = names[(names.index(finding.subject.dispenser_id) + 1) % len(names)]
    assert {e.data["also_at"] for e in finding.evidence} == {twin}


@pytest.mark.parametrize(("scenario", "rule"), [("F15", "cloned_serial"), ("F17", "identity_change")])
def test_one_cause_is_one_alarm(scenario, rule):
    past, _ = world(scenario)
    found = [*judged(past, IdentityChange, SelfLock), *compared([past], ClonedSerial(CloneSettings()))]
    (claim,) = arbitrate(found, [IdentityChange, SelfLock, ClonedSerial])
    assert claim.root.rule == rule
    assert len(claim.consequences) == 1


def test_a_campaign_is_one_note():
    staging = staged({"name": "H11", "onset": "P5D"}, count=5, days=16, tank_reading_minutes=60)
    pasts = [station_past(staging, station.station_id) for station in staging.county.stations]
    rule = FirmwareCampaign(CampaignSettings())
    (finding,) = compared(pasts, rule)
    dispensers = sum(len(past.dispensers) for past in pasts)
    assert (finding.rule, finding.severity) == ("firmware_campaign", Severity.INFO)
    assert finding.estimate.value == dispensers
    assert f"{dispensers} dispensers" in finding.explanation.what.en
    assert "5 stations" in finding.explanation.what.en
    assert compared(pasts[::-1], rule) == [finding]
    cut = finding.detected_at
    assert compared(pasts, rule, pasts[0].start, cut) == [finding]
    assert compared(pasts, rule, cut, pasts[0].end) == []
    assert compared(pasts[:2], rule) == []
