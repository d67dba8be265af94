"""What is true of a data set: what happened, to what and when; read from ``truth.json``, ours or anybody's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pumpwatch.errors import BadConfig
from pumpwatch.model import Subject, from_us, to_us

if TYPE_CHECKING:
    from pathlib import Path

    from pumpwatch.past import StationPast


@dataclass(frozen=True, slots=True)
class TruthItem:
    """One thing that is wrong somewhere."""

    scenario: str
    cause: str
    subject: Subject
    onset: datetime
    end: datetime | None
    size: float
    unit: str
    deterministic: bool
    horizon_days: float

    def over(self, past_end: datetime) -> datetime:
        """Until when a finding about it is no false alarm: its horizon after it has ended."""
        return past_end if self.end is None else min(self.end + timedelta(days=self.horizon_days), past_end)


@dataclass(frozen=True, slots=True)
class Truth:
    """Everything that is wrong in one data set; what is not named is honest."""

    items: tuple[TruthItem, ...] = ()

    def at(self, station_id: str) -> tuple[TruthItem, ...]:
        """What is wrong at one station."""
        return tuple(item for item in self.items if item.subject.station_id == station_id)


def read_truth(path: Path) -> Truth:
    """Read a ``truth.json``. Raises ``BadConfig`` naming the item and key that cannot be."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"{path}: cannot be read ({error.strerror}); name the truth with --truth FILE") from error
    except ValueError as error:
        raise BadConfig(f"{path}: is no JSON ({error})") from error
    try:
        return truth_from(told)
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}") from None


def truth_from(told: Mapping[str, Any]) -> Truth:
    """The content of a ``truth.json``. Raises ``BadConfig``."""
    items = told.get("items") if isinstance(told, Mapping) else None
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise BadConfig('it has no "items"; docs/reference/data-set.md says what a truth looks like')
    return Truth(tuple(_item(number, item) for number, item in enumerate(items, 1)))


def _item(number: int, told: Any) -> TruthItem:  # noqa: ANN401 - JSON
    try:
        subject, size, end = told["subject"], told.get("size") or {}, told.get("end")
        return TruthItem(
            scenario=str(told["scenario"]),
            cause=str(told["cause"]),
            subject=Subject(
                str(subject["station_id"]),
                subject.get("dispenser_id"),
                subject.get("nozzle_id"),
                subject.get("tank_id"),
            ),
            onset=_time(told["onset"]),
            end=None if end is None else _time(end),
            size=float(size.get("value", 1.0)),
            unit=str(size.get("unit", "")),
            deterministic=bool(told.get("deterministic", False)),
            horizon_days=float(told.get("horizon_days", 30)),
        )
    except KeyError as error:
        raise BadConfig(f"item {number} has no {error.args[0]!r}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BadConfig(f"item {number}: {error}") from error


def _time(text: object) -> datetime:
    time = datetime.fromisoformat(str(text))
    if time.tzinfo is None:
        raise ValueError(f"the time {text} has no offset")
    return time


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that goes on at a station, honest or not: where alarms and notes may come from."""

    id: str
    name: str
    subject: Subject
    onset: datetime
    end: datetime | None
    notes: tuple[str, ...] = ()
    """Causes of which a note about it may be, to say what it is; none where nothing need be said."""
    honest: bool = True

    @property
    def words(self) -> str:
        """``H08 verification_draws``."""
        return f"{self.id} {self.name}".strip()


# ---------------------------------------------------------------- what is touched by what


@dataclass(frozen=True, slots=True)
class Layout:
    """Which nozzle draws from which tank at one station, so that subjects can be compared."""

    station_id: str
    nozzles: Mapping[str, tuple[str, str]]
    """Dispenser and tank of each nozzle."""
    manifolds: Mapping[str, tuple[str, ...]]
    """Each tank with those joined to it."""

    @classmethod
    def of(cls, past: StationPast) -> Layout:
        """As registered."""
        nozzles = {nozzle.nozzle_id: (nozzle.dispenser_id, nozzle.tank_id) for nozzle in past.nozzles}
        return cls(past.station_id, nozzles, {tank.tank_id: past.manifold(tank.tank_id) for tank in past.tanks})

    def nozzles_of(self, subject: Subject) -> frozenset[str]:
        """The nozzles of a subject; all of the station when it names no part."""
        if subject.nozzle_id is not None:
            return frozenset({subject.nozzle_id})
        tanks = self.manifolds.get(subject.tank_id or "", (subject.tank_id,))
        return frozenset(
            nozzle
            for nozzle, (dispenser, tank) in self.nozzles.items()
            if subject.dispenser_id in (None, dispenser) and (subject.tank_id is None or tank in tanks)
        )

    def touch(self, first: Subject, second: Subject) -> bool:
        """Whether two subjects share a nozzle or a tank; the station itself shares everything."""
        if not first.station_id == second.station_id == self.station_id:
            return False
        if first.key == second.key or self.station_id in (first.key, second.key):
            return True
        if first.tank_id and second.tank_id and not (first.nozzle_id or second.nozzle_id):
            return second.tank_id in self.manifolds.get(first.tank_id, (first.tank_id,))
        return bool(self.nozzles_of(first) & self.nozzles_of(second))


def honest_nozzle_years(layout: Layout, items: Sequence[TruthItem], start: datetime, end: datetime) -> float:
    """Nozzles times years without what an item touches, from its onset until a horizon after its end."""
    first, last = to_us(start), to_us(end)
    spans: dict[str, list[tuple[int, int]]] = {nozzle: [] for nozzle in layout.nozzles}
    for item in items:
        span = (max(to_us(item.onset), first), min(to_us(item.over(end)), last))
        for nozzle in layout.nozzles_of(item.subject):
            if nozzle in spans and span[0] < span[1]:
                spans[nozzle].append(span)
    honest = len(spans) * (last - first) - sum(map(_covered, spans.values()))
    return honest / (365.25 * 86_400e6)


def _covered(spans: Sequence[tuple[int, int]]) -> int:
    """The length of the union."""
    total, reached = 0, None
    for start, end in sorted(spans):
        begin = start if reached is None else max(start, reached)
        total += max(0, end - begin)
        reached = end if reached is None else max(reached, end)
    return total


def iso(at: datetime) -> str:
    """UTC with a Z, as every file of ours has it."""
    return from_us(to_us(at)).isoformat().replace("+00:00", "Z")
