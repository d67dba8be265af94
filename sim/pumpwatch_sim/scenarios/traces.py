"""What an intervention leaves at a station: identities, events, outages, closed nozzles, visits and signed papers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch.model import DeviceEvent, EventKind, WorkOrder, from_us
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US, LOCAL_OFFSET_US, MINUTE_US, SECOND_US, midnight_us
from pumpwatch_sim.scenarios.refit import with_nozzle
from pumpwatch_sim.world.timeline import IdentityChange, Outage, OutageKind, Preset, Purpose
from pumpwatch_sim.world.work import Booking

if TYPE_CHECKING:
    from numpy.random import Generator

    from pumpwatch_sim.world.plans import DispenserPlan, StationPlan
    from pumpwatch_sim.world.timeline import Bools, Ints, Timeline
    from pumpwatch_sim.world.work import Demand, Papers

REPAIRER = "示例维修一部"
INSTITUTE = "示例县计量检定所"
ROUTINE = "例行检查：油枪、软管、滤芯、铅封完好"
"""What stands on the paper of every inspection."""
BOOT_S = 8.0
"""From power to readiness of an honest mainboard."""


def next_at(at_us: int, hour: float) -> int:
    """The first moment not before ``at_us`` at which the county's wall clock shows this hour."""
    moment = midnight_us(at_us) + round(hour * HOUR_US)
    return moment if moment >= at_us else moment + DAY_US


def serial(chance: Generator, prefix: str) -> str:
    """An invented serial number."""
    return f"{prefix}-{int(chance.integers(16**8)):08X}"


def digest(image: str) -> str:
    """64 lower-case hex digits standing for a firmware image."""
    return hashlib.sha256(image.encode()).hexdigest()


# ---------------------------------------------------------------- plans


def dispenser_of(station: StationPlan, nozzle: int) -> DispenserPlan:
    """The dispenser to which a nozzle belongs."""
    plan = station.nozzles[nozzle]
    return next(dispenser for dispenser in station.dispensers if plan in dispenser.nozzles)


def nozzles_of(station: StationPlan, dispenser: DispenserPlan) -> list[int]:
    """The indices of a dispenser's nozzles."""
    return [index for index, nozzle in enumerate(station.nozzles) if nozzle in dispenser.nozzles]


def with_meter_error(station: StationPlan, nozzle: int, error: float) -> StationPlan:
    """The station with another true error of one meter at the start."""
    plan = station.nozzles[nozzle]
    return with_nozzle(station, nozzle, replace(plan, meter=replace(plan.meter, error=error)))


# ---------------------------------------------------------------- devices


def identify(timeline: Timeline, change: IdentityChange, until_us: int | None = None) -> None:
    """Let a dispenser say it is something else, until it says again what is registered.

    It stands in the stretch of the change and in all later ones.
    """
    if change.at_us < timeline.end_us:
        timeline.identities.append(change)
    if until_us is not None and change.at_us < until_us < timeline.end_us:
        timeline.identities.append(_undone(timeline.station, change, until_us))


def _undone(station: StationPlan, change: IdentityChange, at_us: int) -> IdentityChange:
    registered = next(
        dispenser.registered
        for dispenser in station.dispensers
        if dispenser.registered.dispenser_id == change.dispenser_id
    )
    encoders = {plan.registered.nozzle_id: plan.registered.encoder_serial or "" for plan in station.nozzles}
    return IdentityChange(
        change.dispenser_id,
        at_us,
        mainboard_serial=registered.mainboard_serial if change.mainboard_serial else None,
        firmware_version=registered.firmware_version if change.firmware_version else None,
        firmware_digest=registered.firmware_digest if change.firmware_digest else None,
        tax_serial=registered.tax_serial if change.tax_serial else None,
        encoder_serials={nozzle_id: encoders[nozzle_id] for nozzle_id in change.encoder_serials},
    )


def tell(
    timeline: Timeline, at_us: int, device_id: str, kind: EventKind, **detail: str | float | int | bool | None
) -> None:
    """An event, in the stretch in which it happens."""
    if timeline.start_us <= at_us < timeline.end_us:
        timeline.events.append(DeviceEvent(from_us(at_us), timeline.station.station_id, device_id, kind, detail))


def interrupt(
    timeline: Timeline,
    start_us: int,
    end_us: int,
    kind: OutageKind,
    devices: tuple[str, ...] = (),
    backfilled: bool = False,
) -> None:
    """An outage, in every stretch it touches."""
    if start_us < timeline.end_us and end_us > timeline.start_us:
        timeline.outages.append(Outage(start_us, end_us, kind, devices, backfilled))


def cut_power(
    timeline: Timeline, start_us: int, end_us: int, dispensers: tuple[str, ...], boot_s: float = BOOT_S
) -> None:
    """Dispensers go dark and come back; each tells how long it took to be ready. ``close`` keeps the customers away."""
    whole = len(dispensers) == len(timeline.station.dispensers)
    interrupt(timeline, start_us, end_us, OutageKind.POWER, () if whole else dispensers)
    for dispenser_id in dispensers:
        tell(
            timeline,
            end_us,
            dispenser_id,
            EventKind.POWER,
            up=True,
            off_s=(end_us - start_us) / SECOND_US,
            boot_s=boot_s,
        )


def close(demand: Demand, nozzles: Collection[int], start_us: int, end_us: int, lead_us: int = 15 * MINUTE_US) -> None:
    """No customers from ``lead_us`` before, so that who is being served has gone by the start."""
    stretch = demand.stretch
    if start_us - lead_us < stretch.end_us and end_us > stretch.start_us:
        demand.closed.extend((nozzle, start_us - lead_us, end_us) for nozzle in nozzles)
        demand.bookings[:] = [
            booking
            for booking in demand.bookings
            if not (booking.nozzle in nozzles and start_us - lead_us <= booking.at_us < end_us)
        ]


def book(
    demand: Demand,
    nozzle: int,
    at_us: int,
    litres: float,
    purpose: Purpose,
    preset: Preset = Preset.NONE,
    flow_l_min: float | None = None,
) -> None:
    """Send somebody to a nozzle, in the stretch in which it happens."""
    if demand.stretch.start_us <= at_us < demand.stretch.end_us:
        value = round(litres * 100) if preset is Preset.LITRES else 0
        demand.bookings.append(Booking(nozzle, at_us, litres, purpose, preset, value, flow_l_min=flow_l_min))


def end_of(papers: Papers) -> int:
    """The local midnight after the last day of the papers."""
    return ((papers.end - date(1970, 1, 1)).days + 1) * DAY_US - LOCAL_OFFSET_US


def sign(
    papers: Papers,
    device_id: str,
    at_us: int,
    kind: str,
    detail: str = "",
    certificate_no: str | None = None,
    error_percent: float | None = None,
) -> None:
    """A work order in the office's words, if it falls into the period.

    The station signs in any case, whoever mends what he has mended, the institute where something is certified.
    """
    if papers.start <= from_us(at_us + LOCAL_OFFSET_US).date() <= papers.end:
        papers.work_orders.append(
            WorkOrder(
                papers.station.station_id,
                device_id,
                from_us(at_us),
                kind,
                signed_by_repairer=REPAIRER if kind in {"repair", "calibration"} else None,
                signed_by_institute=INSTITUTE if certificate_no else None,
                signed_by_station=papers.station.registered.short_name,
                certificate_no=certificate_no,
                error_percent=error_percent,
                attributes={"detail": detail or ROUTINE} if kind == "inspection" or detail else {},
            )
        )


# ---------------------------------------------------------------- inspectors


@dataclass(frozen=True, slots=True)
class Visits:
    """Inspectors who come every so often, on working days, draw from some nozzles and leave a work order."""

    seed: Generator
    since_us: int
    mean_days: float

    def times(self, until_us: int) -> Iterator[int]:
        """The visits before ``until_us``. Take a fresh object for every call: it draws its numbers as it goes."""
        at = self.since_us
        while True:
            days = round(self.mean_days * self.seed.uniform(0.7, 1.3))
            at = next_at(at + max(days, 1) * DAY_US - HOUR_US * 12, self.seed.uniform(9.0, 16.0))
            weekday = ((at + LOCAL_OFFSET_US) // DAY_US + 3) % 7
            at += (7 - weekday) * DAY_US if weekday > 4 else 0
            if at >= until_us:
                return
            yield at


def near(at_us: Ints, moments: Iterable[int], before_us: int, after_us: int) -> Bools:
    """Which of these times lie about one of the moments."""
    close_by = np.zeros(len(at_us), bool)
    for moment in moments:
        close_by |= (at_us >= moment - before_us) & (at_us < moment + after_us)
    return close_by


def draw(demand: Demand, nozzle: int, at_us: int, litres: Iterable[float], gap_us: int = 4 * MINUTE_US) -> None:
    """Measured draws of an inspector at one nozzle, one after the other; the fuel goes back into the tank."""
    for number, amount in enumerate(litres):
        book(demand, nozzle, at_us + number * gap_us, amount, Purpose.TEST_DRAW)
