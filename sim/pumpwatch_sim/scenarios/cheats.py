"""The cheats: who does what and when, and the truth a detector is measured against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from pumpwatch.model import Department, Subject
from pumpwatch_sim.chance import stream
from pumpwatch_sim.county import firmware_digest, serial_number
from pumpwatch_sim.world.forecourt import amount_of
from pumpwatch_sim.world.people import People, round_half_up

if TYPE_CHECKING:
    from random import Random

    from pumpwatch_sim.county import County, StationPlan
    from pumpwatch_sim.world.world import World


class Cheat(ABC):
    """One cheat at one station."""

    scenario: ClassVar[str]
    cause: ClassVar[str]
    departments: ClassVar[tuple[Department, ...]]
    size: ClassVar[tuple[float, str]]
    onset_s: ClassVar[float] = 0.0
    """Seconds after the start of the world."""

    def __init__(self, station: StationPlan, chance: Random) -> None:
        """Choose what at this station is tampered with."""
        self._chance = chance
        self.subject = self._choose(station)

    @abstractmethod
    def _choose(self, station: StationPlan) -> Subject:
        """The nozzle or dispenser it happens to."""

    @abstractmethod
    def begin(self, world: World) -> None:
        """Prepare the world; called once, before its first step."""

    def truth(self, start: datetime) -> dict[str, object]:
        """The item of ``truth.json`` for a world that begins at ``start``."""
        value, unit = self.size
        return {
            "scenario": self.scenario,
            "cause": self.cause,
            "subject": asdict(self.subject),
            "onset": (start + timedelta(seconds=self.onset_s)).isoformat().replace("+00:00", "Z"),
            "end": None,
            "size": {"value": value, "unit": unit},
            "departments": [department.value for department in self.departments],
            "deterministic": True,
            "horizon_days": 1,
        }


class NozzleCheat(Cheat):
    """A cheat at one nozzle."""

    def _choose(self, station: StationPlan) -> Subject:
        nozzle = self._chance.choice(station.nozzles).registered
        return Subject(station.station_id, nozzle.dispenser_id, nozzle.nozzle_id)


class ShortDelivery(NozzleCheat):
    """The mainboard multiplies the display, the amount, the totalizers and the tax record; the encoder stays honest."""

    scenario = "display_multiplied"
    cause = "short_delivery"
    departments = (Department.MARKET_REGULATION,)
    percent: ClassVar[int] = 3
    size = (3.0, "%")

    def begin(self, world: World) -> None:
        """From the start on; the first victim comes at once."""
        nozzle = world.nozzles[self.subject.nozzle_id or ""]
        nozzle.displayed = self.displayed
        world.reserve(nozzle, 10.0)
        world.book(self._chance.uniform(1.0, 6.0), nozzle, People(self._chance).hurried_customer(8.0, 12.0))

    @classmethod
    def displayed(cls, pulses: int) -> int:
        """3 % more than the encoder counted, to 0.01 L."""
        return round_half_up(pulses * (100 + cls.percent), 100)


class IdentityChange(Cheat):
    """A dispenser's mainboard and firmware are replaced without a work order and without an interruption."""

    scenario = "mainboard_swapped"
    cause = "identity_change"
    departments = (Department.MARKET_REGULATION,)
    size = (1.0, "mainboard")
    onset_s = 45.0

    def _choose(self, station: StationPlan) -> Subject:
        dispenser = self._chance.choice(station.dispensers).registered
        return Subject(station.station_id, dispenser.dispenser_id)

    def begin(self, world: World) -> None:
        """Put the other board in at the onset."""
        dispenser = world.dispensers[self.subject.dispenser_id or ""]
        serial = serial_number(self._chance, "MB")
        digest = firmware_digest(f"tampered firmware {serial}")
        world.at(self.onset_s, lambda: dispenser.replace_mainboard(serial, digest))


class OfflineSale(NozzleCheat):
    """A sale the mainboard hides: the totalizers rise, but there is no state, no sequence and no tax record."""

    scenario = "hidden_sale"
    cause = "offline_sale"
    departments = (Department.TAX, Department.MARKET_REGULATION)
    volume: ClassVar[int] = 3650
    """0.01 L."""
    size = (36.5, "L")
    onset_s = 60.0

    def begin(self, world: World) -> None:
        """One honest sale, then the hidden one while the nozzle hangs, then another honest one that betrays it."""
        nozzle = world.nozzles[self.subject.nozzle_id or ""]
        people = People(self._chance)

        def sell() -> None:
            nozzle.totalizer += self.volume
            nozzle.totalizer_amount += amount_of(self.volume, nozzle.plan.price)
            nozzle.changes += 1
            world.draw(nozzle, self.volume)  # it leaves the tank at one stroke; nobody sees the flow

        world.reserve(nozzle, self.onset_s + 10.0)  # nobody else comes before: the nozzle has to hang at the onset
        world.book(0.5, nozzle, people.hurried_customer(8.0, 8.8))
        world.at(self.onset_s, sell)
        world.book(self.onset_s + self._chance.uniform(1.0, 4.0), nozzle, people.hurried_customer(8.0, 12.0))


def choose_cheats(county: County) -> tuple[Cheat, ...]:
    """At most three cheats at as many stations, in different towns where there are such."""
    chance = stream(county.seed, "cheats")
    stations = list(county.stations)
    chance.shuffle(stations)
    seen: set[str] = set()
    first: list[StationPlan] = []
    others: list[StationPlan] = []
    for station in stations:
        (others if station.registered.town in seen else first).append(station)
        seen.add(station.registered.town)
    kinds: tuple[Callable[[StationPlan, Random], Cheat], ...] = (ShortDelivery, IdentityChange, OfflineSale)
    return tuple(kind(station, chance) for kind, station in zip(kinds, first + others, strict=False))


def truth_of(cheats: tuple[Cheat, ...], world: World) -> dict[str, object]:
    """The content of ``truth.json``; no honest time has passed yet."""
    start = world.start
    return {"honest_nozzle_years": 0.0, "items": [cheat.truth(start) for cheat in cheats]}
