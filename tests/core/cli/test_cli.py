"""The command line as people and programs use it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pumpwatch.canonical import hold

GOOD = """
[[stations]]
id = "S01"
[[stations.devices]]
id = "D1"
driver = "modbus"
line = "tcp://127.0.0.1:502"
nozzles = ["S01-N01"]
settings = { brand = "generic-4", unit = 1 }
"""


def pumpwatch(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error::DeprecationWarning:pumpwatch", "-m", "pumpwatch", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_check_names_three_mistakes_with_line_and_remedy(tmp_path: Path) -> None:
    """One only the text shows, one only the model, one only a plugin."""
    wrong = (
        GOOD.replace('line = "tcp://127.0.0.1:502"', 'line = "tpc://127.0.0.1:502"')
        .replace('brand = "generic-4"', 'brand = "generic-5"')
        .replace("[[stations]]", "[acquisition]\nfast = 1\n[[stations]]", 1)
    )
    file = tmp_path / "wrong.toml"
    file.write_text(wrong, encoding="utf-8")
    told = pumpwatch("check", str(file))
    assert told.returncode == 1
    lines = wrong.splitlines()
    for number, text in enumerate(lines, 1):
        for mistake, remedy in (("fast = 1", "fast_s"), ("tpc://", "tcp://"), ("generic-5", "generic-4")):
            if mistake in text:
                line = next(t for t in told.stderr.splitlines() if f"wrong.toml:{number}:" in t)
                assert remedy in line
    assert "3 problems" in told.stderr
    machine = json.loads(pumpwatch("check", str(file), "--json").stdout)
    assert not machine["ok"]
    assert len(machine["problems"]) == 3
    assert all(p["line"] and p["remedy"] for p in machine["problems"])


def test_check_of_a_right_configuration(tmp_path: Path) -> None:
    file = tmp_path / "right.toml"
    file.write_text(GOOD, encoding="utf-8")
    told = pumpwatch("check", str(file))
    assert told.returncode == 0, told.stderr
    assert "1 station, 1 device" in told.stdout


def test_the_server_starts_without_a_broken_plugin_and_lists_it(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_thing", encoding="utf-8")
    told = pumpwatch("plugins", "--plugins-dir", str(tmp_path), "--json")
    assert told.returncode == 0
    broken = next(p for p in json.loads(told.stdout) if p["name"] == "broken")
    assert broken["state"] == "failed"
    assert "no_such_thing" in broken["reason"]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("status", "--data", "{tmp}"), "pumpwatch serve"),
        (("serve", "--data", "{tmp}"), "--config FILE"),
        (("serve", "--config", "{tmp}/none.toml"), "no such file"),
        (("import", "{tmp}/none"), "no such folder"),
        (("status", "--port", "9"), "still running"),
        (("export", "{tmp}/out", "--data", "{tmp}/none"), "no such folder"),
        (("export", "{tmp}/out", "--data", "{tmp}", "--from", "2026-03-01"), "has no offset"),
        (("export", "{tmp}/out", "--data", "{tmp}", "--to", "noon"), "is no time"),
        (("export", "{tmp}/out", "--data", "{tmp}", "--table", "pumps"), "there is no table pumps"),
    ],
)
def test_errors_are_one_clear_message(tmp_path: Path, words: tuple[str, ...], remedy: str) -> None:
    told = pumpwatch(*(w.format(tmp=tmp_path) for w in words))
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert remedy in " ".join(told.stderr.split())


def test_import_tells_what_it_did_and_what_it_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "stations.csv").write_text(
        "station_id,name,ownership\nS01,示例一站,private\nS02,示例二站,nobody's\n", encoding="utf-8"
    )
    told = pumpwatch("import", str(tmp_path / "in"), "--data", str(tmp_path / "var"), "--json")
    assert told.returncode == 1
    report = json.loads(told.stdout)
    assert report["tables"] == [{"table": "stations", "added": 1, "changed": 0, "unchanged": 0, "rejected": 1}]
    assert report["problems"][0]["line"] == 3
    again = json.loads(pumpwatch("import", str(tmp_path / "in"), "--data", str(tmp_path / "var"), "--json").stdout)
    assert again["tables"][0]["unchanged"] == 1
    assert (tmp_path / "var" / "rejects" / "stations.rejects.csv").is_file()


def test_a_county_goes_in_and_comes_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tables = {
        "stations": "station_id,name\nS01,示例\n",
        "tanks": "tank_id,station_id,grade,capacity_l\nS01-T1,S01,92#,1\n",
        "tank_readings": "tank_id,time,height_mm\nS01-T1,2026-03-01T01:00:00Z,1\nS01-T1,2026-03-02T01:00:00Z,2\n",
    }
    for name, text in tables.items():
        (tmp_path / "in" / f"{name}.csv").write_text(text, encoding="utf-8")
    data, out = str(tmp_path / "var"), tmp_path / "out"
    report = json.loads(pumpwatch("import", str(tmp_path / "in"), "--data", data, "--json").stdout)
    assert {t["table"]: t["added"] for t in report["tables"]} == {"stations": 1, "tanks": 1, "tank_readings": 2}
    words = ("export", str(out), "--data", data, "--format", "csv", "--from", "2026-03-02T00:00:00+08:00", "--json")
    told = pumpwatch(*words, "--table", "tank_readings", "--table", "stations")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == [
        {"table": "stations", "file": "stations.csv", "rows": 1},
        {"table": "tank_readings", "file": "tank_readings.csv", "rows": 1},
    ]
    assert sorted(path.name for path in out.iterdir()) == ["stations.csv", "tank_readings.csv"]


@pytest.mark.parametrize("left", [None, {"pid": 1, "api": "http://127.0.0.1:9"}], ids=["nothing", "killed server"])
def test_nothing_is_imported_while_somebody_holds_the_folder(tmp_path: Path, left: dict[str, Any] | None) -> None:
    (tmp_path / "in").mkdir()
    with hold(tmp_path / "var"):
        if left:
            (tmp_path / "var" / "server.json").write_text(json.dumps(left), encoding="utf-8")
        for words in (("import", str(tmp_path / "in")), ("export", str(tmp_path / "out"))):
            told = pumpwatch(*words, "--data", str(tmp_path / "var"))
            assert told.returncode == 1
            assert "is held by a running pumpwatch; stop it first" in " ".join(told.stderr.split())
    assert {path.name for path in (tmp_path / "var").iterdir()} - {"server.json"} == {"lock"}
    assert not (tmp_path / "out").exists()


def test_a_demo_does_not_take_the_folder_of_a_server_that_is_too_busy_to_answer(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        running = {"pid": 1, "api": f"http://127.0.0.1:{deaf.getsockname()[1]}"}
        for name, text in {"demo.json": "{}", "server.json": json.dumps(running), "ledger.sqlite": "precious"}.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        with hold(tmp_path):
            told = pumpwatch("demo", "--data", str(tmp_path), "--no-browser", "--port", "1")
    assert told.returncode == 1
    assert "choose another folder" in " ".join(told.stderr.split())
    assert (tmp_path / "ledger.sqlite").read_text() == "precious"


def test_help_lists_every_command() -> None:
    told = pumpwatch("--help").stdout
    for command in ("demo", "serve", "check", "status", "sim", "plugins", "tags", "watch", "import", "export", "bench"):
        assert command in told
