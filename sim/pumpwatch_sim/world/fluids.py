"""What the fuels are, how they swell with warmth, and how warm air and ground are on a day of the year."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, overload

import numpy as np

from pumpwatch_sim.chance import generator
from pumpwatch_sim.world.plans import Product

if TYPE_CHECKING:
    from pumpwatch_sim.world.timeline import Floats, Ints

PRODUCTS: Mapping[str, Product] = MappingProxyType(
    {
        "92#": Product("92#", density_20c=738.0, expansion=0.00122, vapour_loss=0.0020),
        "95#": Product("95#", density_20c=746.0, expansion=0.00120, vapour_loss=0.0020),
        "98#": Product("98#", density_20c=753.0, expansion=0.00118, vapour_loss=0.0020),
        "0#": Product("0#", density_20c=835.0, expansion=0.00083, vapour_loss=0.0004),
    }
)
"""By grade. Petrol has 720-775 kg/m³ and 0.0011-0.00125 per °C, diesel 810-850 and 0.00083; petrol loses 0.1-0.3 %."""

_DAY_US = 86_400_000_000
_YEAR_DAYS = 365.2425
_LOCAL_HOUR = 8.0
_AIR_MEAN_C, _AIR_SEASON_C, _AIR_WARMEST_DAY = 8.0, 16.5, 202.0
_AIR_DAILY_C, _AIR_WARMEST_HOUR = 6.0, 15.0
_WEATHER_C, _SPELL_DAYS, _WEATHER_BLOCK = 3.5, 4, 64
_GROUND_MEAN_C, _GROUND_SEASON_C, _GROUND_WARMEST_DAY = 10.0, 8.5, 245.0


@overload
def at_20c(litres: float, temperature_c: float, expansion: float) -> float: ...
@overload
def at_20c(litres: Floats, temperature_c: Floats | float, expansion: float) -> Floats: ...
@overload
def at_20c(litres: float, temperature_c: Floats, expansion: float) -> Floats: ...
def at_20c(litres: Floats | float, temperature_c: Floats | float, expansion: float) -> Floats | float:
    """Litres at 20 °C of what measures ``litres`` at this temperature."""
    return litres * (1.0 - expansion * (temperature_c - 20.0))


@overload
def from_20c(litres_20c: float, temperature_c: float, expansion: float) -> float: ...
@overload
def from_20c(litres_20c: Floats, temperature_c: Floats | float, expansion: float) -> Floats: ...
@overload
def from_20c(litres_20c: float, temperature_c: Floats, expansion: float) -> Floats: ...
def from_20c(litres_20c: Floats | float, temperature_c: Floats | float, expansion: float) -> Floats | float:
    """Litres measured at this temperature of what are ``litres_20c`` at 20 °C: the exact inverse of :func:`at_20c`."""
    return litres_20c / (1.0 - expansion * (temperature_c - 20.0))


@overload
def density_at(density_20c: float, temperature_c: float, expansion: float) -> float: ...
@overload
def density_at(density_20c: Floats | float, temperature_c: Floats, expansion: float) -> Floats: ...
def density_at(density_20c: Floats | float, temperature_c: Floats | float, expansion: float) -> Floats | float:
    """Density (kg/m³) at this temperature; mass stays what it is."""
    return density_20c * (1.0 - expansion * (temperature_c - 20.0))


def _season(days: Floats, warmest_day: float) -> Floats:
    """1 on the warmest day of each year, -1 half a year later; ``days`` count from 1970."""
    return np.cos(2.0 * np.pi * (days - warmest_day) / _YEAR_DAYS)


def ground_c(at_us: Ints) -> Floats:
    """The ground about the tanks, a few metres down: late and mild."""
    return _GROUND_MEAN_C + _GROUND_SEASON_C * _season(at_us / _DAY_US, _GROUND_WARMEST_DAY)


def air_c(at_us: Ints, seed: int) -> Floats:
    """The air over the county: season, hour of day, and weather that comes and goes over days."""
    days = at_us / _DAY_US
    hour = (days * 24.0 + _LOCAL_HOUR) % 24.0
    daily = _AIR_DAILY_C * np.cos(2.0 * np.pi * (hour - _AIR_WARMEST_HOUR) / 24.0)
    return _AIR_MEAN_C + _AIR_SEASON_C * _season(days, _AIR_WARMEST_DAY) + daily + _weather_c(days, seed)


def _weather_c(days: Floats, seed: int) -> Floats:
    if not days.size:
        return np.zeros(0)
    known = np.arange(int(np.floor(days.min())), int(np.floor(days.max())) + 2)
    draws = np.array([_draw(seed, int(day)) for day in range(known[0] - _SPELL_DAYS + 1, known[-1] + 1)])
    spells = np.convolve(draws, np.full(_SPELL_DAYS, 1.0 / np.sqrt(_SPELL_DAYS)), mode="valid")
    return _WEATHER_C * np.interp(days, known, spells)


def _draw(seed: int, day: int) -> float:
    block, place = divmod(day, _WEATHER_BLOCK)
    return float(_block(seed, block)[place])


@lru_cache(maxsize=256)
def _block(seed: int, block: int) -> Floats:
    return generator(seed, "weather", block).standard_normal(_WEATHER_BLOCK)
