"""A server killed while a filling waits for its tax figures: the filling is there afterwards, and once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.integration

TOKEN = "not-a-real-token"
CONFIG = """
[api]
port = 0
token = "env:PUMPWATCH_TOKEN"
[[stations]]
id = "S01"
[[stations.devices]]
id = "D1"
driver = "pump"
line = "tcp://127.0.0.1:9"
nozzles = ["S01-N01"]
[[stations.devices]]
id = "TAX1"
driver = "tax"
line = "tcp://127.0.0.1:9"
nozzles = ["S01-N01"]
"""
LEDGER = {
    "stations": "station_id,name\nS01,示例一\n",
    "dispensers": "dispenser_id,station_id\nS01-D1,S01\n",
    "tanks": "tank_id,station_id,grade,capacity_l\nS01-T1,S01,92#,30000\n",
    "nozzles": "nozzle_id,dispenser_id,tank_id,grade\nS01-N01,S01-D1,S01-T1,92#\n",
}
PLUGIN = '''
"""A pump that tells a filling when a file says so, and a tax port that answers and has nothing to tell."""

from datetime import timedelta
from pathlib import Path

from pumpwatch import Driver, Reading, Sample, ScanClass, Tag, Transaction, hookimpl

OCCASION = Path(__file__).with_name("occasion")


class Pump(Driver):
    name = "pump"

    def tags(self):
        return [Tag("ticks", scan=ScanClass.FAST)]

    async def read(self, tags, now):
        ticks = [Sample("ticks", 1, now)]
        if not OCCASION.exists():
            return Reading(ticks)
        OCCASION.unlink()
        return Reading(ticks, [Transaction("S01-N01", 1, now - timedelta(minutes=1), now, 30.0, 240.0, 8.0)])


class Tax(Driver):
    name = "tax"
    sale_channels = frozenset({"tax"})

    def tags(self):
        return [Tag("ticks", scan=ScanClass.FAST)]

    async def read(self, tags, now):
        return Reading([Sample("ticks", 1, now)])


@hookimpl
def pumpwatch_drivers():
    return [Pump, Tax]
'''


class Server:
    """``pumpwatch serve`` on one data folder."""

    def __init__(self, folder: Path, wait_for: Callable[..., Any]) -> None:
        self._data = folder / "var"
        command = [sys.executable, "-m", "pumpwatch", "serve", "--data", str(self._data), "--until-stdin-closes"]
        command += ["--config", str(folder / "pumpwatch.toml"), "--plugins-dir", str(folder / "plugins")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "PUMPWATCH_TOKEN": TOKEN})
        self.url = wait_for("server", self._address, 90)

    def _address(self) -> str | None:
        told = json.loads((self._data / "server.json").read_text())
        return told["api"] if told["pid"] == self._process.pid else None

    def ask(self, method: str, route: str, **more: Any) -> Any:
        token = {"Authorization": f"Bearer {TOKEN}"}
        answer = httpx.request(method, f"{self.url}/api/v1{route}", headers=token, timeout=60, **more)
        answer.raise_for_status()
        return answer.json()

    def register(self) -> None:
        for table, text in LEDGER.items():
            self.ask("POST", f"/import/{table}?format=csv", content=text.encode())

    def is_connected(self) -> bool:
        devices = self.ask("GET", "/status")["devices"]
        return bool(devices["connected"] == devices["total"])

    def sales(self) -> list[tuple[int, float | None]]:
        found = self.ask("GET", "/stations/S01/transactions?limit=1000")
        return [(sale["seq"], sale["tax_l"]) for sale in found]

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start(tmp_path: Path, wait_for: Callable[..., Any]) -> Iterator[Callable[[], Server]]:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "two_devices.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "pumpwatch.toml").write_text(CONFIG, encoding="utf-8")
    started: list[Server] = []

    def start() -> Server:
        started.append(Server(tmp_path, wait_for))
        return started[-1]

    yield start
    for server in started:
        server.kill()


def test_what_waits_survives_a_kill(start: Callable[[], Server], tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    server = start()
    server.register()
    wait_for("connection", server.is_connected, 60)
    (tmp_path / "plugins" / "occasion").touch()
    wait_for("waiting filling", lambda: server.sales() == [(1, None)], 20)  # its patience is 25 s
    server.kill()

    server = start()  # the pump does not tell it again
    assert server.sales() == [(1, None)]
