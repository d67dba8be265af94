"""Backup, completeness and exports by day of a server that goes on reading, as administrators do it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pyarrow.dataset as ds
import pytest
from typer.testing import CliRunner

from pumpwatch.cli import app
from pumpwatch.errors import PumpwatchError

pytestmark = pytest.mark.integration

DRIVER = """
from datetime import timedelta
from pumpwatch import Driver, Reading, Sample, ScanClass, Tag, Transaction, hookimpl

class Counter(Driver):
    name = "counter"
    number = 0
    def tags(self):
        return [Tag("number", scan=ScanClass.FAST)]
    async def read(self, tags, now):
        Counter.number += 1
        n = Counter.number
        sale = Transaction("S01-N01", n, now - timedelta(milliseconds=1), now, 1.0, 7.5, 7.5)
        return Reading([Sample("number", float(n), now)], [sale] if n % 10 else [])

@hookimpl
def pumpwatch_drivers():
    return [Counter]
"""
CONFIG = """
[api]
port = 0
[acquisition]
fast_s = 0.05
heartbeat_s = 0.05
[[stations]]
id = "S01"
[[stations.devices]]
id = "D1"
driver = "counter"
line = "tcp://127.0.0.1:9"
"""
LEDGER = {
    "stations": "station_id,name\nS01,示例一\n",
    "dispensers": "dispenser_id,station_id\nS01-D1,S01\n",
    "tanks": "tank_id,station_id,grade,capacity_l\nS01-T1,S01,92#,30000\n",
    "nozzles": "nozzle_id,dispenser_id,tank_id,grade\nS01-N01,S01-D1,S01-T1,92#\n",
}


def pumpwatch(*words: str | Path, code: int = 0) -> str:
    """What the command line prints, or the words of its error; in this process, which has loaded everything once."""
    told = CliRunner().invoke(app, [*map(str, words)])
    if code == 0:
        assert told.exit_code == 0, (told.output, told.exception)
        return told.stdout
    assert isinstance(told.exception, PumpwatchError), told.exception
    return str(told.exception)


def numbers(folder: Path) -> set[int]:
    with (folder / "transactions.csv").open(encoding="utf-8") as file:
        return {int(row["seq"]) for row in csv.DictReader(file)}


def test_all_that_was_acknowledged_is_in_the_backup(tmp_path: Path, wait_for) -> None:
    data, config, ledger = tmp_path / "var", tmp_path / "pumpwatch.toml", tmp_path / "ledger"
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "counter.py").write_text(DRIVER, encoding="utf-8")
    config.write_text(CONFIG, encoding="utf-8")
    ledger.mkdir()
    for name, text in LEDGER.items():
        (ledger / f"{name}.csv").write_text(text, encoding="utf-8")
    options = ("--data", data, "--config", config, "--plugins-dir", tmp_path / "plugins")
    pumpwatch("import", ledger, *options)
    command = [sys.executable, "-m", "pumpwatch", "serve", *map(str, options)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        api = wait_for("server", lambda: json.loads((data / "server.json").read_text()), 90)["api"] + "/api/v1"

        def told() -> set[int]:
            answer = httpx.get(f"{api}/transactions", params={"limit": 100_000}, timeout=30, trust_env=False)
            return {row["seq"] for row in answer.json()}

        wait_for("fillings", lambda: len(told()) > 30, 60)
        before = told()
        made = json.loads(pumpwatch("backup", tmp_path / "backup", *options, "--json"))
        assert made["files"] >= 3
        assert made["left_out"] == []
        wait_for("more fillings", lambda: max(told()) > max(before) + 10, 60)
        assert not any((data / "snapshots").iterdir())

        (row,) = json.loads(pumpwatch("completeness", *options, "--json", "--from", "2020-01-01", "--to", "2020-01-02"))
        assert (row["fillings_received"], row["fillings_percent"]) == (0, None)
        rows = json.loads(pumpwatch("completeness", *options, "--json"))
        missing = sum(row["fillings_expected"] - row["fillings_received"] for row in rows)
        assert missing >= len(before) // 10
        assert "S01-N01 10, 20, 30" in next(row["numbers_missing"] for row in rows if row["numbers_missing"])

        pumpwatch(
            "export", tmp_path / "days", *options, "--partitioned", "--table", "samples", "--table", "transactions"
        )
        sales = ds.dataset(tmp_path / "days" / "transactions", partitioning="hive").to_table()
        assert before <= set(sales["seq"].to_pylist())
        assert set(sales["station"].to_pylist()) == {"S01"}
        samples = ds.dataset(tmp_path / "days" / "samples", partitioning="hive").to_table()
        assert {float(n) for n in before} <= set(samples["value"].to_pylist())
        assert "not empty" in pumpwatch("restore", tmp_path / "backup", "--data", ledger, code=1)
        assert "held by a running pumpwatch" in pumpwatch("restore", tmp_path / "backup", "--data", data, code=1)
    finally:
        server.kill()
        server.communicate(timeout=60)

    pumpwatch("restore", tmp_path / "backup", "--data", tmp_path / "again")
    pumpwatch("export", tmp_path / "out", "--data", tmp_path / "again", "--format", "csv")
    assert before <= numbers(tmp_path / "out")
    assert "示例一" in (tmp_path / "out" / "stations.csv").read_text(encoding="utf-8")
    alone = json.loads(pumpwatch("backup", tmp_path / "second", "--data", tmp_path / "again", "--json"))
    assert alone["files"] >= made["files"]
    damaged = tmp_path / "backup" / "data" / "ledger.sqlite"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert "ledger.sqlite (another length)" in pumpwatch(
        "restore", tmp_path / "backup", "--data", tmp_path / "third", code=1
    )
    assert not (tmp_path / "third").exists()
