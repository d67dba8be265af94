"""Backups: whole or refused by name, restored byte for byte, and nothing is touched before all is checked."""

from __future__ import annotations

import errno
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.canonical import hold
from pumpwatch.canonical.archive import CONTENT, LIST, read_archive, restore, verify, write_archive
from pumpwatch.errors import BadConfig, NotReachable, Refused

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FILES = {"ledger.sqlite": b"ledger" * 500, "history/embedded/samples/1.parquet": b"\0\1" * 9_000, "rejects/空.csv": b""}


def quiet(_: object) -> None:
    pass


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A backup of ``FILES``."""
    sources = []
    for name, content in FILES.items():
        path = tmp_path / "from" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sources.append((name, path))
    write_archive(sources, tmp_path / "backup", NOW, ["something is elsewhere"], quiet)
    return tmp_path / "backup"


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def restored(backup: Path, data: Path, *, replace: bool = False) -> Path | None:
    archive = read_archive(backup)
    verify(backup, archive, quiet)
    data.mkdir(exist_ok=True)
    return restore(backup, archive, data, NOW, quiet, replace=replace)


def test_it_comes_back_byte_for_byte(made: Path, tmp_path: Path) -> None:
    archive = read_archive(made)
    assert archive.left_out == ("something is elsewhere",)
    assert archive.size == sum(map(len, FILES.values()))
    assert {f.path: f.sha256 for f in archive.files} == {n: hashlib.sha256(c).hexdigest() for n, c in FILES.items()}
    assert restored(made, tmp_path / "var") is None
    assert tree(tmp_path / "var") == FILES


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_named_and_nothing_is_touched(made: Path, tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([name for name, content in FILES.items() if content] + [LIST]))
    path = made / (name if name == LIST else f"{CONTENT}/{name}")
    sound = path.read_bytes()
    at = data.draw(st.integers(0, len(sound) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "longer", "gone"]))
    flipped = sound[:at] + bytes([sound[at] ^ 1 << data.draw(st.integers(0, 7))]) + sound[at + 1 :]
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes({"flip": flipped, "cut": sound[:at], "longer": sound + b"x"}[kind])
    try:
        with pytest.raises(BadConfig) as caught:
            restored(made, tmp_path / "var")
        assert Path(name).name in str(caught.value)
        assert not (tmp_path / "var").exists()
    finally:
        path.write_bytes(sound)


def test_all_damaged_files_are_named(made: Path) -> None:
    (made / CONTENT / "ledger.sqlite").unlink()
    (made / CONTENT / "rejects/空.csv").write_bytes(b"more")
    with pytest.raises(BadConfig, match=r"ledger\.sqlite \(No such file.*空\.csv \(another length\)"):
        verify(made, read_archive(made), quiet)


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "", "..", "a\\..\\b", "a\0b"])
def test_a_list_that_leads_elsewhere_is_refused(made: Path, path: str) -> None:
    told = json.loads((made / LIST).read_text())
    told["files"][0]["path"] = path
    del told["sha256"]
    plain = json.dumps(told, sort_keys=True, ensure_ascii=False).encode()
    (made / LIST).write_text(json.dumps(told | {"sha256": hashlib.sha256(plain).hexdigest()}))
    with pytest.raises(BadConfig, match="damaged"):
        read_archive(made)


def test_a_newer_backup_and_none_at_all(made: Path, tmp_path: Path) -> None:
    told = json.loads((made / LIST).read_text())
    (made / LIST).write_text(json.dumps(told | {"version": 2}))
    with pytest.raises(BadConfig, match="newer"):
        read_archive(made)
    with pytest.raises(BadConfig, match="is no backup"):
        read_archive(tmp_path)


def test_a_folder_with_data_is_left_alone_unless_told(made: Path, tmp_path: Path) -> None:
    data = tmp_path / "var"
    data.mkdir()
    (data / "lock").touch()
    (data / "ledger.sqlite").write_bytes(b"mine")
    with pytest.raises(Refused, match="not empty"):
        restored(made, data)
    assert tree(data) == {"lock": b"", "ledger.sqlite": b"mine"}
    aside = restored(made, data, replace=True)
    assert aside is not None
    assert tree(aside) == {"ledger.sqlite": b"mine"}
    again = restored(made, data, replace=True)
    assert again is not None
    assert again != aside
    assert tree(again)[f"{aside.name}/ledger.sqlite"] == b"mine"
    assert {n: c for n, c in tree(data).items() if not n.startswith("replaced-")} == FILES | {"lock": b""}


def test_a_file_that_has_gone_meanwhile_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotReachable, match=r"No such file or directory \(.*gone.csv\).* begin it anew"):
        write_archive([("rejects/gone.csv", tmp_path / "gone.csv")], tmp_path / "backup", NOW, (), quiet)


def test_a_backup_is_not_written_over_something(made: Path, tmp_path: Path) -> None:
    before = tree(made)
    with pytest.raises(BadConfig, match="holds other things"):
        write_archive([], made, NOW, (), quiet)
    assert tree(made) == before


class Killed(BaseException):
    """Nothing of the program runs after it."""


def broken_at(number: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the move of that number fail, and, when it is a kill, every later one."""
    count = 0
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == number or (count > number and isinstance(error, Killed)):
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)


OLD = {"ledger.sqlite": b"mine", "history/journal.sqlite": b"mine too", "pumpwatch.toml": b"set"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data folder with ``OLD``."""
    for name, content in OLD.items():
        path = tmp_path / "var" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "var"


@pytest.mark.parametrize("number", range(1, 8))
def test_a_move_that_fails_leaves_the_folder_as_it_was(
    made: Path, old: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    broken_at(number, OSError(errno.EBUSY, "Device or resource busy", "history"), monkeypatch)
    with pytest.raises(NotReachable, match="mounted"):
        restored(made, old, replace=True)
    monkeypatch.undo()
    assert tree(old) == OLD
    assert restored(made, old, replace=True) is not None


@pytest.mark.parametrize("number", range(1, 8))
def test_after_a_kill_the_next_who_holds_the_folder_finds_it_as_it_was(
    made: Path, old: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    broken_at(number, Killed(), monkeypatch)
    with pytest.raises(Killed):
        restored(made, old, replace=True)
    monkeypatch.undo()
    with hold(old):
        found = {name: content for name, content in tree(old).items() if not name.startswith((".restoring", "lock"))}
        assert found == OLD
        assert restored(made, old, replace=True) is not None
