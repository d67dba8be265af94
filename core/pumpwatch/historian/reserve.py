"""Room that is held back on the store's disk, so that there is some when what is old is to go: to forget takes room."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

RESERVE: Final = "reserve"
_MOST: Final = 4 * 1024**2
_SHARE: Final = 64
"""The reserve is this part of its disk at most."""
_ROOM: Final = 4
"""So many times as much must be free for it to be taken."""


class Reserve:
    """A file that is there while the disk has room, and is given up when it has not."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> None:
        """Hold room back, where there is plenty."""
        with suppress(OSError):
            disk = shutil.disk_usage(self._path.parent)
            size = min(_MOST, disk.total // _SHARE)
            if not self._path.exists() and disk.free >= _ROOM * size:
                self._path.write_bytes(os.urandom(size))  # zeros take no room on a disk that compresses

    def give_up(self) -> bool:
        """Whether there was something to give."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def give_up_when_full(self) -> None:
        """Make room for what is written at every start."""
        with suppress(OSError):
            disk = shutil.disk_usage(self._path.parent)
            if disk.free < min(_MOST, disk.total // _SHARE) // _ROOM:
                self.give_up()
