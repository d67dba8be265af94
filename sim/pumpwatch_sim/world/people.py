"""The customers: when they come, how much they want and how long they take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig

if TYPE_CHECKING:
    from random import Random

LOCAL = timezone(timedelta(hours=8), "Asia/Shanghai")
"""The county's wall clock; no summer time."""

_IDLE_S = 285.0
"""Mean seconds a nozzle hangs between customers at demand 1: about 15 % of the nozzles then fuel at any time."""
_HOURS = (
    0.86, 0.84, 0.83, 0.83, 0.85, 0.90, 0.98, 1.08, 1.14, 1.12, 1.06, 1.03,
    1.02, 1.00, 0.99, 1.01, 1.06, 1.12, 1.14, 1.10, 1.03, 0.97, 0.92, 0.88,
)  # fmt: skip
"""Demand by hour of day: a double peak, flattened so that the forecourt is lively at night too."""
_BUSIEST = max(_HOURS)
_SIGMA = math.sqrt(math.log(1.0 + 0.5**2))
_MU = math.log(30.0) - _SIGMA**2 / 2.0


class Preset(IntEnum):
    """What the customer keyed in; the numbers of the register map."""

    NONE = 0
    LITRES = 1
    MONEY = 2


class Payment(IntEnum):
    """How the customer pays; the numbers of the register map."""

    UNKNOWN = 0
    CASH = 1
    CARD = 2
    MOBILE = 3


@dataclass(frozen=True, slots=True)
class Customer:
    """One visit to a nozzle."""

    wanted: int
    """What shall stand on the display at the end, 0.01 L."""
    flow_l_min: float
    lifted_s: float
    """From lifting the nozzle to the first flow."""
    rest_s: float
    """From the end of the flow to hanging up."""
    preset: Preset = Preset.NONE
    preset_value: int = 0
    """0.01 L or 0.01 CNY."""
    payment: Payment = Payment.MOBILE


class People:
    """Draws customers from one stream of chance."""

    def __init__(self, chance: Random, demand: float = 1.0) -> None:
        """``demand`` multiplies the arrivals. Raises ``BadConfig`` unless 0 < demand <= 20."""
        if not 0.0 < demand <= 20.0:
            raise BadConfig(f"--demand {demand:g}: give a factor above 0 and at most 20; 1 is the usual day")
        self._chance = chance
        self._rate = demand * _BUSIEST / _IDLE_S

    def next_visit_s(self) -> float:
        """Seconds to the next possible customer of an idle nozzle, at the busiest hour's rate; see :meth:`comes`."""
        return self._chance.expovariate(self._rate)

    def comes(self, at_us: int) -> bool:
        """Whether the possible customer does come at this hour: thinning makes the Poisson process follow the curve."""
        hour = datetime.fromtimestamp(at_us // 1_000_000, UTC).astimezone(LOCAL).hour
        return self._chance.random() * _BUSIEST < _HOURS[hour]

    def customer(self, price: int) -> Customer:
        """A customer at a nozzle with this price (0.01 CNY/L)."""
        chance = self._chance
        preset, value = Preset.NONE, 0
        if chance.random() < 0.35:
            preset = chance.choice((Preset.LITRES, Preset.MONEY))
            value = (
                chance.choice((1000, 2000, 3000))
                if preset is Preset.LITRES
                else chance.choice((10_000, 20_000, 30_000))
            )
        if preset is Preset.LITRES:
            wanted = value
        elif preset is Preset.MONEY:
            wanted = round_half_up(value * 100, price)
        else:
            wanted = round(100.0 * min(max(chance.lognormvariate(_MU, _SIGMA), 3.0), 150.0))
        return Customer(
            wanted=wanted,
            flow_l_min=chance.uniform(30.0, 42.0),
            lifted_s=chance.uniform(2.0, 5.0),
            rest_s=chance.uniform(5.0, 12.0),
            preset=preset,
            preset_value=value,
            payment=chance.choices((Payment.MOBILE, Payment.CARD, Payment.CASH), (70, 20, 10))[0],
        )

    def hurried_customer(self, low_l: float, high_l: float) -> Customer:
        """A small filling at full flow and without delay, for what a demonstration has to show soon."""
        chance = self._chance
        return Customer(
            wanted=chance.randint(round(low_l * 100), round(high_l * 100)),
            flow_l_min=chance.uniform(40.0, 42.0),
            lifted_s=2.0,
            rest_s=chance.uniform(5.0, 8.0),
        )


def round_half_up(numerator: int, denominator: int) -> int:
    """``numerator / denominator`` to the nearest whole number, halves up, without floats; both positive."""
    return (2 * numerator + denominator) // (2 * denominator)
