"""The rule ``display``: a display that was seen to start above zero, to jump, or to count what did not flow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import ClassVar, Final

from pydantic import Field

from pumpwatch import (
    DISPLAY,
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
    Severity,
    Text,
    finding_id,
    subject_of,
)
from pumpwatch.wording import litres, local, nozzle_label, title

_STEP_L: Final = 0.01
_FASTEST_S: Final = 1.3
"""Between two looks, at most: what a jump's litres may be off by is the flow of so long."""
_LONGEST_S: Final = 86_400.0
"""No filling lasts so long; seconds beyond it are no seconds."""
_MOST: Final = 1e6
"""No display shows so many litres, and no flow is so fast."""


class DisplaySettings(PluginSettings):
    """Keys of ``[rules.display]``."""

    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


ABOUT = About(
    title=Text("显示异常", "Display seen to misbehave"),
    catches=("F18", "F19"),
    inputs=(
        "Events of kind `alarm` with the code `display`. Acquisition makes one at the end of a filling whose looks "
        "(tags `nozzle-N.state`, `nozzle-N.volume`, `nozzle-N.flow`, once a second) do not fit together; it sees every "
        "read, also those that change nothing and are not stored. The event keeps the looks."
    ),
    statistic=(
        "**No zero**: what a lifted nozzle shows twice without flow after the last total is gone. **Jump**: rise "
        "between two looks − the fastest flow told in this filling × (end of the later read − begin of the earlier + "
        "0.3 s); while the trigger moves at least 90 L/min count as the fastest, without a flow 160. **Unaccounted**: "
        "litres at a steady flow − its integral × what that is usually worth at this nozzle (median of the last 40 "
        "fillings). **Hung**: litres counted in three or more small rises while all nozzles of the dispenser hang."
    ),
    threshold=(
        "No zero and hung: above 0.05 L. Jump: 0.10 L, once or twice in a filling. Unaccounted: 0.15 L + 0.2 % + six "
        "times the scatter of what the flow is worth + the litres of 0.75 s, after eight whole fillings. Hung is low, "
        "the others are medium: an inspector verifies."
    ),
    power=(
        "In the live simulator, read once a second, over twelve days of a station with F18 and F19: every jump of "
        "5–10 % in fillings from 10 L on, and every start at 0.2–0.5 L; honest fillings none, nor with reads that come "
        "late, take up to 0.9 of the period, or are dropped, at periods from 0.5 to 6 s, nor behind a controller that "
        "refreshes only every third second."
    ),
    pitfalls=(
        "A read belongs to some moment while it went on, so a slow poll only allows more; looks more than 2.5 s apart "
        "leave a hole, on which nothing is said. More than two jumps are a channel that stutters, and a display that "
        "counts backwards is not trusted. A dispenser that clears only when fuel flows is not judged for its start. A "
        "flow that is told too low, or filtered, is learned and is no fault. Blind where the flow is derived from "
        "the display itself, and to a display that follows changed pulses: `pulse_ratio` and the tank see those."
    ),
    source="GB/T 9081-2023 (return to zero before a delivery); D7 of the scenarios' page; own derivation.",
)


class Display(RecordRule):
    """What was seen of one filling, second by second."""

    rule: ClassVar[str] = "display"
    Settings: ClassVar[type[PluginSettings]] = DisplaySettings
    watches: ClassVar[tuple[type, ...]] = (DeviceEvent,)
    settings: DisplaySettings
    about: ClassVar[About] = ABOUT

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one event."""
        if not isinstance(record, DeviceEvent) or record.kind is not EventKind.ALARM:
            return
        told = record.detail
        wrong = [name for name in str(told.get("wrong", "")).split() if name in _KINDS]
        excess, displayed = _number(told.get("excess_l")), _number(told.get("displayed_l"))
        if told.get("code") != DISPLAY or not wrong or math.isnan(excess) or math.isnan(displayed):
            return
        subject = subject_of(record.device_id, history)
        end = record.at.astimezone(UTC).isoformat()
        lifted = min(_time(told.get("lifted")) or record.at, record.at)
        if (record.at - lifted).total_seconds() >= _LONGEST_S:
            lifted = record.at
        looks = _looks(told.get("looks"))
        off = _off(wrong, looks)
        kind = wrong[0]
        yield Finding(
            id=finding_id(self.rule, subject, end),
            rule=self.rule,
            cause="out_of_tolerance" if kind == "hung" else "short_delivery",
            subject=subject,
            severity=Severity.LOW if kind == "hung" else Severity.MEDIUM,
            departments=(Department.MARKET_REGULATION,),
            onset=lifted,
            detected_at=record.at,
            explanation=self._explain(record, wrong, excess, displayed),
            estimate=Estimate(round(excess, 2), "L", round(max(excess - off, 0.0), 2), round(excess + off, 2), 0.95),
            evidence=(
                Evidence("display", f"{record.device_id}/{end}", {k: v for k, v in told.items() if k != "code"}),
            ),
            figures=(_figure(record.device_id, lifted, looks, told),) if looks else (),
        )

    def _explain(self, event: DeviceEvent, wrong: Sequence[str], excess: float, displayed: float) -> Explanation:
        label, at = nozzle_label(event.device_id), local(event.at, self.settings.utc_offset_h)
        head = _KINDS[wrong[0]]
        said = [_SAID[name] for name in wrong]
        return Explanation(
            title=title(label, f"{head.zh} {litres(excess)}", f"{head.en} {litres(excess)}"),
            what=Text(
                zh=f"{label.zh} {at} 结束的加油显示 {litres(displayed)}："
                + "；".join(s.zh for s in said)
                + f"。合计 {litres(excess)} 没有对应的流量。",
                en=f"{label.en}, filling that ended {at}, {litres(displayed)} displayed: "
                + "; ".join(s.en for s in said)
                + f". {litres(excess)} in all without flow.",
            ),
            why=Text(
                zh="逐秒读数：两次读数之间的升数不能超过这段时间内最大流量所能流出的量，提枪后、出油前显示应为零。"
                "读数迟到或缺失已计入允差。",
                en="From the looks of each second: between two of them the display can rise by no more than the "
                "fastest flow gives in that time, and it stands at zero before fuel flows. Late and missing "
                "looks are allowed for.",
            ),
            otherwise=Text(
                zh="显示板或通信接口把其他数值写入升数；加油机固件在提枪后分段刷新显示。",
                en="A display board or interface that puts another figure into the litres; firmware that refreshes the "
                "display in parts after lifting.",
            ),
            on_site=Text(
                zh="用 20 L 标准金属量器重复加油，注意提枪后是否回零、加油中是否跳字；查键盘、遥控接收和主板附加线路。",
                en="Fill a 20 L standard can several times: watch the zero after lifting and jumps on the way; look at "
                "keyboard, remote receivers and added wiring of the mainboard.",
            ),
        )


_KINDS: Final[Mapping[str, Text]] = {
    "no_zero": Text("不回零", "no zero"),
    "jump": Text("跳字", "jump of"),
    "unaccounted": Text("多显", "no flow for"),
    "hung": Text("挂枪计数", "counted hung"),
}
_SAID: Final[Mapping[str, Text]] = {
    "no_zero": Text("提枪后、出油前显示不为零", "the display was not at zero after lifting, before fuel flowed"),
    "jump": Text("出油中显示突然跳升", "the display jumped while fuel flowed"),
    "unaccounted": Text("显示升数多于流量的累计", "the display counted more than the flow makes"),
    "hung": Text("此前挂枪时仍在计数", "before it, the display counted while the nozzle hung"),
}


def _number(value: object) -> float:
    """NaN for what is no finite number."""
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _time(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return at if at.tzinfo else None


def _looks(told: object) -> list[tuple[float, float, float]]:
    """Second, litres, L/min (NaN: not told); nothing where the event does not tell them as they are made."""
    try:
        parts = [look.split(":") for look in str(told or "").split()]
        looks = [(float(at), float(volume), float(flow or "nan")) for at, volume, flow in parts]
    except ValueError:
        return []
    sound = all(abs(at) < _LONGEST_S and abs(volume) < _MOST and not abs(flow) >= _MOST for at, volume, flow in looks)
    return looks if sound else []


def _off(wrong: Sequence[str], looks: Sequence[tuple[float, float, float]]) -> float:
    """What the litres may be off by: the display's step, and for a jump the flow between two looks."""
    if not {"jump", "unaccounted"} & set(wrong):
        return _STEP_L
    told = [flow for _, _, flow in looks if not math.isnan(flow)]
    return max(told, default=90.0) / 60.0 * _FASTEST_S / 2.0 + _STEP_L


def _figure(
    nozzle_id: str, lifted: datetime, looks: Sequence[tuple[float, float, float]], told: Mapping[str, object]
) -> Figure:
    """The display, second by second, beside what the flow makes."""
    label = nozzle_label(nozzle_id)
    begin = lifted.timestamp()
    times = tuple(round(begin + at, 6) for at, _, _ in looks)
    curves = [Curve(Text("显示", "displayed"), times, tuple(v for _, v, _ in looks), alarm=True)]
    if not any(math.isnan(flow) for _, _, flow in looks):
        flowed = [min(v for _, v, _ in looks)]
        for (at, _, flow), (later, _, other) in pairwise(looks):
            flowed.append(flowed[-1] + (flow + other) / 120.0 * (later - at))
        start = _number(told.get("start_l")) if looks[0][0] == 0.0 else math.nan
        flowed = [round(litre - (0.0 if math.isnan(start) else start), 3) for litre in flowed]
        curves.append(Curve(Text("流量累计", "flow, summed"), times, tuple(flowed)))
    jump = _number(told.get("jump_s"))
    marks = ((round(begin + jump, 6), Text("跳字", "jump")),) if abs(jump) < _LONGEST_S else ()
    return Figure(
        title=Text(f"{label.zh} 逐秒显示", f"{label.en}: the display, second by second"),
        x=Text("时间", "time"),
        y=Text("升", "litres"),
        curves=tuple(curves),
        marks=marks,
    )
