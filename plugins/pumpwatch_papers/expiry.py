"""The rules ``certificate_expired`` and ``licence_expired``: who goes on selling when a paper has run out.

The register has dates only, so the first filling after the last valid day is what shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import ClassVar, Final

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
    Sales,
    Severity,
    StationPast,
    Subject,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.wording import litres, local, nozzle_label, station_label, title, yuan
from pumpwatch_papers.orders import DAY_US, are_draws, certificates, first_of_spans, midnight_us

_SPAN_DAYS: Final = 6.0
"""An affair that goes on is told again after this: within the week in which alarms are one episode."""
_SHOWN_DAYS: Final = 8
_LATE_DAYS: Final = 7


class CertificateSettings(PluginSettings):
    """Keys of ``[rules.certificate_expired]``."""

    grace_days: int = Field(0, ge=0, description="Days after the last valid day on which nothing is said.")
    soon_days: int = Field(30, ge=0, description="So many days before the end a note reminds of it; 0: never.")
    certificate_days: int = Field(182, ge=1, description="How long a certificate in a work order is valid, days.")
    draw_hours: float = Field(
        4.0, ge=0.0, le=24.0, description="Fillings so shortly before a verification are its draws, hours."
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class LicenceSettings(PluginSettings):
    """Keys of ``[rules.licence_expired]``."""

    grace_days: int = Field(0, ge=0, description="Days after the last valid day on which nothing is said.")
    soon_days: int = Field(30, ge=0, description="So many days before the end a note reminds of it; 0: never.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Paper:
    """Something with a last valid day."""

    name: Text
    number: str
    last_day: date
    departments: tuple[Department, ...]


class CertificateExpired(Review):
    """A nozzle sells after its verification certificate has run out."""

    rule: ClassVar[str] = "certificate_expired"
    Settings: ClassVar[type[PluginSettings]] = CertificateSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.CERTIFICATES})
    lookback: ClassVar[timedelta] = timedelta(days=10)
    about: ClassVar[About] = About(
        title=Text("检定证书过期", "Certificate expired"),
        catches=("P01",),
        inputs="`certificate_expires` of each nozzle in the ledger; verifications and calibrations signed by the "
        "institute among the work orders; fillings of the nozzle.",
        statistic="First filling that starts after local midnight of the last valid day and `grace_days`, and then the "
        "first of every six days as it goes on. A work order of the institute counts as a certificate for "
        "`certificate_days` from its time, for the ledger may be behind.",
        threshold="One filling. Medium in the first week, high from then on; a note `soon_days` before the end. "
        "Fillings that end less than `draw_hours` before the institute signs are the draws of the verification, so it "
        "is told so long after the filling. A verification that found more than ±0.30 % is no certificate.",
        power="P01: 20 of 20 at the first filling (1 to 60 days overdue, four fleets; told four hours after it). No "
        "false alarm over 1,218 honest nozzle-years with the honest scenarios in them.",
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
                open_ = self._not_covered(past, nozzle.nozzle_id, sales, end_us)
                for row in first_of_spans(open_.end_us, end_us, _SPAN_DAYS):
                    at = from_us(open_.end_us[row]) + timedelta(hours=settings.draw_hours)
                    if since < at <= until:
                        yield self._overdue(subject, label, paper, end_us, open_, row, at, sales)
            soon = from_us(midnight_us(paper.last_day, settings.utc_offset_h) - settings.soon_days * DAY_US)
            if settings.soon_days and since < soon <= until:
                yield _soon(self.rule, "certificate_expired", subject, label, paper, soon, settings.utc_offset_h)

    def _not_covered(self, past: StationPast, nozzle_id: str, sales: Sales, end_us: int) -> Sales:
        """The fillings after the end that no later certificate speaks for, and that are no draws."""
        late = sales.take(sales.start_us >= end_us)
        certified = certificates(past, nozzle_id).tolist()
        covered = are_draws(late.end_us, certified, self.settings.draw_hours)
        for at_us in certified:
            over_us = at_us + self.settings.certificate_days * DAY_US
            covered |= (late.end_us >= at_us) & (late.end_us < over_us)
        return late.take(~covered)

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
        days = _days_over(paper, ended, self.settings.utc_offset_h)
        return _over(
            self.rule,
            "certificate_expired",
            subject,
            paper,
            at,
            Severity.MEDIUM if days <= _LATE_DAYS else Severity.HIGH,
            _course(sales, paper, ended, self.settings.utc_offset_h),
            (open_, row, end_us, self.settings.utc_offset_h),
            Explanation(
                title=title(label, f"检定过期{days}天", f"verification {days} d overdue"),
                what=_what(label, paper, days, ended, open_, row, self.settings.utc_offset_h),
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
        for paper, closed in _papers(past):
            end_us = midnight_us(paper.last_day, hours) + (1 if closed else 1 + grace) * DAY_US
            open_ = sales.take(sales.start_us >= end_us)
            open_ = open_.take(np.lexsort((open_.nozzle, open_.end_us)))
            for row in first_of_spans(open_.end_us, end_us, _SPAN_DAYS):
                if since < (at := from_us(open_.end_us[row])) <= until:
                    yield self._overdue(subject, label, paper, closed, end_us, open_, row, at, sales)
            soon = from_us(midnight_us(paper.last_day, hours) - self.settings.soon_days * DAY_US)
            if self.settings.soon_days and not closed and since < soon <= until:
                yield _soon(self.rule, "licence_expired", subject, label, paper, soon, hours)

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
        days = _days_over(paper, at, self.settings.utc_offset_h)
        head = (
            Text("停业后仍加油", "sells though closed")
            if closed
            else Text(f"许可过期{days}天", f"licence {days} d over")
        )
        return _over(
            self.rule,
            "licence_expired",
            subject,
            paper,
            at,
            Severity.HIGH,
            _course(sales, paper, at, self.settings.utc_offset_h),
            (open_, row, end_us, self.settings.utc_offset_h),
            Explanation(
                title=title(label, head.zh, head.en),
                what=_what(label, paper, days, at, open_, row, self.settings.utc_offset_h),
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


def _papers(past: StationPast) -> Iterator[tuple[Paper, bool]]:
    """The licences with a date, and the closing; whether it is the closing."""
    for name, words, more in _LICENCES:
        day = getattr(past.station, name)
        if day is not None:
            yield Paper(words, name, day, (Department.COMMERCE, *more)), False
    try:
        day = date.fromisoformat(past.station.attributes.get("closed_on", ""))
    except ValueError:
        return
    yield (
        Paper(Text("停业登记", "closing"), "closed_on", day, (Department.COMMERCE, Department.MARKET_REGULATION)),
        True,
    )


def _over(
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
    sales, row, end_us, hours = sale
    record = sales.record(row)
    days = _days_over(paper, record.end, hours)
    span = (to_us(record.end) - end_us - 1) // round(_SPAN_DAYS * DAY_US)
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


def _soon(rule: str, cause: str, subject: Subject, label: Text, paper: Paper, at: datetime, hours: float) -> Finding:
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


def _what(label: Text, paper: Paper, days: int, at: datetime, sales: Sales, row: int, hours: float) -> Text:
    volume, amount = litres(float(sales.volume_l[row])), yuan(float(sales.amount_cny[row]))
    when = local(at, hours)
    return Text(
        zh=f"{label.zh}的{paper.name.zh}有效期至 {paper.last_day}，第 {days} 天仍在加油："
        f"{when} 加油 {volume}，{amount}。",
        en=f"{label.en}: the {paper.name.en} was valid until {paper.last_day}; on day {days} after it there was "
        f"still a sale, ended {when}: {volume}, {amount}.",
    )


def _days_over(paper: Paper, at: datetime, hours: float) -> int:
    return (at.astimezone(timezone(timedelta(hours=hours))).date() - paper.last_day).days


def _course(sales: Sales, paper: Paper, at: datetime, hours: float) -> Figure:
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
