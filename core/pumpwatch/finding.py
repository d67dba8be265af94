"""What detectors claim, as types: a finding, what it is about, how much, why, and its figures; floor 1."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Severity(StrEnum):
    """ISA-18.2: few priorities, each with one response time. ``info`` is an event, not an alarm."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 (info) to 4 (critical)."""
        return list(Severity).index(self)


class Department(StrEnum):
    """Who has to act."""

    MARKET_REGULATION = "market_regulation"
    TAX = "tax"
    COMMERCE = "commerce"
    POLICE = "police"
    EMERGENCY = "emergency"
    OPERATIONS = "operations"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a finding is about, as exactly as is known."""

    station_id: str
    dispenser_id: str | None = None
    nozzle_id: str | None = None
    tank_id: str | None = None

    @property
    def key(self) -> str:
        """The narrowest id; with the rule it makes an alarm unique."""
        return self.nozzle_id or self.tank_id or self.dispenser_id or self.station_id


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much: a value with its interval. Relative errors are in %; plus means the customer is short."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence in Chinese and in English."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a finding is believed and what to do: what, why, what else it could be, what to check on site."""

    title: Text
    """At most 20 Han or 40 Latin characters: stands in lists."""
    what: Text
    why: Text
    otherwise: Text
    on_site: Text


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence: what kind, which record, and its figures as plain JSON."""

    kind: str
    reference: str
    data: Mapping[str, str | float | int | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a figure, n points; the same unit as its axis."""

    name: Text
    x: tuple[float, ...]
    """Seconds since 1970 UTC where the figure's x is a time."""
    y: tuple[float, ...]
    shape: str = "line"
    """``line``, ``step``, ``points``, ``bars``, ``band`` (between ``y`` and ``y_high``), or ``limit`` (a threshold)."""
    y_high: tuple[float, ...] = ()
    alarm: bool = False
    """Whether this is what is wrong, drawn in the alarm's colour."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What an inspector would want to see, as data: drawn in the browser and on paper alike. At most 400 points."""

    title: Text
    x: Text
    y: Text
    """Names of the axes with their units."""
    curves: tuple[Curve, ...]
    x_is_time: bool = True
    marks: tuple[tuple[float, Text], ...] = ()
    """Moments to name, for example the onset or a work order."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A detector's claim. The id is deterministic: judging the same data twice is one finding."""

    id: str
    rule: str
    cause: str
    subject: Subject
    severity: Severity
    departments: tuple[Department, ...]
    onset: datetime
    detected_at: datetime
    """The data time at which the evidence sufficed."""
    explanation: Explanation
    estimate: Estimate | None = None
    evidence: tuple[Evidence, ...] = ()
    figures: tuple[Figure, ...] = ()
    sharpens: str | None = None
    """Id of an earlier finding of the rule that this one tells more exactly: both are one alarm, this one's."""


def finding_id(rule: str, subject: Subject, *parts: object) -> str:
    """Make a finding's deterministic id from what it is about."""
    text = "\x1f".join([rule, subject.key, *map(str, parts)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]
