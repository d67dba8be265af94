"""What weighing and watching shows: pulse ratio, rounding, 1 Hz profile, clocks, tank balance, flow and strata.

Everything is reckoned from timelines and records, by none of the plugins' ways. Beside ``evidence_records``, which has
the arithmetic of records and papers. Relative errors are fractions; plus means the customer is short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import lru_cache

import numpy as np
from evidence_records import Pool, identities, pick, pooled, sequence_steps, staged, totalizer_steps
from numpy.typing import NDArray

from pumpwatch.model import EventKind, WorkOrder, to_us
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US, LOCAL_OFFSET_US, MINUTE_US
from pumpwatch_sim.world.clocks import offset_s
from pumpwatch_sim.world.flow import progress_l
from pumpwatch_sim.world.timeline import Payment, Preset, Purpose, Sales, Timeline
from pumpwatch_sim.world.work import Papers

STATION = "S43"
"""Of the small county: good probes, no siphon, two to three nozzles on a tank."""
STEP = 0.004
"""A balance that moves by more is no wear: the law allows 0.30 %."""
FASTER = 0.008
LEAST_SALES = 40

# ---------------------------------------------------------------- the whole of it


def world(name: str, stretches: int = 3, onset: str = "P8D", **values: object) -> Pool:
    """What happens at the station, after an honest week; the making is watched, too."""
    staging = staged({"name": name, "station": STATION, "onset": onset, **values}, count=4)
    scenario = staging.scenarios[0]
    before = repr(sorted(vars(scenario).items(), key=str))
    pool = pooled(staging, STATION, stretches)
    assert repr(sorted(vars(scenario).items(), key=str)) == before, "a hook kept something from one stretch to the next"
    assert unclosed_l(pool) < 1e-6
    return pool


def sales_of(pool: Pool) -> Sales:
    """All fillings of the timelines."""
    return Sales(
        **{
            column.name: np.concatenate([getattr(timeline.sales, column.name) for timeline in pool.timelines])
            for column in fields(Sales)
        }
    )


def customers(pool: Pool) -> Sales:
    """Only those of customers."""
    sales = sales_of(pool)
    return sales.take(sales.purpose == Purpose.CUSTOMER)


def truly_short(sales: Sales) -> NDArray:
    """E of each filling: nobody but the world knows it."""
    return sales.volume / 100.0 / sales.out_l - 1.0


def orders_of(pool: Pool) -> list[WorkOrder]:
    """Work orders which the scenarios put into the papers."""
    first, last = pool.timelines[0].start_us, pool.timelines[-1].end_us
    start, end = (date.fromordinal(719_163 + (at + LOCAL_OFFSET_US) // DAY_US) for at in (first, last))
    papers = Papers(pool.station, start, end, [], [], [], [], {})
    for scenario in pool.scenarios:
        scenario.papers(papers)
    return papers.work_orders


def unclosed_l(pool: Pool) -> float:
    """Litres at 20 °C by which the worst tank does not close: stock, sales, deliveries, returns, losses."""
    worst = 0.0
    for timeline in pool.timelines:
        sales = timeline.sales
        for tank, course in enumerate(timeline.tanks):
            mine = np.isin(sales.nozzle, nozzles_on(pool, (tank,)))
            expansion = course.plan.product.expansion
            sold = (sales.out_l[mine] * (1.0 - expansion * (sales.temperature_c[mine] - 20.0))).sum()
            came = sum(drop.litres_20c for drop in timeline.drops if drop.tank == tank)
            back = sum(litres for at_tank, _, litres in timeline.returns if at_tank == tank)
            lost = sum(course.losses_20c_l.values())
            stock = course.stock_20c_l
            worst = max(worst, abs(stock[-1] - (stock[0] - sold + came + back - lost)))
    return float(worst)


def found(pool: Pool) -> set[str]:
    """The checks that see something."""
    return {name for name, check in CHECKS.items() if check(pool)}


# ---------------------------------------------------------------- D: single records


def wrong_ratio(pool: Pool) -> list[int]:
    """D1: rows whose litres are off by more than two certified pulses."""
    sales = pool.transactions
    pulse_l = np.array([nozzle.registered.pulse_l or 0.01 for nozzle in pool.station.nozzles])[sales["nozzle"]]
    off = np.abs(sales["volume_l"] - sales["encoder_pulses"] * pulse_l)
    return np.flatnonzero(off > 2.0 * pulse_l + 1e-6).tolist()


def one_sided_rounding(pool: Pool) -> list[int]:
    """D2: nozzles whose amounts lie above litres times price, by more than 0.2 fen on average since the onset."""
    sales = pool.after(pool.transactions, "end")
    fen = 100.0 * (sales["amount_cny"] - sales["volume_l"] * sales["unit_price"])
    return [
        nozzle
        for nozzle in range(len(pool.station.nozzles))
        if (sales["nozzle"] == nozzle).sum() >= LEAST_SALES and fen[sales["nozzle"] == nozzle].mean() > 0.2
    ]


def broken_totalizers(pool: Pool) -> list[float]:
    """D3: litres the totalizers moved more or less than the records say."""
    steps = totalizer_steps(pool.transactions)
    return steps[np.abs(steps) > 0.011].tolist()


def sequence_gaps(pool: Pool) -> list[int]:
    """D5: steps that are not 1."""
    return sequence_steps(pool.transactions).tolist()


def unexplained_identities(pool: Pool) -> list[str]:
    """D6: devices that changed identity or seal within a day of which no work order says anything."""
    told = [(order.device_id, to_us(order.at)) for order in orders_of(pool)]
    strange = []
    for event in identities(pool):
        at, nozzle = to_us(event.at), str(event.detail.get("nozzle_id"))
        if not any(device in {event.device_id, nozzle} and abs(at - when) < DAY_US for device, when in told):
            strange.append(event.device_id)
    return strange


def profile(sales: Sales, row: int) -> tuple[NDArray, NDArray]:
    """Second by second from the first flow: litres on the display, and litres that the pulses stand for."""
    seconds = np.arange(0.0, (sales.end_us[row] - sales.start_us[row]) / 1e6 + 1.0)
    flowed = (sales.volume[row] - sales.start_volume[row] - sales.jump[row]) / 100.0
    share = progress_l(np.full(len(seconds), flowed), np.full(len(seconds), sales.flow_l_min[row]), seconds) / flowed
    jumped = np.where(share >= sales.jump_at[row], sales.jump[row] / 100.0, 0.0)
    return sales.start_volume[row] / 100.0 + share * flowed + jumped, share * sales.pulses[row] * 0.01


def broken_profiles(pool: Pool) -> list[int]:
    """D7: fillings that do not begin at zero, or gain more in a second than pulses and flow can give."""
    sales = sales_of(pool)
    odd = []
    # Only what differs from pulses at all is worth the look at every second.
    for row in np.flatnonzero(sales.volume - sales.pulses > 4).tolist():
        display, pulses = profile(sales, row)
        if display[0] > 0.05 or (np.diff(display) - np.diff(pulses)).max() > 0.3:
            odd.append(row)
    return odd


def wrong_clocks(pool: Pool) -> list[str]:
    """D8: dispensers whose clock is off by a minute and that do not tell of a correction."""
    corrected = {event.device_id for event in pool.events if event.kind is EventKind.CLOCK}
    wrong = set()
    for timeline in pool.timelines:
        hours = np.arange(timeline.start_us, timeline.end_us, HOUR_US)
        for index, dispenser in enumerate(pool.station.dispensers):
            name = dispenser.registered.dispenser_id
            if name not in corrected and np.abs(offset_s(timeline, index, hours)).max() > 60.0:
                wrong.add(name)
    return sorted(wrong)


# ---------------------------------------------------------------- P: the balance


def groups(pool: Pool) -> list[tuple[int, ...]]:
    """Tanks, manifolded ones together."""
    found: dict[str, list[int]] = {}
    for index, tank in enumerate(pool.station.tanks):
        found.setdefault(tank.registered.manifold or tank.registered.tank_id, []).append(index)
    return [tuple(group) for group in found.values()]


def nozzles_on(pool: Pool, group: Sequence[int]) -> list[int]:
    """Nozzles that draw from these tanks."""
    names = [tank.registered.tank_id for tank in pool.station.tanks]
    return [
        index
        for index, nozzle in enumerate(pool.station.nozzles)
        if names.index(nozzle.tank.registered.tank_id) in group
    ]


@dataclass(frozen=True, eq=False)
class Hours:
    """Hour by hour: how far each tank fell and what each nozzle showed, litres at 20 °C."""

    at_us: NDArray
    """(h,) starts."""
    fall_l: NDArray
    """(h, tanks)"""
    shown_l: NDArray
    """(h, nozzles)"""
    quiet: NDArray
    """(h, tanks) neither delivery nor test draw nor return."""


@lru_cache(maxsize=2)
def hours_of(pool: Pool) -> Hours:
    """The whole of the pool."""
    parts = [_hours(pool, timeline) for timeline in pool.timelines]
    return Hours(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(Hours)))


def _hours(pool: Pool, timeline: Timeline) -> Hours:
    edges = np.arange(timeline.start_us, timeline.end_us + 1, HOUR_US, dtype=np.int64)
    fall = [-np.diff(np.interp(edges, course.at_us, course.stock_20c_l)) for course in timeline.tanks]
    sales, shown = timeline.sales, []
    names = [tank.registered.tank_id for tank in pool.station.tanks]
    feeds = [names.index(nozzle.tank.registered.tank_id) for nozzle in pool.station.nozzles]
    for nozzle, tank in enumerate(feeds):
        rows, course = np.flatnonzero(sales.nozzle == nozzle), timeline.tanks[tank]
        start = sales.start_us[rows]
        warm = np.interp(start, course.slow_us, course.temperature_c)
        litres = sales.volume[rows] / 100.0 * (1.0 - course.plan.product.expansion * (warm - 20.0))
        total = np.cumsum(litres)
        knots, levels = np.stack([start, sales.end_us[rows]], 1).ravel(), np.stack([total - litres, total], 1).ravel()
        shown.append(np.diff(np.interp(edges, knots, levels, left=0.0)) if len(rows) else np.zeros(len(edges) - 1))
    spans = [(drop.tank, drop.start_us, drop.end_us) for drop in timeline.drops]
    spans += [(tank, at - 10 * MINUTE_US, at + 5 * MINUTE_US) for tank, at, _ in timeline.returns]
    draws = np.flatnonzero(sales.purpose == Purpose.TEST_DRAW)
    spans += [(feeds[sales.nozzle[row]], int(sales.start_us[row]), int(sales.hung_us[row])) for row in draws]
    quiet = np.ones((len(edges) - 1, len(names)), bool)
    for tank, start_us, end_us in spans:
        quiet[:, tank] &= (edges[1:] <= start_us) | (edges[:-1] >= end_us)
    return Hours(edges[:-1], np.array(fall).T, np.array(shown).T, quiet)


@lru_cache(maxsize=2)
def hours_by_gauge(pool: Pool) -> Hours:
    """As ``hours_of``, but the tanks fall as their gauges tell, and the sloshing after deliveries is left out."""
    true, fall, quiet = hours_of(pool), [], []
    edges = np.append(true.at_us, true.at_us[-1] + HOUR_US)
    for tank in range(len(pool.station.tanks)):
        rows = pick(pool.readings, pool.readings["tank"] == tank)
        rows = pick(rows, np.argsort(rows["time"], kind="stable"))
        fall.append(-np.diff(np.interp(edges, rows["time"], rows["volume_20c_l"])))
        calm = true.quiet[:, tank].copy()
        calm[1:] &= true.quiet[:-1, tank]
        quiet.append(calm)
    return replace(true, fall_l=np.array(fall).T, quiet=np.array(quiet).T)


def balance(pool: Pool, since_us: int, until_us: int, hours: Hours | None = None) -> dict[int, float]:
    """E of each nozzle, with the common loss in it: least squares of the tanks' fall on what the nozzles showed."""
    errors: dict[int, float] = {}
    hours = hours or hours_of(pool)
    span = (hours.at_us >= since_us) & (hours.at_us < until_us)
    for group in groups(pool):
        nozzles = np.array(nozzles_on(pool, group))
        chosen = span & hours.quiet[:, list(group)].all(axis=1)
        fall, shown = hours.fall_l[chosen][:, list(group)].sum(axis=1), hours.shown_l[chosen][:, nozzles]
        used = (shown > 0.5).sum(axis=0) >= LEAST_SALES / 2
        if len(fall) <= len(nozzles) or not used.any():
            continue
        share = np.linalg.lstsq(shown[:, used], fall, rcond=None)[0]
        errors |= {nozzle: 1.0 / float(one) - 1.0 for nozzle, one in zip(nozzles[used].tolist(), share, strict=True)}
    return errors


@lru_cache(maxsize=2)
def steps(pool: Pool) -> dict[int, float]:
    """By how much each nozzle's E rose at the onset."""
    before = balance(pool, 0, pool.onset_us)
    after = balance(pool, pool.onset_us, 1 << 62)
    return {nozzle: after[nozzle] - before[nozzle] for nozzle in after if nozzle in before}


def short_nozzles(pool: Pool) -> list[int]:
    """P6: nozzles whose balance moved to the customer's loss."""
    return [nozzle for nozzle, step in steps(pool).items() if step > STEP]


def short_tanks(pool: Pool) -> list[tuple[int, ...]]:
    """P10: groups of tanks with two nozzles and more, all of which moved to the customer's loss."""
    moved = set(short_nozzles(pool))
    return [
        group for group in groups(pool) if len(nozzles_on(pool, group)) > 1 and moved >= set(nozzles_on(pool, group))
    ]


# ---------------------------------------------------------------- F: flow


def _change(flow: NDArray, then: NDArray, now: NDArray) -> tuple[float, float]:
    """Relative change of a mean, and its standard error."""
    if min(then.sum(), now.sum()) < LEAST_SALES / 2:
        return 0.0, 1.0
    base = flow[then].mean()
    error = np.hypot(flow[then].std() / np.sqrt(then.sum()), flow[now].std() / np.sqrt(now.sum())) / base
    return float(flow[now].mean() / base - 1.0), float(error)


def faster_nozzles(pool: Pool) -> list[int]:
    """F1: nozzles whose display runs faster since the onset."""
    sales = customers(pool)
    changes = {
        nozzle: _change(
            sales.flow_l_min,
            (sales.nozzle == nozzle) & (sales.start_us < pool.onset_us),
            (sales.nozzle == nozzle) & (sales.start_us >= pool.onset_us),
        )
        for nozzle in range(len(pool.station.nozzles))
    }
    return [nozzle for nozzle, (change, error) in changes.items() if change > FASTER and change > 4.0 * error]


def calm_at_visits(pool: Pool) -> list[int]:
    """F2: nozzles whose display runs slower from half a day before a visit until some hours after it."""
    sales, calm = customers(pool), []
    visits = {to_us(order.at) for order in orders_of(pool) if order.kind == "inspection"}
    near = np.zeros(len(sales), bool)
    for visit in visits:
        near |= (sales.start_us > visit - 11 * HOUR_US) & (sales.start_us < visit + 5 * HOUR_US)
    later = sales.start_us >= pool.onset_us
    for nozzle in range(len(pool.station.nozzles)):
        mine = later & (sales.nozzle == nozzle)
        change, error = _change(sales.flow_l_min, mine & ~near, mine & near)
        if change < -FASTER and change < -4.0 * error:
            calm.append(nozzle)
    return calm


def _test_volumes(sales: Sales) -> NDArray:
    litres = np.zeros(len(sales), bool)
    for volume in (500, 1000, 2000):
        litres |= np.abs(sales.volume - volume) <= 5
    return litres | ((sales.preset == Preset.MONEY) & np.isin(sales.preset_value, (10_000, 20_000)))


def _night(sales: Sales) -> NDArray:
    hour = (sales.start_us + LOCAL_OFFSET_US) // HOUR_US % 24
    return (hour >= 22) | (hour < 6)


STRATA: dict[str, Callable[[Sales], NDArray]] = {
    "volume": lambda sales: sales.volume > 4_000,
    "preset": lambda sales: ~_test_volumes(sales),
    "hour": _night,
    "payment": lambda sales: np.isin(sales.payment, (Payment.CASH, Payment.MOBILE)),
}
"""Kinds of fillings at which somebody may cheat, and not at the others."""


def strata(pool: Pool) -> list[tuple[int, str]]:
    """F3: nozzle and stratum whose display runs faster since the onset, compared with the rest of its fillings."""
    sales = customers(pool)
    later, odd = sales.start_us >= pool.onset_us, []
    for name, stratum in STRATA.items():
        inside = stratum(sales)
        for nozzle in range(len(pool.station.nozzles)):
            mine = sales.nozzle == nozzle
            changes = [
                _change(sales.flow_l_min, mine & kind & ~later, mine & kind & later) for kind in (inside, ~inside)
            ]
            contrast, error = changes[0][0] - changes[1][0], np.hypot(changes[0][1], changes[1][1])
            if contrast > FASTER and contrast > 4.5 * error:
                odd.append((nozzle, name))
    return odd


def outliers(pool: Pool) -> list[int]:
    """F1, F3: nozzles with fillings that ran faster by 6 % than anything before the onset."""
    sales, odd = customers(pool), []
    for nozzle in range(len(pool.station.nozzles)):
        mine = sales.take(sales.nozzle == nozzle)
        then, now = mine.flow_l_min[mine.start_us < pool.onset_us], mine.flow_l_min[mine.start_us >= pool.onset_us]
        if len(then) >= LEAST_SALES and len(now) and (now > 1.06 * then.max()).sum() > 2:
            odd.append(nozzle)
    return odd


# ---------------------------------------------------------------- Q: which fuel


def thinned_tanks(pool: Pool) -> list[int]:
    """Q1: tanks whose fuel is lighter at 20 °C, by more than 5 kg/m³, than their grade is: batches differ by 1.5."""
    least = [min(timeline.tanks[tank].density_20c.min() for timeline in pool.timelines) for tank in _tanks(pool)]
    return [tank for tank in _tanks(pool) if least[tank] < pool.station.tanks[tank].product.density_20c - 5.0]


def _tanks(pool: Pool) -> range:
    return range(len(pool.station.tanks))


def foreign_falls(pool: Pool) -> list[tuple[int, int]]:
    """Q2: groups of tanks (by their first) of which one falls as the nozzles of the other sell, since the onset."""
    odd, hours = [], hours_of(pool)
    for own in groups(pool):
        chosen = (hours.at_us >= pool.onset_us) & hours.quiet[:, list(own)].all(axis=1)
        fall, shown = hours.fall_l[chosen][:, list(own)].sum(axis=1), hours.shown_l[chosen]
        for other in groups(pool):
            sums = np.stack([shown[:, nozzles_on(pool, group)].sum(axis=1) for group in (own, other)], 1)
            if own != other and np.linalg.lstsq(sums, fall, rcond=None)[0][1] > 0.03:
                odd.append((own[0], other[0]))
    return odd


CHECKS: dict[str, Callable[[Pool], object]] = {
    "D1": wrong_ratio,
    "D2": one_sided_rounding,
    "D3": broken_totalizers,
    "D5": sequence_gaps,
    "D6": unexplained_identities,
    "D7": broken_profiles,
    "D8": wrong_clocks,
    "P6": short_nozzles,
    "P10": short_tanks,
    "F1": lambda pool: faster_nozzles(pool) or outliers(pool),
    "F2": calm_at_visits,
    "F3": strata,
    "Q1": thinned_tanks,
    "Q2": foreign_falls,
}
"""By their ids in the evaluation."""
