"""A paper with a last valid day, and the findings that somebody goes on selling after it, or that it ends soon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

import numpy as np

from pumpwatch import (
    Curve,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Figure,
    Finding,
    Sales,
    Severity,
    Subject,
    Text,
    finding_id,
    to_us,
)
from pumpwatch.wording import litres, local, title, yuan
from pumpwatch_papers.orders import DAY_US, midnight_us, span_of

SPAN_DAYS: Final = 6.0
"""An affair that goes on is told again after this: within the week in which alarms are one episode."""
_SHOWN_DAYS: Final = 8


@dataclass(frozen=True, slots=True)
class Paper:
    """Something with a last valid day."""

    name: Text
    number: str
    last_day: date
    departments: tuple[Department, ...]


def overdue(
    rule: str,
    cause: str,
    subject: Subject,
    paper: Paper,
    at: datetime,
    severity: Severity,
    figure: Figure,
    sale: tuple[Sales, int, int, float],
    explanation: Explanation,
) -> Finding:
    """The finding at a filling; ``sale`` has the open ones, its row, the end of the paper and the hours from UTC."""
    sales, row, end_us, hours = sale
    record = sales.record(row)
    days = days_past(paper.last_day, record.end, hours)
    span = span_of(to_us(record.end), end_us, SPAN_DAYS)
    return Finding(
        id=finding_id(rule, subject, paper.name.en, paper.last_day, span),
        rule=rule,
        cause=cause,
        subject=subject,
        severity=severity,
        departments=paper.departments,
        onset=record.start,
        detected_at=at,
        explanation=explanation,
        estimate=Estimate(float(days), "d", float(days), float(days), 1.0),
        evidence=(
            Evidence(
                kind="paper",
                reference=f"{subject.key}/{paper.number or paper.name.en}",
                data={"last_valid_day": paper.last_day.isoformat(), "days_over": days},
            ),
            Evidence(
                kind="transaction",
                reference=f"{record.nozzle_id}/{record.seq}",
                data={
                    "end": record.end.astimezone(UTC).isoformat(),
                    "displayed_l": record.volume_l,
                    "amount_cny": record.amount_cny,
                },
            ),
        ),
        figures=(figure,),
    )


def soon_over(
    rule: str, cause: str, subject: Subject, label: Text, paper: Paper, at: datetime, hours: float
) -> Finding:
    """The note that a paper ends soon; ``hours`` from UTC."""
    days = (paper.last_day - at.astimezone(timezone(timedelta(hours=hours))).date()).days
    return Finding(
        id=finding_id(rule, subject, paper.name.en, paper.last_day, "soon"),
        rule=rule,
        cause=cause,
        subject=subject,
        severity=Severity.INFO,
        departments=paper.departments,
        onset=at,
        detected_at=at,
        explanation=Explanation(
            title=title(label, f"{days}天后到期", f"expires in {days} d"),
            what=Text(
                zh=f"{label.zh}的{paper.name.zh}有效期至 {paper.last_day}，还有 {days} 天。",
                en=f"{label.en}: the {paper.name.en} is valid until {paper.last_day}, {days} more days.",
            ),
            why=Text(zh="依据台账登记的有效期。", en="By the date in the ledger."),
            otherwise=Text(zh="已续期而台账未更新。", en="It was renewed and the ledger is behind."),
            on_site=Text(zh="提醒站方及时办理。", en="Remind the station in time."),
        ),
        evidence=(
            Evidence(
                kind="paper",
                reference=f"{subject.key}/{paper.number or paper.name.en}",
                data={"last_valid_day": paper.last_day.isoformat(), "days_left": days},
            ),
        ),
    )


def what_was_sold(label: Text, paper: Paper, days: int, at: datetime, sales: Sales, row: int, hours: float) -> Text:
    """Which filling shows it."""
    volume, amount = litres(float(sales.volume_l[row])), yuan(float(sales.amount_cny[row]))
    when = local(at, hours)
    return Text(
        zh=f"{label.zh}的{paper.name.zh}有效期至 {paper.last_day}，第 {days} 天仍在加油："
        f"{when} 加油 {volume}，{amount}。",
        en=f"{label.en}: the {paper.name.en} was valid until {paper.last_day}; on day {days} after it there was "
        f"still a sale, ended {when}: {volume}, {amount}.",
    )


def local_day(at: datetime, hours: float) -> date:
    """The day by the stations' clocks, which are so many hours from UTC."""
    return (at.astimezone(UTC) + timedelta(hours=hours)).date()


def days_past(last_day: date, at: datetime, hours: float) -> int:
    """Local days after the last valid one; negative before it."""
    return (local_day(at, hours) - last_day).days


def litres_a_day(sales: Sales, paper: Paper, at: datetime, hours: float) -> Figure:
    """Litres a local day up to the finding, and the end of the paper."""
    today = at.astimezone(timezone(timedelta(hours=hours))).date()
    begins = [midnight_us(today - timedelta(days=back), hours) for back in range(_SHOWN_DAYS, -1, -1)]
    edges = np.array([*begins, to_us(at) + 1], np.int64)
    inside = (sales.end_us >= edges[0]) & (sales.end_us < edges[-1])
    sold, _ = np.histogram(sales.end_us[inside], edges, weights=sales.volume_l[inside])
    over_us = midnight_us(paper.last_day, hours) + DAY_US
    marks: Iterable[tuple[float, Text]] = ((over_us / 1e6, Text("有效期止", "valid until here")),)
    return Figure(
        title=Text("到期前后的日销量", "Litres a day about the end"),
        x=Text("日期", "Day"),
        y=Text("升", "Litres"),
        curves=(
            Curve(
                Text("销量", "Sold"),
                tuple(begin / 1e6 for begin in begins),
                tuple(round(float(each), 2) for each in sold),
                "bars",
                alarm=True,
            ),
        ),
        marks=tuple(mark for mark in marks if begins[0] <= over_us),
    )
