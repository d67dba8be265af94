"""The rule ``covert_test``: a covert purchase that was measured, against the station's own record of it.

What the inspector measured gives the error of that one filling with its uncertainty; what the station recorded shows
whether the sale is in the books at all, and with the litres that stood on the display.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    CovertTest,
    Curve,
    Department,
    Estimate,
    EventKind,
    Evidence,
    Explanation,
    Figure,
    Finding,
    PluginSettings,
    Review,
    Severity,
    StationPast,
    Text,
    Transaction,
    finding_id,
    to_us,
)
from pumpwatch.wording import litres, local, nozzle_label, percent, signed_litres, title, yuan

_Z95: Final = 1.96
_MINUTE_US: Final = 60_000_000


class CovertSettings(PluginSettings):
    """Keys of ``[rules.covert_test]``."""

    tolerance_percent: float = Field(0.30, gt=0.0, description="Tolerance of a dispenser, ± %.")
    verify_percent: float = Field(0.60, gt=0.0, description="Up to here the finding asks for verification only, %.")
    assumed_uncertainty_percent: float = Field(
        0.2, gt=0.0, description="Of the inspector's measure (k = 2) where the test does not say, %."
    )
    offset_l: float = Field(0.03, ge=0.0, description="Fixed error of a single filling, standard deviation, litres.")
    repeatability_percent: float = Field(0.05, ge=0.0, description="Repeatability, standard deviation, %.")
    deviations: float = Field(3.0, gt=0.0, description="Standard deviations beyond the tolerance that alarm.")
    match_minutes: float = Field(90.0, gt=0.0, description="How far the record's time may be from the test's, minutes.")
    match_l: float = Field(0.015, ge=0.0, description="How far the record's litres may be from the display's, litres.")
    wait_days: float = Field(3.5, gt=0.0, description="A record that is late counts as missing after so long, days.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class CovertTests(Review):
    """One verdict for each test, and one finding more when the station has no record of the sale."""

    rule: ClassVar[str] = "covert_test"
    Settings: ClassVar[type[PluginSettings]] = CovertSettings
    lookback: ClassVar[timedelta] = timedelta(days=6)
    about: ClassVar[About] = About(
        title=Text("计量暗访", "Covert test"),
        catches=("F01", "F02", "F03", "F04", "T05"),
        inputs="Covert tests (`displayed_l`, `measured_l`, `reference_uncertainty_percent` with k = 2); fillings of "
        "the nozzle; events of kind `link`.",
        statistic="E = (displayed − measured) / measured. Its standard deviation s joins half the reference "
        "uncertainty, `repeatability_percent`, and `offset_l` over the measured litres: one filling of 30 L is ±0.24 % "
        "(95 %), one of 10 L ±0.6 %. The station's record is the filling of the nozzle within `match_minutes` whose "
        "litres are the display's within `match_l`, the nearest in time.",
        threshold="Alarm when |E| − `deviations` · s > `tolerance_percent`: at 30 L from ±0.67 % on, at 10 L from "
        "±1.2 %. With E up to `verify_percent`, or when the customer gets more, the cause is out_of_tolerance, beyond "
        "it short_delivery. No record within `wait_days` is offline_sale, unless the collector was silent. Otherwise "
        "a note.",
        power="At 30 L an error from ±0.67 % on is found, at 10 L from ±1.2 %. In eight counties with short nozzles "
        "seven of 217 tests were alarms, all at nozzles that were short then (2 to 5 %); no false alarm over 1,218 "
        "honest nozzle-years with the honest scenarios in them.",
        pitfalls="One filling says little of a meter: hose and valve alone make 0.02 L. A station whose clock is wrong "
        "by more than `match_minutes` seems to have no record. A cheat that is off for this customer is not seen.",
        source="JJG 443-2015 (±0.30 %); NIST Handbook 44 3.30; joint action plans ask for covert measured purchases.",
    )
    settings: CovertSettings

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Judge the tests that are old enough."""
        window, wait = timedelta(minutes=self.settings.match_minutes), timedelta(days=self.settings.wait_days)
        for test in sorted(past.covert_tests, key=lambda each: (each.at, each.nozzle_id)):
            if not (math.isfinite(test.displayed_l) and math.isfinite(test.measured_l) and test.measured_l > 0.0):
                continue
            verdict_at, missing_at = test.at + window, test.at + wait
            if not (since < verdict_at <= until or since < missing_at <= until):
                continue
            record = self._record(past, test)
            if since < verdict_at <= until:
                yield self._verdict(past, test, record, verdict_at)
            if record is None and since < missing_at <= until and self._sells(past, test):
                yield self._missing(past, test, missing_at)

    def _record(self, past: StationPast, test: CovertTest) -> Transaction | None:
        """The station's own record of the test."""
        mine, at_us = past.sales.of(test.nozzle_id), to_us(test.at)
        apart = np.abs(past.sales.end_us[mine] - at_us)
        alike = np.abs(past.sales.volume_l[mine] - test.displayed_l) <= self.settings.match_l + 1e-9
        rows = np.flatnonzero(alike & (apart <= self.settings.match_minutes * _MINUTE_US))
        return past.sales.record(mine.start + int(rows[np.argmin(apart[rows])])) if len(rows) else None

    def _sells(self, past: StationPast, test: CovertTest) -> bool:
        """Whether the nozzle has records on the day before and in the days after: a site that is connected at all."""
        mine, at_us = past.sales.of(test.nozzle_id), to_us(test.at)
        end_us = past.sales.end_us[mine]
        day, wait = 24 * 60 * _MINUTE_US, round(self.settings.wait_days * 86_400e6)
        before = (end_us >= at_us - day) & (end_us < at_us)
        after = (end_us > at_us) & (end_us <= at_us + wait)
        return bool(before.any() and after.any())

    def _silent(self, past: StationPast, test: CovertTest) -> bool:
        """Whether the last that was told of a link of this nozzle before the test is that it was down."""
        nozzle = past.nozzle_by_id.get(test.nozzle_id)
        names = {past.station_id, test.nozzle_id} | ({nozzle.dispenser_id} if nozzle else set())
        begin = test.at - timedelta(days=1)
        latest = {
            event.device_id: event.detail.get("up")
            for event in sorted(past.events_of(EventKind.LINK), key=lambda each: each.at)
            if begin <= event.at <= test.at and event.device_id in names
        }
        return any(up is False for up in latest.values())

    def _deviation(self, test: CovertTest) -> float:
        """Standard deviation of the error of one filling, in %."""
        told = test.reference_uncertainty_percent
        reference = (told if told is not None and told > 0.0 else self.settings.assumed_uncertainty_percent) / 2.0
        offset = 100.0 * self.settings.offset_l / test.measured_l
        return math.hypot(reference, self.settings.repeatability_percent, offset)

    def _verdict(self, past: StationPast, test: CovertTest, record: Transaction | None, at: datetime) -> Finding:
        settings, s = self.settings, self._deviation(test)
        error = 100.0 * (test.displayed_l - test.measured_l) / test.measured_l
        wrong = abs(error) - settings.deviations * s > settings.tolerance_percent
        short = wrong and error > settings.verify_percent
        subject, label = past.subject(test.nozzle_id), nozzle_label(test.nozzle_id)
        when, half = local(test.at, settings.utc_offset_h), _Z95 * s
        estimate = Estimate(round(error, 4), "%", round(error - half, 4), round(error + half, 4), 0.95)
        missing_l = test.displayed_l - test.measured_l
        money = f"（{yuan(missing_l * record.unit_price)}）" if record is not None else ""
        money_en = f" ({yuan(missing_l * record.unit_price)})" if record is not None else ""
        matched = (
            Text("本站记录中有这笔交易，升数一致。", "The station's records have this sale with the same litres.")
            if record is not None
            else Text("本站记录中尚未找到这笔交易。", "The station's records do not have this sale so far.")
        )
        if short:
            head = Text(f"暗访少付 {percent(error)}", f"covert test {percent(error)}")
        elif wrong:
            head = Text(f"暗访超差 {percent(error)}", f"covert test {percent(error)}")
        else:
            head = Text(f"暗访 {percent(error)}", f"covert test {percent(error)}")
        limit = settings.tolerance_percent
        within = Text(
            f"误差未超出 ±{limit:g}% 加测量不确定度，不作结论。"
            if not wrong
            else f"误差超出 ±{limit:g}% 及测量不确定度。",
            f"The error is not beyond ±{limit:g}% and the uncertainty; no conclusion."
            if not wrong
            else f"The error is beyond ±{limit:g}% and the uncertainty.",
        )
        interval = f"{percent(error - half)} … {percent(error + half)}"
        return Finding(
            id=finding_id(self.rule, subject, "verdict", test.at.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="short_delivery" if short else "out_of_tolerance" if wrong else "covert_test",
            subject=subject,
            severity=Severity.INFO
            if not wrong
            else Severity.LOW
            if error < 0.0
            else Severity.HIGH
            if short
            else Severity.MEDIUM,
            departments=(Department.MARKET_REGULATION,),
            onset=test.at,
            detected_at=at,
            explanation=Explanation(
                title=title(label, head.zh, head.en),
                what=Text(
                    zh=f"{when} 在{label.zh}暗访：显示 {litres(test.displayed_l)}，实测 {litres(test.measured_l)}，"
                    f"相差 {signed_litres(missing_l)}{money}，示值误差 {percent(error)}（95% 区间 {interval}）。"
                    f"{matched.zh}",
                    en=f"Covert test at {label.en}, {when}: {litres(test.displayed_l)} on the display, "
                    f"{litres(test.measured_l)} measured, {signed_litres(missing_l)}{money_en} between them; error "
                    f"{percent(error)} (95% interval {interval}). {matched.en}",
                ),
                why=within,
                otherwise=Text(
                    zh="单笔加油含软管膨胀、滴漏和量器读数误差；量器未润湿或温差较大。",
                    en="A single filling has the hose, the drip and the reading of the can in it; a dry can, or a "
                    "large difference of temperature.",
                ),
                on_site=Text(
                    zh="保存暗访影像和小票；用 20 L 标准金属量器按检定规程复测三次。",
                    en="Keep pictures and slip; repeat three times with a 20 L standard can as the regulation says.",
                ),
            ),
            estimate=estimate,
            evidence=(_test_evidence(test, s), *([_sale_evidence(record)] if record is not None else [])),
            figures=(_channels(test, record),),
        )

    def _missing(self, past: StationPast, test: CovertTest, at: datetime) -> Finding:
        subject, label = past.subject(test.nozzle_id), nozzle_label(test.nozzle_id)
        when, silent = local(test.at, self.settings.utc_offset_h), self._silent(past, test)
        mine = past.sales.of(test.nozzle_id)
        row = mine.start + int(np.argmin(np.abs(past.sales.end_us[mine] - to_us(test.at))))
        near = past.sales.record(row)
        return Finding(
            id=finding_id(self.rule, subject, "missing", test.at.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="offline_sale",
            subject=subject,
            severity=Severity.INFO if silent else Severity.HIGH,
            departments=(Department.MARKET_REGULATION, Department.TAX),
            onset=test.at,
            detected_at=at,
            explanation=Explanation(
                title=title(label, "暗访交易无记录", "tested sale not recorded"),
                what=Text(
                    zh=f"{when} 在{label.zh}暗访加油 {litres(test.displayed_l)}，本站记录中没有这笔交易；"
                    f"最近一笔为 {local(near.end, self.settings.utc_offset_h)} 的 {litres(near.volume_l)}。",
                    en=f"The covert test at {label.en} of {when} showed {litres(test.displayed_l)}; the station's "
                    f"records have no such sale. The nearest one is {litres(near.volume_l)} at "
                    f"{local(near.end, self.settings.utc_offset_h)}.",
                ),
                why=Text(
                    zh="当时采集器断线。" if silent else "采集在线，前后都有记录，唯独缺这一笔。",
                    en="The collector was silent at that time."
                    if silent
                    else "The collector was there before and after; just this sale is missing.",
                ),
                otherwise=Text(
                    zh="暗访时间或枪号记录有误；加油机时钟偏差很大；记录上传后被修改了升数。",
                    en="A wrong time or nozzle on the inspector's sheet; a clock that is far off; a record whose "
                    "litres were changed.",
                ),
                on_site=Text(
                    zh="凭小票到站调取该笔交易、税控记录和泵码，核对序号是否连续。",
                    en="With the slip, ask for this sale, its tax record and the totalizers; see whether the sequence "
                    "has a gap.",
                ),
            ),
            estimate=Estimate(test.displayed_l, "L", test.displayed_l, test.displayed_l, 1.0),
            evidence=(_test_evidence(test, self._deviation(test)), _sale_evidence(near)),
        )


def _test_evidence(test: CovertTest, deviation: float) -> Evidence:
    return Evidence(
        kind="covert_test",
        reference=f"{test.nozzle_id}/{test.at.astimezone(UTC).isoformat()}",
        data={
            "displayed_l": test.displayed_l,
            "measured_l": test.measured_l,
            "reference_uncertainty_percent": test.reference_uncertainty_percent,
            "standard_deviation_percent": round(deviation, 4),
        },
    )


def _sale_evidence(sale: Transaction) -> Evidence:
    return Evidence(
        kind="transaction",
        reference=f"{sale.nozzle_id}/{sale.seq}",
        data={
            "end": sale.end.astimezone(UTC).isoformat(),
            "displayed_l": sale.volume_l,
            "encoder_l": sale.encoder_l,
            "tax_l": sale.tax_l,
            "amount_cny": sale.amount_cny,
            "totalizer_l": sale.totalizer_l,
        },
    )


def _channels(test: CovertTest, record: Transaction | None) -> Figure:
    """The litres of one filling as each side has them."""
    told = [("实测", "measured", test.measured_l), ("显示", "displayed", test.displayed_l)]
    if record is not None:
        told += [
            (zh, en, value)
            for zh, en, value in (
                ("记录", "recorded", record.volume_l),
                ("编码器", "encoder", record.encoder_l),
                ("税控", "tax", record.tax_l),
            )
            if value is not None
        ]
    return Figure(
        title=Text("同一笔加油的各方升数", "One filling, litres by each side"),
        x=Text("来源", "Source"),
        y=Text("升", "Litres"),
        curves=tuple(
            Curve(Text(zh, en), (float(place),), (round(value, 3),), "bars", alarm=place == 0)
            for place, (zh, en, value) in enumerate(told)
        ),
        x_is_time=False,
    )
