"""The rule ``outage_sales``: what was sold while the collector was deaf, from what the totalizers show afterwards.

A power cut stops the pumps and a broken network keeps the records for later: both close exactly. A collector that was
pulled off its devices leaves totalizers and numbers that went on without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Curve,
    Department,
    Estimate,
    EventKind,
    Evidence,
    Explanation,
    Figure,
    Finding,
    PluginSettings,
    Review,
    Severity,
    StationPast,
    Subject,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.wording import count, litres, local, nozzle_label, station_label, title, yuan

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
SETTLE_US = 4 * HOUR_US
"""How long after a silence what was kept may still come, and most nozzles show what they have sold."""
LOOKBACK = timedelta(days=8)
_LONGEST_US = 3 * DAY_US
_BEFORE_US = 4 * DAY_US
"""How long before a silence a nozzle's last sale may lie."""
_AFTER_US = DAY_US
"""How long after it the next one is waited for."""
_EDGE_US = 2 * MINUTE_US
"""What is stamped so near the edges of a silence says nothing against it."""
_MODULI = tuple(10.0**digits for digits in range(5, 13))


class OutageSettings(PluginSettings):
    """Keys of ``[rules.outage_sales]``."""

    shortest_min: float = Field(5.0, gt=0.0, description="Shorter silences are not judged, minutes.")
    least_l: float = Field(1.0, gt=0.0, description="Litres that must be missing in all, litres.")
    critical_l: float = Field(500.0, gt=0.0, description="From here on a silence is of high severity, litres.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Missing:
    """What one nozzle shows at its first sale after a silence."""

    nozzle_id: str
    at_us: int
    """End of that sale."""
    litres: float
    """The totalizer moved by so much without a record; NaN where it has none."""
    cny: float
    sales: int
    """Numbers without a record."""
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

    @property
    def claimed_us(self) -> int | None:
        """When it was known that something is missing; None when nothing is."""
        if not self.missing:
            return None
        return max(self.end_us + SETTLE_US, self.missing[0].at_us)

    def known(self, until_us: int) -> tuple[Missing, ...]:
        """What was missing as far as nozzles had told by then."""
        return tuple(each for each in self.missing if each.at_us <= until_us)


class OutageSales(Review):
    """One finding a silence in which something was sold, four hours after it or when the first nozzle shows it."""

    rule: ClassVar[str] = "outage_sales"
    Settings: ClassVar[type[PluginSettings]] = OutageSettings
    lookback: ClassVar[timedelta] = LOOKBACK
    explains: ClassVar[frozenset[str]] = frozenset({"sequence_gap", "offline_sale", "theft"})
    settings: OutageSettings
    about: ClassVar[About] = About(
        title=Text("断线期间有加油", "Sales while the collector was deaf"),
        catches=("C01",),
        inputs="Link events, tank readings, and number and totalizers of the last sale before and the first after each "
        "silence; tank levels where there are any.",
        statistic="Silence: between a link's down and up, or without any reading or sale for 2.5 reading intervals; no "
        "sale ended and no tank was read inside. Missing: Σ over nozzles of totalizer after − its litres − totalizer "
        "before, and numbers "
        "left out.",
        threshold="More than 1 L missing in all, or a number left out at a nozzle without totalizer. Arithmetic, so "
        "nothing that closes exactly can raise it.",
        power="Unplugged for 0.5, 2 and 4 h at the evening peak: 36 of 36 (12 stations, all probes), four hours "
        "after the first time; the estimate is 60 % to 100 % of what was sold, for nozzles that sell nothing in the "
        "four hours after are not in it. Honest: none in 448 honest nozzle-years (honest scenarios on, all probes, "
        "demand 0.3 to 1.6, nuisances to 1.5 times).",
        pitfalls="A network outage brings its records later: sales that ended inside, or no gap (H06, and 0.4 % of all "
        "time in the honest county). A power cut stops the pumps (H05). Claimed four hours after the silence, so that "
        "late records have come and the nozzles have shown what they sold; what shows later is not in the estimate. A "
        "roll-over of the totalizer inside is taken out.",
        source="Own derivation (R4 and D11 on the scenarios' page).",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Every silence that hid sales."""
        for silence in silences(past, round(self.settings.shortest_min * MINUTE_US)):
            claimed = silence.claimed_us
            if claimed is None or not to_us(since) < claimed <= to_us(until):
                continue
            known = silence.known(claimed)
            if enough(known, self.settings.least_l):
                yield self._finding(past, silence, known, from_us(claimed))

    def _finding(self, past: StationPast, silence: Silence, known: Sequence[Missing], at: datetime) -> Finding:
        settings, zone = self.settings, self.settings.utc_offset_h
        subject = Subject(past.station_id, silence.dispenser_id)
        label = station_label(past.station, past.station_id)
        total, money, sales = totals(known)
        begin, end = from_us(silence.begin_us), from_us(silence.end_us)
        hours = (silence.end_us - silence.begin_us) / HOUR_US
        fell = fallen(past, silence)
        tank = Text("", "")
        if fell:
            tank = Text(
                f"同时油罐液位下降合 {litres(sum(fell.values()))}。",
                f" The tanks fell by {litres(sum(fell.values()))} meanwhile.",
            )
        size = f"{total:,.0f} L" if total > 0 else f"{sales}"
        return Finding(
            id=finding_id(self.rule, subject, begin.isoformat()),
            rule=self.rule,
            cause="collector_outage",
            subject=subject,
            severity=Severity.HIGH if total >= settings.critical_l else Severity.MEDIUM,
            departments=(Department.MARKET_REGULATION, Department.TAX),
            onset=begin,
            detected_at=at,
            explanation=Explanation(
                title=title(label, f"断线期间加油 {size}", f"sold while deaf {size}"),
                what=Text(
                    zh=f"{local(begin, zone)} 至 {local(end, zone)}（{hours:,.1f} h）没有任何数据，"
                    f"恢复后 {len(known)} 把枪的泵码共多走 {litres(total)}"
                    f"（约 {yuan(money)}），缺 {sales} 个序号。{tank.zh}",
                    en=f"No word from {local(begin, zone)} to {local(end, zone)} ({hours:,.1f} h). Afterwards the "
                    f"totalizers of {count(len(known), 'nozzle', 'nozzles')} had moved on by {litres(total)} (about "
                    f"{yuan(money)}), and {count(sales, 'number is', 'numbers are')} missing.{tank.en}",
                ),
                why=Text(
                    zh="停电时加油机不出油，断网时记录会补传，两种情况泵码和序号都能接上；这里接不上，"
                    "说明加油照常而采集器被断开。",
                    en="In a power cut no pump runs, and after a network outage the records come later: both close "
                    "exactly. Here they do not, so the pumps ran while the collector was off.",
                ),
                otherwise=Text(
                    zh="采集器自身故障或死机，设备缓存不足未能补传；站内总线断线。",
                    en="A fault of the collector itself, devices that cannot keep records for later, a broken wire on "
                    "the station's bus.",
                ),
                on_site=Text(
                    zh="查采集器电源、插头封签和站内监控录像；从主板和税控调出缺失序号的交易，与泵码核对。",
                    en="Look at the collector's power, the seal of its plug and the video; read the missing numbers "
                    "from mainboard and tax memory and compare with the totalizers.",
                ),
            ),
            estimate=Estimate(
                round(total, 2), "L", round(total - 0.02 * len(known), 2), round(total + 0.02 * len(known), 2), 0.95
            )
            if total > 0
            else Estimate(float(sales), "records", float(sales), float(sales), 0.95),
            evidence=(_silence_evidence(past, silence, fell), *map(_missing_evidence, known[:18])),
            figures=(_figure(past, silence),),
        )


# ---------------------------------------------------------------- what was silent, and what is missing


def silences(past: StationPast, shortest_us: int) -> list[Silence]:
    """All silences of a station by their beginning, with what the nozzles show afterwards.

    Nothing is looked at that lies more than eight days before what is claimed.
    """
    found = []
    spans = [s for s in _spans(past, shortest_us) if not _spoke(past, s)]
    for begin, end, dispenser_id, reason in spans:
        longer = [(b, e) for b, e, _, _ in spans if (e - b, -b) > (end - begin, -begin)]
        told = (_across(past, nozzle, begin, end, longer) for nozzle in _behind(past, dispenser_id))
        seen = [m for m in told if m is not None and (m.litres > 0.05 or m.sales > 0)]
        gaps = tuple(sorted(seen, key=lambda m: (m.at_us, m.nozzle_id)))
        found.append(Silence(begin, end, dispenser_id, reason, gaps))
    return found


def _spans(past: StationPast, shortest_us: int) -> list[tuple[int, int, str | None, str]]:
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
        if not any(b < end and begin < e for b, e, which, _ in spans if which is None):
            spans.append((begin, end, None, ""))
    return sorted(s for s in spans if shortest_us <= s[1] - s[0] <= _LONGEST_US)


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
    """Whether a sale ended inside, or a tank was read: then the records were only late."""
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
    step = int(sales.seq[new] - sales.seq[old])
    if step < 1 or any(b < sales.end_us[new] and sales.end_us[old] < e for b, e in longer):
        return None
    moved = _gap(sales.totalizer_l[old], sales.volume_l[new], sales.totalizer_l[new])
    money = _gap(sales.totalizer_cny[old], sales.amount_cny[new], sales.totalizer_cny[new])
    return Missing(nozzle_id, int(ends[after]), moved, money, step - 1, float(sales.unit_price[new]))


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


# ---------------------------------------------------------------- words and figures


def _silence_evidence(past: StationPast, silence: Silence, fell: Mapping[str, float]) -> Evidence:
    return Evidence(
        "silence",
        past.station_id,
        {
            "begin": from_us(silence.begin_us).astimezone(UTC).isoformat(),
            "end": from_us(silence.end_us).astimezone(UTC).isoformat(),
            "reason": silence.reason or None,
            **{f"fell_l {tank}": drop for tank, drop in list(fell.items())[:8]},
        },
    )


def _missing_evidence(missing: Missing) -> Evidence:
    return Evidence(
        "totalizer_gap",
        missing.nozzle_id,
        {
            "first_sale_after": from_us(missing.at_us).astimezone(UTC).isoformat(),
            "gap_l": round(missing.litres, 2) if math.isfinite(missing.litres) else None,
            "gap_cny": round(missing.cny, 2) if math.isfinite(missing.cny) else None,
            "numbers_missing": missing.sales,
        },
    )


def _figure(past: StationPast, silence: Silence) -> Figure:
    """Totalizers over time, each from where it stood before the silence."""
    begin, end = silence.begin_us, silence.end_us
    last_us = silence.claimed_us or end
    curves = []
    for missing in sorted(silence.known(last_us), key=lambda m: -m.litres)[:6]:
        rows = past.sales.of(missing.nozzle_id)
        ends = past.sales.end_us[rows]
        low, high = np.searchsorted(ends, [begin - 2 * HOUR_US, last_us + 1])
        at: NDArray[np.int64] = ends[low:high][-50:]
        course = past.sales.totalizer_l[rows][low:high][-50:]
        if len(at) and np.isfinite(course).all():
            shown = tuple((at / 1e6).tolist()), tuple(np.round(course - course[0], 2).tolist())
            curves.append(Curve(nozzle_label(missing.nozzle_id), *shown, shape="step", alarm=True))
    return Figure(
        title=Text("断线前后的泵码", "Totalizers around the silence"),
        x=Text("时间", "time"),
        y=Text("泵码增量（L）", "moved since (L)"),
        curves=tuple(curves),
        marks=((begin / 1e6, Text("断线", "silent")), (end / 1e6, Text("恢复", "back"))),
    )
