"""A torn log is told by its checksums, and a damaged file gives its place to a sound one or to none."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.errors import NotReachable
from pumpwatch.historian import damage
from pumpwatch.historian.checking import State, database
from pumpwatch.historian.damage import put_in_place, torn_frames
from pumpwatch.historian.records import Records


@pytest.fixture(scope="module", params=[512, 4096, 65536])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a log of two generations: frames of the first lie behind those of the second."""
    folder = tmp_path_factory.mktemp("log")
    with closing(sqlite3.connect(folder / "live", isolation_level=None)) as file:
        file.execute(f"PRAGMA page_size = {request.param}")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA wal_autocheckpoint = 0")
        file.execute("CREATE TABLE t (x)")
        for generation, size in enumerate((300, 20) if request.param < 65536 else (20, 10)):
            for n in range(size):
                file.execute("INSERT INTO t VALUES (randomblob(200 + ?))", (n,))
            if not generation:
                file.execute("PRAGMA wal_checkpoint(RESTART)")
        for part in ("", "-wal"):
            shutil.copy(folder / f"live{part}", folder / f"kept{part}")
    return folder / "kept"


def believed(database: Path) -> int:
    """How many frames SQLite itself takes from the log."""
    with closing(sqlite3.connect(database)) as file:
        ((_, frames, _),) = file.execute("PRAGMA wal_checkpoint(PASSIVE)")
    return int(frames)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(place=st.floats(0, 1, exclude_max=True), harm=st.sampled_from(["none", "flip", "cut", "head"]))
def test_the_frames_that_sqlite_would_not_believe_are_counted(
    log: Path, tmp_path: Path, place: float, harm: str
) -> None:
    data = bytearray(Path(f"{log}-wal").read_bytes())
    step = 24 + struct.unpack_from(">I", data, 8)[0]
    at = int(place * (32 if harm == "head" else min(len(data), 15 * step)))
    if harm == "cut":
        del data[at:]
    elif harm != "none":
        data[at] ^= 0x10
    copy = tmp_path / "copy"
    shutil.copy(log, copy)
    Path(f"{copy}-wal").write_bytes(data)
    frames, torn = torn_frames(copy)
    sound = max(0, believed(copy))
    assert frames - torn == sound
    if harm == "none":
        assert (frames, torn) == (sound, 0)
        assert frames >= 10
    if harm == "flip" and at >= 32 and not 8 <= (at - 32) % step < 16 and (at - 32) // step < frames:
        assert torn > 0


def test_a_log_is_examined_where_it_lies(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is copied: there may be no room."""
    for part in ("", "-wal"):
        shutil.copy(f"{log}{part}", tmp_path / f"here{part}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "no such folder"))
    assert database(tmp_path / "here").state is State.SOUND
    wal = tmp_path / "here-wal"
    data = bytearray(wal.read_bytes())
    data[40] ^= 1
    wal.write_bytes(data)
    told = database(tmp_path / "here")
    assert told.state is State.DAMAGED
    assert "frames of here-wal cannot be used (a torn write)" in told.detail


def test_what_cannot_be_read_is_damaged_and_no_traceback(log: Path, tmp_path: Path) -> None:
    shutil.copy(log, tmp_path / "here")
    (tmp_path / "here-wal").mkdir()
    assert database(tmp_path / "here").state is State.DAMAGED


def test_when_the_new_file_cannot_take_its_place_the_damaged_one_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, made = tmp_path / "a.sqlite", tmp_path / "a.sqlite.saving"
    parts = {"": b"damaged", "-wal": b"log"}
    for suffix, content in parts.items():
        file.with_name(file.name + suffix).write_bytes(content)
    made.write_bytes(b"saved")
    rename = Path.rename
    for refused in (file, file.with_name(file.name + "-wal"), made):

        def failing(self: Path, target: Path, *, refused: Path = refused) -> Path:
            if self == refused:
                raise OSError(28, "No space left on device")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", failing)
        with pytest.raises(sqlite3.OperationalError, match="No space left"):
            put_in_place(made, file)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
            "a.sqlite": b"damaged",
            "a.sqlite-wal": b"log",
            made.name: b"saved",
        }
    monkeypatch.setattr(Path, "rename", rename)
    aside = put_in_place(made, file)
    assert (file.read_bytes(), aside.read_bytes()) == (b"saved", b"damaged")


def test_a_question_to_records_that_cannot_be_saved_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(tmp_path / "records.sqlite")
    records.open()
    try:
        broken = sqlite3.DatabaseError("malformed")
        broken.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

        def full(made: Path, database: Path) -> Path:
            raise sqlite3.OperationalError(f"{made}: not all of it was written")

        monkeypatch.setattr("pumpwatch.historian.records.put_in_place", full)

        def ask(file: sqlite3.Connection) -> None:
            raise broken

        with pytest.raises(NotReachable, match=r"cannot be saved .* free space"):
            records._guarded(ask)
        assert len(records.latest()) == 0
        assert damage.kept_aside(records.path) == []
    finally:
        records.close()
