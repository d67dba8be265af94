"""The same findings, ids and numbers, live and replayed, in whatever order and however often records arrive."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from pumpwatch.alarms import finding_to_json
from pumpwatch.contracts import RecordRule
from pumpwatch.detection import Detection, LiveHistory, in_order, judge_station
from pumpwatch.ledger import Register
from pumpwatch.plugins import Plugins
from pumpwatch.testing import FakeClock
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.fleet import Fleet
from pumpwatch_sim.staging import stage

SCENARIOS = (
    "short_by_mainboard",
    "totalizer_rollback",
    "tax_skips_sales",
    "tax_memory_replaced",
    "records_deleted",
    "mainboard_swapped",
    "encoder_swapped",
    "clock_wrong",
    "edited_record",
    "amount_rounded_up",
    "network_outage_backfilled",
)
DAYS = 9


class Hands(FakeClock):
    """Hands that one may put anywhere; nobody sleeps by them."""

    def turn_to(self, at) -> None:
        self._turn_to(self._elapsed + (at - self._now).total_seconds())


class Ear:
    """Hears what detection says, and what it takes back."""

    def __init__(self) -> None:
        self.findings = {}
        self.withdrawn = []

    async def hear(self, finding) -> None:
        known = self.findings.get(finding.id)
        if known is None or finding.detected_at <= known.detected_at:
            self.findings[finding.id] = finding

    async def take_back(self, finding_id) -> None:
        self.withdrawn.append(finding_id)
        self.findings.pop(finding_id, None)

    async def follow(self, finding, cause_id) -> None:
        await self.hear(finding)

    async def standing(self, rule, keys) -> None:
        """Record rules do not stand."""


def world(name):
    fleet = Fleet.model_validate(
        {
            "name": "order",
            "seed": 3,
            "start": "2026-03-02T00:00:00+08:00",
            "days": DAYS,
            "stations": {"count": 1},
            "scenario": [{"name": name, "onset": "P3D"}],
        }
    )
    staging = stage(fleet, fleet.start)
    return station_past(staging, staging.county.stations[0].station_id)


def record_rules():
    made = [kind(kind.Settings()) for _, kind in sorted(Plugins.discover().rules.items())]
    return [rule for rule in made if isinstance(rule, RecordRule)]


def told(findings):
    return {f.id: finding_to_json(f) for f in findings}


async def live(past, records):
    """What is said of these records as they come, one after another."""
    register = Register((past.station,), past.dispensers, past.tanks, past.nozzles, past.work_orders)
    ear, clock = Ear(), Hands(past.start)
    history = LiveHistory(register, {})
    detection = Detection(record_rules(), history, clock, ear.hear, ear.standing, ear.take_back, ear.follow)
    for record in records:
        clock.turn_to(max(clock.now(), record.at))
        await detection.judge_patiently_until(clock.monotonic())
        await detection.judge([record])
    await detection.judge_patiently_until(clock.monotonic() + 3600)
    assert not detection.failing
    return ear


def every_record(past):
    records = [past.sales.record(row) for row in range(len(past.sales))]
    records += [*past.events, *past.identities, *past.deliveries]
    return sorted(records, key=lambda record: record.at)


def jumbled(records, seed, reach=25):
    """Each record a few places from where it belongs, and some of them twice."""
    chance = random.Random(seed)
    again = [records[i] for i in sorted(chance.sample(range(len(records)), len(records) // 10))]
    placed = [(i + chance.uniform(0, reach), r) for i, r in enumerate(records)]
    index = {id(r): i for i, r in enumerate(records)}
    placed += [(index[id(r)] + chance.uniform(0, reach), r) for r in again]
    return [r for _, r in sorted(placed, key=lambda pair: pair[0])]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_live_replayed_and_jumbled_are_one(name):
    past = world(name)
    replayed = judge_station(past, record_rules(), past.start - timedelta(days=1), past.end)[0]
    records = every_record(past)
    in_time = await live(past, records)
    anyhow = await live(past, jumbled(records, seed=name))
    assert told(in_order(in_time.findings.values())) == told(in_order(replayed))
    assert told(in_order(anyhow.findings.values())) == told(in_order(replayed))
    alarming = [f for f in replayed if f.severity.rank]
    assert bool(alarming) is (name != "network_outage_backfilled"), {f.rule for f in alarming}
