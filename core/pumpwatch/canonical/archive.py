"""Backups: a folder of files with a list of their SHA-256, checked as a whole before anything of it is used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from pumpwatch import __version__
from pumpwatch.errors import BadConfig, NotReachable, Refused

LIST: Final = "backup.json"
"""Written last: without it a folder is no backup."""
CONTENT: Final = "data"
_VERSION: Final = 1
_CHUNK: Final = 1024**2
_NAMED: Final = 20
"""Damaged files that a message names."""
_HALF: Final = ".restoring"
_MOVES: Final = ".restoring.json"
"""Which names are being exchanged; there as long as that is not over."""
_NOT_DATA: Final = frozenset({"lock", _HALF})
"""What an empty data folder may hold."""


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One file of a backup."""

    path: str
    """Below the data folder, with slashes."""
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Archive:
    """What a backup says of itself."""

    made: str
    program: str
    files: tuple[ArchivedFile, ...]
    left_out: tuple[str, ...] = ()
    """What is not in it, as sentences."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class ArchiveProgress:
    """How far a backup or restore is."""

    doing: str
    done: int
    total: int
    """Bytes."""


Tell = Callable[[ArchiveProgress], None]


def write_archive(
    sources: Sequence[tuple[str, Path]], folder: Path, made: datetime, left_out: Sequence[str], tell: Tell
) -> Archive:
    """Copy files into a new backup, each under its path below the data folder; on disk when this returns.

    Raises ``BadConfig`` when the folder holds something, ``NotReachable`` when its disk is full or a file has gone.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadConfig(f"{folder} holds other things; choose a new or an empty folder for the backup")
    done = 0
    files = []
    try:
        total = sum(path.stat().st_size for _, path in sources)
        for name, path in sources:
            target = folder / CONTENT / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source, target.open("xb") as copy:
                digest, size = hashlib.sha256(), 0
                for chunk in _chunks(source):
                    copy.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    tell(ArchiveProgress("copying", done + size, total))
                _to_disk(copy)
            done += size
            files.append(ArchivedFile(name, size, digest.hexdigest()))
        archive = Archive(made.isoformat(), __version__, tuple(files), tuple(left_out))
        with (folder / LIST).open("x", encoding="utf-8") as out:
            json.dump(_content(archive), out, indent=1, ensure_ascii=False)
            out.flush()
            os.fsync(out.fileno())
        _sync_folders(folder)
    except OSError as error:
        raise NotReachable(
            f"cannot write the backup to {folder}: {error.strerror} ({error.filename or folder}); "
            "see that its disk has room, and begin it anew"
        ) from error
    return archive


def read_archive(folder: Path) -> Archive:
    """What a backup should hold. Raises ``BadConfig`` when the list itself is missing or damaged."""
    try:
        told = json.loads((folder / LIST).read_text(encoding="utf-8"))
        version = told["version"]
        if version == _VERSION:
            files = tuple(ArchivedFile(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in told["files"])
            archive = Archive(str(told["made"]), str(told["program"]), files, tuple(map(str, told["left_out"])))
            if _content(archive)["sha256"] == told["sha256"] and all(_is_inside(f.path) for f in files):
                return archive
    except FileNotFoundError as error:
        raise BadConfig(f"{folder} is no backup: it has no {LIST}; a backup that was broken off has none") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadConfig(f"{folder / LIST} is damaged ({error!r}); take another backup") from error
    if version != _VERSION:
        raise BadConfig(f"{folder / LIST} has version {version!r}, this program knows {_VERSION}; install a newer one")
    raise BadConfig(f"{folder / LIST} is damaged: it was changed after the backup; take another backup")


def verify(folder: Path, archive: Archive, tell: Tell) -> None:
    """Read every file. Raises ``BadConfig`` naming all that are missing or damaged."""
    wrong, done = [], 0
    for file in archive.files:
        path = folder / CONTENT / file.path
        try:
            if path.is_symlink() or path.stat().st_size != file.size:
                wrong.append(f"{file.path} (another length)")
            else:
                digest, read = hashlib.sha256(), done
                with path.open("rb") as opened:
                    for chunk in _chunks(opened):
                        digest.update(chunk)
                        read += len(chunk)
                        tell(ArchiveProgress("checking", read, archive.size))
                if digest.hexdigest() != file.sha256:
                    wrong.append(f"{file.path} (other content)")
        except OSError as error:
            wrong.append(f"{file.path} ({error.strerror})")
        done += file.size
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise BadConfig(
            f"the backup {folder} is damaged: {', '.join(wrong[:_NAMED])}{more}; nothing was restored: take another one"
        )


def restore(folder: Path, archive: Archive, data: Path, now: datetime, tell: Tell, *, replace: bool) -> Path | None:
    """Put a verified backup into a data folder that is held; where what stood there was put, if anything.

    Raises ``Refused`` when the folder is not empty and not to be replaced, ``BadConfig`` when a file changes meanwhile,
    and ``NotReachable`` when the disk refuses; then the data folder is as it was. When killed, it is so once somebody
    holds the folder again (``undo_restore``).
    """
    there = [path for path in sorted(data.iterdir()) if path.name not in _NOT_DATA]
    if there and not replace:
        raise Refused(
            f"{data} is not empty ({', '.join(path.name for path in there[:5])} …); restore into another folder with "
            "--data DIR, or give --replace: then what is there is kept in a folder beside it"
        )
    half, aside = data / _HALF, None
    try:
        shutil.rmtree(half, ignore_errors=True)
        done = 0
        for file in archive.files:
            target = half / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with (folder / CONTENT / file.path).open("rb") as source, target.open("xb") as copy:
                digest = hashlib.sha256()
                for chunk in _chunks(source):
                    copy.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    tell(ArchiveProgress("restoring", done, archive.size))
                _to_disk(copy)
            if digest.hexdigest() != file.sha256:
                raise BadConfig(f"{folder / CONTENT / file.path} changed while it was read; nothing was restored")
        _sync_folders(half)
        aside = _unused(data / f"replaced-{now:%Y%m%dT%H%M%SZ}") if there else None
        _exchange(data, [path.name for path in there], aside)
    except OSError as error:
        undo_restore(data)
        raise NotReachable(
            f"cannot restore into {data}: {error.strerror} ({error.filename}); see its disk, or, when a folder in "
            "it is mounted, restore into another one with --data DIR. What was there is as it was"
        ) from error
    finally:
        if not (data / _MOVES).exists():
            shutil.rmtree(half, ignore_errors=True)
    return aside


def undo_restore(data: Path) -> None:
    """Put back what a restore that was broken off moved aside. Raises ``Refused`` when the disk does not let it."""
    marker, half = data / _MOVES, data / _HALF
    if not marker.exists():
        return
    try:
        moves = json.loads(marker.read_text(encoding="utf-8"))
        for name in moves["new"]:
            if (data / name).exists() and not (half / name).exists():
                (data / name).rename(half / name)
        for name in moves["old"]:
            if (data / moves["aside"] / name).exists():
                (data / moves["aside"] / name).rename(data / name)
        if moves["old"] and (data / moves["aside"]).exists():
            (data / moves["aside"]).rmdir()
        _sync_folders(data, deep=False)
        marker.unlink()
        shutil.rmtree(half, ignore_errors=True)
    except OSError as error:
        raise Refused(
            f"{data}: a restore was broken off and cannot be undone: {error.strerror} ({error.filename}). What was "
            f"there is in its folder replaced-…, what was to come in {_HALF}; see its disk and start again"
        ) from error


def _exchange(data: Path, old: Sequence[str], aside: Path | None) -> None:
    """Move what is there aside and what was restored in, with a note by which it can be undone."""
    half, marker = data / _HALF, data / _MOVES
    new = sorted(path.name for path in half.iterdir())
    noted = half / _MOVES
    with noted.open("w", encoding="utf-8") as file:
        json.dump({"old": list(old), "new": new, "aside": aside.name if aside else ""}, file)
        file.flush()
        os.fsync(file.fileno())
    noted.rename(marker)
    _sync_folders(data, deep=False)
    if aside is not None:
        aside.mkdir()
        for name in old:
            (data / name).rename(aside / name)
    for name in new:
        (half / name).rename(data / name)
    _sync_folders(data, deep=False)
    marker.unlink()


def _content(archive: Archive) -> dict[str, Any]:
    content = {"version": _VERSION, **asdict(archive)}
    plain = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    return {**content, "sha256": hashlib.sha256(plain).hexdigest()}


def _is_inside(path: str) -> bool:
    """Whether it names a file below a folder, whoever wrote it."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and "\\" not in path and "\0" not in path and ".." not in parts


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folders(folder: Path, *, deep: bool = True) -> None:
    """Names to disk."""
    below: Iterable[Path] = (path for path in folder.rglob("*") if path.is_dir()) if deep else ()
    for each in (folder, *below):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unused(path: Path) -> Path:
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
