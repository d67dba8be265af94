"""``pumpwatch serve`` as administrators and integrators run it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.integration

get = partial(httpx.get, timeout=30)
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
        told = wait_for("server", lambda: json.loads((tmp_path / "var" / "server.json").read_text()), 90)
        return told["api"] + "/api/v1"

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "Traceback" not in said
    assert not (tmp_path / "var" / "server.json").exists()


def pumpwatch(*words: str, token: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pumpwatch", *words]
    env = {**os.environ, "PUMPWATCH_TOKEN": token}
    told = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=env)
    assert told.returncode == code, told.stderr
    assert "Traceback" not in told.stderr
    return told


def county(folder: Path) -> Path:
    """A data set of every kind of file: a workbook, CSV, Parquet."""
    folder.mkdir()
    book = openpyxl.Workbook()
    for name, rows in {
        "stations": [("station_id", "name"), ("S01", "示例一"), ("S02", "示例二")],
        "tanks": [("tank_id", "station_id", "grade", "capacity_l"), ("S01-T1", "S01", "92#", 30000)],
    }.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    del book["Sheet"]
    book.save(folder / "ledger.xlsx")
    times = [
        f"2026-03-{day:02}T{hour:02}:{minute:02}:00Z"
        for day in range(1, 29)
        for hour in range(24)
        for minute in (0, 30)
    ]
    heights = [1500.0 - i / 2 for i in range(len(times))]
    table = pa.table({"tank_id": ["S01-T1"] * len(times), "time": times, "height_mm": heights})
    pq.write_table(table, folder / "tank_readings.parquet")
    events = "time,station_id,device_id,kind,detail\n2026-03-01T01:00:00Z,S01,T1,link,\n"
    (folder / "device_events.csv").write_text(events, encoding="utf-8")
    (folder / "notes.csv").write_text("a,b\n", encoding="utf-8")
    return folder


def test_a_one_file_driver_reads_and_a_broken_one_is_listed(serve, tmp_path: Path, wait_for) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "thermometer.py").write_text(DRIVER, encoding="utf-8")
    (folder / "broken.py").write_text("import no_such_thing", encoding="utf-8")
    api = serve("--plugins-dir", str(folder))
    wait_for("reading", lambda: get(f"{api}/latest").json()[0]["value"] == 21.5, 60)
    found = {p["name"]: p for p in get(f"{api}/plugins").json()}
    assert found["thermometer"]["state"] == "loaded"
    assert found["broken"]["state"] == "failed"
    assert "no_such_thing" in found["broken"]["reason"]
    assert get(f"{api}/status").json()["devices"] == {"total": 1, "connected": 1}


def test_a_token_is_asked_for_when_there_is_one(serve, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "thermometer.py").write_text(DRIVER, encoding="utf-8")
    secret = "not-a-real-secret"
    api = serve(
        "--plugins-dir", str(tmp_path / "plugins"), token='token = "env:PUMPWATCH_TOKEN"', PUMPWATCH_TOKEN=secret
    )
    assert get(f"{api}/status").status_code == 401
    assert get(f"{api}/status", headers={"Authorization": f"Bearer {secret}"}).status_code == 200


def test_import_and_export_go_through_the_server_that_holds_the_folder(serve, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "thermometer.py").write_text(DRIVER, encoding="utf-8")
    folder, secret = county(tmp_path / "in"), "not-a-real-secret"
    held, free = ("--data", str(tmp_path / "var")), ("--data", str(tmp_path / "free"))
    alone = json.loads(pumpwatch("import", str(folder), *free, "--json").stdout)
    pumpwatch("export", str(tmp_path / "out-alone"), *free, "--format", "csv")
    api = serve(
        "--plugins-dir", str(tmp_path / "plugins"), token='token = "env:PUMPWATCH_TOKEN"', PUMPWATCH_TOKEN=secret
    )
    assert "wants its token" in pumpwatch("import", str(folder), *held, code=1).stderr
    through = json.loads(pumpwatch("import", str(folder), *held, "--json", token=secret).stdout)
    assert through == alone
    assert [t["table"] for t in through["tables"]] == ["stations", "tanks", "tank_readings", "device_events"]
    assert through["others"] == ["notes.csv"]
    again = json.loads(pumpwatch("import", str(folder), *held, "--json", token=secret).stdout)
    assert {(t["added"], t["changed"], t["rejected"]) for t in again["tables"]} == {(0, 0, 0)}
    told = get(f"{api}/stations/S01", headers={"Authorization": f"Bearer {secret}"}).json()
    assert (told["name"], [t["tank_id"] for t in told["tanks"]]) == ("示例一", ["S01-T1"])
    pumpwatch("export", str(tmp_path / "out"), *held, "--format", "csv", token=secret)
    alone_files, files = ({p.name: p.read_bytes() for p in (tmp_path / o).iterdir()} for o in ("out-alone", "out"))
    assert files.keys() == alone_files.keys()
    differing = {name for name, content in files.items() if content != alone_files[name]}
    assert differing <= {"device_events.csv"}  # the running server adds what its devices say
    span = ("--table", "tank_readings", "--from", "2026-03-28T00:00:00+00:00", "--format", "csv", "--json")
    some = json.loads(pumpwatch("export", str(tmp_path / "some"), *held, *span, token=secret).stdout)
    assert some == [{"table": "tank_readings", "file": "tank_readings.csv", "rows": 48}]


def test_what_is_wrong_is_told_as_without_a_server(serve, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "thermometer.py").write_text(DRIVER, encoding="utf-8")
    folder = county(tmp_path / "in")
    (folder / "device_events.csv").write_text("time,station_id,device_id,kind\nnever,S01,T1,link\n", encoding="utf-8")
    (folder / "declarations.csv").write_text("", encoding="utf-8")
    (folder / "tank_charts.parquet").write_bytes(b"PAR1" * 9)
    (folder / "tank_readings.csv").write_text("twice", encoding="utf-8")
    alone = pumpwatch("import", str(folder), "--data", str(tmp_path / "free"), code=1)
    api = serve("--plugins-dir", str(tmp_path / "plugins"))
    held = ("--data", str(tmp_path / "var"))
    through = pumpwatch("import", str(folder), *held, code=1)
    assert through.stdout == alone.stdout
    told = "".join(alone.stderr.split()).replace(str(tmp_path / "free"), str(tmp_path / "var"))
    assert "".join(through.stderr.split()) == told
    assert (tmp_path / "var" / "rejects" / "device_events.rejects.csv").is_file()
    assert (
        "there is no table fish" in pumpwatch("export", str(tmp_path / "out"), *held, "--table", "fish", code=1).stderr
    )
    host, port = api.removeprefix("http://").removesuffix("/api/v1").split(":")
    with socket.create_connection((host, int(port))) as broken_off:
        head = f"POST /api/v1/import/stations?format=csv HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n"
        broken_off.sendall(head.encode() + b"station_id,name\nS88,x\n")
    assert get(f"{api}/stations/S88").status_code == 404
    answer = httpx.post(
        f"{api}/import/stations", params={"format": "csv"}, timeout=30, content="station_id,name\nS89,x\n"
    )
    assert answer.json()["added"] == 1
    exported = get(f"{api}/export/stations", params={"format": "csv"}).text
    assert "S89" in exported
    assert "S88" not in exported
