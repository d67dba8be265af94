"""What a station's tank gauge sees of its tanks: noise, resolution, temperature correction and the console's units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from pumpwatch_sim.chance import stream
from pumpwatch_sim.wire.tls350 import DeliveryReport, Inventory
from pumpwatch_sim.world.people import LOCAL

if TYPE_CHECKING:
    from pumpwatch_sim.world.forecourt import LiveTank

_PRODUCTS = {"92#": "1", "95#": "2", "98#": "3", "0#": "4"}
_EXPANSION = {"0#": 0.00084}
"""Per degree; petrol is the default."""
_PETROL_EXPANSION = 0.0012


class Units(StrEnum):
    """What the console reports in: litres, mm, degrees Celsius, or gallons, inches, degrees Fahrenheit."""

    METRIC = "metric"
    US = "us"


@dataclass(frozen=True, slots=True)
class Probe:
    """One reading of a probe: litres, mm, degrees Celsius."""

    height_mm: float
    volume_l: float
    tc_volume_l: float
    ullage_l: float
    water_mm: float
    water_l: float
    temperature_c: float


class Gauge:
    """The console of one station; see :class:`pumpwatch_sim.wire.tls350.Console`."""

    software = "SOFTWARE# 346100-100-DEMCREATED - 26.01.15.09.30"

    def __init__(self, seed: int, tanks: Sequence[LiveTank], now_us: Callable[[], int], units: Units) -> None:
        """``now_us`` is the world's time in microseconds."""
        self._seed = seed
        self._tanks = tuple(tanks)
        self._now_us = now_us
        self.units = units

    def local_time(self) -> datetime:
        """County time."""
        return _local(self._now_us())

    def tanks(self) -> Sequence[int]:
        """1 to the number of tanks."""
        return range(1, len(self._tanks) + 1)

    def alarms(self, tank: int) -> Sequence[int]:
        """Nothing is wrong with any tank."""
        return ()

    def product(self, tank: int) -> str:
        """1 to 4 for 92#, 95#, 98#, 0#."""
        return _PRODUCTS[self._tanks[tank - 1].plan.registered.grade]

    def inventory(self, tank: int) -> Inventory:
        """The probe's reading of this second."""
        live, now_us = self._tanks[tank - 1], self._now_us()
        probe = self.look(live, live.fuel_l, now_us)
        return Inventory(
            product=self.product(tank),
            status=0 if live.unloading is None else 1,
            volume=self._volume(probe.volume_l),
            tc_volume=self._volume(probe.tc_volume_l),
            ullage=self._volume(probe.ullage_l),
            height=self._length(probe.height_mm),
            water=self._length(probe.water_mm),
            temperature=self._temperature(probe.temperature_c),
            water_volume=self._volume(probe.water_l),
        )

    def deliveries(self, tank: int) -> Sequence[DeliveryReport]:
        """The finished ones."""
        live = self._tanks[tank - 1]
        reports = []
        for done in live.unloadings:
            before = self.look(live, done.start_fuel_l, done.start_us)
            after = self.look(live, done.end_fuel_l, done.end_us)
            reports.append(
                DeliveryReport(
                    start=_local(done.start_us),
                    end=_local(done.end_us),
                    start_volume=self._volume(before.volume_l),
                    start_tc_volume=self._volume(before.tc_volume_l),
                    start_water=self._length(before.water_mm),
                    start_temperature=self._temperature(before.temperature_c),
                    end_volume=self._volume(after.volume_l),
                    end_tc_volume=self._volume(after.tc_volume_l),
                    end_water=self._length(after.water_mm),
                    end_temperature=self._temperature(after.temperature_c),
                    start_height=self._length(before.height_mm),
                    end_height=self._length(after.height_mm),
                )
            )
        return reports

    def look(self, tank: LiveTank, fuel_l: float, at_us: int) -> Probe:
        """What the probe says when ``fuel_l`` stand above the water: 0.2 mm of noise, to 0.1 mm.

        The noise belongs to the second, so two questions within one get the same answer and asking changes nothing.
        """
        noise = stream(self._seed, "gauge", tank.plan.registered.tank_id, at_us // 1_000_000)
        shape = tank.plan.shape
        height_mm = round(shape.height_mm(fuel_l + tank.water_l) + noise.gauss(0.0, 0.2), 1)
        water_mm = round(max(0.0, tank.plan.water_mm + noise.gauss(0.0, 0.05)), 1)
        temperature_c = round(tank.temperature_c(at_us) + noise.gauss(0.0, 0.02), 2)
        total_l, water_l = shape.volume_l(height_mm), shape.volume_l(water_mm)
        expansion = _EXPANSION.get(tank.plan.registered.grade, _PETROL_EXPANSION)
        reference_c = 20.0 if self.units is Units.METRIC else 15.56
        return Probe(
            height_mm=height_mm,
            volume_l=total_l - water_l,
            tc_volume_l=(total_l - water_l) * (1.0 - expansion * (temperature_c - reference_c)),
            ullage_l=shape.capacity_l - total_l,
            water_mm=water_mm,
            water_l=water_l,
            temperature_c=temperature_c,
        )

    def _volume(self, litres: float) -> float:
        return litres if self.units is Units.METRIC else litres / 3.785411784

    def _length(self, mm: float) -> float:
        return mm if self.units is Units.METRIC else mm / 25.4

    def _temperature(self, celsius: float) -> float:
        return celsius if self.units is Units.METRIC else celsius * 1.8 + 32.0


def _local(us: int) -> datetime:
    return datetime.fromtimestamp(us // 1_000_000, UTC).astimezone(LOCAL)
