"""A station's stretch while it is being made: what scenarios may change, one object for each step of the making."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pumpwatch.model import DeviceEvent, WorkOrder
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Bools, Drop, Floats, Ints, Payment, Preset, Purpose, Sales

Columns: TypeAlias = "dict[str, NDArray[np.generic]]"
"""A canonical table as columns of equal length; times are microseconds UTC (int64), absent numbers NaN."""


@dataclass(slots=True)
class Stretch:
    """Which part of which station's life is being made."""

    station: StationPlan
    number: int
    """Counted from the origin."""
    start_us: int
    end_us: int
    origin_us: int
    """Where the making begins, ``LEAD_IN_DAYS`` before the start of the fleet's period."""


@dataclass(frozen=True, slots=True)
class Booking:
    """A customer sent to a nozzle; whoever is there first is served first."""

    nozzle: int
    at_us: int
    wanted_l: float
    """Displayed litres with a preset, else true litres."""
    purpose: Purpose
    preset: Preset
    preset_value: int = 0
    payment: Payment | None = None
    flow_l_min: float | None = None
    """None: the nozzle's own."""
    hurried: bool = False
    """Lifts, fills and hangs up without delay."""


@dataclass(slots=True)
class Demand:
    """Step 1: how many customers are to be expected, and what they want."""

    stretch: Stretch
    hour_us: Ints
    """(h,) starts of the hours of the stretch."""
    sales_per_hour: Floats
    """(nozzles, h)"""
    preset_share: Floats
    """(nozzles, h) of sales with a preset."""
    preset_values: list[tuple[Preset, int, float]]
    """Which presets are keyed in (0.01 L or 0.01 CNY), with weights."""
    litres_factor: Floats
    """(nozzles, h) on the litres of free fillings."""
    bookings: list[Booking] = field(default_factory=list)
    closed: list[tuple[int, int, int]] = field(default_factory=list)
    """Nozzle, from, until: no chance customers come; booked ones do."""


@dataclass(slots=True)
class Wish:
    """What is known of each filling before it flows: n rows, in ``Metering`` ordered by nozzle, then arrival."""

    nozzle: Ints
    arrival_us: Ints
    """When the nozzle is lifted unless it is in use still."""
    wanted_l: Floats
    """Litres the customer is after: displayed with a preset, else true."""
    purpose: Ints
    preset: Ints
    preset_value: Ints
    payment: Ints
    local_hour: Ints
    """0-23, the station's wall clock."""
    price: Ints
    """Valid when the nozzle is lifted; held until it is hung up."""
    flow_l_min: Floats = field(default_factory=lambda: np.empty(0))
    """NaN: the nozzle's own. Empty: all NaN."""
    hurried: Bools = field(default_factory=lambda: np.empty(0, bool))
    """Empty: none."""
    booked: Bools = field(default_factory=lambda: np.empty(0, bool))
    """Will not drive off, however long it takes. Empty: all that are no customers."""

    def __len__(self) -> int:
        return len(self.nozzle)

    def take(self, chosen: Ints | Bools) -> Wish:
        """These rows, in this order; the optional columns must be filled."""
        return Wish(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


@dataclass(slots=True)
class Metering:
    """Step 2: how litres become pulses and pulses a display, for each of n fillings; all zeros when honest.

    ``metered = out / (1 - bypass)``; ``pulses = (metered (1 + error) + offset_l) / pulse_l (1 + pulse_gain)``, whole,
    halves up; ``volume = start_volume + jump + pulses times the pulse's litres times (1 + display_gain)``, to 0.01 L,
    halves up. A preset stops the pump at the first pulse that brings the display there.
    """

    stretch: Stretch
    wish: Wish
    error: Floats
    """The honest meter's E with drift and repeatability."""
    offset_l: Floats
    bypass: Floats
    """Share of what passed the meter that flows back to the tank."""
    pulse_gain: Floats
    display_gain: Floats
    start_volume: Ints
    jump: Ints
    jump_at: Floats
    flow_factor: Floats
    """On the true flow; 1 when nothing is in the way."""


@dataclass(slots=True)
class Memory:
    """Step 3: what the dispensers and tax control remember, made by honest arithmetic from ``Sales``.

    A change here must be a function of absolute time alone (``after the onset, 500 L less``), for every stretch begins
    again from the honest counters.
    """

    stretch: Stretch
    sales: Sales


@dataclass(frozen=True, slots=True)
class Flow:
    """Fuel that enters (positive) or leaves a tank otherwise than by nozzle and delivery, evenly over a span."""

    tank: int
    start_us: int
    end_us: int
    litres_20c: float
    name: str
    """``leak``, ``theft`` … the key in ``TankCourse.losses_20c_l``."""


@dataclass(slots=True)
class TankWork:
    """Step 4: what moves the tanks besides the fillings; deliveries are ordered afterwards, when a tank runs low."""

    stretch: Stretch
    sales: Sales
    common_loss: Floats
    """(tanks, h) share of what is sold that is lost on top: vapour, line temperature."""
    hour_us: Ints
    """(h,)"""
    flows: list[Flow] = field(default_factory=list)
    leaks: list[tuple[int, int, int, float, bool]] = field(default_factory=list)
    """Tank, from, until, litres an hour at half height, whether it grows with the square root of the level."""
    water_mm_per_day: list[tuple[int, int, int, float]] = field(default_factory=list)
    """Tank, from, until, rise of the water."""
    air_c: Floats = field(default_factory=lambda: np.empty(0))
    """(h,) air temperature."""


@dataclass(slots=True)
class DeliveryWork:
    """Step 5: one delivery that has been ordered; scenarios change ``drop`` or add more."""

    stretch: Stretch
    drop: Drop
    stock_20c_l: float
    """In its tank when it begins."""
    added: list[Drop] = field(default_factory=list)
    """Each begins when there is room for it in its tank, not before its own ``start_us``, if need be in the next
    stretch; those without litres, on paper only, when they say."""


@dataclass(slots=True)
class Records:
    """Step 7, for files only: what has reached the collector; outages and gauge faults are already in it."""

    stretch: Stretch
    transactions: Columns
    tank_readings: Columns
    deliveries: Columns
    events: list[DeviceEvent]


def choose(columns: Columns, chosen: Bools | Ints) -> Columns:
    """These rows of every column."""
    return {name: column[chosen] for name, column in columns.items()}


def append(columns: Columns, more: Mapping[str, NDArray[np.generic]]) -> Columns:
    """The rows of both; the names must be the same."""
    return {name: np.concatenate([column, more[name]]) for name, column in columns.items()}


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a station told the tax office of a month."""

    station_id: str
    period: str
    """``YYYY-MM``"""
    grade: str
    declared_purchase_l: float
    declared_sale_l: float
    declared_revenue_cny: float
    tax_paid_cny: float


@dataclass(frozen=True, slots=True)
class Report:
    """A call to the hotline."""

    at: datetime
    station_id: str
    nozzle_id: str | None
    channel: str
    """``12315``, ``12366`` or ``other``."""
    text: str


@dataclass(frozen=True, slots=True)
class CovertTest:
    """A measured purchase by people who did not say who they are."""

    at: datetime
    nozzle_id: str
    displayed_l: float
    measured_l: float
    reference_uncertainty_percent: float


@dataclass(slots=True)
class Papers:
    """Step 8, once a station, when its whole period is made: everything offices hold about it."""

    station: StationPlan
    start: date
    end: date
    declarations: list[Declaration]
    """Honest ones, one a month and grade."""
    work_orders: list[WorkOrder]
    reports: list[Report]
    covert_tests: list[CovertTest]
    ledger: dict[str, dict[str, str | float | date | None]]
    """Registered columns that are to differ in the files: station, dispenser, tank or nozzle id → column → value."""
