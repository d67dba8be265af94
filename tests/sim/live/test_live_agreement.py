"""The same world live and in files: what a register or a gauge says is what stands in the records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pumpwatch_sim.fleet import Fleet, ScenarioEntry, Stations
from pumpwatch_sim.live.player import StationPlayer
from pumpwatch_sim.staging import Staging, stage
from pumpwatch_sim.wire.registers import NO_TAX_RECORD, DispenserRegisters
from pumpwatch_sim.world.collecting import collect
from pumpwatch_sim.world.timeline import Timeline
from pumpwatch_sim.world.work import Columns

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
AT_THE_PUMPS = ("F01", "F18", "F19", "T01", "T05", "C06", "W04", "H10", "H15")
AT_THE_GAUGE = ("C03", "C04", "C08", "W01", "W06")
"""Some of these also forge transactions on their way, which no wire shows."""


@pytest.fixture(scope="module")
def staging() -> Staging:
    """Two stations at which much is wrong from the second day on."""
    named = {"S01": AT_THE_PUMPS, "S20": AT_THE_GAUGE}
    scenarios = [ScenarioEntry(name=n, station=s, onset="P1D") for s, names in named.items() for n in names]
    fleet = Fleet(name="agreement", start=START, days=21, stations=Stations(count=2), scenario=tuple(scenarios))
    return stage(fleet, START)


def weeks(staging: Staging, station: str) -> list[tuple[Timeline, Columns, Columns]]:
    """Timeline, transactions and tank readings of the first two weeks."""
    found = []
    for _, timeline in zip(range(2), staging.timelines(station), strict=False):
        records = collect(timeline, staging.fleet.stations, staging.county.seed, staging.of(station))
        found.append((timeline, records.transactions, records.tank_readings))
    return found


def test_sales_read_from_registers_stand_in_the_transactions(staging: Staging) -> None:
    at = [0]
    player = StationPlayer(staging, "S01", lambda: at[0])
    maps = [DispenserRegisters(dispenser) for dispenser in player.dispensers]
    places = [(maps[d], n) for d, dispenser in enumerate(player.dispensers) for n in range(len(dispenser.nozzles))]
    compared = 0
    for timeline, transactions, _ in weeks(staging, "S01"):
        rows = {
            (int(transactions["nozzle"][row]), int(transactions["seq"][row])): row
            for row in range(len(transactions["seq"]))
        }
        sales = timeline.sales
        for index in range(0, len(sales), 37):
            at[0] = max(at[0], int(sales.end_us[index]))
            nozzle, seq = int(sales.nozzle[index]), int(sales.seq[index])
            registers, place = places[nozzle]
            slot = registers.read(200 + (place * 4 + seq % 4) * 32, 32)

            def number(offset: int, words: int = 2, slot: bytes = slot) -> int:
                return int.from_bytes(slot[2 * offset : 2 * (offset + words)], "big")

            if not sales.recorded[index] or number(0) != seq or (nozzle, seq) not in rows:
                continue  # later fillings have come over it, or the collector was off then
            row = rows[nozzle, seq]
            compared += 1
            told = {name: column[row] for name, column in transactions.items()}
            assert number(2) * 1_000_000 == told["start"]
            assert number(4) * 1_000_000 == told["end"]
            assert number(6) / 100 == pytest.approx(told["volume_l"])
            assert number(8) / 100 == pytest.approx(told["amount_cny"])
            assert number(10, 1) / 100 == pytest.approx(told["unit_price"])
            assert number(11, 1) == told["payment"]
            assert number(12, 4) / 100 == pytest.approx(told["totalizer_l"])
            assert number(16, 4) / 100 == pytest.approx(told["totalizer_cny"])
            assert number(20) == told["encoder_pulses"]
            assert number(20) * number(22, 1) / 10_000 == pytest.approx(told["encoder_l"])
            if np.isnan(told["tax_l"]):
                assert number(26) == number(28) == NO_TAX_RECORD
            else:
                assert number(26) / 100 == pytest.approx(told["tax_l"])
                assert number(28) / 100 == pytest.approx(told["tax_cny"])
            assert number(23, 1) == told["preset_kind"]
    assert compared > 100


@pytest.mark.parametrize("station", ["S01", "S20"])
def test_a_look_at_a_gauge_is_the_reading_in_the_file(staging: Staging, station: str) -> None:
    at = [0]
    player = StationPlayer(staging, station, lambda: at[0])
    compared = 0
    for _, _, readings in weeks(staging, station):
        for row in np.argsort(readings["time"], kind="stable")[::211]:
            at[0] = int(readings["time"][row]) + 400_000
            look = player.tanks[int(readings["tank"][row])].look()
            for name in ("height_mm", "volume_l", "volume_20c_l", "water_mm", "temperature_c", "density_kg_m3"):
                told = readings[name][row]
                assert getattr(look, name) == told or np.isnan(told)
            compared += 1
    assert compared > 50


def test_a_player_who_looks_seldom_sees_the_same(staging: Staging) -> None:
    at = [staging.start_us]
    often, seldom = (StationPlayer(staging, "S01", lambda: at[0]) for _ in range(2))
    until = staging.start_us + int(timedelta(days=8).total_seconds() * 1e6)
    for moment in range(staging.start_us, until, 1_733_000_000):
        at[0] = moment
        [nozzle.volume for nozzle in often.nozzles]
        [tank.drops() for tank in often.tanks]
    for one, other in zip(often.nozzles, seldom.nozzles, strict=True):
        assert list(one.sales) == list(other.sales)
        assert (one.state, one.volume, one.totalizer, one.price) == (
            other.state,
            other.volume,
            other.totalizer,
            other.price,
        )
        assert one.tax_totals(often.local_time) == other.tax_totals(often.local_time)
    for tank, again in zip(often.tanks, seldom.tanks, strict=True):
        assert tank.drops() == again.drops()
        assert tank.look() == again.look()
