"""The tools of ``bench sim`` measure what they say."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pumpwatch.cli.benching import SUITES, Suite
from pumpwatch.cli.benching.county import County, cpu_s, rss_mib, simulated
from pumpwatch.cli.benching.sim import Line, generated, polled

TINY = """
name = "tiny"
start = 2026-06-01T00:00:00+08:00
days = 2
[stations]
count = 1
"""


def answer(question: bytes) -> bytes:
    """160 bytes of registers for one question."""
    return question[:4] + (163).to_bytes(2, "big") + question[6:8] + bytes([160]) + bytes(160)


def test_every_suite_can_be_measured() -> None:
    assert set(SUITES) == set(Suite)


def test_memory_counts_the_children() -> None:
    grow = "held = bytearray(b'x' * (60 << 20)); print(flush=True); input()"
    before = rss_mib(os.getpid())
    with subprocess.Popen([sys.executable, "-c", grow], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert rss_mib(child.pid) > 60.0
        assert rss_mib(os.getpid()) - before > 60.0
        child.communicate(b"\n")
    assert rss_mib(child.pid) == 0.0
    assert cpu_s(child.pid) == 0.0


def test_processor_time_rises_with_work() -> None:
    before, count = cpu_s(os.getpid()), 0
    while cpu_s(os.getpid()) < before + 0.1:
        count += sum(range(1000))
    assert count > 0


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)


def test_a_station_has_answered_when_all_its_dispensers_have() -> None:
    wire = Wire()
    line = Line([1, 2, 3], wire)
    line.ask(7)
    first, second, third = (wire.written[place : place + 12] for place in (0, 12, 24))
    assert [question[:2] for question in (first, second, third)] == [bytes([7, 1]), bytes([7, 2]), bytes([7, 3])]
    stale = answer(bytes([6]) + second[1:])
    told = answer(first) + stale + answer(third)
    for place in range(0, len(told), 100):
        line.data_received(told[place : place + 100])
    assert line.waiting == {2}
    line.data_received(answer(second))
    assert not line.waiting


@pytest.mark.integration
def test_a_tiny_county_is_made_and_served(tmp_path: Path) -> None:
    fleet = tmp_path / "tiny.toml"
    fleet.write_text(TINY, encoding="utf-8")
    figures = generated(str(fleet))
    assert set(figures) == {"generate_seconds", "generate_peak_rss_mib"}
    assert figures["generate_peak_rss_mib"] > 20
    with simulated(tmp_path / "out", "--fleet", str(fleet)) as county:
        assert isinstance(county, County)
        served, share = asyncio.run(polled(county, 3, warm_up=1))
    assert max(served) == 1
    assert 0 <= share < 1
