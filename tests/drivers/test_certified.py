"""Every driver of ours is Gold, by the same kit that ``pumpwatch driver certify`` uses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pumpwatch.testing.certifying import Grade, Subject, certify, library, lines

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
