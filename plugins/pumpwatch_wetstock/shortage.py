"""The rule ``delivery_short``: one lorry, one depot or one station's deliveries bring less than their papers say."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from pydantic import Field

from pumpwatch import (
    About,
    Channel,
    Comparison,
    Curve,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Figure,
    Finding,
    PluginSettings,
    Severity,
    StationPast,
    Subject,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.courses import DAY_US, HOUR_US, work_on
from pumpwatch.wording import count, litres, local_day, percent, station_label, title, yuan
from pumpwatch_wetstock.effects import DROP_L, TANK_SD, Drop, Effect, Pool
from pumpwatch_wetstock.figures import TIME, price_cny
from pumpwatch_wetstock.matching import SETTLED_US, matches

_WEEK: Final = 7
_WINDOWS: Final = (0.25, 0.5, 1.0)
"""Shares of the window that are tried: a lorry may have begun lately."""
_KNOWN_DAYS: Final = 84
"""Over which the tanks' biases are learned."""
_Z95: Final = 1.96


@dataclass(frozen=True, slots=True)
class Digest:
    """What is needed of one station."""

    label: Text
    drops: tuple[Drop, ...]
    price: float | None


class ShortageSettings(PluginSettings):
    """Keys of ``[rules.delivery_short]``."""

    sigmas: float = Field(
        4.1, ge=3.0, description="Threshold of what accumulates, deviations: the root of twice the nats."
    )
    least_percent: float = Field(0.25, gt=0.0, description="A shortage that is smaller is left alone, %.")
    fewest: int = Field(10, ge=4, description="Deliveries of a lorry or depot before it is judged.")
    window_days: float = Field(60.0, ge=14.0, le=80.0, description="Over which deliveries are accumulated, days.")
    gross_percent: float = Field(
        15.0, gt=5.0, description="A single delivery short by more than any honest one is an alarm by itself, %."
    )
    note_percent: float = Field(3.0, gt=0.5, description="From here on a single short delivery is noted, %.")
    judged_h: float = Field(10.0, ge=0.0, lt=24.0, description="Local hour at which each day is judged.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class DeliveryShort(Comparison):
    """Deliveries of all stations together: tanks have biases, lorries and depots have effects."""

    rule: ClassVar[str] = "delivery_short"
    Settings: ClassVar[type[PluginSettings]] = ShortageSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_READINGS, Channel.DELIVERIES})
    lookback: ClassVar[timedelta] = timedelta(days=92)
    settings: ShortageSettings
    about: ClassVar[About] = About(
        title=Text("卸油短量", "Deliveries short"),
        catches=("W05",),
        inputs="Tank readings, fillings, delivery papers with litres at 20 °C, lorry and supplier, of all stations.",
        statistic="e = rise / declared − 1 of each drop; e = b(tank) + δ(group) + error, the error Student's t with "
        "three degrees of freedom and scale k·√((20 L)² + (0.3 % V)²)/1.134, k learned from drop to drop of the same "
        "lorry at the same tank. b is learned over 84 days from the drops of the same tank that others brought, and "
        "those that the lorry itself brought before the window, since the tank was last worked on; towards −0.32 ± "
        "0.6 % where they are few. The likelihood of the likeliest δ is held against that of none, b free within its "
        "deviation in both. Groups: each lorry, each supplier, each station.",
        threshold="A likelihood ratio of 8.4 nats (as much as 4.1 deviations) and δ < −0.25 %, at least ten drops, "
        "over the last 15, 30 or 60 days. One drop alone: short by more than 15 % (an alarm; honest gross errors end "
        "at 13 %), by more than 3 % and five deviations (a note).",
        power="Stations with a lorry of their own that makes 40 % of the drops. 0.5 % short: drops of 18,000 L and a "
        "3 L gauge 12 of 12, the median after 14.5 drops of the lorry; loads of all sizes and mixed gauges 20 of 20, "
        "20.5 drops. What information allows, at one false alarm in 500 nozzle-years with known statistics: 13, and "
        "13 to 26 by size of the loads. 1 % short: 12 of 12 after 8 drops. Over 830 honest nozzle-years (38,200 "
        "drops, nuisances as assumed and 1.5 times) no group came nearer than 7.7 nats (3.92 deviations).",
        pitfalls="Fuel sold during the drop is added by its records; joined tanks are one; two drops merged are "
        "compared with the sum of their papers if one lorry brought both. One drop in fifty is honestly off by 3 to "
        "13 %, which is why a single shortage of 1.5 % is no alarm. A tank whose every drop came by the same lorry "
        "cannot tell its bias from the lorry's.",
        source="Delivery errors of 7,324 real drops at 360 tanks: within a tank about 20 L + 0.3 %, heavy tails.",
    )

    def digest(self, past: StationPast, since: datetime, until: datetime) -> Digest:
        """The drops judged in the window."""
        first = to_us(since) - round(self.lookback / timedelta(microseconds=1))
        last = to_us(until)
        drops, price = [], None
        for match in matches(past):
            if match.rise is None or not match.papers or match.rise.worked_on or match.declared_l <= 0.0:
                continue
            paper = match.papers[0].delivery
            judged = match.rise.end_us + SETTLED_US
            trucks = {each.delivery.truck for each in match.papers}
            if not first < judged <= last or len(trucks) > 1:
                continue
            drops.append(
                Drop(
                    match.rise.end_us,
                    judged,
                    match.course.tanks[0],
                    paper.truck or "",
                    paper.supplier or "",
                    match.papers[0].name,
                    match.declared_l,
                    match.rise.litres,
                    match.rise.sd_l,
                    bisect_right(work_on(past, match.course.tanks), match.rise.end_us),
                )
            )
            price = price_cny(past, match.course, match.rise.end_us) or price
        drops.sort()
        return Digest(station_label(past.station, past.station_id), tuple(drops), price)

    def compare(self, digests: Mapping[str, Any], since: datetime, until: datetime) -> Iterator[Finding]:
        """Each day the lorries, depots and stations that got a drop; and each drop by itself."""
        told: dict[str, Digest] = {name: digests[name] for name in sorted(digests)}
        yield from self._single(told, to_us(since), to_us(until))
        pool = Pool({station: digest.drops for station, digest in told.items()})
        offset = round((self.settings.judged_h - self.settings.utc_offset_h) * HOUR_US)
        first, last = (to_us(since) - offset) // DAY_US + 1, (to_us(until) - offset) // DAY_US
        shown: dict[tuple[str, str], int] = {}
        for day in range(first // _WEEK * _WEEK, last + 1):
            due = day * DAY_US + offset
            fresh = pool.rows(due - DAY_US, due)
            if not len(fresh):
                continue
            found: dict[tuple[str, str], Effect] = {}
            known = pool.rows(due - _KNOWN_DAYS * DAY_US, due)
            for share in _WINDOWS:
                window = pool.rows(due - round(share * self.settings.window_days * DAY_US), due)
                for (kind, group), effect in pool.effects(fresh, window, known, self.settings.fewest):
                    best = found.get((kind, group))
                    if self._too_short(effect) and (best is None or effect.nats > best.nats):
                        found[kind, group] = effect
            for (kind, group), effect in sorted(found.items()):
                if shown.get((kind, group), -1) // _WEEK != day // _WEEK:
                    shown[kind, group] = day
                    if day >= first:
                        yield self._group_finding(told, pool, kind, group, effect, due)

    def _too_short(self, effect: Effect) -> bool:
        return (
            effect.nats > self.settings.sigmas**2 / 2.0
            and effect.value < -self.settings.least_percent / 100.0
            and len(effect.rows) >= self.settings.fewest
        )

    def _single(self, told: Mapping[str, Digest], first_us: int, last_us: int) -> Iterator[Finding]:
        settings = self.settings
        for station, digest in told.items():
            for drop in digest.drops:
                short = -drop.error * 100.0
                sure = drop.declared_l - drop.rise_l > 5.0 * math.hypot(DROP_L, TANK_SD * drop.declared_l, drop.sd_l)
                if first_us < drop.judged_us <= last_us and short > settings.note_percent and sure:
                    yield self._single_finding(station, digest, drop, gross=short > settings.gross_percent)

    # ------------------------------------------------------------ words

    def _single_finding(self, station: str, digest: Digest, drop: Drop, *, gross: bool) -> Finding:
        missing = drop.declared_l - drop.rise_l
        half = _Z95 * math.hypot(drop.sd_l, DROP_L, TANK_SD * drop.declared_l)
        worth, worth_en = _worth(missing, digest.price)
        day = local_day(from_us(drop.at_us), self.settings.utc_offset_h)
        subject = Subject(station)
        return Finding(
            id=finding_id(self.rule, subject, "drop", drop.tank_id, drop.document),
            rule=self.rule,
            cause="delivery_short",
            subject=subject,
            severity=Severity.MEDIUM if gross else Severity.INFO,
            departments=_DEPARTMENTS,
            onset=from_us(drop.at_us),
            detected_at=from_us(drop.judged_us),
            explanation=Explanation(
                title=title(digest.label, f"一次卸油少 {missing:,.0f} L", f"one drop short {missing:,.0f} L"),
                what=Text(
                    zh=f"{digest.label.zh} {day}：票据 {drop.document}（车 {drop.truck or '未知'}）申报 "
                    f"{litres(drop.declared_l)}，{drop.tank_id} 实收 {litres(drop.rise_l)}（20 °C），"
                    f"少 {litres(missing)}{worth}。",
                    en=f"{digest.label.en}, {day}: paper {drop.document} (truck {drop.truck or 'unknown'}) declares "
                    f"{litres(drop.declared_l)}, {drop.tank_id} received {litres(drop.rise_l)} (20 °C): "
                    f"{litres(missing)} less{worth_en}.",
                ),
                why=Text(
                    zh="诚实卸油的误差多在 1% 以内；每五十车约有一车因卸不净等原因差 3% 至 13%。"
                    + ("本车超过此范围。" if gross else "本车在此范围内，仅作记录。"),
                    en="Honest drops agree within 1% mostly; one in fifty is off by 3 to 13% because a compartment was "
                    + ("not emptied. This one is beyond." if gross else "not emptied. This one may be such: a note."),
                ),
                otherwise=_OTHERWISE,
                on_site=_ON_SITE,
            ),
            estimate=Estimate(round(missing, 1), "L", round(missing - half, 1), round(missing + half, 1), 0.95),
            evidence=(_drop_evidence(drop),),
        )

    def _group_finding(
        self, told: Mapping[str, Digest], pool: Pool, kind: str, group: str, effect: Effect, due_us: int
    ) -> Finding:
        drops = [pool.drops[row] for row in effect.rows]
        lost: dict[str, float] = defaultdict(float)
        for row, drop in zip(effect.rows, drops, strict=True):
            lost[pool.stations[row]] += drop.declared_l
        station = max(sorted(lost), key=lambda name: lost[name])
        digest, subject = told[station], Subject(station)
        value, half = effect.value * 100.0, _Z95 * effect.sd * 100.0
        declared = math.fsum(drop.declared_l for drop in drops)
        missing = -effect.value * declared
        worth, worth_en = _worth(missing, digest.price)
        zh, en = {
            "truck": (f"油罐车 {group}", f"lorry {group}"),
            "supplier": (f"供应商 {group}", f"supplier {group}"),
            "station": ("各车到本站", "all lorries to this station"),
        }[kind]
        where = f"（涉及 {len(lost)} 站）" if len(lost) > 1 else ""
        where_en = f" at {len(lost)} stations" if len(lost) > 1 else ""
        return Finding(
            id=finding_id(self.rule, subject, kind, group, max(drop.document for drop in drops[-1:])),
            rule=self.rule,
            cause="delivery_short",
            subject=subject,
            severity=Severity.HIGH if value < -1.0 else Severity.MEDIUM,
            departments=_DEPARTMENTS,
            onset=from_us(drops[0].at_us),
            detected_at=from_us(due_us),
            explanation=Explanation(
                title=title(digest.label, f"卸油短量 {percent(value)}", f"deliveries {percent(value)}"),
                what=Text(
                    zh=f"{zh}{where}近 {self.settings.window_days:g} 天 {len(drops)} 车，扣除各罐固有偏差后比票据少 "
                    f"{percent(value)}（95% 区间 {percent(value - half)} 至 {percent(value + half)}），"
                    f"共约 {litres(missing)}{worth}。",
                    en=f"{en}{where_en}: over {count(len(drops), 'drop', 'drops')} in "
                    f"{self.settings.window_days:g} days {percent(value)} against the papers beyond the tanks' own "
                    f"biases (95% interval {percent(value - half)} to {percent(value + half)}), about "
                    f"{litres(missing)}{worth_en}.",
                ),
                why=Text(
                    zh=f"同一油罐由其他车卸油时没有这一差额；差额为其标准差的 {math.sqrt(2.0 * effect.nats):.1f} 倍，"
                    "偶发的卸不净已降权。",
                    en="The same tanks show no such difference when others unload; it is worth "
                    f"{math.sqrt(2.0 * effect.nats):.1f} of its deviations; single gross errors count little.",
                ),
                otherwise=_OTHERWISE,
                on_site=_ON_SITE,
            ),
            estimate=Estimate(round(-value, 3), "%", round(-value - half, 3), round(-value + half, 3), 0.95),
            evidence=(
                Evidence(
                    f"deliveries_of_{kind}",
                    group,
                    {
                        "drops": len(drops),
                        "declared_20c_l": round(declared, 1),
                        "effect_percent": round(value, 3),
                        "sd_percent": round(effect.sd * 100.0, 3),
                        "stations": len(lost),
                    },
                ),
                *(_drop_evidence(drop) for drop in drops[-10:]),
            ),
            figures=(_figure(pool, kind, group, effect),),
        )


_DEPARTMENTS: Final = (Department.COMMERCE, Department.POLICE)
_OTHERWISE: Final = Text(
    zh="油库发油计量偏大；装车与卸车温度换算有误；卸油未尽；油罐容积表在该高度有误差。",
    en="A loading meter that reads high; a wrong temperature conversion; a compartment not emptied; a chart error at "
    "those heights.",
)
_ON_SITE: Final = Text(
    zh="卸油前后人工量油并取样；检查油罐车铅封、暗仓和卸油阀；核对油库出库单与过磅单。",
    en="Dip the tank before and after and take samples; check the lorry's seals, hidden compartments and valves; "
    "compare the depot's slip with the weighbridge.",
)


def _worth(missing: float, price: float | None) -> tuple[str, str]:
    if not price:
        return "", ""
    return f"，按零售价值 {yuan(missing * price)}", f", worth {yuan(missing * price)} at the pump"


def _drop_evidence(drop: Drop) -> Evidence:
    return Evidence(
        "delivery",
        drop.document,
        {
            "time": from_us(drop.at_us).isoformat(),
            "tank": drop.tank_id,
            "truck": drop.truck,
            "supplier": drop.supplier,
            "declared_20c_l": round(drop.declared_l, 1),
            "rise_20c_l": round(drop.rise_l, 1),
            "error_percent": round(drop.error * 100.0, 3),
        },
    )


def _figure(pool: Pool, kind: str, group: str, effect: Effect) -> Figure:
    rows = effect.rows[-150:]
    mine = {pool.drops[row].tank_id for row in rows}
    first = pool.drops[rows[0]].judged_us
    others = [
        drop
        for row, drop in enumerate(pool.drops)
        if drop.tank_id in mine and pool.group(kind, row) != group and first <= drop.judged_us
        and drop.judged_us <= pool.drops[rows[-1]].judged_us
    ][-200:]  # fmt: skip

    def points(drops: Iterable[Drop]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        listed = list(drops)
        return tuple(d.at_us / 1e6 for d in listed), tuple(round(d.error * 100.0, 3) for d in listed)

    return Figure(
        title=Text("卸油：实收与票据之差", "Deliveries: received against declared"),
        x=TIME,
        y=Text("差（%）", "Difference (%)"),
        curves=(
            Curve(Text("其他", "others"), *points(others), "points"),
            Curve(Text(group, group), *points(pool.drops[row] for row in rows), "points", alarm=True),
        ),
    )
