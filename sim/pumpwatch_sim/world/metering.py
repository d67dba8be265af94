"""From wishes to fillings: what the meter makes of the litres, what the display shows, and who fuels when."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch_sim.chance import generator
from pumpwatch_sim.world.days import DAY_US, LOCAL_US
from pumpwatch_sim.world.flow import duration_s
from pumpwatch_sim.world.noise import key, wander
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, TOTALIZER_ROLL, Preset, Purpose, Sales
from pumpwatch_sim.world.work import Metering, Stretch, Wish

if TYPE_CHECKING:
    from numpy.random import Generator

    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Bools, Floats, Ints

PULSE_L = 0.01
"""Of a nozzle for which none is registered."""
PATIENCE_S = 600.0
"""Whoever would wait longer drives on."""
FLOW_SPREAD = 0.02
"""Standard deviation of the plateau from sale to sale."""
_LIFT_S, _REST_S, _GAP_S = (2.0, 5.0), (5.0, 12.0), (20.0, 60.0)
_HURRIED_LIFT_S, _HURRIED_REST_S, _HURRIED_GAP_S = 2.0, 5.0, 3.0
_APART_US = 1 << 50
"""Keeps the queues of different nozzles apart in one running maximum: longer than any of them."""


@dataclass(slots=True)
class Counters:
    """What the dispensers' counters stand at, one value a nozzle."""

    seq: Ints
    totalizer: Ints
    totalizer_amount: Ints

    @classmethod
    def first(cls, station: StationPlan, seed: int) -> Counters:
        """At the origin: a station that has been at work for years, far from the roll-over."""
        chance = generator(seed, "counters", station.station_id)
        seq = chance.integers(1_000, 60_000, len(station.nozzles))
        drawn = seq * 3_000 + chance.integers(0, 100_000_000, len(seq))
        known = [plan.totalizer for plan in station.nozzles]
        totalizer = np.array([own if told is None else told for told, own in zip(known, drawn.tolist(), strict=True)])
        prices = np.array([plan.price for plan in station.nozzles], np.int64)
        discount = chance.integers(0, 25_000_000, len(seq))
        return cls(seq, totalizer, np.maximum(amount_of(totalizer, prices) - discount, 0))


@dataclass(slots=True)
class Forecourt:
    """What the nozzles of a station carry from one stretch into the next."""

    drift: Floats
    """Each meter's wander away from its E at the start, in standard deviations."""
    free_us: Ints
    """When each nozzle can be lifted again."""
    postponed: Wish | None
    """Booked fillings there was no time for."""

    @classmethod
    def first(cls, station: StationPlan, origin_us: int) -> Forecourt:
        """At the origin: all nozzles hang."""
        count = len(station.nozzles)
        return cls(np.zeros(count), np.full(count, origin_us, np.int64), None)


def amount_of(volume: Ints, price: Ints) -> Ints:
    """Money (0.01 CNY) for volumes (0.01 L) at prices (0.01 CNY/L), halves up, exactly."""
    return (2 * volume * price + 100) // 200


def meter(stretch: Stretch, wish: Wish, forecourt: Forecourt, seed: int) -> tuple[Metering, Floats]:
    """The honest meters before each filling, and their drift at the stretch's end; ``wish`` gets its final order."""
    _complete(wish)
    if forecourt.postponed is not None:
        late = forecourt.postponed
        wish = joined(replace(late, arrival_us=np.maximum(late.arrival_us, stretch.start_us)), wish)
    wish = wish.take(np.lexsort((wish.arrival_us, wish.nozzle)))
    n, nozzle = len(wish), wish.nozzle
    meters = [plan.meter for plan in stretch.station.nozzles]
    days = -((stretch.start_us - stretch.end_us) // DAY_US)
    first_day = (stretch.start_us - stretch.origin_us) // DAY_US
    error, drift = np.zeros(n), forecourt.drift.copy()
    edges = np.searchsorted(nozzle, np.arange(len(meters) + 1))
    since_days = (wish.arrival_us - stretch.start_us) / DAY_US
    for index, (plan, honest) in enumerate(zip(stretch.station.nozzles, meters, strict=True)):
        mine = slice(edges[index], edges[index + 1])
        of = key(seed, "drift", plan.registered.nozzle_id)
        path = wander(of, float(drift[index]), first_day, days, honest.drift_tau_days)
        error[mine] = honest.error + honest.drift_sd * np.interp(since_days[mine], np.arange(days + 1.0), path)
        drift[index] = path[-1]
    chance = generator(seed, "meter", stretch.station.station_id, stretch.number)
    error += np.array([honest.repeatability for honest in meters])[nozzle] * chance.standard_normal(n)
    offset_l = np.array([honest.offset_l for honest in meters])[nozzle]
    offset_l += np.array([honest.offset_sd_l for honest in meters])[nozzle] * chance.standard_normal(n)
    metering = Metering(
        stretch=stretch,
        wish=wish,
        error=error,
        offset_l=offset_l,
        bypass=np.zeros(n),
        pulse_gain=np.zeros(n),
        display_gain=np.zeros(n),
        start_volume=np.zeros(n, np.int64),
        jump=np.zeros(n, np.int64),
        jump_at=np.full(n, 0.5),
        flow_factor=np.ones(n),
    )
    return metering, drift


def sell(metering: Metering, forecourt: Forecourt, drift: Floats, seed: int) -> tuple[Sales, Forecourt]:
    """Carry out what ``metering`` says; counters and tax are still to be filled by :func:`remember`.

    Customers who would wait longer than ``PATIENCE_S`` or over midnight (the price may change), or whose filling would
    cross the stretch's end, drive on; booked fillings that would cross it are the first of the next stretch.
    """
    stretch, wish = metering.stretch, metering.wish
    n, nozzle = len(wish), wish.nozzle
    chance = generator(seed, "fillings", stretch.station.station_id, stretch.number)
    out_l, metered_l, pulses, shown = _metered(metering, pulse_litres(stretch.station)[nozzle])
    own = np.array([plan.flow_l_min for plan in stretch.station.nozzles])[nozzle]
    own *= 1.0 + FLOW_SPREAD * np.clip(chance.standard_normal(n), -3.0, 3.0)
    true_flow = np.where(np.isnan(wish.flow_l_min), own, wish.flow_l_min) * metering.flow_factor
    # The mainboard shuts the valve, so its own litres decide how long the slow last ones take.
    flow_l_min = true_flow * shown / 100.0 / metered_l
    flow_us = (duration_s(shown / 100.0, flow_l_min) * 1e6).astype(np.int64)
    lift_us = _span_us(chance, _LIFT_S, _HURRIED_LIFT_S, wish.hurried)
    rest_us = _span_us(chance, _REST_S, _HURRIED_REST_S, wish.hurried)
    gap_us = _span_us(chance, _GAP_S, _HURRIED_GAP_S, wish.hurried)
    lifted_us, goes = _queue(stretch, wish, forecourt.free_us, lift_us + flow_us + rest_us, gap_us)
    hung_us = lifted_us + lift_us + flow_us + rest_us
    fits = hung_us <= stretch.end_us
    late = wish.booked & ~fits
    goes &= fits
    free_us = forecourt.free_us.copy()
    np.maximum.at(free_us, nozzle[goes], (hung_us + gap_us)[goes])
    zeros = np.zeros(n, np.int64)
    volume = metering.start_volume + metering.jump + shown
    sales = Sales(
        nozzle=nozzle,
        lifted_us=lifted_us,
        start_us=lifted_us + lift_us,
        end_us=lifted_us + lift_us + flow_us,
        hung_us=hung_us,
        flow_l_min=flow_l_min,
        purpose=wish.purpose,
        preset=wish.preset,
        preset_value=wish.preset_value,
        payment=wish.payment,
        out_l=out_l,
        metered_l=metered_l,
        temperature_c=np.full(n, np.nan),
        pulses=pulses,
        start_volume=metering.start_volume,
        jump=metering.jump,
        jump_at=metering.jump_at,
        volume=volume,
        price=wish.price,
        amount=amount_of(volume, wish.price),
        tax_volume=zeros,
        tax_amount=zeros.copy(),
        seq=zeros.copy(),
        totalizer=zeros.copy(),
        totalizer_amount=zeros.copy(),
        recorded=wish.purpose != Purpose.HIDDEN,
    )
    order = np.flatnonzero(goes)
    order = order[np.lexsort((nozzle[order], sales.start_us[order]))]
    return sales.take(order), Forecourt(drift, free_us, wish.take(late) if late.any() else None)


def remember(sales: Sales, counters: Counters) -> Counters:
    """Fill sequence numbers, totalizers and tax by honest arithmetic; returns the counters afterwards.

    Hidden fillings are on the totalizers, but without a number and a tax record; own use is no sale to tax control.
    """
    order = np.argsort(sales.nozzle, kind="stable")
    nozzle = sales.nozzle[order]
    first = np.searchsorted(nozzle, nozzle)
    after = Counters(counters.seq.copy(), counters.totalizer.copy(), counters.totalizer_amount.copy())
    for column, steps, state in (
        (sales.seq, sales.recorded[order].astype(np.int64), after.seq),
        (sales.totalizer, sales.volume[order], after.totalizer),
        (sales.totalizer_amount, sales.amount[order], after.totalizer_amount),
    ):
        total = np.cumsum(steps)
        running = total - (total - steps)[first] + state[nozzle]
        column[order] = running
        np.maximum.at(state, nozzle, running)
    sales.totalizer %= TOTALIZER_ROLL
    after.totalizer %= TOTALIZER_ROLL
    taxed = sales.recorded & (sales.purpose != Purpose.OWN_USE)
    sales.tax_volume[:] = np.where(taxed, sales.volume, NO_TAX_RECORD)
    sales.tax_amount[:] = np.where(taxed, sales.amount, 0)
    return after


def pulse_litres(station: StationPlan) -> Floats:
    """Certified litres a pulse, of each nozzle."""
    return np.array([plan.registered.pulse_l or PULSE_L for plan in station.nozzles])


def joined(first: Wish, second: Wish) -> Wish:
    """The rows of both."""
    pairs = {f.name: (getattr(first, f.name), getattr(second, f.name)) for f in fields(Wish)}
    return Wish(**{name: np.concatenate(pair) for name, pair in pairs.items()})


def _complete(wish: Wish) -> None:
    if not wish.flow_l_min.size:
        wish.flow_l_min = np.full(len(wish), np.nan)
    if not wish.hurried.size:
        wish.hurried = np.zeros(len(wish), bool)
    if not wish.booked.size:
        wish.booked = wish.purpose != Purpose.CUSTOMER


def _metered(metering: Metering, pulse_l: Floats) -> tuple[Floats, Floats, Ints, Ints]:
    """Litres out of the nozzle and through the meter, pulses, and the 0.01 L they are on the display."""
    wish = metering.wish
    shown_per_pulse = 100.0 * pulse_l * (1.0 + metering.display_gain)
    per_litre = (1.0 + metering.error) * (1.0 + metering.pulse_gain) / pulse_l
    offset = metering.offset_l * (1.0 + metering.pulse_gain) / pulse_l
    kept = 1.0 - metering.bypass
    preset = wish.preset != Preset.NONE
    target = np.floor(100.0 * wish.wanted_l + 0.5) - metering.start_volume - metering.jump
    # The first pulse whose display, rounded, has reached the target.
    stop = np.maximum(np.ceil((target - 0.5) / shown_per_pulse - 1e-9), 1.0)
    least_l = (1.0 - offset) / per_litre
    metered_l = np.maximum(np.where(preset, (stop - offset) / per_litre, wish.wanted_l / kept), least_l)
    pulses = np.floor(metered_l * per_litre + offset + 0.5)
    shown = np.maximum(np.floor(pulses * shown_per_pulse + 0.5), 1.0)
    return metered_l * kept, metered_l, pulses.astype(np.int64), shown.astype(np.int64)


def _span_us(chance: Generator, span_s: tuple[float, float], hurried_s: float, hurried: Bools) -> Ints:
    usual = chance.uniform(*span_s, len(hurried))
    return (np.where(hurried, hurried_s, usual) * 1e6).astype(np.int64)


def _queue(stretch: Stretch, wish: Wish, free_us: Ints, busy_us: Ints, gap_us: Ints) -> tuple[Ints, Bools]:
    """When each is served, first come first served at each nozzle, and who does not drive on."""
    arrival_us = np.maximum(wish.arrival_us, free_us[wish.nozzle])
    # finish_i = max(arrival_i, finish_i-1) + busy_i, written as a running maximum of arrival_i - busy before i.
    busy = busy_us + gap_us
    before = np.cumsum(busy) - busy
    apart = wish.nozzle * _APART_US
    lifted_us = (
        np.maximum.accumulate(arrival_us - stretch.start_us - before + apart) + before - apart + stretch.start_us
    )
    stays = _patient(wish.arrival_us, lifted_us, wish.booked)
    if stays.all():
        return lifted_us, stays
    return _queue_one_by_one(wish, free_us, busy)


def _queue_one_by_one(wish: Wish, free_us: Ints, busy_us: Ints) -> tuple[Ints, Bools]:
    """The same where some drive on and so leave room to those behind them: rare, and slower."""
    free = free_us.tolist()
    lifted = []
    stays = []
    rows = zip(wish.nozzle.tolist(), wish.arrival_us.tolist(), busy_us.tolist(), wish.booked.tolist(), strict=True)
    for nozzle, arrival, busy, booked in rows:
        at = max(arrival, free[nozzle])
        waits = at - arrival <= PATIENCE_S * 1e6 and (at + LOCAL_US) // DAY_US == (arrival + LOCAL_US) // DAY_US
        stays.append(booked or waits)
        lifted.append(at)
        if booked or waits:
            free[nozzle] = at + busy
    return np.array(lifted, np.int64), np.array(stays, bool)


def _patient(arrival_us: Ints, lifted_us: Ints, booked: Bools) -> Bools:
    same_day: Bools = (lifted_us + LOCAL_US) // DAY_US == (arrival_us + LOCAL_US) // DAY_US
    soon: Bools = lifted_us - arrival_us <= PATIENCE_S * 1e6
    return booked | (same_day & soon)
