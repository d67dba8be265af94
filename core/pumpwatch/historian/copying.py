"""Copies of what is kept, made while it is being written: databases by SQLite's own means, sealed files by link."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class CopiesItself(Protocol):
    """A store that lies in files of this machine; others are backed up where they are."""

    async def copy_to(self, folder: Path) -> None:
        """Copy everything that is stored by now into a new folder, from which another such store can be opened."""


def copy_database(source: sqlite3.Connection, path: Path) -> None:
    """One state of a whole database as a new file, durable when this returns; https://www.sqlite.org/backup.html."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as target:
        source.backup(target)
    sync(path)


def copy_database_file(source: Path, path: Path) -> None:
    """The same of a file that others may have open, if they share it; nothing where there is none."""
    if source.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)) as opened:
            copy_database(opened, path)


def link(source: Path, path: Path) -> None:
    """The same bytes under another name: of a file that never changes a link will do, where the disk has links."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)


def sync(path: Path) -> None:
    """To disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
