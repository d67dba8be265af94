"""Which file of a data set holds which table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pumpwatch.errors import BadConfig
from pumpwatch.ledger.files import CanonicalFile, RowSource, UnreadableFile
from pumpwatch.ledger.parquet import ParquetFile
from pumpwatch.ledger.sheets import SheetFile, Workbook

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES: Final = (".csv", ".parquet", ".xlsx")
WORKBOOK: Final = "ledger.xlsx"
"""May hold several ledger tables, one a sheet."""


@dataclass(frozen=True, slots=True)
class Found:
    """The tables of a folder."""

    files: Mapping[str, tuple[Path, ...]]
    """Table → its file; several when it is there more than once, which no import can decide."""
    others: tuple[str, ...]
    """Tables' files by their ending that bear no table's name."""
    broken: Mapping[str, str]
    """Name of a workbook that cannot be read → why."""


def find(folder: Path, tables: Iterable[str], in_sheets: Iterable[str]) -> Found:
    """Look for tables; ``in_sheets`` are those that may stand in Excel. Raises ``BadConfig`` for no such folder."""
    try:
        present = {path.name: path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file()}
    except OSError as error:
        raise BadConfig(f"cannot import from {folder}: {error.strerror}; name the folder with the data set") from error
    sheeted = set(in_sheets)
    files: dict[str, tuple[Path, ...]] = {}
    read: set[str] = set()
    sheets: tuple[str, ...] = ()
    broken: dict[str, str] = {}
    if book := present.get(WORKBOOK):
        read.add(WORKBOOK)
        try:
            with Workbook(book) as workbook:
                sheets = workbook.sheets
        except UnreadableFile as error:
            broken[WORKBOOK] = str(error)
    for table in tables:
        names = [f"{table}{s}" for s in SUFFIXES if s != ".xlsx" or table in sheeted]
        those = [present[name] for name in names if name in present]
        read |= {path.name for path in those}
        if table in sheets and table in sheeted:
            those.append(present[WORKBOOK])
        if those:
            files[table] = tuple(those)
    return Found(files, tuple(sorted(set(present) - read)), broken)


def opened(path: Path, table: str) -> RowSource:
    """Open a table's file as rows. Raises ``UnreadableFile`` and ``OSError``."""
    if path.suffix == ".parquet":
        return ParquetFile(path)
    return SheetFile(path, table) if path.suffix == ".xlsx" else CanonicalFile(path)
