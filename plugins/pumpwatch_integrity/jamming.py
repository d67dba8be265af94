"""The rule ``jamming``: stations of one town that fall silent and come back together, with sales missing afterwards.

A jammer does not know whose radio it drowns: what tells it from a pulled plug is the neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import Field

from pumpwatch import (
    About,
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
    Station,
    StationPast,
    Subject,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.wording import count, litres, local, station_label, title, yuan
from pumpwatch_integrity.silences import LOOKBACK, MINUTE_US, SETTLE_US, Silence, enough, silences, totals


class JammingSettings(PluginSettings):
    """Keys of ``[rules.jamming]``."""

    shortest_min: float = Field(5.0, gt=0.0, description="Shorter silences are not judged, minutes.")
    longest_h: float = Field(6.0, gt=0.0, description="Longer silences are no jamming, hours.")
    together_s: float = Field(120.0, gt=0.0, description="So near must both ends of two silences be, seconds.")
    least_l: float = Field(1.0, gt=0.0, description="Litres that must be missing at one of the stations, litres.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Quiet:
    """What the comparison needs of a station."""

    station: Station
    silences: tuple[Silence, ...]
    """Of the whole station."""


class Jamming(Comparison):
    """One finding for each station of a group, four hours after the last of them came back."""

    rule: ClassVar[str] = "jamming"
    Settings: ClassVar[type[PluginSettings]] = JammingSettings
    lookback: ClassVar[timedelta] = LOOKBACK
    explains: ClassVar[frozenset[str]] = frozenset({"collector_outage", "sequence_gap", "offline_sale"})
    settings: JammingSettings
    about: ClassVar[About] = About(
        title=Text("无线干扰", "Radio jammed"),
        catches=("C02",),
        inputs="Silences of whole stations (link events, or readings that stop), the town of the register, and what "
        "numbers and totalizers show afterwards.",
        statistic="Groups of stations of one town whose silences of 5 min to 6 h begin within 120 s of each other and "
        "end within 120 s of each other, and in which no sale ended.",
        threshold="Two stations, and at least 1 L missing at one of them. Two independent outages of 20 min (0.4 % of "
        "the time) agree so well once in 400 pair-years, and they lose no records.",
        power="10, 30 and 60 min in towns of five stations: 120 of 120 stations, four hours after the first jamming "
        "in which a sale was missed (median 28 h after the onset, most of it waiting for the first). Honest: none in "
        "448 honest nozzle-years (honest scenarios on, all probes, demand 0.3 to 1.6, nuisances to 1.5 times).",
        pitfalls="A network of the town that fails brings the records later, a power cut stops the pumps: both close "
        "exactly. A station without neighbours in its town looks like a pulled plug (``outage_sales``).",
        source="Own derivation (R4 on the scenarios' page).",
    )

    def digest(self, past: StationPast, since: datetime, until: datetime) -> Quiet:
        """The silences of the whole station, a few hundred bytes each."""
        shortest, longest = self.settings.shortest_min * MINUTE_US, self.settings.longest_h * 60 * MINUTE_US
        found = silences(past, round(shortest))
        earliest = to_us(since) - 2 * 24 * 60 * MINUTE_US
        kept = (s for s in found if s.dispenser_id is None and not s.kept and s.end_us - s.begin_us <= longest)
        return Quiet(past.station, tuple(s for s in kept if s.end_us > earliest))

    def compare(self, digests: Mapping[str, Any], since: datetime, until: datetime) -> Iterator[Finding]:
        """Groups by town and time."""
        towns: dict[str, list[tuple[Silence, Station]]] = {}
        for _, quiet in sorted(digests.items()):
            if quiet.station.town:
                towns.setdefault(quiet.station.town, []).extend((s, quiet.station) for s in quiet.silences)
        for _, told in sorted(towns.items()):
            for group in self._groups(told):
                lost = [c for s, _ in group if (c := s.claimed_us) is not None]
                if len({station.station_id for _, station in group}) < 2 or not lost:
                    continue
                claimed = max(max(s.end_us for s, _ in group) + SETTLE_US, min(lost))
                known = [s.known(claimed) for s, _ in group]
                if to_us(since) < claimed <= to_us(until) and any(enough(k, self.settings.least_l) for k in known):
                    for silence, station in group:
                        yield self._finding(silence, station, group, claimed)

    def _groups(self, told: Sequence[tuple[Silence, Station]]) -> Iterator[list[tuple[Silence, Station]]]:
        near = round(self.settings.together_s * 1e6)
        left = sorted(told, key=lambda entry: (entry[0].begin_us, entry[1].station_id))
        while left:
            first = left[0][0]
            group = [
                entry
                for entry in left
                if entry[0].begin_us - first.begin_us <= near and abs(entry[0].end_us - first.end_us) <= near
            ]
            left = [entry for entry in left if entry not in group]
            yield group

    def _finding(
        self, silence: Silence, station: Station, group: Sequence[tuple[Silence, Station]], claimed_us: int
    ) -> Finding:
        zone, subject, label = (
            self.settings.utc_offset_h,
            Subject(station.station_id),
            station_label(station, station.station_id),
        )
        others = [station_label(s, s.station_id) for _, s in group if s.station_id != station.station_id]
        total, money, sales = totals(silence.known(claimed_us))
        begin, end = from_us(silence.begin_us), from_us(silence.end_us)
        minutes = (silence.end_us - silence.begin_us) / MINUTE_US
        evidence = [
            Evidence(
                "silence",
                s.station_id,
                {
                    "begin": from_us(each.begin_us).astimezone(UTC).isoformat(),
                    "end": from_us(each.end_us).astimezone(UTC).isoformat(),
                    "reason": each.reason or None,
                    "missing_l": round(totals(each.known(claimed_us))[0], 2),
                    "numbers_missing": totals(each.known(claimed_us))[2],
                },
            )
            for each, s in group[:20]
        ]
        return Finding(
            id=finding_id(self.rule, subject, begin.isoformat()),
            rule=self.rule,
            cause="jamming",
            subject=subject,
            severity=Severity.HIGH,
            departments=(Department.MARKET_REGULATION, Department.POLICE),
            onset=begin,
            detected_at=from_us(claimed_us),
            explanation=Explanation(
                title=title(label, "与邻站同时失联", "lost with neighbours"),
                what=Text(
                    zh=f"{label.zh}与同镇 {len(others)} 座站（{'、'.join(o.zh for o in others[:3])}"
                    f"{'等' if len(others) > 3 else ''}）在 {local(begin, zone)} 同时失联 {minutes:,.0f} min，"
                    f"至 {local(end, zone)} 同时恢复；本站泵码多走 {litres(total)}"
                    f"（约 {yuan(money)}），缺 {sales} 个序号。",
                    en=f"{label.en} and {count(len(others), 'other station', 'other stations')} of its town "
                    f"({', '.join(o.en for o in others[:3])}{' …' if len(others) > 3 else ''}) fell silent together at "
                    f"{local(begin, zone)} for {minutes:,.0f} min and came back together at {local(end, zone)}; here "
                    f"the totalizers moved on by {litres(total)} (about {yuan(money)}) and "
                    f"{count(sales, 'number is', 'numbers are')} missing.",
                ),
                why=Text(
                    zh="几座站同一分钟断、同一分钟通，故障在共用的无线信道；运营商断网时记录会补传，这里没有补传。",
                    en="Several stations gone and back within the same minutes share the radio channel, not a plug. "
                    "When the operator's network fails the records come later; these never came.",
                ),
                otherwise=Text(
                    zh="共用基站或集中器故障，且设备不缓存记录。",
                    en="A fault of the shared base station or concentrator, with devices that keep no records.",
                ),
                on_site=Text(
                    zh="请无线电管理部门监测该频段；查各站同时段监控录像；从主板和税控调出缺失的交易。",
                    en="Have the radio authority watch the band; look at the video of that time at each station; read "
                    "the missing sales from mainboard and tax memory.",
                ),
            ),
            estimate=Estimate(round(total, 2), "L", round(total, 2), None, 0.95),
            evidence=tuple(evidence),
            figures=(_figure(group),),
        )


def _figure(group: Sequence[tuple[Silence, Station]]) -> Figure:
    """Each station's silence as a bar on a line of its own."""
    curves = tuple(
        Curve(
            station_label(station, station.station_id),
            (silence.begin_us / 1e6, silence.end_us / 1e6),
            (float(place), float(place)),
            alarm=True,
        )
        for place, (silence, station) in enumerate(group[:40], 1)
    )
    return Figure(Text("同时失联的站", "Stations silent together"), Text("时间", "time"), Text("站", "station"), curves)
