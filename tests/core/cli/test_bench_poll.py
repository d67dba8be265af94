"""The tools of ``bench poll`` measure what they say."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from pumpwatch import NotReachable
from pumpwatch.cli.benching import poll
from pumpwatch.cli.benching.modbus_server import answers


def question(transaction: int, registers: int = 2) -> bytes:
    return struct.pack(">HHHBBHH", transaction, 0, 6, 1, 3, 0, registers)


def answer(transaction: int) -> bytes:
    return struct.pack(">HHHBBBHH", transaction, 0, 7, 1, 3, 4, 1000, 1001)


def test_every_whole_request_is_answered() -> None:
    assert answers(question(7) + question(8) + question(9)[:5]) == answer(7) + answer(8)
    assert answers(question(7)[:11]) == b""


def test_the_server_answers_requests_however_they_are_cut_and_outlives_who_leaves() -> None:
    with poll._server() as port:
        socket.create_connection(("127.0.0.1", port)).close()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as peer, peer.makefile("rb") as file:
            for piece in (question(1) + question(2)[:3], question(2)[3:], question(3)):
                peer.sendall(piece)
            assert file.read(3 * len(answer(1))) == answer(1) + answer(2) + answer(3)


def test_every_client_is_measured_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pymodbus")
    monkeypatch.setattr(poll, "SECONDS", 0.01)
    monkeypatch.setattr(poll, "STRETCHES", 2)
    one, many = tmp_path / "one.toml", tmp_path / "many.toml"
    poll._write_map(one, 1)
    poll._write_map(many, poll.BLOCKS)
    with poll._server() as port:
        rates = poll._compare(port, one, many)
    assert {len(stretches) for stretches in rates.values()} == {2}
    figures, baselines = poll._ratios(rates)
    assert {"modbus_vs_pymodbus_asyncio", "modbus_pipelined_vs_pymodbus", "bare_socket_vs_pymodbus"} <= set(figures)
    assert all(value > 0 for value in (*figures.values(), *baselines.values()))


def test_ratios_are_taken_side_by_side() -> None:
    rates = {
        "asyncio ours": [poll._Rate(30.0, 60.0), poll._Rate(3.0, 6.0), poll._Rate(8.0, 8.0)],
        "uvloop ours": [poll._Rate(40.0, 80.0), poll._Rate(4.0, 8.0), poll._Rate(16.0, 16.0)],
        "asyncio pymodbus": [poll._Rate(10.0, 20.0), poll._Rate(1.0, 2.0), poll._Rate(4.0, 4.0)],
        "uvloop pymodbus": [poll._Rate(20.0, 40.0), poll._Rate(2.0, 4.0), poll._Rate(4.0, 4.0)],
    }
    figures, baselines = poll._ratios(rates)
    assert figures["modbus_vs_pymodbus_asyncio"] == 3.0
    assert figures["modbus_vs_pymodbus_uvloop"] == 4.0
    assert figures["modbus_uvloop_vs_pymodbus_uvloop"] == 2.0
    assert "modbus_pipelined_vs_pymodbus" not in figures
    assert baselines["pymodbus_block_reads_per_cpu_s"] == 4.0


def test_a_client_that_cannot_begin_says_so(tmp_path: Path) -> None:
    maps = tmp_path / "none.toml", tmp_path / "none.toml"
    with pytest.raises(NotReachable, match="ended with 1"), poll._Client("asyncio", 1, *maps):
        pytest.fail("there is no such map")
