"""One cause, one alarm, while findings come one by one: what follows from what, of the recent ones."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from pumpwatch.detection.arbitration import SAME_TIME, STATION_WIDE, contains, is_sharper
from pumpwatch.model import Severity

if TYPE_CHECKING:
    from pumpwatch.contracts import Rule
    from pumpwatch.model import Finding

KEPT: Final = 300
"""Findings remembered a station; a rule that finds the same again takes no further place."""


class Affairs:
    """Remembers what was found at each station lately; says as ``arbitration.arbitrate`` what explains what.

    A finding that came before its cause is told when the cause comes.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._explains: Mapping[str, frozenset[str]] = {rule.rule: rule.explains for rule in rules if rule.explains}
        self._found: dict[str, deque[Finding]] = defaultdict(lambda: deque(maxlen=KEPT))

    def take(self, finding: Finding) -> tuple[Finding | None, list[Finding]]:
        """Remember a finding. Returns its cause, if that is known; and those before it that follow from the same.

        Without a cause these follow from the finding itself; with one they are those that it sharpens.
        """
        known = self._found[finding.subject.station_id]
        if finding.id in {other.id for other in known}:
            known = self._found[finding.subject.station_id] = deque((f for f in known if f.id != finding.id), KEPT)
        causes = [other for other in known if self._follows(finding, other)]
        cause = min(causes, key=lambda other: (abs(other.onset - finding.onset), other.id), default=None)
        follows = self._follows if cause is None else _is_sharpened
        consequences = [other for other in known if follows(other, finding)]
        if cause is None and (others := _station_wide(finding, known)):
            cause = others[0]
            consequences = _now_many(finding, others)
        self.recall([finding])
        return cause, consequences

    def recall(self, findings: Iterable[Finding]) -> None:
        """What was told before the last stop, in its order: it explains, and follows, as if there had been none."""
        for finding in findings:
            known = self._found[finding.subject.station_id]
            if not any(_alike(other, finding) for other in known):
                known.append(finding)

    def forget(self, finding_id: str) -> None:
        """A finding that was withdrawn explains nothing and follows from nothing."""
        for station, known in self._found.items():
            if any(finding.id == finding_id for finding in known):
                self._found[station] = deque((f for f in known if f.id != finding_id), KEPT)

    def _follows(self, finding: Finding, cause: Finding) -> bool:
        return _is_sharpened(finding, cause) or (
            finding.cause in self._explains.get(cause.rule, ())
            and cause.rule != finding.rule
            and contains(cause.subject, finding.subject)
            and abs(cause.onset - finding.onset) <= SAME_TIME
            and cause.severity.rank >= finding.severity.rank
        )


def _is_sharpened(finding: Finding, by: Finding) -> bool:
    return is_sharper(by) and by.sharpens == finding.id


def _station_wide(finding: Finding, known: Iterable[Finding]) -> list[Finding]:
    """What the rule has found of the same cause at other things at the same time, if that makes it the station's."""
    others = [
        other
        for other in known
        if (other.rule, other.cause) == (finding.rule, finding.cause)
        and abs(other.onset - finding.onset) <= SAME_TIME
        and Severity.INFO not in (other.severity, finding.severity)
    ]
    others.sort(key=lambda other: (other.detected_at, other.id))
    keys = {other.subject.key for other in others}
    if not others or others[0].subject.key == finding.subject.key or len(keys | {finding.subject.key}) < STATION_WIDE:
        return []
    return others


def _now_many(finding: Finding, others: list[Finding]) -> list[Finding]:
    """The others that stood alone until this one made them many."""
    keys = {other.subject.key for other in others}
    if finding.subject.key in keys or len(keys) != STATION_WIDE - 1:
        return []
    return [other for other in others if other.subject.key != others[0].subject.key]


def _alike(one: Finding, other: Finding) -> bool:
    return (one.rule, one.cause, one.subject, one.onset) == (other.rule, other.cause, other.subject, other.onset)
