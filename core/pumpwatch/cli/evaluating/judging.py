"""The rules as an evaluation uses them: made anew in every process, a failing one named while the others go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pumpwatch.contracts import Comparison, RecordRule, Review, Rule
from pumpwatch.detection import compare_stations, judge_station
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

    def station(
        self, past: StationPast
    ) -> tuple[Sequence[Finding], Mapping[str, Any], Mapping[str, str], Mapping[str, str]]:
        """One station's whole past. When something fails each rule is tried by itself."""
        try:
            return (*judge_station(past, self.rules, past.start, past.end), {})
        except Exception:  # a rule is a plugin: it may do anything
            return self._one_by_one(past)

    def _one_by_one(self, past: StationPast) -> tuple[list[Finding], dict[str, Any], dict[str, str], dict[str, str]]:
        findings: list[Finding] = []
        digests: dict[str, Any] = {}
        off: dict[str, str] = {}
        failing: dict[str, str] = {}
        for rule in self.rules:
            try:
                told, digest, reasons = judge_station(past, [rule], past.start, past.end)
            except Exception as error:
                failing[rule.rule] = f"{past.station_id}: {type(error).__name__}: {error}"
                continue
            findings += told
            digests |= digest
            off |= reasons
        return findings, digests, off, failing

    def together(
        self, digests: Mapping[str, Mapping[str, Any]], since: datetime, until: datetime
    ) -> tuple[Sequence[Finding], Mapping[str, str]]:
        """What comparisons say."""
        findings: list[Finding] = []
        failing: dict[str, str] = {}
        for rule in self.rules:
            try:
                findings += compare_stations(digests, [rule], since, until)
            except Exception as error:  # as above
                failing[rule.rule] = f"all stations: {type(error).__name__}: {error}"
        return findings, failing

    def claims(self, findings: Iterable[Finding]) -> Sequence[Claim]:
        """One cause, one alarm."""
        return arbitrate(findings, self.rules)


def jury(book: RuleBook) -> Jury:
    """The rules of the book that judge a past; those that only look at what is live have nothing to say."""
    return Jury([rule for rule in book.rules() if isinstance(rule, RecordRule | Review | Comparison)])
