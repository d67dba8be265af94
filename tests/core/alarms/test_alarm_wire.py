"""Findings and alarms as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.alarms import finding_from_json, finding_to_json, to_json
from pumpwatch.alarms.alarm import acknowledged, raised
from pumpwatch.alarms.wire import POINTS, thinned
from pumpwatch.errors import BadReply
from pumpwatch.model import (
    Curve,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Figure,
    Finding,
    Severity,
    Subject,
    Text,
)

NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), min_size=1, max_size=8)
FIGURES = st.floats(allow_nan=False, allow_infinity=False)
MAYBE = st.none() | FIGURES
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
TEXTS = st.builds(Text, NAMES, NAMES)
PLACES = st.floats(-1e12, 1e12)


@st.composite
def curves(draw, most=20):
    shape = draw(st.sampled_from(["line", "step", "points", "bars", "band", "limit"]))
    n = draw(st.integers(0, most))
    columns = [tuple(draw(st.lists(PLACES, min_size=n, max_size=n))) for _ in range(3)]
    return Curve(
        draw(TEXTS), columns[0], columns[1], shape, columns[2] if shape == "band" and n else (), draw(st.booleans())
    )


def bandless(figure):
    """An empty band is written as an empty line."""
    kept = (replace(c, shape="line") if c.shape == "band" and not c.x else c for c in figure.curves)
    return replace(figure, curves=tuple(kept))


FIGURE_SETS = st.builds(
    Figure,
    TEXTS,
    TEXTS,
    TEXTS,
    st.lists(curves(), max_size=4).map(tuple),
    st.booleans(),
    st.lists(st.tuples(PLACES, TEXTS), max_size=3).map(tuple),
)
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
    figures=st.lists(FIGURE_SETS, max_size=2).map(lambda figures: tuple(bandless(f) for f in figures)),
    sharpens=st.none() | NAMES,
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
        "evidence", "figures", "sharpens",
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


# ---------------------------------------------------------------- figures

DEMO = Text("示例", "Demo")


def a_figure(*curves, marks=()):
    return Figure(DEMO, DEMO, DEMO, curves, marks=marks)


def test_a_finding_from_before_there_were_figures_has_none(finding):
    body = finding_to_json(finding())
    del body["figures"]
    assert finding_from_json(body) == finding()


def test_a_list_of_alarms_holds_the_titles_only(finding, clock):
    alarm = raised(1, finding(figures=(a_figure(Curve(DEMO, (1.0,), (2.0,))),)), clock.now())
    assert to_json(alarm)["finding"]["figures"] == [{"title": {"zh": "示例", "en": "Demo"}}]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 900), max_size=6), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_thinning_keeps_within_the_room_and_keeps_the_peaks(sizes, marks, seed):
    dice = np.random.default_rng(seed)
    told = [Curve(DEMO, tuple(map(float, range(n))), tuple(dice.normal(size=n))) for n in sizes]
    figure = a_figure(*told, marks=tuple((float(i), DEMO) for i in range(marks)))
    thin = thinned(figure)
    assert sum(len(c.x) for c in thin.curves) + len(thin.marks) <= POINTS
    assert thinned(thin) == thin == thinned(figure)
    assert len(thin.marks) == min(marks, POINTS // 2)
    for old, new in zip(told, thin.curves, strict=True):
        assert set(zip(new.x, new.y, strict=True)) <= set(zip(old.x, old.y, strict=True))
        assert list(new.x) == sorted(new.x)
        assert not old.x or (new.x[0], new.x[-1]) == (old.x[0], old.x[-1])
        assert not old.x or (min(new.y), max(new.y)) == (min(old.y), max(old.y))
    if sum(sizes) + marks <= POINTS and marks <= POINTS // 2:
        assert thin == figure


def test_many_curves_are_cut_to_those_that_have_room():
    thin = thinned(a_figure(*(Curve(DEMO, (0.0, 1.0, 2.0), (0.0, 1.0, 2.0)) for _ in range(500))))
    assert len(thin.curves) == POINTS // 2
    assert {len(c.x) for c in thin.curves} == {2}


def test_what_is_wrong_in_a_figure_does_not_cost_the_finding(finding):
    wrong = a_figure(
        Curve(DEMO, (1.0, math.nan, 3.0, np.float64(4.0), None), (1.0, 2.0, math.inf, np.float32(0.5), 5.0)),
        Curve(DEMO, (1.0, 2.0, 1e300), (1.0,), shape="spiral"),
        Curve(DEMO, (1.0, 2.0), (1.0, 2.0), shape="band"),
        Curve(DEMO, (1.0, 2.0), (1.0, 2.0), shape="band", y_high=(3.0, math.nan)),
        marks=((math.nan, DEMO), (5, Text("\udcb0", 7))),
    )
    (read,) = finding_from_json(
        json.loads(json.dumps(finding_to_json(finding(figures=(wrong,))), allow_nan=False))
    ).figures
    assert [(c.shape, c.x, c.y, c.y_high) for c in read.curves] == [
        ("line", (1.0, 4.0), (1.0, 0.5), ()),
        ("line", (1.0,), (1.0,), ()),
        ("line", (1.0, 2.0), (1.0, 2.0), ()),
        ("band", (1.0,), (1.0,), (3.0,)),
    ]
    assert read.marks == ((5.0, Text("?", "7")),)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("x", [1.0]), ("x", [1.0, math.nan]), ("x", [1.0, 1e16]), ("x", [1.0, True]), ("x", "12"), ("x", None),
        ("y", [1.0, "2"]), ("y", [10**400, 1]), ("y_high", [1.0, 2.0]), ("shape", "spiral"), ("shape", "band"),
        ("shape", 5), ("shape", []), ("alarm", "yes"), ("alarm", 1), ("name", "words"), ("name", {"zh": "示例"}),
        ("name", {"zh": 1, "en": 2}), ("x", list(range(401))),
    ],
)  # fmt: skip
def test_what_is_no_curve(finding, part, value):
    body = finding_to_json(finding(figures=(a_figure(Curve(DEMO, (1.0, 2.0), (3.0, 4.0))),)))
    body["figures"][0]["curves"][0][part] = value
    if part == "x" and isinstance(value, list) and len(value) > 400:
        body["figures"][0]["curves"][0]["y"] = value
    with pytest.raises(BadReply, match="this is no finding"):
        finding_from_json(body)


@settings(max_examples=100)
@given(JSON, st.sampled_from(["figures", "title", "x_is_time", "curves", "marks"]))
def test_nonsense_for_a_figure_is_a_bad_reply_or_a_figure(body, place):
    whole = {
        "id": "1", "rule": "r", "cause": "c", "subject": {"station_id": "S01"}, "severity": "low", "department": [],
        "onset": "2026-01-01T00:00:00Z", "detected_at": "2026-01-01T00:00:00Z", "estimate": None, "evidence": [],
        "explanation": {p: {"zh": "示", "en": "D"} for p in ("title", "what", "why", "otherwise", "on_site")},
        "figures": [{"title": {"zh": "示", "en": "D"}, "x": {"zh": "示", "en": "D"}, "y": {"zh": "示", "en": "D"},
                     "x_is_time": True, "curves": [], "marks": []}],
    }  # fmt: skip
    assert len(finding_from_json(whole).figures) == 1
    if place == "figures":
        whole["figures"] = body
    else:
        whole["figures"][0][place] = body
    try:
        read = finding_from_json(whole)
    except BadReply:
        return
    assert finding_from_json(finding_to_json(read)) == read
