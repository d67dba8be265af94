"""The rule ``flow``: what no nozzle can do. Too many litres in the time, or at all, and two sales at once.

Invented and edited records forget physics first. A clock that is set while fuel flows makes one such record; so one is
a note, and only another of the same nozzle an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

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
    History,
    PluginSettings,
    Record,
    RecordRule,
    Severity,
    StationPast,
    Text,
    Transaction,
    finding_id,
    subject_of,
)
from pumpwatch.wording import count, litres, local, nozzle_label, title

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOOK_BACK = 60
_TIMED = 10
"""So many sales of the nozzle that took time show that starts are told at all."""
_CLOCK_S = 2.0
"""Start and end are told in whole seconds."""
_EVIDENCE = 10


class FlowSettings(PluginSettings):
    """Keys of ``[rules.flow]``."""

    most_l_min: float = Field(160.0, gt=0.0, description="The fastest nozzle, litres a minute.")
    most_l: float = Field(2_000.0, gt=0.0, description="The largest sale, litres.")
    overlap_s: float = Field(
        300.0, ge=0.0, description="By so much a sale may begin before the last one ended, seconds: a clock was set."
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


ABOUT = About(
    title=Text("加油记录不合物理", "Impossible sales"),
    catches=(),
    inputs="Of each filling `start`, `end`, `volume_l`, and the end and number of the one before.",
    statistic=(
        "Litres against what the nozzle can give in end − start + 2 s; litres at all; end − start; the start against "
        "the end of the sale with the number before."
    ),
    threshold=(
        "More than 160 L/min (dispensers for cars give 5–50 L/min, those for lorries up to 130), above 2,000 L or "
        "below zero, an end more than 300 s before the start, a start more than 300 s before the end of the sale "
        "before. "
        "Litres beyond the limit are an alarm on the first record. All else is a note the first time, and an alarm "
        "when another of the last 60 sales of the nozzle was impossible too."
    ),
    power=(
        "Of invented records every one beyond the limits is seen, by arithmetic; there is no scenario of it. 0 false "
        "alarms in 457 simulated honest nozzle-years, 218 of them with verification draws, power cuts, back-filled "
        "outages, price changes, recalibrations, roll-overs and seven wrong clocks a station. In those, clocks that "
        "were set while fuel flowed left 140 notes and no two within 60 sales of a nozzle."
    ),
    pitfalls=(
        "A clock that is set back while fuel flows shortens one sale, which then looks too fast, or ends before it "
        "began: `clock` says so. It takes two corrections while fuel flows to make two such sales in 60. A site that "
        "does not tell starts has them equal to ends: without ten sales of the nozzle before that took time, times are "
        "not judged. Where numbers do not follow one another (a clock set back by an hour mixes old and new sales), "
        "overlaps are not judged. A jump of the display (5–10 % more litres in the same time) stays far below the "
        "limit: `pulse_ratio` sees it."
    ),
    source="GB/T 9081-2023 (flow 5–50 L/min, or as the type states); arithmetic.",
)


@dataclass(frozen=True, slots=True)
class Impossible:
    """What is wrong with one sale."""

    kind: str
    """``too_fast``, ``too_much``, ``backwards`` or ``overlap``."""
    value: float
    unit: str
    limit: float

    @property
    def sure(self) -> bool:
        """Whether no clock can be the reason."""
        return self.kind == "too_much"


class Flow(RecordRule):
    """What no nozzle can do."""

    rule: ClassVar[str] = "flow"
    Settings: ClassVar[type[PluginSettings]] = FlowSettings
    watches: ClassVar[tuple[type, ...]] = (Transaction,)
    reach: ClassVar[int] = _LOOK_BACK
    settings: FlowSettings
    about: ClassVar[About] = ABOUT

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one sale."""
        if not isinstance(record, Transaction):
            return
        before = history.before(record, 1)
        wrong = self._wrong(record, before[0] if before else None)
        if wrong is None:
            return
        known = [*history.before(record, _LOOK_BACK), record]
        timed = sum(sale.end > sale.start for sale in known[:-1])
        if not wrong.sure and (timed < _TIMED or 2 * timed < len(known) - 1):
            return
        others = [s for b, s in pairwise(known[:-1]) if self._wrong(s, b) is not None]
        yield self._finding(record, wrong, known, others, history)

    def screen(self, past: StationPast) -> NDArray[np.bool_]:
        """Which fillings are too fast, too large, backwards, or begin before the last one ended."""
        settings, sales = self.settings, past.sales
        took = (sales.end_us - sales.start_us) / 1e6
        worth: NDArray[np.bool_] = sales.volume_l > np.maximum(took + _CLOCK_S, 0.0) * (settings.most_l_min / 60.0)
        worth |= (sales.volume_l > settings.most_l) | (sales.volume_l < 0.0) | (took < -settings.overlap_s)
        again = (sales.nozzle[1:] == sales.nozzle[:-1]) & (sales.seq[1:] == sales.seq[:-1] + 1)
        worth[1:] |= again & (sales.end_us[:-1] - sales.start_us[1:] > settings.overlap_s * 1e6)
        return worth

    def _wrong(self, sale: Transaction, before: Transaction | None) -> Impossible | None:
        settings = self.settings
        volume, took = sale.volume_l, (sale.end - sale.start).total_seconds()
        if volume > settings.most_l or volume < 0.0:
            return Impossible("too_much", volume, "L", settings.most_l)
        if took < -settings.overlap_s:
            return Impossible("backwards", took, "s", -settings.overlap_s)
        if took >= 0.0 and volume > (took + _CLOCK_S) * settings.most_l_min / 60.0:
            return Impossible("too_fast", 60.0 * volume / (took + _CLOCK_S), "L/min", settings.most_l_min)
        if before is not None and before.seq + 1 == sale.seq:
            overlap = (before.end - sale.start).total_seconds()
            if overlap > settings.overlap_s:
                return Impossible("overlap", overlap, "s", settings.overlap_s)
        return None

    def _finding(
        self,
        sale: Transaction,
        wrong: Impossible,
        known: Sequence[Transaction],
        others: Sequence[Transaction],
        history: History,
    ) -> Finding:
        subject = subject_of(sale.nozzle_id, history)
        alarm = wrong.sure or bool(others)
        return Finding(
            id=finding_id(self.rule, subject, sale.seq, sale.end.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="synthetic_data",
            subject=subject,
            severity=Severity.MEDIUM if alarm else Severity.INFO,
            departments=(Department.MARKET_REGULATION,),
            onset=min(sale.start, sale.end),
            detected_at=sale.end,
            explanation=self._explain(sale, wrong, len(others)),
            estimate=Estimate(round(wrong.value, 2), wrong.unit),
            evidence=tuple(_evidence(s) for s in [*others, sale][-_EVIDENCE:]),
            figures=(self._figure(known),),
        )

    def _explain(self, sale: Transaction, wrong: Impossible, others: int) -> Explanation:
        label = nozzle_label(sale.nozzle_id)
        start, end = local(sale.start, self.settings.utc_offset_h), local(sale.end, self.settings.utc_offset_h)
        value, limit = f"{wrong.value:,.0f} {wrong.unit}", f"{wrong.limit:,.0f} {wrong.unit}"
        value, limit = value.replace("-", "−"), limit.replace("-", "−")
        kind = _KINDS[wrong.kind]
        again_zh = f"最近 {_LOOK_BACK} 笔中还有 {others} 笔同样不可能。" if others else "此前没有这样的记录。"
        again_en = (
            f"So {count(others, 'was another sale', 'were other sales')} of the last {_LOOK_BACK}."
            if others
            else "It is the first such record."
        )
        return Explanation(
            title=title(label, f"{kind.zh} {value}", f"{kind.en} {value}"),
            what=Text(
                zh=f"{label.zh}序号 {sale.seq}：{start} 至 {end} 加油 {litres(sale.volume_l)}，{kind.zh}：{value}，"
                f"极限 {limit}。{again_zh}",
                en=f"{label.en}, sale {sale.seq}: {litres(sale.volume_l)} from {start} to {end}, {kind.en}: {value}, "
                f"the limit is {limit}. {again_en}",
            ),
            why=Text(
                zh="任何油枪都做不到：请核验这条记录从何而来。",
                en="No nozzle can do it: verify where this record comes from.",
            ),
            otherwise=Text(
                zh="加油进行中校正了时钟（只会有一笔）；大流量枪而设定值偏小；接口程序把时间写错。",
                en="The clock was set while fuel flowed (one record only); a nozzle faster than the setting; an "
                "interface that mixes up times.",
            ),
            on_site=Text(
                zh="调出加油机内的同一条记录和小票、监控录像对照；核对加油机时钟。",
                en="Compare the same record in the dispenser, the receipt and the video; check the dispenser's clock.",
            ),
        )

    def _figure(self, known: Sequence[Transaction]) -> Figure:
        """Litres over duration; the limit is a line through the origin."""
        took = [max((s.end - s.start).total_seconds(), 0.0) for s in known]
        volumes = [s.volume_l if math.isfinite(s.volume_l) else 0.0 for s in known]
        longest = max([*took, 60.0])
        label = nozzle_label(known[-1].nozzle_id)
        curves = [
            Curve(
                Text("最快", "fastest"), (0.0, longest), (0.0, longest * self.settings.most_l_min / 60.0), shape="limit"
            ),
            Curve(Text("本笔", "this sale"), (took[-1],), (volumes[-1],), shape="points", alarm=True),
        ]
        if len(known) > 1:
            curves.insert(0, Curve(Text("此前", "before"), tuple(took[:-1]), tuple(volumes[:-1]), shape="points"))
        return Figure(
            title=Text(f"{label.zh} 升数与用时", f"{label.en}: litres and time taken"),
            x=Text("用时（秒）", "time taken (s)"),
            y=Text("升", "litres"),
            curves=tuple(curves),
            x_is_time=False,
        )


_KINDS = {
    "too_fast": Text("流量过大", "flow"),
    "too_much": Text("升数过大", "volume"),
    "backwards": Text("结束早于开始", "ends before start"),
    "overlap": Text("与上一笔重叠", "overlaps the last"),
}


def _evidence(sale: Transaction) -> Evidence:
    return Evidence(
        kind="transaction",
        reference=f"{sale.nozzle_id}/{sale.seq}",
        data={
            "start": sale.start.astimezone(UTC).isoformat(),
            "end": sale.end.astimezone(UTC).isoformat(),
            "displayed_l": sale.volume_l,
            "seconds": (sale.end - sale.start) / timedelta(seconds=1),
        },
    )
