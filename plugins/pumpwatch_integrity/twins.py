"""The rule ``station_twins``: sales of one station that are those of another, at the same minute or some days later.

Two stations sell alike; they do not sell the same litres with the same seconds between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
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
from pumpwatch.wording import local, station_label, title

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RUN = 3
_KEPT = np.uint64(8)
"""One run in so many is compared, by its hash: the same ones at every station."""
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_LAG_US = 7 * _DAY_US
_ODD = np.uint64(0x9E3779B97F4A7C15)


class TwinSettings(PluginSettings):
    """Keys of ``[rules.station_twins]``."""

    runs: int = Field(5, ge=3, description="Compared runs that two stations must share within a day.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """One in eight of a station's runs of sales."""

    station: Station
    hashes: NDArray[np.uint64]
    at_us: NDArray[np.int64]
    """End of each run's last sale."""


class StationTwins(Comparison):
    """One finding a day and copied station; the copy is the one whose sales came later, else the higher id."""

    rule: ClassVar[str] = "station_twins"
    Settings: ClassVar[type[PluginSettings]] = TwinSettings
    lookback: ClassVar[timedelta] = timedelta(days=9)
    settings: TwinSettings
    about: ClassVar[About] = About(
        title=Text("两站数据雷同", "Two stations with the same sales"),
        catches=(),
        inputs="End and litres of sales of every station.",
        statistic="Runs of three consecutive sales of one nozzle: their litres and, to 1 s, the gaps. One in eight "
        "runs "
        "(by its hash, so the same at all stations) is compared between stations over seven days.",
        threshold="Five shared runs within a local day. By chance two stations share one run in 30 years, for p_v³ "
        "p_g² = "
        "1e-13 a pair; minute-level correlation of copied streams is above 0.99, but so may be two stations' rush.",
        power="A copied stream, at once or an hour or two days later: 3 copies were tried and each was seen on its "
        "first day; no other was measured. Honest: none in 448 "
        "honest nozzle-years (honest scenarios on, all probes, demand 0.3 to 1.6, nuisances to 1.5 times).",
        pitfalls="Promotions of a chain and round presets make litres alike, not seconds. A copy whose litres are "
        "shaken "
        "by some per cent escapes. Whole litres are left out.",
        source="Own derivation (R5 on the scenarios' page).",
    )

    def digest(self, past: StationPast, since: datetime, until: datetime) -> Traces:
        """About 60 bytes for eight sales."""
        sales = past.sales
        first, last = to_us(since) - _DAY_US - _LAG_US, to_us(until)
        hashes, at_us = _runs(sales.nozzle.astype(np.int64), sales.end_us, sales.volume_l)
        kept = (hashes % _KEPT == 0) & (at_us > first) & (at_us <= last)
        order = np.argsort(at_us[kept], kind="stable")
        return Traces(past.station, hashes[kept][order], at_us[kept][order])

    def compare(self, digests: Mapping[str, Any], since: datetime, until: datetime) -> Iterator[Finding]:
        """Shared runs by pair and day."""
        names = sorted(digests)
        if len(names) < 2:
            return
        hashes = np.concatenate([digests[name].hashes for name in names])
        at_us = np.concatenate([digests[name].at_us for name in names])
        which = np.repeat(np.arange(len(names)), [len(digests[name].hashes) for name in names])
        order = np.lexsort((which, at_us, hashes))
        same = hashes[order[1:]] == hashes[order[:-1]]
        near = at_us[order[1:]] - at_us[order[:-1]] <= _LAG_US
        hit = np.flatnonzero(same & near & (which[order[1:]] != which[order[:-1]]))
        old, new = order[hit], order[hit + 1]
        offset_us = round(self.settings.utc_offset_h * _HOUR_US)
        shared: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
        for a, b in zip(old.tolist(), new.tolist(), strict=True):
            day = int((at_us[b] + offset_us) // _DAY_US)
            shared.setdefault((int(which[a]), int(which[b]), day), []).append((int(at_us[b]), int(at_us[a])))
        for (first, copy, day), runs in sorted(shared.items()):
            if len(runs) < self.settings.runs:
                continue
            known = sorted(runs)[: self.settings.runs]
            at = from_us(known[-1][0])
            if since < at <= until:
                yield self._finding(digests[names[first]].station, digests[names[copy]].station, day, known)

    def _finding(self, first: Station, copy: Station, day: int, known: list[tuple[int, int]]) -> Finding:
        zone, subject = self.settings.utc_offset_h, Subject(copy.station_id)
        label, other = station_label(copy, copy.station_id), station_label(first, first.station_id)
        lag_s = (known[0][0] - known[0][1]) / 1e6
        lag = Text("同时", "at the same time") if lag_s < 1 else Text(f"晚 {lag_s:,.0f} s", f"{lag_s:,.0f} s later")
        begin, at = from_us(known[0][0]), from_us(known[-1][0])
        return Finding(
            id=finding_id(self.rule, subject, first.station_id, day),
            rule=self.rule,
            cause="replayed_data",
            subject=subject,
            severity=Severity.HIGH,
            departments=(Department.MARKET_REGULATION,),
            onset=begin,
            detected_at=at,
            explanation=Explanation(
                title=title(label, "与他站数据雷同", "sales of another"),
                what=Text(
                    zh=f"{label.zh}自 {local(begin, zone)} 起的交易与{other.zh}的交易雷同（{lag.zh}）："
                    f"抽取的序列中已有 {len(known)} 组三连笔的升数和间隔秒数完全一致。",
                    en=f"Since {local(begin, zone)} sales of {label.en} are those of {other.en} ({lag.en}): of the "
                    "runs "
                    f"compared, {len(known)} of three sales each agree in litres and in the seconds between.",
                ),
                why=Text(
                    zh="两座站的客流可以相似，升数可以因促销相同，但相邻交易的间隔秒数不会逐一相同。",
                    en="Two stations may be busy alike and a promotion makes litres alike; the seconds between sales "
                    "do not "
                    "agree one after the other.",
                ),
                otherwise=Text(
                    zh="站点编号配置错误，一座站的采集器被登记在两座站名下。",
                    en="A wrong station id in a configuration, so that one collector reports under two names.",
                ),
                on_site=Text(
                    zh="先核对两站采集器的配置和接线；再抄录各枪泵码与上传数据核对，确认哪一座站的数据不是自己的。",
                    en="First compare configuration and wiring of both collectors; then compare totalizers with what "
                    "was "
                    "sent, to see whose data are not its own.",
                ),
            ),
            estimate=Estimate(float(len(known)), "runs", float(len(known)), None, 0.95),
            evidence=tuple(
                Evidence(
                    "run_of_sales",
                    copy.station_id,
                    {
                        "end": from_us(new).astimezone(UTC).isoformat(),
                        "other_station": first.station_id,
                        "other_end": from_us(old).astimezone(UTC).isoformat(),
                    },
                )
                for new, old in known
            ),
            figures=(
                Figure(
                    Text("雷同序列的时间差", "Shared runs"),
                    Text("时间", "time"),
                    Text("时间差（s）", "later by (s)"),
                    (
                        Curve(
                            Text("雷同", "shared"),
                            tuple(new / 1e6 for new, _ in known),
                            tuple((new - old) / 1e6 for new, old in known),
                            shape="points",
                            alarm=True,
                        ),
                    ),
                ),
            ),
        )


def _runs(
    nozzle: NDArray[np.int64], end_us: NDArray[np.int64], volume_l: NDArray[np.float64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash and end of each run of three sales of a nozzle of which two are no whole litres."""
    if len(nozzle) < _RUN:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    cents = np.round(volume_l * 100.0).astype(np.int64)
    gaps = np.diff(end_us) // 1_000_000
    mixed = np.zeros(len(nozzle) - 2, np.uint64)
    for column in (cents[:-2], cents[1:-1], cents[2:], gaps[:-1], gaps[1:]):
        mixed = (mixed ^ column.astype(np.uint64)) * _ODD
        mixed ^= mixed >> np.uint64(29)
    odd = (cents % 100 != 0).astype(np.int64)
    fine = (nozzle[2:] == nozzle[:-2]) & (odd[:-2] + odd[1:-1] + odd[2:] >= 2)
    return mixed[fine], end_us[2:][fine]
