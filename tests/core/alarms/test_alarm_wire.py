"""Findings and alarms as JSON."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.alarms import finding_from_json, finding_to_json, to_json
from pumpwatch.alarms.alarm import acknowledged, raised
from pumpwatch.errors import BadReply
from pumpwatch.model import Department, Estimate, Evidence, Explanation, Finding, Severity, Subject, Text

NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), min_size=1, max_size=8)
FIGURES = st.floats(allow_nan=False, allow_infinity=False)
MAYBE = st.none() | FIGURES
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
TEXTS = st.builds(Text, NAMES, NAMES)
FINDINGS = st.builds(
    Finding,
    id=NAMES,
    rule=NAMES,
    cause=NAMES,
    subject=st.builds(Subject, NAMES, st.none() | NAMES, st.none() | NAMES, st.none() | NAMES),
    severity=st.sampled_from(Severity),
    departments=st.lists(st.sampled_from(Department), unique=True).map(tuple),
    onset=TIMES,
    detected_at=TIMES,
    explanation=st.builds(Explanation, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS),
    estimate=st.none() | st.builds(Estimate, FIGURES, NAMES, MAYBE, MAYBE, MAYBE),
    evidence=st.lists(
        st.builds(
            Evidence,
            NAMES,
            NAMES,
            st.dictionaries(NAMES, st.none() | NAMES | FIGURES | st.integers() | st.booleans(), max_size=3),
        ),
        max_size=2,
    ).map(tuple),
)


@settings(max_examples=50)
@given(FINDINGS)
def test_a_finding_survives_the_wire(finding):
    text = json.dumps(finding_to_json(finding), allow_nan=False)
    assert finding_from_json(json.loads(text)) == finding


def test_a_finding_has_the_fields_of_the_outside_interface(finding):
    body = finding_to_json(finding())
    assert list(body) == [
        "id", "rule", "subject", "cause", "severity", "department", "onset", "detected_at", "estimate", "explanation",
        "evidence",
    ]  # fmt: skip
    assert body["department"] == ["market_regulation"]
    assert body["subject"] == {
        "station_id": "S01", "dispenser_id": "S01-D1", "nozzle_id": "S01-N03", "tank_id": None,
    }  # fmt: skip
    assert body["onset"] == "2026-11-22T02:00:00Z"
    assert body["estimate"] == {"value": 3.1, "unit": "%", "low": 2.9, "high": 3.3, "confidence": 0.95}
    assert list(body["explanation"]) == ["title", "what", "why", "otherwise", "on_site"]
    assert body["explanation"]["why"] == {"zh": "示例", "en": "Demo"}
    assert body["evidence"][0]["data"] == {"volume_l": 30.5, "pulses": 2952, "note": "示例", "x": None}


def test_an_alarm_has_the_fields_of_the_outside_interface(finding, clock):
    alarm = acknowledged(raised(12, finding(), clock.now()), clock.now(), "示例", "seen")
    body = to_json(alarm)
    assert body.pop("finding") == finding_to_json(finding())
    assert body == {
        "id": "A-000012",
        "rule": "pulse_ratio",
        "cause": "short_delivery",
        "subject": {"station_id": "S01", "dispenser_id": "S01-D1", "nozzle_id": "S01-N03", "tank_id": None},
        "severity": "high",
        "departments": ["market_regulation"],
        "state": "acknowledged",
        "raised_at": "2026-11-22T04:00:00Z",
        "onset": "2026-11-22T02:00:00Z",
        "acknowledged_at": "2026-11-22T04:00:00Z",
        "acknowledged_by": "示例",
        "returned_at": None,
        "cleared_at": None,
        "cleared_by": None,
        "count": 1,
        "log": [
            {"at": "2026-11-22T04:00:00Z", "act": "raise", "by": "", "note": ""},
            {"at": "2026-11-22T04:00:00Z", "act": "acknowledge", "by": "示例", "note": "seen"},
        ],
    }


def test_what_json_has_no_word_for(finding):
    data = {
        "nan": math.nan,
        "inf": np.float64("inf"),
        "figure": np.float32(0.5),
        "count": np.int64(7),
        "flag": np.bool_(True),
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "bytes": "\udcb0\x00",
    }
    odd = finding(estimate=Estimate(1.0, "%", low=-math.inf), evidence=(Evidence("x", "y", data),))
    body = json.loads(json.dumps(finding_to_json(odd), allow_nan=False))
    assert body["estimate"]["low"] is None
    assert body["evidence"][0]["data"] == {
        "nan": None, "inf": None, "figure": 0.5, "count": 7, "flag": True, "time": "2026-01-01 00:00:00+00:00",
        "bytes": "?�",
    }  # fmt: skip
    assert finding_to_json(finding(estimate=Estimate(math.nan, "%")))["estimate"] is None


def test_times_without_zone_are_refused(finding):
    with pytest.raises(BadReply, match="without zone"):
        finding_to_json(finding(onset=datetime(2026, 1, 1)))  # noqa: DTZ001


@pytest.mark.parametrize(
    "field", ["id", "rule", "subject", "severity", "department", "onset", "explanation", "evidence"]
)
@pytest.mark.parametrize("value", [None, 5, "", "x", [1], {"zh": "x"}, "2026-01-01T00:00:00"])
def test_what_is_no_finding(finding, field, value):
    if field in ("id", "rule") and isinstance(value, str) and value:
        return
    if field in ("department", "evidence") and value == "":
        return  # an empty sequence, however written
    with pytest.raises(BadReply, match="this is no finding"):
        finding_from_json(finding_to_json(finding()) | {field: value})


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
)


@settings(max_examples=30)
@given(JSON)
def test_nonsense_is_a_bad_reply(body):
    with pytest.raises(BadReply):
        finding_from_json(body)
