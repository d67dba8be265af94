"""What a wire protocol may ask of the live world: dispensers and tanks as they show themselves at this moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from pumpwatch.model import NozzleState
    from pumpwatch_sim.world.timeline import Payment, Preset


@dataclass(frozen=True, slots=True)
class Sale:
    """A filling in a dispenser's memory; volumes in 0.01 L, money in 0.01 CNY, times in the device's seconds UTC."""

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
    """0 where tax control has no record."""
    tax_amount: int


@dataclass(frozen=True, slots=True)
class Identity:
    """What a dispenser says it is."""

    serial: str
    mainboard_serial: str
    firmware_version: str
    firmware_digest: str
    """64 hex digits."""
    tax_serial: str
    encoder_serials: tuple[str, ...] = ()
    """Of its nozzles in their order."""


@dataclass(frozen=True, slots=True)
class TaxTotals:
    """What a nozzle's tax memory has summed up; 0.01 L and 0.01 CNY."""

    day: tuple[int, int]
    """Litres and money of the local day asked for; zeros when there was no sale."""
    month: tuple[int, int]
    grand: tuple[int, int]


class NozzleView(Protocol):
    """A nozzle as its dispenser shows it now. Volumes in 0.01 L, money in 0.01 CNY, price in 0.01 CNY per litre."""

    @property
    def nozzle_id(self) -> str:
        """The registered id."""

    @property
    def number(self) -> int:
        """On its dispenser, from 1."""

    @property
    def grade(self) -> str:
        """``92#``, ``95#``, ``98#`` or ``0#``."""

    @property
    def price(self) -> int:
        """Now."""

    @property
    def state(self) -> NozzleState:
        """Now."""

    @property
    def volume(self) -> int:
        """Of the filling under way, or of the last one."""

    @property
    def amount(self) -> int:
        """Belonging to ``volume``."""

    @property
    def pulses(self) -> int:
        """Belonging to ``volume``."""

    @property
    def flow(self) -> int:
        """0.1 L/min; 0 without flow."""

    @property
    def totalizer(self) -> int:
        """After the last finished filling, hidden ones among them."""

    @property
    def totalizer_amount(self) -> int:
        """Likewise."""

    @property
    def sequence(self) -> int:
        """Of the last recorded filling."""

    @property
    def sales(self) -> Sequence[Sale | None]:
        """The memory's four slots; the sale with sequence n stands in slot n mod 4."""

    @property
    def changes(self) -> int:
        """Rises whenever a live value has changed."""

    @property
    def sale_changes(self) -> int:
        """Rises whenever the memory has changed."""

    def tax_totals(self, local: datetime) -> TaxTotals:
        """The tax memory's sums for the local day and month of ``local``, as far as the device remembers."""


class DispenserView(Protocol):
    """A dispenser now."""

    @property
    def dispenser_id(self) -> str:
        """The registered id."""

    @property
    def unit(self) -> int:
        """Its address on the station's line, from 1."""

    @property
    def nozzles(self) -> Sequence[NozzleView]:
        """In the order of their numbers."""

    @property
    def identity(self) -> Identity:
        """What it says it is now."""

    @property
    def identity_changes(self) -> int:
        """Rises whenever ``identity`` has changed."""

    @property
    def now_s(self) -> int:
        """The device's clock: whole seconds since 1970 UTC, with whatever is wrong with it."""

    @property
    def local_time(self) -> datetime:
        """The device's clock as the station's wall clock."""


@dataclass(frozen=True, slots=True)
class TankLook:
    """One reading of a probe: litres, mm, °C, kg/m³."""

    height_mm: float
    volume_l: float
    volume_20c_l: float
    ullage_l: float
    water_mm: float
    water_l: float
    temperature_c: float
    density_kg_m3: float


@dataclass(frozen=True, slots=True)
class DropLook:
    """A finished delivery as the gauge saw it."""

    start: datetime
    """The gauge's local time."""
    end: datetime
    before: TankLook
    after: TankLook


class TankView(Protocol):
    """A tank as its gauge sees it now."""

    @property
    def tank_id(self) -> str:
        """The registered id."""

    @property
    def number(self) -> int:
        """At the gauge, from 1."""

    @property
    def grade(self) -> str:
        """``92#``, ``95#``, ``98#`` or ``0#``."""

    @property
    def receiving(self) -> bool:
        """Whether a delivery is under way."""

    @property
    def capacity_l(self) -> float:
        """When full."""

    @property
    def diameter_mm(self) -> float:
        """Of the tank."""

    def chart(self, points: int) -> Sequence[tuple[float, float]]:
        """Height (mm) and volume (L) of so many evenly spaced heights, as the gauge has it."""

    def look(self) -> TankLook:
        """The probe's reading of this second: the same however often it is asked."""

    def drops(self) -> Sequence[DropLook]:
        """The last ten finished deliveries, oldest first."""


class StationView(Protocol):
    """A station now."""

    @property
    def station_id(self) -> str:
        """The registered id."""

    @property
    def dispensers(self) -> Sequence[DispenserView]:
        """In the order of their units."""

    @property
    def tanks(self) -> Sequence[TankView]:
        """In the order of their numbers."""

    @property
    def local_time(self) -> datetime:
        """The gauge's wall clock."""


class Pump(Protocol):
    """The devices' side of a serial protocol on one line: bytes in, bytes out, no sockets and no clock.

    Every serial wire module (dart, twowire, lanfeng, taxport, ifsf) has such a class, made from
    ``Sequence[DispenserView]``.
    """

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the line and return what the devices put on it in answer; nothing when they stay silent."""

    def pause(self) -> bytes:
        """The line has been quiet: half a frame is forgotten, or taken as whole where the protocol says so."""


class Controller(Protocol):
    """The station's own master on such a line, for lines that are only listened to (``mode = "tap"``)."""

    def turn(self) -> bytes:
        """What the master asks next; empty when it has nothing to ask now."""

    def receive(self, data: bytes) -> None:
        """Take what the devices answered."""


@dataclass(frozen=True, slots=True)
class LineOffer:
    """How one line of a station can be reached; what ``sim.json`` tells."""

    protocol: str
    address: str
    """``tcp://127.0.0.1:PORT`` or ``serial:PATH?baud=…&parity=…``, ``opc.tcp://…`` for OPC UA."""
    mode: str
    """``poll`` or ``tap``."""
    devices: Mapping[str, int] = field(default_factory=dict)
    """Dispenser or tank id → its address on the line."""
