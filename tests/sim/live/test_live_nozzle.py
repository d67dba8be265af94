"""A nozzle looked up in hand-made rows: what it shows before, during and after a filling."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pumpwatch.model import NozzleState
from pumpwatch_sim.live.nozzle import MEMORY_DAYS
from pumpwatch_sim.world.flow import duration_s, progress_l
from pumpwatch_sim.world.people import LOCAL
from pumpwatch_sim.world.prices import price_of
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, TOTALIZER_ROLL, Payment, Preset, Purpose

Play = Callable[..., Any]
WEEK_S = 7 * 86_400
LASTS = duration_s(20.0, 40.0)


def shown(nozzle: Any) -> tuple[object, ...]:
    return (nozzle.state, nozzle.volume, nozzle.amount, nozzle.flow, nozzle.sequence, nozzle.totalizer)


def test_the_life_of_a_filling(play: Play) -> None:
    rows = [{"start": 100.0, "volume": 1500}, {"start": 1000.0, "lasts": LASTS, "preset": 1, "preset_value": 2000}]
    stage = play(rows)
    nozzle = stage.player.nozzles[0]
    stage.to(990)
    assert shown(nozzle) == (NozzleState.IDLE, 1500, 12_000, 0, 101, 1_010_000)
    assert nozzle.price == price_of(nozzle.plan, stage.at[0]), "the price sign"
    stage.to(998)
    assert shown(nozzle) == (NozzleState.LIFTED, 0, 0, 0, 101, 1_010_000), "back to zero before fuel flows"
    assert nozzle.price == 800, "held from the lifting on"
    stage.to(1010)
    assert nozzle.state is NozzleState.FUELLING
    assert nozzle.volume == pytest.approx(100 * progress_l(20.0, 40.0, 10.0), abs=1.0)
    assert nozzle.pulses == nozzle.volume
    assert nozzle.amount == nozzle.volume * 8
    assert nozzle.flow == 400
    assert (nozzle.sequence, nozzle.totalizer) == (101, 1_010_000)
    stage.to(1000 + LASTS + 1)
    assert shown(nozzle) == (NozzleState.STOPPED, 2000, 16_000, 0, 102, 1_020_000)
    stage.to(1000 + LASTS + 7)
    assert shown(nozzle) == (NozzleState.IDLE, 2000, 16_000, 0, 102, 1_020_000)
    sale = nozzle.sales[102 % 4]
    start_us = stage.staging.origin_us + 1_000_000_000
    assert sale.start_s == stage.player.dispensers[0].device_s(np.array([start_us]))[0], "by the device's clock"
    assert (sale.sequence, sale.volume, sale.amount, sale.price) == (102, 2000, 16_000, 800)
    assert (sale.preset, sale.preset_value, sale.payment) == (Preset.LITRES, 2000, Payment.MOBILE)
    assert (sale.pulses, sale.totalizer, sale.tax_volume, sale.tax_amount) == (2000, 1_020_000, 2000, 16_000)


def test_the_display_only_rises_and_ends_where_the_row_ends(play: Play) -> None:
    rows = [
        {"start": 50.0, "lasts": 33.3, "volume": 2060, "pulses": 2000, "start_volume": 30, "jump": 25, "jump_at": 0.5}
    ]
    stage = play(rows)
    nozzle = stage.player.nozzles[0]
    seen = []
    for tenth in range(int(33.3 * 10)):
        stage.to(50.0 + tenth / 10)
        seen.append((nozzle.volume, nozzle.pulses, nozzle.amount))
    assert seen[0] == (30, 0, 240), "it did not return to zero"
    assert all(a <= b for a, b in pairwise(seen))
    before = max(volume for volume, pulses, _ in seen if pulses < 1000)
    after = min(volume for volume, pulses, _ in seen if pulses >= 1000)
    assert after - before >= 25, "the display gains at one stroke"
    stage.to(50.0 + 33.3)
    assert (nozzle.volume, nozzle.pulses, nozzle.amount) == (2060, 2000, 16_480)


def test_an_amount_that_is_not_by_the_price_runs_in_proportion(play: Play) -> None:
    stage = play([{"start": 50.0, "volume": 2000, "amount": 8000}])
    nozzle = stage.player.nozzles[0]
    stage.to(66)
    assert nozzle.amount == nozzle.volume * 4


def test_a_hidden_filling_shows_in_the_totalizers_alone(play: Play) -> None:
    rows = [
        {"start": 50.0},
        {"start": 150.0, "volume": 3650, "purpose": Purpose.HIDDEN, "recorded": False, "seq": 101, "tax_volume": -1},
        {"start": 300.0, "seq": 102},
    ]
    stage = play(rows)
    nozzle = stage.player.nozzles[0]
    stage.to(149)
    before = shown(nozzle)
    stage.to(160)
    assert shown(nozzle) == before
    stage.to(190)
    assert shown(nozzle)[:-1] == before[:-1]
    assert nozzle.totalizer == 1_020_000
    assert [sale and sale.sequence for sale in nozzle.sales] == [None, 101, None, None]
    stage.to(400)
    assert nozzle.sequence == 102


def test_four_slots_however_long_nobody_asked(play: Play) -> None:
    stage = play([{"start": 100.0 * number} for number in range(1, 30)], [{"start": 200.0, "seq": 130}])
    nozzle = stage.player.nozzles[0]
    stage.to(2000)
    assert sorted(sale.sequence for sale in nozzle.sales) == [116, 117, 118, 119]
    stage.to(WEEK_S + 100)
    assert sorted(sale.sequence for sale in nozzle.sales) == [126, 127, 128, 129]
    assert (nozzle.volume, nozzle.totalizer) == (2000, 1_290_000)
    stage.to(WEEK_S + 300)
    assert sorted(sale.sequence for sale in nozzle.sales) == [127, 128, 129, 130]


def test_counters_stand_before_the_first_filling(play: Play) -> None:
    stage = play([{"start": 500.0, "totalizer": 1500, "volume": 2000, "seq": 41}])
    nozzle = stage.player.nozzles[0]
    stage.to(1)
    assert (nozzle.sequence, nozzle.totalizer) == (40, TOTALIZER_ROLL - 500), "it rolls over within this filling"
    assert list(nozzle.sales) == [None] * 4


def test_changes_rise_only_when_something_has_changed(play: Play) -> None:
    stage = play([{"start": 100.0}])
    nozzle = stage.player.nozzles[0]

    def changes_at(seconds: float) -> tuple[int, int]:
        stage.to(seconds)
        return nozzle.changes, nozzle.sale_changes

    assert changes_at(10) == changes_at(60)
    assert changes_at(60) < changes_at(98) == changes_at(99)
    assert changes_at(110) < changes_at(111)
    fuelling, sales = changes_at(112)
    assert changes_at(135) > (fuelling, sales)
    assert nozzle.sale_changes == sales + 1
    assert changes_at(1000) == changes_at(2000)


def test_a_filling_across_the_border_of_two_stretches(play: Play) -> None:
    stage = play([{"start": WEEK_S - 10.0}], [{"start": 900.0, "seq": 102, "totalizer": 1_020_000}])
    nozzle = stage.player.nozzles[0]
    stage.to(WEEK_S - 1)
    volume = nozzle.volume
    stage.to(WEEK_S + 1)
    assert nozzle.state is NozzleState.FUELLING
    assert nozzle.volume > volume
    stage.to(WEEK_S + 25)
    assert (nozzle.state, nozzle.volume, nozzle.sequence) == (NozzleState.STOPPED, 2000, 101)
    stage.to(WEEK_S + 800)
    assert (nozzle.state, nozzle.volume) == (NozzleState.IDLE, 2000)


def test_the_tax_memory_sums_days_and_months(play: Play) -> None:
    rows = [{"start": 3600.0 * hour, "volume": 1000 + hour} for hour in range(1, 60, 2)]
    rows[3]["tax_volume"] = NO_TAX_RECORD
    stage = play(rows)
    nozzle = stage.player.nozzles[0]
    begun = nozzle.tax_totals(datetime(2026, 11, 22, 12, tzinfo=LOCAL)).grand
    stage.to(3600.0 * 61)
    kept = [row for number, row in enumerate(rows) if number != 3]
    ends = {id(row): datetime.fromtimestamp(stage.staging.origin_us / 1e6 + row["start"] + 32, UTC) for row in kept}
    for day in (22, 23, 24):
        expected = sum(int(row["volume"]) for row in kept if ends[id(row)].astimezone(LOCAL).day == day)
        totals = nozzle.tax_totals(datetime(2026, 11, day, 1, tzinfo=LOCAL))
        assert totals.day[0] == expected > 0
        assert totals.month[0] == totals.grand[0] - begun[0] == sum(int(row["volume"]) for row in kept)
    assert nozzle.tax_totals(datetime(2026, 10, 22, tzinfo=LOCAL)).month == (0, 0)


def test_the_tax_memory_is_bounded(play: Play) -> None:
    weeks = [[{"start": 86_400.0 * day + 500.0, "seq": 7 * week + day + 1} for day in range(7)] for week in range(12)]
    stage = play(*weeks)
    stage.to(12 * WEEK_S - 1)
    nozzle = stage.player.nozzles[0]
    assert nozzle.sequence == 84
    assert len(nozzle._tax_days) == MEMORY_DAYS + 1
