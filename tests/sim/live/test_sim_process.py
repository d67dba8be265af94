"""The simulator as a process: its files, its command line, its end."""

from __future__ import annotations

import csv
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
            deadline = time.monotonic() + 20
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


def ended(process: subprocess.Popen[bytes], asked: float) -> tuple[int, str]:
    _, complaints = process.communicate(timeout=5)
    assert time.monotonic() - asked < 5.0
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
        onset = datetime.fromisoformat(truth["items"][0]["onset"])
        assert abs((onset - began).total_seconds()) < 20

        first = rows(tmp_path, "dispensers")[0]
        with socket.create_connection(("127.0.0.1", stations[0]["modbus_port"]), 5) as line:
            line.sendall(bytes.fromhex("0001 0000 0006 01 03 001A 0010"))
            assert line.recv(1024)[9:].hex() == first["firmware_digest"]
            assert process.stdin is not None
            process.stdin.close()
            asked = time.monotonic()
            process.stdin = None
            assert ended(process, asked) == (0, "")
    assert not (tmp_path / "sim.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_a_second_and_without_a_word(tmp_path: Path, number: signal.Signals) -> None:
    with served(tmp_path, "--stations", "3", "--no-cheats") as process:
        assert json.loads((tmp_path / "truth.json").read_text())["items"] == []
        with socket.create_connection(("127.0.0.1", book_of(tmp_path)["control_port"]), 5):  # type: ignore[arg-type]
            process.send_signal(number)
            assert ended(process, time.monotonic()) == (0, "")


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
        process.wait(5)
        assert main(["status", *out]) == 1
        assert "start it again with `serve`" in capsys.readouterr().err


def test_errors_name_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--out", str(tmp_path)]) == 1
    assert "no simulator runs in this folder; start one with `serve --out" in capsys.readouterr().err
    (tmp_path / "sim.json").write_text("{}")
    assert main(["status", "--out", str(tmp_path)]) == 1
    assert "remove it and start the simulator again" in capsys.readouterr().err
    for wrong, words in (
        (["--stations", "47"], "1 to 46 stations"),
        (["--demand", "0"], "--demand 0"),
        (["--us-gauge", "S99"], "no such station"),
    ):
        assert main(["serve", "--out", str(tmp_path), *wrong]) == 1
        assert words in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["serve", "--out", str(tmp_path / "file"), "--stations", "1"]) == 1
    assert "is --out" in capsys.readouterr().err


def test_stdin_that_can_never_close_is_refused(tmp_path: Path) -> None:
    command = [*SIM, "serve", "--out", str(tmp_path), "--stations", "1", "--until-stdin-closes"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
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
