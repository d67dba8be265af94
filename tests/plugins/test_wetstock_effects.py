"""What a group of deliveries has in common, from drops made by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pumpwatch_wetstock.effects import Drop, Effect, Pool

DAY_US = 86_400_000_000
TANKS, DAYS, ONSET = 4, 120, 70
LITRES = 16_000.0
NATS = 4.1**2 / 2.0


def pool(short: Callable[[str, int], float], scale: float = 1.0, seed: int = 3) -> Pool:
    """Four tanks at two stations, a drop a day each; every other by the station's own lorry ``short`` by so much."""
    chance = np.random.default_rng(seed)
    told: dict[str, list[Drop]] = {"S01": [], "S02": []}
    for day in range(DAYS):
        for tank in range(TANKS):
            station = f"S0{1 + tank // 2}"
            own = chance.random() < 0.5
            lorry = f"own-{station}" if own else f"lorry-{int(chance.integers(20))}"
            spread = scale * np.hypot(20.0, 0.003 * LITRES) / 1.134
            off = 0.004 * (tank - 1.5) * LITRES + spread * chance.standard_t(3) - short(lorry, day) * LITRES
            at = day * DAY_US + tank
            told[station].append(
                Drop(at, at, f"{station}-T{tank}", lorry, "", f"D{day}-{tank}", LITRES, LITRES + float(off), 3.0, 0)
            )
    return Pool(told)


def effects(made: Pool, until: int = DAYS) -> dict[tuple[str, str], Effect]:
    """Of all groups over the last 60 days."""
    due = until * DAY_US
    rows, known = made.rows(due - 60 * DAY_US, due), made.rows(due - 84 * DAY_US, due)
    return dict(made.effects(rows, rows, known, 10))


def test_one_lorry_among_many_is_short() -> None:
    found = effects(pool(lambda lorry, day: 0.005 * (lorry == "own-S01" and day >= ONSET)))
    effect = found["truck", "own-S01"]
    assert effect.nats > NATS
    assert abs(effect.value + 0.005) < 2.0 * effect.sd < 0.004
    assert all(each.nats < NATS for group, each in found.items() if group != ("truck", "own-S01"))


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_short_lorries_do_not_hide_one_another(scale: float) -> None:
    """At every station one: the spread of drops is learned within a lorry, so it is that of honest ones."""
    honest = effects(pool(lambda *_: 0.0, scale))
    both = effects(pool(lambda lorry, day: 0.02 * (lorry.startswith("own") and day >= ONSET), scale))
    assert not [group for group, each in honest.items() if each.nats > NATS]
    for station in ("S01", "S02"):
        effect = both["truck", f"own-{station}"]
        assert effect.nats > 5.0 * NATS
        assert 0.8 < effect.sd / (0.0006 * scale) < 2.0


def test_a_gross_error_counts_little() -> None:
    found = effects(pool(lambda lorry, day: 0.1 * (lorry == "own-S01" and day in (80, 100))))
    assert all(each.nats < NATS for each in found.values())
