"""Spans without a word from a station or a dispenser, and what totalizers and numbers show after them; pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from pumpwatch import EventKind, StationPast, to_us

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
SETTLE_US = 4 * HOUR_US
"""How long after a silence what was kept may still come, and most nozzles show what they have sold."""
LOOKBACK = timedelta(days=8)
"""For silences of three days at most."""
LONGEST_US = 3 * DAY_US
_BEFORE_US = 4 * DAY_US
"""How long before a silence a nozzle's last sale may lie."""
_AFTER_US = DAY_US
"""How long after it the next one is waited for."""
LATE_US = DAY_US
"""How long after a silence in which some records were kept the others may still come."""
_EDGE_US = 2 * MINUTE_US
"""What is stamped so near the edges of a silence says nothing against it."""
_USUAL = 8
"""Sales that show how a nozzle numbers them."""
_MODULI = tuple(10.0**digits for digits in range(5, 13))


@dataclass(frozen=True, slots=True)
class Missing:
    """What one nozzle shows at its first sale after a silence, beside what was recorded in it."""

    nozzle_id: str
    at_us: int
    """End of that sale."""
    litres: float
    """The totalizer moved by so much without a record; NaN where it has none."""
    cny: float
    sales: int
    """Numbers without a record."""
    kept: int
    """Sales of that time that were recorded all the same."""
    price: float


@dataclass(frozen=True, slots=True)
class Silence:
    """A span without a word from a station, or from one dispenser of it."""

    begin_us: int
    end_us: int
    dispenser_id: str | None
    reason: str
    missing: tuple[Missing, ...]
    """By time: of nozzles that moved on without records."""
    kept: bool = False
    """Whether a sale of that time came later, or a tank was read in it."""

    @property
    def claimed_us(self) -> int | None:
        """When it was known that something is missing; None when nothing is."""
        if not self.missing:
            return None
        return max(self.end_us + (LATE_US if self.kept else SETTLE_US), self.missing[0].at_us)

    def known(self, until_us: int) -> tuple[Missing, ...]:
        """What was missing as far as nozzles had told by then."""
        return tuple(each for each in self.missing if each.at_us <= until_us)


def silences(past: StationPast, shortest_us: int, longest_us: int = LONGEST_US) -> list[Silence]:
    """All silences of a station by their beginning, with what the nozzles show afterwards.

    Nothing is looked at that lies more than the longest and five days before what is claimed.
    """
    found = []
    spans = [(*s, _spoke(past, s)) for s in _spans(past, shortest_us, longest_us)]
    for begin, end, dispenser_id, reason, kept in spans:
        # a silence without a word comes before one of which records were kept, unless that is more than twice as long
        longer = [
            (b, e)
            for b, e, _, _, spoke in spans
            if (spoke == kept and (e - b, -b) > (end - begin, -begin))
            or (kept and not spoke and 2 * (e - b) >= end - begin)
        ]
        across = (_across(past, nozzle, begin, end, longer) for nozzle in _behind(past, dispenser_id))
        told = [m for m in across if m is not None]
        seen = [m for m in told if m.litres > 0.05 or m.sales > 0]
        gaps = tuple(sorted(seen, key=lambda m: (m.at_us, m.nozzle_id)))
        if kept and sum(m.sales for m in told) < sum(m.kept for m in told):
            gaps = ()
        found.append(Silence(begin, end, dispenser_id, reason, gaps, kept))
    return found


def _spans(past: StationPast, shortest_us: int, longest_us: int) -> list[tuple[int, int, str | None, str]]:
    dispensers = {d.dispenser_id: d.dispenser_id for d in past.dispensers}
    dispensers |= {d.dispenser_id.rpartition("-")[2]: d.dispenser_id for d in past.dispensers}
    tanks = {t.tank_id for t in past.tanks}
    down: dict[tuple[str, str], int] = {}
    spans: list[tuple[int, int, str | None, str]] = []
    for event in past.events_of(EventKind.LINK):
        up, reason = event.detail.get("up"), str(event.detail.get("reason") or "")
        if event.device_id in tanks or up is None:
            continue
        if not up:
            down[event.device_id, reason] = to_us(event.at)
            continue
        pairs = [key for key in down if key[0] == event.device_id]
        if pairs:
            key = (event.device_id, reason) if (event.device_id, reason) in down else max(pairs, key=down.__getitem__)
            spans.append((down.pop(key), to_us(event.at), dispensers.get(event.device_id), key[1]))
    spans = _whole_station(spans, set(dispensers.values()))
    for begin, end in _unread(past):
        if not any(b < end and begin < e and e - b <= LONGEST_US for b, e, which, _ in spans if which is None):
            spans.append((begin, end, None, ""))
    return sorted(s for s in spans if shortest_us <= s[1] - s[0] <= longest_us)


def _whole_station(
    spans: list[tuple[int, int, str | None, str]], dispensers: set[str]
) -> list[tuple[int, int, str | None, str]]:
    """Dispensers that fell silent together, all of them, are the station."""
    whole = [s for s in spans if s[2] is None]
    single = sorted((s for s in spans if s[2] is not None), key=lambda s: s[:2])
    rest = []
    while single:
        first = single[0]
        together = [s for s in single if s[0] - first[0] <= _EDGE_US and abs(s[1] - first[1]) <= _EDGE_US]
        if len(dispensers) > 1 and {s[2] for s in together} == dispensers:
            whole.append((max(s[0] for s in together), min(s[1] for s in together), None, first[3]))
        else:
            rest += together
        single = [s for s in single if s not in together]
    kept = [s for s in rest if not any(w[0] - _EDGE_US <= s[0] and s[1] <= w[1] + _EDGE_US for w in whole)]
    return whole + kept


def _unread(past: StationPast) -> Iterator[tuple[int, int]]:
    """Spans without a reading of any tank and without the end of a sale, where readings come often enough."""
    if not past.levels:
        return
    times = [levels.at_us for levels in past.levels.values()]
    alike = all(np.array_equal(times[0], other) for other in times[1:])
    readings = times[0] if alike else np.unique(np.concatenate(times))
    step = float(np.median(np.diff(readings))) if len(readings) > 100 else np.inf
    if step > 15 * MINUTE_US:
        return
    for row in np.flatnonzero(np.diff(readings) > 2.5 * step):
        ends = past.sales.end_us
        heard = np.unique(ends[(ends >= readings[row]) & (ends <= readings[row + 1])])
        heard = np.concatenate((readings[row : row + 1], heard, readings[row + 1 : row + 2]))
        for place in np.flatnonzero(np.diff(heard) > 2.5 * step):
            yield int(heard[place]), int(heard[place + 1])


def _rows(past: StationPast, nozzle_id: str, begin_us: int, end_us: int) -> tuple[slice, int, int]:
    """A nozzle's rows, how many of them ended before a silence, and how many before its end."""
    rows, edge = past.sales.of(nozzle_id), min(_EDGE_US, (end_us - begin_us) // 4)
    before, after = np.searchsorted(past.sales.end_us[rows], [begin_us + edge, end_us - edge])
    return rows, int(before), int(after)


def _behind(past: StationPast, dispenser_id: str | None) -> list[str]:
    return [n.nozzle_id for n in past.nozzles if dispenser_id in (None, n.dispenser_id)]


def _spoke(past: StationPast, span: tuple[int, int, str | None, str]) -> bool:
    """Whether a sale ended inside, or a tank was read: then records may only be late."""
    begin, end, dispenser_id, _ = span
    for nozzle_id in _behind(past, dispenser_id):
        _, before, after = _rows(past, nozzle_id, begin, end)
        if after > before:
            return True
    if dispenser_id is None:
        edge = min(_EDGE_US, (end - begin) // 4)
        for levels in past.levels.values():
            first, last = np.searchsorted(levels.at_us, [begin + edge, end - edge])
            if last > first:
                return True
    return False


def _across(
    past: StationPast, nozzle_id: str, begin_us: int, end_us: int, longer: Sequence[tuple[int, int]]
) -> Missing | None:
    """What a nozzle's first sale after a silence shows; None where it has none near enough, or none before.

    Where a longer silence lies between the same two sales, what is missing is that one's.
    """
    sales, (rows, before, after) = past.sales, _rows(past, nozzle_id, begin_us, end_us)
    ends = sales.end_us[rows]
    if before == 0 or ends[before - 1] < begin_us - _BEFORE_US:
        return None
    if after >= len(ends) or ends[after] > end_us + _AFTER_US:
        return None
    old, new = rows.start + before - 1, rows.start + after
    came = new - old
    step = int(sales.seq[new] - sales.seq[old]) if _counts_by_one(past, rows.start, old) else came
    if step < came or any(b < sales.end_us[new] and sales.end_us[old] < e for b, e in longer):
        return None
    volume, amount = (float(column[old + 1 : new + 1].sum()) for column in (sales.volume_l, sales.amount_cny))
    moved = _gap(sales.totalizer_l[old], volume, sales.totalizer_l[new])
    money = _gap(sales.totalizer_cny[old], amount, sales.totalizer_cny[new])
    return Missing(nozzle_id, int(ends[after]), moved, money, step - came, came - 1, float(sales.unit_price[new]))


def _counts_by_one(past: StationPast, first: int, old: int) -> bool:
    """Whether the nozzle numbered its last sales one by one; where a protocol has no numbers drivers number by time."""
    steps = np.diff(past.sales.seq[max(first, old - _USUAL) : old + 1])
    return len(steps) < _USUAL or bool(2 * np.count_nonzero(steps == 1) >= _USUAL)


def _gap(before: float, own: float, after: float) -> float:
    """What a totalizer moved beyond the sale's own; a roll-over at a power of ten is taken out."""
    gap = float(after - own - before)
    if math.isfinite(gap) and gap < -0.05:
        for modulus in _MODULI:
            if before < modulus and 0.0 <= gap + modulus <= modulus / 1_000:
                return gap + modulus
    return gap


def enough(known: Sequence[Missing], least_l: float) -> bool:
    """Whether so many litres are missing, or numbers where no totalizer could tell litres."""
    return totals(known)[0] >= least_l or any(m.sales > 0 and not math.isfinite(m.litres) for m in known)


def totals(known: Sequence[Missing]) -> tuple[float, float, int]:
    """Litres, yuan and numbers missing in all; yuan at the price of the sale where no totalizer tells them."""
    volume = math.fsum(max(m.litres, 0.0) for m in known if math.isfinite(m.litres))
    money = math.fsum(
        m.cny if math.isfinite(m.cny) and m.cny > 0.0 else max(m.litres, 0.0) * m.price
        for m in known
        if math.isfinite(m.litres)
    )
    return volume, money, sum(m.sales for m in known)


def fallen(past: StationPast, silence: Silence) -> Mapping[str, float]:
    """Litres by which each tank stood lower after a silence, where both readings lie within half an hour of it."""
    fell = {}
    for tank, levels in sorted(past.levels.items()):
        first = int(np.searchsorted(levels.at_us, silence.begin_us, side="right")) - 1
        last = int(np.searchsorted(levels.at_us, silence.end_us))
        if first < 0 or last >= len(levels):
            continue
        near = silence.begin_us - levels.at_us[first], levels.at_us[last] - silence.end_us
        drop = float(levels.volume_l[first] - levels.volume_l[last])
        if max(near) <= HOUR_US // 2 and math.isfinite(drop) and drop > 0.0:
            fell[tank] = round(drop, 1)
    return fell
