"""``pumpwatch store init`` and ``store migrate``: from the embedded store to InfluxDB and back, and counted."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from influx_alike import T, answers, batch_of, record_of, samples_of
from influx_server import InfluxServer, needed
from typer.testing import CliRunner

from pumpwatch import Batch, NotReachable, Refused, Store, Transaction
from pumpwatch.cli import app, storing
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    needed()
    server = InfluxServer(tmp_path_factory.mktemp("influx"))
    try:
        server.start()
        yield server
    finally:
        server.close()


def config_for(server: InfluxServer, folder: Path, database: str) -> Path:
    file = folder / f"{database}.toml"
    file.write_text(
        f'[historian]\nstore = "influxdb"\n[historian.settings]\nurl = "{server.url}"\ndatabase = "{database}"\n'
        "samples_days = 0\ntank_readings_days = 0\n",
        encoding="utf-8",
    )
    return file


async def fill(data: Path, seed: int = 5) -> dict[str, object]:
    """Some of everything in an embedded store; its answers."""
    chance = random.Random(seed)
    store = EmbeddedStore(EmbeddedSettings(), data / "history" / "embedded")
    await store.open()
    for _ in range(20):
        station = chance.choice(("S1", "S2"))
        records = tuple(record_of(chance, station) for _ in range(4))
        await store.write([Batch(station, samples_of(chance, station), records, storing._now())])
    told = await answers(store)
    await store.close()
    return told


async def answers_of(store: Store) -> dict[str, object]:
    await store.open()
    try:
        return await answers(store)
    finally:
        await store.close()


def run(*words: str) -> tuple[int, str]:
    told = CliRunner().invoke(app, list(words))
    return told.exit_code, told.output + (repr(told.exception) if told.exception else "")


def test_there_and_back_and_nothing_is_missing(
    server: InfluxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "_SAMPLES", 29)
    monkeypatch.setattr(storing, "_RECORDS", 11)
    there, back = tmp_path / "there", tmp_path / "back"
    here = asyncio.run(fill(there))
    config = config_for(server, tmp_path, "moved")
    code, told = run("store", "init", "--config", str(config), "--data", str(there))
    assert (code, "moved/records: for ever" in told) == (0, True), told
    code, told = run("store", "migrate", "--to", str(config), "--data", str(there), "--json")
    assert code == 0, told
    counts = {row["what"]: (row["here"], row["there"]) for row in json.loads(told)}
    assert all(mine == theirs > 0 for mine, theirs in counts.values()), counts
    assert asyncio.run(answers_of(server.store(database="moved"))) == here
    back.mkdir()
    code, told = run("store", "migrate", "--to", "embedded", "--data", str(back), "--config", str(config))
    assert code == 0, told
    assert asyncio.run(answers_of(EmbeddedStore(EmbeddedSettings(), back / "history" / "embedded"))) == here
    assert not (back / "history" / "migration.json").exists()


def test_stopped_it_goes_on_where_it_was(server: InfluxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "_SAMPLES", 10)
    here = asyncio.run(fill(tmp_path, seed=6))
    config = config_for(server, tmp_path, "resumed")
    run("store", "init", "--config", str(config), "--data", str(tmp_path))
    asked: list[tuple[str, int] | None] = []
    proper = storing.Migration._write

    async def once(self: storing.Migration, batches: list[Batch]) -> None:
        asked.append(self.progress.after)
        if len(asked) == 4:
            raise NotReachable("the line broke")
        await proper(self, batches)

    monkeypatch.setattr(storing.Migration, "_write", once)
    code, told = run("store", "migrate", "--to", str(config), "--data", str(tmp_path))
    assert (code, "the line broke" in told) == (1, True), told
    broke_at = asked[-1]
    assert broke_at is not None
    code, told = run("store", "migrate", "--to", str(config), "--data", str(tmp_path))
    assert code == 0, told
    assert asked[4] == broke_at  # not from the start
    assert asyncio.run(answers_of(server.store(database="resumed"))) == here


def test_what_does_not_arrive_is_counted(server: InfluxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(fill(tmp_path, seed=7))
    config = config_for(server, tmp_path, "lossy")
    run("store", "init", "--config", str(config), "--data", str(tmp_path))
    proper = storing.Migration._write

    async def forgetful(self: storing.Migration, batches: list[Batch]) -> None:
        await proper(self, [b for b in batches if not any(isinstance(r, Transaction) for r in b.records)])

    monkeypatch.setattr(storing.Migration, "_write", forgetful)
    code, told = run("store", "migrate", "--to", str(config), "--data", str(tmp_path))
    assert (code, "rows are not in" in told) == (1, True), told


async def test_what_the_target_never_takes_is_named_and_the_rest_goes(tmp_path: Path) -> None:
    class Choosy(EmbeddedStore):
        async def write(self, batches: Sequence[Batch]) -> None:
            if any(isinstance(r, Transaction) and r.seq == 3 for b in batches for r in b.records):
                raise Refused("3 is never taken")
            await super().write(batches)

    source = EmbeddedStore(EmbeddedSettings(), tmp_path / "source")
    target = Choosy(EmbeddedSettings(), tmp_path / "target")
    await source.open()
    await target.open()
    sales = tuple(Transaction("S1-N1", seq, T, T, 20.0, 150.0, 7.5) for seq in range(8))
    await source.write([batch_of(*sales)])
    progress = storing.Progress("elsewhere")
    migration = storing.Migration(source, target, progress, lambda: None)
    await migration.records(Transaction, lambda *_: None)
    moved = await migration.counts(lambda *_: None)
    assert (moved.missing, moved.refused) == (1, ("3 is never taken",))
    assert sorted(s.seq for s in await target.transactions(station_id="S1")) == [0, 1, 2, 4, 5, 6, 7]
    await source.close()
    await target.close()


@pytest.mark.parametrize(
    ("to", "reason"),
    [("nowhere", "neither a configuration nor a store"), ("embedded", "history is in already")],
)
def test_a_target_that_cannot_be_is_told(tmp_path: Path, to: str, reason: str) -> None:
    code, told = run("store", "migrate", "--to", to, "--data", str(tmp_path))
    assert (code, reason in told) == (1, True), told


def test_a_store_without_a_server_needs_no_preparation(tmp_path: Path) -> None:
    code, told = run("store", "init", "--data", str(tmp_path))
    assert (code, told.strip()) == (0, "the store embedded needs no preparation")
