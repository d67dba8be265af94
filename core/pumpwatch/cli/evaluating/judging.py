"""The rules as an evaluation uses them: made anew in every process, a failing one named while the others go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pumpwatch.contracts import Comparison, RecordRule, Review, Rule
from pumpwatch.detection import compare_each, judge_each
from pumpwatch.detection.arbitration import Claim, arbitrate
from pumpwatch.engine import RuleBook

if TYPE_CHECKING:
    from datetime import datetime

    from pumpwatch.model import Finding
    from pumpwatch.past import StationPast


class Jury:
    """Some rules; a ``evaluation.Judge``."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    @property
    def packages(self) -> Mapping[str, str]:
        """The plugin of each rule: the first word of its module."""
        return {rule.rule: type(rule).__module__.partition(".")[0] for rule in self.rules}

    def station(
        self, past: StationPast
    ) -> tuple[Sequence[Finding], Mapping[str, Any], Mapping[str, str], Mapping[str, str]]:
        """One station's whole past."""
        return judge_each(past, self.rules, past.start, past.end)

    def together(
        self, digests: Mapping[str, Mapping[str, Any]], since: datetime, until: datetime
    ) -> tuple[Sequence[Finding], Mapping[str, str]]:
        """What comparisons say."""
        return compare_each(digests, self.rules, since, until)

    def claims(self, findings: Iterable[Finding]) -> Sequence[Claim]:
        """One cause, one alarm."""
        return arbitrate(findings, self.rules)


def jury(book: RuleBook) -> Jury:
    """The rules of the book that judge a past; those that only look at what is live have nothing to say."""
    return Jury([rule for rule in book.rules() if isinstance(rule, RecordRule | Review | Comparison)])
