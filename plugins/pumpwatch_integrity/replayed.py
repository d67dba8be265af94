"""The rule ``replayed_data``: sales or tank readings of an earlier time that come again under new times and numbers.

Litres repeat, for people buy round sums; litres and the seconds between them do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Curve,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Figure,
    Finding,
    Levels,
    PluginSettings,
    Review,
    Sales,
    Severity,
    StationPast,
    Subject,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.wording import listed, litres, local, nozzle_label, station_label, tank_label, title

if TYPE_CHECKING:
    from numpy.typing import NDArray

SALES_ALIKE = 4
"""Consecutive sales whose litres and gaps are those of earlier ones."""
READINGS_ALIKE = 12
"""Consecutive readings of a tank that are those of an earlier time in everything."""
_READINGS_DIFFER = 6
"""Of which so many must differ from each other: a gauge that stands still repeats itself."""
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_LAG_US = 35 * _DAY_US
_ODD = np.uint64(0x9E3779B97F4A7C15)


class ReplaySettings(PluginSettings):
    """Keys of ``[rules.replayed_data]``."""

    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Again:
    """A run that has come before."""

    at_us: int
    """Time of its last member."""
    since_us: int
    """Time of its first."""
    lag_us: int
    what: str
    """``station``, a nozzle's or a tank's id."""
    rows: NDArray[np.int64]
    """Of the sales or the tank's readings, now; empty where only told."""
    old_rows: NDArray[np.int64]


class ReplayedData(Review):
    """One finding a day and subject: the station, or a nozzle or tank where it is that one alone."""

    rule: ClassVar[str] = "replayed_data"
    Settings: ClassVar[type[PluginSettings]] = ReplaySettings
    lookback: ClassVar[timedelta] = timedelta(days=37)
    explains: ClassVar[frozenset[str]] = frozenset(
        {"sequence_gap", "offline_sale", "totalizer_rollback", "theft", "unrecorded_delivery", "leak"}
    )
    settings: ReplaySettings
    about: ClassVar[About] = About(
        title=Text("重放旧数据", "Earlier data replayed"),
        catches=("C04",),
        inputs="Nozzle, end and litres of sales; height, temperature, water and density of tank readings.",
        statistic="Runs of 4 sales with the litres of an earlier run and, to 1 s, its gaps: over the whole station "
        "(with "
        "the nozzles) and by nozzle; runs of 12 readings of a tank equal to an earlier run in every figure, at least 6 "
        "of them different from each other and all with a temperature. "
        "Earlier: up to 35 days. By 64-bit hashes of the runs, so it is linear.",
        threshold="One such run; two of the four sales must not be whole litres. By chance, with p = Σ p_v² ≈ 0.02 for "
        "litres and 1/2,900 for gaps: p_v⁴ p_g³ × 4.6e7 pairs = 3e-10 a nozzle-year; over the station 2e-8.",
        power="2 h at midnight, 2 h at three in the morning and 24 h, all 24 h old: 24 of 24, after 15 to 55 min: by "
        "the fourth sale or the twelfth reading. Honest: none in 448 honest nozzle-years (honest scenarios on, all "
        "probes, demand 0.3 to 1.6, nuisances to 1.5 times); presets and promotions included.",
        pitfalls="A batch sent again under the same numbers is the same record and is not seen here (C05, H06). "
        "Draws of a "
        "verification are whole litres at even intervals. A frozen gauge repeats itself without differing.",
        source="Own derivation (R1 on the scenarios' page).",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """The first run of each day and subject."""
        told = list(_sales_again(past.sales, whole=True))
        told_nozzles = list(_sales_again(past.sales, whole=False))
        told_tanks = [a for tank, levels in sorted(past.levels.items()) for a in _levels_again(tank, levels)]
        if not (told or told_nozzles or told_tanks):
            return
        offset_us = round(self.settings.utc_offset_h * _HOUR_US)
        first_day = (to_us(since) + offset_us) // _DAY_US
        days = {(a.at_us + offset_us) // _DAY_US for a in (*told, *told_nozzles, *told_tanks)}
        for day in sorted(d for d in days if d >= first_day):
            begin = day * _DAY_US - offset_us
            whole, single, tanks = (
                [a for a in each if begin <= a.at_us < begin + _DAY_US] for each in (told, told_nozzles, told_tanks)
            )
            for again, with_it in _subjects(whole, single, tanks, max(1, len(past.levels) // 2)):
                at = from_us(again.at_us)
                if since < at <= until:
                    yield self._finding(past, again, with_it, day)

    def _finding(self, past: StationPast, again: Again, with_it: Sequence[str], day: int) -> Finding:
        zone = self.settings.utc_offset_h
        subject, label = Subject(past.station_id), station_label(past.station, past.station_id)
        if again.what in past.nozzle_by_id and not with_it:
            subject, label = past.subject(again.what), nozzle_label(again.what)
        elif again.what in past.levels and not with_it:
            subject, label = Subject(past.station_id, tank_id=again.what), tank_label(again.what)
        of_tank = again.what in past.levels
        number = len(again.rows)
        lag = _lag(again.lag_us)
        begin, old = local(from_us(again.since_us), zone), local(from_us(again.since_us - again.lag_us), zone)
        if of_tank:
            names = (
                listed(tank_label(t).zh for t in with_it or [again.what]),
                listed(tank_label(t).en for t in with_it or [again.what]),
            )
            what = Text(
                zh=f"自 {begin} 起，{names[0].zh}连续 {number} 次读数的液位、温度、水位与 {old} 起的读数逐一相同，"
                f"相隔 {lag.zh}。",
                en=f"Since {begin} {number} readings in a row of {names[1].en} have height, temperature and water of "
                "those "
                f"since {old}, {lag.en} earlier.",
            )
            why = Text(
                zh="液位和温度读数总有抖动，一小时内逐一相同且本身有变化，不会是巧合。",
                en="Readings of level and temperature tremble. That an hour of them, differing among themselves, comes "
                "back figure by figure is no chance.",
            )
            estimate = Estimate(float(number), "readings", float(number), None, 0.95)
        else:
            volume = float(past.sales.volume_l[again.rows].sum())
            what = Text(
                zh=f"自 {begin} 起连续 {number} 笔交易（共 {litres(volume)}）的升数和间隔秒数与 {old} "
                "起的交易逐一相同，"
                f"相隔 {lag.zh}。",
                en=f"Since {begin} {number} sales in a row ({litres(volume)} in all) have the litres, and to the "
                "second the "
                f"gaps, of those since {old}, {lag.en} earlier.",
            )
            why = Text(
                zh="升数会因定额加油而相同，间隔秒数不会；连续四笔全部相同，偶然发生的概率每枪每年不到千万分之一。",
                en="Litres repeat because people buy round sums; the seconds between sales do not. Four in a row by "
                "chance "
                "are rarer than one in ten million nozzle-years.",
            )
            estimate = Estimate(round(volume, 2), "L", round(volume, 2), None, 0.95)
        return Finding(
            id=finding_id(self.rule, subject, day),
            rule=self.rule,
            cause="replayed_data",
            subject=subject,
            severity=Severity.HIGH,
            departments=(Department.MARKET_REGULATION,),
            onset=from_us(again.since_us),
            detected_at=from_us(again.at_us),
            explanation=Explanation(
                title=title(label, "重放旧数据", "earlier data again"),
                what=what,
                why=why,
                otherwise=Text(
                    zh="采集器或中间件缓存错误，把旧数据当作新数据重新编号上传；时钟被回拨后补传。",
                    en="A fault of a cache in the collector or in software between, which numbers old data anew; a "
                    "clock "
                    "that was turned back before a backfill.",
                ),
                on_site=Text(
                    zh="抄录各枪泵码、主板最近交易和液位仪现值，与上传数据核对；查采集器与站级系统之间有无另接设备。",
                    en="Write down the totalizers, the mainboard's latest sales and the gauge's present level and "
                    "compare "
                    "with what was sent; look for a device between collector and station system.",
                ),
            ),
            estimate=estimate,
            evidence=tuple(_evidence(past, again)),
            figures=(_figure(past, again),),
        )


def _subjects(
    station: Sequence[Again], nozzles: Sequence[Again], tanks: Sequence[Again], half: int
) -> Iterator[tuple[Again, list[str]]]:
    """First runs of a day, with the tanks they share; a station's comes before its parts'."""
    together: list[tuple[Again, list[str]]] = [(a, ["station"]) for a in station[:1]]
    by_time: dict[int, list[Again]] = {}
    for again in tanks:
        by_time.setdefault(again.at_us, []).append(again)
    many = [(at, each) for at, each in sorted(by_time.items()) if len(each) >= half]
    if many:
        together.append((many[0][1][0], sorted(a.what for a in many[0][1])))
    together.sort(key=lambda entry: (entry[0].at_us, entry[0].what))
    end_us = together[0][0].at_us if together else 1 << 62
    yield from together[:1]
    seen: set[str] = set()
    for again in sorted((*nozzles, *tanks), key=lambda a: (a.at_us, a.what)):
        if again.what not in seen and again.at_us < end_us:
            seen.add(again.what)
            yield again, []


# ---------------------------------------------------------------- runs that come again


def _mixed(*columns: NDArray[np.int64]) -> NDArray[np.uint64]:
    """(n,) a well-mixed 64-bit number of the row."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        mixed = (mixed ^ column.astype(np.uint64)) * _ODD
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _runs(first: NDArray[np.uint64], later: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """(n − length + 1,) one number for each run: its first row without and the others with their gaps."""
    count = len(first) - length + 1
    runs = first[:count].copy()
    for place in range(1, length):
        runs = runs * _ODD + later[place : place + count]
        runs ^= runs >> np.uint64(31)
    return runs


def _repeats(runs: NDArray[np.uint64], ends_us: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Runs that have been before within the lag, and the nearest earlier ones, by time."""
    ordered = np.sort(runs)
    twice = np.flatnonzero(np.isin(runs, ordered[1:][ordered[1:] == ordered[:-1]]))
    order = twice[np.argsort(runs[twice], kind="stable")]
    same = runs[order[1:]] == runs[order[:-1]]
    lag = ends_us[order[1:]] - ends_us[order[:-1]]
    hit = np.flatnonzero(same & (lag >= _HOUR_US) & (lag <= _LAG_US))
    now, old = order[hit + 1], order[hit]
    by_time = np.argsort(ends_us[now], kind="stable")
    return now[by_time].astype(np.int64), old[by_time].astype(np.int64)


def _sales_again(sales: Sales, *, whole: bool) -> Iterator[Again]:
    length = SALES_ALIKE
    if len(sales) < 2 * length:
        return
    # sales are in the order of nozzles, ends and numbers, which a stable sort keeps
    rows = np.argsort(sales.end_us, kind="stable") if whole else np.arange(len(sales))
    end_us, nozzle = sales.end_us[rows], sales.nozzle[rows].astype(np.int64)
    cents = np.round(sales.volume_l[rows] * 100.0).astype(np.int64)
    gaps = np.diff(end_us, prepend=end_us[:1]) // 1_000_000
    runs = _runs(_mixed(nozzle, cents), _mixed(nozzle, cents, gaps), length)
    last = end_us[length - 1 :]
    odd = np.cumsum(np.concatenate(([0], cents % 100 != 0)))
    telling = odd[length:] - odd[:-length] >= length // 2
    within = np.ones(len(runs), bool) if whole else nozzle[length - 1 :] == nozzle[: len(runs)]
    # what does not tell gets a number of its own
    own = np.arange(len(runs), dtype=np.uint64) * _ODD
    now, old = _repeats(np.where(telling & within, runs, own), last)
    for new, before in zip(now.tolist(), old.tolist(), strict=True):
        which = "station" if whole else sales.nozzle_ids[int(nozzle[new])]
        span = np.arange(length)
        yield Again(
            int(last[new]),
            int(end_us[new]),
            int(last[new] - last[before]),
            which,
            rows[new + span],
            rows[before + span],
        )


def _levels_again(tank_id: str, levels: Levels) -> Iterator[Again]:
    length = READINGS_ALIKE
    if len(levels) < 2 * length:
        return
    told = [np.nan_to_num(getattr(levels, name), nan=-1e6) for name in ("height_mm", "temperature_c", "water_mm")]
    rows = _mixed(*(np.round(column * 1_000.0).astype(np.int64) for column in told))
    gaps = _mixed(rows.view(np.int64), np.diff(levels.at_us, prepend=levels.at_us[:1]) // 1_000_000)
    runs = _runs(rows, gaps, length)
    # a run without all its temperatures tells nothing: it gets a number of its own
    unknown = np.cumsum(np.concatenate(([0], ~np.isfinite(levels.temperature_c))))
    own = np.arange(len(runs), dtype=np.uint64) * _ODD
    now, old = _repeats(np.where(unknown[length:] == unknown[:-length], runs, own), levels.at_us[length - 1 :])
    for new, before in zip(now.tolist(), old.tolist(), strict=True):
        if len(np.unique(rows[new : new + length])) >= _READINGS_DIFFER:
            span = np.arange(length)
            lag = int(levels.at_us[new] - levels.at_us[before])
            last, first = int(levels.at_us[new + length - 1]), int(levels.at_us[new])
            yield Again(last, first, lag, tank_id, new + span, before + span)


# ---------------------------------------------------------------- words and figures


def _lag(lag_us: int) -> Text:
    hours = lag_us / _HOUR_US
    if hours < 48:
        return Text(f"{hours:,.1f} h", f"{hours:,.1f} h")
    return Text(f"{hours / 24:,.1f} d", f"{hours / 24:,.1f} d")


def _evidence(past: StationPast, again: Again) -> Iterator[Evidence]:
    levels = past.levels.get(again.what)
    for new, old in zip(again.rows.tolist(), again.old_rows.tolist(), strict=True):
        if levels is not None:
            told: dict[str, Any] = {
                "at": from_us(levels.at_us[new]).astimezone(UTC).isoformat(),
                "before": from_us(levels.at_us[old]).astimezone(UTC).isoformat(),
                "height_mm": float(levels.height_mm[new]),
                "temperature_c": float(levels.temperature_c[new]),
            }
            yield Evidence("tank_reading", again.what, told)
            continue
        sales = past.sales
        nozzle = sales.nozzle_ids[int(sales.nozzle[new])]
        told = {
            "end": from_us(sales.end_us[new]).astimezone(UTC).isoformat(),
            "displayed_l": float(sales.volume_l[new]),
            "before": f"{nozzle}/{int(sales.seq[old])}",
            "before_end": from_us(sales.end_us[old]).astimezone(UTC).isoformat(),
        }
        yield Evidence("transaction", f"{nozzle}/{int(sales.seq[new])}", told)


def _figure(past: StationPast, again: Again) -> Figure:
    """What came now and what came before, the latter moved to now."""
    levels = past.levels.get(again.what)
    if levels is not None:
        at, values = levels.at_us, levels.height_mm
        y = Text("液位（mm）", "level (mm)")
    else:
        at, values = past.sales.end_us, past.sales.volume_l
        y = Text("升数（L）", "litres (L)")
    span = slice(int(again.old_rows.min()), int(again.old_rows.max()) + 1)
    old = again.old_rows if levels is None else np.arange(len(at))[span]
    curves = (
        Curve(
            Text("先前，平移后", "before, moved"),
            tuple(((at[old] + again.lag_us) / 1e6).tolist()),
            tuple(values[old].tolist()),
        ),
        Curve(
            Text("现在", "now"),
            tuple((at[again.rows] / 1e6).tolist()),
            tuple(values[again.rows].tolist()),
            shape="points",
            alarm=True,
        ),
    )
    return Figure(Text("与先前数据重合", "The same as before"), Text("时间", "time"), y, curves)
