"""What stands at a station, as registered and as it truly is: the fixed facts a simulation begins with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pumpwatch.model import Dispenser, Nozzle, Station, Tank
    from pumpwatch_sim.world.geometry import Chart

COMMON_LOSS_SD, METER_DRIFT_SD = 0.001, 0.0005
"""What is usual."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What is laid down for every station of a county, so that all are one case; None: invented for each."""

    tanks: int | None = None
    """With ``nozzles_per_tank``."""
    nozzles_per_tank: int | None = None
    manifolded: bool = False
    """Of the tanks laid down each two are of one grade, and joined."""
    tank_l: int | None = None
    """Nominal: 10,000, 20,000, 30,000 or 50,000 L."""
    sales_per_nozzle_day: float | None = None
    common_loss_sd: float | None = None
    """Standard deviation of the common loss's wander, as a fraction, before ``nuisance``."""
    meter_drift_sd: float | None = None
    """Of a meter's drift, likewise."""


class StationKind(StrEnum):
    """Where a station lies, which decides when its customers come."""

    TOWN = "town"
    HIGHWAY = "highway"
    PORT = "port"
    VILLAGE = "village"


@dataclass(frozen=True, slots=True)
class Product:
    """A grade of fuel."""

    grade: str
    density_20c: float
    """kg/m³ at 20 °C."""
    expansion: float
    """Per °C at 20 °C: V20 = V (1 - expansion (t - 20))."""
    vapour_loss: float
    """Share of what is sold that is lost as vapour, the year's mean."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How well a tank's probe measures."""

    noise_mm: float
    """Standard deviation of one reading's level."""
    quantum_mm: float
    """Step of the reported level."""
    offset_mm: float = 0.0
    """Reported minus true level."""
    wander_mm: float = 0.0
    """Standard deviation of what the reported level wanders besides, over days."""
    temperature_noise_c: float = 0.03
    density_noise: float = 0.5
    """kg/m³; infinite when the probe has no densitometer."""


@dataclass(frozen=True, slots=True)
class Meter:
    """How well a nozzle's meter counts. E = (displayed - delivered) / delivered; E > 0: the customer is short."""

    error: float
    """E at the start, as a fraction."""
    drift_sd: float
    """Standard deviation of E's slow wander (first-order, ``drift_tau_days``), as a fraction."""
    drift_tau_days: float
    repeatability: float
    """Standard deviation of E from sale to sale, as a fraction."""
    offset_l: float
    """Mean of a fixed error a sale, litres."""
    offset_sd_l: float
    """Its standard deviation from sale to sale, litres."""


@dataclass(frozen=True, slots=True, eq=False)
class TankPlan:
    """A tank and what stands in it at the start."""

    registered: Tank
    product: Product
    true_chart: Chart
    """Height → litres as the tank truly is."""
    gauge_chart: Chart
    """Height → litres as the gauge believes."""
    probe: Probe
    stock_20c_l: float
    """Fuel at the start, litres at 20 °C, without the water."""
    water_mm: float
    temperature_c: float
    delivery_bias: float
    """Share by which the gauge's rise exceeds what truly came, at every delivery; comes on top of the chart."""
    nuisance: float = 1.0
    """Factor on the wander of its common loss and on the errors of what is delivered."""
    common_loss_sd: float = COMMON_LOSS_SD
    """Standard deviation of the common loss's wander, as a fraction, before ``nuisance``."""


@dataclass(frozen=True, slots=True, eq=False)
class NozzlePlan:
    """A nozzle and what its meter is truly like."""

    registered: Nozzle
    tank: TankPlan
    price: int
    """0.01 CNY per litre, before the national adjustments; what is charged when is told by ``prices.price_at``."""
    meter: Meter
    flow_l_min: float
    """Plateau of an ordinary sale."""
    sales_per_day: float
    """Expected on an average day at demand 1."""
    totalizer: int | None = None
    """At the origin, 0.01 L; None: drawn by the seed."""


@dataclass(frozen=True, slots=True, eq=False)
class DispenserPlan:
    """A dispenser; its unit number on the station's line counts from 1."""

    registered: Dispenser
    unit: int
    nozzles: tuple[NozzlePlan, ...]
    clock_drift_s_per_day: float = 0.0
    """How much its clock gains."""


@dataclass(frozen=True, slots=True, eq=False)
class StationPlan:
    """A station with all that stands on it."""

    registered: Station
    kind: StationKind
    dispensers: tuple[DispenserPlan, ...]
    tanks: tuple[TankPlan, ...]

    @property
    def station_id(self) -> str:
        """The registered id."""
        return self.registered.station_id

    @property
    def nozzles(self) -> tuple[NozzlePlan, ...]:
        """All nozzles in the order of their numbers; indices into it name nozzles everywhere in the simulator."""
        return tuple(nozzle for dispenser in self.dispensers for nozzle in dispenser.nozzles)


@dataclass(frozen=True, slots=True, eq=False)
class County:
    """All stations, in the order of their ids."""

    seed: int
    stations: tuple[StationPlan, ...]
