"""Which hours of which station's records were touched: so that nothing reckoned from them is kept when they change.

Each transaction that changes records draws a number at random and writes it to the hours it touches; in the same
transaction, so that it is there if and only if the records are. No number ever comes again, whatever is restored.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

import numpy as np

from pumpwatch.historian.bulk import Touched
from pumpwatch.historian.rows import SHAPES, Plain, Shape

HOUR_US: Final = 3_600_000_000
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS touched (station TEXT NOT NULL, hour INTEGER NOT NULL, stamp INTEGER NOT NULL, "
    "PRIMARY KEY (station, hour)) WITHOUT ROWID"
)
_TOUCH: Final = "INSERT OR REPLACE INTO touched VALUES (?, ?, ?)"
_EVERYWHERE: Final = ""
"""The station under which the file's own number stands; of a file made anew after damage it is another."""


def prepare_touched(file: sqlite3.Connection) -> None:
    """Make the table, with the file's own number; inside a transaction."""
    file.execute(_TABLE)
    file.execute("INSERT OR IGNORE INTO touched VALUES (?, 0, ?)", (_EVERYWHERE, _stamp()))


def touch_all(file: sqlite3.Connection) -> None:
    """Note every hour that has records: those of a file of an older layout, or saved from a damaged one."""
    for shape in SHAPES.values():
        file.execute(
            f'INSERT OR REPLACE INTO touched SELECT DISTINCT station, "{shape.time}" / {HOUR_US}, ? FROM {shape.table}',  # noqa: S608 - names from SHAPES
            (_stamp(),),
        )


def touch(file: sqlite3.Connection, hours: Iterable[tuple[str, int]]) -> None:
    """Note that records of these stations and hours (since 1970) are not what they were; inside their transaction."""
    stamp = _stamp()
    file.executemany(_TOUCH, [(station, hour, stamp) for station, hour in sorted(set(hours))])


def hours_of(stations: Sequence[str], times: Sequence[Plain]) -> set[tuple[str, int]]:
    """Stations and hours of records at these times (microseconds since 1970)."""
    return set(zip(stations, (np.asarray(times, np.int64) // HOUR_US).tolist(), strict=True))


def by_hour(shape: Shape, rows: Iterable[tuple[Plain, ...]]) -> Mapping[tuple[str, int], Sequence[tuple[Plain, ...]]]:
    """These rows by station and hour, in their order."""
    time = _time(shape)
    found: dict[tuple[str, int], list[tuple[Plain, ...]]] = defaultdict(list)
    for row in rows:
        found[str(row[0]), int(row[time] or 0) // HOUR_US].append(row)
    return found


def touched_of(file: sqlite3.Connection, station_id: str) -> Touched:
    """The numbers of a station's hours as they are now."""
    sql = "SELECT hour, stamp FROM touched WHERE station = ? ORDER BY hour"
    own = file.execute(sql, (_EVERYWHERE,)).fetchall()
    rows = np.fromiter(chain.from_iterable(file.execute(sql, (station_id,))), np.int64).reshape(-1, 2)
    return Touched(own[0][1] if own else _stamp(), rows[:, 0].copy(), rows[:, 1].copy())


def _time(shape: Shape) -> int:
    """Place of the time in a row, which has the station in front."""
    return 1 + next(i for i, column in enumerate(shape.columns) if column.name == shape.time)


def _stamp() -> int:
    return secrets.randbits(62)
