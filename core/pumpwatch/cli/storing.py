"""``pumpwatch store init`` and ``store migrate``: set up where history is kept, and copy it into another store."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Protocol, runtime_checkable

import numpy as np
import typer
from pydantic import ValidationError

from pumpwatch.cli.keeping import bar, held, settings_or_none, store_for
from pumpwatch.cli.output import DEFAULT_DATA, AsJson, Config, Data, PluginsDir, show, stderr, stdout
from pumpwatch.clock import SystemClock
from pumpwatch.contracts import Store
from pumpwatch.errors import BadConfig, Refused
from pumpwatch.historian import SHAPES, Historian
from pumpwatch.model import Batch, Record, SampleBatch, Transaction, from_us, to_us
from pumpwatch.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

_START: Final = datetime(1, 1, 3, tzinfo=UTC)
_END: Final = datetime(9999, 12, 29, tzinfo=UTC)
_SAMPLES: Final = 250_000
_RECORDS: Final = 10_000

store_app = typer.Typer(no_args_is_help=True, help="Set up where history is kept; move it to another store.")


@runtime_checkable
class PreparedStore(Protocol):
    """A store that has something to be set up once, before the first batch: databases, retention."""

    async def prepare(self) -> Sequence[str]:
        """Set it up, or bring it up to date; what was done, as sentences. Raises ``NotReachable`` and ``Refused``."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(store_app, name="store")


@store_app.command()
def init(data: Data = DEFAULT_DATA, config: Config = None, plugins_dir: PluginsDir = None) -> None:
    """Set up the store that the configuration names: databases, buckets, how long they keep. Twice changes nothing."""
    store = store_for(data, config, plugins_dir)
    if not isinstance(store, PreparedStore):
        stdout.print(f"the store {store.name} needs no preparation", markup=False, highlight=False)
        return
    for sentence in asyncio.run(store.prepare()):
        stdout.print(sentence, markup=False, highlight=False)


@store_app.command()
def migrate(
    to: Annotated[
        str,
        typer.Option(
            "--to", help="Configuration whose [historian] names the store, or the store's name.", metavar="TO"
        ),
    ],
    data: Data = DEFAULT_DATA,
    config: Config = None,
    plugins_dir: PluginsDir = None,
    as_json: AsJson = False,
) -> None:
    """Copy all history into another store and count it there; stopped, it goes on where it was when run again."""
    if not data.is_dir():
        raise BadConfig(f"{data}: no such folder; name the one that holds the data with --data DIR")
    moved = asyncio.run(_migrate(data, config, to, plugins_dir, quiet=as_json))
    show([asdict(one) for one in moved.counts], as_json=as_json, title=f"Moved to {to}")
    for sentence in moved.refused:
        stderr.print(sentence, style="yellow", markup=False, highlight=False)
    if moved.missing:
        raise Refused(f"{moved.missing} rows are not in {to}; run the command again, and see what it names above")
    if not as_json:
        stdout.print("All of it is there. Name that store in the configuration's [historian] now.", highlight=False)


@dataclass(frozen=True, slots=True)
class Count:
    """How much of one kind either store has."""

    what: str
    here: int
    there: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a migration."""

    counts: tuple[Count, ...]
    missing: int
    refused: tuple[str, ...]


@dataclass(slots=True)
class Progress:
    """How far a migration is; kept in a file, so that it goes on where it was."""

    to: str
    after: tuple[str, int] | None = None
    """Path and time of the last sample that is there."""
    samples: int = 0
    until: dict[str, int] = field(default_factory=dict)
    """By kind of record: those of this time and later are there."""
    records: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, file: Path, to: str) -> Progress:
        """What ``file`` holds of a migration to the same store; else a new one."""
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            if told["to"] == to:
                return cls(**told | {"after": tuple(told["after"]) if told["after"] else None})
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return cls(to)

    def save(self, file: Path) -> None:
        """Write it in one step."""
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)), encoding="utf-8")
        fresh.replace(file)

    def forget(self, file: Path) -> None:
        """Begin anew next time."""
        file.unlink(missing_ok=True)


class Migration:
    """Copies everything that one store has into another, by the contract that all stores keep."""

    def __init__(self, source: Store, target: Store, progress: Progress, kept: Callable[[], None]) -> None:
        """``kept`` is called whenever what was written is there for good."""
        self.source = source
        self.target = target
        self.progress = progress
        self._kept = kept
        self._homes: dict[tuple[type[Record], str], str] = {}
        self._stations: list[str] = []

    async def samples(self, tell: Callable[[str, int, int], None]) -> None:
        """Copy the samples, by path and time; ``tell`` is told what, how much of it and of how much."""
        done = self.progress
        paths = sorted((await self.source.latest()).paths)
        self._stations = sorted({path.partition("/")[0] for path in paths})
        async for page in pages(self.source, done.after):
            await self._write([Batch(part.station, part, (), _now()) for part in _by_station(page)])
            done.samples += len(page)
            done.after = (page.paths[-1], int(page.at_us[-1]))
            self._kept()
            tell(f"samples {done.samples:,}", bisect_left(paths, done.after[0]), len(paths))

    async def records(self, kind: type[Record], tell: Callable[[str, int, int], None]) -> None:
        """Copy the records of a kind, newest first."""
        table, done = SHAPES[kind].table, self.progress
        async for some in newest_first(self.source, kind, done.until.get(table)):
            by_station: dict[str, list[Record]] = {}
            for record in some:
                by_station.setdefault(await self._station(record), []).append(record)
            await self._write([Batch(s, _nothing(s), tuple(those), _now()) for s, those in by_station.items()])
            done.records[table] = done.records.get(table, 0) + len(some)
            done.until[table] = to_us(some[-1].at)
            self._kept()
            tell(f"{table} {done.records[table]:,}", 0, 0)

    async def counts(self, tell: Callable[[str, int, int], None]) -> Moved:
        """Count both sides again, tag by tag and kind by kind."""
        sides = [await samples_by_path(store, tell) for store in (self.source, self.target)]
        missing = (sides[0] - sides[1]).total()
        here, there = (side.total() for side in sides)
        counts = [Count("samples", here, there)]
        for kind, shape in SHAPES.items():
            numbers = [0, 0]
            for side, store in enumerate((self.source, self.target)):
                async for some in newest_first(store, kind, None):
                    numbers[side] += len(some)
                    tell(f"counting {shape.table} {numbers[side]:,}", 0, 0)
            counts.append(Count(shape.table, *numbers))
            missing += max(0, numbers[0] - numbers[1])
        return Moved(tuple(counts), missing, tuple(self.progress.refused))

    async def _write(self, batches: Sequence[Batch]) -> None:
        """Write what the target takes; what it never will stands alone at last, and is named."""
        try:
            await self.target.write(batches)
        except Refused as error:
            parts = _halves(batches)
            if not parts:
                self.progress.refused.append(str(error))
            for part in parts:
                await self._write(part)

    async def _station(self, record: Record) -> str:
        """The station that a record is kept under; not all records name it."""
        named = getattr(record, "station_id", None)
        if named is not None:
            return str(named)
        subject = str(getattr(record, SHAPES[type(record)].subject))
        place = (type(record), subject)
        if place not in self._homes:
            self._homes[place] = await self._asked_station(type(record), subject)
        return self._homes[place]

    async def _asked_station(self, kind: type[Record], subject: str) -> str:
        prefixes = list(_prefixes(subject))
        for station in (*prefixes, *self._stations):
            if kind is Transaction:
                found: Sequence[Record] = await self.source.transactions(station_id=station, nozzle_id=subject, limit=1)
            else:
                key = f"{station}/{subject}"
                found = await self.source.records(kind, start=_START, end=_END, key=key, limit=1)
            if found:
                return station
        return prefixes[0] if prefixes else subject


async def newest_first(store: Store, kind: type[Record], until_us: int | None) -> AsyncIterator[Sequence[Record]]:
    """All records of a kind before a time, newest first, in pages that hold whole moments."""
    end, limit = _END if until_us is None else from_us(until_us), _RECORDS
    while True:
        if kind is Transaction:
            page: Sequence[Record] = await store.transactions(start=_START, end=end, limit=limit)
        else:
            page = await store.records(kind, start=_START, end=end, limit=limit)
        if len(page) < limit:
            if page:
                yield page
            return
        oldest = page[-1].at
        whole = [record for record in page if record.at > oldest]  # others of that moment may be on the next page
        if whole:
            yield whole
            end, limit = oldest + timedelta(microseconds=1), _RECORDS
        else:
            limit *= 2


async def pages(store: Store, after: tuple[str, int] | None = None) -> AsyncIterator[SampleBatch]:
    """All samples of a store behind ``after``, by path and time."""
    while True:
        behind = None if after is None else (after[0], from_us(after[1]))
        page = await store.samples(start=_START, end=_END, after=behind, limit=_SAMPLES)
        if len(page):
            yield page
            after = (page.paths[-1], int(page.at_us[-1]))
        if len(page) < _SAMPLES:
            return


async def samples_by_path(store: Store, tell: Callable[[str, int, int], None]) -> Counter[str]:
    """How many samples of each tag a store has."""
    found: Counter[str] = Counter()
    async for page in pages(store):
        found.update(page.paths)
        tell(f"counting samples {found.total():,}", 0, 0)
    return found


async def _migrate(data: Path, config: Path | None, to: str, plugins_dir: Path | None, *, quiet: bool) -> Moved:
    source, target = store_for(data, config, plugins_dir), _target(data, config, to, plugins_dir)
    if (source.name, source.settings) == (target.name, target.settings):
        raise Refused(f"{to} is the store that history is in already; name another")
    with bar(quiet=quiet) as shown, held(data) as server:
        if server is not None:
            raise Refused(f"the server at {server} holds {data}; stop it first")
        task = shown.add_task("migrate", total=None)

        def tell(what: str, done: int, total: int) -> None:
            shown.update(task, description=what, completed=done, total=total or None)

        async with Historian.open(data / "history", source, SystemClock()) as historian:
            await historian.flush()
            try:
                await target.open()
                return await _moved(source, target, data / "history" / "migration.json", tell)
            finally:
                await target.close()


async def _moved(source: Store, target: Store, file: Path, tell: Callable[[str, int, int], None]) -> Moved:
    mark = blake2b(target.settings.model_dump_json().encode(), digest_size=8).hexdigest()
    progress = Progress.load(file, f"{target.name} {mark}")
    migration = Migration(source, target, progress, lambda: progress.save(file))
    await migration.samples(tell)
    for kind in SHAPES:
        await migration.records(kind, tell)
    moved = await migration.counts(tell)
    progress.forget(file)  # what is missing is looked for from the start
    return moved


def _target(data: Path, config: Path | None, to: str, plugins_dir: Path | None) -> Store:
    if Path(to).is_file():
        return store_for(data, Path(to), plugins_dir)
    stores = Plugins.discover(settings_or_none(data, config).plugins.disabled, plugins_dir).stores
    if to not in stores:
        raise BadConfig(f"--to {to}: neither a configuration nor a store; there are {', '.join(sorted(stores))}")
    try:
        return stores[to](stores[to].Settings(), data / "history" / to)
    except ValidationError as error:
        raise BadConfig(f"the store {to} needs settings: {error}; give a configuration with --to FILE") from error


def _halves(batches: Sequence[Batch]) -> list[list[Batch]]:
    """The same in two smaller parts: batches, or the records of the only one; nothing when it is one thing."""
    middle = len(batches) // 2
    if middle:
        return [list(batches[:middle]), list(batches[middle:])]
    (batch,) = batches
    middle = len(batch.records) // 2
    return [[replace(batch, records=r)] for r in (batch.records[:middle], batch.records[middle:])] if middle else []


def _by_station(page: SampleBatch) -> Iterator[SampleBatch]:
    """The rows of each station; they stand together."""
    stations = [path.partition("/")[0] for path in page.paths]
    begin = 0
    while begin < len(stations):
        end = begin + stations[begin:].count(stations[begin])
        yield SampleBatch(
            stations[begin],
            page.paths[begin:end],
            page.at_us[begin:end],
            page.values[begin:end],
            page.texts[begin:end],
            page.qualities[begin:end],
        )
        begin = end


def _prefixes(subject: str) -> Iterator[str]:
    """``S01-D1`` and ``S01`` of ``S01-D1-N1``: ids most often begin with their station's."""
    prefix = subject.rpartition("-")[0]
    while prefix:
        yield prefix
        prefix = prefix.rpartition("-")[0]


def _nothing(station: str) -> SampleBatch:
    return SampleBatch(station, (), np.empty(0, np.int64), np.empty(0, np.float64), (), np.empty(0, np.uint8))


def _now() -> datetime:
    return SystemClock().now()
