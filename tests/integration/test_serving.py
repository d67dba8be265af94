"""``pumpwatch serve`` as administrators and integrators run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

DRIVER = """
from pumpwatch import Driver, Reading, Sample, Tag, hookimpl

class Thermometer(Driver):
    name = "thermometer"
    def tags(self):
        return [Tag("temperature", "°C")]
    async def read(self, tags, now):
        return Reading([Sample("temperature", 21.5, now)])

@hookimpl
def pumpwatch_drivers():
    return [Thermometer]
"""
CONFIG = """
[api]
port = 0
{token}
[[stations]]
id = "S01"
[[stations.devices]]
id = "T1"
driver = "thermometer"
line = "tcp://127.0.0.1:9"
"""


@pytest.fixture
def serve(tmp_path: Path, wait_for) -> Iterator:
    started = []

    def start(*options: str, token: str = "", **env: str) -> str:
        config = tmp_path / "pumpwatch.toml"
        config.write_text(CONFIG.format(token=token), encoding="utf-8")
        command = [sys.executable, "-m", "pumpwatch", "serve", "--data", str(tmp_path / "var"), "--config", str(config)]
        process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, env={**os.environ, **env})
        started.append(process)
        told = wait_for("server", lambda: json.loads((tmp_path / "var" / "server.json").read_text()), 30)
        return told["api"] + "/api/v1"

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 0, said
        assert "Traceback" not in said
    assert not (tmp_path / "var" / "server.json").exists()


def test_a_one_file_driver_reads_and_a_broken_one_is_listed(serve, tmp_path: Path, wait_for) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "thermometer.py").write_text(DRIVER, encoding="utf-8")
    (folder / "broken.py").write_text("import no_such_thing", encoding="utf-8")
    api = serve("--plugins-dir", str(folder))
    wait_for("reading", lambda: httpx.get(f"{api}/latest").json()[0]["value"] == 21.5, 20)
    found = {p["name"]: p for p in httpx.get(f"{api}/plugins").json()}
    assert found["thermometer"]["state"] == "loaded"
    assert found["broken"]["state"] == "failed"
    assert "no_such_thing" in found["broken"]["reason"]
    assert httpx.get(f"{api}/status").json()["devices"] == {"total": 1, "connected": 1}


def test_a_token_is_asked_for_when_there_is_one(serve, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "thermometer.py").write_text(DRIVER, encoding="utf-8")
    secret = "not-a-real-secret"
    api = serve(
        "--plugins-dir", str(tmp_path / "plugins"), token='token = "env:PUMPWATCH_TOKEN"', PUMPWATCH_TOKEN=secret
    )
    assert httpx.get(f"{api}/status").status_code == 401
    assert httpx.get(f"{api}/status", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
