"""What lies on disk, examined file by file to the last bit; nothing is changed, and no server may run meanwhile."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pumpwatch.errors import BadReply
from pumpwatch.historian.codec import decode
from pumpwatch.historian.damage import kept_aside, torn_frames
from pumpwatch.historian.rolling import Level, unpacked
from pumpwatch.historian.segments import Damaged, Segment, read_footer, read_groups

_FAULTS_SHOWN: Final = 3


class State(StrEnum):
    """What became of a file."""

    SOUND = "sound"
    DAMAGED = "damaged"
    ASIDE = "kept aside"
    """It was damaged; what could be saved was, and it is kept for an expert."""
    SPARE = "spare"
    """A crash left it behind; it is cleared away at the next start."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One file and what was found."""

    file: Path
    state: State
    detail: str
    """What it holds, or what is wrong with it."""


def examine(folder: Path) -> Iterator[Examined]:
    """Read everything of the history in ``folder`` to the last bit and change nothing."""
    if (journal := folder / "journal.sqlite").exists():
        yield _journal(journal)
        yield from _groups_aside(journal)
        yield from _aside(journal)
    store = folder / "embedded"
    for name, read in (("records.sqlite", _records), ("rollups.sqlite", _rollups)):
        if (file := store / name).exists():
            yield _database(file, read)
            yield from _aside(file)
    if (store / "samples").is_dir():
        yield from _samples(store / "samples")


def database(file: Path) -> Examined:
    """Examine any SQLite file that the server keeps."""
    return _database(file, _tables)


def _samples(folder: Path) -> Iterator[Examined]:
    manifest = folder / "manifest.json"
    known: list[Segment] = []
    if manifest.exists() or any(folder.glob("*.parquet")):
        try:
            told = json.loads(manifest.read_text(encoding="utf-8"))
            known = [Segment.told(s) for s in told["segments"]]
            yield Examined(manifest, State.SOUND, f"{len(known)} segments")
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield Examined(manifest, State.DAMAGED, f"cannot be read ({error}); it is made anew from the segments")
            return
    for segment in known:
        path = folder / segment.name
        try:
            footer = read_footer(folder, segment)
            for group in range(len(footer.paths)):
                read_groups(folder, footer, [group])
            yield Examined(path, State.SOUND, f"{segment.rows} samples")
        except (Damaged, OSError) as error:
            yield Examined(path, State.DAMAGED, f"{error}; {segment.rows} samples are in it")
    names = {s.name for s in known}
    for path in sorted(folder.glob("*.parquet")):
        if path.name not in names:
            yield Examined(path, State.SPARE, "not in the list of segments")
    yield from _aside(manifest)
    for path in sorted((folder / "damaged").glob("*")):
        yield Examined(path, State.ASIDE, "kept from an earlier damage; examine it, then remove it")


def _database(file: Path, read: Callable[[sqlite3.Connection], tuple[str, Sequence[str]]]) -> Examined:
    """``read`` says what is in it and names what is wrong; it is asked when SQLite finds the file whole."""
    try:
        with closing(_opened(file)) as opened:
            faults = [str(fault) for (fault,) in opened.execute("PRAGMA integrity_check(10)") if fault != "ok"]
            holds, more = read(opened) if not faults else ("", ())
        frames, lost = torn_frames(file)
    except sqlite3.Error as error:
        return Examined(file, State.DAMAGED, f"SQLite cannot read it ({error})")
    except OSError as error:
        return Examined(file, State.DAMAGED, f"it or its log cannot be read ({error})")
    faults += more
    if lost:
        faults.append(f"{lost} of {frames} frames of {file.name}-wal cannot be used (a torn write)")
    if not faults:
        return Examined(file, State.SOUND, holds)
    shown = "; ".join(faults[:_FAULTS_SHOWN])
    return Examined(
        file, State.DAMAGED, shown + (f"; and {len(faults) - _FAULTS_SHOWN} more" if faults[_FAULTS_SHOWN:] else "")
    )


def _journal(file: Path) -> Examined:
    def read(opened: sqlite3.Connection) -> tuple[str, Sequence[str]]:
        faults: list[str] = []
        batches = 0
        for number, blob in opened.execute("SELECT id, blob FROM groups ORDER BY id"):
            try:
                batches += len(decode(blob, f"group {number}"))
            except BadReply as fault:
                faults.append(str(fault))
        return f"{batches} batches wait for the store", faults

    return _database(file, read)


def _groups_aside(file: Path) -> Iterator[Examined]:
    with suppress(sqlite3.Error), closing(_opened(file)) as opened:
        for (reason,) in opened.execute("SELECT reason FROM set_aside").fetchall():
            yield Examined(file, State.ASIDE, reason)


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(file.resolve()))}?mode=ro", uri=True)


def _records(opened: sqlite3.Connection) -> tuple[str, Sequence[str]]:
    ((series,),) = opened.execute("SELECT count(*) FROM subjects")
    return f"records of {series} series", ()


def _rollups(opened: sqlite3.Connection) -> tuple[str, Sequence[str]]:
    faults: list[str] = []
    count = 0
    rows = opened.execute("SELECT p.path, r.level, r.day, r.blob FROM rollups r LEFT JOIN paths p ON p.id = r.path")
    for path, level, day, blob in rows:
        count += 1
        try:
            unpacked(blob, path, day, Level(level))
        except BadReply as fault:
            faults.append(str(fault))
    return f"{count} roll-ups", faults


def _tables(opened: sqlite3.Connection) -> tuple[str, Sequence[str]]:
    ((count,),) = opened.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'")
    return f"{count} tables", ()


def _aside(file: Path) -> Iterator[Examined]:
    for said in kept_aside(file):
        path, _, detail = said.partition(": ")
        yield Examined(Path(path), State.ASIDE, detail)
