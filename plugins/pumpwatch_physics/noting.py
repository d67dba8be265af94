"""Notes of ``tank_balance`` that accuse nobody: a meter set right by certificate, and one that is likely worn."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pumpwatch import (
    Department,
    Estimate,
    Evidence,
    Explanation,
    Finding,
    Severity,
    StationPast,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.courses import DAY_US
from pumpwatch.wording import local_day, nozzle_label, percent, title
from pumpwatch_physics.blocks import SETTLED_US
from pumpwatch_physics.runs import LEAD_DAYS, SPAN_DAYS, Followed

if TYPE_CHECKING:
    from pumpwatch import WorkOrder

RULE: Final = "tank_balance"
WORN_PERCENT: Final = 0.30
"""JJG 443; an estimate beyond it says that the meter is more likely out of tolerance than within."""
WORN_DAYS: Final = 30
_QUIET_DAYS: Final = 14
"""An estimate that comes and goes about the limit is noted once."""
_SD_MOST: Final = 0.0015
"""Of an estimate that is worth a note, a share."""
_Z95: Final = 1.96
_MARKET: Final = (Department.MARKET_REGULATION,)


def days_of(
    followed: Followed, digests: Mapping[int, Mapping[str, Any]], utc_offset_us: int
) -> Iterator[tuple[int, int]]:
    """Places in the track and days that are this watch's to tell: those of the spans for which it began."""
    known = sorted(day for day in digests if followed.tanks[0] in digests[day])
    first = _day(followed, 0, utc_offset_us) if followed.track.day_us else 0
    for place in range(len(followed.track.day_us)):
        day = _day(followed, place, utc_offset_us)
        begin = bisect_left(known, day // SPAN_DAYS * SPAN_DAYS - LEAD_DAYS)
        if begin < len(known) and known[begin] == first:
            yield place, day


def _day(followed: Followed, place: int, utc_offset_us: int) -> int:
    return (followed.track.day_us[place] + utc_offset_us) // DAY_US - 1


def worn(
    past: StationPast,
    followed: Followed,
    digests: Mapping[int, Mapping[str, Any]],
    since: datetime,
    until: datetime,
    utc_offset_us: int,
) -> Iterator[Finding]:
    """A nozzle whose error is reckoned beyond the limit and of which nothing else was said.

    On the first such day, and again on the first day of every later span.
    """
    track = followed.track
    for place, day in days_of(followed, digests, utc_offset_us):
        at_us = track.day_us[place] + SETTLED_US
        if place < WORN_DAYS or not to_us(since) < at_us <= to_us(until):
            continue
        for number, nozzle in enumerate(followed.nozzles):
            value, sd = float(track.value[place][number]), float(track.sd[place][number])
            before = max(float(each[number]) for each in track.value[max(place - _QUIET_DAYS, 0) : place])
            fresh = before <= WORN_PERCENT / 100.0 or day % SPAN_DAYS == 0
            said = (claim for claim in (*followed.earlier, *followed.claims) if claim.at_us <= at_us)
            if value <= WORN_PERCENT / 100.0 or sd > _SD_MOST or not fresh:
                continue
            if any(claim.nozzle == number and claim.rising for claim in said):
                continue
            yield _worn(past, nozzle, day, at_us, 100.0 * value, 100.0 * sd)


def _worn(past: StationPast, nozzle: str, day: int, at_us: int, value: float, sd: float) -> Finding:
    label, subject, at = nozzle_label(nozzle), past.subject(nozzle), from_us(at_us)
    size = f"{percent(value)} ± {_Z95 * sd:.2f}%"
    return Finding(
        id=finding_id(RULE, subject, "worn", day),
        rule=RULE,
        cause="out_of_tolerance",
        subject=subject,
        severity=Severity.INFO,
        departments=_MARKET,
        onset=at,
        detected_at=at,
        explanation=Explanation(
            title=title(label, f"可能超差 {percent(value)}", f"perhaps out of tolerance, {percent(value)}"),
            what=Text(
                f"{label.zh}的误差按罐内平衡估计为 {size}，可能超过允差 ±{WORN_PERCENT:.2f}%。",
                f"By the tank's balance {label.en}'s error is {size}: perhaps beyond the limit of "
                f"±{WORN_PERCENT:.2f}%.",
            ),
            why=Text(
                "与同罐其他枪比较，误差缓慢形成，没有查出突变；区间含允差以内的值，故仅作记录。",
                "Against the other nozzles of the tank; it has come slowly, no step was found. The interval reaches "
                "inside the limit: a note.",
            ),
            otherwise=Text(
                "计量器磨损；同罐其他枪一起少显；枪与罐的对应登记有误。",
                "A worn meter; the tank's other nozzles all give more than they show; a nozzle registered at the wrong "
                "tank.",
            ),
            on_site=Text(
                "安排检定；超出允差时停用该枪，由持证机构调整后复检。",
                "Have it verified; if it is out of tolerance take it out of use until an authorised repairer has set "
                "it right.",
            ),
        ),
        estimate=Estimate(round(value, 4), "%", round(value - _Z95 * sd, 4), round(value + _Z95 * sd, 4), 0.95),
        evidence=(Evidence("nozzle_error", nozzle, {"value_percent": round(value, 4), "sd_percent": round(sd, 4)}),),
    )


def adjusted(
    past: StationPast,
    followed: Followed,
    digests: Mapping[int, Mapping[str, Any]],
    since: datetime,
    until: datetime,
    utc_offset_us: int,
) -> Iterator[Finding]:
    """A certified calibration of a meter, a day after it: from here on its error may be another."""
    places = {day: place for place, day in days_of(followed, digests, utc_offset_us)}
    for number, nozzle in enumerate(followed.nozzles):
        told: set[int] = set()
        for order in sorted(past.work_orders, key=lambda order: (to_us(order.at), order.certificate_no or "")):
            at_us = to_us(order.at) + DAY_US
            place = places.get((at_us + utc_offset_us) // DAY_US - 1)
            day = (at_us + utc_offset_us) // DAY_US
            if (
                order.kind != "calibration"
                or order.device_id != nozzle
                or not (order.signed_by_repairer and order.signed_by_institute)
                or place is None
                or day in told
                or not to_us(since) < at_us <= to_us(until)
            ):
                continue
            told.add(day)
            before = max(place - 1, 0)
            value, sd = (100.0 * float(each[before][number]) for each in (followed.track.value, followed.track.sd))
            yield _adjusted(past, nozzle, order, day, at_us, (value, sd), utc_offset_us)


def _adjusted(
    past: StationPast,
    nozzle: str,
    order: WorkOrder,
    day: int,
    at_us: int,
    before: tuple[float, float],
    utc_offset_us: int,
) -> Finding:
    label, subject = nozzle_label(nozzle), past.subject(nozzle)
    value, sd = before
    number = order.certificate_no or "—"
    after = order.error_percent
    after_zh, after_en = ("", "") if after is None else (f"，证书误差 {percent(after)}", f", {percent(after)} on paper")
    on = local_day(order.at, utc_offset_us / 3.6e9)
    return Finding(
        id=finding_id(RULE, subject, "adjusted", day),
        rule=RULE,
        cause="recalibration",
        subject=subject,
        severity=Severity.INFO,
        departments=_MARKET,
        onset=order.at,
        detected_at=from_us(at_us),
        explanation=Explanation(
            title=title(label, "已持证调整", "adjusted by certificate"),
            what=Text(
                f"{label.zh}于 {on} 持证调整（证书 {number}）{after_zh}；此前按罐内平衡估计误差为 {percent(value)} "
                f"± {_Z95 * sd:.2f}%。",
                f"{label.en} was adjusted by certificate on {on} ({number}){after_en}; before, its error by the tank's "
                f"balance was {percent(value)} ± {_Z95 * sd:.2f}%.",
            ),
            why=Text(
                "维修人员和检定机构均已签字；此后误差的小幅变化由此解释。",
                "Repairer and institute have signed; a small change of its error from here on is explained by it.",
            ),
            otherwise=Text("无。", "Nothing."),
            on_site=Text("核对该作业的单据和检定结果即可。", "Compare with the papers and the result of that work."),
        ),
        evidence=(
            Evidence(
                "work_order",
                order.device_id,
                {
                    "at": order.at.isoformat(),
                    "kind": order.kind,
                    "certificate_no": order.certificate_no,
                    "error_percent": after,
                    "before_percent": round(value, 4),
                    "before_sd_percent": round(sd, 4),
                },
            ),
        ),
    )
