"""The rule ``licence_expired``: a station that goes on selling when a licence has run out, or after it was closed.

The register has dates only, so the first filling after the last valid day is what shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Department,
    Explanation,
    Finding,
    PluginSettings,
    Review,
    Sales,
    Severity,
    Station,
    StationPast,
    Subject,
    Text,
    Transaction,
    from_us,
    subject_of,
    to_us,
)
from pumpwatch.wording import station_label, title
from pumpwatch_papers.orders import DAY_US, first_of_spans, midnight_us, span_of
from pumpwatch_papers.overdue import (
    SPAN_DAYS,
    Paper,
    days_past,
    litres_a_day,
    local_day,
    overdue,
    soon_over,
    what_was_sold,
)

if TYPE_CHECKING:
    from pumpwatch import Record
    from pumpwatch.contracts import Entry, History


class LicenceSettings(PluginSettings):
    """Keys of ``[rules.licence_expired]``."""

    grace_days: int = Field(0, ge=0, description="Days after the last valid day on which nothing is said.")
    soon_days: int = Field(30, ge=0, description="So many days before the end a note reminds of it; 0: never.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


_LICENCES: Final = (
    ("business_licence_expires", Text("营业执照", "business licence"), (Department.MARKET_REGULATION,)),
    ("retail_licence_expires", Text("成品油零售经营资格", "retail licence"), ()),
    ("hazmat_licence_expires", Text("危险化学品经营许可证", "hazardous goods licence"), (Department.EMERGENCY,)),
)


class LicenceExpired(Review):
    """A station sells after one of its licences has run out, or after it was closed."""

    rule: ClassVar[str] = "licence_expired"
    Settings: ClassVar[type[PluginSettings]] = LicenceSettings
    lookback: ClassVar[timedelta] = timedelta(days=10)
    wakes: ClassVar[tuple[type, ...]] = (Transaction,)
    about: ClassVar[About] = About(
        title=Text("许可过期仍营业", "Licence expired"),
        catches=("P02",),
        inputs="The three dates of the station in the ledger (`business_licence_expires`, `retail_licence_expires`, "
        "`hazmat_licence_expires`) and the attribute `closed_on` (a date) where there is one; fillings.",
        statistic="First filling that starts after local midnight of the last valid day and `grace_days`, and then the "
        "first of every six days as it goes on; for each licence.",
        threshold="One filling: high. A note `soon_days` before the end.",
        power="P02: 12 of 12 at the first filling (each licence, four fleets). No false alarm over 1,218 honest "
        "nozzle-years with the honest scenarios in them.",
        pitfalls="A licence renewed but not entered looks expired. A station without dates is not judged.",
        source="Joint action plans ask for the validity of business, retail and hazardous-goods licences.",
    )
    settings: LicenceSettings

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Look at each licence."""
        hours, grace = self.settings.utc_offset_h, self.settings.grace_days
        subject, label = Subject(past.station_id), station_label(past.station, past.station_id)
        sales = past.sales
        for paper, closed in _papers(past.station):
            end_us = midnight_us(paper.last_day, hours) + (1 if closed else 1 + grace) * DAY_US
            open_ = sales.take(sales.start_us >= end_us)
            open_ = open_.take(np.lexsort((open_.nozzle, open_.end_us)))
            for row in first_of_spans(open_.end_us, end_us, SPAN_DAYS):
                if since < (at := from_us(open_.end_us[row])) <= until:
                    yield self._overdue(subject, label, paper, closed, end_us, open_, row, at, sales)
            soon = from_us(midnight_us(paper.last_day, hours) - self.settings.soon_days * DAY_US)
            if self.settings.soon_days and not closed and since < soon <= until:
                yield soon_over(self.rule, "licence_expired", subject, label, paper, soon, hours)

    def occasion(self, record: Record | Entry, history: History) -> str | None:
        """A filling after the end of any of them."""
        if not isinstance(record, Transaction):
            return None
        station = history.station(subject_of(record.nozzle_id, history).station_id)
        if station is None:
            return None
        hours, over = self.settings.utc_offset_h, list[str]()
        if not _may_be_over(station, local_day(record.start, hours)):
            return None
        for paper, closed in _papers(station):
            grace = 0 if closed else self.settings.grace_days
            if days_past(paper.last_day, record.start, hours) > grace:
                end_us = midnight_us(paper.last_day, hours) + (1 + grace) * DAY_US
                over.append(f"{paper.number}/{paper.last_day}/{span_of(to_us(record.end), end_us, SPAN_DAYS)}")
        return ", ".join(over) or None

    def _overdue(
        self,
        subject: Subject,
        label: Text,
        paper: Paper,
        closed: bool,
        end_us: int,
        open_: Sales,
        row: int,
        at: datetime,
        sales: Sales,
    ) -> Finding:
        days = days_past(paper.last_day, at, self.settings.utc_offset_h)
        head = (
            Text("停业后仍加油", "sells though closed")
            if closed
            else Text(f"许可过期{days}天", f"licence {days} d over")
        )
        return overdue(
            self.rule,
            "licence_expired",
            subject,
            paper,
            at,
            Severity.HIGH,
            litres_a_day(sales, paper, at, self.settings.utc_offset_h),
            (open_, row, end_us, self.settings.utc_offset_h),
            Explanation(
                title=title(label, head.zh, head.en),
                what=what_was_sold(label, paper, days, at, open_, row, self.settings.utc_offset_h),
                why=Text(
                    zh="停业登记之后不应再有加油记录。" if closed else "许可到期后不得经营；台账中没有续期。",
                    en="After it was registered as closed there are to be no fillings."
                    if closed
                    else "A station may not sell when its licence has run out; the ledger has no renewal.",
                ),
                otherwise=Text(
                    zh="已续期而台账未更新；正在办理换证。",
                    en="It was renewed and the ledger is behind; renewal is under way.",
                ),
                on_site=Text(
                    zh="查看许可证原件和发证机关记录；确已过期的，按规定通知停止经营并通报相关部门。",
                    en="Look at the licence and ask the authority; if it has run out tell the station to stop and the "
                    "departments concerned.",
                ),
            ),
        )


def _may_be_over(station: Station, day: date) -> bool:
    """Whether any date of it is before this day; quickly, for every filling asks."""
    last_days = (station.business_licence_expires, station.retail_licence_expires, station.hazmat_licence_expires)
    return "closed_on" in station.attributes or any(last is not None and last < day for last in last_days)


def _papers(station: Station) -> Iterator[tuple[Paper, bool]]:
    """The licences with a date, and the closing; whether it is the closing."""
    for name, words, more in _LICENCES:
        day = getattr(station, name)
        if day is not None:
            yield Paper(words, name, day, (Department.COMMERCE, *more)), False
    try:
        day = date.fromisoformat(station.attributes.get("closed_on", ""))
    except ValueError:
        return
    yield (
        Paper(Text("停业登记", "closing"), "closed_on", day, (Department.COMMERCE, Department.MARKET_REGULATION)),
        True,
    )
