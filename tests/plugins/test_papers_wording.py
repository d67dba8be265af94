"""What the rules of identity and papers say: titles that fit, both languages, no verdict, plain JSON, small figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from worlds import judged, staged

from pumpwatch import CovertTest, DeviceEvent, EventKind, WorkOrder
from pumpwatch.contracts import About, Rule
from pumpwatch.detection.replay import compare_stations
from pumpwatch_integrity.campaign import FirmwareCampaign
from pumpwatch_integrity.clones import ClonedSerial
from pumpwatch_integrity.identity import IdentityChange
from pumpwatch_integrity.locks import CODES, SelfLock
from pumpwatch_integrity.signatures import KnownSignature
from pumpwatch_papers import pumpwatch_detectors
from pumpwatch_sim.dataset.pasts import station_past

RULES = [IdentityChange, ClonedSerial, FirmwareCampaign, KnownSignature, SelfLock, *pumpwatch_detectors()]
LIST = "kind,serial,name,name_en\nencoder,E?-9,虚构编码器,Invented encoder\n"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Findings of every kind, at stations whose nozzles have long names too."""
    papers = {"signed_by_repairer": "r", "signed_by_station": "s"}
    staging = staged({"name": "H11", "onset": "P2D"}, count=4, days=12, tank_reading_minutes=60)
    pasts = [station_past(staging, station.station_id) for station in staging.county.stations]
    one, day = pasts[0], timedelta(days=1)
    station, nozzle = one.station_id, one.nozzles[1]
    at = one.start + 3 * day
    board, twin = one.dispensers[0], one.dispensers[1].mainboard_serial
    last = one.sales.of(nozzle.nozzle_id).stop
    sales = [one.sales.record(last - back) for back in (30, 33, 36, 39)]
    seal = {"nozzle_id": nozzle.nozzle_id, "seal": "seal_encoder", "state": "broken"}
    where, set_right = (station, board.dispenser_id), one.nozzles[-1].nozzle_id
    events = [
        DeviceEvent(at, *where, EventKind.IDENTITY, {"mainboard_serial": twin, "tax_serial": "TX-9"}),
        DeviceEvent(at, station, nozzle.nozzle_id, EventKind.IDENTITY, {"encoder_serial": "EN-9"}),
        DeviceEvent(at + day, *where, EventKind.SEAL, seal),
        DeviceEvent(at, *where, EventKind.SEAL, {**seal, "state": "intact", "number": "X"}),
        DeviceEvent(at, *where, EventKind.SEAL, {**seal, "nozzle_id": set_right, "seal": "seal_meter"}),
        *(DeviceEvent(at, *where, EventKind.LOCK, {"code": code}) for code in (*CODES, 7, None)),
    ]
    orders = [
        WorkOrder(station, nozzle.nozzle_id, at + 2 * day, "repair", **papers, attributes={"detail": "更换主板"}),
        WorkOrder(station, one.nozzles[3].nozzle_id, at, "repair", **papers, attributes={"detail": "new encoder"}),
        WorkOrder(station, set_right, at, "calibration", "r", "i", "s", certificate_no="C-9", error_percent=-0.05),
    ]
    tests = [
        CovertTest(nozzle.nozzle_id, sale.end, sale.volume_l, sale.volume_l * share, 0.1)
        for sale, share in zip(sales, (0.5, 0.9945, 1.0, 1.2), strict=True)
    ]
    tests.append(replace(tests[0], at=at, displayed_l=77.0, measured_l=77.0))
    past = replace(
        one,
        station=replace(one.station, retail_licence_expires=at.date(), attributes={"closed_on": str(at.date())}),
        nozzles=(*one.nozzles[:4], replace(one.nozzles[4], certificate_expires=at.date()), *one.nozzles[5:]),
        events=tuple(sorted((*one.events, *events), key=lambda e: e.at)),
        work_orders=(*one.work_orders, *orders),
        covert_tests=tuple(tests),
    )
    file = tmp_path_factory.mktemp("lists") / "list.csv"
    file.write_text(LIST, encoding="utf-8")
    said = judged(past, IdentityChange, SelfLock, *pumpwatch_detectors())
    said += judged(past, KnownSignature, list=str(file))
    said += judged(past, pumpwatch_detectors()[1], offset_l=0.0, repeatability_percent=0.01)
    for rule in (ClonedSerial(ClonedSerial.Settings()), FirmwareCampaign(FirmwareCampaign.Settings())):
        digests = {p.station_id: {rule.rule: rule.digest(p, p.start, p.end)} for p in (past, *pasts[1:])}
        said += compare_stations(digests, [rule], past.start, past.end)
    return said


def texts(finding):
    said = finding.explanation
    return [said.title, said.what, said.why, said.otherwise, said.on_site]


def test_every_rule_and_cause_is_among_them(found):
    assert {f.rule for f in found} == {rule.rule for rule in RULES}
    assert {f.cause for f in found} == {
        "identity_change", "firmware_campaign", "self_lock", "short_delivery", "out_of_tolerance", "covert_test",
        "offline_sale", "certificate_expired", "licence_expired", "seal_broken", "seal_changed", "unverified_repair",
        "recalibration",
    }  # fmt: skip


def test_titles_fit_lists(found):
    for finding in found:
        title = finding.explanation.title
        assert sum(1 if ord(c) >= 0x2E80 else 0.5 for c in title.zh) <= 20
        assert len(title.en) <= 40


def test_no_verdict_no_gap_and_each_in_its_language(found):
    for finding in found:
        for text in texts(finding):
            assert text.zh.strip()
            assert text.en.strip()
            assert not re.search(r"作弊|欺诈|诈骗|造假", text.zh)
            assert not re.search(r"fraud|cheat|steal|theft", text.en, re.IGNORECASE)
            for said in (text.zh, text.en):
                assert not re.search(r"(?<![\w])-\d", said), said
                assert not re.search(r"\{|\}|None|nan|  ", said), said
            assert not re.search(r"[\u4e00-\u9fff]", text.en), text.en
            for value in re.findall(r"(?<![\d.±+−])\d[\d.,]*%", text.zh.replace("95% 区间", "")):
                pytest.fail(f"an error without its sign: {value} in {text.zh}")


def test_plain_json_in_order_and_small(found):
    for finding in found:
        assert finding.onset <= finding.detected_at
        assert 1 <= len(finding.evidence) <= 20
        for evidence in finding.evidence:
            json.dumps(dict(evidence.data), allow_nan=False)
        if finding.estimate is not None and finding.estimate.low is not None:
            assert finding.estimate.low <= finding.estimate.value <= finding.estimate.high
        for figure in finding.figures:
            assert sum(len(curve.x) for curve in figure.curves) <= 400
            assert all(len(curve.x) == len(curve.y) > 0 for curve in figure.curves)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)
def test_a_rule_says_what_it_is(rule):
    assert issubclass(rule, Rule)
    assert isinstance(rule.about, About)
    for name in ("inputs", "statistic", "threshold", "power", "pitfalls", "source"):
        words = getattr(rule.about, name)
        assert len(words) > 30
        assert not re.search(r"[{}@]|[^ ]  ", words), words
    assert all(field.description for field in rule.Settings.model_fields.values())
