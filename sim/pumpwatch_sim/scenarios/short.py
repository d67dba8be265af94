"""Short delivery in general: how a filling comes to show more than the customer gets, and what ``truth.json`` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch.model import Department, Subject
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope, Size, TruthItem

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Bools, Floats
    from pumpwatch_sim.world.work import Metering

SMALL_HORIZON_DAYS = 90
"""Below 1 % the balance needs so long."""


def percent(default: float, low: float, high: float, words: str = "displayed more than delivered") -> Parameter:
    """A parameter in per cent of what was delivered."""
    return Parameter(default, "%", low, high, words=words)


class Way(StrEnum):
    """Where in the chain from fuel to display the litres are added."""

    DISPLAY = "display"
    """The mainboard multiplies honest pulses: litres and pulses disagree."""
    PULSES = "pulses"
    """Pulses are added, at the encoder or by a board that tells both rewritten: litres and pulses agree."""
    METER = "meter"
    """The meter's adjuster."""
    BYPASS = "bypass"
    """Fuel that passed the meter flows back into the tank."""


class ShortDelivery(Scenario):
    """Chosen fillings at the target show ``shortness`` more than was delivered."""

    scope = Scope.NOZZLE
    cause = "short_delivery"
    departments: ClassVar[tuple[Department, ...]] = (Department.MARKET_REGULATION,)
    way: ClassVar[Way] = Way.PULSES

    def chosen(self, metering: Metering) -> Bools:
        """Which fillings, among those at the target between onset and end; all of them unless selective."""
        return np.ones(len(metering.wish.nozzle), bool)

    def shortness(self, metering: Metering) -> Floats:
        """E added to each filling if it is chosen, as a fraction."""
        return np.full(len(metering.wish.nozzle), self.number("percent") / 100.0)

    def meter(self, metering: Metering) -> None:
        """Add the shortness in this scenario's way."""
        wish = metering.wish
        on = self.mine(metering.stretch.station, wish.nozzle) & self.active(wish.arrival_us)
        on = on & self.chosen(metering)
        added = np.where(on, self.shortness(metering), 0.0)
        match self.way:
            case Way.DISPLAY:
                metering.display_gain += added
            case Way.PULSES:
                metering.pulse_gain += added
            case Way.METER:
                metering.error += added
            case Way.BYPASS:
                metering.bypass += added / (1.0 + added)

    def truth(self, stations: Mapping[str, StationPlan]) -> Sequence[TruthItem]:
        """As every scenario, with a longer horizon for what is small."""
        horizon = self.horizon_days
        if not self.deterministic and self.size().unit == "%" and self.size().value < 1.0:
            horizon = max(horizon, SMALL_HORIZON_DAYS)
        return (self.item(stations, horizon_days=horizon),)

    def item(
        self,
        stations: Mapping[str, StationPlan],
        *,
        cause: str = "",
        subject: Subject | None = None,
        size: Size | None = None,
        deterministic: bool | None = None,
        horizon_days: int | None = None,
    ) -> TruthItem:
        """An item of ``truth.json``; what is not given is the scenario's own."""
        sure = self.deterministic if deterministic is None else deterministic
        return TruthItem(
            cause or self.cause,
            subject or self.subject(stations[self.target.station_id]),
            self.onset_us,
            self.end_us,
            size or self.size(),
            self.departments,
            sure,
            (1 if sure else self.horizon_days) if horizon_days is None else horizon_days,
        )
