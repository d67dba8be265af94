"""Findings to raise and a real file to keep alarms in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pumpwatch.alarms import Alarms
from pumpwatch.database import Database, ledger_url
from pumpwatch.model import Department, Estimate, Evidence, Explanation, Finding, Severity, Subject, Text
from pumpwatch.testing.clock import FakeClock

START = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)


def make_finding(name: str = "F1", **changes: object) -> Finding:
    """A finding about nozzle S01-N03 unless told otherwise."""
    both = Text("示例", "Demo")
    facts: dict[str, object] = {
        "id": name,
        "rule": "pulse_ratio",
        "cause": "short_delivery",
        "subject": Subject("S01", dispenser_id="S01-D1", nozzle_id="S01-N03"),
        "severity": Severity.HIGH,
        "departments": (Department.MARKET_REGULATION,),
        "onset": START - timedelta(hours=2),
        "detected_at": START - timedelta(minutes=1),
        "explanation": Explanation(both, both, both, both, both),
        "estimate": Estimate(3.1, "%", low=2.9, high=3.3, confidence=0.95),
        "evidence": (
            Evidence("transaction", "S01-N03/17", {"volume_l": 30.5, "pulses": 2952, "note": "示例", "x": None}),
        ),
    }
    return Finding(**(facts | changes))  # type: ignore[arg-type]


@pytest.fixture
def finding():
    return make_finding


@pytest.fixture
def clock():
    return FakeClock(START)


@pytest.fixture
async def database(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database:
        yield database


@pytest.fixture
async def alarms(database, clock):
    alarms = Alarms(database, clock)
    await alarms.load()
    return alarms
