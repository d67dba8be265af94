"""Dispensers, tanks and a station made of plain attributes that a test sets by hand: fakes of live.views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from pumpwatch.model import NozzleState
from pumpwatch_sim.live.views import DropLook, Identity, Sale, TankLook, TaxTotals
from pumpwatch_sim.world.timeline import Payment, Preset

LOCAL = timezone(timedelta(hours=8))
NOW = datetime(2024, 6, 1, 12, 30, 0, tzinfo=LOCAL)


@dataclass
class FakeNozzle:
    nozzle_id: str = "S01-N01"
    number: int = 1
    grade: str = "92#"
    price: int = 789
    state: NozzleState = NozzleState.IDLE
    volume: int = 0
    amount: int = 0
    pulses: int = 0
    flow: int = 0
    totalizer: int = 0
    totalizer_amount: int = 0
    sequence: int = 0
    sales: list[Sale | None] = field(default_factory=lambda: [None] * 4)
    changes: int = 0
    sale_changes: int = 0
    tax: dict[str, tuple[int, int]] = field(default_factory=dict)

    def tax_totals(self, local: datetime) -> TaxTotals:
        nothing = (0, 0)
        return TaxTotals(
            day=self.tax.get(f"{local:%Y%m%d}", nothing),
            month=self.tax.get(f"{local:%Y%m}", nothing),
            grand=self.tax.get("grand", nothing),
        )

    def lift(self) -> None:
        self.state, self.volume, self.amount = NozzleState.LIFTED, 0, 0

    def fuel(self, volume: int) -> None:
        self.state, self.flow = NozzleState.FUELLING, 400
        self.volume, self.amount = volume, (volume * self.price + 50) // 100

    def stop(self, preset: Preset = Preset.NONE) -> None:
        """The flow has ended, the nozzle is still out; the memory has the sale."""
        self.state, self.flow = NozzleState.STOPPED, 0
        self._record(preset)

    def hang(self, preset: Preset = Preset.NONE) -> None:
        if self.state is NozzleState.FUELLING:
            self._record(preset)
        self.state, self.flow = NozzleState.IDLE, 0

    def sell(self, volume: int, preset: Preset = Preset.NONE) -> None:
        self.lift()
        self.fuel(volume)
        self.hang(preset)

    def _record(self, preset: Preset) -> None:
        self.totalizer += self.volume
        self.totalizer_amount += self.amount
        self.sequence += 1
        end_s = int(NOW.timestamp())
        self.sales[self.sequence % 4] = Sale(
            sequence=self.sequence,
            start_s=end_s - 60,
            end_s=end_s,
            volume=self.volume,
            amount=self.amount,
            price=self.price,
            payment=Payment.CASH,
            totalizer=self.totalizer,
            totalizer_amount=self.totalizer_amount,
            pulses=self.volume,
            preset=preset,
            preset_value=self.volume if preset else 0,
            tax_volume=self.volume,
            tax_amount=self.amount,
        )


@dataclass
class FakeDispenser:
    nozzles: Sequence[FakeNozzle]
    dispenser_id: str = "S01-D1"
    unit: int = 1
    identity: Identity = field(
        default_factory=lambda: Identity(
            serial="DEMO-123456",
            mainboard_serial="MB-20240117",
            firmware_version="4.2.1",
            firmware_digest="c0ffee11" * 8,
            tax_serial="1234567890",
            encoder_serials=("EN-1", "EN-2", "EN-3", "EN-4"),
        )
    )
    identity_changes: int = 0
    local_time: datetime = NOW

    @property
    def now_s(self) -> int:
        return int(self.local_time.timestamp())


LOOK = TankLook(
    height_mm=1234.5,
    volume_l=15000.25,
    volume_20c_l=14950.5,
    ullage_l=14999.75,
    water_mm=12.3,
    water_l=20.5,
    temperature_c=18.25,
    density_kg_m3=742.3,
)


@dataclass
class FakeTank:
    tank_id: str = "S01-T1"
    number: int = 1
    grade: str = "92#"
    receiving: bool = False
    capacity_l: float = 30000.0
    diameter_mm: float = 2500.0
    reading: TankLook = LOOK
    delivered: list[DropLook] = field(default_factory=list)

    def chart(self, points: int) -> list[tuple[float, float]]:
        return [(self.diameter_mm * n / points, self.capacity_l * n / points) for n in range(1, points + 1)]

    def look(self) -> TankLook:
        return self.reading

    def drops(self) -> list[DropLook]:
        return self.delivered


@dataclass
class FakeStation:
    dispensers: Sequence[FakeDispenser] = ()
    tanks: Sequence[FakeTank] = ()
    station_id: str = "S01"
    local_time: datetime = NOW


def nozzles(count: int) -> list[FakeNozzle]:
    grades = ("92#", "95#", "98#", "0#")
    return [FakeNozzle(f"S01-N{n:02d}", n, grades[(n - 1) % 4]) for n in range(1, count + 1)]


def in_pieces(data: bytes, receive: Callable[[bytes], bytes]) -> bytes:
    """What comes back when every byte arrives alone."""
    return b"".join(receive(bytes((byte,))) for byte in data)


def octets(text: str) -> bytes:
    return bytes.fromhex(text)
