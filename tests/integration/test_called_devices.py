"""A device that calls a running server: what was confirmed survives a kill, what is sent again is there once."""

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

PASSWORD = "not-a-real-one"
TOKEN = "not-a-real-token"
CONFIG = """
[api]
port = 0
token = "env:PUMPWATCH_TOKEN"
[acquisition]
timeout_s = 30
[[stations]]
id = "S01"
[[stations.devices]]
id = "PTS"
driver = "ptsjson"
line = "call:"
nozzles = ["S01-N01"]
tanks = ["S01-T1"]
settings = { user = "s01", password = "env:PTS_PASSWORD", numbers = "nozzle" }
"""


LEDGER = {
    "stations": "station_id,name\nS01,示例一\n",
    "dispensers": "dispenser_id,station_id\nS01-D1,S01\n",
    "tanks": "tank_id,station_id,grade,capacity_l\nS01-T1,S01,92#,30000\n",
    "nozzles": "nozzle_id,dispenser_id,tank_id,grade\nS01-N01,S01-D1,S01-T1,92#\n",
}


class Server:
    """``pumpwatch serve`` on one data folder."""

    def __init__(self, folder: Path, wait_for: Callable[..., Any]) -> None:
        self._data = folder / "var"
        (folder / "pumpwatch.toml").write_text(CONFIG, encoding="utf-8")
        command = [sys.executable, "-m", "pumpwatch", "serve", "--data", str(self._data), "--until-stdin-closes"]
        self._process = subprocess.Popen(
            [*command, "--config", str(folder / "pumpwatch.toml")],
            stdin=subprocess.PIPE,
            env={**os.environ, "PTS_PASSWORD": PASSWORD, "PUMPWATCH_TOKEN": TOKEN},
        )
        self.url = wait_for("server", self._address, 90)

    def _address(self) -> str | None:
        told = json.loads((self._data / "server.json").read_text())
        return told["api"] if told["pid"] == self._process.pid else None

    def bring(self, *numbers: int, auth: httpx.Auth | None = None) -> httpx.Response:
        auth = auth or httpx.DigestAuth("s01", PASSWORD)
        return httpx.post(f"{self.url}/call/S01/PTS", content=fillings(*numbers), auth=auth, timeout=60)

    def ask(self, method: str, route: str, **more: Any) -> Any:
        token = {"Authorization": f"Bearer {TOKEN}"}
        answer = httpx.request(method, f"{self.url}/api/v1{route}", headers=token, timeout=60, **more)
        answer.raise_for_status()
        return answer.json()

    def register(self) -> None:
        for table, text in LEDGER.items():
            self.ask("POST", f"/import/{table}?format=csv", content=text.encode())

    def numbers(self) -> list[int]:
        return [sale["seq"] for sale in self.ask("GET", "/stations/S01/transactions?limit=1000")]

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        assert self._process.wait(60) == 0


def fillings(*numbers: int) -> bytes:
    packets = [
        {
            "Id": number,
            "Type": "UploadPumpTransaction",
            "Data": {
                "DateTimeStart": "2026-09-01T12:00:00",
                "DateTime": f"2026-09-01T12:{number:02}:30",
                "Pump": 1,
                "Nozzle": 1,
                "Transaction": number,
                "Volume": 10.0,
                "Price": 7.5,
                "Amount": 75.0,
                "TotalVolume": 1000.0 + 10 * number,
            },
        }
        for number in numbers
    ]
    return json.dumps({"Protocol": "jsonPTS", "PtsId": "AA", "Packets": packets}).encode()


def confirmed(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [packet["Id"] for packet in answer.json()["Packets"] if packet.get("Message") == "OK"]


@pytest.fixture
def start(tmp_path: Path, wait_for: Callable[..., Any]) -> Iterator[Callable[[], Server]]:
    started: list[Server] = []

    def start() -> Server:
        started.append(Server(tmp_path, wait_for))
        return started[-1]

    yield start
    for server in started:
        server.kill()


def test_what_was_confirmed_survives_a_kill_and_is_there_once(start: Callable[[], Server]) -> None:
    server = start()
    server.register()
    assert confirmed(server.bring(1, 2, 3)) == [1, 2, 3]
    assert server.ask("GET", "/status")["devices"] == {"total": 1, "connected": 1}
    server.kill()

    server = start()
    assert server.numbers() == [3, 2, 1]
    assert confirmed(server.bring(3, 4)) == [3, 4]  # the answer to 3 was lost on the way
    assert server.numbers() == [4, 3, 2, 1]
    assert httpx.post(f"{server.url}/call/S01/PTS", content=fillings(5), timeout=60).status_code == 401
    for auth in (httpx.DigestAuth("s01", "wrong"), httpx.BasicAuth("s01", PASSWORD)):
        assert server.bring(5, auth=auth).status_code == 401
    assert server.numbers() == [4, 3, 2, 1]
    server.stop()
