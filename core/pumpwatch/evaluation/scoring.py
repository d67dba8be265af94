"""From claims and truth to figures: recall, delay, false alarms, attribution, causes, estimates; pure.

The definitions stand in docs/reference/performance.md, beside the figures.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from pumpwatch.evaluation.chance import poisson_interval, poisson_upper
from pumpwatch.evaluation.estimates import compared, true_size
from pumpwatch.evaluation.naming import NAMING, named, namings, standing
from pumpwatch.evaluation.notes import by_happening, told_of_happenings
from pumpwatch.evaluation.rows import by_scenario, confusion, overall
from pumpwatch.evaluation.truth import honest_nozzle_years, iso
from pumpwatch.model import Severity, to_us

if TYPE_CHECKING:
    from pumpwatch.evaluation.running import Claimed, Exposure, StationOutcome, Trial
    from pumpwatch.evaluation.truth import Layout, TruthItem
    from pumpwatch.model import Estimate, Finding, Subject

VERSION = 3
"""Of ``evaluation.json``."""
NONE = "—"
"""The column of the confusion matrix for what raised no alarm."""
PHYSICS = frozenset({"pumpwatch_physics"})
"""Plugins whose rules weigh the tank; all others read records."""
KNOWN_DAYS = ((0, 60), (60, 200), (200, None))
"""Days of a station's records by which rates of false alarms are told apart: rules learn."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A claim, or a consequence of one, as scoring sees it."""

    rule: str
    cause: str
    subject: Subject
    at: datetime
    """When the first of its findings that is more than information was claimed."""
    onset: datetime
    """As that finding tells it."""
    estimate: Estimate | None
    times: tuple[datetime, ...]
    """When it was claimed, and again, oldest first; information left out."""
    findings: int
    of: int
    """The place of the claim it belongs to."""
    is_root: bool


def alarms_of(claims: Sequence[Claimed]) -> list[Alarm]:
    """Roots and consequences that are more than information, each claim's root first."""
    found = []
    for place, claim in enumerate(claims):
        for part, is_root in ((claim, True), *((each, False) for each in claim.consequences)):
            serious = _serious(part)
            if serious is not None and claim.severity is not Severity.INFO:
                root = part.root
                found.append(
                    Alarm(
                        root.rule,
                        root.cause,
                        root.subject,
                        serious.detected_at,
                        serious.onset,
                        serious.estimate,
                        tuple(e.detected_at for e in (root, *part.later) if e.severity is not Severity.INFO),
                        1 + len(part.later),
                        place,
                        is_root,
                    )
                )
    return found


def _serious(claim: Claimed) -> Finding | None:
    """The first finding of the episode that is an alarm."""
    return next((each for each in (claim.root, *claim.later) if each.severity is not Severity.INFO), None)


def score(trials: Iterable[Trial]) -> dict[str, Any]:
    """Everything ``pumpwatch evaluate --json`` says but how it was run; keys never change their meaning."""
    fleets: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    false: list[dict[str, Any]] = []
    happened: list[dict[str, Any]] = []
    off: dict[str, Counter[str]] = defaultdict(Counter)
    failing: dict[str, str] = {}
    packages: dict[str, str] = {}
    years = 0.0
    known = [0.0] * len(KNOWN_DAYS)
    for trial in trials:
        alarms = alarms_of(trial.claims)
        fleets.append(_fleet(trial))
        items += _items(trial, alarms)
        false += _false_alarms(trial, alarms)
        happened += told_of_happenings(trial)
        failing |= trial.failing
        packages |= trial.packages
        for station in trial.stations:
            years += station.honest_nozzle_years
            known = [sum(each) for each in zip(known, _station_years(trial, station), strict=True)]
            failing |= station.failing
            for rule, missing in station.off.items():
                off[rule][missing] += 1
    return _told(fleets, items, false, [(years, None)], known, happened, off, failing, packages)


def merge(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several evaluations as one, as if all had been judged together; how each was run is left out."""
    off: dict[str, Counter[str]] = defaultdict(Counter)
    failing: dict[str, str] = {}
    packages: dict[str, str] = {}
    for part in parts:
        failing |= part["rules"]["failing"]
        packages |= part["rules"]["packages"]
        for rule, reasons in part["rules"]["off"].items():
            off[rule].update(reasons)
    merged = _told(
        [{"rules": part["rules"].get("on", ())} | fleet for part in parts for fleet in part["fleets"]],
        [item for part in parts for item in part["items"]],
        [alarm for part in parts for alarm in part["false_alarms"]["alarms"]],
        [_judged_years(part) for part in parts],
        _merged_years(parts),
        [each for part in parts for each in part["honest"]["happened"]],
        off,
        failing,
        packages,
    )
    merged["rules"]["on"] = sorted({rule for part in parts for rule in part["rules"].get("on", ())})
    return merged


def _judged_years(part: Mapping[str, Any]) -> tuple[float, frozenset[str] | None]:
    """Its honest nozzle-years and the rules that were on, where that is told."""
    on = part["rules"].get("on")
    return part["false_alarms"]["honest_nozzle_years"], None if on is None else frozenset(on)


def _merged_years(parts: Sequence[Mapping[str, Any]]) -> list[float]:
    """By ``KNOWN_DAYS``; none when an evaluation does not tell them."""
    told = [part["false_alarms"].get("by_days_known", ()) for part in parts]
    return [sum(row["honest_nozzle_years"] for row in rows) for rows in zip(*told, strict=True)] if all(told) else []


def _told(
    fleets: list[dict[str, Any]],
    items: list[dict[str, Any]],
    false: list[dict[str, Any]],
    years: Sequence[tuple[float, frozenset[str] | None]],
    known: Sequence[float],
    happened: list[dict[str, Any]],
    off: Mapping[str, Counter[str]],
    failing: Mapping[str, str],
    packages: Mapping[str, str],
) -> dict[str, Any]:
    reasons = {rule: dict(sorted(off[rule].items())) for rule in sorted(off)}
    return {
        "version": VERSION,
        "fleets": fleets,
        "rules": {"off": reasons, "failing": dict(failing), "packages": dict(sorted(packages.items()))},
        "false_alarms": _rates(false, years, known, packages),
        "honest": {"scenarios": by_happening(happened), "happened": happened},
        "overall": overall(items, len(false)),
        "scenarios": by_scenario(items),
        "causes": confusion(items),
        "causes_at_last": confusion(items, "claimed_cause_at_last"),
        "items": items,
    }


def _fleet(trial: Trial) -> dict[str, Any]:
    start = min((each.start for each in trial.stations), default=None)
    end = max((each.end for each in trial.stations), default=None)
    return {
        "fleet": trial.name,
        "seed": trial.seed,
        "stations": len(trial.stations),
        "days": round((end - start).total_seconds() / 86_400, 3) if start and end else 0.0,
        "nozzle_years": round(sum(each.nozzle_years for each in trial.stations), 3),
        "honest_nozzle_years": round(sum(each.honest_nozzle_years for each in trial.stations), 3),
        "items": len(trial.wanted),
        "findings": sum(1 + len(each.later) for claim in trial.claims for each in (claim, *claim.consequences)),
        "alarms": sum(claim.severity is not Severity.INFO for claim in trial.claims),
    }


# ---------------------------------------------------------------- false alarms


def _false_alarms(trial: Trial, alarms: Sequence[Alarm]) -> Iterator[dict[str, Any]]:
    stations = {each.station_id: each for each in trial.stations}
    for alarm in alarms:
        station = stations.get(alarm.subject.station_id)
        if alarm.is_root and station is not None and not _excused(alarm, station, trial):
            yield {
                "fleet": trial.name,
                "seed": trial.seed,
                "rule": alarm.rule,
                "cause": alarm.cause,
                "subject": alarm.subject.key,
                "detected_at": iso(alarm.at),
                "days_known": round((alarm.at - station.start) / timedelta(days=1), 3),
                "happening": [each.words for each in station.happenings],
            }


def _excused(alarm: Alarm, station: StationOutcome, trial: Trial) -> bool:
    """Whether something that is not honest touches the subject then."""
    return any(
        shown <= alarm.at <= item.over(station.end) and station.layout.touch(alarm.subject, item.subject)
        for item, shown in _wrong_at(station, trial)
    )


def _wrong_at(station: StationOutcome, trial: Trial) -> Iterator[tuple[TruthItem, datetime]]:
    """What is wrong there, and since when it can be known: the onset where it was not looked into."""
    for place, item in enumerate(trial.truth.items):
        if item.subject.station_id == station.station_id:
            yield item, station.exposures[place].shown if place in station.exposures else item.onset


def _station_years(trial: Trial, station: StationOutcome) -> Iterator[float]:
    """The station's honest nozzle-years, by ``KNOWN_DAYS``."""
    mine = [item for item in trial.truth.items if item.subject.station_id == station.station_id]
    for first, after in KNOWN_DAYS:
        start = station.start + timedelta(days=first)
        end = station.end if after is None else min(station.start + timedelta(days=after), station.end)
        yield honest_nozzle_years(station.layout, mine, start, end) if start < end else 0.0


def _rates(
    false: Sequence[dict[str, Any]],
    judged: Sequence[tuple[float, frozenset[str] | None]],
    known: Sequence[float],
    packages: Mapping[str, str],
) -> dict[str, Any]:
    """``judged``: honest nozzle-years, and the rules that were on then (None: all): a rule's rate is of those.

    ``known``: honest nozzle-years by ``KNOWN_DAYS``, or nothing.
    """
    rules = {*packages, *(alarm["rule"] for alarm in false)}

    def rates(names: Mapping[str, frozenset[str]]) -> dict[str, Any]:
        told = {}
        for name, mine in sorted(names.items()):
            count = sum(alarm["rule"] in mine for alarm in false)
            told[name] = {
                "count": count,
                **_rate(count, sum(years for years, on in judged if on is None or on & mine)),
            }
        return told

    def gathered(key: Callable[[str], str]) -> dict[str, frozenset[str]]:
        return {name: frozenset(rule for rule in rules if key(rule) == name) for name in set(map(key, rules))}

    def package(rule: str) -> str:
        return packages.get(rule, "")

    def by_days_known() -> Iterator[dict[str, Any]]:
        for (first, after), mine in zip(KNOWN_DAYS, known, strict=True):
            count = sum(first <= alarm["days_known"] < (after or math.inf) for alarm in false)
            yield {
                "from": first,
                "to": after,
                "count": count,
                "honest_nozzle_years": round(mine, 3),
                **_rate(count, mine),
            }

    years = sum(years for years, _ in judged)
    return {
        "count": len(false),
        "honest_nozzle_years": round(years, 3),
        **_rate(len(false), years),
        "by_rule": rates({alarm["rule"]: frozenset({alarm["rule"]}) for alarm in false}),
        "by_package": rates(gathered(package)),
        "by_group": rates(gathered(lambda rule: "physics" if package(rule) in PHYSICS else "records")),
        "by_days_known": list(by_days_known()) if known else [],
        "by_cause": dict(sorted(Counter(alarm["cause"] for alarm in false).items())),
        "alarms": list(false),
    }


def _rate(count: int, years: float) -> dict[str, float | None]:
    """Per 100 nozzle-years, with the exact 95 % interval, and the one-sided limit for what is to be claimed."""
    if years <= 0:
        return {"per_100_nozzle_years": None, "low": None, "high": None, "upper_95": None}
    low, high = poisson_interval(count)
    rates = (count, low, high, poisson_upper(count))
    names = ("per_100_nozzle_years", "low", "high", "upper_95")
    return {name: round(100.0 * rate / years, 4) for name, rate in zip(names, rates, strict=True)}


# ---------------------------------------------------------------- what was found


def _items(trial: Trial, alarms: Sequence[Alarm]) -> Iterator[dict[str, Any]]:
    stations = {each.station_id: each for each in trial.stations}
    right = _rightly_claimed(trial, alarms, stations)
    for place in sorted(trial.wanted):
        item = trial.truth.items[place]
        station = stations.get(item.subject.station_id)
        if station is not None and place in station.exposures:
            yield _item(trial, item, station, station.exposures[place], alarms, right)


def _rightly_claimed(trial: Trial, alarms: Sequence[Alarm], stations: Mapping[str, StationOutcome]) -> frozenset[int]:
    """Places of the alarms whose cause is that of something true that they touch then."""
    places = set()
    for place, alarm in enumerate(alarms):
        station = stations.get(alarm.subject.station_id)
        if station is not None and any(
            item.cause == alarm.cause
            and shown <= alarm.at <= item.over(station.end)
            and station.layout.touch(alarm.subject, item.subject)
            for item, shown in _wrong_at(station, trial)
        ):
            places.add(place)
    return frozenset(places)


def _item(
    trial: Trial,
    item: TruthItem,
    station: StationOutcome,
    exposure: Exposure,
    alarms: Sequence[Alarm],
    right: frozenset[int],
) -> dict[str, Any]:
    last = exposure.begin + timedelta(days=item.horizon_days)
    there = [
        (place, alarm)
        for place, alarm in enumerate(alarms)
        if alarm.subject.station_id == item.subject.station_id and exposure.shown <= alarm.at <= last
    ]
    touching = [(place, alarm) for place, alarm in there if station.layout.touch(alarm.subject, item.subject)]
    matching = sorted((alarm for _, alarm in touching if alarm.cause == item.cause), key=_by_time)
    foreign = {alarm.of for place, alarm in there if alarm.is_root and place in right and alarm.cause != item.cause}
    others = [alarm for place, alarm in touching if place not in right and alarm.of not in foreign]
    elsewhere = sorted((a for place, a in there if a.cause == item.cause and place not in right), key=_by_time)
    first = matching[0] if matching else None
    telling = first or next(iter(elsewhere), None)
    at_first, next_day = namings(telling, [*matching, *elsewhere], station.layout) if telling else (None, None)
    bound = exposure.bound_days
    told = [*matching, *others]
    noticed = min(told, key=_by_time, default=None)
    return {
        "fleet": trial.name,
        "seed": trial.seed,
        "scenario": item.scenario,
        "cause": item.cause,
        "subject": item.subject.key,
        "size": item.size,
        "unit": item.unit,
        "deterministic": item.deterministic,
        "horizon_days": item.horizon_days,
        "onset": iso(item.onset),
        "first_record": iso(exposure.begin),
        "cut_short": last > station.end,
        "baseline_days": _days(max(item.onset, station.start) - station.start),
        "watched_days": _days(min(last, station.end) - exposure.begin),
        "found": first is not None,
        "noticed": noticed is not None,
        "noticed_days": _days(noticed.at - exposure.begin) if noticed else None,
        "claimed_cause": noticed.cause if noticed else NONE,
        "claimed_cause_next_day": standing(noticed, told, noticed.at + NAMING).cause if noticed else NONE,
        "claimed_cause_at_last": standing(noticed, told, last).cause if noticed else NONE,
        "rule": first.rule if first else None,
        "detected_at": iso(first.at) if first else None,
        "delay": _delay(exposure, first.at) if first else None,
        "bound_days": None if bound is None else round(bound, 3),
        "formula_days": None if exposure.formula_days is None else round(exposure.formula_days, 3),
        "records_late": _records_late(exposure, first, station.layout) if first and item.deterministic else None,
        "named": None if at_first is None else named(at_first.subject, item.subject),
        "named_next_day": None if next_day is None else named(next_day.subject, item.subject),
        "estimate": compared(first, item, true_size(first, item, exposure, station.layout)) if first else None,
        "alarms": len({alarm.of for alarm in matching}),
        "findings": sum(alarm.findings for alarm in matching),
    }


def _by_time(alarm: Alarm) -> tuple[object, ...]:
    return (alarm.at, not alarm.is_root, alarm.rule, alarm.subject.key)


def _days(span: timedelta) -> float:
    return round(max(span.total_seconds(), 0.0) / 86_400, 5)


def _delay(exposure: Exposure, at: datetime) -> dict[str, float | None]:
    """From the first affected record: days, and fillings, litres and deliveries until then, the first included."""
    until = int(np.searchsorted(exposure.end_us, to_us(at), side="right"))
    drops = exposure.drops_us
    return {
        "days": _days(at - exposure.begin),
        "sales": until,
        "litres": round(float(exposure.litres[:until].sum(dtype=np.float64)), 2),
        "drops": None if drops is None else int((drops <= to_us(at)).sum()),
    }


def _records_late(exposure: Exposure, alarm: Alarm, layout: Layout) -> int:
    """Fillings after the first record that shows it until the alarm, of the nozzles that the alarm is about."""
    told = layout.nozzles_of(alarm.subject)
    mine = np.array([nozzle in told for nozzle in exposure.nozzles], bool)[exposure.nozzle]
    at_us = exposure.end_us[mine]
    return int(np.count_nonzero((at_us > to_us(exposure.begin)) & (at_us <= to_us(alarm.at))))
