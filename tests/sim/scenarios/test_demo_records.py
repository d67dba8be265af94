"""The three cheats of the demonstration: where, when and exactly how much."""

from __future__ import annotations

import numpy as np
import pytest
from evidence_records import honest, identities, pooled, staged, totalizer_steps, world

from pumpwatch_sim.world.timeline import NO_TAX_RECORD, Purpose

STATION = "S15"
ENTRIES = (
    {"name": "demo_short_delivery", "onset": "PT0S"},
    {"name": "demo_mainboard_swap", "onset": "PT45S"},
    {"name": "demo_hidden_sale", "onset": "PT60S"},
)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_three_stations_in_different_towns(seed: int) -> None:
    staging = staged(*ENTRIES, seed=seed)
    stations = {station.station_id: station for station in staging.county.stations}
    assert len({stations[each.target.station_id].registered.town for each in staging.scenarios}) == 3
    items = [item for each in staging.scenarios for item in each.truth(stations)]
    assert [item.cause for item in items] == ["short_delivery", "identity_change", "offline_sale"]
    assert [(item.size.value, item.size.unit) for item in items] == [(3.0, "%"), (1.0, "mainboard"), (36.5, "L")]
    assert [(item.onset_us - staging.start_us) / 1e6 for item in items] == [0, 45, 60]
    assert [each.truth_name for each in staging.scenarios] == ["display_multiplied", "mainboard_swapped", "hidden_sale"]
    assert all(item.deterministic and item.end_us is None and item.horizon_days == 1 for item in items)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_display_is_multiplied_and_its_first_victim_comes_at_once(seed: int) -> None:
    staging = staged(ENTRIES[0], seed=seed)
    (cheat,) = staging.scenarios
    pool = pooled(staging, cheat.target.station_id, 1)
    sales = pool.timelines[0].sales
    mine = sales.nozzle == cheat.target.nozzle
    hit = mine & (sales.start_us >= cheat.onset_us)
    assert hit.sum() > 20
    shown = np.floor(sales.pulses * 1.03 + 0.5)
    assert (sales.volume[hit] == shown[hit]).all()
    assert (sales.volume[~hit] == sales.pulses[~hit]).all()
    assert (sales.tax_volume == sales.volume).all()
    assert (totalizer_steps(pool.transactions) == 0.0).all()
    first = np.flatnonzero(hit)[0]
    assert 0 < sales.start_us[first] - cheat.onset_us < 10e6
    assert sales.end_us[first] - cheat.onset_us < 50e6
    assert 800 <= sales.volume[first] <= 1_210
    short = sales.volume[hit].sum() / 100 / sales.out_l[hit].sum() - 1
    honest_error = sales.volume[mine & ~hit].sum() / 100 / sales.out_l[mine & ~hit].sum() - 1
    assert short - honest_error == pytest.approx(0.03, abs=1e-3)


def test_a_board_changes_without_a_break() -> None:
    pool = world("demo_mainboard_swap", STATION, 2, onset="PT45S", dispenser=f"{STATION}-D1")
    (event,) = identities(pool)
    registered = pool.station.dispensers[0].registered
    assert event.device_id == registered.dispenser_id
    changes = [timeline.identities for timeline in pool.timelines]
    assert changes[0] == changes[1]
    (change,) = changes[0]
    assert change.at_us == pool.scenarios[0].onset_us
    assert change.mainboard_serial not in {None, registered.mainboard_serial}
    assert change.firmware_digest not in {None, registered.firmware_digest}
    assert len(bytes.fromhex(change.firmware_digest or "")) == 32
    assert change.serial is change.tax_serial is change.firmware_version is None
    assert pool.timelines[0].outages == honest(STATION).timelines[0].outages


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hidden_sale_between_two_honest_ones(seed: int) -> None:
    staging = staged(ENTRIES[2], seed=seed)
    (cheat,) = staging.scenarios
    pool = pooled(staging, cheat.target.station_id, 1)
    sales = pool.timelines[0].sales
    mine = np.flatnonzero(sales.nozzle == cheat.target.nozzle)
    (middle,) = np.flatnonzero(sales.purpose[mine] == Purpose.HIDDEN)
    before, hidden, after = sales.take(mine[[middle - 1]]), sales.take(mine[[middle]]), sales.take(mine[[middle + 1]])
    seconds = [(sale.lifted_us[0] - cheat.onset_us) / 1e6 for sale in (before, hidden, after)]
    assert seconds[0] == -59
    assert seconds[1] == 0
    assert 6 <= seconds[2] <= 25
    assert before.hung_us[0] < hidden.lifted_us[0] < hidden.hung_us[0] <= after.lifted_us[0]
    assert (hidden.end_us[0] - hidden.start_us[0]) / 1e6 < 6
    assert hidden.volume[0] == 3_650
    assert not hidden.recorded[0]
    assert hidden.tax_volume[0] == NO_TAX_RECORD
    assert after.seq[0] == before.seq[0] + 1
    assert after.totalizer[0] == before.totalizer[0] + 3_650 + after.volume[0]
    assert after.totalizer_amount[0] == before.totalizer_amount[0] + hidden.amount[0] + after.amount[0]
    assert after.volume[0] == after.pulses[0] == after.tax_volume[0]
    steps = totalizer_steps(pool.transactions)
    assert steps[steps != 0.0].tolist() == [36.5]
