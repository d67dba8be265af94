"""The invented county: its stations, dispensers, nozzles and tanks as registered, and the physical facts behind."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig
from pumpwatch.model import Dispenser, Nozzle, Station, Tank
from pumpwatch_sim.chance import stream
from pumpwatch_sim.world.geometry import Cylinder

if TYPE_CHECKING:
    from random import Random

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


@dataclass(frozen=True, slots=True)
class TankPlan:
    """A tank and what stands in it at the start."""

    registered: Tank
    shape: Cylinder
    fuel_l: float
    water_mm: float
    temperature_c: float


@dataclass(frozen=True, slots=True)
class NozzlePlan:
    """A nozzle and what its meter is truly like."""

    registered: Nozzle
    tank: TankPlan
    price: int
    """0.01 CNY per litre."""
    error: float
    """(displayed - delivered) / delivered of the honest meter."""


@dataclass(frozen=True, slots=True)
class DispenserPlan:
    """A dispenser; its unit number on the station's line counts from 1."""

    registered: Dispenser
    unit: int
    nozzles: tuple[NozzlePlan, ...]


@dataclass(frozen=True, slots=True)
class StationPlan:
    """A station with all that stands on it."""

    registered: Station
    dispensers: tuple[DispenserPlan, ...]
    tanks: tuple[TankPlan, ...]

    @property
    def station_id(self) -> str:
        """The registered id."""
        return self.registered.station_id

    @property
    def nozzles(self) -> tuple[NozzlePlan, ...]:
        """All nozzles in the order of their numbers."""
        return tuple(nozzle for dispenser in self.dispensers for nozzle in dispenser.nozzles)


@dataclass(frozen=True, slots=True)
class County:
    """All stations, in the order of their ids."""

    seed: int
    stations: tuple[StationPlan, ...]


def build_county(seed: int, today: date, stations: int = STATION_COUNT) -> County:
    """Invent the county of this seed; fewer ``stations`` are a subset of it, spread over the towns, under the same ids.

    ``today`` only moves the dates on licences and certificates, which are all valid. Raises ``BadConfig``.
    """
    if not 1 <= stations <= STATION_COUNT:
        raise BadConfig(f"--stations {stations}: the county has 1 to {STATION_COUNT} stations; ask for as many")
    deal = stream(seed, "deal")
    dispensers, nozzles = list(_DISPENSERS), list(_NOZZLES)
    deal.shuffle(dispensers)
    deal.shuffle(nozzles)
    state_owned = set(deal.sample(range(STATION_COUNT), _STATE_OWNED))
    plans: list[StationPlan] = []
    for town, place in _places():
        index = len(plans)
        counts = [nozzles.pop() for _ in range(dispensers[index])]
        ownership = "state" if index in state_owned else "private"
        plans.append(_station(seed, index, town, place, ownership, counts, today))
    return County(seed, tuple(plans[index] for index in _subset(stations)))


def _places() -> list[tuple[int, int]]:
    return [(town, place) for town, (_, _, count) in enumerate(TOWNS) for place in range(count)]


def _subset(stations: int) -> list[int]:
    order = sorted(
        range(STATION_COUNT), key=lambda index: (_places()[index][1], _SUBSET_ORDER.index(_places()[index][0]))
    )
    return sorted(order[:stations])


def _station(
    seed: int, index: int, town: int, place: int, ownership: str, counts: list[int], today: date
) -> StationPlan:
    chance = stream(seed, "station", index)
    town_zh, town_en, in_town = TOWNS[town]
    station_id = f"S{index + 1:02d}"
    latitude, longitude = _where(chance, town, place, in_town)
    registered = Station(
        station_id=station_id,
        name=f"示例{town_zh}{_HAN[place]}站",
        short_name=f"{town_zh}{_HAN[place]}站",
        ownership=ownership,
        region="示例县",
        town=town_zh,
        address=f"示例县{town_zh}示例路{chance.randint(1, 199)}号",
        credit_code=f"DEMO{index + 1:014d}",
        latitude=latitude,
        longitude=longitude,
        business_licence_expires=today + timedelta(days=chance.randint(700, 3000)),
        retail_licence_expires=today + timedelta(days=chance.randint(200, 1500)),
        hazmat_licence_expires=today + timedelta(days=chance.randint(200, 1000)),
        attributes={
            "name_en": f"Demo {town_en} {place + 1}",
            "short_name_en": f"{town_en} {place + 1}",
            "town_en": town_en,
            "port_area": "true" if town_en == "Port" else "false",
        },
    )
    prices = {grade: chance.randint(*span) for grade, span in _PRICES.items()}
    tanks = _tanks(chance, station_id, sum(counts))
    dispensers, first = [], 0
    for number, count in enumerate(counts, 1):
        dispensers.append(_dispenser(chance, station_id, number, first, count, tanks, prices, today))
        first += count
    return StationPlan(registered, tuple(dispensers), tanks)


def _where(chance: Random, town: int, place: int, in_town: int) -> tuple[float, float]:
    """Towns on a lattice, the stations of a town on a sunflower spiral about its middle (degrees north, east)."""
    row, column = divmod(town, 3)
    radius = 0.36 * math.sqrt((place + 0.5) / in_town)
    angle = place * 2.4 + chance.uniform(0.0, 0.3)
    latitude = _CENTRE[0] + _TOWN_STEP[0] * (1 - row - radius * math.sin(angle))
    longitude = _CENTRE[1] + _TOWN_STEP[1] * (column - 1 + radius * math.cos(angle))
    return round(latitude, 5), round(longitude, 5)


def _tanks(chance: Random, station_id: str, nozzles: int) -> tuple[TankPlan, ...]:
    """3 to 6 tanks, never more than nozzles; every station has 92#, 95# and 0#."""
    grades = ["92#", "95#", "0#"]
    if nozzles >= 8 and chance.random() < 0.4:
        grades.append("98#")
    for grade, likely in (("92#", 0.6), ("0#", 0.35), ("95#", 0.2)):
        if len(grades) < min(6, nozzles) and chance.random() < likely:
            grades.append(grade)
    grades.sort(key=("92#", "95#", "98#", "0#").index)
    plans = []
    for number, grade in enumerate(grades, 1):
        nominal_l = chance.choice((20_000, 30_000, 30_000, 50_000))
        diameter_mm = {20_000: 2200.0, 30_000: 2500.0, 50_000: 2800.0}[nominal_l]
        length_mm = float(round(nominal_l * 1e6 / (math.pi / 4.0 * diameter_mm**2)))
        shape = Cylinder(diameter_mm, length_mm)
        tank = Tank(f"{station_id}-T{number}", station_id, grade, round(shape.capacity_l, 1), diameter_mm, length_mm)
        plans.append(
            TankPlan(
                registered=tank,
                shape=shape,
                fuel_l=shape.capacity_l * chance.uniform(0.205, 0.85),
                water_mm=round(chance.uniform(2.0, 9.0), 1),
                temperature_c=chance.uniform(9.0, 14.0),
            )
        )
    return tuple(plans)


def _dispenser(
    chance: Random,
    station_id: str,
    number: int,
    first: int,
    count: int,
    tanks: tuple[TankPlan, ...],
    prices: Mapping[str, int],
    today: date,
) -> DispenserPlan:
    dispenser_id = f"{station_id}-D{number}"
    verified = today - timedelta(days=chance.randint(5, 140))
    version = chance.choice(("4.2.1", "4.2.1", "4.3.0"))
    dispenser = Dispenser(
        dispenser_id=dispenser_id,
        station_id=station_id,
        brand="generic-4",
        model="Demo G4",
        serial=serial_number(chance, "DEMO"),
        mainboard_serial=serial_number(chance, "MB"),
        firmware_version=version,
        firmware_digest=firmware_digest(f"Demo G4 firmware {version}"),
        tax_serial=serial_number(chance, "TX"),
        installed_on=today - timedelta(days=chance.randint(400, 2500)),
    )
    nozzles = []
    for place in range(first, first + count):
        # Nozzles go round the tanks, so that every tank has one and grades mix on a dispenser.
        tank = tanks[place % len(tanks)]
        nozzle = Nozzle(
            nozzle_id=f"{station_id}-N{place + 1:02d}",
            dispenser_id=dispenser_id,
            tank_id=tank.registered.tank_id,
            grade=tank.registered.grade,
            encoder_serial=serial_number(chance, "EN"),
            pulse_l=PULSE_L,
            certificate_no=f"DEMO-{verified.year}-{chance.randrange(10**6):06d}",
            certificate_expires=verified + timedelta(days=182),
            seal_meter=serial_number(chance, "SM"),
            seal_encoder=serial_number(chance, "SE"),
            seal_mainboard=serial_number(chance, "SB"),
        )
        nozzles.append(NozzlePlan(nozzle, tank, prices[nozzle.grade], chance.uniform(-0.002, 0.002)))
    return DispenserPlan(dispenser, number, tuple(nozzles))


def serial_number(chance: Random, prefix: str) -> str:
    """An invented serial number, at most 16 characters."""
    return f"{prefix}-{chance.randrange(16**8):08X}"


def firmware_digest(image: str) -> str:
    """64 lower-case hex digits standing for a firmware image."""
    return hashlib.sha256(image.encode()).hexdigest()
