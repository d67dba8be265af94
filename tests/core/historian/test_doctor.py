"""``pumpwatch doctor`` names each file that is torn or has a flipped bit, and nothing else is lost."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pumpwatch import Batch, NotReachable, SampleBatch, Transaction, to_us
from pumpwatch.cli import app
from pumpwatch.clock import SystemClock
from pumpwatch.historian import EmbeddedStore, Historian

FIRST = datetime(2026, 11, 20, tzinfo=UTC)
PATHS = tuple(f"S01/D1/nozzle-{n}.volume" for n in range(40))
FILES = {
    "journal": "history/journal.sqlite",
    "segment": "history/embedded/samples/2026-11-20-*.parquet",
    "manifest": "history/embedded/samples/manifest.json",
    "records": "history/embedded/records.sqlite",
    "rollups": "history/embedded/rollups.sqlite",
}


def batch(minute: int) -> Batch:
    at = FIRST + timedelta(minutes=minute)
    samples = SampleBatch(
        "S01",
        PATHS,
        np.full(len(PATHS), to_us(at)),
        minute + np.arange(len(PATHS)) / 100,
        (),
        np.zeros(len(PATHS), np.uint8),
    )
    sale = Transaction(f"S01-N{minute % 7}", minute, at, at, 1.0, 7.0, 7.0, raw=bytes([minute % 256]) * 200)
    return Batch("S01", samples, (sale,), at)


async def made(folder: Path) -> None:
    """Two days and the beginning of a third in the store, the rest of that in the journal."""
    store = EmbeddedStore(EmbeddedStore.Settings(), folder / "history" / "embedded")
    async with Historian.open(folder / "history", store, SystemClock(), gather_s=1e9) as historian:
        for day in range(3):
            for minute in range(0, 240, 2):
                await historian.keep(batch(day * 1_440 + minute))
            await historian.flush()
            await store.tidied()
        for minute in range(240, 300, 2):
            await historian.keep(batch(2 * 1_440 + minute))
            await historian.journaled()


async def answers(folder: Path) -> dict[str, Any]:
    """What each file alone knows."""
    store = EmbeddedStore(EmbeddedStore.Settings(), folder / "history" / "embedded")
    days = [FIRST + timedelta(days=n) for n in range(4)]
    known: dict[str, Any] = {}
    async with Historian.open(folder / "history", store, SystemClock(), gather_s=1e9) as historian:
        for name, since, until in (
            ("segment", days[0], days[1]),
            ("other segments", days[1], days[2] + timedelta(minutes=240)),
            ("journal", days[2] + timedelta(minutes=240), days[3]),
        ):
            page = await historian.samples(paths=(PATHS[3], PATHS[30]), start=since, end=until)
            known[name] = list(zip(page.paths, page.at_us.tolist(), page.values.tolist(), strict=True))
        sales = await historian.transactions(end=days[2] + timedelta(minutes=240), limit=10_000)
        known["records"] = [(s.key, s.raw) for s in sales]
        hours = await historian.summaries(PATHS[3], days[1], days[2], timedelta(hours=1))
        known["rollups"] = (hours.count.tolist(), hours.mean.tolist(), hours.last.tolist())
    return known


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sound")
    asyncio.run(made(folder))
    copy = tmp_path_factory.mktemp("copy") / "data"
    shutil.copytree(folder, copy)
    return folder, asyncio.run(answers(copy))


def doctor(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, ["doctor", "--data", str(folder), "--json", *options])
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.stdout)


def test_a_sound_folder_is_said_to_be_so(sound: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(sound[0], folder)
    code, said = doctor(folder)
    assert code == 0
    assert said["ok"] is True
    assert {f["state"] for f in said["files"]} == {"sound"}
    assert any(f["detail"] == "30 batches wait for the store" for f in said["files"])
    assert asyncio.run(answers(folder)) == sound[1]


def cut(where: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * where) if where else 0]


def flip(place: Callable[[int], int]) -> Callable[[bytes], bytes]:
    def flipped(data: bytes) -> bytes:
        at = place(len(data))
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

    return flipped


HARMS = {
    "emptied": cut(0.0),
    "cut in the middle": cut(0.5),
    "cut near its end": cut(0.97),
    "a bit of its head": flip(lambda n: min(20, n - 1)),
    "a bit of its middle": flip(lambda n: n // 2),
    "a bit of its end": flip(lambda n: n - 12),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", FILES)
def test_damage_is_named_and_nothing_else_is_lost(
    sound: tuple[Path, dict[str, Any]], tmp_path: Path, name: str, harm: str
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(sound[0], folder)
    (file,) = folder.glob(FILES[name])
    file.write_bytes(HARMS[harm](file.read_bytes()))
    code, said = doctor(folder)
    named = [f["file"] for f in said["files"] if f["state"] == "damaged"]
    if code:
        assert named == [str(file.relative_to(folder))]
        code, said = doctor(folder, "--repair")
        assert code == 0, said
        assert any(file.name in sentence for sentence in said["repaired"])
    known = asyncio.run(answers(folder))
    changed = {part for part in known if known[part] != sound[1][part]}
    assert changed <= ({name} if named and name in ("journal", "segment", "records") else set())
    if changed and name != "records":  # whole rows, never others
        assert set(known[name]) < set(sound[1][name])
    if changed and name == "records":
        assert {repr(r) for r in known[name]} < {repr(r) for r in sound[1][name]}


def test_a_store_that_is_away_does_not_hide_what_was_repaired(
    sound: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(sound[0], folder)
    journal = folder / FILES["journal"]
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 0x10
    journal.write_bytes(data)
    (folder / "history" / "journal.sqlite-wal").unlink(missing_ok=True)

    async def away(store: EmbeddedStore) -> None:
        raise NotReachable("nothing answers")

    monkeypatch.setattr(EmbeddedStore, "mend", away)
    code, said = doctor(folder, "--repair")
    assert code == 0
    assert any("journal.sqlite" in sentence for sentence in said["repaired"])
    assert said["repaired"][-1] == "the store embedded could not be examined: nothing answers"
