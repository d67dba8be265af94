"""Many small segments become one: what is due, and the rows of several files as one sorted stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pumpwatch.historian.segments import ROWS_A_GROUP, SCHEMA, Footer, Segment, arranged, read_groups

_GROUPS_AT_ONCE: Final = 8


def due(segments: Sequence[Segment], merge_at: int, merge_rows: int) -> list[Segment]:
    """The oldest segments of one day and level that are to become one; empty when there are fewer than ``merge_at``."""
    together: dict[tuple[int, int], list[Segment]] = {}
    for segment in segments:  # oldest write first
        together.setdefault((segment.day, segment.level), []).append(segment)
    for group in together.values():
        if len(group) < merge_at:
            continue
        fitting: list[Segment] = []
        rows = 0
        for segment in group[:merge_at]:
            rows += segment.rows
            if rows > merge_rows:
                break
            fitting.append(segment)
        if len(fitting) > 1:
            return fitting
    return []


def merged(
    folder: Path,
    inputs: Sequence[Footer],
    abandoned: Callable[[], bool],
    wanted: Callable[[str, str], bool] = lambda first, last: True,
    at_once: int = _GROUPS_AT_ONCE,
) -> Iterator[pa.Table]:
    """The rows of several segments as arranged tables, path after path, holding little of each in memory.

    ``inputs`` are in the order of their writes. Row groups whose first and last path are not ``wanted`` are left out;
    of each input ``at_once`` are read at a time. Raises ``InterruptedError`` when ``abandoned`` says so, ``Damaged``
    when an input is.
    """
    sources = [_Source(folder, footer, wanted, at_once) for footer in inputs]
    while any(source.has_more for source in sources):
        if abandoned():
            raise InterruptedError("the store is closing")
        for source in sources:
            source.fill()
        # Rows below the smallest path at which some source still has unread rows are complete.
        edge = min((s.last_path for s in sources if s.unread), default=None)
        ready = [p for p in [s.take_below(edge) for s in sources] if len(p)]
        if ready:
            yield (
                ready[0].unify_dictionaries().combine_chunks() if len(ready) == 1 else arranged(pa.concat_tables(ready))
            )
        else:
            for source in sources:
                if source.unread and source.last_path == edge:
                    source.load()


def groups_for(rows: int, inputs: int) -> int:
    """How many row groups to read of each input at a time, when only so many rows are wanted of all."""
    return max(1, min(_GROUPS_AT_ONCE, -(-(rows + ROWS_A_GROUP) // (ROWS_A_GROUP * max(1, inputs)))))


class _Source:
    """One input of a merge: rows read but not yet taken, and the row groups still unread."""

    def __init__(self, folder: Path, footer: Footer, wanted: Callable[[str, str], bool], at_once: int) -> None:
        self._folder = folder
        self._footer = footer
        self._groups = [g for g, (first, last) in enumerate(footer.paths) if wanted(first, last)]
        self._at_once = at_once
        self._next = 0
        self._rows = SCHEMA.empty_table()

    @property
    def unread(self) -> bool:
        """Whether row groups are left in the file."""
        return self._next < len(self._groups)

    @property
    def has_more(self) -> bool:
        """Whether rows are left at all."""
        return self.unread or len(self._rows) > 0

    @property
    def last_path(self) -> str:
        """The last path read so far: there may be more of it."""
        return self._footer.paths[self._groups[self._next - 1]][1]

    def fill(self) -> None:
        """Have some rows, if any are left."""
        if self.unread and not len(self._rows):
            self.load()

    def load(self) -> None:
        """Read the next row groups."""
        groups = self._groups[self._next : self._next + self._at_once]
        more = read_groups(self._folder, self._footer, groups)
        self._rows = pa.concat_tables([self._rows, more]) if len(self._rows) else more
        self._next += len(groups)

    def take_below(self, edge: str | None) -> pa.Table:
        """Take the rows with a path below ``edge`` (all, when there is none)."""
        count = len(self._rows)
        if edge is not None and count:
            count = pc.sum(pc.less(self._rows["path"].cast(pa.string()), edge)).as_py() or 0
        taken, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        return taken
