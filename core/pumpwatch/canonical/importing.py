"""Imports a canonical data set: the ledger first, then what was measured at what stands in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from pumpwatch.canonical.blocks import BLOCK_ROWS, Block, BlockSource, CsvBlocks, ParquetBlocks
from pumpwatch.canonical.checking import Checked, Checker, Refusal
from pumpwatch.canonical.measured import MEASURED_TABLES, TABLES, MeasuredTable
from pumpwatch.database import Database
from pumpwatch.errors import BadConfig
from pumpwatch.historian import Difference, Historian
from pumpwatch.ledger import LEDGER_TABLES, ImportProgress, ImportReport, Ledger, Register, RowProblem, TableReport
from pumpwatch.ledger.canonical import check_text
from pumpwatch.ledger.files import REJECT_COLUMNS, FileRow, Rejects, UnreadableFile
from pumpwatch.ledger.folder import find
from pumpwatch.ledger.importing import (
    PROBLEMS_KEPT,
    REASON_LIMIT,
    ROWS_AT_ONCE,
    import_table,
    refused_file,
    refused_twice,
)
from pumpwatch.ledger.threads import in_thread

_LEDGER_ROWS: Final = 4_000
"""Of the ledger in one transaction, when the folder is held and nobody else waits."""
_GENTLE_ROWS: Final = 10_000
"""Of a measured table in one transaction, when a server goes on writing beside it."""
_REJECTS_LIMIT: Final = 256 * 1024**2
"""Bytes of rows and reasons a rejects file takes; reasons may be many times as long as the rows."""

Tell: TypeAlias = Callable[[ImportProgress], None]


async def import_folder(
    database: Database,
    historian: Historian,
    folder: Path,
    *,
    rejects: Path | None = None,
    progress: Tell | None = None,
) -> ImportReport:
    """Import every table that is there; wrong rows are named and put into ``rejects``, the rest goes in.

    Each block of rows is one transaction, so an import that is broken off can be run again; what was imported before
    changes nothing. Raises ``BadConfig`` when the folder cannot be read, ``NotReachable`` when the disk is full.
    """

    async def take(table: str, path: Path) -> TableReport:
        return await import_file(database, historian, table, path, rejects=rejects, progress=progress)

    return await import_each(folder, take)


async def import_each(folder: Path, take: Callable[[str, Path], Awaitable[TableReport]]) -> ImportReport:
    """Have every table that is there taken, with its file, in the order in which they need each other.

    Raises ``BadConfig`` when the folder cannot be read, and what ``take`` raises.
    """
    found = find(folder, TABLES, [table.name for table in LEDGER_TABLES])
    reports = [refused_file(file, file, reason) for file, reason in found.broken.items()]
    for table in TABLES:
        if paths := found.files.get(table):
            reports.append(refused_twice(table, paths) if len(paths) > 1 else await take(table, paths[0]))
    return ImportReport(tuple(reports), found.others)


async def import_file(
    database: Database,
    historian: Historian,
    name: str,
    path: Path,
    *,
    rejects: Path | None = None,
    progress: Tell | None = None,
    gently: bool = False,
) -> TableReport:
    """Import the table ``name`` alone; see ``import_folder``. ``gently`` lets others write in between."""
    for ledger_table in LEDGER_TABLES:
        if ledger_table.name == name:
            rows = ROWS_AT_ONCE if gently else _LEDGER_ROWS
            return await import_table(
                database, ledger_table, [path], rejects=rejects, progress=progress, rows_at_once=rows
            )
    table = next(table for table in MEASURED_TABLES if table.name == name)
    register = await Ledger(database).load()
    await historian.flush()
    rows = _GENTLE_ROWS if gently else BLOCK_ROWS
    return await import_measured(
        historian, table, [path], register, rejects=rejects, progress=progress, block_rows=rows
    )


async def import_measured(
    historian: Historian,
    table: MeasuredTable,
    paths: Sequence[Path],
    register: Register,
    *,
    rejects: Path | None = None,
    progress: Tell | None = None,
    block_rows: int = BLOCK_ROWS,
) -> TableReport:
    """Import one table of what was measured; see ``import_folder``."""
    if len(paths) > 1:
        return refused_twice(table.name, paths)
    (path,) = paths
    kind = ParquetBlocks if path.suffix == ".parquet" else CsvBlocks
    try:
        with kind(path, block_rows) as file:
            importer = _MeasuredImport(historian, table, path.name, file, _homes(table, register), progress)
            return await importer.run(rejects / f"{table.name}.rejects.csv" if rejects else None)
    except UnreadableFile as error:
        return refused_file(table.name, path.name, str(error))
    except OSError as error:
        raise BadConfig(f"cannot import {path}: {error.strerror} ({error.filename or path})") from error


def _homes(table: MeasuredTable, register: Register) -> dict[str, str]:
    """The station of everything that rows of this table may be about."""
    if table.refers == "station_id":
        return {station.station_id: station.station_id for station in register.stations}
    if table.refers == "tank_id":
        return {tank.tank_id: tank.station_id for tank in register.tanks}
    return {n.nozzle_id: d.station_id for d in register.dispensers for n in register.nozzles_of(d.dispenser_id)}


@dataclass(slots=True)
class _MeasuredImport:
    historian: Historian
    table: MeasuredTable
    file_name: str
    file: BlockSource
    homes: Mapping[str, str]
    progress: Tell | None
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[RowProblem] = field(default_factory=list)
    kept_bytes: int = 0
    """Of the rejects file."""

    async def run(self, rejects_path: Path | None) -> TableReport:
        header = self.file.header()
        names, reason, column = self._understood(header)
        if reason:
            reason = f"nothing of this file is imported: {reason}"
            self.problems.append(RowProblem(self.file_name, header.line, column, reason))
        with Rejects(rejects_path, header.cells) as rejects:
            if not reason:
                await self._take_all(Checker(self.table, names, self.homes), rejects)
            self._tell(self.file.size)
            return TableReport(
                table=self.table.name,
                file=self.file_name,
                added=self.counts["added"],
                changed=self.counts["filled"],
                unchanged=self.counts["unchanged"],
                rejected=self.counts["rejected"],
                problems=tuple(self.problems),
                rejects=rejects.written,
            )

    def _understood(self, header: FileRow) -> tuple[list[str | None], str, str]:
        """The column of each place (None: passed over), and why the file cannot be used and for which column."""
        if reason := header.error or next(filter(None, map(check_text, header.cells)), ""):
            return [], f"the header {reason}", ""
        if twice := [name for name, count in Counter(header.cells).items() if name and count > 1]:
            return [], "the column stands twice in the header", twice[0]
        if missing := [name for name in self.table.required if name not in header.cells]:
            there = ", ".join(header.cells)[:300]
            hint = next((f"; the cells are separated by {s!r}, write commas" for s in (";", "\t") if s in there), "")
            return [], f"the column is missing; there are: {there}{hint}", missing[0]
        return [None if name in REJECT_COLUMNS else name for name in header.cells], "", ""

    async def _take_all(self, checker: Checker, rejects: Rejects) -> None:
        """Block by block; the next one is read and checked while the store keeps this one."""
        blocks = self.file.blocks()

        def read() -> tuple[Block, Checked, int] | None:
            block = next(blocks, None)
            return None if block is None else (block, checker.check(block), self.file.read_so_far)

        coming = asyncio.create_task(in_thread(read), name="next block")
        try:
            while (ready := await coming) is not None:
                block, checked, read_so_far = ready
                coming = asyncio.create_task(in_thread(read), name="next block")
                await self._take(block, checked, rejects)
                self._tell(read_so_far)
        except UnreadableFile as error:
            reason = f"the rest of the file is not read: it {error}"
            self.problems.append(RowProblem(self.file_name, self.counts.total() + 1, "", reason))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def _take(self, block: Block, checked: Checked, rejects: Rejects) -> None:
        if checked.refused:
            await in_thread(self._reject_all, checked.refused, rejects)
        if not len(checked.records):
            return
        taken = await self.historian.add_records(checked.records)
        if taken.differing:
            await in_thread(self._reject_differing, block, checked, taken.differing, rejects)
        known = len(checked.records) - taken.added - taken.filled - len(taken.differing)
        self.counts.update(added=taken.added, filled=taken.filled, unchanged=known)

    def _reject_all(self, refused: Sequence[Refusal], rejects: Rejects) -> None:
        for refusal in refused:
            self._reject(refusal.row, refusal.wrong, rejects)

    def _reject_differing(
        self, block: Block, checked: Checked, differences: Sequence[Difference], rejects: Rejects
    ) -> None:
        for differing in differences:
            first = repr(differing.first)[:80]
            reason = f"was reported before, and otherwise ({first}); the first report stands"
            row = block.row(checked.numbers[differing.number])
            self._reject(row, [(self.table.column_of(differing.field), reason)], rejects)

    def _reject(self, row: FileRow, wrong: list[tuple[str, str]], rejects: Rejects) -> None:
        self.counts["rejected"] += 1
        for column, reason in wrong[: PROBLEMS_KEPT - len(self.problems)]:
            self.problems.append(RowProblem(self.file_name, row.line, column, reason[:REASON_LIMIT]))
        if self.kept_bytes > _REJECTS_LIMIT:
            return
        reasons = "; ".join(f"{column}: {why}" if column else why for column, why in wrong)
        self.kept_bytes += len("".join((*row.cells, reasons)).encode(errors="surrogatepass"))
        if self.kept_bytes <= _REJECTS_LIMIT:
            rejects.add(row, wrong[0][0], reasons)
            return
        reason = "the rejects file is full; from here on refused rows are counted only: mend those and import again"
        self.problems[PROBLEMS_KEPT - 1 :] = [RowProblem(self.file_name, row.line, "", reason)]

    def _tell(self, read: int) -> None:
        if self.progress is not None:
            self.progress(ImportProgress(self.table.name, self.counts.total(), read, self.file.size))
