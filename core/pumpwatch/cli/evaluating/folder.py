"""A data set in a folder to be judged: imported as a server would, into a scratch folder, and read by station."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pumpwatch.canonical import Pasts
from pumpwatch.cli.keeping import held, import_set, kept
from pumpwatch.cli.output import stderr
from pumpwatch.cli.places import DEFAULT_CONFIG
from pumpwatch.errors import BadConfig
from pumpwatch.evaluation import Affected, Happening, Nuisances, Truth, TruthItem, read_truth
from pumpwatch.ledger import Ledger

if TYPE_CHECKING:
    from datetime import datetime

    from pumpwatch.past import StationPast

_AFTER = timedelta(days=1)
"""Registers and papers may still tell something so long after the last record."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A data set that lies ready station by station; a ``evaluation.Source``."""

    name: str
    ready: Path
    """Where each station's past waits for the process that judges it."""
    station_ids: tuple[str, ...]
    told: Truth
    patterns: tuple[str, ...] = ()
    """Scenarios to score, by the truth's words, ``*`` for anything."""
    seed: None = None

    def stations(self) -> Sequence[str]:
        """All, or those at which the scenarios to score happen."""
        if not self.patterns:
            return self.station_ids
        chosen = {item.subject.station_id for item in self.told.items if self.wanted(item)}
        return [station for station in self.station_ids if station in chosen]

    def truth(self) -> Truth:
        """As its file says."""
        return self.told

    def wanted(self, item: TruthItem) -> bool:
        """Whether its scenario is to be scored."""
        return not self.patterns or any(fnmatchcase(item.scenario.lower(), each.lower()) for each in self.patterns)

    def past(self, station_id: str) -> StationPast:
        """What was imported of the station."""
        past: StationPast = pickle.loads((self.ready / f"{station_id}.past").read_bytes())  # noqa: S301 - our own
        return past

    def first_sign(self, station_id: str, item: TruthItem, past: StationPast) -> datetime | None:
        """A foreign truth does not say; the first filling of what is touched counts."""
        return None

    def happenings(self, station_id: str) -> Sequence[Happening]:
        """What is wrong there, by the truth."""
        return [
            Happening("", item.scenario, item.subject, item.onset, item.end, honest=False)
            for item in self.told.at(station_id)
        ]

    def nuisances(self, station_id: str) -> Nuisances:
        """Those that are usual."""
        return Nuisances()

    def affected(self, station_id: str, item: TruthItem, past: StationPast) -> Affected:
        """Unknown."""
        return Affected()


@contextmanager
def data_folder(folder: Path, truth: Path | None, scenarios: Sequence[str], *, quiet: bool) -> Iterator[DataFolder]:
    """Make a data set ready; what was made ready goes at the end. Raises ``BadConfig``."""
    told = read_truth(truth or folder / "truth.json")
    with TemporaryDirectory(prefix="pumpwatch-evaluate-") as scratch:
        ready = Path(scratch, "ready")
        ready.mkdir()
        stations = asyncio.run(_make_ready(folder, Path(scratch, "data"), ready, quiet=quiet))
        unknown = sorted({item.subject.station_id for item in told.items} - set(stations))
        if unknown:
            raise BadConfig(f"the truth names stations that {folder} does not have: {', '.join(unknown[:5])}")
        yield DataFolder(folder.name or str(folder), ready, tuple(stations), told, tuple(scenarios))


async def _make_ready(folder: Path, data: Path, ready: Path, *, quiet: bool) -> list[str]:
    data.mkdir()  # noqa: ASYNC240 - before anything runs
    (data / DEFAULT_CONFIG).touch()  # or the configuration at hand would say where this goes
    report = await import_set(folder, data, quiet=quiet)
    for problem in report.problems[:10]:
        stderr.print(str(problem), style="yellow", markup=False, highlight=False)
    if len(report.problems) > 10:
        stderr.print(f"… and {len(report.problems) - 10} more problems", style="yellow", markup=False)
    with held(data):
        async with kept(data, None, None) as (database, historian):
            pasts = await Pasts.load(Ledger(database), historian)
            span = await pasts.span()
            if span is None:
                raise BadConfig(f"{folder}: has neither fillings nor tank readings; there is nothing to judge")
            for station in pasts.station_ids:
                past = await pasts.station(station, span[0], span[1] + _AFTER)
                (ready / f"{station}.past").write_bytes(pickle.dumps(past, pickle.HIGHEST_PROTOCOL))
            return list(pasts.station_ids)
