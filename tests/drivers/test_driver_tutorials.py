"""The tutorials for integrators do what they say, over a real TCP connection and a pseudo-terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import tty
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pumpwatch import Site
from pumpwatch.engine import wire
from pumpwatch.line import WireLine
from pumpwatch.plugins import Plugins
from pumpwatch.settings import LineAddress, load_settings
from pumpwatch.testing import ReplayDevice, TestCase
from pumpwatch.testing.certifying import Grade, Subject, certify

DOCS = Path(__file__).parents[2] / "docs" / "tutorials"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


async def test_a_new_dispenser_without_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_map, config, expected = blocks("a-new-dispenser-without-code.md", "toml")
    (recorded := tmp_path / "recorded").mkdir()
    (recorded / "capture.hex").write_text(blocks("a-new-dispenser-without-code.md", "hex")[0])
    (recorded / "expected.toml").write_text(expected)
    (tmp_path / "acme.toml").write_text(register_map, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    device = ReplayDevice(TestCase.load(recorded))
    async with device.on_tcp() as address:
        (tmp_path / "my.toml").write_text(config.replace("tcp://192.168.1.20:502", address), encoding="utf-8")
        wiring = wire(load_settings(tmp_path / "my.toml"), Plugins.discover(), tmp_path)
        driver = wiring.devices[0].driver
        reading = await driver.read(driver.tags(), datetime.now(UTC))
        for line in wiring.lines:
            line.close()
    assert {sample.tag.removeprefix("nozzle-1."): sample.value for sample in reading.samples} == {
        "state": 3,
        "volume": 20.51,
        "amount": 166.54,
        "totalizer": 1234.56,
    }
    assert len(device.asked) == 1


@pytest.fixture
def sixty(tmp_path: Path) -> Path:
    page = "a-serial-driver-in-sixty-lines.md"
    (case := tmp_path / "sixty" / "testcases" / "two-nozzles").mkdir(parents=True)
    (case / "capture.hex").write_text(blocks(page, "hex")[0])
    (case / "expected.toml").write_text(blocks(page, "toml")[0])
    file = tmp_path / "sixty" / "acme.py"
    file.write_text(blocks(page, "python")[0], encoding="utf-8")
    return file


def test_a_serial_driver_has_sixty_lines(sixty: Path) -> None:
    assert len([line for line in sixty.read_text(encoding="utf-8").splitlines() if line.strip()]) <= 60


async def test_a_serial_driver_in_sixty_lines_is_gold(sixty: Path) -> None:
    (subject,) = Subject.load(sixty)
    certificate = await certify(subject)
    assert [verdict for verdict in certificate.verdicts if verdict.broken] == []
    assert certificate.grade is Grade.GOLD


@contextlib.contextmanager
def dispenser(case: TestCase) -> Iterator[str]:
    """The recorded dispenser at the other end of a pseudo-terminal."""
    theirs, ours = pty.openpty()
    tty.setraw(theirs)
    tty.setraw(ours)
    loop = asyncio.get_running_loop()
    loop.add_reader(theirs, lambda: os.write(theirs, case.answer(os.read(theirs, 64)) or b""))
    try:
        yield f"serial:{os.ttyname(ours)}?baud=9600"
    finally:
        loop.remove_reader(theirs)
        os.close(theirs)
        os.close(ours)


async def test_it_reads_a_serial_port(sixty: Path) -> None:
    kind = Plugins.discover((), sixty.parent).driver("acme")
    case = TestCase.load(sixty.parent / "testcases" / "two-nozzles")
    with dispenser(case) as address:
        line = WireLine(LineAddress.parse(address))
        driver = kind(kind.Settings(), Site("S01", "D1", nozzle_ids=("S01-N01", "S01-N02")), line)
        async with asyncio.timeout(10):
            reading = await driver.read(driver.tags(), case.now)
        line.close()
    assert case.differences(reading) == []
