"""Whatever the fraud and wherever: fuel is conserved, fillings do not overlap, and the same seed is the same world."""

from __future__ import annotations

from itertools import islice

import numpy as np
from evidence import sales_of, unclosed_l
from evidence_records import Pool, staged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.errors import BadConfig
from pumpwatch_sim.scenarios import cases, frauds, honest, selective, swaps, upkeep
from pumpwatch_sim.scenarios.base import Parameter, Scenario
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, Purpose

KINDS = (frauds, selective, swaps, cases, honest, upkeep)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, object]:
    kind: type[Scenario] = draw(st.sampled_from([kind for module in KINDS for kind in module.SCENARIOS]))
    entry: dict[str, object] = {"name": kind.name, "onset": draw(st.sampled_from(["PT0S", "P1DT7H", "P3D"]))}
    for name, parameter in kind.parameters.items():
        if draw(st.booleans()):
            entry[name] = draw(values(parameter))
    return entry


def values(parameter: Parameter) -> st.SearchStrategy[object]:
    if isinstance(parameter.default, bool):
        return st.booleans()
    if isinstance(parameter.default, str):
        return st.sampled_from(parameter.choices)
    low, high = parameter.low or 0.0, parameter.high if parameter.high is not None else 1e3
    return st.floats(low, high).map(lambda number: round(number, 3)).filter(lambda number: low <= number <= high)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entry=entries(), seed=st.integers(1, 1_000))
def test_fuel_is_conserved_and_nothing_overlaps(entry: dict[str, object], seed: int) -> None:
    try:
        staging = staged(entry, count=4, seed=seed)
    except BadConfig:
        # Four stations may lack what it takes: another dispenser, two tanks of a grade.
        return
    scenario = staging.scenarios[0]
    station = scenario.target.station_id
    timelines = list(islice(staging.timelines(station), 1))
    pool = Pool(staging.station(station), {}, {}, {}, [], timelines, (scenario,))
    assert unclosed_l(pool) < 1e-6
    sales = sales_of(pool)
    assert len(sales) > 100
    assert (sales.lifted_us <= sales.start_us).all()
    assert (sales.start_us < sales.end_us).all()
    assert (sales.end_us <= sales.hung_us).all()
    for nozzle in range(len(pool.station.nozzles)):
        mine = sales.take(sales.nozzle == nozzle)
        assert (mine.lifted_us[1:] >= mine.hung_us[:-1]).all()
    assert (sales.out_l > 0.0).all()
    assert (sales.out_l <= sales.metered_l + 1e-9).all()
    assert (np.abs(sales.amount - sales.volume * sales.price / 100.0) <= 1.5).all()
    taxed = sales.tax_volume != NO_TAX_RECORD
    assert np.array_equal(sales.tax_volume[taxed], sales.volume[taxed])
    assert (sales.purpose != Purpose.HIDDEN).all()
    again = next(islice(staging.timelines(station), 1)).sales
    assert all(
        np.array_equal(getattr(again, name), getattr(sales, name)) for name in ("out_l", "volume", "seq", "start_us")
    )
