"""Holes that are learnt: whatever a device lacks, all it has is soon read, with hardly a read too many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import Quality, Refused, Site
from pumpwatch.testing import ScriptedLine
from pumpwatch_modbus.driver import ModbusDriver, ModbusSettings
from pumpwatch_modbus.holes import ASKED_AGAIN, Holes
from pumpwatch_modbus.reads import Span, plan

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@st.composite
def maps(draw: st.DrawFn) -> tuple[list[Span], set[int], int]:
    """Values that do not overlap, registers that are missing, and the most a read may take."""
    wanted, place = [], 0
    for gap, size in draw(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=14)):
        wanted.append(Span(place + gap, size))
        place += gap + size
    return wanted, draw(st.sets(st.integers(0, place), max_size=6)), draw(st.integers(4, 40))


def lacks(span: Span, missing: set[int]) -> bool:
    return any(register in missing for register in range(span.first, span.end))


def scan(holes: Holes, wanted: list[Span], missing: set[int], limit: int) -> tuple[tuple[Span, ...], bool]:
    """One round: the reads, and whether one was refused."""
    there = [span for span in wanted if not holes.hide(span)]
    reads = plan(there, limit, (), holes.refusals)
    refused = [read for read in reads if lacks(read, missing)]
    for read in refused:
        holes.refused(read, [span for span in there if read.holds(span)], NOW)
    holes.answered([read for read in reads if read not in refused])
    return reads, bool(refused)


@settings(max_examples=400, deadline=None)
@given(maps())
def test_learning_ends_and_all_that_is_there_is_read(drawn: tuple[list[Span], set[int], int]) -> None:
    wanted, missing, limit = drawn
    holes, before = Holes(), None
    for _ in range(6 * len(wanted) + 6):
        reads, was_refused = scan(holes, wanted, missing, limit)
        if not was_refused and reads == before:
            break
        before = reads
    else:
        raise AssertionError("it never ends")
    there = [span for span in wanted if not lacks(span, missing)]
    assert all(any(read.holds(span) for read in reads) for span in there)
    assert not any(lacks(read, missing) for read in reads)
    fewest = len(plan(there, limit, (), [Span(register, 1) for register in missing]))
    assert fewest <= len(reads) <= fewest + len(missing), "a border may stay that was tried where another read ends now"


def test_all_is_forgotten_after_an_hour() -> None:
    holes = Holes()
    holes.refused(Span(5, 1), [Span(5, 1)], NOW)
    assert holes.hide(Span(4, 2)) and not holes.hide(Span(4, 1))
    assert not holes.forgotten(NOW + ASKED_AGAIN - timedelta(seconds=1))
    assert holes.forgotten(NOW + ASKED_AGAIN) and not holes.hide(Span(4, 2)) and holes.refusals == ()


def device(missing: set[int]) -> ScriptedLine:
    """A unit without these registers; each other holds its address."""

    def answer(request: bytes) -> bytes:
        first, count = int.from_bytes(request[8:10], "big"), int.from_bytes(request[10:12], "big")
        if lacks(Span(first, count), missing):
            return request[:4] + b"\0\3" + bytes([request[6], request[7] | 0x80, 2])
        body = b"".join(register.to_bytes(2, "big") for register in range(first, first + count))
        return request[:4] + (3 + len(body)).to_bytes(2, "big") + request[6:8] + bytes([len(body)]) + body

    return ScriptedLine(answer)


@pytest.fixture
def settings_(tmp_path) -> ModbusSettings:
    tags = "\n".join(f'[[tags]]\nname = "v{n}"\naddress = {3 * n}\ntype = "u16"' for n in range(20))
    (tmp_path / "map.toml").write_text(f'title = "t"\nnozzles = 0\n{tags}', encoding="utf-8")
    return ModbusSettings(map=tmp_path / "map.toml", unit=1)


async def test_one_missing_register_costs_one_tag_and_a_second_request(settings_: ModbusSettings) -> None:
    line = device({30})
    driver = ModbusDriver(settings_, Site("S01", "D1"), line)
    for _ in range(2):
        reading = await driver.read(driver.tags(), NOW)
        values = {s.tag: s.value for s in reading.samples if s.quality.is_good}
        assert values == {f"v{n}": 3 * n for n in range(20) if n != 10}
        assert [s.quality for s in reading.samples if s.tag == "v10"] == [Quality.REFUSED]
    line.asked.clear()
    await driver.read(driver.tags(), NOW)
    assert len(line.asked) == 2


async def test_a_missing_register_between_two_values_costs_no_tag(settings_: ModbusSettings) -> None:
    line = device({31})
    driver = ModbusDriver(settings_, Site("S01", "D1"), line)
    await driver.read(driver.tags(), NOW)
    line.asked.clear()
    reading = await driver.read(driver.tags(), NOW)
    assert [s.value for s in sorted(reading.samples, key=lambda s: int(s.tag[1:]))] == [3 * n for n in range(20)]
    assert len(line.asked) == 2


async def test_a_map_of_nothing_that_is_there_stays_an_error_and_few_questions(settings_: ModbusSettings) -> None:
    line = device(set(range(100)))
    driver = ModbusDriver(settings_, Site("S01", "D1"), line)
    for _ in range(40):
        line.asked.clear()
        with pytest.raises(Refused, match="no such register"):
            await driver.read(driver.tags(), NOW)
        assert 0 < len(line.asked) <= 60
