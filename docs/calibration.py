"""Measures what the simulated county yields; ``python docs/calibration.py`` renews the page and its pictures.

What is measured comes from the records and the true courses of an honest fleet, not from the numbers they were made of.
"""

from __future__ import annotations

import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pumpwatch_sim.fleet import load_fleet
from pumpwatch_sim.fleets import fleet_path
from pumpwatch_sim.staging import Staging, stage
from pumpwatch_sim.world.collecting import collect
from pumpwatch_sim.world.fluids import at_20c
from pumpwatch_sim.world.timeline import Preset, Purpose

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from pumpwatch_sim.world.plans import StationPlan, TankPlan
    from pumpwatch_sim.world.timeline import Drop, Timeline

DOCS = Path(__file__).parent
PAGE = DOCS / "explanation" / "how-honest-is-the-county.md"
PICTURES = DOCS / "pictures"
MILLIMETRE_L = 15.3
"""Of a 30 m³ tank at half height."""
_MINUTE_US, _HOUR_US, _DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
_SETTLED_US, _NEAR_US = 20 * _MINUTE_US, 90 * _MINUTE_US
"""Sloshing has died away; how far from a delivery a reading may be to count as before or after it."""

Numbers = NDArray[np.float64]


@dataclass(slots=True)
class County:
    """What was seen of an honest fleet."""

    days: float
    hours: dict[str, Numbers] = field(default_factory=lambda: defaultdict(lambda: np.zeros(24)))
    """Station kind → sales by local hour."""
    nozzles: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Station kind → how many."""
    sales_a_day: list[float] = field(default_factory=list)
    """Of each nozzle."""
    litres: list[Numbers] = field(default_factory=list)
    """Free fillings."""
    preset_share: list[float] = field(default_factory=list)
    meter_error: list[float] = field(default_factory=list)
    """Each nozzle's mean E, %."""
    drift: list[float] = field(default_factory=list)
    """Each nozzle's E in the last week less E at the start, %."""
    scatter: list[Numbers] = field(default_factory=list)
    """E of sales of about 30 L less their nozzle's mean, %."""
    noise_mm: dict[float, list[Numbers]] = field(default_factory=lambda: defaultdict(list))
    """The probe's noise as planned → differences between readings at rest."""
    delivery: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Tank → (gauge - document) / document at 20 °C of each delivery, %."""
    load_warmer_c: list[float] = field(default_factory=list)
    every_days: list[float] = field(default_factory=list)
    chart_error: list[Numbers] = field(default_factory=list)
    """Of each tank, % of the volume between 10 and 90 % of its height."""
    rise_error: list[Numbers] = field(default_factory=list)
    """Likewise of the volume of each per cent of the height."""
    vapour: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Petrol or diesel → % of what a tank sold."""
    dark_share: list[float] = field(default_factory=list)
    """% of its time that a station is not heard."""
    clock_s_a_day: list[float] = field(default_factory=list)


# ---------------------------------------------------------------- gathering


def gather(staging: Staging) -> County:
    """Watch a fleet for its whole period."""
    county = County((staging.end_us - staging.start_us) / _DAY_US)
    for station in staging.county.stations:
        lives = staging.timelines(station.station_id)
        _watch(county, staging, station, list(takewhile(lambda one: one.start_us < staging.end_us, lives)))
    return county


def _watch(county: County, staging: Staging, station: StationPlan, timelines: list[Timeline]) -> None:
    def column(name: str) -> Numbers:
        return np.concatenate([getattr(timeline.sales, name) for timeline in timelines])

    start, end = column("start_us"), column("end_us")
    nozzle, out, shown = column("nozzle"), column("out_l"), column("volume") / 100.0
    counted = (start >= staging.start_us) & (end < staging.end_us) & (column("purpose") == Purpose.CUSTOMER)
    kind = station.kind.value
    hours = (start[counted] // _HOUR_US + 8) % 24
    county.hours[kind] += np.bincount(hours.astype(int), minlength=24)
    county.nozzles[kind] += len(station.nozzles)
    free = counted & (column("preset") == Preset.NONE)
    county.litres.append(out[free])
    county.preset_share.append(1.0 - free.sum() / max(counted.sum(), 1))
    error = (shown / out - 1.0) * 100.0
    for index, plan in enumerate(station.nozzles):
        mine = counted & (nozzle == index)
        county.sales_a_day.append(mine.sum() / county.days)
        full = mine & (out > 20.0)
        county.meter_error.append(float(error[full].mean()))
        late = full & (start > staging.end_us - 7 * _DAY_US)
        county.drift.append(float(error[late].mean()) - plan.meter.error * 100.0)
        thirty = mine & (out > 28.0) & (out < 32.0)
        county.scatter.append(error[thirty] - error[thirty].mean())
    tank_of = np.array([station.tanks.index(plan.tank) for plan in station.nozzles])[nozzle.astype(int)]
    readings = [collect(t, staging.fleet.stations, staging.fleet.seed, ()).tank_readings for t in timelines]
    drops = [drop for timeline in timelines for drop in timeline.drops]
    for index, tank in enumerate(station.tanks):
        mine = tank_of == index
        seen = {
            name: np.concatenate([one[name][one["tank"] == index] for one in readings])
            for name in ("time", "height_mm", "volume_20c_l", "temperature_c")
        }
        sold_20c = at_20c(out[mine], column("temperature_c")[mine], tank.product.expansion)
        its = sorted((drop for drop in drops if drop.tank == index), key=lambda drop: drop.start_us)
        _watch_tank(county, tank, seen, start[mine], end[mine], sold_20c, its)
        lost = sum(timeline.tanks[index].losses_20c_l.get("vapour", 0.0) for timeline in timelines)
        if sold_20c.sum() > 0:
            group = "diesel" if tank.registered.grade == "0#" else "petrol"
            county.vapour[group].append(100.0 * lost / float(sold_20c.sum()))
    outages = {(o.start_us, o.end_us) for timeline in timelines for o in timeline.outages}
    county.dark_share.append(100.0 * sum(b - a for a, b in outages) / (timelines[-1].end_us - timelines[0].start_us))
    county.clock_s_a_day += [dispenser.clock_drift_s_per_day for dispenser in station.dispensers]


def _watch_tank(
    county: County,
    tank: TankPlan,
    seen: Mapping[str, Numbers],
    start: Numbers,
    end: Numbers,
    sold_20c: Numbers,
    drops: list[Drop],
) -> None:
    """Noise at rest, deliveries by the gauge against the document, and the chart."""
    at, height = seen["time"], seen["height_mm"]
    starts, ends = np.sort(start), np.sort(end)
    begun, done = np.searchsorted(starts, at, "right"), np.searchsorted(ends, at, "right")
    still = begun == done
    near = np.zeros(len(at), bool)
    for drop in drops:
        near |= (at > drop.start_us - _SETTLED_US) & (at < drop.end_us + 6 * _HOUR_US)
    rest = (done[:-1] == begun[1:]) & ~near[:-1] & ~near[1:] & (np.diff(at) <= 5 * _MINUTE_US)
    if tank.registered.manifold is None:  # a siphon moves the level at any time
        county.noise_mm[tank.probe.noise_mm].append(np.diff(height)[rest])
        order = np.argsort(end, kind="stable")
        sum_20c = np.concatenate([[0.0], np.cumsum(sold_20c[order])])
        for before, after, drop in _around(at, still, drops):
            sold = sum_20c[done[after]] - sum_20c[done[before]]
            gained = seen["volume_20c_l"][after] - seen["volume_20c_l"][before] + sold
            county.delivery[tank.registered.tank_id].append(100.0 * (gained / drop.declared_20c_l - 1.0))
            county.load_warmer_c.append(drop.temperature_c - float(seen["temperature_c"][before]))
        county.every_days += list(np.diff([drop.start_us for drop in drops]) / _DAY_US)
    heights = np.linspace(0.1, 0.9, 81) * tank.true_chart.height_mm[-1]
    believed, held = tank.gauge_chart.volume_l(heights), tank.true_chart.volume_l(heights)
    county.chart_error.append(100.0 * (believed / held - 1.0))
    county.rise_error.append(100.0 * (np.diff(believed) / np.diff(held) - 1.0))


def _around(at: Numbers, still: NDArray[np.bool_], drops: list[Drop]) -> Iterator[tuple[int, int, Drop]]:
    """The readings before and after each delivery at which nobody was fuelling and no other delivery was near."""
    settled = [drop.end_us + _SETTLED_US for drop in drops]
    for place, drop in enumerate(drops):
        if not drop.documented or drop.litres_20c <= 0.0:
            continue
        earliest = max(drop.start_us - _NEAR_US, settled[place - 1] if place else 0)
        latest = min(settled[place] + _NEAR_US, drops[place + 1].start_us if place + 1 < len(drops) else sys.maxsize)
        before = np.flatnonzero(still & (at > earliest) & (at < drop.start_us))
        after = np.flatnonzero(still & (at > settled[place]) & (at < latest))
        if len(before) and len(after):
            yield int(before[-1]), int(after[0]), drop


# ---------------------------------------------------------------- figures


def robust_sd(values: Numbers) -> float:
    """1.4826 times the median distance from the median."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _well_known(county: County) -> list[Numbers]:
    """The delivery errors of each tank that has had enough of them."""
    return [np.array(one) for one in county.delivery.values() if len(one) >= 5]


def within_tanks(county: County) -> Numbers:
    """Delivery errors less their tank's median; the freedom lost by that made good."""
    return np.concatenate([(one - np.median(one)) * np.sqrt(len(one) / (len(one) - 1)) for one in _well_known(county)])


def tank_medians(county: County) -> Numbers:
    """What the gauge of each tank makes of a delivery, %."""
    return np.array([float(np.median(one)) for one in _well_known(county)])


def between_tanks(county: County) -> float:
    """The standard deviation of those, less what the medians of so few deliveries scatter by themselves."""
    scatter = np.mean([math.pi / 2.0 * robust_sd(one) ** 2 / len(one) for one in _well_known(county)])
    return math.sqrt(max(0.0, float(np.var(tank_medians(county)) - scatter)))


@dataclass(frozen=True, slots=True)
class Meant:
    """What a figure of the table is meant to be."""

    name: str
    target: str
    source: str
    unit: str
    low: float
    high: float
    """Between these the measured figure agrees with the target, small fleets included."""


MEANT: Mapping[str, Meant] = {
    "rate": Meant("sales a nozzle and day, mean", "20 to 90", "assumption", "", 25.0, 70.0),
    "litres": Meant("free fillings, mean", "30 L", "assumption", "L", 28.5, 31.5),
    "litres_cv": Meant("free fillings, sd / mean", "0.5", "assumption", "", 0.43, 0.53),
    "preset": Meant("fillings with a preset", "35 %", "assumption", "%", 33.0, 37.0),
    "meter": Meant("E over nozzles, sd", "0.144 % (even, ±0.25 %)", "assumption within ±0.30 % [S6]", "%", 0.11, 0.175),
    "meter_most": Meant("E of a nozzle, largest", "0.25 % and drift", "within ±0.30 % [S6][S7]", "%", 0.15, 0.42),
    "drift": Meant("drift of E, sd", "0.05 % (60 days)", "assumption; 0.05-0.2 % a year (mem)", "%", 0.025, 0.07),
    "scatter": Meant(
        "E from sale to sale at 30 L, sd",
        "0.084 % (0.05 %, 0.02 L)",
        "≤ 0.10 % [S6]; offset assumption",
        "%",
        0.075,
        0.095,
    ),
    "noise_good": Meant("one reading, good probe, sd", "1.5 L", "assumption; 0.025 mm [S27]", "L", 1.2, 1.8),
    "noise_base": Meant("one reading, base probe, sd", "3 L", "assumption", "L", 2.5, 3.6),
    "noise_poor": Meant("one reading, poor probe, sd", "8 L", "assumption", "L", 6.6, 9.6),
    "drop_median": Meant("delivery, gauge less document, median", "-0.32 %", "7,324 real drops", "%", -0.55, -0.10),
    "drop_within": Meant("delivery, within a tank, robust sd", "0.43 %", "7,324 real drops", "%", 0.33, 0.55),
    "drop_between": Meant("delivery, between tanks, sd", "0.46 %", "360 real tanks", "%", 0.32, 0.62),
    "drop_beyond": Meant("deliveries off by more than 1 %", "15 %", "7,324 real drops", "%", 4.0, 20.0),
    "drop_low": Meant("delivery, 0.5 % quantile", "-13 %", "7,324 real drops", "%", -16.0, -1.5),
    "drop_high": Meant("delivery, 99.5 % quantile", "+8 %", "7,324 real drops", "%", 1.0, 14.0),
    "every": Meant("days between deliveries, median", "1.5 to 4", "assumption", "d", 1.5, 8.0),
    "load": Meant("load warmer or colder than the tank", "15 °C at most", "[S26]", "°C", 8.0, 18.0),
    "scale": Meant("charts, scale, sd over tanks", "0.3 %", "assumption below the 0.46 % above", "%", 0.18, 0.44),
    "bands": Meant("charts, a band of height, sd", "0.2 %, smooth in between", "assumption", "%", 0.12, 0.24),
    "petrol": Meant("petrol lost as vapour", "0.1 to 0.3 %", "0.29 % at retail (mem) [S28]", "%", 0.1, 0.35),
    "diesel": Meant("diesel lost as vapour", "0.04 % in the year", "0.08 % at retail (mem) [S28]", "%", 0.0, 0.2),
    "dark": Meant("time without word from a station", "0.4 %", "assumption", "%", 0.05, 1.5),
    "clock": Meant("dispensers' clocks, largest drift", "1 s a day", "assumption", "s/day", 0.5, 1.0),
}
"""Sources in brackets are those of the list at the end of the page."""


def figures(county: County) -> dict[str, float]:
    """Every noise of the county that can be seen from outside; the keys are those of :data:`MEANT`."""
    litres, within = np.concatenate(county.litres), within_tanks(county)
    drops = np.concatenate([np.array(one) for one in county.delivery.values()])
    probes = zip(("good", "base", "poor"), sorted(county.noise_mm), strict=False)
    noise = {f"noise_{label}": np.concatenate(county.noise_mm[mm]) / np.sqrt(2.0) for label, mm in probes}
    found = {
        "rate": np.mean(county.sales_a_day),
        "litres": litres.mean(),
        "litres_cv": litres.std() / litres.mean(),
        "preset": 100.0 * np.mean(county.preset_share),
        "meter": np.std(county.meter_error),
        "meter_most": np.abs(county.meter_error).max(),
        "drift": np.std(county.drift),
        "scatter": np.concatenate(county.scatter).std(),
        **{label: millimetres.std() * MILLIMETRE_L for label, millimetres in noise.items()},
        "drop_median": np.median(drops),
        "drop_within": robust_sd(within),
        "drop_between": between_tanks(county),
        "drop_beyond": 100.0 * np.mean(np.abs(within) > 1.0),
        "drop_low": np.quantile(drops, 0.005),
        "drop_high": np.quantile(drops, 0.995),
        "every": np.median(county.every_days),
        "load": np.abs(county.load_warmer_c).max(),
        "scale": np.std([one.mean() for one in county.chart_error]),
        "bands": np.concatenate([one - one.mean() for one in county.rise_error]).std(),
        "petrol": np.mean(county.vapour["petrol"]),
        "diesel": np.mean(county.vapour["diesel"]),
        "dark": np.mean(county.dark_share),
        "clock": np.abs(county.clock_s_a_day).max(),
    }
    return {key: float(value) for key, value in found.items()}


def table(found: Mapping[str, float], county: County) -> str:
    """The figures as a table of the page."""
    lines = [
        f"Measured on {sum(county.nozzles.values())} nozzles over {county.days:.0f} days.",
        "",
        "| figure | meant | source | measured |",
        "|---|---|---|---|",
    ]
    for key, value in found.items():
        meant = MEANT[key]
        measured = f"{value:.3g} {meant.unit}".strip()
        lines.append(f"| {meant.name} | {meant.target} | {meant.source} | **{measured}** |")
    return "\n".join(lines)


# ---------------------------------------------------------------- pictures


def draw(county: County, folder: Path) -> None:
    """Five pictures, each of one distribution."""
    import matplotlib as mpl  # noqa: PLC0415 - a development dependency; the figures do without

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    plt.rcParams |= {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "pumpwatch"}
    folder.mkdir(exist_ok=True)
    shown = {"bins": 61, "color": "#4477aa"}

    figure, axes = plt.subplots(figsize=(5.6, 2.6))
    for kind, counts in sorted(county.hours.items()):
        axes.plot(np.arange(24) + 0.5, counts / county.days / county.nozzles[kind], label=kind)
    axes.set(xlabel="local hour", ylabel="sales per nozzle and hour", xlim=(0, 24), ylim=(0, None))
    axes.legend(frameon=False)
    _save(figure, folder / "county-day.png")

    figure, panels = plt.subplots(1, 3, figsize=(7.0, 2.3))
    for axes, label, mm in zip(panels, ("good", "base", "poor"), sorted(county.noise_mm), strict=False):
        litres = np.concatenate(county.noise_mm[mm]) / np.sqrt(2.0) * MILLIMETRE_L
        axes.hist(litres, range=(-4 * litres.std(), 4 * litres.std()), density=True, **shown)
        axes.set(title=f"{label}: sd {litres.std():.1f} L", xlabel="L in a 30 m³ tank", yticks=[])
    _save(figure, folder / "county-level-noise.png")

    figure, panels = plt.subplots(1, 2, figsize=(7.0, 2.5))
    within = within_tanks(county)
    medians = tank_medians(county)
    panels[0].hist(within, range=(-3, 3), **shown)
    panels[0].set(title=f"within a tank: robust sd {robust_sd(within):.2f} %", xlabel="gauge less document, %")
    panels[1].hist(medians, range=(-2, 2), **(shown | {"bins": 31}))
    panels[1].set(title=f"between tanks: sd {between_tanks(county):.2f} %", xlabel="a tank's median, %")
    _save(figure, folder / "county-deliveries.png")

    figure, panels = plt.subplots(1, 2, figsize=(7.0, 2.5))
    panels[0].hist(county.meter_error, range=(-0.45, 0.45), **(shown | {"bins": 37}))
    panels[0].axvspan(-0.3, 0.3, color="#999999", alpha=0.15, lw=0)
    panels[0].set(title="E of each nozzle", xlabel="% (+: the customer is short); grey: legal")
    panels[1].hist(np.concatenate(county.scatter), range=(-0.4, 0.4), **shown)
    panels[1].set(title="from sale to sale at 30 L", xlabel="%")
    _save(figure, folder / "county-meters.png")

    figure, axes = plt.subplots(figsize=(5.6, 2.6))
    for error in county.chart_error[:24]:
        axes.plot(np.linspace(10, 90, len(error)), error, lw=0.8)
    axes.set(xlabel="height of the tank, %", ylabel="gauge's chart less true, %")
    _save(figure, folder / "county-charts.png")


def _save(figure: Canvas, file: Path) -> None:
    figure.tight_layout()
    figure.savefig(file, dpi=110, metadata={"Software": None})


def renew(text: str, lines: str) -> str:
    """The page with its measured table replaced."""
    return re.sub(
        r"(<!-- measured -->\n).*?(<!-- end -->)", lambda found: f"{found[1]}{lines}\n{found[2]}", text, flags=re.DOTALL
    )


def main(fleet: str = "honest") -> None:
    """Watch a fleet without its scenarios, draw it and renew the page."""
    plan = load_fleet(fleet_path(fleet)).model_copy(update={"scenario": ()})
    if not isinstance(plan.start, datetime):
        sys.exit(f"{fleet} starts now; a calibration needs a time")
    county = gather(stage(plan, plan.start))
    draw(county, PICTURES)
    found = figures(county)
    PAGE.write_text(renew(PAGE.read_text(encoding="utf-8"), table(found, county)), encoding="utf-8")
    for key, value in found.items():
        meant = MEANT[key]
        verdict = "" if meant.low <= value <= meant.high else f"  <- not within {meant.low:g} to {meant.high:g}"
        sys.stdout.write(f"{meant.name}: {value:.3g} {meant.unit} (meant {meant.target}){verdict}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
