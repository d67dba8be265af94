"""The simulator as a process: its files, its command line, its end."""

from __future__ import annotations

import csv
import errno
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pumpwatch_sim.__main__ import main
from pumpwatch_sim.dataset.papers import write_json

SIM = [sys.executable, "-W", "default::ResourceWarning", "-m", "pumpwatch_sim"]


@contextmanager
def served(folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [*SIM, "serve", "--out", str(folder), "--until-stdin-closes", *more]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            deadline = time.monotonic() + 60
            while not (folder / "sim.json").exists():
                assert process.poll() is None, process.stderr.read() if process.stderr else b""
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def book_of(folder: Path) -> dict[str, object]:
    book = json.loads((folder / "sim.json").read_text(encoding="utf-8"))
    assert isinstance(book, dict)
    return book


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / "ledger" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, complaints = process.communicate(timeout=60)
    return process.returncode, complaints.decode()


def test_the_whole_county_its_files_and_its_end_when_stdin_closes(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    with served(tmp_path) as process:
        stations = book_of(tmp_path)["stations"]
        assert isinstance(stations, list)
        assert len(stations) == 46
        ports = {book_of(tmp_path)["control_port"]} | {s["modbus_port"] for s in stations}
        ports |= {s["gauge_port"] for s in stations}
        assert len(ports) == 93

        assert [row["station_id"] for row in rows(tmp_path, "stations")] == [s["station_id"] for s in stations]
        assert rows(tmp_path, "stations")[0]["name_en"] == "Demo West 1"
        dispensers = [d["dispenser_id"] for s in stations for d in s["dispensers"]]
        assert [row["dispenser_id"] for row in rows(tmp_path, "dispensers")] == dispensers
        nozzles = [name for s in stations for d in s["dispensers"] for name in d["nozzle_ids"]]
        assert [row["nozzle_id"] for row in rows(tmp_path, "nozzles")] == nozzles
        assert [row["tank_id"] for row in rows(tmp_path, "tanks")] == [t for s in stations for t in s["tank_ids"]]
        assert {row["pulse_l"] for row in rows(tmp_path, "nozzles")} == {"0.01"}

        truth = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
        assert [item["cause"] for item in truth["items"]] == ["short_delivery", "identity_change", "offline_sale"]
        assert [item["scenario"] for item in truth["items"]] == [
            "display_multiplied",
            "mainboard_swapped",
            "hidden_sale",
        ]
        offers = [offer for station in stations for offer in station["lines"]]
        assert {(offer["protocol"], offer["mode"]) for offer in offers} == {("modbus", "poll"), ("tls350", "poll")}
        assert offers[0]["address"] == f"tcp://127.0.0.1:{stations[0]['modbus_port']}"
        assert offers[0]["devices"] == {d["dispenser_id"]: d["unit"] for d in stations[0]["dispensers"]}
        onset = datetime.fromisoformat(truth["items"][0]["onset"])
        assert abs((onset - began).total_seconds()) < 60

        first = rows(tmp_path, "dispensers")[0]
        with socket.create_connection(("127.0.0.1", stations[0]["modbus_port"]), 60) as line:
            line.sendall(bytes.fromhex("0001 0000 0006 01 03 001A 0010"))
            assert line.recv(1024)[9:].hex() == first["firmware_digest"]
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
            assert ended(process) == (0, "")
    assert not (tmp_path / "sim.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_word(tmp_path: Path, number: signal.Signals) -> None:
    with served(tmp_path, "--stations", "3", "--no-cheats") as process:
        assert json.loads((tmp_path / "truth.json").read_text())["items"] == []
        with socket.create_connection(("127.0.0.1", book_of(tmp_path)["control_port"]), 60):  # type: ignore[arg-type]
            process.send_signal(number)
            assert ended(process) == (0, "")


def test_stop_start_and_status_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path, "--stations", "2", "--us-gauge", "S20") as process:
        out = ["--out", str(tmp_path)]
        units = {s["station_id"]: s["gauge_units"] for s in book_of(tmp_path)["stations"]}  # type: ignore[attr-defined]
        assert units == {"S01": "metric", "S20": "us"}
        assert main(["stop", "S20", *out]) == 0
        assert main(["status", *out]) == 0
        stopped, status = map(json.loads, capsys.readouterr().out.splitlines())
        assert stopped == {"ok": True, "station": "S20", "listening": False}
        assert (status["stations"], status["stopped"]) == (2, ["S20"])
        assert main(["start", "S20", *out]) == 0
        assert main(["stop", "S77", *out]) == 1
        assert "S01, S20" in capsys.readouterr().err
        process.kill()
        process.wait(60)
        assert main(["status", *out]) == 1
        assert "start it again with `serve`" in capsys.readouterr().err


def test_faults_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path, "--stations", "2", "--no-cheats"):
        out = ["--out", str(tmp_path)]
        fault = ["fault", "S20", "--protocol", "tls350", "--kind", "garbage", "--share", "0.3", "--for", "60"]
        assert main([*fault, *out]) == 0
        assert main(["fault", "S01", "--kind", "delay", "--delay", "0.5", *out]) == 0
        assert main(["status", *out]) == 0
        set_, delayed, status = map(json.loads, capsys.readouterr().out.splitlines())
        assert (set_["station"], set_["fault"], set_["stations"]) == ("S20", "garbage", ["S20"])
        assert set_["until"] is not None
        assert delayed["until"] is None
        assert [(f["station"], f["protocol"]) for f in status["faults"]] == [("S01", None), ("S20", "tls350")]
        assert main(["clear", "S20", *out]) == 0
        assert json.loads(capsys.readouterr().out) == {"ok": True, "station": "S20", "cleared": 1}
        assert main(["fault", "S20", "--protocol", "dart", "--kind", "jam", *out]) == 1
        assert "no line 'dart'; there are modbus, tls350" in capsys.readouterr().err


def test_a_fleet_file_at_another_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = tmp_path / "two.toml"
    fleet.write_text(
        """
name = "two"
start = 2026-06-01T00:00:00+08:00
days = 7
[stations]
count = 2
[[line]]
protocol = "dart"
wire = "pty"
mode = "tap"
stations = ["S20"]
[[fault]]
station = "S01"
kind = "power_cut"
onset = "PT0S"
""",
        encoding="utf-8",
    )
    out = tmp_path / "out"
    with served(out, "--fleet", str(fleet), "--speed", "3600"):
        first, second = book_of(out)["stations"]  # type: ignore[misc]
        assert {"modbus_port", "gauge_port"} <= set(first)
        assert "modbus_port" not in second
        assert [offer["protocol"] for offer in second["lines"]] == ["dart", "tls350"]
        assert second["lines"][0]["address"].startswith("serial:/dev/")
        assert main(["status", "--out", str(out)]) == 0
        status = json.loads(capsys.readouterr().out)
        assert status["speed"] == 3600
        assert status["at"].startswith("2026-05-31T") or status["at"].startswith("2026-06-0")
        assert status["faults"] == [{"station": "S01", "protocol": None, "kind": "power_cut"}]


def test_generate_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = tmp_path / "one.toml"
    fleet.write_text('name = "one"\nstart = 2026-06-01T00:00:00+08:00\ndays = 1\n[stations]\ncount = 1\n')
    out = tmp_path / "out"
    assert main(["generate", "--fleet", str(fleet), "--out", str(out), "--format", "csv", "--workers", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"]["stations"] == 1
    assert told["rows"]["transactions"] > 50
    assert (out / "transactions.csv").is_file()
    assert main(["generate", "--fleet", str(fleet), "--out", str(out)]) == 1
    assert "choose a new or an empty folder" in capsys.readouterr().err


def test_errors_name_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--out", str(tmp_path)]) == 1
    assert "no simulator runs in this folder; start one with `serve --out" in capsys.readouterr().err
    (tmp_path / "sim.json").write_text("{}")
    assert main(["status", "--out", str(tmp_path)]) == 1
    assert "remove it and start the simulator again" in capsys.readouterr().err
    for wrong, words in (
        (["--stations", "2001"], "1 to 2000 stations"),
        (["--fleet", "demon"], "did you mean 'demo'"),
        (["--speed", "-1"], "--speed -1"),
        (["--demand", "0"], "--demand 0"),
        (["--us-gauge", "S99"], "no such station"),
    ):
        assert main(["serve", "--out", str(tmp_path), *wrong]) == 1
        assert words in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["serve", "--out", str(tmp_path / "file"), "--stations", "1"]) == 1
    assert "is --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (OSError(errno.EMFILE, "Too many open files"), 1, "pumpwatch_sim: [Errno 24] Too many open files\n"),
    ],
)
def test_only_the_folder_s_errors_ask_about_the_folder(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def tell(folder: Path, order: dict[str, object]) -> dict[str, object]:
        raise error

    monkeypatch.setattr("pumpwatch_sim.__main__.tell", tell)
    assert main(["status", "--out", str(tmp_path)]) == code
    assert capsys.readouterr().err == said


def test_stdin_that_can_never_close_is_refused(tmp_path: Path) -> None:
    command = [*SIM, "serve", "--out", str(tmp_path), "--stations", "1", "--until-stdin-closes"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=240, check=False)
    assert done.returncode == 1
    assert b"give it a pipe" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "sim.json"
    write_json(file, {"n": 1})
    before = file.stat().st_ino
    with file.open() as reader:
        write_json(file, {"n": 2})
        assert json.load(reader) == {"n": 1}, "who has the old one open keeps it whole"
    assert json.loads(file.read_text()) == {"n": 2}
    assert file.stat().st_ino != before
    assert list(file.parent.iterdir()) == [file]
