"""One cause, one alarm, while findings come one by one: what follows from what, of the recent ones."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from pumpwatch.detection.arbitration import SAME_TIME, contains
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
        """Remember a finding. Returns its cause, if that is known; and those before it that follow from it."""
        if not self._explains:
            return None, []
        known = self._found[finding.subject.station_id]
        if finding.id in {other.id for other in known}:
            known = self._found[finding.subject.station_id] = deque((f for f in known if f.id != finding.id), KEPT)
        causes = [other for other in known if self._follows(finding, other)]
        cause = min(causes, key=lambda other: (abs(other.onset - finding.onset), other.id), default=None)
        consequences = [other for other in known if self._follows(other, finding)]
        if not any(_alike(other, finding) for other in known):
            known.append(finding)
        return cause, [] if cause else consequences

    def forget(self, finding_id: str) -> None:
        """A finding that was withdrawn explains nothing and follows from nothing."""
        for station, known in self._found.items():
            if any(finding.id == finding_id for finding in known):
                self._found[station] = deque((f for f in known if f.id != finding_id), KEPT)

    def _follows(self, finding: Finding, cause: Finding) -> bool:
        return (
            finding.cause in self._explains.get(cause.rule, ())
            and cause.rule != finding.rule
            and contains(cause.subject, finding.subject)
            and abs(cause.onset - finding.onset) <= SAME_TIME
            and not (cause.severity is Severity.INFO and finding.severity is not Severity.INFO)
        )


def _alike(one: Finding, other: Finding) -> bool:
    return (one.rule, one.cause, one.subject, one.onset) == (other.rule, other.cause, other.subject, other.onset)
