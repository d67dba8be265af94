"""What an office can compute from records and papers alone: the checks D, X, R, L and Q, none of them the plugins'.

A pool is one station's records over some weeks. Litres, seconds and microseconds since 1970 UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import islice, pairwise

import numpy as np
from numpy.typing import NDArray

from pumpwatch.model import DeviceEvent, EventKind, to_us
from pumpwatch_sim.fleet import Fleet
from pumpwatch_sim.scenarios.base import Scenario
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US, MINUTE_US
from pumpwatch_sim.staging import Staging, stage
from pumpwatch_sim.world.collecting import collect
from pumpwatch_sim.world.plans import StationPlan
from pumpwatch_sim.world.timeline import TOTALIZER_ROLL, Timeline

START = datetime(2026, 3, 1, 16, tzinfo=UTC)
START_US = to_us(START)
ROLL_L = TOTALIZER_ROLL / 100
UNSETTLED_US = 90 * MINUTE_US
"""After a delivery the level sloshes and the fuel is still mixing."""

Table = dict[str, NDArray]


@dataclass(frozen=True, eq=False)
class Pool:
    """One station's records."""

    station: StationPlan
    transactions: Table
    readings: Table
    deliveries: Table
    events: list[DeviceEvent]
    timelines: list[Timeline]
    scenarios: tuple[Scenario, ...]

    @property
    def onset_us(self) -> int:
        """Of the first scenario."""
        return self.scenarios[0].onset_us

    def after(self, table: Table, key: str = "time") -> Table:
        """The rows since the onset."""
        return pick(table, table[key] >= self.onset_us)

    def before(self, table: Table, key: str = "time") -> Table:
        """The rows before the onset."""
        return pick(table, table[key] < self.onset_us)


def pick(table: Table, chosen: NDArray) -> Table:
    """These rows."""
    return {name: column[chosen] for name, column in table.items()}


def staged(*scenarios: dict[str, object], count: int = 9, seed: int = 1, probe: str = "base") -> Staging:
    """A county with what happens in it."""
    return stage(
        Fleet.model_validate(
            {
                "name": "evidence",
                "seed": seed,
                "start": START.isoformat(),
                "days": 90,
                "stations": {"count": count, "probe": probe},
                "scenario": scenarios,
            }
        ),
        START,
    )


def pooled(staging: Staging, station_id: str, stretches: int) -> Pool:
    """The first stretches of a station's life, as they reach the collector."""
    timelines = list(islice(staging.timelines(station_id), stretches))
    scenarios = staging.of(station_id)
    parts = [collect(each, staging.fleet.stations, staging.county.seed, scenarios) for each in timelines]
    tables = [
        {name: np.concatenate([getattr(part, table)[name] for part in parts]) for name in getattr(parts[0], table)}
        for table in ("transactions", "tank_readings", "deliveries")
    ]
    events = [event for part in parts for event in part.events]
    return Pool(staging.station(station_id), tables[0], tables[1], tables[2], events, timelines, scenarios)


def world(name: str, station: str, stretches: int = 2, onset: str = "P6D", **parameters: object) -> Pool:
    """One scenario at a station; the honest fortnight before it, if any, belongs to the pool."""
    entry = {"name": name, "onset": onset, **parameters}
    if not {"nozzle", "dispenser", "tank"} & set(parameters):
        entry["station"] = station
    return pooled(staged(entry), station, stretches)


@lru_cache(maxsize=8)
def honest(station: str, stretches: int = 2) -> Pool:
    """The same station when nothing happens."""
    return pooled(staged(), station, stretches)


# ---------------------------------------------------------------- D: arithmetic of single records


def tax_prices(sales: Table) -> NDArray:
    """D2 at tax control: rows whose tax money is not tax litres times the price charged, to 0.01 CNY."""
    money = np.round(sales["tax_l"] * sales["unit_price"], 2)
    return np.flatnonzero(np.abs(sales["tax_cny"] - money) > 0.0101)


def totalizer_steps(sales: Table) -> NDArray:
    """D3: litres by which each totalizer moved more than its sale says, from row to row of a nozzle."""
    steps = [np.zeros(0)]
    for nozzle in np.unique(sales["nozzle"]):
        mine = pick(sales, sales["nozzle"] == nozzle)
        mine = pick(mine, np.lexsort((mine["seq"], mine["end"])))
        moved = np.diff(mine["totalizer_l"]) - mine["volume_l"][1:]
        steps.append(np.round((moved + ROLL_L / 2) % ROLL_L - ROLL_L / 2, 2))
    return np.concatenate(steps)


def without_tax(sales: Table) -> NDArray:
    """D4: rows of which tax control has no record or another volume."""
    return np.flatnonzero(~(np.abs(sales["tax_l"] - sales["volume_l"]) < 0.005))


def sequence_steps(sales: Table) -> NDArray:
    """D5: steps of the sequence numbers that are not 1, from row to row of a nozzle."""
    steps = [np.zeros(0, np.int64)]
    for nozzle in np.unique(sales["nozzle"]):
        mine = pick(sales, sales["nozzle"] == nozzle)
        step = np.diff(mine["seq"][np.lexsort((mine["seq"], mine["end"]))])
        steps.append(step[step != 1])
    return np.concatenate(steps)


def backward_clocks(sales: Table) -> int:
    """D8: how often a sale with the next number began before its forerunner had ended."""
    count = 0
    for nozzle in np.unique(sales["nozzle"]):
        mine = pick(sales, sales["nozzle"] == nozzle)
        mine = pick(mine, np.argsort(mine["seq"], kind="stable"))
        count += int((mine["start"][1:] < mine["end"][:-1]).sum())
    return count


def sent_again(sales: Table) -> tuple[int, int]:
    """D5 and D9: records that came again under the same nozzle, number and end: byte-equal ones, and edited ones."""
    names = [name for name in sales if sales[name].dtype.kind in "fi"]
    keys = np.stack([sales["nozzle"], sales["seq"], sales["end"]], 1)
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    original = first[which.ravel()]
    again = np.flatnonzero(original != np.arange(len(original)))
    alike = np.ones(len(again), bool)
    for name in names:
        column = sales[name].astype(float)
        pair = column[again], column[original[again]]
        alike &= (pair[0] == pair[1]) | (np.isnan(pair[0]) & np.isnan(pair[1]))
    return int(alike.sum()), int((~alike).sum())


def identities(pool: Pool) -> list[DeviceEvent]:
    """D6: changes of identity and seals that devices have told."""
    return [event for event in pool.events if event.kind in {EventKind.IDENTITY, EventKind.SEAL}]


def expired(pool: Pool, ledger: dict[str, dict[str, object]] | None = None) -> list[str]:
    """D12: nozzles and licences of the register that had run out when the last sale was made."""
    last = datetime.fromtimestamp(int(pool.transactions["end"].max()) / 1e6, UTC).date()
    papers: dict[str, date | None] = {
        "business": pool.station.registered.business_licence_expires,
        "retail": pool.station.registered.retail_licence_expires,
        "hazmat": pool.station.registered.hazmat_licence_expires,
    }
    for nozzle in pool.station.nozzles:
        row = (ledger or {}).get(nozzle.registered.nozzle_id, {})
        told = row.get("certificate_expires", nozzle.registered.certificate_expires)
        papers[nozzle.registered.nozzle_id] = told if isinstance(told, date) else None
    return [name for name, until in papers.items() if until is not None and until < last]


# ---------------------------------------------------------------- the balance of a tank


@dataclass(frozen=True, eq=False)
class Balance:
    """A tank from reading to reading: what it lost beyond what was sold."""

    at_us: NDArray
    """(n,) end of each interval."""
    before_us: NDArray
    """(n,) its start."""
    lost_l: NDArray
    """(n,) at 20 °C; what was sold is taken off."""
    sold_l: NDArray
    """(n,) recorded, at 20 °C."""
    settled: NDArray
    """(n,) neither a rise nor just after one."""


def joined(station: StationPlan, tank: int) -> list[int]:
    """The tank, and those joined to it by a siphon."""
    manifold = station.tanks[tank].registered.manifold
    return [
        index
        for index, other in enumerate(station.tanks)
        if index == tank or (manifold is not None and other.registered.manifold == manifold)
    ]


def balance(pool: Pool, tank: int) -> Balance:
    """The register says which nozzles draw from the tank; joined tanks are one."""
    group = joined(pool.station, tank)
    names = {pool.station.tanks[index].registered.tank_id for index in group}
    expansion = pool.station.tanks[tank].product.expansion
    volume, at, warm = _levels(pool, group)
    sold = sold_until(pool, names, at)
    sold_20c = np.diff(sold) * (1.0 - expansion * (warm[1:] - 20.0))
    lost = -np.diff(volume) - sold_20c
    settled = np.ones(len(lost), bool)
    for end in at[1:][lost < -400.0]:
        settled &= (at[1:] < end - 60 * MINUTE_US) | (at[:-1] > end + UNSETTLED_US)
    return Balance(at[1:], at[:-1], lost, sold_20c, settled)


def sold_until(pool: Pool, tanks: set[str], at_us: NDArray) -> NDArray:
    """Litres recorded so far, at these times, by all nozzles that the register has at these tanks."""
    sold = np.zeros(len(at_us))
    for index, nozzle in enumerate(pool.station.nozzles):
        mine = pick(pool.transactions, pool.transactions["nozzle"] == index)
        if nozzle.registered.tank_id in tanks and len(mine["start"]):
            mine = pick(mine, np.argsort(mine["start"], kind="stable"))
            knots = np.stack([mine["start"], np.maximum(mine["end"], mine["start"] + 1)], 1).ravel()
            total = np.cumsum(mine["volume_l"])
            sold += np.interp(at_us, knots, np.stack([total - mine["volume_l"], total], 1).ravel(), left=0.0)
    return sold


def _levels(pool: Pool, group: list[int]) -> tuple[NDArray, NDArray, NDArray]:
    """Litres at 20 °C of all these tanks together, times and temperature of the first."""
    parts = []
    for index in group:
        rows = pick(pool.readings, pool.readings["tank"] == index)
        rows = pick(rows, np.argsort(rows["time"], kind="stable"))
        parts.append(pick(rows, np.isfinite(rows["volume_20c_l"])))
    common = parts[0]["time"]
    for rows in parts[1:]:
        common = np.intersect1d(common, rows["time"])
    volume = sum(rows["volume_20c_l"][np.isin(rows["time"], common)] for rows in parts)
    return np.asarray(volume), common, parts[0]["temperature_c"][np.isin(parts[0]["time"], common)]


def noise_l(course: Balance) -> float:
    """Robust standard deviation of what is lost in settled intervals without sales."""
    quiet = course.lost_l[course.settled & (course.sold_l == 0.0)]
    return float(1.4826 * np.median(np.abs(quiet - np.median(quiet))))


def unrecorded(pool: Pool, tank: int) -> NDArray:
    """D10, D11: rows of the balance in which a tank fell although no nozzle sold: beyond 4.95 standard deviations."""
    course = balance(pool, tank)
    quiet = course.settled & (course.sold_l == 0.0)
    return np.flatnonzero(quiet & (course.lost_l > 4.95 * noise_l(course)))


# ---------------------------------------------------------------- X: books against fuel


def rises(pool: Pool, tank: int) -> list[tuple[int, int, float]]:
    """What the gauge saw come: begin, end and litres at 20 °C of every rise of 300 L and more within two hours."""
    course = balance(pool, tank)
    found: list[tuple[int, int, float]] = []
    for row in np.flatnonzero(course.lost_l < -60.0):
        begin, end = int(course.before_us[row]), int(course.at_us[row])
        if found and begin - found[-1][1] <= 6 * MINUTE_US:
            begin = found.pop()[0]
        found.append((begin, end, 0.0))
    whole = [
        (begin, end, -float(course.lost_l[(course.at_us > begin) & (course.at_us <= end)].sum()))
        for begin, end, _ in found
    ]
    return [each for each in whole if each[2] > 300.0]


def unmatched(pool: Pool, tank: int) -> tuple[list[float], list[float]]:
    """X2: litres of rises without a paper, and of papers without a rise, within two hours.

    A rise belongs to all papers about it if it is their sum, else to the likest one.
    """
    papers = pick(pool.deliveries, np.isin(pool.deliveries["tank"], joined(pool.station, tank)))
    left = [(int(at), float(litres)) for at, litres in zip(papers["time"], papers["declared_20c_l"], strict=True)]
    strange: list[float] = []
    last = int(pool.readings["time"].max())
    for begin, end, litres in rises(pool, tank):
        near = [each for each in left if begin - 2 * HOUR_US <= each[0] <= end + 2 * HOUR_US]
        if near and abs(sum(paper for _, paper in near) / litres - 1.0) > 0.15:
            near = [min(near, key=lambda each: abs(each[1] - litres))]
        if not near:
            strange.append(litres)
        left = [each for each in left if each not in near]
    return strange, [litres for at, litres in left if at < last - 3 * HOUR_US]


def drop_errors(pool: Pool) -> dict[str, list[float]]:
    """X1: rise over declared litres less one, by lorry."""
    errors: dict[str, list[float]] = defaultdict(list)
    for tank in range(len(pool.station.tanks)):
        papers = pick(pool.deliveries, pool.deliveries["tank"] == tank)
        found = rises(pool, tank)
        for row in range(len(papers["time"])):
            at, declared = int(papers["time"][row]), float(papers["declared_20c_l"][row])
            near = [litres for begin, end, litres in found if begin - HOUR_US <= at <= end + HOUR_US]
            if len(near) == 1:
                errors[str(papers["truck"][row])].append(near[0] / declared - 1.0)
    return errors


def hidden_share(pool: Pool, tank: int) -> float:
    """X4: opening stock and purchases less closing stock and sales, as a share of the sales."""
    group = joined(pool.station, tank)
    volume, at, _ = _levels(pool, group)
    papers = pick(pool.deliveries, np.isin(pool.deliveries["tank"], group))
    inside = (papers["time"] > at[0]) & (papers["time"] < at[-1])
    bought = float(papers["declared_20c_l"][inside].sum())
    sold = float(balance(pool, tank).sold_l.sum())
    return (float(volume[0]) + bought - float(volume[-1]) - sold) / sold


def metered_l(sales: Table) -> float:
    """X3: what the dispensers have sold."""
    return float(sales["volume_l"].sum())


# ---------------------------------------------------------------- R: repetition and silence


def longest_replay(sales: Table) -> int:
    """R1: sales in the longest run whose litres and gaps (whole seconds) a nozzle has had before."""
    best = 0
    for nozzle in np.unique(sales["nozzle"]):
        mine = pick(sales, sales["nozzle"] == nozzle)
        mine = pick(mine, np.argsort(mine["end"], kind="stable"))
        gaps = np.diff(mine["end"]) // 1_000_000
        grams: dict[tuple[float, int], list[int]] = defaultdict(list)
        runs: dict[int, int] = {}
        for row, gram in enumerate(zip(mine["volume_l"][1:].tolist(), gaps.tolist(), strict=True)):
            runs = {old: runs.get(old - 1, 0) + 1 for old in grams[gram]}
            best = max(best, *runs.values()) if runs else best
            grams[gram].append(row)
    return best


def frozen_readings(pool: Pool, tank: int) -> int:
    """R2: readings in the longest run of one and the same height while more than 30 L were sold."""
    rows = pick(pool.readings, pool.readings["tank"] == tank)
    rows = pick(rows, np.argsort(rows["time"], kind="stable"))
    sold = sold_until(pool, {pool.station.tanks[tank].registered.tank_id}, rows["time"])
    best = begin = 0
    for row in range(1, len(rows["height_mm"])):
        if rows["height_mm"][row] != rows["height_mm"][row - 1]:
            begin = row
        elif sold[row] - sold[begin] > 30.0:
            best = max(best, row - begin + 1)
    return best


def silences(pool: Pool, longer_us: int = 9 * MINUTE_US) -> list[tuple[int, int]]:
    """R4: spans without a reading of any tank."""
    times = np.unique(pool.readings["time"])
    return [(int(a), int(b)) for a, b in pairwise(times.tolist()) if b - a > longer_us]


def sold_in_silence(pool: Pool) -> float:
    """R4, D3: litres that the totalizers show more than the records, over all silences."""
    return float(totalizer_steps(pool.transactions).clip(0.0).sum())


# ---------------------------------------------------------------- L, Q: what the fuel does by itself


def lost_per_hour(pool: Pool, tank: int, sales: bool = False) -> float:
    """L1: litres an hour lost in settled intervals without sales; with ``sales``: in all settled ones."""
    course = balance(pool, tank)
    chosen = course.settled & (sales | (course.sold_l == 0.0))
    hours = (course.at_us - course.before_us)[chosen].sum() / HOUR_US
    return float(course.lost_l[chosen].sum() / hours)


def lost_per_sold(pool: Pool, tank: int, since_us: int = 0, until_us: int = 1 << 62) -> float:
    """Share of what is sold that is lost on top, in settled intervals with sales."""
    course = balance(pool, tank)
    chosen = course.settled & (course.at_us >= since_us) & (course.at_us < until_us)
    return float(course.lost_l[chosen].sum() / course.sold_l[chosen].sum())


def water_slope(pool: Pool, tank: int) -> float:
    """L3: millimetres a day."""
    rows = pick(pool.readings, pool.readings["tank"] == tank)
    rows = pool.after(rows) if pool.scenarios else rows
    days = (rows["time"] - rows["time"].min()) / DAY_US
    return float(np.polyfit(days, rows["water_mm"], 1)[0])


def densities(pool: Pool, tank: int) -> Table:
    """Q1: readings of the tank that have a density."""
    rows = pick(pool.readings, pool.readings["tank"] == tank)
    return pick(rows, np.isfinite(rows["density_kg_m3"]))


def over_full(pool: Pool, tank: int) -> int:
    """The level rule: readings above 95 % of the registered capacity."""
    rows = pick(pool.readings, pool.readings["tank"] == tank)
    return int((rows["volume_l"] > 0.95 * pool.station.tanks[tank].registered.capacity_l).sum())


def lost_links(pool: Pool) -> int:
    """R4: how often devices fell silent though the uplink stood."""
    return sum(
        event.kind is EventKind.LINK and not event.detail.get("up") and event.detail.get("reason") == "timeout"
        for event in pool.events
    )


def shares(values: Sequence[float]) -> float:
    """Median, NaN when there is none."""
    return float(np.median(values)) if values else float("nan")
