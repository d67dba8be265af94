"""The rules ``tank_balance`` and ``selective_delivery``: which cause explains what a tank's balance says.

One watch of the tank (``watch``) weighs all causes against one another; its claims become findings here. The second
rule tells those that name the fillings concerned; it is a rule of its own so that it may explain the first one's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final
from weakref import WeakKeyDictionary

from pydantic import Field

from pumpwatch import (
    About,
    Channel,
    Chronicle,
    Department,
    Estimate,
    Finding,
    PluginSettings,
    Severity,
    StationPast,
    finding_id,
    from_us,
)
from pumpwatch.courses import DAY_US, HOUR_US
from pumpwatch_physics import words
from pumpwatch_physics.crossed import crossed
from pumpwatch_physics.crossing import Crossings
from pumpwatch_physics.noting import RULE, adjusted, worn
from pumpwatch_physics.runs import DAYS, NATS, Followed, digest, follow
from pumpwatch_physics.telling import Told, explained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pumpwatch import Explanation
    from pumpwatch_physics.telling import Wording
    from pumpwatch_physics.watch import Claim

SELECTIVE: Final = frozenset({"part", "inspections"})
"""Kinds of claims that name the fillings concerned."""
_ONE_AFFAIR_DAYS: Final = 30
_ADJUSTED: Final = frozenset({"calibration", "repair"})
_LOOKED_AT: Final = _ADJUSTED | {"verification"}
_MARKET: Final = (Department.MARKET_REGULATION,)

_FOLLOWED: WeakKeyDictionary[StationPast, dict[tuple[object, ...], tuple[tuple[Followed, ...], Crossings]]] = (
    WeakKeyDictionary()
)
_DIGESTS: WeakKeyDictionary[StationPast, dict[tuple[int, int], dict[str, NDArray[np.float32]]]] = WeakKeyDictionary()


class BalanceSettings(PluginSettings):
    """Keys of ``[rules.tank_balance]`` and ``[rules.selective_delivery]``; where they are alike digests are shared."""

    nats: float = Field(
        NATS, ge=6.0, le=30.0, description="Threshold: logarithm of how many times likelier the fault must be, nats."
    )
    papers_days: float = Field(
        5.0, ge=0.0, le=30.0, description="Signed work on a meter explains a small change so near to it, days."
    )
    small_percent: float = Field(
        0.6,
        gt=0.0,
        le=1.0,
        description="From one edge of what is permitted to the other: what an adjustment or wear may do, %.",
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class Balance(Chronicle):
    """What both rules share: the digests of days and the watches that are put to them, made once for both."""

    Settings: ClassVar[type[PluginSettings]] = BalanceSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_DIPS})
    days: ClassVar[int] = DAYS
    context: ClassVar[timedelta] = timedelta(days=16)
    settling: ClassVar[timedelta] = timedelta(hours=3)
    lookback: ClassVar[timedelta] = timedelta(days=DAYS + 1) + context
    version: ClassVar[int] = 3
    digests_of: ClassVar[str] = "tank_balance"
    settings: BalanceSettings

    @property
    def utc_offset_us(self) -> int:
        """Of the stations' midnight."""
        return round(self.settings.utc_offset_h * HOUR_US)

    def digest(self, past: StationPast, day: int) -> Mapping[str, NDArray[np.float32]]:
        """Every tank's day."""
        kept = _DIGESTS.setdefault(past, {})
        key = (day, self.utc_offset_us)
        if key not in kept:
            kept[key] = digest(past, day, self.utc_offset_us)
        return kept[key]

    def conclude(
        self,
        past: StationPast,
        digests: Mapping[int, Mapping[str, NDArray[np.float32]]],
        since: datetime,
        until: datetime,
        memory: MutableMapping[str, bytes] | None = None,
    ) -> Iterator[Finding]:
        """Each claim that is this rule's to tell, once a kind, thing and day."""
        for followed in self._followed(past, digests, since, until, memory)[0]:
            seen: set[tuple[object, ...]] = set()
            short: set[int | None] = set()
            unnamed: str | None = None
            for place, (claim, onset_us) in enumerate(_with_onsets(followed)):
                further = claim.kind == "nozzle" and claim.nozzle in short
                sharpens = unnamed if claim.sharpens else None
                told = Told(past, followed, claim, onset_us, self.settings.utc_offset_h, further, sharpens)
                # The day, for a block more or less of late data must not make it another finding.
                day = (claim.at_us + self.utc_offset_us) // DAY_US
                key = (claim.kind, told.subject.key, claim.rising, day)
                name = finding_id(self.rule, told.subject, claim.kind, claim.rising, day)
                if key not in seen and place >= len(followed.earlier):
                    yield from self._told(told, name)
                seen.add(key)
                if claim.kind == "some":
                    unnamed = name
                if claim.rising and claim.kind in {"nozzle", "level"}:
                    short.add(claim.nozzle)

    @abstractmethod
    def _told(self, told: Told, name: str) -> Iterable[Finding]:
        """The finding of this id, if the claim is this rule's and worth one."""

    def _followed(
        self,
        past: StationPast,
        digests: Mapping[int, Mapping[str, NDArray[np.float32]]],
        since: datetime,
        until: datetime,
        memory: MutableMapping[str, bytes] | None,
    ) -> tuple[tuple[Followed, ...], Crossings]:
        kept = _FOLLOWED.setdefault(past, {})
        key = (since, until, min(digests, default=0), len(digests), self.utc_offset_us, self.settings.nats)
        if key not in kept:
            crossings, nats = Crossings(digests), self.settings.nats
            those = follow(past, digests, since, until, self.utc_offset_us, nats, memory, crossings)
            kept[key] = (tuple(those), crossings)
        return kept[key]

    def _finding(
        self,
        told: Told,
        name: str,
        cause: str,
        severity: Severity,
        departments: tuple[Department, ...],
        explanation: Explanation,
        estimate: Estimate,
    ) -> Finding:
        return Finding(
            id=name,
            rule=self.rule,
            cause=cause,
            subject=told.subject,
            severity=severity,
            departments=departments,
            onset=from_us(min(told.onset_us, told.claim.at_us)),
            detected_at=from_us(told.claim.at_us),
            explanation=explanation,
            estimate=estimate,
            evidence=told.evidence(),
            figures=told.figures(),
            sharpens=told.sharpens,
        )


class TankBalance(Balance):
    """Short delivery, leaks, worn meters and wrong charts, from what each tank holds and what its nozzles sold."""

    rule: ClassVar[str] = RULE
    about: ClassVar[About] = words.ABOUT_BALANCE

    def conclude(
        self,
        past: StationPast,
        digests: Mapping[int, Mapping[str, NDArray[np.float32]]],
        since: datetime,
        until: datetime,
        memory: MutableMapping[str, bytes] | None = None,
    ) -> Iterator[Finding]:
        """The claims, tanks that mirror each other, and notes of meters that were set right or are likely worn."""
        yield from super().conclude(past, digests, since, until, memory)
        those, crossings = self._followed(past, digests, since, until, memory)
        yield from crossed(past, digests, since, until, self.utc_offset_us, crossings)
        for followed in those:
            for notes in (adjusted, worn):
                yield from notes(past, followed, digests, since, until, self.utc_offset_us)

    def _told(self, told: Told, name: str) -> Iterator[Finding]:
        claim = told.claim
        match claim.kind:
            case "nozzle" | "level":
                yield from self._nozzle(told, name)
            case "some":
                severity = Severity.HIGH if told.interval()[0] >= 1.0 else Severity.MEDIUM
                yield self._plain(told, name, "short_delivery", severity, _MARKET, words.SOME)
            case "tank" if claim.rising:
                yield self._plain(told, name, "short_delivery", Severity.HIGH, _MARKET, words.GAIN)
            case "tank":
                departments = (Department.EMERGENCY, Department.MARKET_REGULATION)
                yield self._plain(told, name, "leak", Severity.HIGH, departments, words.LINE_LEAK, -1.0)
            case "leak" if claim.rising:
                yield self._plain(told, name, "leak", Severity.HIGH, (Department.EMERGENCY,), words.LEAK)
            case "chart":
                yield self._plain(told, name, "chart_error", Severity.LOW, _MARKET, words.CHART, -1.0)

    def _nozzle(self, told: Told, name: str) -> Iterator[Finding]:
        claim, settings = told.claim, self.settings
        value = told.interval()[0]
        order = None
        # A second small step is not excused: four papers would make four of them 2 %.
        if claim.kind == "nozzle" and abs(value) <= settings.small_percent and not (claim.rising and told.is_further):
            order = told.order_near(settings.papers_days, _ADJUSTED if claim.rising else _LOOKED_AT)
        if order is not None:
            wording = words.recalibrated(order, settings.utc_offset_h)
            yield self._plain(told, name, "recalibration", Severity.INFO, _MARKET, wording)
        elif claim.rising and claim.drift and value <= settings.small_percent and not told.is_further:
            serious = value > words.LIMIT_PERCENT
            severity = Severity.LOW if serious else Severity.INFO
            yield self._plain(told, name, "out_of_tolerance", severity, _MARKET, words.WORN)
        elif claim.rising:
            severity = Severity.HIGH if value >= 1.0 else Severity.MEDIUM
            wording = words.SHORT if claim.kind == "nozzle" else words.LEVEL
            yield self._plain(told, name, "short_delivery", severity, _MARKET, wording)

    def _plain(
        self,
        told: Told,
        name: str,
        cause: str,
        severity: Severity,
        departments: tuple[Department, ...],
        wording: Wording,
        sign: float = 1.0,
    ) -> Finding:
        explanation = explained(told, wording, words.what(told, wording, sign), told.why, sign)
        return self._finding(told, name, cause, severity, departments, explanation, told.estimate(sign))


class SelectiveDelivery(Balance):
    """A nozzle that is short at some of its fillings only: names which, against its other fillings of the same days."""

    rule: ClassVar[str] = "selective_delivery"
    explains: ClassVar[frozenset[str]] = frozenset({"short_delivery"})
    about: ClassVar[About] = words.ABOUT_SELECTIVE

    def _told(self, told: Told, name: str) -> Iterator[Finding]:
        if told.claim.kind not in SELECTIVE:
            return
        visits = told.claim.kind == "inspections"
        wording = words.INSPECTIONS if visits else words.PART
        departments = (*_MARKET, Department.POLICE) if visits else _MARKET
        said = words.what_inspections(told) if visits else words.what_part(told)
        explanation = explained(told, wording, said, words.why_part(told))
        cause = "selective_short_delivery"
        yield self._finding(told, name, cause, Severity.HIGH, departments, explanation, told.estimate())


def _with_onsets(followed: Followed) -> Iterator[tuple[Claim, int]]:
    """Every claim, oldest first, with its onset.

    What is said of all a nozzle's fillings and of some is one affair, though each is dated by its own estimate: the
    first estimate stands for all, so that they are one alarm.
    """
    affairs: dict[int, tuple[int, bool]] = {}
    """By nozzle, when its affair began and whether the fillings concerned have been named."""
    for claim in (*followed.earlier, *followed.claims):
        onset_us = claim.since_us
        if claim.nozzle is not None and claim.rising:
            named = claim.kind in SELECTIVE
            begun_us, before = affairs.get(claim.nozzle, (onset_us, named))
            if claim.kind == "inspections" or abs(onset_us - begun_us) <= _ONE_AFFAIR_DAYS * DAY_US:
                named = named or before
                onset_us = begun_us if named else onset_us
            else:
                begun_us = onset_us
            affairs[claim.nozzle] = (begun_us, named)
        yield claim, onset_us
