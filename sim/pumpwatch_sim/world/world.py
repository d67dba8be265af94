"""The physical world: nozzles fuel, tanks fall and are filled again, in fixed steps driven from outside."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING

from pumpwatch.model import NozzleState, from_us, to_us
from pumpwatch_sim.chance import stream
from pumpwatch_sim.world.forecourt import SLOTS, LiveDispenser, LiveNozzle, LiveTank, Sale, Tanker, Unloading, amount_of
from pumpwatch_sim.world.people import Customer, People

if TYPE_CHECKING:
    from pumpwatch_sim.county import County, DispenserPlan

STEP_S = 0.2

_RAMP_UP_S = 1.5
_RAMP_DOWN = 60.0
"""The flow falls over the last 0.60 L."""
_LAST_DROPS_L_MIN = 5.0
_PULSES_PER_L_MIN_S = 100.0 / 60.0


class World:
    """Everything that happens, on a grid of fixed steps: the same seed and start give the same world at any pace.

    Whoever owns it calls :meth:`advance_to`; nothing in here reads a clock.
    """

    def __init__(self, county: County, start: datetime, demand: float = 1.0, step_s: float = STEP_S) -> None:
        """``start`` is aware UTC; all nozzles hang and hold four past sales. Raises ``BadConfig`` (demand)."""
        self.county = county
        self.start_us = self.now_us = to_us(start)
        self._step_us = round(step_s * 1e6)
        self._step_s = step_s
        self._orders = count()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._chance = stream(county.seed, "world")
        self._people = People(stream(county.seed, "people"), demand)
        self._tankers: dict[str, LiveTank] = {}
        self.fuelling: dict[str, LiveNozzle] = {}
        """Nozzles with flow now."""
        plans = [tank for station in county.stations for tank in station.tanks]
        self.tanks = {plan.registered.tank_id: LiveTank(plan) for plan in plans}
        self.nozzles: dict[str, LiveNozzle] = {}
        self.dispensers: dict[str, LiveDispenser] = {}
        for station in county.stations:
            for dispenser in station.dispensers:
                self._set_up(dispenser)
        for nozzle in self.nozzles.values():
            self._await_customer(nozzle)

    @property
    def start(self) -> datetime:
        """When it began, aware UTC."""
        return from_us(self.start_us)

    @property
    def now_s(self) -> int:
        """The devices' clock: whole seconds since 1970 UTC."""
        return self.now_us // 1_000_000

    def advance_to(self, now: datetime, most_steps: int | None = None) -> int:
        """Take the steps that are due at ``now`` and return their number.

        At most ``most_steps`` of them, so that a process which slept catches up piece by piece while it goes on
        answering. A clock that was set back makes the world wait.
        """
        due = (to_us(now) - self.now_us) // self._step_us
        steps = max(0, due if most_steps is None else min(due, most_steps))
        for _ in range(steps):
            self._step()
        return steps

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Do ``action`` so many seconds after the start."""
        self._push(self.start_us + round(seconds * 1e6), action)

    def book(self, seconds: float, nozzle: LiveNozzle, customer: Customer) -> None:
        """Send a customer to this nozzle so many seconds after the start; if it is in use he waits and is next."""

        def arrive() -> None:
            if nozzle.state is NozzleState.IDLE:
                self._lift(nozzle, customer)
            else:
                nozzle.booked.append(customer)

        self.at(seconds, arrive)

    def reserve(self, nozzle: LiveNozzle, until_s: float) -> None:
        """Keep chance customers away from a nozzle until so many seconds after the start."""

        def release() -> None:
            nozzle.open = True

        nozzle.open = False
        self.at(until_s, release)

    # ------------------------------------------------------------ one step

    def _step(self) -> None:
        self.now_us += self._step_us
        while self._events and self._events[0][0] <= self.now_us:
            heapq.heappop(self._events)[2]()
        for nozzle in tuple(self.fuelling.values()):
            self._flow(nozzle)
        for tank in tuple(self._tankers.values()):
            self._unload(tank)

    def _push(self, at_us: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_us, next(self._orders), action))

    def _in(self, seconds: float, action: Callable[[], None]) -> None:
        self._push(self.now_us + round(seconds * 1e6), action)

    # ------------------------------------------------------------ the life of a nozzle

    def _await_customer(self, nozzle: LiveNozzle) -> None:
        nozzle.token += 1
        token = nozzle.token

        def perhaps() -> None:
            if nozzle.token != token:
                return  # someone booked came first
            if nozzle.open and self._people.comes(self.now_us):
                self._lift(nozzle, self._people.customer(nozzle.plan.price))
            else:
                self._await_customer(nozzle)

        self._in(self._people.next_visit_s(), perhaps)

    def _lift(self, nozzle: LiveNozzle, customer: Customer) -> None:
        nozzle.token += 1
        nozzle.customer = customer
        nozzle.state = NozzleState.LIFTED
        nozzle.changes += 1
        self._in(customer.lifted_s, lambda: self._start_flow(nozzle, customer))

    def _start_flow(self, nozzle: LiveNozzle, customer: Customer) -> None:
        nozzle.state = NozzleState.FUELLING
        nozzle.volume = nozzle.amount = nozzle.pulses = 0
        nozzle.progress = nozzle.flow_s = 0.0
        nozzle.start_s = self.now_s
        # The pump stops when the display has reached what was wanted, whatever the display makes of the pulses.
        nozzle.target = bisect_left(range(2 * customer.wanted), customer.wanted, key=nozzle.displayed)
        nozzle.changes += 1
        self.fuelling[nozzle.nozzle_id] = nozzle

    def _flow(self, nozzle: LiveNozzle) -> None:
        customer = nozzle.customer
        if customer is None:
            raise RuntimeError(f"{nozzle.nozzle_id} flows without a customer")
        nozzle.flow_s += self._step_s
        full = customer.flow_l_min * (1.0 + 0.006 * math.sin(1.9 * nozzle.flow_s))
        flow = full * min(1.0, nozzle.flow_s / _RAMP_UP_S)
        remaining = nozzle.target - nozzle.progress
        if remaining < _RAMP_DOWN:
            flow = min(flow, max(_LAST_DROPS_L_MIN, full * remaining / _RAMP_DOWN))
        nozzle.progress += flow * self._step_s * _PULSES_PER_L_MIN_S
        pulses = min(nozzle.target, int(nozzle.progress))
        self.draw(nozzle, pulses - nozzle.pulses)
        nozzle.pulses = pulses
        nozzle.volume = nozzle.displayed(pulses)
        nozzle.amount = amount_of(nozzle.volume, nozzle.plan.price)
        nozzle.flow = round(flow * 10.0)
        nozzle.changes += 1
        if pulses == nozzle.target:
            self._finish(nozzle, customer)

    def draw(self, nozzle: LiveNozzle, pulses: int) -> None:
        """Take from the tank what truly leaves it: the meter counts (1 + E) times that. Cheats call it too."""
        tank = nozzle.tank
        litres = pulses * (nozzle.plan.registered.pulse_l or 0.0) / (1.0 + nozzle.plan.error)
        tank.fuel_l -= litres
        tank.delivered_l += litres
        if tank.must_be_filled:
            self._call_tanker(tank)

    def _finish(self, nozzle: LiveNozzle, customer: Customer) -> None:
        del self.fuelling[nozzle.nozzle_id]
        nozzle.state = NozzleState.STOPPED
        nozzle.flow = 0
        nozzle.remember(
            Sale(
                sequence=nozzle.sequence + 1,
                start_s=nozzle.start_s,
                end_s=self.now_s,
                volume=nozzle.volume,
                amount=nozzle.amount,
                price=nozzle.plan.price,
                payment=customer.payment,
                totalizer=nozzle.totalizer + nozzle.volume,
                totalizer_amount=nozzle.totalizer_amount + nozzle.amount,
                pulses=nozzle.pulses,
                preset=customer.preset,
                preset_value=customer.preset_value,
                tax_volume=nozzle.volume,
                tax_amount=nozzle.amount,
            )
        )
        self._in(customer.rest_s, lambda: self._hang_up(nozzle))

    def _hang_up(self, nozzle: LiveNozzle) -> None:
        nozzle.state = NozzleState.IDLE
        nozzle.customer = None
        nozzle.changes += 1
        if nozzle.booked:
            self._lift(nozzle, nozzle.booked.pop(0))
        else:
            self._await_customer(nozzle)

    # ------------------------------------------------------------ tankers

    def _call_tanker(self, tank: LiveTank) -> None:
        chance = self._chance
        room = 0.95 * tank.plan.registered.capacity_l - tank.fuel_l
        litres = min(chance.uniform(6_000.0, 12_000.0), room)
        tank.unloading = Tanker(self.now_us, litres, chance.uniform(300.0, 600.0) / 60.0, tank.fuel_l)
        self._tankers[tank.plan.registered.tank_id] = tank

    def _unload(self, tank: LiveTank) -> None:
        tanker = tank.unloading
        if tanker is None:
            raise RuntimeError(f"{tank.plan.registered.tank_id} is filled without a tanker")
        litres = min(tanker.litres_per_s * self._step_s, tanker.litres - tanker.given_l)
        tanker.given_l += litres
        tank.fuel_l += litres
        tank.received_l += litres
        if tanker.given_l >= tanker.litres:
            tank.unloadings.append(
                Unloading(tanker.start_us, self.now_us, tanker.litres, tanker.start_fuel_l, tank.fuel_l)
            )
            tank.unloading = None
            del self._tankers[tank.plan.registered.tank_id]

    # ------------------------------------------------------------ the past

    def _set_up(self, plan: DispenserPlan) -> None:
        nozzles = []
        for part in plan.nozzles:
            nozzle = LiveNozzle(part, self.tanks[part.registered.tank_id])
            self._fill_memory(nozzle)
            self.nozzles[nozzle.nozzle_id] = nozzle
            nozzles.append(nozzle)
        self.dispensers[plan.registered.dispenser_id] = LiveDispenser(plan, tuple(nozzles))

    def _fill_memory(self, nozzle: LiveNozzle) -> None:
        """Four honest past sales within the last hours, on top of a random history."""
        chance = stream(self.county.seed, "past", nozzle.nozzle_id)
        people = People(chance)
        past: list[tuple[int, int, Customer]] = []
        end_s = self.now_s - chance.randint(90, 900)
        for _ in range(SLOTS):
            customer = people.customer(nozzle.plan.price)
            start_s = end_s - math.ceil(customer.wanted * 0.6 / customer.flow_l_min) - 3
            past.append((start_s, end_s, customer))
            end_s = start_s - chance.randint(120, 2400)
        nozzle.sequence = chance.randint(1_000, 9_000)
        nozzle.totalizer = nozzle.sequence * 3_000 + chance.randint(0, 50_000_000)
        nozzle.totalizer_amount = amount_of(nozzle.totalizer, nozzle.plan.price) - chance.randint(
            0, nozzle.totalizer // 5
        )
        for start_s, end_s, customer in reversed(past):
            nozzle.remember(_past_sale(nozzle, start_s, end_s, customer))
            nozzle.pulses = nozzle.volume = customer.wanted
            nozzle.amount = amount_of(customer.wanted, nozzle.plan.price)


def _past_sale(nozzle: LiveNozzle, start_s: int, end_s: int, customer: Customer) -> Sale:
    amount = amount_of(customer.wanted, nozzle.plan.price)
    return Sale(
        sequence=nozzle.sequence + 1,
        start_s=start_s,
        end_s=end_s,
        volume=customer.wanted,
        amount=amount,
        price=nozzle.plan.price,
        payment=customer.payment,
        totalizer=nozzle.totalizer + customer.wanted,
        totalizer_amount=nozzle.totalizer_amount + amount,
        pulses=customer.wanted,
        preset=customer.preset,
        preset_value=customer.preset_value,
        tax_volume=customer.wanted,
        tax_amount=amount,
    )
