"""The physics and the books of the world over hours: nothing is lost, nothing is invented."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

import pytest

from pumpwatch.errors import BadConfig
from pumpwatch.model import NozzleState
from pumpwatch_sim.county import build_county
from pumpwatch_sim.world.forecourt import LiveNozzle, Sale, amount_of
from pumpwatch_sim.world.people import Preset, round_half_up
from pumpwatch_sim.world.world import World

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
CENT = Decimal("0.01")


def make_world(stations: int = 46, seed: int = 1, demand: float = 1.0, step_s: float = 0.2) -> World:
    return World(build_county(seed, date(2026, 11, 22), stations), START, demand, step_s)


def snapshot(world: World) -> list[object]:
    rows: list[object] = []
    for nozzle in world.nozzles.values():
        rows.append((nozzle.state, nozzle.volume, nozzle.flow, nozzle.totalizer, nozzle.totalizer_amount, nozzle.sales))
    rows.extend((tank.fuel_l, tank.received_l, list(tank.unloadings)) for tank in world.tanks.values())
    return rows


class History:
    """Three hours of nine stations, every sale kept."""

    def __init__(self) -> None:
        self.world = make_world(stations=9)
        self.sales: dict[str, list[Sale]] = {}
        self.shares: list[float] = []
        self._collect()
        for chunk in range(1, 3 * 120 + 1):
            self.world.advance_to(START + timedelta(seconds=30 * chunk))
            self._collect()
            if chunk > 20:
                self.shares.append(len(self.world.fuelling) / len(self.world.nozzles))

    def _collect(self) -> None:
        for name, nozzle in self.world.nozzles.items():
            known = self.sales.setdefault(name, [])
            fresh = [sale for sale in nozzle.sales if sale and (not known or sale.sequence > known[-1].sequence)]
            known.extend(sorted(fresh, key=lambda sale: sale.sequence))


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    yield History()


def test_memory_holds_four_past_sales_at_the_start() -> None:
    world = make_world()
    for nozzle in world.nozzles.values():
        assert nozzle.state is NozzleState.IDLE
        sales = sorted((sale for sale in nozzle.sales if sale), key=lambda sale: sale.sequence)
        assert [sale.sequence for sale in sales] == list(range(nozzle.sequence - 3, nozzle.sequence + 1))
        assert all(nozzle.sales[sale.sequence % 4] is sale for sale in sales)
        assert sales[-1].end_s < world.now_s
        assert sales[0].start_s > world.now_s - 4 * 3600
        assert (nozzle.volume, nozzle.amount) == (sales[-1].volume, sales[-1].amount)
        assert nozzle.totalizer == sales[-1].totalizer > 3_000_000
    assert not world.fuelling


def test_sequences_and_totalizers_are_consistent_to_the_last_hundredth(history: History) -> None:
    count = 0
    for name, sales in history.sales.items():
        for before, after in pairwise(sales):
            assert after.sequence == before.sequence + 1, name
            assert after.totalizer == before.totalizer + after.volume, name
            assert after.totalizer_amount == before.totalizer_amount + after.amount, name
            assert before.end_s < after.start_s, name
            count += 1
        nozzle = history.world.nozzles[name]
        assert (nozzle.sequence, nozzle.totalizer) == (sales[-1].sequence, sales[-1].totalizer)
    assert count > 2_000


def test_the_three_volumes_of_an_honest_sale_agree_and_the_money_is_exact(history: History) -> None:
    for sales in history.sales.values():
        for sale in sales:
            assert sale.volume == sale.pulses == sale.tax_volume
            exact = Decimal(sale.volume) / 100 * Decimal(sale.price) / 100
            assert Decimal(sale.amount) / 100 == exact.quantize(CENT, ROUND_HALF_UP)
            assert sale.tax_amount == sale.amount


def test_presets_are_met_exactly(history: History) -> None:
    kinds = {Preset.NONE: 0, Preset.LITRES: 0, Preset.MONEY: 0}
    for sales in history.sales.values():
        for sale in sales:
            kinds[sale.preset] += 1
            if sale.preset is Preset.LITRES:
                assert sale.preset_value in {1000, 2000, 3000}
                assert sale.volume == sale.preset_value
            elif sale.preset is Preset.MONEY:
                assert sale.preset_value in {10_000, 20_000, 30_000}
                assert sale.volume == round_half_up(sale.preset_value * 100, sale.price)
            else:
                assert sale.preset_value == 0
    total = sum(kinds.values())
    assert 0.32 < 1 - kinds[Preset.NONE] / total < 0.38


def test_free_sales_follow_the_lognormal(history: History) -> None:
    litres = [s.volume / 100 for sales in history.sales.values() for s in sales if s.preset is Preset.NONE]
    mean = sum(litres) / len(litres)
    spread = (sum((x - mean) ** 2 for x in litres) / len(litres)) ** 0.5
    assert mean == pytest.approx(30, rel=0.05)
    assert spread / mean == pytest.approx(0.5, abs=0.05)


def test_tanks_lose_what_is_truly_delivered_and_gain_what_is_unloaded(history: History) -> None:
    world = history.world
    drawn = dict.fromkeys(world.tanks, 0.0)
    for name, sales in history.sales.items():
        nozzle = world.nozzles[name]
        counted = sum(sale.pulses for sale in sales[4:])
        if name in world.fuelling:
            counted += nozzle.pulses
        drawn[nozzle.plan.registered.tank_id] += counted * 0.01 / (1 + nozzle.plan.error)
    for name, tank in world.tanks.items():
        assert tank.delivered_l == pytest.approx(drawn[name], abs=1e-6)
        assert tank.delivered_l + (tank.fuel_l - tank.plan.fuel_l) - tank.received_l == pytest.approx(0, abs=1e-6)
        unloaded = sum(done.litres for done in tank.unloadings)
        unloaded += tank.unloading.given_l if tank.unloading else 0.0
        assert tank.received_l == pytest.approx(unloaded, abs=1e-6)
        assert tank.fuel_l > 0.18 * tank.plan.shape.capacity_l


def test_tankers_come_below_a_fifth_and_bring_a_tanker_load(history: History) -> None:
    finished = 0
    for tank in history.world.tanks.values():
        for done in tank.unloadings:
            finished += 1
            assert done.start_fuel_l < 0.2 * tank.plan.registered.capacity_l
            assert 6_000 <= done.litres <= 12_000
            minutes = (done.end_us - done.start_us) / 60e6
            assert 295 <= done.litres / minutes <= 605
    assert finished >= 3


def test_the_forecourt_is_lively(history: History) -> None:
    assert 0.12 < sum(history.shares) / len(history.shares) < 0.18


@pytest.mark.parametrize("hour", [3, 8, 18])
def test_it_is_lively_at_any_hour(hour: int) -> None:
    start = datetime(2026, 11, 21, 16, 0, tzinfo=UTC) + timedelta(hours=hour)  # midnight in the county is 16:00 UTC
    world = World(build_county(1, date(2026, 11, 22)), start, step_s=1.0)
    shares = []
    for minute in range(5, 20):
        world.advance_to(start + timedelta(minutes=minute))
        shares.append(len(world.fuelling) / len(world.nozzles))
    assert 0.11 < sum(shares) / len(shares) < 0.19


def test_the_first_customers_come_within_seconds() -> None:
    world = make_world()
    world.advance_to(START + timedelta(seconds=10))
    assert any(nozzle.state is not NozzleState.IDLE for nozzle in world.nozzles.values())
    assert len(world.fuelling) < 50
    world.advance_to(START + timedelta(seconds=90))
    assert len(world.fuelling) > 40


def test_more_demand_means_more_customers() -> None:
    quiet, busy = make_world(9, demand=0.2, step_s=1.0), make_world(9, demand=3.0, step_s=1.0)
    for world in (quiet, busy):
        world.advance_to(START + timedelta(minutes=10))
    assert len(quiet.fuelling) * 3 < len(busy.fuelling)


@pytest.mark.parametrize("demand", [0.0, -1.0, 21.0, float("nan")])
def test_an_impossible_demand_is_refused(demand: float) -> None:
    with pytest.raises(BadConfig, match="--demand"):
        make_world(stations=1, demand=demand)


def watch(world: World, seconds: float) -> dict[str, list[tuple[float, NozzleState, int, int, int]]]:
    """(time, state, volume, flow, sequence) of every nozzle at every step."""
    seen: dict[str, list[tuple[float, NozzleState, int, int, int]]] = {name: [] for name in world.nozzles}
    for step in range(1, round(seconds / 0.2) + 1):
        world.advance_to(START + timedelta(seconds=0.2 * step))
        for name, nozzle in world.nozzles.items():
            seen[name].append((0.2 * step, nozzle.state, nozzle.volume, nozzle.flow, nozzle.sequence))
    return seen


def test_the_life_of_a_nozzle_step_by_step() -> None:
    world = make_world(stations=4, demand=3.0)
    rounds = 0
    for rows in watch(world, 300).values():
        changes = [i for i in range(1, len(rows)) if rows[i][1] is not rows[i - 1][1]]
        for first, second in pairwise(changes):
            duration = rows[second][0] - rows[first][0]
            now, after = rows[first][1], rows[second][1]
            if now is NozzleState.LIFTED:
                assert after is NozzleState.FUELLING
                assert 1.8 <= duration <= 5.2
            elif now is NozzleState.FUELLING:
                assert after is NozzleState.STOPPED
                assert rows[second][4] == rows[first][4] + 1
            elif now is NozzleState.STOPPED:
                assert after is NozzleState.IDLE
                assert 4.8 <= duration <= 12.2
                rounds += 1
            else:
                assert after is NozzleState.LIFTED
                assert len({row[2] for row in rows[first : second + 1]}) == 1, "the last sale stays on the display"
        for before, row in pairwise(rows):
            if row[1] is NozzleState.FUELLING:
                assert row[3] <= 425
                assert before[1] is NozzleState.LIFTED or row[2] >= before[2]
            else:
                assert row[3] == 0
    assert rounds > 30


def test_the_flow_ramps_up_and_down() -> None:
    world = make_world(stations=4, demand=3.0)
    for rows in watch(world, 200).values():
        flows = [row[3] for row in rows if row[1] is NozzleState.FUELLING]
        stop = next((i for i, row in enumerate(rows) if row[1] is NozzleState.STOPPED), None)
        if stop is not None and len(flows) > 60:
            start = next(i for i, row in enumerate(rows) if row[1] is NozzleState.FUELLING)
            first_sale = [row[3] for row in rows[start:stop]]
            assert first_sale[0] < first_sale[4] < first_sale[10]
            assert 295 <= max(first_sale) <= 425
            assert first_sale[-1] < 0.4 * max(first_sale)
            return
    pytest.fail("no whole sale in 200 s")


def test_the_same_seed_gives_the_same_world_at_any_pace() -> None:
    steady, jerky, other = make_world(stations=4), make_world(stations=4), make_world(stations=4, seed=2)
    for second in range(1, 601):
        steady.advance_to(START + timedelta(seconds=second))
    for second in (0.7, 0.71, 13.3, 200.05, 600):
        jerky.advance_to(START + timedelta(seconds=second))
    other.advance_to(START + timedelta(seconds=600))
    assert snapshot(steady) == snapshot(jerky)
    assert snapshot(steady) != snapshot(other)


def test_a_clock_that_leaps_is_followed_piece_by_piece_and_one_set_back_stops_the_world() -> None:
    world = make_world(stations=1)
    assert world.advance_to(START + timedelta(hours=1), most_steps=50) == 50
    assert world.now_us == world.start_us + 10_000_000
    assert world.advance_to(START) == 0
    assert world.now_us == world.start_us + 10_000_000


def test_amounts_round_half_up() -> None:
    assert amount_of(1, 150) == 2  # 0.015
    assert amount_of(1, 149) == 1
    assert amount_of(3333, 789) == 26297  # 262.9737
    assert amount_of(50, 755) == 378  # 3.775


def test_a_nozzle_sells_what_its_display_says_however_the_display_counts() -> None:
    world = make_world(stations=1, step_s=0.2)
    nozzle: LiveNozzle = next(iter(world.nozzles.values()))
    nozzle.displayed = lambda pulses: pulses * 2
    before = nozzle.totalizer
    sequence = nozzle.sequence
    while nozzle.sequence == sequence:
        world.advance_to(datetime.fromtimestamp(world.now_us / 1e6 + 1, UTC))
    sale = nozzle.sales[nozzle.sequence % 4]
    assert sale is not None
    assert sale.volume == 2 * sale.pulses == nozzle.totalizer - before
