"""Findings and alarms as JSON: what the API sends, what ``detect --json`` prints and what is kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import numpy as np

from pumpwatch.alarms.alarm import Alarm
from pumpwatch.errors import BadReply
from pumpwatch.model import Department, Estimate, Evidence, Explanation, Finding, Severity, Subject, Text

_PARTS = ("title", "what", "why", "otherwise", "on_site")


def to_json(alarm: Alarm) -> dict[str, Any]:
    """An alarm with its newest finding and its log."""
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
        "finding": finding_to_json(alarm.finding),
        "log": [{"at": _time(e.at), "act": e.act.value, "by": e.by, "note": e.note} for e in alarm.log],
    }


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """A finding, whole. Figures that are not finite become null, for JSON has no word for them.

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
    }


def finding_from_json(body: Mapping[str, Any]) -> Finding:
    """The finding that ``finding_to_json`` wrote. Raises ``BadReply`` when it is none."""
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
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadReply(
            f"this is no finding: {error!r}; a finding has the fields that finding_to_json writes"
        ) from error


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
