"""Completeness of an imported county against what the simulator knows to have happened, station by station."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pumpwatch.cli import app
from pumpwatch_sim.dataset.generate import generate
from pumpwatch_sim.fleet import load_fleet
from pumpwatch_sim.staging import stage
from pumpwatch_sim.world.collecting import collect
from pumpwatch_sim.world.timeline import OutageKind

pytestmark = pytest.mark.integration

FLEET = """
name = "small"
seed = 11
start = "2026-03-02T00:00:00+08:00"
days = 12
[stations]
count = 3
[[scenario]]
name = "collector_unplugged"
station = "S01"
onset = "P2D"
[[scenario]]
name = "large_sales_lost"
station = "S43"
onset = "P1D"
"""
START = datetime(2026, 3, 1, 16, tzinfo=UTC)
DAYS = 12


def truth(fleet: Path) -> tuple[Counter[str], Counter[str], Counter[str], Counter[str]]:
    """By station: sales that were numbered and those that came; readings due and those that came.

    The simulator's own account, and no file of it: what a nozzle numbered after the last of its sales that came cannot
    be known to have been, and does not count.
    """
    staging = stage(load_fleet(fleet), START)
    counted = [Counter[str]() for _ in range(4)]
    numbered, came, due, read = counted
    for station in staging.county.stations:
        name = station.station_id
        numbers: dict[int, list[int]] = {}
        seen: dict[int, set[int]] = {}
        for timeline in staging.timelines(name):
            if timeline.start_us >= staging.end_us:
                break
            records = collect(timeline, staging.fleet.stations, staging.fleet.seed, staging.of(name))
            sales = timeline.sales
            inside = (sales.end_us >= staging.start_us) & (sales.end_us < staging.end_us) & sales.recorded
            for nozzle, number in zip(sales.nozzle[inside].tolist(), sales.seq[inside].tolist(), strict=True):
                numbers.setdefault(nozzle, []).append(number)
            told = records.transactions
            mine = (told["end"] >= staging.start_us) & (told["end"] < staging.end_us)
            for nozzle, number in zip(told["nozzle"][mine].tolist(), told["seq"][mine].tolist(), strict=True):
                seen.setdefault(nozzle, set()).add(number)
            step_us = staging.fleet.stations.tank_reading_minutes * 60_000_000
            times = np.arange(timeline.start_us // step_us * step_us, timeline.end_us, step_us, dtype=np.int64)
            times = times[(times >= max(timeline.start_us, staging.start_us)) & (times < staging.end_us)]
            due[name] += len(times) * len(timeline.tanks)
            away = np.zeros(len(times), bool)
            for outage in timeline.outages:
                if not outage.devices and not (outage.kind is OutageKind.NETWORK and outage.backfilled):
                    away |= (times >= outage.start_us) & (times < outage.end_us)
            read[name] += int((~away).sum()) * len(timeline.tanks)
        for nozzle, those in seen.items():
            came[name] += len(those)
            numbered[name] += sum(min(those) <= number <= max(those) for number in numbers[nozzle])
    return numbered, came, due, read


def test_it_is_what_the_simulator_knows(tmp_path: Path) -> None:
    fleet = tmp_path / "small.toml"
    fleet.write_text(FLEET, encoding="utf-8")
    generate(fleet, tmp_path / "set", workers=1)
    data = ("--data", str(tmp_path / "var"), "--json")
    run = CliRunner().invoke
    assert run(app, ["import", str(tmp_path / "set"), *data]).exit_code == 0
    day = START + timedelta(hours=8)
    span = ("--from", f"{day:%Y-%m-%d}", "--to", f"{day + timedelta(DAYS):%Y-%m-%d}")
    told = run(app, ["completeness", *span, *data])
    assert told.exit_code == 0, told.output
    rows = json.loads(told.stdout)
    numbered, came, due, read = truth(fleet)
    assert [row["day"] for row in rows] == [f"{day + timedelta(i):%Y-%m-%d}" for _ in numbered for i in range(DAYS)]
    for station in numbered:
        mine = [row for row in rows if row["station_id"] == station]
        found = {key: sum(row[key] for row in mine) for key in mine[0] if key.endswith(("expected", "received"))}
        assert found == {
            "tags_expected": 0,
            "tags_received": 0,
            "fillings_expected": numbered[station],
            "fillings_received": came[station],
            "readings_expected": due[station],
            "readings_received": read[station],
        }, station
    missing = {station: numbered[station] - came[station] for station in numbered}
    assert missing["S01"] > 20
    assert missing["S43"] > 100
    assert due["S01"] > read["S01"]
