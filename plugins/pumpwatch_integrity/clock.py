"""The rules ``clock_fault`` and ``clock_backwards``: a clock wrong by a minute, straying, or turned back.

Whoever turns a clock back puts sales where nobody looks for them. Two witnesses: the collector's own comparison of the
clocks, and the records themselves, of which none can begin before the one with the lower number has ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Curve,
    Department,
    DeviceEvent,
    Estimate,
    EventKind,
    Evidence,
    Explanation,
    Figure,
    Finding,
    History,
    PluginSettings,
    Record,
    RecordRule,
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
from pumpwatch.wording import dispenser_label, local, title
from pumpwatch_integrity.parts import number

_RENUMBERED = 1_000
"""Numbers that differ by more belong to another epoch of the sequence."""
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_COMPARED_S = 60.0
"""A comparison of clocks speaks for an overlap up to so much longer: the sales have their length."""
_WEEK = timedelta(days=7)


class ClockSettings(PluginSettings):
    """Keys of ``[rules.clock_fault]``."""

    drift_s_per_day: float = Field(2.0, gt=0.0, description="What a clock may gain or lose, seconds a day.")
    absolute_s: float = Field(60.0, gt=0.0, description="How wrong a clock may be found by the collector, seconds.")
    corrections: int = Field(2, ge=1, description="So many larger corrections in seven days are no matter.")
    noted_s: float = Field(2.0, ge=0.0, description="From here on the collector notes a wrong clock, seconds.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class ClockFault(RecordRule):
    """One finding for each comparison of the collector that is beyond the limits, and for corrections that repeat."""

    rule: ClassVar[str] = "clock_fault"
    Settings: ClassVar[type[PluginSettings]] = ClockSettings
    watches: ClassVar[tuple[type, ...]] = (DeviceEvent,)
    explains: ClassVar[frozenset[str]] = frozenset({"sequence_gap", "offline_sale"})
    settings: ClockSettings
    about: ClassVar[About] = About(
        title=Text("时钟回拨或漂移", "Clock set back or drifting"),
        catches=("C06",),
        inputs="Clock events of the collector: ``ahead_s``, how far the dispenser's clock is ahead of its own; and "
        "``step_s``, by how much it was set.",
        statistic="``a``: seconds ahead. Rate: (a − a′) / days since a′, the oldest comparison of the last two days, "
        "at least half a day ago; without any in these days a′ was below what is noted, so the rate is at least "
        "|a| − 2 s a day. Corrections of more than 60 s in seven days.",
        threshold="|a| > 60 s; rate > 2 s a day; more than two such corrections in seven days (low).",
        power="Steps of −3,600, −90 and +86,400 s: 24 of 24 by the first comparison, ten minutes after. Drifts of ±5 "
        "s a day: 16 of 16 after one day; 3 s a day: 8 of 8 after two, when there are two comparisons. Honest: none "
        "in 448 honest nozzle-years (honest scenarios on, all probes, demand 0.3 to 1.6, nuisances to 1.5 times), "
        "with clocks that gain up to 1 s a day and corrections of 90 s (H20).",
        pitfalls="A correction (``step_s``) alone is no fault, and no rate is made across it. Summer time; a "
        "dispenser whose power failed and that starts at an old time until the network sets it.",
        source="Own derivation (D8 on the scenarios' page); a quartz clock at ±20 ppm gains or loses 1.7 s a day.",
    )

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one comparison of clocks."""
        if isinstance(record, DeviceEvent) and record.kind is EventKind.CLOCK:
            yield from self._told(record, history)

    def _told(self, event: DeviceEvent, history: History) -> Iterator[Finding]:
        ahead, step = _number(event, "ahead_s"), _number(event, "step_s")
        if step is not None and abs(step) > self.settings.absolute_s:
            yield from self._set_again(event, step, history)
        if ahead is None:
            return
        settings = self.settings
        wrong = abs(ahead) > settings.absolute_s
        if not wrong and abs(self._rate(event, ahead, history)) <= settings.drift_s_per_day:
            return
        subject = Subject(event.station_id, None if event.device_id == event.station_id else event.device_id)
        label, when = dispenser_label(event.device_id), local(event.at, settings.utc_offset_h)
        fast = Text("快", "fast") if ahead > 0 else Text("慢", "slow")
        drift = Text(
            f"，每天走差超过 {settings.drift_s_per_day:g} s",
            f" and strays by more than {settings.drift_s_per_day:g} s a day",
        )
        if wrong:
            drift = Text("", "")
        what = Text(
            zh=f"{when} 采集器对时：{label.zh}的时钟{fast.zh} {abs(ahead):,.1f} s{drift.zh}。",
            en=f"The collector compared clocks at {when}: {label.en} is {abs(ahead):,.1f} s {fast.en}{drift.en}.",
        )
        why = Text(
            zh=f"允许每天 {settings.drift_s_per_day:g} s、总共 {settings.absolute_s:g} s；石英钟每天差不到 2 s。",
            en=f"Allowed are {settings.drift_s_per_day:g} s a day and {settings.absolute_s:g} s in all; a quartz clock "
            "strays by less than 2 s a day.",
        )
        yield _finding(
            self.rule,
            subject,
            ("told", event.at.astimezone(UTC).isoformat()),
            (event.at, event.at),
            Severity.MEDIUM if wrong else Severity.LOW,
            (_titled(label, ahead), what, why),
            Estimate(ahead, "s", ahead - 0.5, ahead + 0.5, 0.95),
            (
                Evidence(
                    "device_event",
                    f"{event.station_id}/{event.device_id}",
                    {
                        "at": event.at.astimezone(UTC).isoformat(),
                        "ahead_s": ahead,
                    },
                ),
            ),
        )

    def _set_again(self, event: DeviceEvent, step: float, history: History) -> Iterator[Finding]:
        """A clock that is set by more than is allowed, again and again."""
        settings = self.settings
        week = history.events(event.station_id, EventKind.CLOCK, event.at - _WEEK, event.at)
        before = {
            other.at: said
            for other in week
            if other.device_id == event.device_id
            and (said := _number(other, "step_s")) is not None
            and abs(said) > settings.absolute_s
        }
        many = len(before) + 1
        if many <= settings.corrections:
            return
        subject = Subject(event.station_id, None if event.device_id == event.station_id else event.device_id)
        label, when = dispenser_label(event.device_id), local(event.at, settings.utc_offset_h)
        steps = [*before.items(), (event.at, step)]
        yield _finding(
            self.rule,
            subject,
            ("set", event.at.astimezone(UTC).isoformat()),
            (min(before), event.at),
            Severity.LOW,
            (
                title(label, f"时钟7天校{many}次", f"clock set {many} times"),
                Text(
                    zh=f"{label.zh}的时钟 7 天内第 {many} 次被校正超过 {settings.absolute_s:g} s，最近一次在 {when}，"
                    f"校 {step:,.1f} s。",
                    en=f"The clock of {label.en} was set by more than {settings.absolute_s:g} s for time {many} in "
                    f"seven days, last at {when}, by {step:,.1f} s.",
                ),
                Text(
                    zh="石英钟每天差不到 2 s，校正一次可管数周；反复大幅校正会使前后交易的时间无法核对。",
                    en="A quartz clock strays by less than 2 s a day, so one correction lasts for weeks. Large ones "
                    "again and again leave times that cannot be compared.",
                ),
            ),
            Estimate(step, "s", step - 0.5, step + 0.5, 0.95),
            tuple(
                Evidence(
                    "device_event",
                    f"{event.station_id}/{event.device_id}",
                    {"at": at.astimezone(UTC).isoformat(), "step_s": said},
                )
                for at, said in sorted(steps)[-20:]
            ),
        )

    def _rate(self, event: DeviceEvent, ahead: float, history: History) -> float:
        """Seconds a day, at least; 0 where a setting of the clock stands between."""
        known: tuple[datetime, float] | None = None
        for other in history.events(event.station_id, EventKind.CLOCK, event.at - timedelta(days=2), event.at):
            if other.device_id == event.device_id:
                if _number(other, "step_s") is not None:
                    return 0.0
                was = _number(other, "ahead_s")
                known = known if was is None or known is not None else (other.at, was)
        if known is None:
            beyond = max(abs(ahead) - self.settings.noted_s, 0.0)
            return beyond if ahead > 0 else -beyond
        days = (event.at - known[0]).total_seconds() / 86_400
        return 0.0 if days < 0.5 else (ahead - known[1]) / days


class BackwardSettings(PluginSettings):
    """Keys of ``[rules.clock_backwards]``."""

    corrected_s: float = Field(
        300.0, ge=60.0, description="Overlaps up to this may be a restart that the network sets right, seconds."
    )
    patience_h: float = Field(
        26.0, ge=0.0, le=48.0, description="How long after the day the collector's comparison is waited for, hours."
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class _Overlap:
    """Two neighbours by end of which the newer, by number, began before the older had ended."""

    older: int
    newer: int
    """Rows of the sales."""
    end_us: int
    back_us: int


class ClockBackwards(Review):
    """Sales with higher numbers that began before those with lower ones had ended; one finding a dispenser and day.

    For collectors that compare no clocks: what the collector says itself within a day is ``clock_fault``'s matter.
    """

    rule: ClassVar[str] = "clock_backwards"
    Settings: ClassVar[type[PluginSettings]] = BackwardSettings
    lookback: ClassVar[timedelta] = timedelta(days=20)
    explains: ClassVar[frozenset[str]] = frozenset({"sequence_gap", "offline_sale"})
    settings: BackwardSettings
    about: ClassVar[About] = About(
        title=Text("交易时间倒退", "Sales stamped backwards"),
        catches=("C06",),
        inputs="Number, totalizer, start and end of sales; clock events, if the collector makes any.",
        statistic="Over neighbours by end of one nozzle: end of the sale with the lower number − start of the one with "
        "the higher. The largest of a day.",
        threshold="Above 300 s: a clock that starts wrong and is set right by the network overlaps less. Numbers must "
        "be within 1,000 of each other, and the lower one must neither exist before nor have the higher totalizer: "
        "numbers that were set back are no clock.",
        power="A clock set back an hour at a busy hour is seen at the first sale that falls between older ones; at "
        "night, when a nozzle sells less than once an hour, it may leave nothing. Honest: none in 448 honest "
        "nozzle-years (honest scenarios on, all probes, demand 0.3 to 1.6, nuisances to 1.5 times); numbers set back "
        "by 200 (T02) stay silent.",
        pitfalls="A nozzle that sold nothing in the hours around the step shows nothing. Claimed 26 h after the day, "
        "when a daily comparison of clocks would have come; then the comparison counts, not the records, if it is "
        "as large as the overlap (to 60 s).",
        source="Own derivation (D8 on the scenarios' page).",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Every dispenser and day that is complete, with a day's patience."""
        days: dict[tuple[str | None, int], list[_Overlap]] = defaultdict(list)
        offset_us = round(self.settings.utc_offset_h * _HOUR_US)
        first_us = to_us(since) - 4 * _DAY_US
        for overlap in _overlaps(past.sales):
            if overlap.back_us > self.settings.corrected_s * 1e6 and overlap.end_us >= first_us:
                nozzle = past.sales.nozzle_ids[past.sales.nozzle[overlap.newer]]
                days[past.subject(nozzle).dispenser_id, (overlap.end_us + offset_us) // _DAY_US].append(overlap)
        for (dispenser_id, day), found in sorted(days.items(), key=lambda entry: (entry[0][1], str(entry[0][0]))):
            closed_us = (day + 1) * _DAY_US - offset_us
            at = from_us(closed_us + round(self.settings.patience_h * _HOUR_US))
            worst = max(found, key=lambda o: (o.back_us, -o.end_us))
            asked = from_us(closed_us - 2 * _DAY_US), at
            if since < at <= until and not _compared(past, dispenser_id, *asked, worst.back_us / 1e6):
                yield self._claim(past, Subject(past.station_id, dispenser_id), worst, at, day)

    def _claim(self, past: StationPast, subject: Subject, worst: _Overlap, at: datetime, day: int) -> Finding:
        older, newer = past.sales.record(worst.older), past.sales.record(worst.newer)
        back_s, zone, label = worst.back_us / 1e6, self.settings.utc_offset_h, dispenser_label(subject.key)
        what = Text(
            zh=f"{label.zh}序号 {newer.seq} 的交易于 {local(newer.start, zone)} 开始，早于序号 {older.seq} 的交易结束"
            f"（{local(older.end, zone)}）：时钟至少倒退 {back_s:,.0f} s。",
            en=f"{label.en}: sale {newer.seq} began {local(newer.start, zone)}, before sale {older.seq} ended "
            f"({local(older.end, zone)}): the clock went back by at least {back_s:,.0f} s.",
        )
        why = Text(
            zh="同一把枪一次只能加一笔油，序号大的必在序号小的之后；序号没有重复，是时间倒退。",
            en="One nozzle fills one car at a time, and the higher number is the later sale. No number stands twice: "
            "it is the time that went back.",
        )
        evidence = tuple(
            Evidence(
                "transaction",
                f"{sale.nozzle_id}/{sale.seq}",
                {
                    "start": sale.start.astimezone(UTC).isoformat(),
                    "end": sale.end.astimezone(UTC).isoformat(),
                    "displayed_l": sale.volume_l,
                },
            )
            for sale in (older, newer)
        )
        return _finding(
            self.rule,
            subject,
            (day,),
            (min(newer.start, older.end), at),
            Severity.MEDIUM,
            (_titled(label, -back_s), what, why),
            Estimate(round(-back_s, 1), "s", None, round(-back_s, 1), 1.0),
            evidence,
            (_order_figure(past.sales, worst),),
        )


def _overlaps(sales: Sales) -> Iterator[_Overlap]:
    if len(sales) < 2:
        return
    rises = sales.seq[1:] > sales.seq[:-1]
    back_us = np.where(rises, sales.end_us[:-1] - sales.start_us[1:], sales.end_us[1:] - sales.start_us[:-1])
    near = np.abs(np.diff(sales.seq)) <= _RENUMBERED
    for row in np.flatnonzero((sales.nozzle[1:] == sales.nozzle[:-1]) & near & (back_us > 60e6)):
        older, newer = (int(row), int(row) + 1) if rises[row] else (int(row) + 1, int(row))
        if older > newer:
            low = max(older - _RENUMBERED - 1, 0)
            since = sales.end_us[low:older] > sales.end_us[older] - 16 * _DAY_US
            same = (sales.nozzle[low:older] == sales.nozzle[older]) & (sales.seq[low:older] == sales.seq[older])
            if (since & same).any() or sales.totalizer_l[older] > sales.totalizer_l[newer]:
                continue
        yield _Overlap(older, newer, int(sales.end_us[older]), int(back_us[row]))


def _compared(past: StationPast, dispenser_id: str | None, since: datetime, until: datetime, back_s: float) -> bool:
    """Whether the collector has told that this clock is so wrong that it accounts for an overlap."""
    return any(
        since <= event.at <= until
        and event.device_id == dispenser_id
        and abs(_number(event, "ahead_s") or 0.0) >= back_s - _COMPARED_S
        for event in past.events_of(EventKind.CLOCK)
    )


def _order_figure(sales: Sales, worst: _Overlap) -> Figure:
    """Numbers over stamped time around the step: they should only rise."""
    low, high = min(worst.older, worst.newer), max(worst.older, worst.newer)
    rows = np.arange(max(low - 30, 0), min(high + 31, len(sales)))
    rows = rows[sales.nozzle[rows] == sales.nozzle[low]]
    rows = rows[np.abs(sales.end_us[rows] - sales.end_us[low]) < 2 * _DAY_US]
    rows = rows[sales.end_us[rows] <= worst.end_us + _DAY_US]
    points = tuple((sales.end_us[rows] / 1e6).tolist()), tuple(sales.seq[rows].astype(float).tolist())
    return Figure(
        title=Text("序号随交易时间", "Numbers over the time of the sales"),
        x=Text("交易结束时间", "end of the sale"),
        y=Text("序号", "number"),
        curves=(Curve(Text("交易", "sales"), *points, shape="points", alarm=True),),
    )


def _finding(
    rule: str,
    subject: Subject,
    about: tuple[object, ...],
    times: tuple[datetime, datetime],
    severity: Severity,
    said: tuple[Text, Text, Text],
    estimate: Estimate,
    evidence: tuple[Evidence, ...],
    figures: tuple[Figure, ...] = (),
) -> Finding:
    return Finding(
        id=finding_id(rule, subject, *about),
        rule=rule,
        cause="clock_fault",
        subject=subject,
        severity=severity,
        departments=(Department.MARKET_REGULATION,),
        onset=times[0],
        detected_at=times[1],
        explanation=Explanation(*said, _OTHERWISE, _ON_SITE),
        estimate=estimate,
        evidence=evidence,
        figures=figures,
    )


_OTHERWISE = Text(
    zh="电池失效，断电后从旧时间走起；网络校时；换主板后未对时。",
    en="A dead battery, so that the clock starts at an old time after a power cut; a correction by the network; a new "
    "mainboard that nobody set.",
)
_ON_SITE = Text(
    zh="对照标准时间查看加油机时钟；查校时记录和断电记录；核对时间倒退前后各笔交易的小票与监控录像。",
    en="Compare the dispenser's clock with a reference; look at its settings and power cuts; compare the sales around "
    "that time with receipts and video.",
)


def _titled(label: Text, ahead: float) -> Text:
    size = f"{abs(ahead):,.0f} s"
    return title(label, f"时钟{'快' if ahead > 0 else '慢'} {size}", f"clock {size} {'fast' if ahead > 0 else 'slow'}")


def _number(event: DeviceEvent, name: str) -> float | None:
    return number(event.detail.get(name))
