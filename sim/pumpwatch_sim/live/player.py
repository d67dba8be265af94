"""A station played from its timelines: each question is answered from the rows of the present moment; nothing steps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch_sim.live.nozzle import NozzlePlayer
from pumpwatch_sim.live.tank import TankPlayer
from pumpwatch_sim.live.views import Identity
from pumpwatch_sim.world.clocks import offset_s
from pumpwatch_sim.world.people import LOCAL
from pumpwatch_sim.world.timeline import GaugeFaultKind, Sales

if TYPE_CHECKING:
    from pumpwatch_sim.staging import Staging
    from pumpwatch_sim.world.plans import DispenserPlan, StationPlan
    from pumpwatch_sim.world.timeline import IdentityChange, Ints, Outage, Timeline

_SECOND_US = 1_000_000


class DispenserPlayer:
    """One dispenser; see :class:`pumpwatch_sim.live.views.DispenserView`."""

    def __init__(self, plan: DispenserPlan, index: int, now_us: Callable[[], int]) -> None:
        """``index`` counts in ``StationPlan.dispensers``."""
        self.plan = plan
        self.unit = plan.unit
        self._now_us = now_us
        self._index = index
        self._timeline: Timeline | None = None
        self._changes: list[IdentityChange] = []
        self._applied = -1
        self._identity_changes = 0
        self._identity = _registered(plan)
        self.nozzles = tuple(
            NozzlePlayer(nozzle, number, now_us, self.device_s) for number, nozzle in enumerate(plan.nozzles, 1)
        )

    @property
    def dispenser_id(self) -> str:
        """The registered id."""
        return self.plan.registered.dispenser_id

    @property
    def identity(self) -> Identity:
        """What it says it is now."""
        self._see()
        return self._identity

    @property
    def identity_changes(self) -> int:
        """Rises whenever ``identity`` has changed."""
        self._see()
        return self._identity_changes

    @property
    def now_s(self) -> int:
        """The dispenser's clock."""
        return int(self.device_s(np.array([self._now_us()], np.int64))[0])

    @property
    def local_time(self) -> datetime:
        """The dispenser's clock as the station's wall clock."""
        return datetime.fromtimestamp(self.now_s, UTC).astimezone(LOCAL)

    def device_s(self, at_us: Ints) -> Ints:
        """What the dispenser's clock shows at these true times."""
        if self._timeline is None:
            return at_us // _SECOND_US
        return np.floor(at_us / 1e6 + offset_s(self._timeline, self._index, at_us)).astype(np.int64)

    def follow(self, timeline: Timeline) -> None:
        """Go on with this stretch; its nozzles follow by themselves."""
        self._timeline = timeline
        changes = [change for change in timeline.identities if change.dispenser_id == self.dispenser_id]
        self._changes = sorted(changes, key=lambda change: change.at_us)

    def _see(self) -> None:
        now = self._now_us()
        applied = sum(change.at_us <= now for change in self._changes)
        if applied != self._applied:
            self._applied = applied
            identity = _registered(self.plan)
            for change in self._changes[:applied]:
                identity = _changed(identity, change, self.plan)
            if identity != self._identity:
                self._identity = identity
                self._identity_changes += 1


class StationPlayer:
    """One station; see :class:`pumpwatch_sim.live.views.StationView`.

    Its stretches are made when the first question about them comes, or ahead of that by :meth:`prepare`, which another
    thread may call.
    """

    def __init__(self, staging: Staging, station_id: str, now_us: Callable[[], int]) -> None:
        """``now_us`` is the world's time and never goes back. Raises ``BadConfig`` for an unknown station."""
        self.plan: StationPlan = staging.station(station_id)
        self.station_id = station_id
        self._timelines = staging.timelines(station_id)
        self._now_us = now_us
        self._making = threading.Lock()
        self._made: deque[Timeline] = deque()
        self.made_until_us = staging.origin_us
        """Until then everything is known already."""
        self._end_us = staging.origin_us
        self._outages: list[Outage] = []
        self.dispensers = tuple(
            DispenserPlayer(part, index, self.see) for index, part in enumerate(self.plan.dispensers)
        )
        self.nozzles = tuple(nozzle for dispenser in self.dispensers for nozzle in dispenser.nozzles)
        self.tanks = tuple(
            TankPlayer(tank, index, staging.county.seed, self.see) for index, tank in enumerate(self.plan.tanks)
        )

    @property
    def local_time(self) -> datetime:
        """The gauge's wall clock."""
        return datetime.fromtimestamp(self.see() // _SECOND_US, UTC).astimezone(LOCAL)

    @property
    def outages(self) -> list[Outage]:
        """Those of this moment."""
        now = self.see()
        return [outage for outage in self._outages if outage.start_us <= now < outage.end_us]

    def out(self, device_id: str) -> bool:
        """Whether nothing is heard of this dispenser or tank now."""
        return any(not outage.devices or device_id in outage.devices for outage in self.outages)

    def prepare(self, until_us: int) -> None:
        """Make everything up to this time; takes some ten milliseconds for a stretch."""
        with self._making:
            while self.made_until_us <= until_us:
                timeline = next(self._timelines)
                self._made.append(timeline)
                self.made_until_us = timeline.end_us

    def see(self) -> int:
        """The present moment, with its stretch at hand."""
        now = self._now_us()
        while now >= self._end_us:
            if not self._made:
                self.prepare(self._end_us)
            self._follow(self._made.popleft())
        return now

    def look_round(self) -> None:
        """Look at everything once, so that nobody has to wait for the first time."""
        self.see()
        for nozzle in self.nozzles:
            nozzle.see()
        for tank in self.tanks:
            tank.look()

    def look_on(self) -> None:
        """Take up the stretches and deliveries that have begun, asked or not."""
        self.see()
        for tank in self.tanks:
            tank.look_on()

    def _follow(self, timeline: Timeline) -> None:
        """Go on with the next stretch."""
        self._end_us = timeline.end_us
        running = [o for o in self._outages if o.end_us > timeline.start_us and o not in timeline.outages]
        self._outages = running + timeline.outages
        sales = timeline.sales.take(np.argsort(timeline.sales.nozzle, kind="stable"))
        bounds = np.searchsorted(sales.nozzle, np.arange(len(self.nozzles) + 1)).tolist()
        for nozzle, (start, end) in zip(self.nozzles, pairwise(bounds), strict=True):
            nozzle.follow(_part(sales, start, end), timeline.start_us)
        if all(fault.kind is not GaugeFaultKind.SYNTHETIC for fault in timeline.gauge_faults):
            # The nozzles have them; only made-up readings want them again. A slice would keep the whole alive.
            timeline.sales = timeline.sales.take(np.arange(0))
        for dispenser in self.dispensers:
            dispenser.follow(timeline)
        for tank in self.tanks:
            tank.follow(timeline)


def _part(sales: Sales, start: int, end: int) -> Sales:
    """These rows without copying them."""
    return Sales(**{f.name: getattr(sales, f.name)[start:end] for f in fields(Sales)})


def _registered(plan: DispenserPlan) -> Identity:
    registered = plan.registered
    return Identity(
        serial=registered.serial or "",
        mainboard_serial=registered.mainboard_serial or "",
        firmware_version=registered.firmware_version or "",
        firmware_digest=registered.firmware_digest or "",
        tax_serial=registered.tax_serial or "",
        encoder_serials=tuple(nozzle.registered.encoder_serial or "" for nozzle in plan.nozzles),
    )


def _changed(identity: Identity, change: IdentityChange, plan: DispenserPlan) -> Identity:
    names = ("serial", "mainboard_serial", "firmware_version", "firmware_digest", "tax_serial")
    new = {name: getattr(change, name) for name in names if getattr(change, name) is not None}
    encoders = zip(plan.nozzles, identity.encoder_serials, strict=True)
    serials = tuple(change.encoder_serials.get(nozzle.registered.nozzle_id, serial) for nozzle, serial in encoders)
    return replace(identity, encoder_serials=serials, **new)
