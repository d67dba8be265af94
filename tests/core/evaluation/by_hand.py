"""Findings and stations made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pumpwatch.model import (
    Department,
    Estimate,
    Explanation,
    Finding,
    Severity,
    Subject,
    Text,
    finding_id,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
WORDS = Explanation(*(Text("字", "words") for _ in range(5)))


def day(days: float) -> datetime:
    return START + timedelta(days=days)


def nozzle(number: int = 1, dispenser: int = 1, station: str = "S01") -> Subject:
    return Subject(station, f"{station}-D{dispenser}", f"{station}-N{number:02d}")


def finding(
    rule: str = "pulse_ratio",
    cause: str = "short_delivery",
    subject: Subject | None = None,
    at: float = 0.0,
    onset: float | None = None,
    severity: Severity = Severity.HIGH,
    estimate: Estimate | None = None,
) -> Finding:
    """Claimed ``at`` days after the start, of something that began at ``onset``."""
    subject = subject or nozzle()
    return Finding(
        id=finding_id(rule, subject, cause, at),
        rule=rule,
        cause=cause,
        subject=subject,
        severity=severity,
        departments=(Department.MARKET_REGULATION,),
        onset=day(at if onset is None else onset),
        detected_at=day(at),
        explanation=WORDS,
        estimate=estimate,
    )
