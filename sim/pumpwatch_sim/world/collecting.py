"""What of a stretch reaches the collector, for the files: records, readings, papers' first half, and what is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pumpwatch.model import DeviceEvent, EventKind, from_us
from pumpwatch_sim.world.clocks import offset_s
from pumpwatch_sim.world.gauges import read
from pumpwatch_sim.world.metering import pulse_litres
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, OutageKind, Preset
from pumpwatch_sim.world.work import Records, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pumpwatch_sim.fleet import Stations
    from pumpwatch_sim.scenarios.base import Scenario
    from pumpwatch_sim.world.timeline import Bools, Drop, IdentityChange, Ints, Outage, Timeline
    from pumpwatch_sim.world.work import Columns

_MINUTE_US = 60_000_000
_UNSEEN = {OutageKind.UNPLUGGED, OutageKind.JAMMED}


def collect(timeline: Timeline, settings: Stations, seed: int, scenarios: Sequence[Scenario]) -> Records:
    """Step 7, the scenarios' ``records`` hooks included; the lead-in is still in it.

    Transactions stand in the order in which they arrive: by their end, those of a network outage at its end, nozzle by
    nozzle. Readings stand tank by tank. Columns are those of the canonical tables, with indices ``nozzle`` and ``tank``
    in the place of ids, codes for payment and preset, and the ``purpose`` besides.
    """
    stretch = Stretch(timeline.station, timeline.number, timeline.start_us, timeline.end_us, timeline.origin_us)
    records = Records(
        stretch=stretch,
        transactions=_transactions(timeline),
        tank_readings=_tank_readings(timeline, settings, seed),
        deliveries=_deliveries([drop for drop in timeline.drops if drop.documented]),
        events=sorted((*timeline.events, *_told(timeline)), key=lambda event: event.at),
    )
    for scenario in scenarios:
        scenario.records(records)
    return records


def _transactions(timeline: Timeline) -> Columns:
    sales, station = timeline.sales, timeline.station
    place = [index for index, dispenser in enumerate(station.dispensers) for _ in dispenser.nozzles]
    dispenser = np.array(place, np.int64)[sales.nozzle]
    arrival_us, seen = sales.end_us.copy(), sales.recorded.copy()
    for outage in timeline.outages:
        hit = (sales.end_us >= outage.start_us) & (sales.end_us < outage.end_us)
        if outage.devices:
            named = [part.registered.dispenser_id in outage.devices for part in station.dispensers]
            hit &= np.array(named, bool)[dispenser]
        if outage.kind in _UNSEEN:
            seen &= ~hit
        else:
            arrival_us[hit] = outage.end_us
    order = np.flatnonzero(seen)
    late = arrival_us[order] != sales.end_us[order]
    order = order[np.lexsort((sales.end_us[order], np.where(late, sales.nozzle[order], -1), arrival_us[order]))]
    start_us, end_us = sales.start_us.copy(), sales.end_us.copy()
    for index in range(len(station.dispensers)):
        mine = dispenser == index
        for column in (start_us, end_us):
            ahead = offset_s(timeline, index, column[mine])
            column[mine] = np.floor(column[mine] / 1e6 + ahead).astype(np.int64) * 1_000_000
    taxed = sales.tax_volume != NO_TAX_RECORD
    columns: Columns = {
        "nozzle": sales.nozzle,
        "seq": sales.seq,
        "start": start_us,
        "end": end_us,
        "volume_l": sales.volume / 100.0,
        "amount_cny": sales.amount / 100.0,
        "unit_price": sales.price / 100.0,
        "totalizer_l": sales.totalizer / 100.0,
        "totalizer_cny": sales.totalizer_amount / 100.0,
        "encoder_l": np.round(sales.pulses * pulse_litres(station)[sales.nozzle], 4),
        "encoder_pulses": sales.pulses,
        "tax_l": np.where(taxed, sales.tax_volume / 100.0, np.nan),
        "tax_cny": np.where(taxed, sales.tax_amount / 100.0, np.nan),
        "payment": sales.payment,
        "preset_kind": sales.preset,
        "preset_value": np.where(sales.preset == Preset.NONE, np.nan, sales.preset_value / 100.0),
        "purpose": sales.purpose,
    }
    return {name: column[order] for name, column in columns.items()}


def _tank_readings(timeline: Timeline, settings: Stations, seed: int) -> Columns:
    step_us = settings.tank_reading_minutes * _MINUTE_US
    first_us = -(-timeline.start_us // step_us) * step_us
    at_us = np.arange(first_us, timeline.end_us, step_us, dtype=np.int64)
    parts: list[Columns] = []
    for index, course in enumerate(timeline.tanks):
        seen = at_us[_reaches(timeline.outages, course.plan.registered.tank_id, at_us)]
        place = np.full(len(seen), index, np.int64)
        parts.append({"tank": place, "time": seen} | read(course, timeline, seen, seed))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _reaches(outages: Sequence[Outage], tank_id: str, at_us: Ints) -> Bools:
    reaches = np.ones(len(at_us), bool)
    for outage in outages:
        kept = outage.kind is OutageKind.NETWORK and outage.backfilled
        if not kept and (not outage.devices or tank_id in outage.devices):
            reaches &= (at_us < outage.start_us) | (at_us >= outage.end_us)
    return reaches


def _deliveries(drops: Sequence[Drop]) -> Columns:
    """Papers are signed when the lorry leaves, to the minute."""
    return {
        "tank": np.array([drop.tank for drop in drops], np.int64),
        "time": np.array([drop.end_us // _MINUTE_US * _MINUTE_US for drop in drops], np.int64),
        "declared_l": np.array([drop.declared_l for drop in drops], np.float64),
        "declared_20c_l": np.array([drop.declared_20c_l for drop in drops], np.float64),
        "document_no": np.array([drop.document_no for drop in drops], object),
        "supplier": np.array([drop.supplier for drop in drops], object),
        "truck": np.array([drop.truck for drop in drops], object),
        "quality_report_no": np.array([drop.quality_report_no for drop in drops], object),
    }


def _told(timeline: Timeline) -> Iterator[DeviceEvent]:
    """What the collector itself notes: links that fail, devices that say they are others; edges in the stretch only."""
    station_id = timeline.station.station_id

    def within(at_us: int) -> bool:
        return timeline.start_us <= at_us < timeline.end_us

    for outage in timeline.outages:
        if outage.kind is OutageKind.POWER:
            continue
        reason = "uplink" if outage.kind is OutageKind.NETWORK else "timeout"
        for device_id in outage.devices or (station_id,):
            for at_us, up in ((outage.start_us, False), (outage.end_us, True)):
                if within(at_us):
                    yield DeviceEvent(
                        from_us(at_us // 1_000_000 * 1_000_000),
                        station_id,
                        device_id,
                        EventKind.LINK,
                        {"up": up, "reason": reason},
                    )
    for change in timeline.identities:
        if within(change.at_us):
            yield from _identity_events(station_id, change)


def _identity_events(station_id: str, change: IdentityChange) -> Iterator[DeviceEvent]:
    names = ("serial", "mainboard_serial", "firmware_version", "firmware_digest", "tax_serial")
    said = {name: getattr(change, name) for name in names if getattr(change, name) is not None}
    at = from_us(change.at_us // 1_000_000 * 1_000_000)
    if said:
        yield DeviceEvent(at, station_id, change.dispenser_id, EventKind.IDENTITY, said)
    for nozzle_id, serial in sorted(change.encoder_serials.items()):
        yield DeviceEvent(at, station_id, nozzle_id, EventKind.IDENTITY, {"encoder_serial": serial})
