"""A simulated county as a process of its own, for as long as something is measured at it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumpwatch.errors import BadConfig, NotReachable

START_S = 120.0
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class County:
    """A simulator that listens."""

    pid: int
    address_book: dict[str, Any]
    """The content of its ``sim.json``."""


@contextmanager
def simulated(out: Path, *arguments: str) -> Iterator[County]:
    """``pumpwatch_sim serve`` with these arguments until the body ends."""
    command = [sys.executable, "-m", "pumpwatch_sim", "serve", "--out", str(out), *arguments, "--until-stdin-closes"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)  # noqa: S603 - our own program
    try:
        yield County(process.pid, _address_book(out / "sim.json", process))
    finally:
        process.terminate()
        process.wait(10)
        if process.stdin:
            process.stdin.close()


def _address_book(file: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + START_S
    while not file.is_file():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotReachable("the simulated county did not start")
        time.sleep(0.1)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


# ---------------------------------------------------------------- what processes cost


def need_proc() -> None:
    """Raises ``BadConfig`` where the system does not tell what processes cost."""
    if not (_PROC / "self" / "stat").is_file():
        raise BadConfig("this suite reads /proc, which this system does not have; run it on Linux")


def cpu_s(pid: int) -> float:
    """Processor time a process has used, its threads and finished children included."""
    fields = _stat(pid)
    return sum(int(field) for field in fields[11:15]) / _CLOCK_TICKS if fields else 0.0


def rss_mib(pid: int) -> float:
    """Memory of a process and all that descend from it; pages they share count for each."""
    parents = {int(entry.name): _stat(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit()}
    family, grown = {pid}, True
    while grown:
        more = {child for child, fields in parents.items() if fields and int(fields[1]) in family} - family
        family |= more
        grown = bool(more)
    pages = sum(int(parents[member][21]) for member in family if parents.get(member))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the state on (proc(5), field 3); none when the process has gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()
