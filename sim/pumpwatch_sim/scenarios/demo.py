"""The three cheats of the demonstration: found within a minute or two of its start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pumpwatch.model import Department, Text
from pumpwatch_sim.county import firmware_digest
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope, Size
from pumpwatch_sim.scenarios.occasions import MINUTE_US, SECOND_US
from pumpwatch_sim.world.timeline import IdentityChange, Preset, Purpose
from pumpwatch_sim.world.work import Booking

if TYPE_CHECKING:
    from pumpwatch_sim.world.timeline import Timeline
    from pumpwatch_sim.world.work import Demand, Metering

_QUIET_US = 25 * MINUTE_US
"""So long before nobody else comes, that the nozzle is free."""


class _NozzleShow(Scenario):
    """Customers sent to the target's nozzle while nobody else comes."""

    scope = Scope.NOZZLE
    deterministic = True
    horizon_days = 1

    def clear(self, demand: Demand, until_us: int) -> int:
        """Keep other customers off the nozzle until then, from long enough before the onset; the nozzle's index."""
        nozzle = self.target.nozzle or 0
        demand.closed.append((nozzle, self.onset_us - _QUIET_US, until_us))
        return nozzle

    def send(self, demand: Demand, at_us: int, litres: tuple[float, float], *names: object) -> None:
        """Book an honest, hurried customer."""
        if demand.stretch.start_us <= at_us < demand.stretch.end_us:
            wanted = float(self.chance("litres", *names).uniform(*litres))
            demand.bookings.append(
                Booking(self.target.nozzle or 0, at_us, wanted, Purpose.CUSTOMER, Preset.NONE, hurried=True)
            )


class DemoShortDelivery(_NozzleShow):
    """The mainboard multiplies the display, and with it amount, totalizers and tax record; the encoder stays honest."""

    id = "demo-1"
    name = "demo_short_delivery"
    told = "display_multiplied"
    title = Text("演示:显示多出百分之三", "Demo: display multiplied")
    cause = "short_delivery"
    departments = (Department.MARKET_REGULATION,)
    evidence = ("D1", "P6")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(3.0, "%", 0.5, 30.0, words="displayed more than the encoder counts"),
    }

    def demand(self, demand: Demand) -> None:
        """Step 1: the first victim comes at once."""
        delay = float(self.chance("delay").uniform(1.0, 5.0))
        self.clear(demand, self.onset_us + 10 * SECOND_US)
        self.send(demand, self.onset_us + int(delay * SECOND_US), (8.0, 11.5))

    def meter(self, metering: Metering) -> None:
        """Step 2."""
        wish = metering.wish
        hit = self.mine(metering.stretch.station, wish.nozzle) & self.active(wish.arrival_us)
        metering.display_gain[hit] += self.number("percent") / 100.0


class DemoMainboardSwap(Scenario):
    """A dispenser's mainboard and firmware are replaced without a work order and without an interruption."""

    id = "demo-2"
    name = "demo_mainboard_swap"
    told = "mainboard_swapped"
    title = Text("演示:更换主板", "Demo: mainboard swapped")
    scope = Scope.DISPENSER
    cause = "identity_change"
    departments = (Department.MARKET_REGULATION,)
    evidence = ("D6",)
    deterministic = True
    horizon_days = 1

    def devices(self, timeline: Timeline) -> None:
        """Step 6."""
        if self.onset_us < timeline.end_us:
            dispenser = timeline.station.dispensers[self.target.dispenser or 0].registered
            serial = f"MB-{int(self.chance('board').integers(16**8)):08X}"
            timeline.identities.append(
                IdentityChange(
                    dispenser.dispenser_id,
                    self.onset_us,
                    mainboard_serial=serial,
                    firmware_digest=firmware_digest(f"tampered firmware {serial}"),
                )
            )

    def size(self) -> Size:
        """One board."""
        return Size(1.0, "mainboard")


class DemoHiddenSale(_NozzleShow):
    """The mainboard hides a sale while the nozzle hangs: totalizers rise, but there is no record of it."""

    id = "demo-3"
    name = "demo_hidden_sale"
    told = "hidden_sale"
    title = Text("演示:隐瞒一笔加油", "Demo: a hidden sale")
    cause = "offline_sale"
    departments = (Department.TAX, Department.MARKET_REGULATION)
    evidence = ("D3", "D10")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "litres": Parameter(36.5, "L", 5.0, 200.0, words="hidden"),
    }

    def demand(self, demand: Demand) -> None:
        """Step 1: an honest sale a minute before, the hidden one, and another honest one that betrays it."""
        stretch = demand.stretch
        nozzle = self.clear(demand, self.onset_us + 15 * SECOND_US)
        self.send(demand, self.onset_us - 59 * SECOND_US, (8.0, 8.8), "before")
        after = float(self.chance("delay").uniform(6.0, 9.0))
        self.send(demand, self.onset_us + int(after * SECOND_US), (8.0, 12.0), "after")
        if stretch.start_us <= self.onset_us < stretch.end_us:
            litres = self.number("litres")
            demand.bookings.append(
                Booking(
                    nozzle,
                    self.onset_us,
                    litres,
                    Purpose.HIDDEN,
                    Preset.LITRES,
                    round(litres * 100),
                    flow_l_min=_UNSEEN_L_MIN,
                    hurried=True,
                )
            )

    def size(self) -> Size:
        """Litres."""
        return Size(self.number("litres"), "L")


_UNSEEN_L_MIN = 1_200.0
"""It is over within seconds, so that nobody can see it flow."""

SCENARIOS: tuple[type[Scenario], ...] = (DemoShortDelivery, DemoMainboardSwap, DemoHiddenSale)
