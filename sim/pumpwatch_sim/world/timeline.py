"""What happened at one station in one stretch of time: the one world that both the files and the wires show.

Times are microseconds since 1970 UTC. Displayed volumes are whole 0.01 L, money whole 0.01 CNY, true litres are floats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pumpwatch.model import DeviceEvent
    from pumpwatch_sim.world.plans import StationPlan, TankPlan

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

NO_TAX_RECORD = -1
STRETCH_DAYS = 7
"""A station's life is made in stretches of so many days, counted from the origin."""
LEAD_IN_DAYS = 1
"""The origin lies so long before the fleet's ``start``, so that memories are full and tanks in motion then."""
TOTALIZER_ROLL = 1_000_000_000
"""Totalizers of volume go back to 0 at 10,000,000.00 L; those of money have room enough."""


class Purpose(IntEnum):
    """Why fuel flows through a nozzle."""

    CUSTOMER = 0
    TEST_DRAW = 1
    """An inspector's draw at a verification; goes back into the tank, see ``Timeline.returns``."""
    COVERT_TEST = 2
    OWN_USE = 3
    """The station's own vehicle or generator, booked as such."""
    HIDDEN = 4
    """The dispenser's memory is not to know of it."""


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


@dataclass(slots=True)
class Sales:
    """n fillings of a station as columns of n, ordered by start, then nozzle; no two of a nozzle overlap.

    The chain of one filling: ``out_l`` reaches the customer, ``metered_l`` passed the meter (more only where a by-pass
    leads fuel back), the encoder gave ``pulses``, the mainboard shows ``volume``, tax control recorded ``tax_volume``.
    """

    nozzle: Ints
    """Index into ``StationPlan.nozzles``."""
    lifted_us: Ints
    start_us: Ints
    """First flow."""
    end_us: Ints
    """Last flow."""
    hung_us: Ints
    flow_l_min: Floats
    """Plateau as the display shows it: with more pulses per litre it is higher."""
    purpose: Ints
    preset: Ints
    preset_value: Ints
    """0.01 L or 0.01 CNY; 0 without preset."""
    payment: Ints
    out_l: Floats
    metered_l: Floats
    temperature_c: Floats
    """Of the fuel in the meter; NaN until the tanks are made."""
    pulses: Ints
    """At the encoder's line, so with whatever a chip there adds."""
    start_volume: Ints
    """What stood on the display at the first flow: 0 unless it did not return to zero; part of ``volume``."""
    jump: Ints
    """What the display gained at one stroke without pulses; part of ``volume``."""
    jump_at: Floats
    """At which share of the pulses the jump came."""
    volume: Ints
    price: Ints
    amount: Ints
    tax_volume: Ints
    """``NO_TAX_RECORD`` where tax control has none."""
    tax_amount: Ints
    seq: Ints
    totalizer: Ints
    """After the filling, as the dispenser tells it (0.01 L, with its roll-over)."""
    totalizer_amount: Ints
    recorded: Bools
    """Whether the dispenser's memory has a record of it that can be read."""

    def __len__(self) -> int:
        return len(self.nozzle)

    def take(self, chosen: Ints | Bools) -> Sales:
        """These rows, in this order."""
        return Sales(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


@dataclass(slots=True)
class Drop:
    """One delivery: what truly came, and what the paper says. Litres."""

    tank: int
    """Index into ``StationPlan.tanks``."""
    start_us: int
    end_us: int
    litres_20c: float
    """What truly went into the tank, at 20 °C; 0 for a delivery that is on paper only."""
    temperature_c: float
    density_20c: float
    truck: str
    supplier: str
    declared_l: float
    """At the temperature of loading."""
    declared_20c_l: float
    document_no: str = ""
    quality_report_no: str = ""
    documented: bool = True
    """False: there is no paper."""


@dataclass(slots=True)
class TankCourse:
    """A tank's true state over the stretch: fuel piecewise linear, temperature and water on slower grids."""

    plan: TankPlan
    at_us: Ints
    """(k,) rising; the first is the stretch's start, the last its end."""
    stock_20c_l: Floats
    """(k,) fuel at 20 °C at those times; linear in between."""
    slow_us: Ints
    """(m,) rising, from the stretch's start to its end, at most an hour apart."""
    temperature_c: Floats
    """(m,) of the fuel."""
    water_l: Floats
    """(m,)"""
    density_20c: Floats
    """(m,) of the fuel as it is mixed."""
    losses_20c_l: Mapping[str, float]
    """What went elsewhere than through a nozzle, by name (``vapour``, ``leak``, ``theft`` …); negative: gained."""
    level_wander: Floats = field(default_factory=lambda: np.zeros(2))
    """What the probe's level wanders, in its standard deviations, at even steps from start to end."""
    swells: tuple[tuple[int, float], ...] = ()
    """Ends of deliveries and the height (mm) of the sloshing that then dies away."""


class OutageKind(StrEnum):
    """Why nothing reaches the collector."""

    NETWORK = "network"
    """Records wait in the devices and come later; readings are lost unless ``backfilled``."""
    UNPLUGGED = "unplugged"
    """The collector is off its devices: sales made meanwhile are in no record, totalizers run on."""
    JAMMED = "jammed"
    """As ``UNPLUGGED``, by radio, with the neighbours."""
    POWER = "power"
    """The station is dark: nobody sells."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A span without word from devices of the station."""

    start_us: int
    end_us: int
    kind: OutageKind
    devices: tuple[str, ...] = ()
    """Dispenser and tank ids; empty: the whole station."""
    backfilled: bool = False


class GaugeFaultKind(StrEnum):
    """What is wrong with what a gauge tells."""

    FROZEN = "frozen"
    REPLAYED = "replayed"
    """What was true ``shift_us`` before is told again."""
    SYNTHETIC = "synthetic"
    """Made up from the sales: no noise, no sloshing."""
    OFFSET = "offset"
    """The level stands ``offset_mm`` too high."""


@dataclass(frozen=True, slots=True)
class GaugeFault:
    """A span in which a gauge does not tell what is."""

    tank_id: str
    start_us: int
    end_us: int
    kind: GaugeFaultKind
    shift_us: int = 0
    offset_mm: float = 0.0
    feed_l: tuple[float, float] | None = None
    """What a ``SYNTHETIC`` feed makes of the tank when it begins in the stretch, and at the stretch's end."""


@dataclass(frozen=True, slots=True)
class IdentityChange:
    """From ``at_us`` on a dispenser says it is something else; only what is named changes."""

    dispenser_id: str
    at_us: int
    serial: str | None = None
    mainboard_serial: str | None = None
    firmware_version: str | None = None
    firmware_digest: str | None = None
    tax_serial: str | None = None
    encoder_serials: Mapping[str, str] = field(default_factory=dict)
    """nozzle_id → serial."""


@dataclass(frozen=True, slots=True)
class ClockFault:
    """From ``at_us`` on a dispenser's clock is off by ``step_s`` and gains ``drift_s_per_day``; both add up."""

    dispenser_id: str
    at_us: int
    step_s: float = 0.0
    drift_s_per_day: float = 0.0
    end_us: int | None = None
    """When it is right again."""


@dataclass(slots=True)
class Timeline:
    """Everything that happened at one station from ``start_us`` until ``end_us``."""

    station: StationPlan
    number: int
    """Of the stretch, from the origin."""
    origin_us: int
    start_us: int
    end_us: int
    sales: Sales
    tanks: tuple[TankCourse, ...]
    drops: list[Drop] = field(default_factory=list)
    """Ordered by start; those on paper only among them."""
    returns: list[tuple[int, int, float]] = field(default_factory=list)
    """What was poured back after tests: tank index, time, litres at 20 °C."""
    events: list[DeviceEvent] = field(default_factory=list)
    identities: list[IdentityChange] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    gauge_faults: list[GaugeFault] = field(default_factory=list)
    clock_faults: list[ClockFault] = field(default_factory=list)
    previous: Timeline | None = None
    """The stretch before without its sales and its own ``previous``; None in the first."""
