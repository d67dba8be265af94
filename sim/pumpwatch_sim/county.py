"""The invented county: its stations, dispensers, nozzles and tanks as registered, and the physical facts behind."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch.errors import BadConfig
from pumpwatch.model import Dispenser, Nozzle, Station, Tank
from pumpwatch_sim.chance import generator, stream
from pumpwatch_sim.world.fluids import PRODUCTS, at_20c, from_20c, ground_c
from pumpwatch_sim.world.geometry import Chart, strapped
from pumpwatch_sim.world.plans import (
    COMMON_LOSS_SD,
    METER_DRIFT_SD,
    County,
    DispenserPlan,
    Layout,
    Meter,
    NozzlePlan,
    Probe,
    StationKind,
    StationPlan,
    TankPlan,
)
from pumpwatch_sim.world.prices import level_on

if TYPE_CHECKING:
    from numpy.random import Generator

TOWNS = (
    ("西岭", "West", 5),
    ("北原", "North", 5),
    ("柳沟", "Willow", 4),
    ("石桥", "Bridge", 5),
    ("城关", "Centre", 9),
    ("东河", "East", 5),
    ("青山", "Green", 4),
    ("南塘", "South", 5),
    ("口岸", "Port", 4),
)
"""Invented towns (Chinese, English, stations), row by row of a 3 by 3 map, the first row in the north."""

STATION_COUNT = sum(count for _, _, count in TOWNS)
PULSE_L = 0.01
"""Litres one encoder pulse stands for."""

MOST_STATIONS = 2_000

_HAN = "一二三四五六七八九"
_STATE_OWNED = 19
_DISPENSERS = (2,) * 6 + (3,) * 17 + (4,) * 18 + (5,) * 5
"""Dispensers of each station, dealt by seed: 160 in all."""
_NOZZLES = (4,) * 70 + (3,) * 40 + (2,) * 50
"""Nozzles of each dispenser, dealt by seed: 500 in all."""
_PRICES = {"92#": (715, 755), "95#": (765, 805), "98#": (865, 915), "0#": (685, 725)}
_CENTRE = (41.3, 108.5)
_TOWN_STEP = (0.30, 0.40)
_SUBSET_ORDER = (0, 4, 8, 2, 6, 1, 7, 3, 5)
"""Order of towns from which a smaller county takes its stations, so that a few are spread over the map."""

_DIAMETERS_MM = {10_000: 2000.0, 20_000: 2200.0, 30_000: 2500.0, 50_000: 2800.0}
_HEAD_SHARE = 0.16
"""Depth of the dished heads as a share of the diameter."""
_PROBE_SHARE = 0.25
"""The probe stands so far from the middle, as a share of the length."""
_MOST_TILT = 10
"""mm/m either way."""
_MANIFOLDED = 0.6
"""How likely two tanks of one grade are joined."""
_CHART_SCALE_SD, _CHART_BAND_SD, _CHART_BANDS = 0.003, 0.002, 12
_DELIVERY_BIAS_SD = 0.0033
"""With what the chart does to a delivery (0.3 % scale, about 0.1 % of bands) the tanks differ by 0.46 %."""
_PROBES = {
    "good": Probe(noise_mm=0.095, quantum_mm=0.1, temperature_noise_c=0.02, density_noise=0.3, wander_mm=0.52),
    "base": Probe(noise_mm=0.195, quantum_mm=0.1, wander_mm=1.03),
    "poor": Probe(noise_mm=0.437, quantum_mm=1.0, temperature_noise_c=0.10, density_noise=math.inf, wander_mm=2.07),
}
"""With their quantum they read 1.5, 3 and 8 L in a 30 m³ tank at half height, where a millimetre is 15.3 L.

Their wander, forgotten in five days, is 5, 10 and 20 L there for each square root of a day.
"""
_PROBE_SHARES = {"good": 0.25, "base": 0.55, "poor": 0.20}
_PROBE_OFFSET_SD_MM = 0.4
_KINDS = {StationKind.TOWN: 0.35, StationKind.HIGHWAY: 0.25, StationKind.VILLAGE: 0.40}
"""Of the stations outside the port and the county town."""
_BUSY = {StationKind.TOWN: 52.0, StationKind.HIGHWAY: 58.0, StationKind.PORT: 46.0, StationKind.VILLAGE: 36.0}
"""Sales a day of a nozzle at an average station."""
_GRADE_BUSY = {"92#": 1.15, "95#": 0.95, "98#": 0.50, "0#": 0.80}
_DIESEL_BUSY = {StationKind.HIGHWAY: 1.15, StationKind.PORT: 1.30}
_SALES_A_DAY = (20.0, 90.0)
_LAID_GRADES = ("92#", "95#", "0#") * 2
"""Of the tanks that a layout asks for; of half as many pairs when they are joined."""
_MOST_NOZZLES = 4
"""On one dispenser."""


def build_county(
    seed: int,
    today: date,
    stations: int = STATION_COUNT,
    probe: str = "mixed",
    origin: date | None = None,
    nuisance: float = 1.0,
    layout: Layout | None = None,
) -> County:
    """Invent the county of this seed; fewer ``stations`` are a subset of it, spread over the towns, under the same ids.

    More than 46 repeat the towns; all stand in the order of their ids as strings. ``today`` moves the dates on licences
    and certificates, which are all valid then; ``origin`` (``today`` unless given) is the day on which the tanks hold
    what the plans say. ``probe`` is ``good``, ``base``, ``poor`` or ``mixed``. ``nuisance`` is a factor on the spread
    of what is honestly wrong: wander of meters, gauges and losses, charts, deliveries. What ``layout`` lays down is the
    same at all stations. Raises ``BadConfig``.
    """
    if not 1 <= stations <= MOST_STATIONS:
        raise BadConfig(f"stations {stations}: the county has 1 to {MOST_STATIONS} stations; ask for as many")
    if probe not in {*_PROBES, "mixed"}:
        raise BadConfig(f"probe {probe!r}: there are {', '.join(_PROBES)} and mixed")
    laid = layout or Layout()
    plans = []
    for round_ in range(-(-stations // STATION_COUNT)):
        wanted = set(_subset(stations)) if stations < STATION_COUNT else range(STATION_COUNT)
        for index, station in enumerate(_deal(seed, round_)):
            number = round_ * STATION_COUNT + index
            if index in wanted and number < max(stations, STATION_COUNT):
                builder = _Builder(seed, number, *station, today, origin or today, probe, nuisance, laid)
                plans.append(builder.station())
    return County(seed, tuple(sorted(plans, key=lambda plan: plan.station_id)))


def _deal(seed: int, round_: int) -> list[tuple[str, list[int]]]:
    """Ownership and nozzles of each dispenser for 46 stations; every further round of the towns has its own deal."""
    deal = stream(seed, "deal", round_) if round_ else stream(seed, "deal")
    dispensers, nozzles = list(_DISPENSERS), list(_NOZZLES)
    deal.shuffle(dispensers)
    deal.shuffle(nozzles)
    state_owned = set(deal.sample(range(STATION_COUNT), _STATE_OWNED))
    return [
        ("state" if index in state_owned else "private", [nozzles.pop() for _ in range(dispensers[index])])
        for index in range(STATION_COUNT)
    ]


def _places() -> list[tuple[int, int]]:
    return [(town, place) for town, (_, _, count) in enumerate(TOWNS) for place in range(count)]


def _subset(stations: int) -> list[int]:
    places = _places()
    order = sorted(range(STATION_COUNT), key=lambda index: (places[index][1], _SUBSET_ORDER.index(places[index][0])))
    return sorted(order[:stations])


class _Builder:
    """Invents one station: papers from one stream of chance, physical facts from another."""

    def __init__(
        self,
        seed: int,
        number: int,
        ownership: str,
        counts: Sequence[int],
        today: date,
        origin: date,
        probe: str,
        nuisance: float,
        layout: Layout,
    ) -> None:
        self._round, index = divmod(number, STATION_COUNT)
        self._number = number
        self._town, self._place = _places()[index]
        self._ownership, self._today, self._origin = ownership, today, origin
        self._layout = layout
        self._counts = counts if layout.tanks is None else _dealt(layout.tanks * (layout.nozzles_per_tank or 1))
        self._id = f"S{number + 1:02d}" if number < STATION_COUNT else f"S{number + 1:03d}"
        self._papers = stream(seed, "station", number)
        self._facts = generator(seed, "facts", number)
        self._level = level_on(today)
        self._kind = self._choose_kind()
        self._busy = _BUSY[self._kind] * float(np.exp(self._facts.normal(0.0, 0.25)))
        known = _PROBES[_pick(self._facts, _PROBE_SHARES) if probe == "mixed" else probe]
        self._nuisance, self._probe = nuisance, replace(known, wander_mm=nuisance * known.wander_mm)
        self._serials = 0

    def station(self) -> StationPlan:
        """The whole of it."""
        papers = self._papers
        registered = self._register()
        prices = {grade: papers.randint(*span) - self._level for grade, span in _PRICES.items()}
        tanks = self._tanks(sum(self._counts))
        dispensers, first = [], 0
        for unit, count in enumerate(self._counts, 1):
            dispensers.append(self._dispenser(unit, first, count, tanks, prices))
            first += count
        return StationPlan(registered, self._kind, tuple(dispensers), tanks)

    def _choose_kind(self) -> StationKind:
        town_en = TOWNS[self._town][1]
        drawn = StationKind(_pick(self._facts, {kind.value: share for kind, share in _KINDS.items()}))
        return {"Port": StationKind.PORT, "Centre": StationKind.TOWN}.get(town_en, drawn)

    def _register(self) -> Station:
        papers, today = self._papers, self._today
        town_zh, town_en, in_town = TOWNS[self._town]
        latitude, longitude = self._where(in_town)
        in_all = self._place + self._round * in_town
        ordinal = _HAN[in_all] if in_all < len(_HAN) else str(in_all + 1)
        return Station(
            station_id=self._id,
            name=f"示例{town_zh}{ordinal}站",
            short_name=f"{town_zh}{ordinal}站",
            ownership=self._ownership,
            region="示例县",
            town=town_zh,
            address=f"示例县{town_zh}示例路{papers.randint(1, 199)}号",
            credit_code=f"DEMO{self._number + 1:014d}",
            latitude=latitude,
            longitude=longitude,
            business_licence_expires=today + timedelta(days=papers.randint(700, 3000)),
            retail_licence_expires=today + timedelta(days=papers.randint(200, 1500)),
            hazmat_licence_expires=today + timedelta(days=papers.randint(200, 1000)),
            attributes={
                "name_en": f"Demo {town_en} {in_all + 1}",
                "short_name_en": f"{town_en} {in_all + 1}",
                "town_en": town_en,
                "port_area": "true" if town_en == "Port" else "false",
            },
        )

    def _where(self, in_town: int) -> tuple[float, float]:
        """Towns on a lattice, the stations of a town on a sunflower spiral about its middle (degrees north, east)."""
        row, column = divmod(self._town, 3)
        radius = 0.36 * math.sqrt((self._place + (0.5 + 0.618 * self._round) % 1.0) / in_town)
        angle = (self._place + self._round * in_town) * 2.4 + self._papers.uniform(0.0, 0.3)
        latitude = _CENTRE[0] + _TOWN_STEP[0] * (1 - row - radius * math.sin(angle))
        longitude = _CENTRE[1] + _TOWN_STEP[1] * (column - 1 + radius * math.cos(angle))
        return round(latitude, 5), round(longitude, 5)

    # ------------------------------------------------------------ tanks

    def _tanks(self, nozzles: int) -> tuple[TankPlan, ...]:
        """3 to 6 tanks, never more than nozzles; every station has 92#, 95# and 0#. Or those laid down."""
        if self._layout.tanks is not None:
            return self._laid_tanks(self._layout.tanks)
        papers = self._papers
        grades = ["92#", "95#", "0#"]
        if nozzles >= 8 and papers.random() < 0.4:
            grades.append("98#")
        for grade, likely in (("92#", 0.6), ("0#", 0.35), ("95#", 0.2)):
            if len(grades) < min(6, nozzles) and papers.random() < likely:
                grades.append(grade)
        grades.sort(key=("92#", "95#", "98#", "0#").index)
        plans: list[TankPlan] = []
        for number, grade in enumerate(grades, 1):
            joined = number > 1 and grade == grades[number - 2] and self._facts.random() < _MANIFOLDED
            if joined:
                manifold = f"{self._id}-M{number - 1}"
                plans[-1] = replace(plans[-1], registered=replace(plans[-1].registered, manifold=manifold))
            plans.append(self._tank(number, grade, plans[-1] if joined else None))
        return tuple(plans)

    def _laid_tanks(self, count: int) -> tuple[TankPlan, ...]:
        size = 2 if self._layout.manifolded else 1
        plans: list[TankPlan] = []
        for number in range(1, count + 1):
            twin = plans[-1] if size == 2 and number % 2 == 0 else None
            if twin is not None:
                twin = replace(twin, registered=replace(twin.registered, manifold=f"{self._id}-M{number - 1}"))
                plans[-1] = twin
            plans.append(self._tank(number, _LAID_GRADES[(number - 1) // size], twin))
        return tuple(plans)

    def _tank(self, number: int, grade: str, twin: TankPlan | None) -> TankPlan:
        """A tank; with a siphon to its ``twin`` it is of the same size, and filled as high."""
        papers, facts = self._papers, self._facts
        nominal_l = papers.choice((20_000, 30_000, 30_000, 50_000))
        share = papers.uniform(0.205, 0.85)
        water_mm = round(papers.uniform(2.0, 9.0), 1)
        temperature_c = _ground_on(self._origin) + papers.uniform(-2.5, 2.5)
        if grade == "98#":
            nominal_l = 10_000  # little of it is sold
        nominal_l = self._layout.tank_l or nominal_l
        if twin is not None:
            nominal_l = round(twin.registered.capacity_l / 10_000.0) * 10_000
        diameter_mm = _DIAMETERS_MM[nominal_l]
        length_mm = float(round(nominal_l * 1e6 / (math.pi / 4.0 * diameter_mm**2)))
        tilt = int(facts.integers(-_MOST_TILT, _MOST_TILT + 1))
        chart = strapped(diameter_mm, length_mm, _HEAD_SHARE * diameter_mm, float(tilt), _PROBE_SHARE * length_mm)
        scale, bias = facts.normal(0.0, _CHART_SCALE_SD), facts.normal(0.0, _DELIVERY_BIAS_SD)
        bands = self._nuisance * facts.normal(0.0, _CHART_BAND_SD, _CHART_BANDS + 1)
        level_mm = _level_mm(chart, share * chart.capacity_l) if twin is None else _fuel_level_mm(twin)
        fuel_l = _litres(chart, level_mm) - _litres(chart, water_mm)
        product = PRODUCTS[grade]
        return TankPlan(
            registered=Tank(
                tank_id=f"{self._id}-T{number}",
                station_id=self._id,
                grade=grade,
                capacity_l=round(chart.capacity_l, 1),
                diameter_mm=diameter_mm,
                length_mm=length_mm,
                manifold=twin.registered.manifold if twin else None,
            ),
            product=product,
            true_chart=chart,
            gauge_chart=chart.misread(self._nuisance * float(scale), bands),
            probe=replace(self._probe, offset_mm=round(float(facts.normal(0.0, _PROBE_OFFSET_SD_MM)), 2)),
            stock_20c_l=at_20c(fuel_l, temperature_c, product.expansion),
            water_mm=water_mm,
            temperature_c=temperature_c,
            delivery_bias=self._nuisance * float(bias),
            nuisance=self._nuisance,
            common_loss_sd=COMMON_LOSS_SD if self._layout.common_loss_sd is None else self._layout.common_loss_sd,
        )

    # ------------------------------------------------------------ dispensers

    def _dispenser(
        self, unit: int, first: int, count: int, tanks: tuple[TankPlan, ...], prices: Mapping[str, int]
    ) -> DispenserPlan:
        papers, today = self._papers, self._today
        dispenser_id = f"{self._id}-D{unit}"
        verified = today - timedelta(days=papers.randint(5, 140))
        version = papers.choice(("4.2.1", "4.2.1", "4.3.0"))
        dispenser = Dispenser(
            dispenser_id=dispenser_id,
            station_id=self._id,
            brand="generic-4",
            model="Demo G4",
            serial=self._serial("DEMO"),
            mainboard_serial=self._serial("MB"),
            firmware_version=version,
            firmware_digest=firmware_digest(f"Demo G4 firmware {version}"),
            tax_serial=self._serial("TX"),
            installed_on=today - timedelta(days=papers.randint(400, 2500)),
        )
        nozzles = []
        for place in range(first, first + count):
            # Nozzles go round the tanks, so that every tank has one and grades mix on a dispenser.
            tank = tanks[place % len(tanks)]
            nozzle = Nozzle(
                nozzle_id=f"{self._id}-N{place + 1:02d}",
                dispenser_id=dispenser_id,
                tank_id=tank.registered.tank_id,
                grade=tank.registered.grade,
                encoder_serial=self._serial("EN"),
                pulse_l=PULSE_L,
                certificate_no=f"DEMO-{verified.year}-{papers.randrange(10**6):06d}",
                certificate_expires=verified + timedelta(days=182),
                seal_meter=self._serial("SM"),
                seal_encoder=self._serial("SE"),
                seal_mainboard=self._serial("SB"),
            )
            nozzles.append(self._nozzle(nozzle, tank, prices[nozzle.grade]))
        drift = round(float(self._facts.uniform(-1.0, 1.0)), 3)
        return DispenserPlan(dispenser, unit, tuple(nozzles), drift)

    def _nozzle(self, registered: Nozzle, tank: TankPlan, price: int) -> NozzlePlan:
        facts = self._facts
        grade = registered.grade
        busy = self._busy * _GRADE_BUSY[grade] * float(np.exp(facts.normal(0.0, 0.15)))
        if grade == "0#":
            busy *= _DIESEL_BUSY.get(self._kind, 1.0)
        drift_sd = METER_DRIFT_SD if self._layout.meter_drift_sd is None else self._layout.meter_drift_sd
        return NozzlePlan(
            registered=registered,
            tank=tank,
            price=price,
            meter=Meter(
                error=self._papers.uniform(-0.0025, 0.0025),
                drift_sd=self._nuisance * drift_sd,
                drift_tau_days=60.0,
                repeatability=0.0005,
                offset_l=0.0,
                offset_sd_l=0.02,
            ),
            flow_l_min=round(float(facts.uniform(30.0, 42.0)), 2),
            sales_per_day=self._layout.sales_per_nozzle_day or min(max(busy, _SALES_A_DAY[0]), _SALES_A_DAY[1]),
        )

    def _serial(self, prefix: str) -> str:
        """In the repeated towns numbered through: among so many, chance would give two the same."""
        if not self._round:
            return serial_number(self._papers, prefix)
        self._serials += 1
        return f"{prefix}-{self._number << 8 | self._serials:09X}"


def _dealt(nozzles: int) -> list[int]:
    """Nozzles of each dispenser: as few dispensers as can be, evenly."""
    dispensers = -(-nozzles // _MOST_NOZZLES)
    return [nozzles // dispensers + (place < nozzles % dispensers) for place in range(dispensers)]


def _litres(chart: Chart, height_mm: float) -> float:
    return float(chart.volume_l(np.array([height_mm]))[0])


def _level_mm(chart: Chart, volume_l: float) -> float:
    return float(chart.height_mm_of(np.array([volume_l]))[0])


def _fuel_level_mm(tank: TankPlan) -> float:
    """Where the surface stands at the start."""
    fuel_l = from_20c(tank.stock_20c_l, tank.temperature_c, tank.product.expansion)
    return _level_mm(tank.true_chart, _litres(tank.true_chart, tank.water_mm) + fuel_l)


def _ground_on(day: date) -> float:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return float(ground_c(np.array([int(noon.timestamp()) * 1_000_000]))[0])


def _pick(chance: Generator, shares: Mapping[str, float]) -> str:
    return str(chance.choice(list(shares), p=list(shares.values())))


def serial_number(chance: Random, prefix: str) -> str:
    """An invented serial number, at most 16 characters."""
    return f"{prefix}-{chance.randrange(16**8):08X}"


def firmware_digest(image: str) -> str:
    """64 lower-case hex digits standing for a firmware image."""
    return hashlib.sha256(image.encode()).hexdigest()
