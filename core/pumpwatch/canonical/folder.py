"""One program at a time in a data folder."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pumpwatch.canonical.archive import undo_restore
from pumpwatch.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def hold(data: Path) -> Iterator[None]:
    """Hold a data folder as a server does; a restore broken off in it is undone first.

    Raises ``Refused`` when somebody else holds it, or that cannot be undone.
    """
    data.mkdir(parents=True, exist_ok=True)
    handle = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refused(
                f"{data} is held by a running pumpwatch; stop it first, or choose another --data folder. "
                "Nothing was touched"
            ) from error
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        undo_restore(data)
        yield
    finally:
        os.close(handle)


def holder(data: Path) -> int:
    """The process that holds a data folder, or held it last. Raises ``Refused`` when none ever did."""
    try:
        return int((data / "lock").read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise Refused(f"{data}/lock does not say which process holds the folder; start that program anew") from error
