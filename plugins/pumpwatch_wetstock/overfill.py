"""The rule ``over_fill``: a level above 95 % of the capacity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Channel,
    Curve,
    Department,
    Estimate,
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
from pumpwatch.courses import DAY_US, HOUR_US, median
from pumpwatch.wording import litres, local, local_day, percent, tank_label, title
from pumpwatch_wetstock.figures import TIME

_SLOSHES_US: Final = 30 * 60_000_000
"""Readings that are farther apart do not all fall into one drop's sloshing."""


class OverFillSettings(PluginSettings):
    """Keys of ``[rules.over_fill]``."""

    share: float = Field(0.95, gt=0.5, le=1.0, description="Of the capacity, up to which a tank may be filled.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class OverFill(Review):
    """The first of three readings in a row above the limit, once a day and tank."""

    rule: ClassVar[str] = "over_fill"
    Settings: ClassVar[type[PluginSettings]] = OverFillSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_DIPS})
    every: ClassVar[timedelta] = timedelta(minutes=5)
    lookback: ClassVar[timedelta] = timedelta(days=4)
    settings: OverFillSettings
    about: ClassVar[About] = About(
        title=Text("油罐超装", "Tank over-filled"),
        catches=("W08",),
        inputs="Tank readings (litres), the registered capacity.",
        statistic="Median of three readings in a row (each, where rare) over the capacity; joined tanks together.",
        threshold="Above 95 % (GB 50156: the over-fill valve shuts at 95 %, the alarm comes at 90 %). The median takes "
        "the sloshing out.",
        power="Found with the first over-full delivery at the one station tried; 246 honest nozzle-years without a "
        "false alarm.",
        pitfalls="A wrong chart or a wrong capacity in the register; water under the fuel is not counted.",
        source="GB 50156-2021: protection against overfilling, a stop at 95 % of the capacity.",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Each tank by itself, joined ones together: the siphon keeps one level."""
        first, last = to_us(since), to_us(until)
        offset = round(self.settings.utc_offset_h * HOUR_US)
        capacities = {tank.tank_id: tank.capacity_l for tank in past.tanks}
        for group in dict.fromkeys(past.manifold(tank) for tank in capacities):
            told = _held(past, group)
            capacity = math.fsum(capacities[tank] for tank in group)
            if told is None or not capacity > 0.0:
                continue
            at_us, held = told
            coarse = median(np.diff(at_us)) > _SLOSHES_US
            low, high = np.minimum(held[:-2], held[1:-1]), np.maximum(held[:-2], held[1:-1])
            middle = held[2:] if coarse else np.maximum(low, np.minimum(high, held[2:]))
            over = np.flatnonzero(middle > self.settings.share * capacity) + 2
            days = (at_us[over] + offset) // DAY_US
            for day in np.unique(days).tolist():
                row = int(over[np.searchsorted(days, day)])
                if first < at_us[row] <= last:
                    yield self._finding(past, group[0], capacity, at_us, held, row)

    def _finding(
        self,
        past: StationPast,
        tank_id: str,
        capacity_l: float,
        at_us: np.ndarray[tuple[int], np.dtype[np.int64]],
        held: np.ndarray[tuple[int], np.dtype[np.float64]],
        row: int,
    ) -> Finding:
        settings, label = self.settings, tank_label(tank_id)
        subject = Subject(past.station_id, tank_id=tank_id)
        when, share = from_us(int(at_us[row])), median(held[row - 2 : row + 1]) / capacity_l * 100.0
        begin, shown = from_us(int(at_us[row - 2])), slice(max(0, row - 150), row + 1)
        seconds = tuple((at_us[shown] / 1e6).tolist())
        limit = settings.share * capacity_l
        return Finding(
            id=finding_id(self.rule, subject, local_day(when, settings.utc_offset_h)),
            rule=self.rule,
            cause="over_fill",
            subject=subject,
            severity=Severity.HIGH,
            departments=(Department.EMERGENCY,),
            onset=begin,
            detected_at=when,
            explanation=Explanation(
                title=title(label, f"超装 {share:.1f}%", f"over-filled, {share:.1f}%"),
                what=Text(
                    zh=f"{label.zh}在 {local(when, settings.utc_offset_h)} 存油 {litres(float(held[row]))}，"
                    f"为容量 {capacity_l:,.0f} L 的 {share:.1f}%，超过 {settings.share:.0%}。",
                    en=f"{label.en} held {litres(float(held[row]))} at {local(when, settings.utc_offset_h)}, "
                    f"{share:.1f}% of its {capacity_l:,.0f} L; the limit is {settings.share:.0%}.",
                ),
                why=Text(
                    zh="连续三次读数的中位数超限，卸油后的晃动已排除。",
                    en="The median of three readings in a row is above the limit; sloshing is taken out.",
                ),
                otherwise=Text(
                    zh="登记的罐容或容积表有误；探棒故障。",
                    en="A wrong capacity in the register or a wrong chart; a faulty probe.",
                ),
                on_site=Text(
                    zh="立即停止卸油，人工量油；检查防溢流阀和高液位报警；确认无渗溢后再营业。",
                    en="Stop unloading at once and dip the tank; check the over-fill valve and the high-level alarm; "
                    "open again only when nothing has spilt.",
                ),
            ),
            estimate=Estimate(round(share, 2), "%"),
            evidence=(
                Evidence(
                    "tank_reading",
                    tank_id,
                    {"time": when.isoformat(), "volume_l": float(held[row]), "capacity_l": capacity_l},
                ),
            ),
            figures=(
                Figure(
                    title=Text(f"{label.zh}：存油 {percent(share)}", f"{label.en}: stock"),
                    x=TIME,
                    y=Text("升", "Litres"),
                    curves=(
                        Curve(Text("存油", "stock"), seconds, tuple(np.round(held[shown], 1).tolist()), alarm=True),
                        Curve(Text("限值", "limit"), (seconds[0], seconds[-1]), (round(limit, 1),) * 2, "limit"),
                    ),
                ),
            ),
        )


def _held(
    past: StationPast, group: tuple[str, ...]
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.float64]]] | None:
    """Times and litres of all these tanks together, where each tells; None when there are hardly any."""
    parts = [past.levels.get(tank) for tank in group]
    at_us: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None
    for levels in parts:
        if levels is None:
            return None
        mine = levels.at_us[np.isfinite(levels.volume_l)]
        at_us = mine if at_us is None else np.intersect1d(at_us, mine, assume_unique=True)
    if at_us is None or len(at_us) < 3:
        return None
    held = np.zeros(len(at_us))
    for levels in parts:
        if levels is not None:
            held += levels.volume_l[np.searchsorted(levels.at_us, at_us)]
    return at_us, held
