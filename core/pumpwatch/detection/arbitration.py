"""One cause, one alarm: which findings are the same affair, and which follow from another; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pumpwatch.detection.replay import in_order
from pumpwatch.model import Evidence, Finding, Severity

if TYPE_CHECKING:
    from pumpwatch.contracts import Rule
    from pumpwatch.model import Subject

COOL_DOWN: Final = timedelta(days=7)
"""A finding of the same rule, cause and subject within this time after the last one belongs to the same episode."""
SAME_TIME: Final = timedelta(days=1)
"""How far apart the onsets of a cause and of what follows from it may lie.

Record rules date to the filling, reviews that reckon by the day to a midnight: of one moment the one may say up to a
day more or less than the other, and no more.
"""
STATION_WIDE: Final = 3
"""From so many things of one station on, of which one rule finds one cause at the same time, it is the station's."""
PIECES_KEPT: Final = 20
"""Evidence of one claim, what follows from it included."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be one alarm: a finding, what it went on with, and what only follows from it."""

    root: Finding
    """The first of its episode; its id is the alarm's."""
    later: tuple[Finding, ...] = ()
    """The same rule, cause and subject again, oldest first."""
    consequences: tuple[Claim, ...] = ()
    """What other rules found and this explains, and what its own sharpens; each without consequences, oldest first."""

    @property
    def episode(self) -> tuple[Finding, ...]:
        """Its own, oldest first."""
        return (self.root, *self.later)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them: the root, its later ones, and the consequences with theirs."""
        return (*self.episode, *(finding for each in self.consequences for finding in each.findings))

    @property
    def severity(self) -> Severity:
        """Of the most severe of the episode; consequences add nothing."""
        return max((finding.severity for finding in self.episode), key=lambda severity: severity.rank)

    @property
    def finding(self) -> Finding:
        """The root with a piece of evidence for each consequence."""
        room = max(PIECES_KEPT - len(self.root.evidence), 0)
        pieces = tuple(_piece(each) for each in self.consequences[:room])
        return replace(self.root, evidence=(*self.root.evidence, *pieces)) if pieces else self.root


def episodes(findings: Iterable[Finding], gap: timedelta = COOL_DOWN) -> list[Claim]:
    """Group findings by rule, cause and subject; a pause longer than ``gap`` begins another episode.

    In the order of ``replay.in_order`` of their roots, whatever order the findings came in and however often.
    """
    alike: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in in_order(findings):
        alike[finding.rule, finding.cause, finding.subject.key].append(finding)
    claims: list[Claim] = []
    for group in alike.values():
        group.sort(key=_order)
        begun = 0
        for place, finding in enumerate(group):
            if place + 1 == len(group) or group[place + 1].detected_at - finding.detected_at > gap:
                claims.append(Claim(group[begun], tuple(group[begun + 1 : place + 1])))
                begun = place + 1
    return sorted(claims, key=_claim_order)


def arbitrate(findings: Iterable[Finding], rules: Iterable[Rule | type[Rule]]) -> list[Claim]:
    """Episodes, with those that another rule's finding explains put under it.

    An episode follows from another when that one's rule ``explains`` its cause, is about the same thing or one that
    contains it, and began at the same time (``SAME_TIME``, of any of its findings). Of several that of the nearest
    onset counts. What is less severe never hides what is more. What a finding ``sharpens`` follows from it. What
    follows from a consequence follows from its cause. And what one rule finds of one cause at ``STATION_WIDE`` things
    of a station at the same time goes to the first of them.
    """
    explains: Mapping[str, frozenset[str]] = {rule.rule: rule.explains for rule in rules if rule.explains}
    claims = episodes(findings)
    by_station: dict[str, list[int]] = defaultdict(list)
    for place, claim in enumerate(claims):
        if claim.root.rule in explains:
            by_station[claim.root.subject.station_id].append(place)
    first = _first_of_many(claims)
    sharper = {told.sharpens: place for place, claim in enumerate(claims) for told in claim.episode if is_sharper(told)}
    parents: list[int | None] = []
    for place, claim in enumerate(claims):
        cause = next((sharper[told.id] for told in claim.episode if told.id in sharper), None)
        if cause is None:
            cause = _parent(place, claims, by_station[claim.root.subject.station_id], explains)
        parents.append(first.get(place) if cause is None else cause)
    under: dict[int, list[Claim]] = defaultdict(list)
    roots = []
    for place, claim in enumerate(claims):
        root = _root_of(place, parents)
        if root == place:
            roots.append(place)
        else:
            under[root].append(claim)
    return [replace(claims[place], consequences=tuple(under[place])) for place in roots]


def _parent(
    place: int, claims: Sequence[Claim], explaining: Iterable[int], explains: Mapping[str, frozenset[str]]
) -> int | None:
    """The episode this one follows from; they stand in order, so of equally near ones the first counts."""
    mine = claims[place]
    best: tuple[timedelta, int] | None = None
    for other in explaining:
        claim = claims[other]
        if (
            claim.root.rule == mine.root.rule
            or mine.root.cause not in explains[claim.root.rule]
            or not contains(claim.root.subject, mine.root.subject)
            or claim.severity.rank < mine.severity.rank
        ):
            continue
        apart = _apart(mine, claim)
        if apart <= SAME_TIME and (best is None or (apart, other) < best):
            best = (apart, other)
    return None if best is None else best[1]


def _first_of_many(claims: Sequence[Claim]) -> dict[int, int]:
    """For each episode that happens to many things of a station at the same time: the first of these episodes."""
    alike: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for place, claim in enumerate(claims):
        if claim.severity is not Severity.INFO:
            alike[claim.root.rule, claim.root.cause, claim.root.subject.station_id].append(place)
    first: dict[int, int] = {}
    for places in alike.values():
        for begun, place in enumerate(places):
            near = [other for other in places[begun:] if _apart(claims[other], claims[place]) <= SAME_TIME]
            if place not in first and len({claims[other].root.subject.key for other in near}) >= STATION_WIDE:
                first |= {other: place for other in near[1:] if other not in first}
    return first


def _apart(claim: Claim, other: Claim) -> timedelta:
    """How far an episode's onset is from the nearest finding of another."""
    onset = min(finding.onset for finding in claim.episode)
    return min(abs(finding.onset - onset) for finding in other.episode)


def _root_of(place: int, parents: Sequence[int | None]) -> int:
    """Up the parents; where rules explain each other in a circle, its first in order is the cause."""
    way = [place]
    while (parent := parents[way[-1]]) is not None:
        if parent in way:
            return min(way[way.index(parent) :])
        way.append(parent)
    return way[-1]


def is_sharper(finding: Finding) -> bool:
    """Whether a finding takes over the alarm of one that it sharpens: what only informs is no alarm."""
    return finding.sharpens is not None and finding.severity is not Severity.INFO


def contains(whole: Subject, part: Subject) -> bool:
    """Whether ``part`` is ``whole`` or belongs to it as far as their ids tell."""
    pairs = (
        (whole.station_id, part.station_id),
        (whole.dispenser_id, part.dispenser_id),
        (whole.nozzle_id, part.nozzle_id),
        (whole.tank_id, part.tank_id),
    )
    return all(mine is None or mine == other for mine, other in pairs)


def _piece(claim: Claim) -> Evidence:
    finding, title = claim.root, claim.root.explanation.title
    return Evidence(
        "finding",
        finding.id,
        {
            "rule": finding.rule,
            "cause": finding.cause,
            "subject": finding.subject.key,
            "onset": finding.onset.isoformat(),
            "findings": 1 + len(claim.later),
            "title_zh": title.zh,
            "title_en": title.en,
        },
    )


def _order(finding: Finding) -> tuple[object, ...]:
    return (finding.detected_at, finding.rule, finding.subject.key, finding.id)


def _claim_order(claim: Claim) -> tuple[object, ...]:
    return _order(claim.root)
