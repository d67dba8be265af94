"""What the tax rules say: titles that fit, figures that can be drawn, plain evidence, no verdict."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
import worlds

from pumpwatch import Severity, Station
from pumpwatch.past import Channel
from pumpwatch.testing.rules import without
from pumpwatch_tax import pumpwatch_detectors
from pumpwatch_tax.risk_grade import RiskGrade, RiskGradeSettings

ACCUSING = ("作弊", "偷", "骗", "逃税", "cheat", "fraud", "evade", "evasion", "steal", "theft", "guilty")


def found(name, days=28, **more):
    past, _ = worlds.world(name, days=days, **more)
    long = Station(
        past.station_id, "某某县某某镇某某路某某加油站有限责任公司", attributes={"name_en": "Station of the " * 4}
    )
    past = replace(past, station=long)
    said = worlds.judged(past, *pumpwatch_detectors())
    rule = RiskGrade(RiskGradeSettings())
    return [*said, *rule.compare({past.station_id: rule.digest(past, past.start, past.end)}, past.start, past.end)]


@pytest.mark.parametrize(
    ("name", "days"), [("T01", 28), ("T02", 28), ("T04", 28), ("C09", 26), ("C01", 26), ("T11", 30), ("T07", 62)]
)
def test_every_finding_can_be_shown(name, days):
    findings = found(name, days)
    assert findings
    for finding in findings:
        said = finding.explanation
        assert sum(1.0 if ord(c) >= 0x2E80 else 0.5 for c in said.title.zh) <= 20
        assert len(said.title.en) <= 40
        for text in (said.title, said.what, said.why, said.otherwise, said.on_site):
            assert text.zh
            assert text.en
            assert not any(unicodedata.east_asian_width(c) == "W" for c in text.en)
            assert not any(word in (text.zh + text.en).lower() for word in (*ACCUSING, "nan", "none,"))
        assert len(finding.evidence) <= 20
        assert json.loads(json.dumps([dict(e.data) for e in finding.evidence], allow_nan=False))
        for figure in finding.figures:
            assert sum(len(curve.x) for curve in figure.curves) <= 400
            assert all(len(curve.x) == len(curve.y) for curve in figure.curves)
        if finding.estimate is not None and finding.estimate.low is not None:
            assert finding.estimate.low <= finding.estimate.value <= finding.estimate.high
        assert finding.onset <= finding.detected_at


@pytest.mark.parametrize("rule", pumpwatch_detectors(), ids=lambda r: r.rule)
def test_every_rule_has_its_page(rule):
    about = rule.about
    for part in (about.inputs, about.statistic, about.threshold, about.power, about.pitfalls, about.source):
        assert len(part) > 12
    assert "POWER_" not in about.power


@pytest.mark.parametrize("channel", [None, *Channel])
def test_a_channel_that_is_missing_never_alarms(channel):
    past, _ = worlds.world("H10", days=62, litres_per_day=150)
    rows = np.random.default_rng(3).random(len(past.sales)) < 0.3
    first = past.sales.nozzle == 0
    columns = {
        name: np.where(rows | first, np.nan, getattr(past.sales, name))
        for name in ("encoder_l", "encoder_pulses", "totalizer_l", "totalizer_cny", "preset_value")
    }
    columns |= {name: np.where(first, np.nan, getattr(past.sales, name)) for name in ("tax_l", "tax_cny")}
    past = replace(past, sales=replace(past.sales, **columns))
    past = past if channel is None else without(past, channel)
    rule = RiskGrade(RiskGradeSettings())
    said = worlds.judged(past, *pumpwatch_detectors())
    said += rule.compare({"S01": rule.digest(past, past.start, past.end)}, past.start, past.end)
    assert {f.severity for f in said} <= {Severity.INFO}
