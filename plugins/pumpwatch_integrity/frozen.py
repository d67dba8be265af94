"""The rule ``frozen_gauge``: a tank's gauge that tells one and the same value while its nozzles sell.

Every true reading trembles a little, and a tank from which fuel is sold falls.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

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
    Levels,
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
from pumpwatch.wording import litres, local, tank_label, title

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_LEARN_US = 7 * DAY_US
"""How much before a run shows what the gauge is like."""
_WITHIN_US = 3 * DAY_US
"""A run must show itself within so much of its beginning."""
_CLOCKS_US = 60_000_000
"""How far apart the clocks of a dispenser and of the gauge may be."""
_LEARN_READINGS = 200
_AFTERWARDS = 12
"""Readings after a run that tell whether the gauge trembles again."""
_CHANCE, _CHANCE_SOLD = math.log(1e-10), math.log(1e-6)
_JOINED = 3.0
"""A siphon takes its time: so much more must be sold from tanks that it joins, in twelve readings and more."""


class FrozenSettings(PluginSettings):
    """Keys of ``[rules.frozen_gauge]``."""

    least_l: float = Field(
        30.0, gt=0.0, description="Litres that must be sold from a level that does not move, litres."
    )
    idle_readings: int = Field(12, ge=6, description="Equal readings in a row that count without sales.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class _Run:
    """Readings first to last (inclusive) that are equal in everything."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What the nozzles of a tank, or of those joined to it, sold; ordered by end."""

    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    litres: NDArray[np.float64]


class FrozenGauge(Review):
    """One finding a run of equal readings: as soon as enough is sold, or when the gauge trembles again."""

    rule: ClassVar[str] = "frozen_gauge"
    Settings: ClassVar[type[PluginSettings]] = FrozenSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_READINGS})
    lookback: ClassVar[timedelta] = timedelta(days=12)
    explains: ClassVar[frozenset[str]] = frozenset({"theft", "leak", "short_delivery", "chart_error", "offline_sale"})
    settings: FrozenSettings
    about: ClassVar[About] = About(
        title=Text("液位数据冻结", "Frozen gauge"),
        catches=("C03",),
        inputs="Height, water, temperature and density of each reading; start, end and litres of the sales of the "
        "tank, "
        "and of tanks joined to it by a siphon.",
        statistic="Runs of three and more readings equal in everything. S: litres of sales that began and ended within "
        "the run. A: litres a millimetre, from the tank's dimensions or chart. q and s: step and usual movement of the "
        "level from reading to reading, learnt from the week before.",
        threshold="S > max(30 L, A (q + 5 s)): the level should have fallen by its step and five times its usual "
        "movement; three times that and 12 readings where a siphon joins tanks, for it lags. And the week's share p of "
        "equal neighbours makes pⁿ < 1e-6 over n steps. Without sales: at least 12 readings, three times the longest "
        "equal run of the week before, so many "
        "that the week's share p of equal neighbours makes p^(n−1) < 1e-10, and trembling again in the 12 after it.",
        power="2 h at midnight, at three and at two in the afternoon, 6, 24 and 72 h: 48 of 48 (8 stations, good to "
        "poor probes). By day after 45 min in the median, at night after one to six hours, or an hour after the "
        "gauge trembles again. Honest: one in 480 nozzle-years "
        "at a siphon, before joined tanks got a limit of their own; with it none in 246.",
        pitfalls="A gauge in whole millimetres without temperature repeats itself for hours in an idle tank: p and the "
        "longest run of its own week keep it quiet. A tank that nobody draws from. A gauge that has told the same for "
        "more than three days before it is first looked at is not claimed.",
        source="Own derivation (R2 on the scenarios' page).",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Every run that shows itself in this time."""
        first_us, last_us = to_us(since), to_us(until)
        for tank_id, levels in sorted(past.levels.items()):
            drawn: _Drawn | None = None
            for run in _runs(levels):
                if levels.at_us[run.last] < first_us - _WITHIN_US or levels.at_us[run.first] > last_us:
                    continue
                drawn = drawn or _drawn(past, tank_id)
                at_us, sold = self._judged(past, tank_id, levels, run, drawn)
                if at_us is not None and first_us < at_us <= last_us and at_us - levels.at_us[run.first] <= _WITHIN_US:
                    yield self._finding(past, tank_id, levels, run, at_us, sold)

    def _judged(
        self, past: StationPast, tank_id: str, levels: Levels, run: _Run, drawn: _Drawn
    ) -> tuple[int | None, float]:
        """When a run is claimed, and the litres sold in it until then."""
        begin_us, end_us = int(levels.at_us[run.first]), int(levels.at_us[run.last])
        learn = slice(int(np.searchsorted(levels.at_us, begin_us - _LEARN_US)), run.first + 1)
        low, high = np.searchsorted(drawn.end_us, [begin_us, end_us - _CLOCKS_US], side="right")
        inside = drawn.start_us[low:high] >= begin_us + _CLOCKS_US
        total = np.cumsum(drawn.litres[low:high] * inside)
        if len(total) and total[-1] >= self.settings.least_l:
            joined = len(past.manifold(tank_id)) > 1
            limit = max(self.settings.least_l, _area(past, tank_id, levels, run) * _moves_mm(levels, learn))
            enough = int(np.searchsorted(total, _JOINED * limit if joined else limit))
            least = max(2, math.ceil(_CHANCE_SOLD / math.log(_share(levels, learn))), _AFTERWARDS if joined else 0)
            if enough < len(total) and run.last >= run.first + least:
                row = int(np.searchsorted(levels.at_us, drawn.end_us[low + enough] + _CLOCKS_US))
                return int(levels.at_us[max(row, run.first + least)]), float(total[enough])
        if self._stood(levels, run, learn):
            return int(levels.at_us[run.last + _AFTERWARDS]), float(total[-1]) if len(total) else 0.0
        return None, 0.0

    def _stood(self, levels: Levels, run: _Run, learn: slice) -> bool:
        """Whether so long a run is strange for this gauge, which trembled before and trembles again."""
        number = run.last - run.first + 1
        if number < self.settings.idle_readings or run.last + _AFTERWARDS >= len(levels):
            return False
        if not np.isfinite(levels.temperature_c[run.first]):
            return False
        before = _equal(levels.take(learn))
        if len(before) < _LEARN_READINGS:
            return False
        share = _share(levels, learn)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], before.astype(np.int8), [0]))))
        longest = int((edges[1::2] - edges[::2]).max()) + 1 if len(edges) else 1
        if (number - 1) * math.log(share) > _CHANCE or number < 3 * longest:
            return False
        after = slice(run.last, run.last + _AFTERWARDS + 1)
        warm = np.diff(levels.temperature_c[after]) == 0.0
        water = np.diff(levels.water_mm[after]) == 0.0
        return bool((warm & (water | ~np.isfinite(levels.water_mm[after][1:]))).sum() <= _AFTERWARDS // 2)

    def _finding(self, past: StationPast, tank_id: str, levels: Levels, run: _Run, at_us: int, sold: float) -> Finding:
        zone, subject, label = (
            self.settings.utc_offset_h,
            Subject(past.station_id, tank_id=tank_id),
            tank_label(tank_id),
        )
        begin_us = int(levels.at_us[run.first])
        until_us = min(at_us, int(levels.at_us[run.last]))
        number = int(np.searchsorted(levels.at_us, until_us, side="right")) - run.first
        height, hours = float(levels.height_mm[run.first]), (until_us - begin_us) / HOUR_US
        return Finding(
            id=finding_id(self.rule, subject, from_us(begin_us).isoformat()),
            rule=self.rule,
            cause="frozen_data",
            subject=subject,
            severity=Severity.HIGH if sold > 0.0 else Severity.MEDIUM,
            departments=(Department.MARKET_REGULATION, Department.EMERGENCY),
            onset=from_us(begin_us),
            detected_at=from_us(at_us),
            explanation=Explanation(
                title=title(label, "液位数据不动", "level stands still"),
                what=Text(
                    zh=f"{label.zh}自 {local(from_us(begin_us), zone)} 起连续 {number} 次读数（{hours:,.1f} "
                    "h）完全相同，"
                    f"液位 {height:,.1f} mm；其间所属油枪售出 {litres(sold)}。",
                    en=f"{label.en}: since {local(from_us(begin_us), zone)} {number} readings in a row ({hours:,.1f} "
                    "h) are "
                    f"the same in everything, at {height:,.1f} mm; meanwhile its nozzles sold {litres(sold)}.",
                ),
                why=Text(
                    zh="真实读数总有微小抖动，售油后液位必然下降；液位、温度、水位同时一动不动，说明数据没有更新。",
                    en="True readings tremble a little, and a tank from which fuel is sold falls. Level, temperature "
                    "and "
                    "water that all stand still are no new readings.",
                ),
                otherwise=Text(
                    zh="探棒或控制台故障、死机，通讯中断后重复上报最后一次读数；浮子卡住时只有液位不动，温度仍会变化。",
                    en="A probe or console that hangs, or a driver that repeats its last reading when the link is "
                    "down. A "
                    "stuck float alone leaves the temperature moving.",
                ),
                on_site=Text(
                    zh="人工量油与控制台读数核对；查控制台报警和通讯记录；该时段的库存、损耗和防溢报警都不可信，"
                    "需另行核对。",
                    en="Dip the tank and compare with the console; read the console's alarms and the link's log. "
                    "Stock, "
                    "losses and over-fill alarms of that time cannot be relied on.",
                ),
            ),
            estimate=Estimate(round(sold, 2), "L", round(sold, 2), None, 0.95),
            evidence=(
                Evidence(
                    "tank_readings",
                    tank_id,
                    {
                        "since": from_us(begin_us).astimezone(UTC).isoformat(),
                        "until": from_us(until_us).astimezone(UTC).isoformat(),
                        "readings": number,
                        "height_mm": height,
                        "temperature_c": _plain(levels.temperature_c[run.first]),
                        "water_mm": _plain(levels.water_mm[run.first]),
                        "sold_l": round(sold, 2),
                    },
                ),
            ),
            figures=(_figure(past, tank_id, levels, begin_us, at_us),),
        )


# ---------------------------------------------------------------- runs, sales and the tank


def _equal(levels: Levels) -> NDArray[np.bool_]:
    """(n − 1,) which readings are those before them in everything told."""
    same: NDArray[np.bool_] = np.diff(levels.height_mm) == 0.0
    for column in (levels.temperature_c, levels.water_mm, levels.density_kg_m3):
        same &= (np.diff(column) == 0.0) | ~(np.isfinite(column[1:]) | np.isfinite(column[:-1]))
    return same


def _share(levels: Levels, learn: slice) -> float:
    """Share of readings that equal those before them, in the week before; a half where little is known."""
    before = _equal(levels.take(learn))
    return (float(before.sum()) + 1.0) / (len(before) + 2.0) if len(before) >= _LEARN_READINGS else 0.5


def _runs(levels: Levels) -> Iterator[_Run]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], _equal(levels).astype(np.int8), [0]))))
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if last - first >= 2:
            yield _Run(first, last)


def _drawn(past: StationPast, tank_id: str) -> _Drawn:
    joined = past.manifold(tank_id)
    codes = [past.sales.nozzle_ids.index(n.nozzle_id) for n in past.nozzles if n.tank_id in joined]
    rows = np.flatnonzero(np.isin(past.sales.nozzle, codes))
    rows = rows[np.argsort(past.sales.end_us[rows], kind="stable")]
    return _Drawn(past.sales.start_us[rows], past.sales.end_us[rows], past.sales.volume_l[rows])


def area_l_mm(past: StationPast, tank_id: str, height_mm: float) -> float:
    """Litres a millimetre at this height: from the tank's dimensions, else from its chart, else a wide guess."""
    tank = next((t for t in past.tanks if t.tank_id == tank_id), None)
    if tank is not None and tank.diameter_mm and tank.length_mm:
        inside = min(max(height_mm, 0.1 * tank.diameter_mm), 0.9 * tank.diameter_mm)
        return 2.0 * math.sqrt(inside * (tank.diameter_mm - inside)) * tank.length_mm * 1e-6
    chart = past.charts.get(tank_id)
    if chart is not None and len(chart.height_mm) > 2:
        low, high = np.interp([height_mm - 50.0, height_mm + 50.0], chart.height_mm, chart.volume_l)
        return max(float(high - low) / 100.0, 1.0)
    return 30.0 if tank is None else tank.capacity_l / 1_500.0


def _area(past: StationPast, tank_id: str, levels: Levels, run: _Run) -> float:
    height = float(levels.height_mm[run.first])
    return math.fsum(area_l_mm(past, tank, height) for tank in past.manifold(tank_id))


def _moves_mm(levels: Levels, learn: slice) -> float:
    """The level's step and five times its usual movement from reading to reading, in the week before."""
    moved = np.abs(np.diff(levels.height_mm[learn]))
    moved = moved[np.isfinite(moved)]
    if len(moved) < _LEARN_READINGS or not (moved > 0.0).any():
        return 6.0
    step = float(moved[moved > 0.0].min())
    return step + 5.0 * max(step, float(np.median(moved)))


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _figure(past: StationPast, tank_id: str, levels: Levels, begin_us: int, at_us: int) -> Figure:
    """Levels, and what they should have been after the sales."""
    span = max(at_us - begin_us, HOUR_US)
    rows = np.flatnonzero((levels.at_us >= begin_us - span) & (levels.at_us <= at_us))
    rows = rows[:: max(1, len(rows) // 150)]
    drawn = _drawn(past, tank_id)
    mine = np.flatnonzero((drawn.start_us >= begin_us) & (drawn.end_us <= at_us))
    area = math.fsum(area_l_mm(past, tank, float(levels.height_mm[rows[-1]])) for tank in past.manifold(tank_id))
    fall = float(levels.height_mm[np.searchsorted(levels.at_us, begin_us)]) - np.cumsum(drawn.litres[mine]) / area
    thin = slice(None, None, max(1, len(mine) // 150))
    times = (levels.at_us[rows] / 1e6).tolist(), levels.height_mm[rows].tolist()
    should = (drawn.end_us[mine][thin] / 1e6).tolist(), np.round(fall[thin], 2).tolist()
    return Figure(
        title=Text("液位与按售油推算的液位", "Level, and what the sales make of it"),
        x=Text("时间", "time"),
        y=Text("液位（mm）", "level (mm)"),
        curves=(
            Curve(Text("液位读数", "readings"), tuple(times[0]), tuple(times[1]), alarm=True),
            Curve(Text("按售油推算", "by the sales"), tuple(should[0]), tuple(should[1]), shape="step"),
        ),
        marks=((begin_us / 1e6, Text("不动起点", "stands still")),),
    )
