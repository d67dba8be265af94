"""What a tank gauge's console tells: the facts its reports are made of, and a console that looks at a station."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pumpwatch_sim.live.views import DropLook, StationView, TankLook, TankView

CHART_POINTS = 50
"""Of the strapping table."""
HIGH_WATER, OVERFILL, LOW = 3, 4, 5
"""Tank alarms by their numbers."""

_PRODUCTS = {"92#": "1", "95#": "2", "98#": "3", "0#": "4"}
_LABELS = {"92#": "GASOLINE 92", "95#": "GASOLINE 95", "98#": "GASOLINE 98", "0#": "DIESEL 0"}
_EXPANSION = {"0#": 0.00084}
"""Per degree; petrol's is the default."""
_PETROL_EXPANSION = 0.0012
_SIXTY_F_C = 15.56
_HIGH_WATER_MM, _OVERFILL_SHARE, _LOW_SHARE = 80.0, 0.95, 0.08


class Units(StrEnum):
    """What the console reports in: litres, mm, degrees Celsius, or gallons, inches, degrees Fahrenheit."""

    METRIC = "metric"
    US = "us"


@dataclass(frozen=True, slots=True)
class Inventory:
    """One tank now, in the console's units (volume, length, temperature)."""

    product: str
    """One character."""
    status: int
    """Bit 0 delivery in progress, bit 1 leak test, bit 2 invalid height."""
    volume: float
    tc_volume: float
    ullage: float
    height: float
    water: float
    temperature: float
    water_volume: float


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """One delivery; times are the console's local time, to the minute."""

    start: datetime
    end: datetime
    start_volume: float
    start_tc_volume: float
    start_water: float
    start_temperature: float
    end_volume: float
    end_tc_volume: float
    end_water: float
    end_temperature: float
    start_height: float
    end_height: float


@dataclass(frozen=True, slots=True)
class LeakTest:
    """A finished leak test."""

    start: datetime
    hours: int
    start_temperature: float
    end_temperature: float
    start_volume: float
    rate: float
    """Volume an hour."""
    hourly: tuple[float, ...] = ()
    """Volume at the end of each hour."""


class Console(Protocol):
    """What a gauge must tell so that its replies can be written; tanks are numbered from 1."""

    @property
    def software(self) -> str:
        """``SOFTWARE# nnnnnn-vvv-rrrCREATED - YY.MM.DD.HH.mm``."""

    def local_time(self) -> datetime:
        """The console's clock."""

    def tanks(self) -> Sequence[int]:
        """Numbers of the tanks it has."""

    def alarms(self, tank: int) -> Sequence[int]:
        """Active tank alarms by their numbers."""

    def product(self, tank: int) -> str:
        """Product code, one character."""

    def inventory(self, tank: int) -> Inventory:
        """The tank now."""

    def deliveries(self, tank: int) -> Sequence[DeliveryReport]:
        """Its last deliveries, oldest first."""


@runtime_checkable
class FullConsole(Console, Protocol):
    """A console that also knows its set-up and its past, and so answers every function and in both formats."""

    @property
    def units(self) -> Units:
        """What it reports in."""

    def label(self, tank: int) -> str:
        """Product label, at most 20 characters."""

    def capacity(self, tank: int) -> float:
        """Full volume."""

    def diameter(self, tank: int) -> float:
        """Of the tank."""

    def chart(self, tank: int) -> Sequence[tuple[float, float]]:
        """Fifty heights and their volumes, rising, as the console was taught."""

    def alarm_history(self, tank: int) -> Sequence[tuple[datetime, int]]:
        """When which alarm came, newest first."""

    def leak_tests(self, tank: int) -> Sequence[LeakTest]:
        """The last finished one, if any."""


class StationConsole:
    """The console of a station of the simulated county; see :class:`FullConsole`."""

    software = "SOFTWARE# 346100-100-DEMCREATED - 26.01.15.09.30"

    def __init__(self, station: StationView, units: Units = Units.METRIC) -> None:
        """``station`` is looked at anew for every report."""
        self._station = station
        self.units = units

    def local_time(self) -> datetime:
        """The gauge's wall clock."""
        return self._station.local_time

    def tanks(self) -> Sequence[int]:
        """As the station numbers them."""
        return [tank.number for tank in self._station.tanks]

    def alarms(self, tank: int) -> Sequence[int]:
        """High water, overfill, low product: by the reading of this second."""
        view = self._tank(tank)
        look = view.look()
        share = look.volume_l / view.capacity_l
        active = (
            (HIGH_WATER, look.water_mm >= _HIGH_WATER_MM),
            (OVERFILL, share >= _OVERFILL_SHARE),
            (LOW, share < _LOW_SHARE),
        )
        return [number for number, on in active if on]

    def product(self, tank: int) -> str:
        """1 to 4 for 92#, 95#, 98#, 0#."""
        return _PRODUCTS.get(self._tank(tank).grade, "9")

    def label(self, tank: int) -> str:
        """In letters the console has."""
        grade = self._tank(tank).grade
        return _LABELS.get(grade, grade)[:20]

    def capacity(self, tank: int) -> float:
        """Full volume."""
        return self._volume(self._tank(tank).capacity_l)

    def diameter(self, tank: int) -> float:
        """Of the tank."""
        return self._length(self._tank(tank).diameter_mm)

    def chart(self, tank: int) -> Sequence[tuple[float, float]]:
        """The gauge's own, true or not."""
        return [
            (self._length(height_mm), self._volume(volume_l))
            for height_mm, volume_l in self._tank(tank).chart(CHART_POINTS)
        ]

    def alarm_history(self, tank: int) -> Sequence[tuple[datetime, int]]:
        """It keeps none."""
        return ()

    def leak_tests(self, tank: int) -> Sequence[LeakTest]:
        """It makes none."""
        return ()

    def inventory(self, tank: int) -> Inventory:
        """The probe's reading of this second."""
        view = self._tank(tank)
        look = view.look()
        return Inventory(
            product=self.product(tank),
            status=1 if view.receiving else 0,
            volume=self._volume(look.volume_l),
            tc_volume=self._tc_volume(view, look),
            ullage=self._volume(look.ullage_l),
            height=self._length(look.height_mm),
            water=self._length(look.water_mm),
            temperature=self._temperature(look.temperature_c),
            water_volume=self._volume(look.water_l),
        )

    def deliveries(self, tank: int) -> Sequence[DeliveryReport]:
        """The last ten."""
        view = self._tank(tank)
        return [self._report(view, drop) for drop in view.drops()]

    def _report(self, view: TankView, drop: DropLook) -> DeliveryReport:
        before, after = drop.before, drop.after
        return DeliveryReport(
            start=drop.start,
            end=drop.end,
            start_volume=self._volume(before.volume_l),
            start_tc_volume=self._tc_volume(view, before),
            start_water=self._length(before.water_mm),
            start_temperature=self._temperature(before.temperature_c),
            end_volume=self._volume(after.volume_l),
            end_tc_volume=self._tc_volume(view, after),
            end_water=self._length(after.water_mm),
            end_temperature=self._temperature(after.temperature_c),
            start_height=self._length(before.height_mm),
            end_height=self._length(after.height_mm),
        )

    def _tank(self, number: int) -> TankView:
        return next(tank for tank in self._station.tanks if tank.number == number)

    def _tc_volume(self, view: TankView, look: TankLook) -> float:
        """At 20 °C, or at 60 °F for a console in US units."""
        if self.units is Units.METRIC:
            return look.volume_20c_l
        expansion = _EXPANSION.get(view.grade, _PETROL_EXPANSION)
        return self._volume(look.volume_20c_l * (1.0 + expansion * (_SIXTY_F_C - 20.0)))

    def _volume(self, litres: float) -> float:
        return litres if self.units is Units.METRIC else litres / 3.785411784

    def _length(self, mm: float) -> float:
        return mm if self.units is Units.METRIC else mm / 25.4

    def _temperature(self, celsius: float) -> float:
        return celsius if self.units is Units.METRIC else celsius * 1.8 + 32.0
