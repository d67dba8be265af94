"""However many processes judge, they say one thing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from pumpwatch.cli.evaluating.judging import jury
from pumpwatch.cli.evaluating.simulated import simulated
from pumpwatch.engine import RuleBook
from pumpwatch.evaluation import run, score
from pumpwatch.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

FLEET = """
name = "small"
seed = 4
start = 2026-06-01T00:00:00+08:00
days = 6

[stations]
count = 2
tank_reading_minutes = 30
demand = 0.4

[[scenario]]
name = "F01"
onset = "P2D"

[[scenario]]
name = "T03"
onset = "P3D"
"""


@pytest.mark.timeout(300)
def test_two_processes_say_what_one_says(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(FLEET, encoding="utf-8")
    judge = partial(jury, RuleBook(Settings()).choose(("pulse_ratio", "totalizer_continuity")))
    alone, together = (score(run(simulated([str(file)], [], []), judge, workers)) for workers in (1, 2))
    assert together == alone
    assert alone["overall"]["in_time"]["found"] == 2
