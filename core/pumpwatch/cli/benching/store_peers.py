"""Suite ``store``, the peers: the same samples in one plain table of DuckDB and, of each fifth station, of SQLite."""

from __future__ import annotations

import importlib
import sqlite3
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

_MINUTE_US: Final = 60_000_000
_DAY_US: Final = 86_400_000_000
_QUARTER_US: Final = _DAY_US // 4
_YEAR_US: Final = 365 * _DAY_US

Columns = tuple[Any, Any, Any, Any]
"""(n,) number of the tag, microseconds, value and quality of a batch."""


def measure(
    day: Callable[[int], Iterable[Columns]],
    durable: Iterable[Columns],
    year: Callable[[], Iterable[Columns]],
    start_us: int,
) -> dict[str, float | str]:
    """Figures by peer; ``day(instants)`` gives batches of so many instants, from ``start_us`` on."""
    figures: dict[str, float | str] = {}
    try:
        peers: list[type[_Peer]] = [_DuckDb, _Sqlite]
        importlib.import_module("duckdb")
    except ImportError:
        figures["duckdb"] = "not installed"
        peers = [_Sqlite]
    few = list(durable)
    for peer in peers:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            with closing(peer(folder / "durable")) as table:
                figures[f"{peer.name}_ingest_1k_durable_per_cpu_s"] = table.ingested_per_cpu_s(few)
            with closing(peer(folder / "day")) as table:
                figures[f"{peer.name}_ingest_10k_per_cpu_s"] = table.ingested_per_cpu_s(
                    batch for batch in day(200) if batch[0][0] // 50 % peer.stations == 37 % peer.stations
                )
                table.finish()
                figures[f"{peer.name}_bytes_per_sample"] = table.size() / table.rows
                figures[f"{peer.name}_latest_5000_ms"] = _best_ms(table.latest)
                figures[f"{peer.name}_tag_day_means_ms"] = _best_ms(
                    lambda: table.means(1850, start_us, _DAY_US, _MINUTE_US)
                )
                figures[f"{peer.name}_station_day_arrow_ms"] = _best_ms(lambda: table.station(1850, 1899))
            with closing(peer(folder / "year")) as table:
                table.ingested_per_cpu_s(year())
                table.finish()
                figures[f"{peer.name}_year_chart_ms"] = _best_ms(
                    lambda: table.means(3, start_us, _YEAR_US, _QUARTER_US)
                )
    return figures


class _Peer(ABC):
    name = ""
    stations = 1
    """Of so many stations it gets one: more would only take longer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0

    def ingested_per_cpu_s(self, batches: Iterable[Columns]) -> float:
        """Insert and commit each batch; what making them costs is not counted."""
        spent = 0.0
        for batch in batches:
            ready = self.ready(batch)
            began = time.process_time()
            self.insert(ready)
            spent += time.process_time() - began
            self.rows += len(batch[0])
        return self.rows / spent

    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.stat().st_size for f in self.path.parent.glob(self.path.name + "*"))

    @abstractmethod
    def ready(self, batch: Columns) -> Any:  # noqa: ANN401
        """A batch in the form that is quickest to insert."""

    @abstractmethod
    def insert(self, ready: Any) -> None:  # noqa: ANN401
        """Insert and commit."""

    @abstractmethod
    def finish(self) -> None:
        """What makes questions quick."""

    @abstractmethod
    def latest(self) -> object:
        """The last value of every tag."""

    @abstractmethod
    def means(self, tag: int, start_us: int, span_us: int, width_us: int) -> object:
        """The means of a tag by bucket."""

    @abstractmethod
    def station(self, first: int, last: int) -> object:
        """All samples of some tags as Arrow."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


class _DuckDb(_Peer):
    name = "duckdb"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        duckdb: Any = importlib.import_module("duckdb")
        self._file = duckdb.connect(str(path))
        self._file.execute("CREATE TABLE s (tag INTEGER, us BIGINT, value DOUBLE, quality UTINYINT)")

    def ready(self, batch: Columns) -> pa.Table:
        return pa.table(dict(zip(("tag", "us", "value", "quality"), batch, strict=True)))

    def insert(self, ready: pa.Table) -> None:
        self._file.execute("INSERT INTO s SELECT * FROM ready")

    def finish(self) -> None:
        self._file.execute("CREATE TABLE z AS SELECT * FROM s ORDER BY tag, us")
        self._file.execute("DROP TABLE s")
        self._file.execute("ALTER TABLE z RENAME TO s")
        self._file.execute("CHECKPOINT")

    def latest(self) -> object:
        return self._file.execute("SELECT tag, arg_max(value, us) FROM s GROUP BY 1").fetchall()

    def means(self, tag: int, start_us: int, span_us: int, width_us: int) -> object:
        sql = "SELECT us // ?, avg(value) FROM s WHERE tag = ? AND us >= ? AND us < ? GROUP BY 1 ORDER BY 1"
        return self._file.execute(sql, (width_us, tag, start_us, start_us + span_us)).fetchall()

    def station(self, first: int, last: int) -> object:
        sql = f"SELECT * FROM s WHERE tag BETWEEN {first:d} AND {last:d} ORDER BY tag, us"  # noqa: S608 - numbers
        return self._file.sql(sql).to_arrow_table()

    def close(self) -> None:
        self._file.close()


class _Sqlite(_Peer):
    name = "sqlite"
    stations = 5

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = FULL")
        self._file.execute("CREATE TABLE s (tag INTEGER, us INTEGER, value REAL, quality INTEGER)")

    def ready(self, batch: Columns) -> list[tuple[float, ...]]:
        return list(zip(*(np.asarray(column).tolist() for column in batch), strict=True))

    def insert(self, ready: list[tuple[float, ...]]) -> None:
        self._file.execute("BEGIN")
        self._file.executemany("INSERT INTO s VALUES (?, ?, ?, ?)", ready)
        self._file.execute("COMMIT")

    def finish(self) -> None:
        self._file.execute("CREATE INDEX i ON s (tag, us)")
        self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def latest(self) -> object:
        newest = "SELECT value FROM s WHERE tag = ? ORDER BY us DESC LIMIT 1"
        return [self._file.execute(newest, (1850 + tag % 50,)).fetchone() for tag in range(5_000)]

    def means(self, tag: int, start_us: int, span_us: int, width_us: int) -> object:
        sql = "SELECT us / ?, avg(value) FROM s WHERE tag = ? AND us >= ? AND us < ? GROUP BY 1 ORDER BY 1"
        return self._file.execute(sql, (width_us, tag, start_us, start_us + span_us)).fetchall()

    def station(self, first: int, last: int) -> object:
        rows = self._file.execute(
            "SELECT * FROM s WHERE tag BETWEEN ? AND ? ORDER BY tag, us", (first, last)
        ).fetchall()
        return pa.table(
            dict(zip(("tag", "us", "value", "quality"), map(pa.array, zip(*rows, strict=True)), strict=True))
        )

    def close(self) -> None:
        self._file.close()


def _best_ms(ask: Callable[[], object], times: int = 10) -> float:
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    return 1e3 * min(took)
