"""What ``flow_switch`` says of what it saw: the findings, their words, evidence and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch import (
    Curve,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Figure,
    Finding,
    Severity,
    StationPast,
    Text,
    finding_id,
    from_us,
)
from pumpwatch.courses import DAY_US
from pumpwatch.wording import count, local_day, nozzle_label, percent, title
from pumpwatch_physics.flow_rates import Modes, Rates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch_physics.flow_fillings import Fillings

RULE: Final = "flow_switch"
BEFORE_DAYS: Final = 14
"""What a change is measured against."""
SLOW_DAYS: Final = 28
"""Over which a slow fall is judged."""
MOST_DAYS: Final = 32
"""Of the longest window."""
LEAST_SIZE: Final = 0.025
"""A second mode nearer than this is none."""
_GRAVE: Final = 0.05
_SHOWN, _EVIDENCE = 230, 20
_MOST_EXCESS: Final = 0.35
"""More is a record gone wrong."""


class Told:
    """Makes findings of what was seen at a station."""

    def __init__(self, past: StationPast, fillings: Fillings, made: Rates, nats: float, utc_offset_h: float) -> None:
        self._past, self._fillings, self._made = past, fillings, made
        self._nats, self._utc_offset_h = nats, utc_offset_h

    def modes(self, nozzle: int, day: int, length: int, modes: Modes) -> Finding:
        """Some fillings flow faster than the others."""
        made = self._made
        mine = (made.nozzle == nozzle) & (made.day > day - length) & (made.day <= day)
        mine = np.flatnonzero(mine & (made.excess < _MOST_EXCESS))
        size, number = 100.0 * modes.size, len(mine)
        fast = round(modes.share * number)
        half = 196.0 * modes.size_sd
        low, high = max(0.0, size - half), size + half
        days = len(np.unique(made.day[mine]))
        fastest = np.sort(mine[np.argsort(-made.excess[mine], kind="stable")[:_EVIDENCE]])
        label = nozzle_label(self._name(nozzle))
        interval = f"{percent(low)}", f"{percent(high)}"
        return self._finding(
            nozzle,
            day,
            day - length + 1,
            "selective_short_delivery",
            Severity.HIGH if modes.size >= _GRAVE else Severity.MEDIUM,
            Estimate(round(size, 3), "%", round(low, 3), round(high, 3), 0.95),
            Explanation(
                title=title(label, f"部分加油偏快 {size:+.1f}%", f"some sales faster {size:+.1f}%"),
                what=Text(
                    zh=f"{days} 天内的 {number} 笔中约 {fast} 笔（{100.0 * modes.share:.0f}%）显示流量比同枪其他加油"
                    f"平均高 {percent(size)}（95% 区间 {interval[0]} 至 {interval[1]}）。",
                    en=f"Of {count(number, 'filling', 'fillings')} in {count(days, 'day', 'days')} about {fast} "
                    f"({100.0 * modes.share:.0f}%) showed a flow {percent(size)} above the others of this nozzle on "
                    f"the average (95% interval {interval[0]} to {interval[1]}).",
                ),
                why=Text(
                    zh="同一油枪的流量应对称地分布在一个值附近；多出一个更高的值，说明部分加油的显示可能比出油快。"
                    f"两个流量的似然比为 e^{modes.nats:.0f}，门限 e^{self._nats:.0f}。",
                    en="The flow of one nozzle scatters evenly about one value. A second, higher one may mean that "
                    "the display runs faster than the fuel at some customers. Two flows are "
                    f"e^{modes.nats:.0f} times likelier than one; the limit is e^{self._nats:.0f}.",
                ),
                otherwise=Text(
                    zh="第二台泵只在部分时间工作；油枪有快慢两档且顾客选择不同；对接程序把起止时间写错。",
                    en="A second pump that runs part of the time; a nozzle with two speeds; an interface that mixes up "
                    "times.",
                ),
                on_site=Text(
                    zh="对照所列加油的监控录像、时刻和收款；检查有无遥控装置、额外线路；用标准金属量器在正常营业中不经预告地检测。",
                    en="Look at the video, the hours and the payments of the fillings listed; look for a remote "
                    "control or extra wires; measure unannounced, during ordinary trade.",
                ),
            ),
            tuple(self._evidence(int(place)) for place in fastest),
            self._scatter(nozzle, mine, modes, day),
        )

    def step(self, nozzle: int, day: int, change: float, sd: float, *, new_filter: bool) -> Finding:
        """All fillings changed from one day to the next."""
        size = 100.0 * float(np.expm1(change))
        low, high = (100.0 * float(np.expm1(change + side * 1.96 * sd)) for side in (-1.0, 1.0))
        why = (
            Text(
                "此前流量缓慢下降，之后一次回升：与更换滤芯相符。", "It had fallen slowly before: as with a new filter."
            )
            if new_filter
            else Text(
                "显示流量一次性改变。仅凭流量不能判断哪一边准确。",
                "The flow shown changed at once. The flow alone cannot tell which of the two is right.",
            )
        )
        return self._note(
            nozzle,
            day,
            day - 1,
            "filter_clogged" if new_filter else "flow_change",
            Estimate(round(size, 3), "%", round(low, 3), round(high, 3), 0.95),
            Text(f"流量突变 {size:+.1f}%", f"flow changed {size:+.1f}%"),
            Text(
                f"全部加油的流量比此前 {BEFORE_DAYS} 天的走势变化 {percent(size)}。",
                f"The flow of all fillings changed by {percent(size)} from the course of {BEFORE_DAYS} days before.",
            ),
            why,
        )

    def fall(self, nozzle: int, day: int, fall: float, sd: float) -> Finding:
        """All fillings become slower day by day."""
        size = 100.0 * float(np.expm1(-fall))
        low, high = (100.0 * float(np.expm1(-fall + side * 1.96 * sd)) for side in (-1.0, 1.0))
        return self._note(
            nozzle,
            day,
            day - SLOW_DAYS + 1,
            "filter_clogged",
            Estimate(round(size, 3), "%", round(low, 3), round(high, 3), 0.95),
            Text(f"流量渐降 {size:+.0f}%", f"flow falling {size:+.0f}%"),
            Text(
                f"{SLOW_DAYS} 天内流量均匀下降 {percent(size)}。",
                f"The flow fell evenly, by {percent(size)} in {SLOW_DAYS} days.",
            ),
            Text("均匀缓慢的下降与滤芯堵塞相符。", "An even, slow fall is what a filter does that clogs."),
        )

    def _note(
        self, nozzle: int, day: int, since: int, cause: str, size: Estimate, name: Text, what: Text, why: Text
    ) -> Finding:
        label = nozzle_label(self._name(nozzle))
        counted = int(self._made.counted[nozzle, max(since, 0) : day + 1].sum())
        evidence = Evidence(
            "flow",
            f"{self._name(nozzle)}/{self._date(day)}",
            {"fillings": counted, "l_min": round(60.0 * float(np.exp(self._made.centre[nozzle, day])), 2)},
        )
        return self._finding(
            nozzle,
            day,
            since,
            cause,
            Severity.INFO,
            size,
            Explanation(
                title=title(label, name.zh, name.en),
                what=Text(f"{label.zh}：{what.zh}", f"{label.en}: {what.en}"),
                why=why,
                otherwise=Text(
                    "滤芯堵塞或更换、油泵检修、油温变化；也可能是计量部分被改动。",
                    "A filter clogged or renewed, work on the pump, colder fuel; or a change at meter or pulses.",
                ),
                on_site=Text(
                    "核对滤芯和油泵的维修记录；没有记录时安排检定。",
                    "Compare the papers on filter and pump; without any, have the nozzle verified.",
                ),
            ),
            (evidence,),
            self._course(nozzle, day),
        )

    def _finding(
        self,
        nozzle: int,
        day: int,
        since: int,
        cause: str,
        severity: Severity,
        estimate: Estimate,
        explanation: Explanation,
        evidence: tuple[Evidence, ...],
        figure: Figure,
    ) -> Finding:
        subject = self._past.subject(self._name(nozzle))
        alarm = severity is not Severity.INFO
        return Finding(
            id=finding_id(RULE, subject, cause, self._date(day)),
            rule=RULE,
            cause=cause,
            subject=subject,
            severity=severity,
            departments=(Department.MARKET_REGULATION, *((Department.POLICE,) if alarm else ())),
            onset=from_us(self._midnight_us(max(since, 0))),
            detected_at=from_us(self._midnight_us(day + 1)),
            explanation=explanation,
            estimate=estimate,
            evidence=evidence,
            figures=(figure,),
        )

    def _name(self, nozzle: int) -> str:
        return self._past.nozzles[nozzle].nozzle_id

    def _midnight_us(self, day: int) -> int:
        return (self._made.first_day + day) * DAY_US - round(self._utc_offset_h * 3_600e6)

    def _date(self, day: int) -> str:
        return local_day(from_us(self._midnight_us(day)), self._utc_offset_h)

    def _evidence(self, place: int) -> Evidence:
        made, fillings = self._made, self._fillings
        row = int(made.row[place])
        return Evidence(
            "transaction",
            f"{self._name(int(fillings.nozzle[row]))}/{int(fillings.seq[row])}",
            {
                "start": from_us(int(fillings.start_us[row])).isoformat(),
                "end": from_us(int(fillings.end_us[row])).isoformat(),
                "displayed_l": float(fillings.litres[row]),
                "l_min": round(float(made.flow_l_min[place]), 2),
                "faster_percent": round(100.0 * float(np.expm1(made.excess[place])), 1),
            },
        )

    def _scatter(self, nozzle: int, mine: NDArray[np.int64], modes: Modes, day: int) -> Figure:
        """The fillings' flows, the faster ones apart, and the plateau of the others."""
        made, fillings = self._made, self._fillings
        limit = modes.centre + max(0.5 * modes.size, LEAST_SIZE)
        fast = made.excess[mine] > limit

        def points(places: NDArray[np.int64], most: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
            some = places[np.unique(np.linspace(0, len(places) - 1, min(len(places), most)).astype(int))]
            at = fillings.end_us[made.row[some]] / 1e6
            return tuple(at.tolist()), tuple(np.round(made.flow_l_min[some], 2).tolist())

        days = np.unique(made.day[mine])
        times = tuple(self._midnight_us(int(each)) / 1e6 + 43_200.0 for each in days)
        plateau = 60.0 * np.exp(made.centre[nozzle, days] + modes.centre)
        rest_x, rest_y = points(mine[~fast], _SHOWN)
        fast_x, fast_y = points(mine[fast], 400 - _SHOWN - 2 * MOST_DAYS)
        return Figure(
            title=Text("各笔加油的显示流量", "Flow shown, filling by filling"),
            x=Text("时间", "time"),
            y=Text("流量 (L/min)", "flow (L/min)"),
            curves=(
                Curve(Text("其他加油", "others"), rest_x, rest_y, "points"),
                Curve(Text("偏快", "faster"), fast_x, fast_y, "points", alarm=True),
                Curve(Text("该枪流量", "the nozzle's flow"), times, tuple(np.round(plateau, 2).tolist())),
                Curve(
                    Text("第二流量", "second flow"),
                    times,
                    tuple(np.round(plateau * (1.0 + modes.size), 2).tolist()),
                    "limit",
                ),
            ),
        )

    def _course(self, nozzle: int, day: int) -> Figure:
        """The nozzle's flow day by day."""
        days = np.arange(max(day - 2 * SLOW_DAYS, 0), day + 1)
        days = days[np.isfinite(self._made.centre[nozzle, days])]
        times = tuple(self._midnight_us(int(each)) / 1e6 + 43_200.0 for each in days)
        flow = tuple(np.round(60.0 * np.exp(self._made.centre[nozzle, days]), 2).tolist())
        return Figure(
            title=Text("每日流量", "Flow day by day"),
            x=Text("时间", "time"),
            y=Text("流量 (L/min)", "flow (L/min)"),
            curves=(Curve(Text("流量", "flow"), times, flow, alarm=True),),
        )
