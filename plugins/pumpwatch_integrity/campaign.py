"""The rule ``firmware_campaign``: the same new program on many dispensers within days is one notice, not many.

A maker brings new firmware from station to station with papers. Whoever has the campaign's version but another digest
than the other dispensers of the model does not have the maker's program.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
from pumpwatch.wording import dispenser_label, listed, local, local_day, title
from pumpwatch_integrity.parts import Change, Cover, changes_of, cover, identity_told, told

_DAY_US: Final = 86_400_000_000


class CampaignSettings(PluginSettings):
    """Keys of ``[rules.firmware_campaign]``."""

    least_stations: int = Field(3, ge=2, description="From so many stations on it is a campaign.")
    least_dispensers: int = Field(6, ge=2, description="… and from so many dispensers on.")
    pause_days: float = Field(5.0, gt=0.0, description="It is over when nothing followed for so long, days.")
    longest_days: float = Field(90.0, gt=0.0, description="Changes longer ago are another campaign, days.")
    work_order_days: float = Field(7.0, ge=0.0, description="A work order explains a change so long after it, days.")
    work_order_late_days: float = Field(1.0, ge=0.0, description="… or this long before it, days.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A dispenser that told a version it is not registered with."""

    at_us: int
    station_id: str
    dispenser_id: str
    brand: str
    model: str
    version: str
    digest: str
    """Empty when it does not tell."""
    with_order: bool


class FirmwareCampaign(Comparison):
    """One notice for each brand and version when the campaign has come to rest, and one finding for each odd digest."""

    rule: ClassVar[str] = "firmware_campaign"
    Settings: ClassVar[type[PluginSettings]] = CampaignSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.IDENTITY})
    lookback: ClassVar[timedelta] = timedelta(days=100)
    about: ClassVar[About] = About(
        title=Text("固件集中升级", "Firmware campaign"),
        catches=("H11",),
        inputs="Identities and events of kind `identity` that tell a firmware version other than the registered one; "
        "brand and model in the ledger; work orders of the dispensers.",
        statistic="First telling of each dispenser, grouped by brand and version; a group ends where nothing follows "
        "for `pause_days`. Within it the digest that most dispensers of a model tell is the maker's.",
        threshold="A group with work orders at `least_dispensers` dispensers of `least_stations` stations is a "
        "campaign and told once, `pause_days` after its last change, as a note. A dispenser of it with another digest "
        "than at least `least_dispensers` others of its model, more than half of them, is an alarm.",
        power="H11: one note in each of the fleets it was tried in, with the right number of dispensers (129 to 160 "
        "of 38 to 46 stations), 5 days after the last change. No false alarm over 1,218 honest nozzle-years with the "
        "honest scenarios in them.",
        pitfalls="Whether a single change is an alarm is decided by `identity_change` from the work order of that "
        "dispenser alone: this rule neither makes alarms nor takes them away, but for odd digests. A maker that builds "
        "a digest for each dispenser must have it left out of the ledger.",
        source="Own derivation (D6 on the scenarios' page); GB/T 9081-2023 (signature of software).",
    )
    settings: CampaignSettings

    def digest(self, past: StationPast, since: datetime, until: datetime) -> tuple[Upgrade, ...]:
        """The first telling of each new version by each dispenser."""
        of = {nozzle.nozzle_id: nozzle.dispenser_id for nozzle in past.nozzles}
        said = [each for event in past.events if (each := identity_told(event, of.get)) is not None]
        seen: dict[tuple[str, str, str], Upgrade] = {}
        for identity in sorted((*past.identities, *said), key=lambda each: (each.at, each.dispenser_id)):
            dispenser = past.dispenser_by_id.get(identity.dispenser_id)
            changes = changes_of(identity, dispenser) if dispenser is not None else ()
            version = next((c.observed for c in changes if c.field == "firmware_version"), None)
            if dispenser is None or version is None:
                continue
            digest = (told(identity.firmware_digest) or "").casefold()
            key = (dispenser.dispenser_id, version.casefold(), digest)
            if key not in seen:
                seen[key] = Upgrade(
                    to_us(identity.at),
                    past.station_id,
                    dispenser.dispenser_id,
                    dispenser.brand or "",
                    dispenser.model or "",
                    version,
                    digest,
                    self._with_order(past, dispenser.dispenser_id, changes, identity.at),
                )
        return tuple(seen.values())

    def _with_order(self, past: StationPast, dispenser_id: str, changes: Sequence[Change], at: datetime) -> bool:
        names, settings = {dispenser_id, past.station_id}, self.settings
        orders = [order for order in past.work_orders if order.device_id in names]
        days, late = settings.work_order_days, settings.work_order_late_days
        return cover(orders, changes, at, days, late)[0] is not Cover.NONE

    def compare(self, digests: Mapping[str, Any], since: datetime, until: datetime) -> Iterator[Finding]:
        """Group the changes of all stations."""
        groups: dict[tuple[str, str], list[Upgrade]] = defaultdict(list)
        for _, upgrades in sorted(digests.items()):
            for each in upgrades:
                groups[each.brand.casefold(), each.version.casefold()].append(each)
        pause_us = round(self.settings.pause_days * _DAY_US)
        first, last = to_us(since), to_us(until)
        for _, group in sorted(groups.items()):
            group.sort(key=lambda each: (each.at_us, each.station_id, each.dispenser_id, each.digest))
            for place, each in enumerate(group):
                over_us = each.at_us + pause_us
                followed = place + 1 < len(group) and group[place + 1].at_us <= over_us
                if not followed and first < over_us <= last:
                    yield from self._judge(self._campaign(group[: place + 1]), over_us)

    def _campaign(self, group: Sequence[Upgrade]) -> list[Upgrade]:
        """The changes that led up to the last one without a pause, no longer back than ``longest_days``."""
        pause_us = round(self.settings.pause_days * _DAY_US)
        since_us = group[-1].at_us - round(self.settings.longest_days * _DAY_US)
        first = len(group) - 1
        while first > 0 and group[first].at_us - group[first - 1].at_us <= pause_us:
            first -= 1
        return [each for each in group[first:] if each.at_us >= since_us]

    def _judge(self, campaign: Sequence[Upgrade], over_us: int) -> Iterator[Finding]:
        papered = [each for each in campaign if each.with_order]
        stations = {each.station_id for each in papered}
        dispensers = {each.dispenser_id for each in papered}
        if len(stations) < self.settings.least_stations or len(dispensers) < self.settings.least_dispensers:
            return
        yield self._notice(campaign, papered, over_us)
        for model in sorted({each.model for each in campaign}):
            mine = [each for each in campaign if each.model == model and each.digest]
            told_by = Counter(each.digest for each in mine)
            digest, most = max(told_by.items(), key=lambda item: (item[1], item[0]), default=("", 0))
            if most >= self.settings.least_dispensers and 2 * most > len(mine):
                for each in mine:
                    if each.digest != digest:
                        yield self._odd(each, digest, most, over_us)

    def _notice(self, campaign: Sequence[Upgrade], papered: Sequence[Upgrade], over_us: int) -> Finding:
        one, at = campaign[0], from_us(over_us)
        dispensers = sorted({each.dispenser_id for each in campaign})
        stations = sorted({each.station_id for each in campaign})
        without = sorted(set(dispensers) - {each.dispenser_id for each in papered})
        hours = self.settings.utc_offset_h
        begin, end = (local_day(from_us(each.at_us), hours) for each in (one, campaign[-1]))
        brand = one.brand or "?"
        missing = listed(without)
        subject = Subject(one.station_id)
        return Finding(
            id=finding_id(self.rule, subject, brand.casefold(), one.version.casefold(), one.at_us),
            rule=self.rule,
            cause="firmware_campaign",
            subject=subject,
            severity=Severity.INFO,
            departments=(Department.MARKET_REGULATION,),
            onset=from_us(one.at_us),
            detected_at=at,
            explanation=Explanation(
                title=title(
                    Text(brand, brand), f"集中升级 {len(dispensers)} 台", f"{len(dispensers)} dispensers upgraded"
                ),
                what=Text(
                    zh=f"{begin} 至 {end}，{len(stations)} 座站的 {len(dispensers)} 台 {brand} 加油机升级到程序版本 "
                    f"{one.version}，其中 {len(dispensers) - len(without)} 台有工单。"
                    + (f"无工单：{missing.zh}，已由身份变更规则单独报警。" if without else ""),
                    en=f"From {begin} to {end} {len(dispensers)} dispensers of {brand} at {len(stations)} stations "
                    f"went to version {one.version}, {len(dispensers) - len(without)} of them with a work order."
                    + (
                        f" Without one: {missing.en}; the rule of changed identities tells of these." if without else ""
                    ),
                ),
                why=Text(
                    zh="同一品牌、同一版本在数天内出现在多座站，且逐台有工单，是厂家的集中升级。",
                    en="The same version of one brand at many stations within days, with a work order each: "
                    "a campaign of the maker.",
                ),
                otherwise=Text(
                    zh="升级包未经型式批准，或升级中夹带了其他程序。",
                    en="The program has no type approval, or something else came with it.",
                ),
                on_site=Text(
                    zh="向厂家索取型式批准变更文件，核对版本和摘要后批量更新台账；抽查几台核验示值。",
                    en="Ask the maker for the amended type approval, compare version and digest, then bring the ledger "
                    "up to date for all; verify a few of them.",
                ),
            ),
            estimate=Estimate(float(len(dispensers)), "dispensers"),
            evidence=tuple(
                Evidence(
                    kind="upgrade",
                    reference=station,
                    data={
                        "dispensers": len({e.dispenser_id for e in campaign if e.station_id == station}),
                        "with_order": len({e.dispenser_id for e in papered if e.station_id == station}),
                        "first": from_us(min(e.at_us for e in campaign if e.station_id == station)).isoformat(),
                    },
                )
                for station in stations[:20]
            ),
            figures=(_course(campaign),),
        )

    def _odd(self, odd: Upgrade, usual: str, most: int, over_us: int) -> Finding:
        at, label = from_us(odd.at_us), dispenser_label(odd.dispenser_id)
        subject = Subject(odd.station_id, odd.dispenser_id)
        return Finding(
            id=finding_id(self.rule, subject, odd.version.casefold(), odd.digest),
            rule=self.rule,
            cause="identity_change",
            subject=subject,
            severity=Severity.CRITICAL,
            departments=(Department.MARKET_REGULATION,),
            onset=at,
            detected_at=from_us(over_us),
            explanation=Explanation(
                title=title(label, "摘要与同批不同", "digest unlike its batch"),
                what=Text(
                    zh=f"{label.zh}于 {local(at, self.settings.utc_offset_h)} 升级到版本 {odd.version}，程序摘要 "
                    f"{odd.digest[:12]}… 与同型号 {most} 台的 {usual[:12]}… 不同。",
                    en=f"{label.en} went to version {odd.version} at {local(at, self.settings.utc_offset_h)}; its "
                    f"digest {odd.digest[:12]}… is not the {usual[:12]}… of {most} others of the model.",
                ),
                why=Text(
                    zh="同一型号、同一版本只有一个程序，摘要必然相同。",
                    en="One model and one version are one program, and one digest.",
                ),
                otherwise=Text(
                    zh="厂家在同一版本号下发布了两个程序；装错了型号的程序。",
                    en="The maker issued two programs under one version; the program of another model was loaded.",
                ),
                on_site=Text(
                    zh="读出程序摘要，与型式批准和厂家公布值对照；用 20 L 标准金属量器核验每把枪。",
                    en="Read the digest and compare it with the type approval and with what the maker published; "
                    "verify every nozzle with a 20 L standard can.",
                ),
            ),
            evidence=(
                Evidence(
                    kind="digest",
                    reference=f"{odd.dispenser_id}/firmware_digest",
                    data={
                        "version": odd.version,
                        "observed": odd.digest,
                        "usual": usual,
                        "told_by": most,
                        "at": at.astimezone(UTC).isoformat(),
                    },
                ),
            ),
        )


def _course(campaign: Sequence[Upgrade]) -> Figure:
    """How many dispensers had been upgraded by when; at most 200 points."""
    firsts: dict[str, int] = {}
    for each in campaign:
        firsts.setdefault(each.dispenser_id, each.at_us)
    counts = sorted(Counter(sorted(firsts.values())).items())
    total, points = 0, []
    for at_us, many in counts:
        total += many
        points.append((at_us / 1e6, float(total)))
    kept = points[:: max(1, -(-len(points) // 199))]
    if kept[-1] != points[-1]:
        kept.append(points[-1])
    return Figure(
        title=Text("集中升级进度", "Course of the campaign"),
        x=Text("时间", "Time"),
        y=Text("已升级加油机（台）", "Dispensers upgraded"),
        curves=(Curve(Text("已升级", "Upgraded"), tuple(x for x, _ in kept), tuple(y for _, y in kept), "step"),),
    )
