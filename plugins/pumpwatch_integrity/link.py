"""The rule ``link_lost``: devices of a station that have been silent for longer than a grace period, as one alarm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from pydantic import Field

from pumpwatch import (
    About,
    Department,
    Detector,
    DeviceEvent,
    EventKind,
    Evidence,
    Explanation,
    Finding,
    History,
    PluginSettings,
    Severity,
    Subject,
    Text,
    finding_id,
)
from pumpwatch.wording import local, station_label, title

_NAMED = 3


class LinkSettings(PluginSettings):
    """Keys of ``[rules.link_lost]``."""

    grace_s: float = Field(5.0, ge=0.0, description="A link must be down for longer than this, seconds.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class LinkLost(Detector):
    """One finding a station, from the latest link event of each of its devices.

    The id is made of the station and of the time its first device fell silent, so it stays the same while further
    devices of the station drop; nothing in the finding but the set of devices changes from look to look.
    """

    rule: ClassVar[str] = "link_lost"
    Settings: ClassVar[type[PluginSettings]] = LinkSettings
    every: ClassVar[timedelta] = timedelta(seconds=2)
    standing: ClassVar[bool] = True
    about: ClassVar[About] = About(
        title=Text("断线", "Link lost"),
        catches=(),
        inputs='The latest DeviceEvent of kind `link` of each device, `{"up": bool, "reason": str}`; the configured '
        "devices of the station; the nozzles registered at the dispensers among them (device `D1` of station "
        "`S01` is dispenser `S01-D1`).",
        statistic="Time since the latest link event of a device, if it says down. The devices that are down for longer "
        "than the grace period make one alarm a station, of cause `collector_outage`. Its onset is the "
        "earliest of their down events, and its id is made of the station and that onset: it stays while "
        "further devices drop.",
        threshold="Down for more than `grace_s` (5 s); exactly 5 s is quiet. Medium when every configured device of the"
        " station is down, low when some are; it rises as more drop. The alarm returns to normal by itself.",
        power="Deterministic: every outage longer than the grace period is found within 2 s after it. What counts "
        "as down is acquisition's to say (a read that failed), so that one lost reply is already a down "
        "event; the grace period keeps it quiet. It is a live rule: over recorded history `outage_sales` asks"
        " what was sold in the silence.",
        pitfalls="A power cut, a network fault and a pulled plug look the same: see the sequence and the totalizers "
        "when the link is back. A device that is no longer configured is not judged, however its last event "
        "reads, and a station without configured devices is not judged. When the first device to drop is the "
        "first to return, onset and id move to the next one; the alarm stays, for it belongs to rule and "
        "station. Many stations at once are one cause: the network, not the stations.",
        source="ISA-18.2: few alarms, one for one cause, each with a response, and a delay against chatter. The "
        "first regional platforms report the share of collectors online as their first figure.",
    )
    settings: LinkSettings

    def look(self, history: History, now: datetime) -> Iterator[Finding]:
        """All stations with a lost link at ``now``."""
        grace = timedelta(seconds=self.settings.grace_s)
        for station_id, latest in sorted(_latest_by_station(history.latest_events(EventKind.LINK)).items()):
            configured = frozenset(history.devices_of(station_id))
            down = sorted(
                (e for d, e in latest.items() if d in configured and _is_down(e) and now - e.at > grace),
                key=lambda event: (event.at, event.device_id),
            )
            if down:
                yield self._finding(station_id, down, history, whole=len(down) == len(configured))

    def _finding(self, station_id: str, down: Sequence[DeviceEvent], history: History, *, whole: bool) -> Finding:
        subject = Subject(station_id)
        onset = down[0].at
        return Finding(
            id=finding_id(self.rule, subject, onset.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="collector_outage",
            subject=subject,
            severity=Severity.MEDIUM if whole else Severity.LOW,
            departments=(Department.OPERATIONS, Department.MARKET_REGULATION),
            onset=onset,
            detected_at=onset + timedelta(seconds=self.settings.grace_s),
            explanation=self._explain(station_id, down, history, whole=whole),
            evidence=tuple(
                Evidence(
                    kind="device_event",
                    reference=f"{station_id}/{event.device_id}",
                    data={"down_since": event.at.astimezone(UTC).isoformat(), "reason": _reason(event) or None},
                )
                for event in down
            ),
        )

    def _explain(self, station_id: str, down: Sequence[DeviceEvent], history: History, *, whole: bool) -> Explanation:
        label = station_label(history.station(station_id), station_id)
        place = Text(
            zh=label.zh if label.zh == station_id else f"{label.zh}（{station_id}）",
            en=label.en if label.en == station_id else f"{label.en} ({station_id})",
        )
        names = sorted(event.device_id for event in down)
        if whole:
            head = Text("断线", "link lost")
        elif len(names) <= _NAMED and sum(map(len, names)) <= 12:
            head = Text(f"{'、'.join(names)} 断线", f"{', '.join(names)} link lost")
        else:
            head = Text(f"{len(names)}台设备断线", f"{len(names)} devices link lost")
        nozzles = sum(_nozzles_behind(station_id, name, history) for name in names)
        since = local(down[0].at, self.settings.utc_offset_h)
        reasons = "; ".join(sorted({reason for event in down if (reason := _reason(event))}))
        return Explanation(
            title=title(label, head.zh, head.en),
            what=Text(
                zh=f"{place.zh}自 {since} 起断线："
                f"{'全站设备' if whole else '部分设备'} {'、'.join(names)}，涉及 {nozzles} 把加油枪。",
                en=f"{place.en}: no link since {since} to "
                f"{'all devices' if whole else 'some devices'} ({', '.join(names)}); nozzles concerned: {nozzles}.",
            ),
            why=Text(
                zh=f"超过 {self.settings.grace_s:g} s 没有应答"
                + (f"（{reasons}）" if reasons else "")
                + "。断线期间的加油要到恢复后才能补传核对。",
                en=f"No answer for more than {self.settings.grace_s:g} s"
                + (f" ({reasons})" if reasons else "")
                + ". Sales made meanwhile can be checked only after the link is back.",
            ),
            otherwise=_WHOLE if whole else _SOME,
            on_site=_ON_SITE,
        )


_WHOLE = Text(
    zh="停电、网络故障、设备维修；人为拔线或屏蔽信号也是同样的表现。",
    en="A power cut, a network fault, repair work; a pulled plug or a blocked signal looks the same.",
)
_SOME = Text(
    zh="单台设备停电、网络或接线故障、设备维修；人为拔线也是同样的表现。",
    en="A power cut at these devices, a network or wiring fault, repair work; a pulled plug looks the same.",
)
_ON_SITE = Text(
    zh="查采集器、电源、天线和网线；恢复后核对断线期间的序号和泵码是否连续。",
    en="Check collector, power, antenna and network cable; when the link is back, see that sequence and totalizers "
    "went on without a gap.",
)


def _latest_by_station(events: Sequence[DeviceEvent]) -> Mapping[str, Mapping[str, DeviceEvent]]:
    stations: dict[str, dict[str, DeviceEvent]] = {}
    for event in events:
        devices = stations.setdefault(event.station_id, {})
        known = devices.get(event.device_id)
        if known is None or event.at >= known.at:
            devices[event.device_id] = event
    return stations


def _is_down(event: DeviceEvent) -> bool:
    up = event.detail.get("up")
    return up is not None and not up


def _reason(event: DeviceEvent) -> str:
    return str(event.detail.get("reason") or "").strip()


def _nozzles_behind(station_id: str, device_id: str, history: History) -> int:
    """Registered nozzles of the dispenser a device is; a gauge has none."""
    return len(history.nozzles_of(f"{station_id}-{device_id}") or history.nozzles_of(device_id))
