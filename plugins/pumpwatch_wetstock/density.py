"""The rule ``density``: what is in a tank, or came into it, is not as dense as the grade or its papers say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final

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
from pumpwatch.courses import DAY_US, HOUR_US, medians
from pumpwatch.wording import local, tank_label, title
from pumpwatch_wetstock.figures import TIME
from pumpwatch_wetstock.loads import Load, Shift, against_papers, against_usual, loads_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.past import Levels

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

PETROL, DIESEL, COLD_DIESEL = (720.0, 775.0), (810.0, 850.0), (790.0, 840.0)
"""kg/m³ at 20 °C: GB 17930; GB 19147 down to −10#, and below."""
_COLD: Final = frozenset({"-20#", "-35#", "-50#"})
_KEROSENE: Final = 800.0
_WEEK_US: Final = 7 * DAY_US
_BLOCK_US: Final = 6 * HOUR_US
_USUAL_DAYS: Final = 60
_USUAL_LOADS: Final = 20
_MOST: Final = 8
"""Loads that are accumulated."""
_Z95: Final = 1.96


class DensitySettings(PluginSettings):
    """Keys of ``[rules.density]``."""

    sigmas: float = Field(5.5, ge=4.0, description="Threshold of loads against the usual, standard deviations.")
    least_kg_m3: float = Field(2.0, gt=0.0, description="A load that is off by less is left alone, kg/m³.")
    band_margin_kg_m3: float = Field(1.0, ge=0.0, description="Beyond the grade's band, what a probe may be off by.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class Density(Review):
    """Each delivery's density, reckoned from the blend in the tank; and the tank's against the band of its grade."""

    rule: ClassVar[str] = "density"
    Settings: ClassVar[type[PluginSettings]] = DensitySettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_DIPS})
    every: ClassVar[timedelta] = timedelta(hours=1)
    lookback: ClassVar[timedelta] = timedelta(days=100)
    settings: DensitySettings
    about: ClassVar[About] = About(
        title=Text("油品密度异常", "Density out of line"),
        catches=("W07",),
        inputs="The density at 20 °C and the volume of the tank readings; delivery papers, with the load's own density "
        "(`density_20c_kg_m3`) where they have it. Off where the probe has no densitometer.",
        statistic="Mixing is linear in volume, so a load has ρ(load) = ρ(before) + (ρ(after) − ρ(before)) / share, the "
        "share being the load's of what is then in the tank; ρ are medians of the readings of three hours before and "
        "of half an hour to five hours after. The last 1 to 8 loads together, as a mean, against their certificates; "
        "without any against the median of the 5 to 20 loads before them, with the spread of those (at least "
        "1.5 kg/m³). Joined tanks each by their own readings.",
        threshold="5.5 standard deviations and 2 kg/m³. Towards kerosene (800 kg/m³) it is an alarm, away from it a "
        "note. And the tank's own density, six hours' median twice in a row, outside the band of its grade by "
        "1 kg/m³: petrol 720 to 775, diesel 810 to 850 (−20# and colder 790 to 840).",
        power="Fourteen tanks, good and base probes, without certificates: 30 % kerosene found 14 of 14 after 1 to 9 "
        "days, 20 % 14 of 14 after 1 to 14 days (mean 5; one load in petrol, three in diesel), 10 % in petrol 8 of 9 "
        "after 5 to 17 days, in diesel (3.5 kg/m³) 0 of 5. In 151 honest tank-years with a densitometer no load came "
        "nearer than 5.04 deviations.",
        pitfalls="Another refinery or the season's blend moves a grade by some kg/m³: without the certificate's "
        "density that looks alike, which is why the finding asks for it first. A load of less than 15 % of the tank "
        "is not judged. A share of kerosene that was there from the first day is in the usual.",
        source="GB 17930-2016, GB 19147-2016 (density at 20 °C); blending by volume as Q1 on the scenarios' page.",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Each tank with a densitometer."""
        first, last = to_us(since), to_us(until)
        for tank in past.tanks:
            levels = past.levels.get(tank.tank_id)
            if levels is None:
                continue
            told = np.isfinite(levels.density_kg_m3) & (levels.density_kg_m3 > 0.0)
            if not told.any():
                continue
            levels = levels.take(told)
            yield from self._out_of_band(past, tank.tank_id, tank.grade, levels, first, last)
            yield from self._loads(past, tank.tank_id, tank.grade, levels, first, last)

    def _out_of_band(
        self, past: StationPast, tank_id: str, grade: str, levels: Levels, first: int, last: int
    ) -> Iterator[Finding]:
        low, high = _band(grade)
        margin = self.settings.band_margin_kg_m3
        at_us, density = _blocks(levels, last)
        shown: set[int] = set()
        begin = int(np.searchsorted(at_us, first // _WEEK_US * _WEEK_US, side="right"))
        above, below = np.minimum(density[1:], density[:-1]) - high, low - np.maximum(density[1:], density[:-1])
        off = np.flatnonzero(np.maximum(above, below) > margin) + 1
        for row in off[off >= begin].tolist():
            week = (int(at_us[row]) - 1) // _WEEK_US
            if week not in shown:
                shown.add(week)
                if at_us[row] > first:
                    yield self._band_finding(past, tank_id, grade, at_us, density, row)

    def _loads(
        self, past: StationPast, tank_id: str, grade: str, levels: Levels, first: int, last: int
    ) -> Iterator[Finding]:
        loads = [load for load in loads_of(past, tank_id, levels) if load.judged_us <= last]
        begin = first // _WEEK_US * _WEEK_US
        shown: set[tuple[int, bool]] = set()
        for place, load in enumerate(loads):
            if load.judged_us <= begin:
                continue
            shift = self._shift(loads[: place + 1])
            if shift is None:
                continue
            suspect = (shift.value > 0.0) == (shift.expected < _KEROSENE)
            key = (load.judged_us - 1) // _WEEK_US, suspect
            if key not in shown:
                shown.add(key)
                if load.judged_us > first:
                    yield self._load_finding(past, tank_id, grade, shift, loads[: place + 1], suspect=suspect)

    def _shift(self, loads: list[Load]) -> Shift | None:
        """The plainest of what the last loads show together; loads oldest first, the last is the one judged."""
        begin = loads[-1].judged_us - _USUAL_DAYS * DAY_US
        recent = [load for load in loads if load.judged_us > begin]
        found: Shift | None = None
        for count in range(1, min(_MOST, len(recent)) + 1):
            late, before = recent[-count:], recent[:-count][-_USUAL_LOADS:]
            shift = against_papers(late) if late[-1].told is not None else against_usual(late, before)
            if shift is None or abs(shift.value) < max(self.settings.sigmas * shift.sd, self.settings.least_kg_m3):
                continue
            if found is None or abs(shift.value) / shift.sd > abs(found.value) / found.sd:
                found = shift
        return found

    # ------------------------------------------------------------ words

    def _band_finding(
        self, past: StationPast, tank_id: str, grade: str, at_us: Ints, density: Floats, row: int
    ) -> Finding:
        low, high = _band(grade)
        label, value = tank_label(tank_id), float(density[row])
        subject = Subject(past.station_id, tank_id=tank_id)
        when = local(from_us(int(at_us[row])), self.settings.utc_offset_h)
        shown = slice(max(0, row - 120), row + 1)
        seconds = tuple((at_us[shown] / 1e6).tolist())
        return Finding(
            id=finding_id(self.rule, subject, "band", int(at_us[row])),
            rule=self.rule,
            cause="density",
            subject=subject,
            severity=Severity.HIGH,
            departments=_DEPARTMENTS,
            onset=from_us(int(at_us[row - 1]) - _BLOCK_US),
            detected_at=from_us(int(at_us[row])),
            explanation=Explanation(
                title=title(label, f"密度 {value:.1f} 超标", f"density {value:.1f} kg/m³"),
                what=Text(
                    zh=f"{label.zh}（{grade}）在 {when} 的密度为 {value:.1f} kg/m³（20 °C），"
                    f"标准范围 {low:.0f} 至 {high:.0f} kg/m³。",
                    en=f"{label.en} ({grade}) had {value:.1f} kg/m³ at 20 °C at {when}; its band is {low:.0f} to "
                    f"{high:.0f} kg/m³.",
                ),
                why=Text(
                    zh="连续两个六小时段的密度中位数都超出范围。",
                    en="The medians of two blocks of six hours in a row are outside.",
                ),
                otherwise=_OTHERWISE,
                on_site=_ON_SITE,
            ),
            estimate=Estimate(round(value, 1), "kg/m³"),
            evidence=(Evidence("tank_density", tank_id, {"time": when, "density_20c_kg_m3": round(value, 2)}),),
            figures=(
                Figure(
                    title=Text(f"{label.zh}：密度", f"{label.en}: density"),
                    x=TIME,
                    y=_AXIS,
                    curves=(
                        Curve(
                            Text("六小时中位数", "median of six hours"),
                            seconds,
                            tuple(np.round(density[shown], 2).tolist()),
                            alarm=True,
                        ),
                        Curve(Text("下限", "lowest"), (seconds[0], seconds[-1]), (low, low), "limit"),
                        Curve(Text("上限", "highest"), (seconds[0], seconds[-1]), (high, high), "limit"),
                    ),
                ),
            ),
        )

    def _load_finding(
        self, past: StationPast, tank_id: str, grade: str, shift: Shift, loads: list[Load], *, suspect: bool
    ) -> Finding:
        label, last = tank_label(tank_id), shift.loads[-1]
        subject = Subject(past.station_id, tank_id=tank_id)
        count, half = len(shift.loads), _Z95 * shift.sd
        began = local(from_us(shift.loads[0].end_us), self.settings.utc_offset_h)
        sign = "高" if shift.value > 0.0 else "低"
        sign_en = "above" if shift.value > 0.0 else "below"
        against = "质检报告" if shift.certified else "该罐以往进油"
        against_en = "its certificate" if shift.certified else "what this tank was usually given"
        if count > 1 and shift.certified:
            against_en = "their certificates"
        gap = _KEROSENE - shift.expected
        share, share_half = 100.0 * shift.value / gap, abs(100.0 * half / gap)
        like = f"，相当于混入约 {share:.0f}% 密度 {_KEROSENE:.0f} kg/m³ 的组分" if suspect else ""
        like_en = f", as if about {share:.0f}% of it were of {_KEROSENE:.0f} kg/m³" if suspect else ""
        papers = "、".join(paper.name for paper in last.match.papers[:3]) or "—"
        papers_en = ", ".join(paper.name for paper in last.match.papers[:3]) or "none"
        estimate = (
            Estimate(round(share, 1), "%", round(share - share_half, 1), round(share + share_half, 1), 0.95)
            if suspect
            else Estimate(
                round(shift.value, 2), "kg/m³", round(shift.value - half, 2), round(shift.value + half, 2), 0.95
            )
        )
        return Finding(
            id=finding_id(self.rule, subject, "load", last.end_us),
            rule=self.rule,
            cause="density",
            subject=subject,
            severity=Severity.MEDIUM if suspect else Severity.INFO,
            departments=_DEPARTMENTS,
            onset=from_us(shift.loads[0].end_us),
            detected_at=from_us(last.judged_us),
            explanation=Explanation(
                title=title(label, f"来油密度偏{sign} {abs(shift.value):.1f}", f"load {shift.value:+.1f} kg/m³"),
                what=Text(
                    zh=f"{label.zh}（{grade}）自 {began} 起 {count} 车来油按混合推算的密度比{against}"
                    f"（{shift.expected:.1f} kg/m³）{sign} {abs(shift.value):.1f} kg/m³{like}；"
                    f"最近一车票据：{papers}。",
                    en=f"By the blend in {label.en.lower()} ({grade}) "
                    f"{'the load' if count == 1 else f'{count} loads'} from {began} on "
                    f"{'was' if count == 1 else 'were'} {abs(shift.value):.1f} kg/m³ {sign_en} {against_en} "
                    f"({shift.expected:.1f} kg/m³){like_en}; papers of the last: {papers_en}.",
                ),
                why=Text(
                    zh=f"差额为其标准差（{shift.sd:.2f} kg/m³）的 {abs(shift.value) / shift.sd:.1f} 倍；"
                    "密度按体积线性混合，已按各车占罐内油量的比例折算。",
                    en=f"That is {abs(shift.value) / shift.sd:.1f} of its standard deviations "
                    f"({shift.sd:.2f} kg/m³); densities mix by volume, and each load's share of the tank is "
                    "reckoned with.",
                ),
                otherwise=_OTHERWISE,
                on_site=_ON_SITE,
            ),
            estimate=estimate,
            evidence=tuple(_load_evidence(load) for load in shift.loads),
            figures=(_figure(label, shift, loads),),
        )


def _band(grade: str) -> tuple[float, float]:
    if grade in _COLD:
        return COLD_DIESEL
    return DIESEL if grade.rstrip("#").lstrip("-+") in {"0", "5", "10"} else PETROL


def _blocks(levels: Levels, until_us: int) -> tuple[Ints, Floats]:
    """(n,) ends of the blocks of six hours that are over, and the median density of each."""
    numbers, first = np.unique(levels.at_us // _BLOCK_US, return_index=True)
    ends = (numbers + 1) * _BLOCK_US
    over = ends <= until_us
    return ends[over], medians(levels.density_kg_m3, np.append(first, len(levels)))[over]


_DEPARTMENTS: Final = (Department.COMMERCE, Department.MARKET_REGULATION)
_AXIS: Final = Text("密度（kg/m³，20 °C）", "Density (kg/m³ at 20 °C)")
_OTHERWISE: Final = Text(
    zh="来油换了炼厂或季节配方；密度计漂移或脏污；罐内分层；油品卸错罐；质检报告记错批次。",
    en="Another refinery or the season's blend; a densitometer that drifts or is fouled; layers in the tank; a load in "
    "the wrong tank; a certificate of another batch.",
)
_ON_SITE: Final = Text(
    zh="先核对该批质检报告的密度；在油罐上、中、下部取样，按标准测密度、馏程和闪点；核对密度计；封存样品送检。",
    en="First compare the density on the batch's certificate; sample the tank at top, middle and bottom and test "
    "density, distillation and flash point; check the densitometer; seal a sample for the laboratory.",
)


def _load_evidence(load: Load) -> Evidence:
    paper = load.match.papers[0] if load.match.papers else None
    return Evidence(
        "load_density",
        paper.name if paper is not None else from_us(load.end_us).isoformat(),
        {
            "time": from_us(load.end_us).isoformat(),
            "litres_20c": round(load.litres, 1),
            "before_kg_m3": round(load.before, 2),
            "after_kg_m3": round(load.after, 2),
            "load_kg_m3": round(load.density, 2),
            "sd_kg_m3": round(load.sd, 2),
            "certificate_kg_m3": load.told,
            "quality_report": None if paper is None else paper.delivery.quality_report_no,
            "supplier": None if paper is None else paper.delivery.supplier,
            "truck": None if paper is None else paper.delivery.truck,
        },
    )


def _figure(label: Text, shift: Shift, loads: list[Load]) -> Figure:
    late = {load.end_us for load in shift.loads}
    others = [load for load in loads if load.end_us not in late][-60:]
    first = (others or list(shift.loads))[0].end_us / 1e6

    def points(some: list[Load]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return tuple(load.end_us / 1e6 for load in some), tuple(round(load.density, 2) for load in some)

    return Figure(
        title=Text(f"{label.zh}：各车来油密度", f"{label.en}: density of the loads"),
        x=TIME,
        y=_AXIS,
        curves=(
            Curve(Text("以往各车", "loads before"), *points(others), "points"),
            Curve(Text("最近各车", "the last loads"), *points(list(shift.loads)), "points", alarm=True),
            Curve(
                Text("应有", "expected"),
                (first, shift.loads[-1].end_us / 1e6),
                (round(shift.expected, 2),) * 2,
                "limit",
            ),
        ),
    )
