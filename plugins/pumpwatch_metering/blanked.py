"""The rule ``blanked_counts``: one nozzle's fillings come without pulses again and again, its neighbours' do not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.wording import count, litres, local, local_day, nozzle_label, title

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DAY_US: Final = 86_400_000_000
_WINDOW_US: Final = 28 * _DAY_US
_LEAST: Final = 60
"""With fewer sales in the window it is not told what is usual."""
_MOST: Final = 2.0 / 3.0
"""More is a nozzle that does not count and now and then does."""
_OTHERS: Final = 0.1
"""What the others lack of the nozzle's share, at most …"""
_AT_MOST: Final = 0.02
"""… and of their sales."""
_BITS: Final = 3
"""So many blank sales a run of them, at most: an outage or an exchanged board makes one long run."""
_LARGER: Final = 4.0
"""Standard deviations by which blank sales rank above the others in litres."""
_DRAWN: Final = 200


class BlankedSettings(PluginSettings):
    """Keys of ``[rules.blanked_counts]``."""

    share_percent: float = Field(
        8.0, gt=0.0, lt=60.0, description="So many of a nozzle's sales in 28 days lack their pulses, %, and …"
    )
    least: int = Field(12, ge=3, description="… so many sales at least.")
    smallest_l: float = Field(1.0, gt=0.0, description="Smaller sales do not count, litres.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class _Blanks:
    """What of a nozzle's sales in the window lacks its count."""

    rows: NDArray[np.intp]
    """Its sales."""
    blank: NDArray[np.bool_]
    others: int
    others_blank: int
    larger: float
    """By how many standard deviations blank sales rank above the others in litres."""


class BlankedCounts(Review):
    """Counts that are missing at one nozzle only."""

    rule: ClassVar[str] = "blanked_counts"
    Settings: ClassVar[type[PluginSettings]] = BlankedSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.ENCODER})
    lookback: ClassVar[timedelta] = timedelta(days=29)
    settings: BlankedSettings
    about: ClassVar[About] = About(
        title=Text("选择性缺脉冲数", "Counts missing at one nozzle"),
        catches=(),
        inputs="Of each filling `encoder_pulses` (where the register has the nozzle's `pulse_l`), else `encoder_l`, "
        "and `volume_l`.",
        statistic="At each local midnight, over the 28 days before: the share of a nozzle's sales above 1 L that lack "
        "their count; the same of the other nozzles of its dispenser (of the station, where there is none); and "
        "by how many standard deviations the blank ones rank above the others in litres (rank-sum test).",
        threshold="At least 8 % of 60 sales, 12 at least, two thirds at most; the others at most 2 %, and a tenth of "
        "that share; in runs of three on average at most; one of them on the last day. A note; low where the blank "
        "ones are larger by four standard deviations.",
        power="Tested on a simulated station: 15 % of a nozzle's sales blanked at random from the tenth day on are "
        "noted, 30 % of the larger half are low, both within ten days. 0 findings with 5, 30 and 60 % random holes at "
        "all nozzles, an outage of a week, and a nozzle whose encoder line was connected within the window; "
        "none in 24 simulated honest nozzle-years.",
        pitfalls="A bad contact at one encoder's line looks the same, and long fillings meet it more often: so it "
        "never says more than low. Holes at all nozzles are the collector's; `pulse_ratio` tells single sales without "
        "a count. Boards that tell no pulses are no nozzle that else counts.",
        source="Rank-sum test (Mann and Whitney 1947); own derivation.",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Each nozzle at each midnight."""
        sales = past.sales
        worth = sales.volume_l >= self.settings.smallest_l
        blank = np.isnan(self._counted(past))
        if not (worth & blank).any():
            return
        offset = round(self.settings.utc_offset_h * 3_600e6)
        first, last = ((to_us(at) + offset) // _DAY_US for at in (since, until))
        for day in range(first + 1, last + 1):
            midnight = day * _DAY_US - offset
            inside = worth & (sales.end_us >= midnight - _WINDOW_US) & (sales.end_us < midnight)
            if not (inside & blank).any():
                continue
            for code in np.unique(sales.nozzle[inside & blank & (sales.end_us >= midnight - _DAY_US)]).tolist():
                seen = self._blanks(past, np.flatnonzero(inside), blank, code)
                if seen is not None:
                    yield self._finding(past, seen, from_us(midnight))

    def _counted(self, past: StationPast) -> NDArray[np.float64]:
        """(n,) what a sale can be compared with; NaN where nothing."""
        sales = past.sales
        registered = [past.nozzle_by_id.get(nozzle_id) for nozzle_id in sales.nozzle_ids]
        certified = np.array([bool(nozzle and nozzle.pulse_l) for nozzle in registered])
        by_pulses = certified[sales.nozzle] if len(certified) else np.zeros(len(sales), bool)
        return np.where(by_pulses, sales.encoder_pulses, sales.encoder_l)

    def _blanks(
        self, past: StationPast, inside: NDArray[np.intp], blank: NDArray[np.bool_], code: int
    ) -> _Blanks | None:
        sales, settings = past.sales, self.settings
        mine = inside[sales.nozzle[inside] == code]
        lacking = blank[mine]
        n, k = len(mine), int(lacking.sum())
        if n < _LEAST or k < settings.least or not settings.share_percent / 100.0 <= k / n <= _MOST:
            return None
        runs = int(lacking[0]) + int((lacking[1:] & ~lacking[:-1]).sum())
        others = inside[self._neighbours(past, code)[sales.nozzle[inside]]]
        others_blank = int(blank[others].sum())
        if k > _BITS * runs or len(others) < _LEAST or others_blank > min(_AT_MOST, _OTHERS * k / n) * len(others):
            return None
        return _Blanks(mine, lacking, len(others), others_blank, _larger(sales.volume_l[mine], lacking))

    @staticmethod
    def _neighbours(past: StationPast, code: int) -> NDArray[np.bool_]:
        """Which nozzles hang at the same dispenser; all others where none does."""
        ids = past.sales.nozzle_ids
        at = [nozzle.dispenser_id if (nozzle := past.nozzle_by_id.get(i)) else None for i in ids]
        near = np.array([other == at[code] and place != code for place, other in enumerate(at)])
        return near if near.any() else np.arange(len(ids)) != code

    def _finding(self, past: StationPast, seen: _Blanks, at: datetime) -> Finding:
        sales, offset = past.sales, self.settings.utc_offset_h
        rows = seen.rows[seen.blank]
        nozzle_id = sales.nozzle_ids[sales.nozzle[rows[-1]]]
        subject, label = past.subject(nozzle_id), nozzle_label(nozzle_id)
        n, k = len(seen.rows), len(rows)
        share, total = 100.0 * k / n, float(sales.volume_l[rows].sum())
        half = 196.0 * math.sqrt(k / n * (1.0 - k / n) / n)
        larger = seen.larger >= _LARGER
        means = [float(sales.volume_l[seen.rows[which]].mean()) for which in (seen.blank, ~seen.blank)]
        return Finding(
            id=finding_id(self.rule, subject, local_day(at, offset)),
            rule=self.rule,
            cause="collector_outage",
            subject=subject,
            severity=Severity.LOW if larger else Severity.INFO,
            departments=(Department.MARKET_REGULATION,),
            onset=from_us(sales.start_us[rows[0]]),
            detected_at=at,
            explanation=Explanation(
                title=title(label, f"{share:.0f}% 缺脉冲数", f"{share:.0f} % uncounted"),
                what=Text(
                    zh=f"{label.zh} {local(at, offset)} 前 28 天 {n} 笔中有 {k} 笔（{litres(total)}）没有编码器脉冲数；"
                    f"同机（站）其他枪 {seen.others} 笔中缺 {seen.others_blank} 笔。缺数各笔平均 {litres(means[0])}，"
                    f"其余 {litres(means[1])}。",
                    en=f"{label.en}: {k} of {count(n, 'sale', 'sales')} in the 28 days before {local(at, offset)} "
                    f"({litres(total)}) have no pulses; the nozzles beside it lack {seen.others_blank} of "
                    f"{seen.others}. Those without are {litres(means[0])} on average, the others {litres(means[1])}.",
                ),
                why=Text(
                    zh="采集器的故障会波及其他枪，这里只有一把枪缺数，且断断续续"
                    + (f"，缺数的各笔明显偏大（{seen.larger:.1f} 倍标准差）。" if larger else "。"),
                    en="A fault of the collector shows at other nozzles too; here it is one nozzle only, on and off"
                    + (f", and larger fillings by {seen.larger:.1f} standard deviations." if larger else "."),
                ),
                otherwise=Text(
                    zh="该枪编码器线路接触不良，长时间加油更易碰上；该枪编码器老化。",
                    en="A bad contact at this nozzle's encoder, which long fillings meet more often; a worn encoder.",
                ),
                on_site=Text(
                    zh="抄录该枪编码器累计脉冲数与泵码核对；检查编码器接线及附加装置；用 20 L 标准金属量器核验。",
                    en="Compare the encoder's total with the totalizer; look at its wiring and at anything added to "
                    "it; verify with a 20 L standard can.",
                ),
            ),
            estimate=Estimate(round(share, 2), "%", round(max(share - half, 0.0), 2), round(share + half, 2), 0.95),
            evidence=tuple(
                Evidence(
                    "transaction",
                    f"{nozzle_id}/{int(sales.seq[row])}",
                    {
                        "end": from_us(sales.end_us[row]).astimezone(UTC).isoformat(),
                        "displayed_l": float(sales.volume_l[row]),
                        "pulses": None,
                    },
                )
                for row in rows[-20:].tolist()
            ),
            figures=(_figure(past, seen, label),),
        )


def _larger(volumes: NDArray[np.float64], lacking: NDArray[np.bool_]) -> float:
    """By how many standard deviations these rank above the others; equal litres share their ranks."""
    _, place, times = np.unique(volumes, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2.0)[place]
    n, k = len(volumes), int(lacking.sum())
    ties = float((times.astype(float) ** 3 - times).sum()) / (n * (n - 1))
    variance = k * (n - k) / 12.0 * (n + 1 - ties)
    return 0.0 if variance <= 0.0 else (float(ranks[lacking].sum()) - k * (n + 1) / 2.0) / math.sqrt(variance)


def _figure(past: StationPast, seen: _Blanks, label: Text) -> Figure:
    """Displayed litres over time: with a count and without."""
    sales = past.sales
    kinds = ((Text("有脉冲数", "counted"), ~seen.blank, False), (Text("缺脉冲数", "uncounted"), seen.blank, True))
    curves = []
    for name, which, alarm in kinds:
        rows = seen.rows[which]
        rows = rows[:: max(1, -(-len(rows) // _DRAWN))]
        times, volumes = (sales.end_us[rows] / 1e6).tolist(), sales.volume_l[rows].tolist()
        curves.append(Curve(name, tuple(times), tuple(volumes), shape="points", alarm=alarm))
    return Figure(
        title=Text(f"{label.zh} 有无脉冲数的各笔", f"{label.en}: sales with and without a count"),
        x=Text("时间", "time"),
        y=Text("显示量（L）", "displayed (L)"),
        curves=tuple(curves),
    )
