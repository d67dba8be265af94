"""Judges whole sources of stations, one task a station, in this process or in several, and hands each on complete."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from pumpwatch.errors import PumpwatchError
from pumpwatch.evaluation.bounds import UNLOADING_US, Nuisances, bound_days, formula_days
from pumpwatch.evaluation.truth import Happening, Layout, Truth, TruthItem, honest_nozzle_years
from pumpwatch.model import Explanation, Text, from_us, to_us

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.model import Finding, Severity
    from pumpwatch.past import StationPast

Progress: TypeAlias = Callable[[str, int, int], object]
"""Told what is under way, how many stations are done, and of how many."""

_NOTHING = Text("", "")
_UNEXPLAINED = Explanation(_NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING)
_YEAR_S = 365.25 * 86_400


class Source(Protocol):
    """Where stations' pasts and the truth about them come from: a simulated fleet, or a folder. It is pickled."""

    @property
    def name(self) -> str:
        """How tables call it."""

    @property
    def seed(self) -> int | None:
        """Of a simulated one."""

    def stations(self) -> Sequence[str]:
        """Ids of the stations to judge."""

    def truth(self) -> Truth:
        """Everything that is wrong, also at stations that are not judged."""

    def wanted(self, item: TruthItem) -> bool:
        """Whether the item is to be scored; of the others it is only known that they are not honest."""

    def past(self, station_id: str) -> StationPast:
        """All there is of one station."""

    def first_sign(self, station_id: str, item: TruthItem, past: StationPast) -> datetime | None:
        """When the first record came that an item makes other than it would have been; None where that is unknown."""

    def happenings(self, station_id: str) -> Sequence[Happening]:
        """What goes on there, honest things too: where false alarms and notes may come from."""

    def nuisances(self, station_id: str) -> Nuisances:
        """What is honestly wrong there, for the least possible delay."""

    def affected(self, station_id: str, item: TruthItem, past: StationPast) -> Affected:
        """What an item does, filling by filling, where that is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Affected:
    """What only the maker of a data set can know."""

    extra_l: NDArray[np.float64] | None = None
    """(n of the past's sales) what each filling shows beyond what was given; None: the item's size at all of them."""
    truck: str | None = None
    """Whose deliveries are meant."""


class Claimed(Protocol):
    """What arbitration makes of findings: one alarm; see ``detection.arbitration``."""

    @property
    def root(self) -> Finding:
        """The first finding."""

    @property
    def later(self) -> Sequence[Finding]:
        """The same again."""

    @property
    def consequences(self) -> Sequence[Claimed]:
        """What follows from it."""

    @property
    def severity(self) -> Severity:
        """Of the alarm."""


class Judge(Protocol):
    """The rules at work; made anew in every process."""

    @property
    def packages(self) -> Mapping[str, str]:
        """The plugin of each rule."""

    def station(
        self, past: StationPast
    ) -> tuple[Sequence[Finding], Mapping[str, Any], Mapping[str, str], Mapping[str, str]]:
        """Findings, the digests of comparisons, the rules that are off there and why, and those that failed and how."""

    def together(
        self, digests: Mapping[str, Mapping[str, Any]], since: datetime, until: datetime
    ) -> tuple[Sequence[Finding], Mapping[str, str]]:
        """What comparisons say of all stations, and those that failed and how."""

    def claims(self, findings: Iterable[Finding]) -> Sequence[Claimed]:
        """One cause, one alarm."""


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """What an item touched from its beginning until its horizon, oldest first."""

    begin: datetime
    """The first affected record; the onset where none came."""
    shown: datetime
    """Before it nothing can be known: an alarm is not about the item."""
    end_us: NDArray[np.int64]
    """(n,) ends of the touched nozzles' fillings since ``begin``."""
    litres: NDArray[np.float32]
    nozzles: tuple[str, ...]
    nozzle: NDArray[np.int16]
    """(n,) whose fillings they are: places in ``nozzles``."""
    bound_days: float | None = None
    """The least possible mean delay."""
    formula_days: float | None = None
    """What the rule of thumb for selective cheats says of it."""
    drops_us: NDArray[np.int64] | None = None
    """Affected deliveries since the onset, where the item is about deliveries."""
    extra_l: NDArray[np.float32] | None = None
    """(n,) what each filling shows beyond what was given, where it is not even and known."""


@dataclass(frozen=True, slots=True, eq=False)
class StationOutcome:
    """What judging one station gave; small enough to be sent between processes."""

    station_id: str
    layout: Layout
    start: datetime
    end: datetime
    honest_nozzle_years: float
    findings: tuple[Finding, ...]
    """Without explanations, evidence and figures."""
    digests: Mapping[str, Any]
    off: Mapping[str, str]
    failing: Mapping[str, str]
    exposures: Mapping[int, Exposure]
    """By the item's place in the truth; of wanted items only."""
    happenings: tuple[Happening, ...] = ()

    @property
    def nozzle_years(self) -> float:
        """Nozzles times the time they were watched."""
        return len(self.layout.nozzles) * (self.end - self.start).total_seconds() / _YEAR_S


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One source judged: everything scoring needs."""

    name: str
    seed: int | None
    truth: Truth
    wanted: frozenset[int]
    """Places of the items to score."""
    stations: tuple[StationOutcome, ...]
    claims: tuple[Claimed, ...] = ()
    failing: Mapping[str, str] = field(default_factory=dict)
    """Comparisons that failed, and how."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """The plugin of each rule."""


def run(
    sources: Sequence[Source],
    make_judge: Callable[[], Judge],
    workers: int = 1,
    progress: Progress = lambda *_: None,
) -> Iterator[Trial]:
    """Judge every station of every source; each source is handed on when its last station is done.

    What comes out does not depend on ``workers``. ``make_judge`` and the sources are sent to the processes.
    """
    judge = make_judge()
    tasks = [(source, station) for source in sources for station in source.stations()]
    outcomes = _outcomes(tasks, make_judge, workers)
    done = 0
    try:
        for source in sources:
            stations = []
            for _ in source.stations():
                progress(_title(source), done, len(tasks))
                stations.append(next(outcomes))
                done += 1
            progress(_title(source), done, len(tasks))
            yield _trial(source, stations, judge)
    finally:
        outcomes.close()


def _title(source: Source) -> str:
    return source.name if source.seed is None else f"{source.name}, seed {source.seed}"


def _trial(source: Source, stations: Sequence[StationOutcome], judge: Judge) -> Trial:
    truth = source.truth()
    findings = [finding for each in stations for finding in each.findings]
    failing: Mapping[str, str] = {}
    if stations:
        since, until = min(each.start for each in stations), max(each.end for each in stations)
        told, failing = judge.together({each.station_id: each.digests for each in stations}, since, until)
        findings += map(light, told)
    wanted = frozenset(place for place, item in enumerate(truth.items) if source.wanted(item))
    claims = tuple(judge.claims(findings))
    return Trial(source.name, source.seed, truth, wanted, tuple(stations), claims, failing, dict(judge.packages))


def light(finding: Finding) -> Finding:
    """The finding without its words and pictures."""
    return replace(finding, explanation=_UNEXPLAINED, evidence=(), figures=())


# ---------------------------------------------------------------- one station


def judge_one(source: Source, station_id: str, judge: Judge) -> StationOutcome:
    """Judge one station."""
    past = source.past(station_id)
    findings, digests, off, failing = judge.station(past)
    layout, truth = Layout.of(past), source.truth()
    mine = [(place, item) for place, item in enumerate(truth.items) if item.subject.station_id == station_id]
    return StationOutcome(
        station_id=station_id,
        layout=layout,
        start=past.start,
        end=past.end,
        honest_nozzle_years=honest_nozzle_years(layout, [item for _, item in mine], past.start, past.end),
        findings=tuple(map(light, findings)),
        digests=digests,
        off=dict(off),
        failing=dict(failing),
        exposures={
            place: _exposure(past, layout, item, source)
            for place, item in mine
            if source.wanted(item) and item.onset < past.end
        },
        happenings=tuple(source.happenings(station_id)),
    )


def _exposure(past: StationPast, layout: Layout, item: TruthItem, source: Source) -> Exposure:
    sales, sign = past.sales, source.first_sign(past.station_id, item, past)
    nuisances, affected = source.nuisances(past.station_id), source.affected(past.station_id, item, past)
    touched = layout.nozzles_of(item.subject)
    mine = np.array([nozzle in touched for nozzle in sales.nozzle_ids], bool)
    rows = mine[sales.nozzle] if len(sales) else np.zeros(0, bool)
    onset = max(item.onset, past.start)
    rows &= sales.end_us >= to_us(onset if sign is None else sign)
    first = int(sales.end_us[rows].min()) if rows.any() else None
    begin = sign or (onset if first is None else onset + timedelta(microseconds=first - to_us(onset)))
    rows &= sales.end_us <= to_us(begin + timedelta(days=item.horizon_days))
    order = np.argsort(sales.end_us[rows], kind="stable")
    drops_us = _drops_us(past, layout, item, affected.truck)
    return Exposure(
        begin,
        sign or max(onset, _first_spoilt(past, affected, drops_us) or onset),
        sales.end_us[rows][order],
        sales.volume_l[rows][order].astype(np.float32),
        sales.nozzle_ids,
        sales.nozzle[rows][order].astype(np.int16),
        bound_days(past, layout, item, nuisances, affected.extra_l),
        formula_days(past, layout, item, nuisances, affected.extra_l),
        drops_us,
        None if affected.extra_l is None else affected.extra_l[rows][order].astype(np.float32),
    )


def _first_spoilt(past: StationPast, affected: Affected, drops_us: NDArray[np.int64] | None) -> datetime | None:
    """When the first filling that is short began, or the first short load came; None where that is unknown.

    Of a load the tank's level tells before the paper does.
    """
    if drops_us is not None:
        return from_us(int(drops_us.min()) - UNLOADING_US) if len(drops_us) else None
    if affected.extra_l is None or not (affected.extra_l > 0.0).any():
        return None
    return from_us(int(past.sales.start_us[affected.extra_l > 0.0].min()))


def _drops_us(past: StationPast, layout: Layout, item: TruthItem, truck: str | None) -> NDArray[np.int64] | None:
    """Deliveries by the lorry that is meant, by any where that is not known."""
    if item.cause != "delivery_short":
        return None
    tanks = {layout.nozzles[nozzle][1] for nozzle in layout.nozzles_of(item.subject)}
    meant = (each for each in past.deliveries if each.tank_id in tanks and truck in {None, each.truck})
    return np.array([to_us(each.at) for each in meant if each.at >= item.onset], np.int64)


# ---------------------------------------------------------------- the processes


def _outcomes(
    tasks: Sequence[tuple[Source, str]], make_judge: Callable[[], Judge], workers: int
) -> Generator[StationOutcome]:
    """Every task's outcome in order."""
    if workers <= 1 or len(tasks) <= 1:
        judge = make_judge()
        for source, station in tasks:
            yield judge_one(source, station, judge)
        return
    pool = ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), _begin_worker, (make_judge,))
    try:
        yield from pool.map(_work, *zip(*tasks, strict=True))
    except BrokenProcessPool as error:
        raise PumpwatchError(
            "a worker process has died, perhaps for want of memory; try again with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """What a worker process keeps between its tasks."""

    judge: Judge | None = None


def _begin_worker(make_judge: Callable[[], Judge]) -> None:
    """Ctrl-C is the parent's to handle; a worker whose parent has died ends at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    _Worker.judge = make_judge()


def _work(source: Source, station_id: str) -> StationOutcome:
    if _Worker.judge is None:
        raise PumpwatchError("the worker has no rules")
    return judge_one(source, station_id, _Worker.judge)
