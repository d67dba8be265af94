"""Which segments are in force: one small file, replaced as a whole, that every reader sees either old or new."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pumpwatch.errors import BadConfig, BadReply
from pumpwatch.historian.copying import link
from pumpwatch.historian.damage import unused_name
from pumpwatch.historian.segments import Segment, rebuilt, sync_folder

_VERSION: Final = 1


class Manifest:
    """The list of segments in a folder. Its methods are called from the store's threads and block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "manifest.json"
        self._lock = threading.Lock()
        self._next = 1
        self._segments: tuple[Segment, ...] = ()
        self._damage: tuple[str, ...] = ()
        self.lost: set[int] = set()
        """Days of which a segment was set aside since the start."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All segments in force, oldest write first."""
        return self._segments

    @property
    def next_order(self) -> int:
        """Above the number of every write so far."""
        return self._next

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged and set aside, as sentences; kept over restarts."""
        return self._damage

    @property
    def rows(self) -> int:
        """Rows in all segments; rows written twice count twice until they are merged."""
        return sum(s.rows for s in self._segments)

    def open(self) -> None:
        """Read the list, or make it anew from the segments when it is damaged; clear away what a crash left behind.

        Raises ``BadConfig`` for the list of a newer program.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for unfinished in self.folder.glob("*.tmp"):
            unfinished.unlink()
        try:
            if self._path.exists():
                self._take(json.loads(self._path.read_text(encoding="utf-8")))
            elif any(self.folder.glob("*.parquet")):
                self._rebuild("missing")
        except (ValueError, KeyError, TypeError) as error:
            self._rebuild(f"damaged ({error})")
        else:
            names = {s.name for s in self._segments}
            for path in self.folder.glob("*.parquet"):
                if (
                    path.name not in names
                ):  # sealed but never in force: the journal still has it; or merged into another
                    path.unlink()
        for segment in self._segments:
            path = self.folder / segment.name
            if not path.exists() or path.stat().st_size != segment.size:
                self.set_aside(segment, f"{path}: missing or cut short")

    def number(self) -> int:
        """A number no segment has had before."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            return number

    def replace(self, old: Iterable[Segment], new: Sequence[Segment]) -> None:
        """Put ``new`` in force in place of ``old``, durable when it returns, then remove the files of ``old``.

        A segment that is in both is one of which something else is known now.
        """
        gone = {s.name for s in old}
        with self._lock:
            kept = [s for s in self._segments if s.name not in gone]
            self._save(sorted([*kept, *new], key=lambda s: (s.order, s.name)), self._damage)
        for name in gone - {s.name for s in new}:
            (self.folder / name).unlink(missing_ok=True)

    def set_aside(self, segment: Segment, reason: str) -> None:
        """Take a damaged segment out of force, keep its file in the folder ``damaged`` and name it."""
        with self._lock:
            if all(s.name != segment.name for s in self._segments):
                return
            self.lost.add(segment.day)
            aside = self.folder / "damaged" / segment.name
            aside.parent.mkdir(exist_ok=True)
            if (self.folder / segment.name).exists():
                (self.folder / segment.name).rename(aside)
            note = f"{reason}; {segment.rows} samples are missing, the file is kept as {aside}"
            self._save([s for s in self._segments if s.name != segment.name], (*self._damage, note))

    def copy_to(self, folder: Path) -> None:
        """The segments in force and their list, in a new folder."""
        folder.mkdir(parents=True)
        with self._lock:
            for segment in self._segments:
                link(self.folder / segment.name, folder / segment.name)
            if self._path.exists():
                shutil.copyfile(self._path, folder / self._path.name)

    def _take(self, known: dict[str, Any]) -> None:
        if int(known["version"]) > _VERSION:
            raise BadConfig(
                f"{self._path} has version {known['version']}, this program knows versions up to {_VERSION}: it was "
                "last opened by a newer pumpwatch; install that version or a newer one"
            )
        self._segments = tuple(Segment.told(s) for s in known["segments"])
        self._damage = tuple(known["damage"])
        self._next = known["next"]

    def _rebuild(self, fault: str) -> None:
        note = f"{self._path}: {fault}, made anew from the segments"
        if self._path.exists():
            aside = unused_name(self._path)
            self._path.rename(aside)
            note += f"; the old one is kept as {aside.name}"
        found: list[Segment] = []
        notes = [note]
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                found.append(rebuilt(path))
            except BadReply as reason:
                (self.folder / "damaged").mkdir(exist_ok=True)
                path.rename(self.folder / "damaged" / path.name)
                notes.append(f"{reason}; moved to the folder damaged")
        numbers = [int(s.name.removesuffix(".parquet").rpartition("-")[2]) for s in found]
        self._next = 1 + max([*numbers, *(s.order for s in found)], default=0)
        self._save(sorted(found, key=lambda s: (s.order, s.name)), tuple(notes))

    def _save(self, segments: Sequence[Segment], damage: tuple[str, ...]) -> None:
        text = json.dumps(
            {
                "version": _VERSION,
                "next": self._next,
                "damage": damage,
                "segments": [asdict(s) for s in segments],
            },
            indent=0,
        )
        unfinished = self._path.with_name(self._path.name + ".tmp")
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)
        sync_folder(self.folder)
        self._segments, self._damage = tuple(segments), damage
