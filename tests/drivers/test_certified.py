"""Every driver of ours is Gold, by the same kit that ``pumpwatch driver certify`` uses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from pumpwatch import BadReply, Line, PluginSettings, Reading, Site, Tag, Transaction
from pumpwatch.testing.certifying import RULES, Grade, Subject, certify, library, lines, listening
from pumpwatch_lanfeng import LanfengDriver

SHELF = Path(__file__).parents[2] / "drivers"
NAMES = sorted(folder.name.removeprefix("pumpwatch_") for folder in SHELF.glob("pumpwatch_*"))


@pytest.fixture(autouse=True)
def fewer_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command damages replies at more places; here the same is done at some of them."""
    monkeypatch.setattr(lines, "MOST_DAMAGED", 6)
    monkeypatch.setattr(library, "MOST_DAMAGED", 2)


@pytest.mark.parametrize("name", NAMES)
async def test_our_driver_is_gold(name: str) -> None:
    for subject in Subject.load(SHELF / f"pumpwatch_{name}"):
        certificate = await certify(subject)
        assert [(verdict.rule, verdict.broken) for verdict in certificate.verdicts if verdict.broken] == []
        assert certificate.grade is Grade.GOLD
        assert len([verdict for verdict in certificate.verdicts if not verdict.skipped]) >= 10
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_none_is_left_out() -> None:
    assert NAMES == ["dart", "ifsf", "lanfeng", "modbus", "opcua", "ptsjson", "taxport", "tls350", "twowire"]


class Mortal(LanfengDriver):
    """Never works again once it was cancelled at its second question or later."""

    def __init__(self, settings: PluginSettings, site: Site, line: Line) -> None:
        super().__init__(settings, site, line)
        self.dead = False
        self.asked = 0

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        if self.dead:
            raise BadReply("dead for ever")
        self.asked, line, self.line = 0, self.line, self  # type: ignore[assignment]
        self.wire = line
        try:
            return await super().read(tags, now)
        finally:
            self.line = line

    async def ask(self, request: bytes, complete: Callable[[bytes], int]) -> bytes:
        """As the line's own."""
        self.asked += 1
        try:
            return await self.wire.ask(request, complete)
        except asyncio.CancelledError:
            self.dead = self.asked > 1
            raise


class Slow(LanfengDriver):
    """Thinks long about what it has heard."""

    thought = False

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        began = time.thread_time()
        while not self.thought and time.thread_time() < began + 0.2:
            pass
        self.thought = True
        return await super().read(tags, now)


class Counting(LanfengDriver):
    """Numbers what it tells from the first number on, which it makes of the time."""

    last: int | None = None

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        reading = await super().read(tags, now)
        records = list(reading.records)
        for place, record in enumerate(records):
            if isinstance(record, Transaction):
                self.last = int(now.timestamp()) if self.last is None else self.last + 1
                records[place] = replace(record, seq=self.last)
        return Reading(reading.samples, records)


@pytest.mark.parametrize(
    ("kind", "names", "says"),
    [
        (Mortal, ("cancellation",), "cancelled at question 2, then: BadReply: dead for ever"),
        (Slow, ("short_work", "noise"), "s of work for"),
        (Counting, ("repeated",), "by itself"),
    ],
)
async def test_a_fault_that_shows_later_is_found(
    kind: type[LanfengDriver], names: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "LINE_SHARE", 0.0)
    (subject,) = Subject.load(SHELF / "pumpwatch_lanfeng")
    rules = [rule for rule in RULES if rule.name in names]
    certificate = await certify(replace(subject, kind=kind), rules=rules)
    assert [verdict.rule for verdict in certificate.verdicts if says in " ".join(verdict.broken)] == [
        rule.name for rule in rules
    ]
    assert len(rules) == len(names)
