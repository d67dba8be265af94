"""Findings and alarms as JSON: what the API sends, what ``detect --json`` prints and what is kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

import numpy as np

from pumpwatch.alarms.alarm import Alarm
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

POINTS: Final = 400
"""Points that a figure may have, all curves and marks together; see ``thinned``."""
SHAPES: Final = frozenset({"line", "step", "points", "bars", "band", "limit"})
_PARTS = ("title", "what", "why", "otherwise", "on_site")
_LARGEST: Final = 1e15
"""Coordinates beyond this are no figures of a station; drawing them would overflow."""


def to_json(alarm: Alarm) -> dict[str, Any]:
    """An alarm with its newest finding and its log; of the finding's figures the titles only, for lists hold many."""
    finding = finding_to_json(replace(alarm.finding, figures=()))
    finding["figures"] = [{"title": _caption(figure.title)} for figure in alarm.finding.figures]
    return {
        "id": alarm.id,
        "rule": alarm.rule,
        "cause": alarm.cause,
        "subject": _subject_to_json(alarm.subject),
        "severity": alarm.severity.value,
        "departments": [department.value for department in alarm.departments],
        "state": alarm.state.value,
        "raised_at": _time(alarm.raised_at),
        "onset": _time(alarm.onset),
        "acknowledged_at": _time(alarm.acknowledged_at),
        "acknowledged_by": alarm.acknowledged_by,
        "returned_at": _time(alarm.returned_at),
        "cleared_at": _time(alarm.cleared_at),
        "cleared_by": alarm.cleared_by,
        "count": alarm.count,
        "finding": finding,
        "log": [{"at": _time(e.at), "act": e.act.value, "by": e.by, "note": e.note} for e in alarm.log],
    }


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """A finding, whole. Numbers that are not finite become null, for JSON has no word for them.

    Raises ``BadReply`` when its times have no zone.
    """
    return {
        "id": _plain(finding.id),
        "rule": _plain(finding.rule),
        "subject": _subject_to_json(finding.subject),
        "cause": _plain(finding.cause),
        "severity": finding.severity.value,
        "department": [department.value for department in finding.departments],
        "onset": _time(finding.onset),
        "detected_at": _time(finding.detected_at),
        "estimate": _estimate_to_json(finding.estimate),
        "explanation": {part: _text_to_json(getattr(finding.explanation, part)) for part in _PARTS},
        "evidence": [
            {
                "kind": _plain(piece.kind),
                "reference": _plain(piece.reference),
                "data": {str(_plain(name)): _plain(value) for name, value in piece.data.items()},
            }
            for piece in finding.evidence
        ],
        "figures": [figure_to_json(figure) for figure in finding.figures],
        "sharpens": None if finding.sharpens is None else _plain(finding.sharpens),
    }


def finding_from_json(body: Mapping[str, Any]) -> Finding:
    """The finding that ``finding_to_json`` wrote; one from before there were figures has none, nor sharpens one.

    Raises ``BadReply`` when it is none.
    """
    try:
        estimate = body["estimate"]
        explanation = body["explanation"]
        return Finding(
            id=_said(body["id"]),
            rule=_said(body["rule"]),
            cause=_said(body["cause"]),
            subject=_subject_from_json(body["subject"]),
            severity=Severity(body["severity"]),
            departments=tuple(Department(name) for name in body["department"]),
            onset=_from_time(body["onset"]),
            detected_at=_from_time(body["detected_at"]),
            explanation=Explanation(**{part: Text(**explanation[part]) for part in _PARTS}),
            estimate=None if estimate is None else Estimate(**estimate),
            evidence=tuple(Evidence(**piece) for piece in body["evidence"]),
            figures=tuple(_figure_from_json(figure) for figure in body.get("figures", ())),
            sharpens=None if body.get("sharpens") is None else _said(body["sharpens"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadReply(
            f"this is no finding: {error!r}; a finding has the fields that finding_to_json writes"
        ) from error


def thinned(figure: Figure) -> Figure:
    """The same figure with at most ``POINTS`` points, and always the same ones; it may then be kept and drawn.

    Points that are not finite are left out, and marks beyond half the room, from the end. What room remains is shared
    between the curves: small ones stay whole, the others get equal shares. A curve keeps its first and last point and,
    of each equal run between them, the lowest and the highest one, so that no peak is lost. What is wrong in a figure
    costs the figure, never the finding: a curve of unknown shape becomes a line.
    """
    marks = tuple((float(at), text) for at, text in figure.marks if _drawable(at))[: POINTS // 2]
    curves = [_sound(curve) for curve in figure.curves][: (POINTS - len(marks)) // 2]
    room = POINTS - len(marks)
    shares: dict[int, int] = {}
    for done, i in enumerate(sorted(range(len(curves)), key=lambda i: (len(curves[i].x), i))):
        shares[i] = min(len(curves[i].x), room // (len(curves) - done))
        room -= shares[i]
    return replace(figure, marks=marks, curves=tuple(_taken(curve, shares[i]) for i, curve in enumerate(curves)))


def _sound(curve: Curve) -> Curve:
    band = curve.shape == "band" and len(curve.y_high) > 0
    columns = (curve.x, curve.y, curve.y_high) if band else (curve.x, curve.y)
    rows = [tuple(map(float, row)) for row in zip(*columns, strict=False) if all(map(_drawable, row))]
    x, y, y_high = (tuple(row[i] for row in rows) if i < len(columns) else () for i in range(3))
    shape = curve.shape if curve.shape in SHAPES and (band or curve.shape != "band") else "line"
    return replace(curve, x=x, y=y, y_high=y_high, shape=shape)


def _drawable(value: object) -> bool:
    if not isinstance(value, int | float | np.number):
        return False
    return bool(np.abs(value) <= _LARGEST)  # and so neither infinite nor NaN


def _taken(curve: Curve, share: int) -> Curve:
    n = len(curve.x)
    if n <= share:
        return curve
    low, high = np.array(curve.y), np.array(curve.y_high or curve.y)
    runs = np.array_split(np.arange(1, n - 1), (share - 2) // 2) if share >= 4 else []
    peaks = [int(i) for run in runs for i in (run[np.argmin(low[run])], run[np.argmax(high[run])])]
    rows = sorted({0, n - 1, *peaks})[:share]
    x, y, y_high = (tuple(column[i] for i in rows) if column else () for column in (curve.x, curve.y, curve.y_high))
    return replace(curve, x=x, y=y, y_high=y_high)


def figure_to_json(figure: Figure) -> dict[str, Any]:
    """A figure as data, within its room."""
    thin = thinned(figure)
    return {
        "title": _caption(thin.title),
        "x": _caption(thin.x),
        "y": _caption(thin.y),
        "x_is_time": bool(thin.x_is_time),
        "curves": [
            {
                "name": _caption(curve.name),
                "shape": curve.shape,
                "alarm": bool(curve.alarm),
                "x": list(curve.x),
                "y": list(curve.y),
                "y_high": list(curve.y_high),
            }
            for curve in thin.curves
        ],
        "marks": [{"at": at, "text": _caption(text)} for at, text in thin.marks],
    }


def _figure_from_json(body: Mapping[str, Any]) -> Figure:
    curves = tuple(
        Curve(
            name=_text_from_json(curve["name"]),
            x=_numbers(curve["x"]),
            y=_numbers(curve["y"]),
            shape=_said(curve["shape"]),
            y_high=_numbers(curve["y_high"]),
            alarm=_flag(curve["alarm"]),
        )
        for curve in body["curves"]
    )
    for curve in curves:
        if curve.shape not in SHAPES:
            raise ValueError(f"{curve.shape!r} is no shape of a curve")
        if len(curve.y) != len(curve.x) or len(curve.y_high) != (len(curve.x) if curve.shape == "band" else 0):
            raise ValueError("the columns of a curve are of different lengths")
    marks = tuple((_numbers([mark["at"]])[0], _text_from_json(mark["text"])) for mark in body["marks"])
    if sum(len(curve.x) for curve in curves) + len(marks) > POINTS:
        raise ValueError(f"a figure has at most {POINTS} points")
    title, x, y = (_text_from_json(body[part]) for part in ("title", "x", "y"))
    return Figure(title, x, y, curves, _flag(body["x_is_time"]), marks)


def _caption(text: Text) -> dict[str, str]:
    return {"zh": str(_plain(text.zh)), "en": str(_plain(text.en))}


def _text_from_json(body: Mapping[str, Any]) -> Text:
    zh, en = body["zh"], body["en"]
    if not (isinstance(zh, str) and isinstance(en, str)):
        raise TypeError("a text is in Chinese and in English")
    return Text(zh, en)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _numbers(values: Sequence[object]) -> tuple[float, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is no list of numbers")
    numbers = tuple(float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool))
    if len(numbers) != len(values) or not all(map(_drawable, numbers)):
        raise ValueError("a figure has finite numbers only")
    return numbers


def _subject_to_json(subject: Subject) -> dict[str, Any]:
    return {
        "station_id": _plain(subject.station_id),
        "dispenser_id": _plain(subject.dispenser_id),
        "nozzle_id": _plain(subject.nozzle_id),
        "tank_id": _plain(subject.tank_id),
    }


def _subject_from_json(body: Mapping[str, Any]) -> Subject:
    narrower = {name: _said(value) for name, value in body.items() if name != "station_id" and value is not None}
    return Subject(_said(body["station_id"]), **narrower)


def _estimate_to_json(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None or (value := _plain(estimate.value)) is None:
        return None
    return {
        "value": value,
        "unit": _plain(estimate.unit),
        "low": _plain(estimate.low),
        "high": _plain(estimate.high),
        "confidence": _plain(estimate.confidence),
    }


def _text_to_json(text: Text) -> dict[str, Any]:
    return {"zh": _plain(text.zh), "en": _plain(text.en)}


def _plain(value: object) -> str | float | int | bool | None:
    """What JSON and every database can hold, from what a detector may come with (numpy figures, text of bad bytes)."""
    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if isfinite(value) else None
        case str():
            return value.encode(errors="replace").decode().replace("\x00", "�")
        case _:
            return str(value)


def _said(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is no text")
    return value


def _time(at: datetime | None) -> str | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise BadReply(f"{at!r} is a time without zone; rules give aware UTC datetimes")
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _from_time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} is a time without zone")
    return at.astimezone(UTC)
