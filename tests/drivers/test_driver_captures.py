"""Captured exchanges as folders: each is played to its driver and must give what its ``expected.toml`` says.

A folder ``testcases/DRIVER/NAME`` holds

``capture.hex``
    Lines of hex: ``>`` what is sent, then ``<`` what comes back; ``#`` begins a remark. A reply may take several lines.
    A request that is not listed is refused, as a real device refuses what it does not know. Modbus TCP transaction
    ids are those of the capture; they are moved to those that the driver uses.

``expected.toml``
    ``now``, ``[settings]`` and ``[site]`` (nozzles, tanks) of the device, ``read`` (tags to ask for; all if it is left
    out), then what must come: ``[samples]`` (tag to value), ``[qualities]`` (of all samples that are not GOOD),
    ``[at]`` (tag to time), ``[[records]]`` (all, in order: kind and any of their fields), or ``[error]`` with kind and
    a part of its text.
"""

from __future__ import annotations

import asyncio
import math
import tomllib
from datetime import datetime
from pathlib import Path

import pytest

from pumpwatch import Driver, PumpwatchError, Quality, Record, Sample, Site
from pumpwatch.testing import ScriptedLine
from pumpwatch_modbus import ModbusDriver, ModbusSettings
from pumpwatch_modbus.codec import crc
from pumpwatch_tls350 import Tls350Driver, Tls350Settings

HERE = Path(__file__).parent / "testcases"
CASES = sorted(path.parent for path in HERE.glob("*/*/expected.toml"))
DRIVERS = {"modbus": (ModbusDriver, ModbusSettings), "tls350": (Tls350Driver, Tls350Settings)}


def capture(path: Path) -> list[tuple[bytes, bytes]]:
    """The exchanges of a capture."""
    exchanges: list[tuple[bytes, bytes]] = []
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith(">"):
            exchanges.append((bytes.fromhex(text[1:]), b""))
        elif text:
            request, reply = exchanges[-1]
            exchanges[-1] = (request, reply + bytes.fromhex(text.removeprefix("<")))
    return exchanges


def answer_tls350(request: bytes, exchanges: list[tuple[bytes, bytes]]) -> bytes:
    return dict(exchanges).get(request, b"\x019999FF1B\x03")


def answer_rtu(request: bytes, exchanges: list[tuple[bytes, bytes]]) -> bytes:
    refusal = bytes([request[0], request[1] | 0x80, 2])
    return dict(exchanges).get(request, refusal + crc(refusal))


def answer_tcp(request: bytes, exchanges: list[tuple[bytes, bytes]]) -> bytes:
    for asked, reply in exchanges:
        if asked[2:] == request[2:]:
            return moved(reply, int.from_bytes(request[:2], "big") - int.from_bytes(asked[:2], "big"))
    return request[:2] + bytes([0, 0, 0, 3, request[6], request[7] | 0x80, 2])


def moved(reply: bytes, by: int) -> bytes:
    """Modbus TCP frames with their transactions moved; what is none stays as it is."""
    frames = b""
    while len(reply) >= 6:
        size = 6 + int.from_bytes(reply[4:6], "big")
        frames += ((int.from_bytes(reply[:2], "big") + by) & 0xFFFF).to_bytes(2, "big") + reply[2:size]
        reply = reply[size:]
    return frames + reply


def line_of(case: Path, expected: dict, chunk: int) -> ScriptedLine:
    exchanges = capture(case / "capture.hex")
    rtu = expected.get("settings", {}).get("framing") == "rtu"
    answer = answer_tls350 if case.parent.name == "tls350" else answer_rtu if rtu else answer_tcp
    return ScriptedLine(lambda request: answer(request, exchanges), chunk=chunk)


def driver_of(case: Path, expected: dict, chunk: int) -> Driver:
    make, settings = DRIVERS[case.parent.name]
    where = expected.get("site", {})
    site = Site("S01", "D1", "S01-D1", tuple(where.get("nozzles", ())), tuple(where.get("tanks", ())))
    return make(settings.model_validate(expected.get("settings", {})), site, line_of(case, expected, chunk))


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize("case", CASES, ids=[f"{case.parent.name}/{case.name}" for case in CASES])
async def test_capture(case: Path, chunk: int) -> None:
    expected = tomllib.loads((case / "expected.toml").read_text())
    driver = driver_of(case, expected, chunk)
    tags = [tag for tag in driver.tags() if tag.name in expected.get("read", [tag.name])]
    assert len(tags) == len(expected.get("read", tags))
    error: Exception | None = None
    try:
        async with asyncio.timeout(0.2):
            reading = await driver.read(tags, expected["now"])
    except (PumpwatchError, TimeoutError) as raised:
        error = raised
    if "error" in expected:
        assert type(error).__name__ == expected["error"]["kind"]
        assert expected["error"]["says"] in str(error)
    else:
        assert error is None
        check_samples(list(reading.samples), expected)
        check_records(list(reading.records), expected.get("records", []))


def check_samples(samples: list[Sample], expected: dict) -> None:
    found = {sample.tag: sample for sample in samples}
    for tag, value in expected.get("samples", {}).items():
        given = found[tag].value
        assert given == pytest.approx(value, rel=1e-6) if isinstance(value, float) else given == value, tag
    bad = {tag: sample.quality.name for tag, sample in found.items() if sample.quality is not Quality.GOOD}
    assert bad == expected.get("qualities", {})
    for tag, at in expected.get("at", {}).items():
        assert found[tag].at == at


def check_records(records: list[Record], expected: list[dict]) -> None:
    assert [type(record).__name__ for record in records] == [wanted["kind"] for wanted in expected]
    for record, wanted in zip(records, expected, strict=True):
        for name, value in wanted.items():
            if name == "kind":
                continue
            given = getattr(record, name.removesuffix("_hex"))
            if isinstance(value, float) and isinstance(given, float):
                assert math.isclose(given, value, rel_tol=1e-6), name
            elif name.endswith("_hex"):
                assert given == bytes.fromhex(value), name
            elif name == "detail":
                assert value.items() <= given.items()
            else:
                assert given == value or (isinstance(given, datetime) and given == value), name


def test_every_vector_of_the_manual_is_there() -> None:
    """Checksums of the manual's examples and of a real console's alarm."""
    captures = b"".join(reply for case in CASES for _, reply in capture(case / "capture.hex"))
    assert [c for c in ("E1E8", "EF20", "FB2B", "FA6B", "E650", "FB3B") if b"&&" + c.encode() not in captures] == []
