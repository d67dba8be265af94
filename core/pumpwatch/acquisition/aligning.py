"""Which filling on a display is which filling of another channel: an alignment in time order, one to one; floor 4.

Nearest neighbours would pair the second of two equal fillings with the first one's record as soon as one is missing. So
both sides are put in their own order, every pair gets points for what agrees, and the pairs with most points in all
that do not cross are the alignment (dynamic programming, as for two texts).
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pumpwatch.model import ChannelSale, SaleChannel, Transaction

SLACK_S: Final = 15.0
"""One ends a filling when the flow stops, the other when the nozzle is hung up."""
LAGGING_S: Final = 60.0
"""A pump's driver may tell a filling so long after the other channel, if their clocks say that it is the same."""
LIVE_S: Final = 120.0
"""Looks that lie further apart say less of the time than the devices' own clocks."""
STEP: Final = 0.0151
"""Litres or CNY by which two roundings of one figure may differ."""
SETTLE_S: Final = 45.0
"""After so long what is not beyond doubt is decided with what there is, …"""
LATE_S: Final = 600.0
"""… and after so long where nobody looked live, so that either side may come late."""
SAME: Final = 6.0
"""Points from which two volumes are the same."""
EQUAL: Final = 7.0
"""Points from which they are equal to the last digit."""
CERTAIN: Final = 3.0
"""Points by which an alignment must be worse without a pair for the pair to be beyond doubt."""
_LEARNT: Final = 9
EXACT: Final = 3
"""Joined fillings from which the difference of two clocks is known well; twice as many of a coarse one."""
COARSE_S: Final = 10.0


@dataclass(slots=True, eq=False)
class Shown:
    """A filling as the pump's driver told it, with what has been joined to it."""

    sale: Transaction
    after: float | None
    """Core's time (s since 1970) of the last look that did not show it; None: not known."""
    arrived: float
    due: float
    """When it is passed on with what is known then, by core's time."""
    passed: bool = False
    kept: bool = False
    """Whether it is in the journal already, although it still waits."""
    decided: bool = False
    """Whether it waits no more."""
    joined: set[SaleChannel] = field(default_factory=set)
    unheard: set[SaleChannel] = field(default_factory=set)
    """Channels of which it was told that they had not been heard."""
    absent: set[SaleChannel] = field(default_factory=set)
    """Channels that have no record of it, for sure."""
    end: float = field(init=False)
    """By the clock of the display's driver."""

    def __post_init__(self) -> None:
        self.end = self.sale.end.timestamp()


@dataclass(slots=True, eq=False)
class Part:
    """A filling as one channel told it."""

    sale: ChannelSale
    arrived: float
    number: int
    """In the order of arrival."""
    after: float | None = field(init=False)
    """Core's time of the last look that did not show it."""
    middle: float = field(init=False)
    """Of the time in which it ended by the channel's clock."""
    order: tuple[float, float, int] = field(init=False)
    """What parts of a channel are sorted by."""
    figures: dict[Shown, float] = field(default_factory=dict)
    """Points for litres and money, once counted."""

    def __post_init__(self) -> None:
        at = self.sale.at.timestamp()
        self.after = None if self.sale.seen_after is None else self.sale.seen_after.timestamp()
        self.middle = at + self.sale.at_resolution_s / 2
        self.order = (at, self.sale.total_l or 0.0, self.number)


class ClockGap:
    """How far a channel's clock is ahead of the display's, from the fillings joined lately."""

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=_LEARNT)
        self._gap = self._doubt = 0.0

    def is_exact(self, part: Part) -> bool:
        """Whether the clocks alone may decide on this part; a clock that tells minutes takes longer to know."""
        return len(self._seen) >= (EXACT if part.sale.at_resolution_s < COARSE_S else 2 * EXACT)

    def apart(self, shown: Shown, part: Part) -> float:
        """Seconds between the two ends, the gap taken off; the middle of a minute stands for it. Signed."""
        return _apart(shown, part) - self._gap

    def over(self, shown: Shown, part: Part) -> float:
        """Seconds by which the two clocks disagree beyond what they can tell; 0 while the gap is not known.

        A difference of totals has no time of its own clock.
        """
        if not self._seen or part.sale.several:
            return 0.0
        return max(0.0, abs(self.apart(shown, part)) - part.sale.at_resolution_s / 2 - self._doubt)

    @property
    def known(self) -> bool:
        """Whether anything has been joined yet."""
        return bool(self._seen)

    def learn(self, shown: Shown, part: Part) -> None:
        """These two are one filling."""
        self._take([_apart(shown, part)])

    def look_for(self, shown: Sequence[Shown], parts: Sequence[Part]) -> None:
        """Learn the gap from pairs of equal figures that lie equally far apart, if no other gap has nearly as many.

        For a channel that nobody looks at live, and after a clock was set.
        """
        pairs = [(_apart(s, p), s, p) for s in shown for p in parts if figures(s, p) >= SAME]
        if not pairs:
            return
        counts = _together(pairs)
        best = max(range(len(pairs)), key=counts.__getitem__)
        most, apart, reach = counts[best], pairs[best][0], _reach(pairs[best][2])
        gaps = [each for each, _, _ in pairs if abs(each - apart) <= reach]
        wide = max(part.sale.at_resolution_s for part in parts) + 2 * SLACK_S
        far = (count for count, pair in zip(counts, pairs, strict=True) if abs(pair[0] - apart) > wide)
        other = max(far, default=0)
        if most >= EXACT and most >= 2 * other:
            self._seen.clear()
            self._take(gaps)

    def _take(self, gaps: Sequence[float]) -> None:
        self._seen.extend(gaps)
        self._gap, self._doubt = median(self._seen), 3.0 + 30.0 / len(self._seen)


def _reach(part: Part) -> float:
    """Seconds by which the time between two ends may differ from another's and be the same difference of clocks."""
    return part.sale.at_resolution_s / 2 + SLACK_S


def _together(pairs: Sequence[tuple[float, Shown, Part]]) -> list[int]:
    """Of each pair how many fillings of either side, whichever are fewer, lie as far apart as it does."""
    order = sorted(range(len(pairs)), key=lambda index: pairs[index][0])
    counts = [0] * len(pairs)
    for reach in {_reach(part) for _, _, part in pairs}:
        shown, parts = Counter[int](), Counter[int]()
        first = last = 0
        for index in order:
            apart, _, part = pairs[index]
            if _reach(part) != reach:
                continue
            while last < len(order) and pairs[order[last]][0] - apart <= reach:
                shown[id(pairs[order[last]][1])] += 1
                parts[id(pairs[order[last]][2])] += 1
                last += 1
            while apart - pairs[order[first]][0] > reach:
                for counter, one in zip((shown, parts), pairs[order[first]][1:], strict=True):
                    counter[id(one)] -= 1
                    if not counter[id(one)]:
                        del counter[id(one)]
                first += 1
            counts[index] = min(len(shown), len(parts))
    return counts


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tellings of one filling, as the alignment has it."""

    shown: Shown
    part: Part


def figures(shown: Shown, part: Part) -> float:
    """Points for litres and money."""
    known = part.figures.get(shown)
    if known is None:
        known = part.figures[shown] = _figures(shown, part)
    return known


def _figures(shown: Shown, part: Part) -> float:
    sale, told = shown.sale, part.sale
    same_money = told.amount_cny is not None and abs(told.amount_cny - sale.amount_cny) <= STEP
    if told.volume_l is None:
        return 5.0 if same_money else 0.0
    apart = abs(told.volume_l - sale.volume_l)
    if apart <= STEP:
        return 8.0 if same_money or told.amount_cny is None else EQUAL
    if apart <= max(0.05, 0.005 * sale.volume_l):
        return SAME
    if same_money:
        return 5.0
    same_price = told.unit_price is not None and abs(told.unit_price - sale.unit_price) <= STEP
    is_near = 0.5 * sale.volume_l <= told.volume_l <= 2.0 * sale.volume_l
    return (-1.0 if is_near else -4.0) + (0.5 if same_price else 0.0)


def live_apart(shown: Shown, part: Part) -> float | None:
    """Seconds between the times in which the two became known, by core's time; None where these are too wide."""
    after, since = part.after, shown.after
    if after is None:
        return None
    if part.sale.several:
        since = shown.end if since is None else since
    elif part.arrived - after > LIVE_S or since is None or shown.arrived - since > LIVE_S:
        return None
    until = max(since, shown.arrived if shown.after is not None else since)
    return max(0.0, after - until, since - part.arrived)


def points(shown: Shown, part: Part, gap: ClockGap) -> float:
    """How well two tellings agree; what is not above 0 is not taken for one filling."""
    told = figures(shown, part)
    if part.sale.several and told < SAME:
        return -1.0
    live = live_apart(shown, part)
    if live is not None:
        time = 6.0 - max(0.0, live - SLACK_S) / 10.0 - min(8.0, max(0.0, gap.over(shown, part) - SLACK_S) / 4.0)
    elif gap.known:
        time = 4.0 - gap.over(shown, part) / 5.0
    else:
        return -1.0
    return told + max(-20.0, time)


def is_timely(shown: Shown, part: Part, gap: ClockGap) -> bool:
    """Whether both became known at the same time, and the clocks say nothing against it."""
    live = live_apart(shown, part)
    return live is not None and live <= SLACK_S and gap.over(shown, part) <= SLACK_S


def is_sure(shown: Shown, part: Part, gap: ClockGap) -> bool:
    """Whether figures and time agree so well that nothing that may still come could fit better."""
    if figures(shown, part) < SAME:
        return False
    if is_timely(shown, part, gap):
        return True
    live = live_apart(shown, part)
    close = abs(gap.apart(shown, part)) <= part.sale.at_resolution_s / 3 + 5.0
    return gap.is_exact(part) and close and (live is None or live <= LAGGING_S)


def worth(shown: Shown, part: Part, gap: ClockGap, now: float) -> float:
    """How many points an alignment must lose without this pair for the two to be joined by ``now``."""
    if is_sure(shown, part, gap):
        return CERTAIN
    if is_timely(shown, part, gap) and now >= shown.due:
        return CERTAIN
    waited = now - max(shown.arrived, part.arrived)
    if live_apart(shown, part) is None:
        return CERTAIN if waited >= LATE_S else inf
    return CERTAIN / 10 if waited >= SETTLE_S else inf


def align(
    shown: Sequence[Shown], parts: Sequence[Part], gap: ClockGap, least_of: Callable[[Shown, Part], float]
) -> list[Pair]:
    """The pairs with most points in all; both sides in their own order, no pair crossing another.

    Of these only the pairs that the alignment cannot do without: it must lose as many points as ``least_of`` says.
    """
    scores = [[points(s, p, gap) for p in parts] for s in shown]
    total, chosen = _best(scores)
    pairs = []
    for i, j in chosen:
        least = least_of(shown[i], parts[j])
        if least <= scores[i][j]:  # no pair's margin is more than its points
            score, scores[i][j] = scores[i][j], 0.0
            if total - _best(scores)[0] >= least:
                pairs.append(Pair(shown[i], parts[j]))
            scores[i][j] = score
    return pairs


def _best(scores: Sequence[Sequence[float]]) -> tuple[float, list[tuple[int, int]]]:
    """The best sum of positive scores along a rising path through the table, and its cells."""
    rows, columns = len(scores), len(scores[0]) if scores else 0
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            apart = max(best[i + 1][j], best[i][j + 1])
            score = scores[i][j]
            best[i][j] = max(apart, score + best[i + 1][j + 1]) if score > 0.0 else apart
    cells: list[tuple[int, int]] = []
    i = j = 0
    while i < rows and j < columns:
        score = scores[i][j]
        if score > 0.0 and best[i][j] == score + best[i + 1][j + 1]:
            cells.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return best[0][0], cells


def _apart(shown: Shown, part: Part) -> float:
    return part.middle - shown.end
