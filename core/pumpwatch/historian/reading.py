"""One station's records out of a SQLite file, as rows or as numbers: for its owner, and for whom he lends it to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pumpwatch.errors import NotReachable
from pumpwatch.historian.bulk import Numbers, Touched
from pumpwatch.historian.layout import listed
from pumpwatch.historian.packing import numbers
from pumpwatch.historian.rows import SHAPES, Form, Plain, Shape
from pumpwatch.historian.touching import touched_of

if TYPE_CHECKING:
    from pumpwatch.model import Record

_WAIT_S: Final = 5.0
_MOST_WORDS: Final = 100
"""SQLite looks for a word among all of them, row by row, and takes only so many; a station has a dozen."""


def rows_of(
    file: sqlite3.Connection, shape: Shape, station_id: str, names: Sequence[str], start_us: int, end_us: int
) -> dict[str, list[tuple[Plain, ...]]]:
    """These fields of a station's records with start <= time < end, by subject, each series in its order."""
    rest = listed(shape.order[len(shape.home) :])
    found: dict[str, list[tuple[Plain, ...]]] = {}
    for name in _subjects(file, shape, station_id):
        where, given = span(shape, station_id, name, start_us, end_us)
        sql = f"SELECT {listed(names)} FROM {shape.table} WHERE {where} ORDER BY {rest}"  # noqa: S608
        found[name] = file.execute(sql, given).fetchall()
    return found


def numbers_of(
    file: sqlite3.Connection, shape: Shape, station_id: str, names: Sequence[str], start_us: int, end_us: int
) -> Numbers:
    """As ``rows_of``, but as numbers: series never are Python's rows."""
    forms = {column.name: column.form for column in shape.columns}
    rest = listed(shape.order[len(shape.home) :])
    spans = {name: span(shape, station_id, name, start_us, end_us) for name in _subjects(file, shape, station_id)}
    texts = [name for name in names if forms[name] is Form.TEXT]
    told: set[tuple[Plain, ...]] = set()
    for where, given in spans.values() if texts else ():
        told.update(file.execute(f"SELECT DISTINCT {listed(texts)} FROM {shape.table} WHERE {where}", given))  # noqa: S608
    words = {
        name: tuple(sorted({str(row[place]) for row in told if row[place] is not None}))
        for place, name in enumerate(texts)
    }
    counted = [word for name in texts for word in words[name]]
    few = len(counted) <= _MOST_WORDS
    chosen = ", ".join(_as_number(name, words.get(name)) if few or name not in words else "NULL" for name in names)
    given_words = tuple(counted) if few else ()
    asked = [
        (f"SELECT {chosen} FROM {shape.table} WHERE {where} ORDER BY {rest}", (*given_words, *given))  # noqa: S608
        for where, given in spans.values()
    ]
    series = dict(zip(spans, numbers(file, asked, len(names)), strict=True))
    for name in () if few else texts:
        places = {word: place for place, word in enumerate(words[name])}
        for subject, (where, given) in spans.items():
            rows = file.execute(f'SELECT "{name}" FROM {shape.table} WHERE {where} ORDER BY {rest}', given)  # noqa: S608
            series[subject][:, names.index(name)] = [-1 if word is None else places[str(word)] for (word,) in rows]
    return Numbers(series, words)


def span(
    shape: Shape, station: str, subject: str, start_us: int | None, end_us: int | None
) -> tuple[str, tuple[object, ...]]:
    """Condition and values for a span of one series, as the primary key finds it."""
    home = (station, subject)[-len(shape.home) :]
    wanted: list[tuple[str, object]] = [(f'"{h}" = ?', v) for h, v in zip(shape.home, home, strict=True)]
    wanted += [("station = ?", station)]
    wanted += [] if start_us is None else [(f'"{shape.time}" >= ?', start_us)]
    wanted += [] if end_us is None else [(f'"{shape.time}" < ?', end_us)]
    return " AND ".join(condition for condition, _ in wanted), tuple(value for _, value in wanted)


def _subjects(file: sqlite3.Connection, shape: Shape, station_id: str) -> list[str]:
    found = file.execute(
        "SELECT subject FROM subjects WHERE kind = ? AND station = ? ORDER BY subject", (shape.table, station_id)
    )
    return [subject for (subject,) in found]


def _as_number(field: str, words: Sequence[str] | None) -> str:
    """A field as a number, a word as its place."""
    if words is None:
        return f'"{field}"'
    places = " ".join(f"WHEN ? THEN {place}" for place in range(len(words)))
    return f'CASE "{field}" {places} ELSE -1 END' if words else "-1"


@dataclass(frozen=True, slots=True)
class LentRecords:
    """The records of a store for other processes to read, for as long as its owner lends them. It is pickled."""

    path: Path

    @contextmanager
    def opened(self) -> Iterator[LentReader]:
        """Read; raises ``NotReachable`` for whatever keeps from it, damage among it, which the owner will mend."""
        try:
            file = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S, isolation_level=None
            )
            with closing(file):
                yield LentReader(file)
        except sqlite3.DatabaseError as error:
            raise NotReachable(
                f"{self.path}: cannot be read beside its owner ({error}); "
                "see that it lies on a disk of this machine, and who may read it"
            ) from error


class LentReader:
    """A connection to lent records, which answers as ``bulk.BulkRecords`` does; its questions block."""

    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file

    def of_station(
        self, kind: type[Record], station_id: str, names: Sequence[str], start_us: int, end_us: int
    ) -> Mapping[str, Sequence[tuple[Plain, ...]]]:
        """These fields of a station's records with start <= time < end, by subject, each series in its order."""
        return rows_of(self._file, SHAPES[kind], station_id, names, start_us, end_us)

    def numbers_of_station(
        self, kind: type[Record], station_id: str, names: Sequence[str], start_us: int, end_us: int
    ) -> Numbers:
        """The same as numbers."""
        return numbers_of(self._file, SHAPES[kind], station_id, names, start_us, end_us)

    def touched(self, station_id: str) -> Touched:
        """Marks of what is stored by now."""
        return touched_of(self._file, station_id)
