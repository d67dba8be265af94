"""What stands on the forecourt as it is at this moment: tanks, nozzles and dispensers; the world moves them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pumpwatch.model import NozzleState
from pumpwatch_sim.world.people import Customer, Payment, Preset, round_half_up

if TYPE_CHECKING:
    from pumpwatch_sim.county import DispenserPlan, NozzlePlan, TankPlan

Display: TypeAlias = Callable[[int], int]
"""What the mainboard shows (0.01 L) for so many encoder pulses."""

SLOTS = 4
REORDER_SHARE = 0.20
"""A tanker comes when a tank holds less than this share."""


def honest(pulses: int) -> int:
    """The display of an honest mainboard: one pulse is 0.01 L."""
    return pulses


def amount_of(volume: int, price: int) -> int:
    """Money (0.01 CNY) for a volume (0.01 L) at a price (0.01 CNY/L), halves up, exactly."""
    return round_half_up(volume * price, 100)


@dataclass(frozen=True, slots=True)
class Sale:
    """One slot of a nozzle's sale memory; volumes in 0.01 L, money in 0.01 CNY, times in seconds since 1970 UTC."""

    sequence: int
    start_s: int
    end_s: int
    volume: int
    amount: int
    price: int
    payment: Payment
    totalizer: int
    """After the sale."""
    totalizer_amount: int
    pulses: int
    preset: Preset
    preset_value: int
    tax_volume: int
    tax_amount: int


@dataclass(frozen=True, slots=True)
class Unloading:
    """One delivery into a tank."""

    start_us: int
    end_us: int
    litres: float
    start_fuel_l: float
    end_fuel_l: float


@dataclass(slots=True)
class Tanker:
    """A delivery under way."""

    start_us: int
    litres: float
    litres_per_s: float
    start_fuel_l: float
    given_l: float = 0.0


class LiveTank:
    """A tank and the fuel in it."""

    __slots__ = ("delivered_l", "fuel_l", "plan", "received_l", "unloading", "unloadings", "water_l")

    def __init__(self, plan: TankPlan) -> None:
        self.plan = plan
        self.fuel_l = plan.fuel_l
        self.water_l = plan.shape.volume_l(plan.water_mm)
        self.delivered_l = 0.0
        """Truly drawn through the nozzles since the start."""
        self.received_l = 0.0
        """Truly unloaded since the start."""
        self.unloading: Tanker | None = None
        self.unloadings: deque[Unloading] = deque(maxlen=10)
        """The last ten finished deliveries, oldest first; the gauge remembers no more."""

    @property
    def must_be_filled(self) -> bool:
        """Whether it is time for a tanker and none is there."""
        return self.unloading is None and self.fuel_l < REORDER_SHARE * self.plan.registered.capacity_l

    def temperature_c(self, at_us: int) -> float:
        """The fuel's temperature: a slow wave of half a degree about the tank's own."""
        phase = self.plan.water_mm
        return self.plan.temperature_c + 0.5 * math.sin(at_us / 1e6 / 86_400.0 * math.tau + phase)


class LiveNozzle:
    """A nozzle: its display, its totalizers, its sale memory. Volumes in 0.01 L, money in 0.01 CNY."""

    __slots__ = (
        "amount",
        "booked",
        "changes",
        "customer",
        "displayed",
        "flow",
        "flow_s",
        "open",
        "plan",
        "progress",
        "pulses",
        "sale_changes",
        "sales",
        "sequence",
        "start_s",
        "state",
        "tank",
        "target",
        "token",
        "totalizer",
        "totalizer_amount",
        "volume",
    )

    def __init__(self, plan: NozzlePlan, tank: LiveTank) -> None:
        self.plan = plan
        self.tank = tank
        self.displayed: Display = honest
        self.open = True
        """Whether chance customers may use it."""
        self.booked: list[Customer] = []
        """Customers waiting for this very nozzle (only cheats book, and few)."""
        self.state = NozzleState.IDLE
        self.volume = 0
        self.amount = 0
        self.flow = 0
        """0.1 L/min."""
        self.pulses = 0
        self.totalizer = 0
        self.totalizer_amount = 0
        self.sequence = 0
        self.sales: list[Sale | None] = [None] * SLOTS
        self.changes = 0
        """Rises whenever the live values change: what is rendered from them is then out of date."""
        self.sale_changes = 0
        self.customer: Customer | None = None
        self.target = 0
        self.progress = 0.0
        self.flow_s = 0.0
        self.start_s = 0
        self.token = 0

    @property
    def nozzle_id(self) -> str:
        """The registered id."""
        return self.plan.registered.nozzle_id

    def remember(self, sale: Sale) -> None:
        """Write a sale to its slot, then move the sequence: the order a reader relies on."""
        self.totalizer, self.totalizer_amount = sale.totalizer, sale.totalizer_amount
        self.sales[sale.sequence % SLOTS] = sale
        self.sequence = sale.sequence
        self.changes += 1
        self.sale_changes += 1


class LiveDispenser:
    """A dispenser: its nozzles and what it says it is."""

    __slots__ = ("firmware_digest", "identity_changes", "mainboard_serial", "nozzles", "plan")

    def __init__(self, plan: DispenserPlan, nozzles: tuple[LiveNozzle, ...]) -> None:
        self.plan = plan
        self.nozzles = nozzles
        self.mainboard_serial = plan.registered.mainboard_serial or ""
        self.firmware_digest = plan.registered.firmware_digest or ""
        self.identity_changes = 0

    @property
    def dispenser_id(self) -> str:
        """The registered id."""
        return self.plan.registered.dispenser_id

    def replace_mainboard(self, serial: str, digest: str) -> None:
        """Put in another board; the link stays up."""
        self.mainboard_serial, self.firmware_digest = serial, digest
        self.identity_changes += 1
