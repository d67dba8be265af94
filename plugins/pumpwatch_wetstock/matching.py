"""Which paper belongs to which rise: the likeliest story of all that came to a tank within some hours."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final
from weakref import WeakKeyDictionary

from pumpwatch import Delivery, StationPast, to_us
from pumpwatch.courses import HOUR_US, Course, Rise, courses, expansion

NEAR_US: Final = 6 * HOUR_US
"""A paper may bear a time so far from its rise."""
CLUSTER_US: Final = 10 * HOUR_US
"""What comes so soon before or after is judged together."""
UNKNOWN_BEFORE_US: Final = 2 * HOUR_US
"""A drop may have begun so long before its paper was signed."""
_HALVES: Final = 0.15
"""Share of its paper by which the two rises of a divided drop may be off together."""
SETTLED_US: Final = 24 * HOUR_US
"""So long after its time a paper or a rise is judged: papers come late."""
_DROP_L, _DROP_SHARE, _BIAS_SHARE = 20.0, 0.003, 0.0046
"""Deviations of a drop's net error and of a tank's own bias (7,324 real drops)."""
_UNMATCHED: Final = 15.0
"""Cost of a paper or a rise of its own: −2 ln of one in 1,800."""
_EXCESS: Final = 22.0
"""Most that a rise can cost whose papers are others: it then has another part without paper."""
_MISSING: Final = 0.5
"""Of the smallest of several papers of one rise, that may be missing in all."""
_MOST = 6


@dataclass(frozen=True, slots=True)
class Paper:
    """A delivery as declared; litres at 20 °C."""

    delivery: Delivery
    at_us: int
    litres: float

    @property
    def name(self) -> str:
        """What it is known by."""
        return self.delivery.document_no or f"{self.delivery.tank_id} {self.at_us}"


@dataclass(frozen=True, slots=True)
class Match:
    """A rise with its papers, or one of the two alone."""

    course: Course
    rise: Rise | None
    papers: tuple[Paper, ...]

    @property
    def declared_l(self) -> float:
        """Of all its papers."""
        return math.fsum(paper.litres for paper in self.papers)


def papers_of(past: StationPast, course: Course) -> list[Paper]:
    """The declared deliveries to a course's tanks, oldest first; each document once a tank and time."""
    found: dict[tuple[str, str, int], Paper] = {}
    for delivery in past.deliveries:
        if delivery.tank_id not in course.tanks:
            continue
        at_us, litres = to_us(delivery.at), delivery.declared_20c_l
        if litres is None and delivery.declared_l is not None:
            warm = float(course.warm_c[min(int(course.at_us.searchsorted(at_us)), len(course.at_us) - 1)])
            litres = delivery.declared_l * (1.0 - expansion(course.grade) * (warm - 20.0))
        if litres is not None and math.isfinite(litres) and litres > 0.0:
            found.setdefault(
                (delivery.tank_id, delivery.document_no or "", at_us), Paper(delivery, at_us, float(litres))
            )
    return sorted(found.values(), key=lambda paper: (paper.at_us, paper.name, paper.delivery.tank_id))


def spread_l(litres: float) -> float:
    """What a rise and its paper may honestly differ by: one standard deviation."""
    return math.hypot(_DROP_L, _DROP_SHARE * litres, _BIAS_SHARE * litres)


_KNOWN: WeakKeyDictionary[StationPast, tuple[Match, ...]] = WeakKeyDictionary()


def matches(past: StationPast) -> tuple[Match, ...]:
    """Every rise, and every paper that has none; each judged by what is near it alone."""
    known = _KNOWN.get(past)
    if known is None:
        known = _KNOWN[past] = tuple(
            match for course in courses(past) for match in _matches(course, papers_of(past, course))
        )
    return known


def _matches(course: Course, papers: Sequence[Paper]) -> Iterator[Match]:
    stories = _Stories(course, papers)
    for rise in course.rises:
        rises, _, story = stories.about(rise.start_us, rise.end_us)
        yield Match(course, rise, story[rises.index(rise)])
    for paper in papers:
        _, near, story = stories.about(paper.at_us, paper.at_us)
        if paper not in near or not any(paper in mine for mine in story):
            yield Match(course, None, (paper,))


class _Stories:
    """The likeliest stories of what is near some time; each is made once."""

    def __init__(self, course: Course, papers: Sequence[Paper]) -> None:
        self._rises, self._papers = course.rises, papers
        self._reach = CLUSTER_US + (course.step_us if course.is_coarse else 0)
        self._starts = [rise.start_us for rise in course.rises]
        self._ends = [rise.end_us for rise in course.rises]
        self._times = [paper.at_us for paper in papers]
        self._known: dict[tuple[int, ...], list[tuple[Paper, ...]]] = {}

    def about(self, start_us: int, end_us: int) -> tuple[Sequence[Rise], Sequence[Paper], list[tuple[Paper, ...]]]:
        """The rises and the papers near a span, and the papers of each of the rises."""
        first, last = start_us - self._reach, end_us + self._reach
        rises = bisect_left(self._ends, first), bisect_right(self._starts, last)
        papers = bisect_left(self._times, first), bisect_right(self._times, last)
        key = *rises, *papers
        near = self._rises[slice(*rises)], self._papers[slice(*papers)]
        if key not in self._known:
            self._known[key] = _story(*near)
        return *near, self._known[key]


def _story(rises: Sequence[Rise], papers: Sequence[Paper]) -> list[tuple[Paper, ...]]:
    """The papers of each rise in the likeliest story."""
    choices = [[-1, *(place for place, rise in enumerate(rises) if _apart(paper, rise) <= NEAR_US)] for paper in papers]
    if len(papers) > _MOST:
        choices = [_nearest(paper, each, rises) for paper, each in zip(papers, choices, strict=True)]
    best = math.inf
    story: list[tuple[Paper, ...]] = [()] * len(rises)
    for choice in product(*choices):
        mine = [tuple(p for p, place in zip(papers, choice, strict=True) if place == n) for n in range(len(rises))]
        cost = _UNMATCHED * choice.count(-1) + sum(map(_cost, rises, mine))
        if cost < best - 1e-9:
            best, story = cost, mine
    return story


def _nearest(paper: Paper, choice: list[int], rises: Sequence[Rise]) -> list[int]:
    """Of too many papers each goes to the rise it is nearest to."""
    return choice if len(choice) < 2 else [min(choice[1:], key=lambda place: _apart(paper, rises[place]))]


def _cost(rise: Rise, papers: tuple[Paper, ...]) -> float:
    """−2 ln likelihood of a rise with these papers: Student's t of three degrees of freedom, and a little for time."""
    if not papers:
        return _UNMATCHED
    declared = math.fsum(paper.litres for paper in papers)
    least = min(paper.litres for paper in papers)
    if len(papers) > 1 and declared - rise.litres > _MISSING * least:
        return math.inf  # one of them has no fuel in it, whatever is short of the others
    off = (rise.litres - declared) / math.hypot(spread_l(declared), rise.sd_l)
    late = sum(_apart(paper, rise) for paper in papers) / HOUR_US
    cost = 4.0 * math.log1p(off * off / 3.0)
    return (min(cost, _EXCESS) if off > 0.0 else cost) + 0.5 * late


def _apart(paper: Paper, rise: Rise) -> int:
    return max(rise.start_us - paper.at_us, paper.at_us - rise.end_us, 0)


def is_whole(course: Course, rise: Rise) -> bool:
    """Whether the rise began after something was known of the tank: of half a delivery nothing can be said."""
    return bool(rise.start_us > course.at_us[0])


def divided(course: Course, rise: Rise, papers: Sequence[Paper]) -> bool:
    """Whether a coarse gauge may have been read in the midst of a drop: then half of it is in each interval."""
    return course.is_coarse and any(
        min(abs(paper.at_us - rise.start_us), abs(paper.at_us - rise.end_us)) <= UNKNOWN_BEFORE_US for paper in papers
    )


def halved(course: Course, paper: Paper, alone: Sequence[Rise]) -> bool:
    """Whether a coarse gauge was read in the midst of this drop, so that two rises in a row are one.

    ``alone`` are the tank's rises that no paper explains, oldest first: those of other papers hide none.
    """
    return course.is_coarse and any(
        first.end_us == second.start_us
        and abs(paper.at_us - first.end_us) <= UNKNOWN_BEFORE_US
        and abs(first.litres + second.litres - paper.litres) <= _HALVES * paper.litres
        for first, second in pairwise(alone)
    )


def settled_us(course: Course, at_us: int, patience_us: int) -> int:
    """When a paper of this time can be judged: the next reading must be in."""
    return at_us + patience_us + (course.step_us if course.is_coarse else 0)


def covered(course: Course, at_us: int) -> bool:
    """Whether the gauge was heard of both before and after, within twelve hours (or two of its usual steps).

    What may have begun before anything was known of the tank is not covered.
    """
    row = int(course.at_us.searchsorted(at_us))
    if row == len(course.at_us) or at_us - course.at_us[0] < UNKNOWN_BEFORE_US:
        return False
    reach = max(12 * HOUR_US, 2 * course.step_us)
    before, after = course.at_us[row - 1], course.at_us[row]
    return bool(at_us - before <= reach and after - at_us <= reach)
