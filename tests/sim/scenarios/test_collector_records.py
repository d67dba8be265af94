"""C01 to C10: what each leaves in records, readings and events, and that honest stations have none of it."""

from __future__ import annotations

import numpy as np
import pytest
from evidence_records import (
    backward_clocks,
    balance,
    frozen_readings,
    honest,
    longest_replay,
    lost_links,
    noise_l,
    pick,
    pooled,
    sent_again,
    sequence_steps,
    silences,
    staged,
    totalizer_steps,
    world,
)

from pumpwatch.model import EventKind, from_us
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US, MINUTE_US

STATION = "S15"
TANK = f"{STATION}-T1"


def test_an_honest_station_leaves_none_of_it() -> None:
    pool = honest(STATION)
    assert lost_links(pool) == 0
    assert backward_clocks(pool.transactions) == 0
    assert sent_again(pool.transactions) == (0, 0)
    assert longest_replay(pool.transactions) <= 2
    assert all(frozen_readings(pool, tank) <= 2 for tank in range(4))


def test_c01_what_is_sold_unplugged_is_on_the_totalizers_alone() -> None:
    pool = world("C01", STATION, hours=2, every_days=2)
    spans = [each for each in silences(pool) if each[1] - each[0] > 1.5 * HOUR_US]
    assert len(spans) in {3, 4}
    for begin, end in spans:
        assert begin > pool.onset_us - HOUR_US
        assert 1.8 * HOUR_US < end - begin < 2.3 * HOUR_US
        inside = (pool.transactions["end"] > begin + 6 * MINUTE_US) & (pool.transactions["end"] < end - 6 * MINUTE_US)
        assert not inside.any()
        assert 15.9 <= (begin + 8 * HOUR_US) % DAY_US / HOUR_US <= 17.1
    assert lost_links(pool) == len(spans)
    steps = totalizer_steps(pool.transactions)
    assert (steps > 0.0).sum() >= len(spans)
    assert (sequence_steps(pool.transactions) > 1).all()
    assert sequence_steps(pool.transactions).size >= len(spans)


def test_c01_the_tank_falls_while_the_collector_is_deaf() -> None:
    pool = world("C01", STATION, hours=3, every_days=1)
    course = balance(pool, 0)
    long = (course.at_us - course.before_us > 2 * HOUR_US) & course.settled
    assert long.sum() >= 4
    assert (course.lost_l[long] > 4.95 * noise_l(course)).mean() > 0.7


def test_c02_the_neighbours_fall_silent_at_the_same_time() -> None:
    staging = staged({"name": "C02", "station": "S30", "onset": "P6D", "minutes": 40, "every_days": 2}, count=46)
    (jamming,) = staging.scenarios
    pools = [pooled(staging, station, 2) for station in jamming.stations[:2]]
    first, second = ([each for each in silences(pool, 25 * MINUTE_US) if each[0] > pool.onset_us] for pool in pools)
    assert len(first) in {3, 4}
    stations = {station.station_id: station for station in staging.county.stations}
    assert [item.subject.station_id for item in jamming.truth(stations)] == list(jamming.stations)
    assert all(lost_links(pool) == len(first) for pool in pools)
    assert all(any(abs(a - b) <= 10 * MINUTE_US for b, _ in second) for a, _ in first)


def test_c03_the_level_stands_still_while_fuel_is_sold() -> None:
    pool = world("C03", STATION, tank=TANK, hours=6)
    (scenario,) = pool.scenarios
    run = frozen_readings(pool, 0)
    assert 65 <= run <= 74
    assert scenario.end_us == scenario.onset_us + 6 * HOUR_US
    assert all(frozen_readings(pool, tank) <= 2 for tank in (1, 2, 3))


def test_c04_a_day_comes_twice() -> None:
    pool = world("C04", STATION, onset="P8D")
    (scenario,) = pool.scenarios
    assert longest_replay(pool.transactions) >= 20
    assert sequence_steps(pool.transactions).size > 0
    before = pick(pool.transactions, pool.transactions["end"] < scenario.onset_us)
    assert longest_replay(before) <= 2
    assert sent_again(pool.transactions) == (0, 0)
    for tank in range(4):
        rows = pick(pool.readings, pool.readings["tank"] == tank)
        now = pick(rows, (rows["time"] >= scenario.onset_us) & (rows["time"] < scenario.onset_us + DAY_US))
        old = pick(rows, (rows["time"] >= scenario.onset_us - DAY_US) & (rows["time"] < scenario.onset_us))
        assert len(now["time"]) > 250
        same = np.isin(now["time"] - DAY_US, old["time"])
        again = np.isin(old["time"] + DAY_US, now["time"])
        assert now["height_mm"][same] == pytest.approx(old["height_mm"][again])


def test_c05_a_batch_twice_is_byte_equal() -> None:
    pool = world("C05", STATION, records=50)
    assert sent_again(pool.transactions) == (50, 0)
    assert pool.scenarios[0].honest


def test_c06_a_clock_goes_back_an_hour() -> None:
    pool = world("C06", STATION, onset="P8DT10H", dispenser=f"{STATION}-D1")
    nozzles = range(len(pool.station.dispensers[0].nozzles))
    mine = pick(pool.transactions, np.isin(pool.transactions["nozzle"], nozzles))
    others = pick(pool.transactions, ~np.isin(pool.transactions["nozzle"], nozzles))
    assert 1 <= backward_clocks(mine) <= len(nozzles)
    assert backward_clocks(others) == 0
    noted = [event for event in pool.events if event.kind is EventKind.CLOCK]
    assert [(event.device_id, event.detail["ahead_s"]) for event in noted] == [(f"{STATION}-D1", -3_600.0)] * len(noted)
    assert len(noted) in {4, 5}
    assert noted[0].at == from_us(pool.onset_us + 10 * MINUTE_US)


def test_c06_a_drifting_clock_moves_ends_but_no_numbers() -> None:
    pool = world("C06", STATION, dispenser=f"{STATION}-D1", step_s=0, drift_s_per_day=60)
    usual = honest(STATION)
    mine = pool.transactions["nozzle"] == 0
    late = (pool.transactions["end"][mine] - usual.transactions["end"][usual.transactions["nozzle"] == 0]) / 1e6
    days = (usual.transactions["end"][usual.transactions["nozzle"] == 0] - pool.onset_us) / DAY_US
    assert late[days < 0].max() == 0
    assert late[days > 0] == pytest.approx(60 * days[days > 0], abs=2)


def test_c07_records_come_again_with_fewer_litres() -> None:
    pool = world("C07", STATION, percent=10, percent_of_sales=2)
    equal, edited = sent_again(pool.transactions)
    after = (honest(STATION).transactions["end"] >= pool.onset_us).sum()
    assert equal == 0
    assert edited / after == pytest.approx(0.02, abs=0.012)
    usual = honest(STATION).transactions
    assert len(pool.transactions["seq"]) == len(usual["seq"]) + edited


def test_c08_invented_levels_do_not_tremble() -> None:
    pool = world("C08", STATION, tank=TANK)
    course = balance(pool, 0)
    quiet = course.settled & (course.sold_l == 0.0)
    after = course.lost_l[quiet & (course.before_us > pool.onset_us)]
    before = course.lost_l[quiet & (course.at_us < pool.onset_us)]
    assert len(after) > 200
    assert np.var(after) < 0.1 * np.var(before)
    other = balance(pool, 1)
    quiet = other.settled & (other.sold_l == 0.0)
    parts = [other.lost_l[quiet & side] for side in (other.before_us > pool.onset_us, other.at_us < pool.onset_us)]
    assert np.var(parts[0]) == pytest.approx(np.var(parts[1]), rel=0.5)


def test_c09_large_sales_are_missing() -> None:
    pool = world("C09", STATION, percent=10)
    usual = honest(STATION).transactions
    after = (usual["end"] >= pool.onset_us).sum()
    lost = len(usual["seq"]) - len(pool.transactions["seq"])
    assert lost / after == pytest.approx(0.1, abs=0.01)
    kept = pool.after(pool.transactions, "end")["volume_l"].max()
    assert kept < usual["volume_l"].max()
    steps = totalizer_steps(pool.transactions)
    assert (steps[steps != 0.0] >= kept - 0.01).all()
    gaps = sequence_steps(pool.transactions)
    assert lost * 0.9 <= (gaps - 1).sum() <= lost


def test_c10_both_tanks_are_wrong_by_the_nozzle() -> None:
    pool = world("C10", STATION, nozzle=f"{STATION}-N01")
    assert pool.station.nozzles[0].registered.tank_id == f"{STATION}-T2"
    for tank in (0, 1):
        usual = balance(honest(STATION), tank)
        course = balance(pool, tank)
        moved = float(course.lost_l[course.settled].sum() - usual.lost_l[usual.settled].sum())
        litres = float(honest(STATION).transactions["volume_l"][honest(STATION).transactions["nozzle"] == 0].sum())
        assert moved == pytest.approx(litres if tank == 0 else -litres, rel=0.1)
