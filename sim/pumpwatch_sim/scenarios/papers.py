"""Certificates, licences, seals and repairs that are not in order: P01 to P04."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, ClassVar

from pumpwatch.model import Department, DeviceEvent, EventKind, Text, from_us, to_us
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope, Size, Value
from pumpwatch_sim.scenarios.occasions import DAY_US, LOCAL_OFFSET_US, midnight_us
from pumpwatch_sim.scenarios.refit import with_nozzle
from pumpwatch_sim.scenarios.traces import sign
from pumpwatch_sim.world.timeline import LEAD_IN_DAYS, IdentityChange, Purpose

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Timeline
    from pumpwatch_sim.world.work import Demand, Papers

_M = (Department.MARKET_REGULATION,)


def _local_day(at_us: int) -> date:
    return from_us(at_us + LOCAL_OFFSET_US).date()


class CertificateExpired(Scenario):
    """Nobody has a nozzle verified again when its certificate runs out, and it goes on selling."""

    id = "P01"
    name = "certificate_expired"
    title = Text("检定证书过期仍在用", "certificate expired, still selling")
    scope = Scope.NOZZLE
    cause = "certificate_expired"
    departments = _M
    evidence = ("D12",)
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "days": Parameter(1.0, "d", 1.0, 60.0, words="so many days overdue on the day of the onset"),
    }

    @classmethod
    def settle(cls, onset_us: int, origin_us: int, values: Mapping[str, Value]) -> int:
        """The first midnight after the last valid day, but not before the start of the period."""
        days = round(float(values.get("days", cls.parameters["days"].default)))
        return max(midnight_us(onset_us) - (days - 1) * DAY_US, origin_us + LEAD_IN_DAYS * DAY_US)

    @property
    def last_day(self) -> date:
        """The certificate's last valid day."""
        return _local_day(self.onset_us) - timedelta(days=1)

    def plan(self, station: StationPlan) -> StationPlan:
        """It runs out the day before the onset."""
        index = self.target.nozzle or 0
        nozzle = station.nozzles[index]
        registered = replace(nozzle.registered, certificate_expires=self.last_day)
        return with_nozzle(station, index, replace(nozzle, registered=registered))

    def demand(self, demand: Demand) -> None:
        """Step 1: no inspector comes to draw from it."""
        demand.bookings[:] = [
            booking
            for booking in demand.bookings
            if booking.nozzle != self.target.nozzle or booking.purpose is not Purpose.TEST_DRAW
        ]

    def papers(self, papers: Papers) -> None:
        """Step 8: the ledger has the old certificate and no order tells of a new one."""
        nozzle = papers.station.nozzles[self.target.nozzle or 0].registered
        _never_verified(papers, self.target.nozzle or 0, 0)
        papers.ledger.setdefault(nozzle.nozzle_id, {}).update(
            certificate_no=nozzle.certificate_no, certificate_expires=self.last_day
        )

    def size(self) -> Size:
        """Days overdue at the onset that the fleet file names."""
        return Size(self.number("days"), "d")


def _never_verified(papers: Papers, index: int, from_time_us: int) -> bool:
    """Take away a nozzle's verifications from then on; whether there were any."""
    nozzle = papers.station.nozzles[index].registered.nozzle_id
    kept = [
        order
        for order in papers.work_orders
        if order.device_id != nozzle or order.kind != "verification" or to_us(order.at) < from_time_us
    ]
    fewer = len(kept) < len(papers.work_orders)
    papers.work_orders[:] = kept
    return fewer


class LicenceExpired(Scenario):
    """The station's retail licence has run out, or it is closed, and it goes on selling."""

    id = "P02"
    name = "licence_expired"
    title = Text("经营许可过期仍营业", "licence expired, still selling")
    scope = Scope.STATION
    cause = "licence_expired"
    departments = (Department.COMMERCE,)
    evidence = ("D12",)
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "licence": Parameter("retail", choices=("business", "retail", "hazmat"), words="which one"),
    }

    @classmethod
    def settle(cls, onset_us: int, origin_us: int, values: Mapping[str, Value]) -> int:
        """From midnight on, but not before the start of the period."""
        return max(midnight_us(onset_us), origin_us + LEAD_IN_DAYS * DAY_US)

    def plan(self, station: StationPlan) -> StationPlan:
        """It runs out the day before the onset."""
        day = _local_day(self.onset_us) - timedelta(days=1)
        match self.word("licence"):
            case "business":
                registered = replace(station.registered, business_licence_expires=day)
            case "hazmat":
                registered = replace(station.registered, hazmat_licence_expires=day)
            case _:
                registered = replace(station.registered, retail_licence_expires=day)
        return replace(station, registered=registered)


class SealChanged(Scenario):
    """A seal has another number than the ledger, and no work order says why."""

    id = "P03"
    name = "seal_changed"
    title = Text("铅封号无故变更", "seal changed without a work order")
    scope = Scope.NOZZLE
    cause = "seal_changed"
    departments = _M
    evidence = ("D6",)
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "seal": Parameter("mainboard", choices=("meter", "encoder", "mainboard"), words="which one"),
    }

    def devices(self, timeline: Timeline) -> None:
        """Step 6: the seal's new number is read."""
        if timeline.start_us <= self.onset_us < timeline.end_us:
            nozzle = timeline.station.nozzles[self.target.nozzle or 0].registered
            number = f"S{self.word('seal')[0].upper()}-{int(self.chance('seal').integers(16**8)):08X}"
            timeline.events.append(
                DeviceEvent(
                    from_us(self.onset_us),
                    nozzle.dispenser_id.partition("-")[0],
                    nozzle.dispenser_id,
                    EventKind.SEAL,
                    {
                        "nozzle_id": nozzle.nozzle_id,
                        "seal": f"seal_{self.word('seal')}",
                        "number": number,
                        "state": "intact",
                    },
                )
            )

    def size(self) -> Size:
        """One."""
        return Size(1.0, "seal")


class UnverifiedAfterRepair(Scenario):
    """After a repair with a new encoder the nozzle sells at once, unverified."""

    id = "P04"
    name = "unverified_after_repair"
    title = Text("维修后未检定即投用", "in service unverified after repair")
    scope = Scope.NOZZLE
    cause = "unverified_repair"
    departments = _M
    evidence = ("D6", "D12")
    deterministic = True
    horizon_days = 1

    def devices(self, timeline: Timeline) -> None:
        """Step 6: another encoder."""
        if self.onset_us < timeline.end_us:
            nozzle = timeline.station.nozzles[self.target.nozzle or 0].registered
            serials = {nozzle.nozzle_id: f"EN-{int(self.chance('encoder').integers(16**8)):08X}"}
            timeline.identities.append(IdentityChange(nozzle.dispenser_id, self.onset_us, encoder_serials=serials))

    def papers(self, papers: Papers) -> None:
        """Step 8: a work order of the repair that the institute never signed."""
        nozzle = papers.station.nozzles[self.target.nozzle or 0].registered
        if _never_verified(papers, self.target.nozzle or 0, self.onset_us):
            papers.ledger.setdefault(nozzle.nozzle_id, {}).update(
                certificate_no=nozzle.certificate_no, certificate_expires=nozzle.certificate_expires
            )
        sign(papers, nozzle.nozzle_id, self.onset_us, "repair", "更换编码器")

    def size(self) -> Size:
        """One."""
        return Size(1.0, "nozzle")


SCENARIOS: tuple[type[Scenario], ...] = (
    CertificateExpired,
    LicenceExpired,
    SealChanged,
    UnverifiedAfterRepair,
)
