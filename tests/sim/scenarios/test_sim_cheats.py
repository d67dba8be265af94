"""The three cheats: where, when and exactly how much."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from pumpwatch.model import NozzleState
from pumpwatch_sim.county import build_county
from pumpwatch_sim.scenarios.cheats import choose_cheats, truth_of
from pumpwatch_sim.world.forecourt import LiveNozzle, Sale
from pumpwatch_sim.world.people import round_half_up
from pumpwatch_sim.world.world import World

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)


def tampered(stations: int = 46, seed: int = 1) -> tuple[World, list[dict[str, object]]]:
    county = build_county(seed, date(2026, 11, 22), stations)
    world = World(county, START)
    cheats = choose_cheats(county)
    for cheat in cheats:
        cheat.begin(world)
    items = truth_of(cheats, world)["items"]
    assert isinstance(items, list)
    return world, items


def subject(items: list[dict[str, object]], cause: str, key: str) -> str:
    return next(item["subject"][key] for item in items if item["cause"] == cause)  # type: ignore[index]


def last_sale(nozzle: LiveNozzle) -> Sale:
    sale = nozzle.sales[nozzle.sequence % 4]
    assert sale is not None
    return sale


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_three_stations_in_different_towns(seed: int) -> None:
    world, items = tampered(seed=seed)
    assert [item["cause"] for item in items] == ["short_delivery", "identity_change", "offline_sale"]
    stations = {item["subject"]["station_id"] for item in items}  # type: ignore[index]
    towns = {s.registered.town for s in world.county.stations if s.station_id in stations}
    assert len(stations) == len(towns) == 3


@pytest.mark.parametrize(("stations", "cheats"), [(1, 1), (2, 2), (3, 3), (4, 3)])
def test_small_counties_have_as_many_cheats_as_stations(stations: int, cheats: int) -> None:
    _, items = tampered(stations=stations)
    assert len(items) == cheats
    assert len({item["subject"]["station_id"] for item in items}) == cheats  # type: ignore[index]


def test_truth_names_cause_subject_and_onset() -> None:
    world, items = tampered()
    truth = truth_of((), world)
    assert truth == {"honest_nozzle_years": 0.0, "items": []}
    assert [item["onset"] for item in items] == ["2026-11-22T04:30:00Z", "2026-11-22T04:30:45Z", "2026-11-22T04:31:00Z"]
    assert [item["size"] for item in items] == [
        {"value": 3.0, "unit": "%"},
        {"value": 1.0, "unit": "mainboard"},
        {"value": 36.5, "unit": "L"},
    ]
    for item in items:
        assert set(item) == {
            "scenario", "cause", "subject", "onset", "end", "size", "departments", "deterministic", "horizon_days",
        }  # fmt: skip
        assert item["deterministic"] is True
        assert item["end"] is None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_short_delivery_shows_three_percent_more_than_the_encoder_counts(seed: int) -> None:
    world, items = tampered(3, seed)
    nozzle = world.nozzles[subject(items, "short_delivery", "nozzle_id")]
    past = [sale for sale in nozzle.sales if sale]
    assert all(sale.volume == sale.pulses for sale in past), "the past was honest"
    first = nozzle.sequence + 1
    world.advance_to(START + timedelta(seconds=10))
    assert nozzle.state is not NozzleState.IDLE, "its first victim comes within 10 s"
    before = last_sale(nozzle)
    drawn = 0.0
    sales = []
    for second in range(11, 2400):
        world.advance_to(START + timedelta(seconds=second))
        if nozzle.sequence != before.sequence:
            sale = last_sale(nozzle)
            assert sale.sequence == before.sequence + 1
            assert sale.volume == round_half_up(sale.pulses * 103, 100) == sale.tax_volume
            assert sale.totalizer == before.totalizer + sale.volume
            assert sale.totalizer_amount == before.totalizer_amount + sale.amount
            assert sale.amount == sale.tax_amount == round_half_up(sale.volume * sale.price, 100)
            drawn += sale.pulses * 0.01 / (1 + nozzle.plan.error)
            sales.append(sale)
            before = sale
    assert len(sales) > 3
    assert sales[0].sequence == first
    assert 800 <= sales[0].volume <= 1200
    assert sales[0].end_s - world.start_us // 1_000_000 < 40
    shown = sum(sale.volume for sale in sales) / 100
    assert (shown - drawn) / drawn == pytest.approx(0.03 + nozzle.plan.error * 1.03, abs=3e-4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_identity_changes_at_45_seconds(seed: int) -> None:
    world, items = tampered(3, seed)
    dispenser = world.dispensers[subject(items, "identity_change", "dispenser_id")]
    registered = dispenser.plan.registered
    world.advance_to(START + timedelta(seconds=44.8))
    assert dispenser.mainboard_serial == registered.mainboard_serial
    assert dispenser.firmware_digest == registered.firmware_digest
    world.advance_to(START + timedelta(seconds=45))
    assert dispenser.mainboard_serial != registered.mainboard_serial
    assert dispenser.firmware_digest != registered.firmware_digest
    assert len(dispenser.mainboard_serial) <= 16
    assert len(bytes.fromhex(dispenser.firmware_digest)) == 32
    others = [other for other in world.dispensers.values() if other is not dispenser]
    assert all(other.mainboard_serial == other.plan.registered.mainboard_serial for other in others)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_the_hidden_sale_moves_totalizers_alone(seed: int) -> None:
    world, items = tampered(3, seed)
    nozzle = world.nozzles[subject(items, "offline_sale", "nozzle_id")]
    first = nozzle.sequence + 1
    world.advance_to(START + timedelta(seconds=20))
    assert nozzle.sequence == first, "one honest sale within 20 s"
    honest = last_sale(nozzle)
    assert 800 <= honest.volume <= 1200
    world.advance_to(START + timedelta(seconds=59.8))
    assert nozzle.state is NozzleState.IDLE
    totalizer, amount, drawn = nozzle.totalizer, nozzle.totalizer_amount, nozzle.tank.delivered_l
    assert totalizer == honest.totalizer
    mates = [n for n in world.fuelling.values() if n.tank is nozzle.tank]
    world.advance_to(START + timedelta(seconds=60))
    assert nozzle.totalizer == totalizer + 3650
    assert nozzle.totalizer_amount == amount + round_half_up(3650 * nozzle.plan.price, 100)
    assert (nozzle.state, nozzle.sequence, nozzle.volume) == (NozzleState.IDLE, first, honest.volume)
    assert nozzle.tank.delivered_l - drawn == pytest.approx(36.5, abs=0.1 + 0.2 * len(mates))
    world.advance_to(START + timedelta(seconds=75))
    assert nozzle.state is not NozzleState.IDLE, "the next honest customer comes within 15 s"
    world.advance_to(START + timedelta(seconds=95))
    after = last_sale(nozzle)
    assert after.sequence == first + 1
    assert 800 <= after.volume <= 1200
    assert after.totalizer == honest.totalizer + 3650 + after.volume
    assert after.totalizer_amount > honest.totalizer_amount + after.amount
    assert after.volume == after.pulses == after.tax_volume


def test_every_other_nozzle_stays_honest() -> None:
    world, items = tampered(9)
    cheating = {subject(items, cause, "nozzle_id") for cause in ("short_delivery", "offline_sale")}
    assert len(cheating) == 2
    counted = 0
    for _ in range(40):
        world.advance_to(datetime.fromtimestamp(world.now_us / 1e6 + 30, UTC))
        for name, nozzle in world.nozzles.items():
            if name in cheating:
                continue
            sales = sorted((sale for sale in nozzle.sales if sale), key=lambda sale: sale.sequence)
            assert nozzle.totalizer == sales[-1].totalizer
            for before, after in pairwise(sales):
                counted += 1
                assert after.sequence == before.sequence + 1
                assert after.totalizer == before.totalizer + after.volume
                assert after.volume == after.pulses
    assert counted > 1000
