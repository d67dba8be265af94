"""The customers: when they come, how much they want, what they key in and how they pay."""

from __future__ import annotations

import math
from dataclasses import fields
from datetime import date, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch_sim.chance import generator
from pumpwatch_sim.world.days import DAY_US, LOCAL_US, Holiday, holiday_on, local_day, shift_at, travel_day
from pumpwatch_sim.world.plans import StationKind
from pumpwatch_sim.world.prices import price_at
from pumpwatch_sim.world.timeline import Payment, Preset, Purpose
from pumpwatch_sim.world.work import Demand, Wish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.random import Generator

    from pumpwatch_sim.fleet import Stations
    from pumpwatch_sim.world.timeline import Bools, Floats, Ints
    from pumpwatch_sim.world.work import Booking, Stretch

__all__ = ["LOCAL", "PRESETS", "Payment", "Preset", "expected", "shift_at", "wishes"]

LOCAL = timezone(timedelta(hours=8), "Asia/Shanghai")
"""The county's wall clock; no summer time."""
PRESET_SHARE = 0.35
PRESETS: tuple[tuple[Preset, int, float], ...] = (
    (Preset.MONEY, 10_000, 0.20),
    (Preset.MONEY, 20_000, 0.25),
    (Preset.MONEY, 30_000, 0.15),
    (Preset.LITRES, 1_000, 0.12),
    (Preset.LITRES, 2_000, 0.16),
    (Preset.LITRES, 3_000, 0.12),
)
"""What is keyed in, with weights: 100, 200, 300 yuan and 10, 20, 30 litres."""
MEAN_L, CV, LEAST_L, MOST_L = 30.0, 0.5, 3.0, 150.0
"""Free fillings: lognormal before they are clipped."""
PAYMENTS: tuple[tuple[Payment, float], ...] = ((Payment.MOBILE, 0.70), (Payment.CARD, 0.20), (Payment.CASH, 0.10))

_HOUR_US = 3_600_000_000
_SERVICE_S = 85.0
"""A filling with all that belongs to it: whoever finds too long a queue drives on."""
_DAY_SPREAD = 0.08
"""How much busier one day is than another of the same kind (standard deviation of the logarithm)."""
_SIGMA = math.sqrt(math.log(1.0 + CV**2))
_MU = math.log(MEAN_L) - _SIGMA**2 / 2.0
_MARKET_EVERY = 5
"""A village has its market day every fifth day."""

_HOURS: Mapping[StationKind, tuple[float, ...]] = {
    StationKind.TOWN: (
        0.15, 0.08, 0.06, 0.06, 0.10, 0.35, 0.90, 1.75, 2.00, 1.60, 1.25, 1.15,
        1.10, 1.00, 1.00, 1.10, 1.35, 1.85, 2.05, 1.60, 1.20, 0.90, 0.60, 0.35,
    ),
    StationKind.HIGHWAY: (
        0.45, 0.35, 0.30, 0.30, 0.40, 0.60, 0.85, 1.10, 1.40, 1.60, 1.55, 1.35,
        1.20, 1.15, 1.25, 1.40, 1.55, 1.60, 1.45, 1.20, 1.00, 0.85, 0.70, 0.55,
    ),
    StationKind.PORT: (
        0.30, 0.20, 0.20, 0.25, 0.45, 0.95, 1.60, 2.00, 1.75, 1.40, 1.15, 1.00,
        0.95, 1.10, 1.40, 1.65, 1.70, 1.45, 1.10, 0.85, 0.70, 0.60, 0.50, 0.40,
    ),
    StationKind.VILLAGE: (
        0.04, 0.03, 0.03, 0.04, 0.15, 0.60, 1.40, 2.05, 2.10, 1.75, 1.35, 1.10,
        0.90, 0.90, 1.10, 1.35, 1.70, 1.95, 1.60, 1.05, 0.65, 0.40, 0.20, 0.08,
    ),
}  # fmt: skip
"""Customers by hour of day, a double peak: to work and home again, at the border when it opens and before it shuts."""
_FLAT_HOURS = (
    0.86, 0.84, 0.83, 0.83, 0.85, 0.90, 0.98, 1.08, 1.14, 1.12, 1.06, 1.03,
    1.02, 1.00, 0.99, 1.01, 1.06, 1.12, 1.14, 1.10, 1.03, 0.97, 0.92, 0.88,
)  # fmt: skip
_WEEKDAYS: Mapping[StationKind, tuple[float, ...]] = {
    StationKind.TOWN: (1.00, 0.96, 0.96, 0.98, 1.10, 1.06, 0.94),
    StationKind.HIGHWAY: (1.00, 0.90, 0.88, 0.92, 1.15, 1.05, 1.10),
    StationKind.PORT: (1.08, 1.10, 1.10, 1.10, 1.06, 0.86, 0.70),
    StationKind.VILLAGE: (0.96, 0.96, 0.96, 0.96, 1.00, 1.08, 1.08),
}
_LONG_HOLIDAY: Mapping[StationKind, tuple[float, float]] = {
    StationKind.TOWN: (1.30, 0.80),
    StationKind.HIGHWAY: (2.50, 1.70),
    StationKind.PORT: (0.90, 0.70),
    StationKind.VILLAGE: (1.60, 1.30),
}
"""Factors on the days of travel and between them."""
_SHORT_HOLIDAY: Mapping[StationKind, float] = {
    StationKind.TOWN: 1.05,
    StationKind.HIGHWAY: 1.50,
    StationKind.PORT: 0.80,
    StationKind.VILLAGE: 1.20,
}


def expected(stretch: Stretch, settings: Stations) -> Demand:
    """Step 1: the customers an average such stretch brings; chance comes with :func:`wishes`."""
    station = stretch.station
    hour_us = np.arange(stretch.start_us, stretch.end_us, _HOUR_US, dtype=np.int64)
    local_us = hour_us + LOCAL_US
    curve = np.array(_FLAT_HOURS if settings.hours == "flat" else _HOURS[station.kind])
    curve = curve / curve.sum()
    # An hour that does not begin on the clock's hour takes its share of both.
    hour, part = local_us // _HOUR_US % 24, local_us % _HOUR_US / _HOUR_US
    by_hour = curve[hour] * (1.0 - part) + curve[(hour + 1) % 24] * part
    day = local_us // DAY_US - local_us[0] // DAY_US
    factors = np.ones(int(day[-1]) + 1)
    if settings.hours == "real":
        today = local_day(stretch.start_us)
        factors[:] = [day_factor(station.kind, today + timedelta(days=later)) for later in range(len(factors))]
    usual = np.array([nozzle.sales_per_day for nozzle in station.nozzles])
    rates = usual[:, None] * (by_hour * factors[day])
    shape = rates.shape
    # The last hour may be cut short by the stretch's end.
    rates *= np.minimum(stretch.end_us - hour_us, _HOUR_US) / _HOUR_US
    return Demand(
        stretch=stretch,
        hour_us=hour_us,
        sales_per_hour=crowded(rates, settings.demand),
        preset_share=np.full(shape, PRESET_SHARE),
        preset_values=list(PRESETS),
        litres_factor=np.ones(shape),
    )


def crowded(sales_per_hour: Floats, demand: float) -> Floats:
    """``demand`` times the customers, less those who find too long a queue; as many as ever at demand 1."""
    busy = sales_per_hour * (_SERVICE_S / 3600.0)
    return demand * sales_per_hour * (1.0 + busy) / (1.0 + demand * busy)


def day_factor(kind: StationKind, day: date) -> float:
    """How a day compares with the average one at a station of this kind: 0.7 to 2.5."""
    market = 1.20 if day.toordinal() % _MARKET_EVERY == 0 else 0.95
    holiday = holiday_on(day)
    if holiday is None:
        return _WEEKDAYS[kind][day.weekday()] * (market if kind is StationKind.VILLAGE else 1.0)
    if holiday in {Holiday.SPRING, Holiday.NATIONAL, Holiday.LABOUR}:
        return _LONG_HOLIDAY[kind][0 if travel_day(day) else 1]
    return _SHORT_HOLIDAY[kind]


def wishes(demand: Demand, settings: Stations, seed: int) -> Wish:
    """Who comes indeed, chance customers and booked ones, ordered by nozzle, then arrival.

    Presets are wishes of displayed litres, to the 0.01 L; free fillings of true litres.
    """
    stretch = demand.stretch
    chance = generator(seed, "people", stretch.station.station_id, stretch.number)
    nozzle, hour, arrival_us = _arrivals(demand, settings, chance)
    n, cell = len(nozzle), nozzle * len(demand.hour_us) + hour
    wanted_l = np.clip(chance.lognormal(_MU, _SIGMA, n) * demand.litres_factor.ravel()[cell], LEAST_L, MOST_L)
    kinds, values, weights = zip(*demand.preset_values, strict=True)
    chosen = _choice(weights, chance.random(n))
    keyed = chance.random(n) < demand.preset_share.ravel()[cell]
    wish = Wish(
        nozzle=nozzle,
        arrival_us=arrival_us,
        wanted_l=wanted_l,
        purpose=np.full(n, int(Purpose.CUSTOMER), np.int64),
        preset=np.where(keyed, np.array(kinds, np.int64)[chosen], int(Preset.NONE)),
        preset_value=np.where(keyed, np.array(values, np.int64)[chosen], 0),
        payment=_payments(chance.random(n)),
        local_hour=np.zeros(n, np.int64),
        price=np.zeros(n, np.int64),
        flow_l_min=np.full(n, np.nan),
        hurried=np.zeros(n, bool),
        booked=np.zeros(n, bool),
    )
    if demand.closed:
        wish = wish.take(_open(demand.closed, wish))
    if demand.bookings:
        wish = _with_bookings(wish, demand.bookings, chance)
    span_us = stretch.end_us - stretch.start_us
    wish = wish.take(np.argsort(wish.nozzle * span_us + (wish.arrival_us - stretch.start_us), kind="stable"))
    wish.local_hour = (wish.arrival_us + LOCAL_US) // _HOUR_US % 24
    wish.price = price_at(stretch.station, wish.nozzle, wish.arrival_us)
    _grant_presets(wish)
    return wish


def _arrivals(demand: Demand, settings: Stations, chance: Generator) -> tuple[Ints, Ints, Ints]:
    """Nozzle, hour of the stretch and time of each chance customer."""
    stretch, hour_us = demand.stretch, demand.hour_us
    day = (hour_us + LOCAL_US) // DAY_US
    busy = chance.lognormal(-(_DAY_SPREAD**2) / 2.0, _DAY_SPREAD, int(day[-1] - day[0]) + 1)
    if settings.hours == "flat":
        busy[:] = 1.0
    count = chance.poisson(np.maximum(demand.sales_per_hour, 0.0) * busy[day - day[0]])
    nozzle, hour = np.divmod(np.repeat(np.arange(count.size), count.ravel()), len(hour_us))
    width_us = np.diff(hour_us, append=stretch.end_us)
    return nozzle, hour, hour_us[hour] + (chance.random(len(hour)) * width_us[hour]).astype(np.int64)


def _choice(weights: Sequence[float], draws: Floats) -> Ints:
    """An index for each draw from [0, 1), by weight."""
    edges = np.cumsum(np.array(weights, float))
    return np.searchsorted(edges[:-1] / edges[-1], draws, side="right")


def _payments(draws: Floats) -> Ints:
    kinds, weights = zip(*PAYMENTS, strict=True)
    return np.array(kinds, np.int64)[_choice(weights, draws)]


def _open(closed: Sequence[tuple[int, int, int]], wish: Wish) -> Bools:
    open_ = np.ones(len(wish.nozzle), bool)
    for nozzle, from_us, until_us in closed:
        open_ &= (wish.nozzle != nozzle) | (wish.arrival_us < from_us) | (wish.arrival_us >= until_us)
    return open_


def _with_bookings(wish: Wish, bookings: Sequence[Booking], chance: Generator) -> Wish:
    payments = _payments(chance.random(len(bookings)))
    booked = Wish(
        nozzle=np.array([booking.nozzle for booking in bookings], np.int64),
        arrival_us=np.array([booking.at_us for booking in bookings], np.int64),
        wanted_l=np.array([booking.wanted_l for booking in bookings], np.float64),
        purpose=np.array([booking.purpose for booking in bookings], np.int64),
        preset=np.array([booking.preset for booking in bookings], np.int64),
        preset_value=np.array([booking.preset_value for booking in bookings], np.int64),
        payment=np.array(
            [drawn if b.payment is None else b.payment for b, drawn in zip(bookings, payments, strict=True)], np.int64
        ),
        local_hour=np.zeros(len(bookings), np.int64),
        price=np.zeros(len(bookings), np.int64),
        flow_l_min=np.array([np.nan if b.flow_l_min is None else b.flow_l_min for b in bookings]),
        hurried=np.array([booking.hurried for booking in bookings], bool),
        booked=np.ones(len(bookings), bool),
    )
    # The booked ones first: of two who come at the same moment they are served first.
    return Wish(**{f.name: np.concatenate((getattr(booked, f.name), getattr(wish, f.name))) for f in fields(Wish)})


def _grant_presets(wish: Wish) -> None:
    """Where something is keyed in, just that many litres are wanted."""
    litres, money = wish.preset == Preset.LITRES, wish.preset == Preset.MONEY
    wish.wanted_l[litres] = wish.preset_value[litres] / 100.0
    value, price = wish.preset_value[money], wish.price[money]
    wish.wanted_l[money] = (2 * 100 * value + price) // (2 * price) / 100.0
