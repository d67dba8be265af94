"""The rule ``outage_sales``: what was sold while the collector was deaf, from what the totalizers show afterwards.

A power cut stops the pumps and a broken network keeps the records for later: both close exactly. A collector that was
pulled off its devices leaves totalizers and numbers that went on without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Curve,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Figure,
    Finding,
    PluginSettings,
    Review,
    Severity,
    StationPast,
    Subject,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.wording import count, litres, local, nozzle_label, station_label, title, yuan
from pumpwatch_integrity.silences import DAY_US, HOUR_US, MINUTE_US, Missing, Silence, enough, fallen, silences, totals

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MONTH_US = 30 * DAY_US
_SHORT_US = 2 * MINUTE_US
_MOSTLY = 5
"""Where records were kept so many sales must be missing to make a silence of its own: fewer may be single records that
somebody left out."""


class OutageSettings(PluginSettings):
    """Keys of ``[rules.outage_sales]``."""

    shortest_min: float = Field(5.0, gt=0.0, description="Shorter silences count by the local day only, minutes.")
    short_ones: int = Field(3, ge=2, description="So many small ones with missing sales make a finding a local day.")
    least_l: float = Field(1.0, gt=0.0, description="Litres that must be missing in all, litres.")
    critical_l: float = Field(500.0, gt=0.0, description="From here on a silence is of high severity, litres.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class OutageSales(Review):
    """One finding a silence in which something was sold, four hours after it or when the first nozzle shows it."""

    rule: ClassVar[str] = "outage_sales"
    Settings: ClassVar[type[PluginSettings]] = OutageSettings
    lookback: ClassVar[timedelta] = timedelta(days=36)
    explains: ClassVar[frozenset[str]] = frozenset({"sequence_gap", "offline_sale"})
    settings: OutageSettings
    about: ClassVar[About] = About(
        title=Text("断线期间有加油", "Sales while the collector was deaf"),
        catches=("C01",),
        inputs="Link events, tank readings, and number and totalizers of the last sale before and the first after each "
        "silence; tank levels where there are any.",
        statistic="Silence: between a link's down and up, or without any reading or sale for 2.5 reading intervals; 5 "
        "min to 30 days. Missing: Σ over nozzles of totalizer after − litres recorded between − totalizer before, and "
        "numbers left out. Small ones, from 2 min on, count together by the local day.",
        threshold="More than 1 L missing in all, or a number left out at a nozzle without totalizer. Arithmetic, so "
        "nothing that closes exactly can raise it. Where sales of that time came or a tank was read, as many "
        "numbers must be missing as came, and five: fewer may be single records (`sequence_gap`). Of smaller silences, "
        "below 5 min or below those five, three with something missing on one local day.",
        power="Unplugged for 0.5, 2 and 4 h at the evening peak: 36 of 36 (12 stations, all probes), four hours "
        "after the first time; the estimate is 60 % to 100 % of what was sold, for nozzles that sell nothing in the "
        "four hours after are not in it. 120 pulls of 4.5 min in three days: told on each of them; 80 h and 240 h, and "
        "3 h of which one record was kept: each told (one station). Honest: none in 246 honest nozzle-years with the "
        "honest scenarios on.",
        pitfalls="A network outage brings its records later: no gap (H06, and 0.4 % of all time in the honest "
        "county); where only some have come the others are waited for a day. A power cut stops the pumps (H05). "
        "Claimed four hours after the silence, so that late records have come and the nozzles have shown what they "
        "sold; what shows later is not in the estimate. A roll-over of the totalizer inside is taken out.",
        source="Own derivation (R4 and D11 on the scenarios' page).",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Every silence that hid sales, and the day on which small ones did so again and again."""
        shortest = round(self.settings.shortest_min * MINUTE_US)
        offset_us = round(self.settings.utc_offset_h * HOUR_US)
        pulls: dict[int, list[tuple[int, Silence]]] = {}
        for silence in silences(past, min(_SHORT_US, shortest), _MONTH_US):
            claimed = silence.claimed_us
            known = () if claimed is None else silence.known(claimed)
            if claimed is None or not enough(known, self.settings.least_l):
                continue
            few = silence.kept and totals(known)[2] < _MOSTLY
            if few or silence.end_us - silence.begin_us < shortest:
                pulls.setdefault((silence.begin_us + offset_us) // DAY_US, []).append((claimed, silence))
            elif to_us(since) < claimed <= to_us(until):
                yield self._finding(past, silence, known, from_us(claimed))
        for _, day in sorted(pulls.items()):
            day.sort(key=lambda entry: (entry[0], entry[1].begin_us, str(entry[1].dispenser_id)))
            first = day[: self.settings.short_ones]
            if len(first) == self.settings.short_ones and to_us(since) < first[-1][0] <= to_us(until):
                whole = _together(first)
                yield self._finding(past, whole, whole.missing, from_us(first[-1][0]), len(first))

    def _finding(
        self, past: StationPast, silence: Silence, known: Sequence[Missing], at: datetime, times: int = 1
    ) -> Finding:
        settings, zone = self.settings, self.settings.utc_offset_h
        subject = Subject(past.station_id, silence.dispenser_id)
        label = station_label(past.station, past.station_id)
        (total, money, sales), nozzles = totals(known), len({m.nozzle_id for m in known})
        begin, end = from_us(silence.begin_us), from_us(silence.end_us)
        hours = (silence.end_us - silence.begin_us) / HOUR_US
        fell = fallen(past, silence) if times == 1 else {}
        tank = Text("", "")
        if fell:
            tank = Text(
                f"同时油罐液位下降合 {litres(sum(fell.values()))}。",
                f" The tanks fell by {litres(sum(fell.values()))} meanwhile.",
            )
        unheard = Text("没有任何数据", "No word")
        if silence.kept or times > 1:
            unheard = Text("失联", "No link")
        size = f"{total:,.0f} L" if total > 0 else f"{sales}"
        spell = Text(f"{hours:,.1f} h", f"{hours:,.1f} h")
        if times > 1:
            spell = Text(f"其间 {times} 次", f"{times} times in that span")
        return Finding(
            id=finding_id(self.rule, subject, begin.isoformat(), *(["short"] if times > 1 else [])),
            rule=self.rule,
            cause="collector_outage",
            subject=subject,
            severity=Severity.HIGH if total >= settings.critical_l else Severity.MEDIUM,
            departments=(Department.MARKET_REGULATION, Department.TAX),
            onset=begin,
            detected_at=at,
            explanation=Explanation(
                title=title(label, f"断线期间加油 {size}", f"sold while deaf {size}"),
                what=Text(
                    zh=f"{local(begin, zone)} 至 {local(end, zone)}（{spell.zh}）{unheard.zh}，"
                    f"恢复后 {nozzles} 把枪的泵码共多走 {litres(total)}"
                    f"（约 {yuan(money)}），缺 {sales} 个序号。{tank.zh}",
                    en=f"{unheard.en} from {local(begin, zone)} to {local(end, zone)} ({spell.en}). Afterwards the "
                    f"totalizers of {count(nozzles, 'nozzle', 'nozzles')} had moved on by {litres(total)} (about "
                    f"{yuan(money)}), and {count(sales, 'number is', 'numbers are')} missing.{tank.en}",
                ),
                why=Text(
                    zh="停电时加油机不出油，断网时记录会补传，两种情况泵码和序号都能接上；这里接不上，"
                    "说明加油照常，而采集器没有记录。",
                    en="In a power cut no pump runs, and after a network outage the records come later: both close "
                    "exactly. Here they do not, so the pumps ran while the collector recorded nothing.",
                ),
                otherwise=Text(
                    zh="采集器自身故障或死机，设备缓存不足未能补传；站内总线断线。",
                    en="A fault of the collector itself, devices that cannot keep records for later, a broken wire on "
                    "the station's bus.",
                ),
                on_site=Text(
                    zh="查采集器电源、插头封签和站内监控录像；从主板和税控调出缺失序号的交易，与泵码核对。",
                    en="Look at the collector's power, the seal of its plug and the video; read the missing numbers "
                    "from mainboard and tax memory and compare with the totalizers.",
                ),
            ),
            estimate=Estimate(
                round(total, 2), "L", round(total - 0.02 * len(known), 2), round(total + 0.02 * len(known), 2), 0.95
            )
            if total > 0
            else Estimate(float(sales), "records", float(sales), float(sales), 0.95),
            evidence=(_silence_evidence(past, silence, fell), *map(_missing_evidence, known[:18])),
            figures=(_figure(past, silence),),
        )


def _together(pulls: Sequence[tuple[int, Silence]]) -> Silence:
    """Short silences of one day, each with when it was claimed, as one."""
    known = [m for claimed, silence in pulls for m in silence.known(claimed)]
    places = {silence.dispenser_id for _, silence in pulls}
    return Silence(
        min(silence.begin_us for _, silence in pulls),
        max(silence.end_us for _, silence in pulls),
        places.pop() if len(places) == 1 else None,
        pulls[0][1].reason,
        tuple(sorted(known, key=lambda m: (m.at_us, m.nozzle_id))),
    )


# ---------------------------------------------------------------- words and figures


def _silence_evidence(past: StationPast, silence: Silence, fell: Mapping[str, float]) -> Evidence:
    return Evidence(
        "silence",
        past.station_id,
        {
            "begin": from_us(silence.begin_us).astimezone(UTC).isoformat(),
            "end": from_us(silence.end_us).astimezone(UTC).isoformat(),
            "reason": silence.reason or None,
            **{f"fell_l {tank}": drop for tank, drop in list(fell.items())[:8]},
        },
    )


def _missing_evidence(missing: Missing) -> Evidence:
    return Evidence(
        "totalizer_gap",
        missing.nozzle_id,
        {
            "first_sale_after": from_us(missing.at_us).astimezone(UTC).isoformat(),
            "gap_l": round(missing.litres, 2) if math.isfinite(missing.litres) else None,
            "gap_cny": round(missing.cny, 2) if math.isfinite(missing.cny) else None,
            "numbers_missing": missing.sales,
        },
    )


def _figure(past: StationPast, silence: Silence) -> Figure:
    """Totalizers over time, each from where it stood before the silence."""
    begin, end = silence.begin_us, silence.end_us
    last_us = silence.claimed_us or end
    curves = []
    for missing in sorted(silence.known(last_us), key=lambda m: -m.litres)[:6]:
        rows = past.sales.of(missing.nozzle_id)
        ends = past.sales.end_us[rows]
        low, high = np.searchsorted(ends, [begin - 2 * HOUR_US, last_us + 1])
        at: NDArray[np.int64] = ends[low:high][-50:]
        course = past.sales.totalizer_l[rows][low:high][-50:]
        if len(at) and np.isfinite(course).all():
            shown = tuple((at / 1e6).tolist()), tuple(np.round(course - course[0], 2).tolist())
            curves.append(Curve(nozzle_label(missing.nozzle_id), *shown, shape="step", alarm=True))
    return Figure(
        title=Text("断线前后的泵码", "Totalizers around the silence"),
        x=Text("时间", "time"),
        y=Text("泵码增量（L）", "moved since (L)"),
        curves=tuple(curves),
        marks=((begin / 1e6, Text("断线", "silent")), (end / 1e6, Text("恢复", "back"))),
    )
