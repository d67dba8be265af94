"""The rule ``certificate_expired``: a nozzle that goes on selling when its verification has run out.

The register has dates only, so the first filling after the last valid day is what shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Channel,
    Department,
    Explanation,
    Finding,
    PluginSettings,
    Review,
    Sales,
    Severity,
    StationPast,
    Subject,
    Text,
    Transaction,
    from_us,
    to_us,
)
from pumpwatch.wording import nozzle_label, title
from pumpwatch_papers.orders import (
    DAY_US,
    HOUR_US,
    are_draws,
    certificates,
    certifies,
    first_of_spans,
    may_be_draw,
    may_be_draws,
    midnight_us,
    span_of,
)
from pumpwatch_papers.overdue import SPAN_DAYS, Paper, days_past, litres_a_day, overdue, soon_over, what_was_sold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch import Record
    from pumpwatch.contracts import Entry, History

_LATE_DAYS: Final = 7


class CertificateSettings(PluginSettings):
    """Keys of ``[rules.certificate_expired]``."""

    grace_days: int = Field(0, ge=0, description="Days after the last valid day on which nothing is said.")
    soon_days: int = Field(30, ge=0, description="So many days before the end a note reminds of it; 0: never.")
    certificate_days: int = Field(182, ge=1, description="How long a certificate in a work order is valid, days.")
    draw_hours: float = Field(
        4.0,
        ge=0.0,
        le=24.0,
        description="Fillings of a standard can so shortly before a verification are its draws, hours.",
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class CertificateExpired(Review):
    """A nozzle sells after its verification certificate has run out."""

    rule: ClassVar[str] = "certificate_expired"
    Settings: ClassVar[type[PluginSettings]] = CertificateSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.CERTIFICATES})
    lookback: ClassVar[timedelta] = timedelta(days=10)
    wakes: ClassVar[tuple[type, ...]] = (Transaction,)
    about: ClassVar[About] = About(
        title=Text("检定证书过期", "Certificate expired"),
        catches=("P01",),
        inputs="`certificate_expires` of each nozzle in the ledger; verifications and calibrations signed by the "
        "institute among the work orders; fillings of the nozzle.",
        statistic="First filling that starts after local midnight of the last valid day and `grace_days`, and then the "
        "first of every six days as it goes on. A work order of the institute counts as a certificate for "
        "`certificate_days` from its time, for the ledger may be behind.",
        threshold="One filling. Medium in the first week, high from then on; a note `soon_days` before the end. "
        "A filling of a standard can (5, 10, 20, 50, 100 L, ±0.5 L or 2 %) that ends less than `draw_hours` before the "
        "institute signs is a draw of the verification; so such a filling is told that much later, and any other at "
        "once. A verification that found more than ±0.30 % is no certificate.",
        power="P01 (1 to 60 days overdue, four fleets): 40 of 40; 35 at the first filling, 5 at one of the next two, "
        "for the first was of a can's size. No false alarm in 137 honest nozzle-years with the honest scenarios in "
        "them, nor in 1,218 when every filling waited as a can does.",
        pitfalls="A certificate that was renewed but entered neither in the ledger nor as a work order looks expired. "
        "A nozzle that is closed and sells nothing is not told.",
        source="JJG 443: verification every six months; mandatory verification of fuel dispensers.",
    )
    settings: CertificateSettings

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Look at each nozzle."""
        settings = self.settings
        for nozzle in past.nozzles:
            if nozzle.certificate_expires is None:
                continue
            name = Text("检定证书", "verification certificate")
            departments = (Department.MARKET_REGULATION,)
            paper = Paper(name, nozzle.certificate_no or "", nozzle.certificate_expires, departments)
            subject, label = past.subject(nozzle.nozzle_id), nozzle_label(nozzle.nozzle_id)
            end_us = midnight_us(paper.last_day, settings.utc_offset_h) + (1 + settings.grace_days) * DAY_US
            mine = past.sales.of(nozzle.nozzle_id)
            if (past.sales.start_us[mine] >= end_us).any():
                sales = past.sales.take(mine)
                open_, known_us = self._not_covered(past, nozzle.nozzle_id, sales, end_us)
                for row in first_of_spans(open_.end_us, end_us, SPAN_DAYS, known_us):
                    if since < (at := from_us(known_us[row])) <= until:
                        yield self._overdue(subject, label, paper, end_us, open_, row, at, sales)
            soon = from_us(midnight_us(paper.last_day, settings.utc_offset_h) - settings.soon_days * DAY_US)
            if settings.soon_days and since < soon <= until:
                yield soon_over(self.rule, "certificate_expired", subject, label, paper, soon, settings.utc_offset_h)

    def occasion(self, record: Record | Entry, history: History) -> str | None:
        """A filling that is no draw, after the end, without a later certificate."""
        nozzle = history.nozzle(record.nozzle_id) if isinstance(record, Transaction) else None
        if nozzle is None or nozzle.certificate_expires is None or not isinstance(record, Transaction):
            return None
        settings, last_day = self.settings, nozzle.certificate_expires
        days = days_past(last_day, record.start, settings.utc_offset_h)
        if days <= settings.grace_days or may_be_draw(record.volume_l):
            return None
        valid = record.end - timedelta(days=settings.certificate_days)
        if any(certifies(o) and o.at <= record.end for o in history.work_orders(nozzle.nozzle_id, valid)):
            return None
        end_us = midnight_us(last_day, settings.utc_offset_h) + (1 + settings.grace_days) * DAY_US
        return f"{nozzle.nozzle_id}/{last_day}/{span_of(to_us(record.end), end_us, SPAN_DAYS)}"

    def _not_covered(
        self, past: StationPast, nozzle_id: str, sales: Sales, end_us: int
    ) -> tuple[Sales, NDArray[np.int64]]:
        """The fillings after the end that no certificate speaks for and that are no draws, and when that is known."""
        late = sales.take(sales.start_us >= end_us)
        certified = certificates(past, nozzle_id).tolist()
        cans = may_be_draws(late.volume_l)
        covered = cans & are_draws(late.end_us, certified, self.settings.draw_hours)
        for at_us in certified:
            over_us = at_us + self.settings.certificate_days * DAY_US
            covered |= (late.end_us >= at_us) & (late.end_us < over_us)
        known_us = late.end_us + np.where(cans, round(self.settings.draw_hours * HOUR_US), 0)
        return late.take(~covered), known_us[~covered]

    def _overdue(
        self,
        subject: Subject,
        label: Text,
        paper: Paper,
        end_us: int,
        open_: Sales,
        row: int,
        at: datetime,
        sales: Sales,
    ) -> Finding:
        ended = from_us(open_.end_us[row])
        days = days_past(paper.last_day, ended, self.settings.utc_offset_h)
        return overdue(
            self.rule,
            "certificate_expired",
            subject,
            paper,
            at,
            Severity.MEDIUM if days <= _LATE_DAYS else Severity.HIGH,
            litres_a_day(sales, paper, ended, self.settings.utc_offset_h),
            (open_, row, end_us, self.settings.utc_offset_h),
            Explanation(
                title=title(label, f"检定过期{days}天", f"verification {days} d overdue"),
                what=what_was_sold(label, paper, days, ended, open_, row, self.settings.utc_offset_h),
                why=Text(
                    zh="加油机属强制检定计量器具，检定周期 6 个月，逾期不得使用；台账和工单中都没有新的检定记录。",
                    en="Dispensers are verified every six months and may not be used beyond; neither ledger nor work "
                    "orders have a new verification.",
                ),
                otherwise=Text(
                    zh="已检定而台账未更新；检定机构已约定日期但尚未到场。",
                    en="It was verified and the ledger is behind; the institute has been asked and has not come yet.",
                ),
                on_site=Text(
                    zh="查看枪上检定标志和证书原件；确未检定的，停用该枪并约检定机构。",
                    en="Look at the mark on the nozzle and at the certificate; if it was not verified take the nozzle "
                    "out of use and call the institute.",
                ),
            ),
        )
