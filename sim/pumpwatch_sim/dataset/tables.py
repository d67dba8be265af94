"""The canonical tables: their columns, and how plans, records and papers become them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from pumpwatch_sim.dataset.papers import DISPENSER_COLUMNS, NOZZLE_COLUMNS, STATION_COLUMNS, TANK_COLUMNS, cell
from pumpwatch_sim.world.timeline import Payment, Preset, Purpose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.model import DeviceEvent, WorkOrder
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Ints
    from pumpwatch_sim.world.work import Columns, Papers, Records

Tables: TypeAlias = dict[str, pa.Table]
Overrides: TypeAlias = Mapping[str, Mapping[str, object]]
"""Registered columns that differ from the plans: id → column → value."""

TIME = pa.timestamp("us", "UTC")
PAYMENT_WORDS: dict[int, str | None] = {Payment.CASH: "cash", Payment.CARD: "card", Payment.MOBILE: "mobile"}
"""The words of the brand maps; an unknown way of paying is null."""
PRESET_WORDS: dict[int, str | None] = {Preset.LITRES: "litres", Preset.MONEY: "money"}

_OWN_USE = max(Payment) + 1
_TEXT, _NUMBER, _WHOLE, _DAY = pa.string(), pa.float64(), pa.int64(), pa.date32()
_NUMBERS = {"latitude", "longitude", "capacity_l", "diameter_mm", "length_mm", "pulse_l"}


def _ledger(columns: Sequence[str]) -> pa.Schema:
    """Days end in ``expires`` or ``installed_on``, numbers are named; the rest is text."""

    def kind(name: str) -> pa.DataType:
        if name.endswith("expires") or name == "installed_on":
            return _DAY
        return _NUMBER if name in _NUMBERS else _TEXT

    return pa.schema([(name, kind(name)) for name in columns])


SCHEMAS: dict[str, pa.Schema] = {
    "stations": _ledger(STATION_COLUMNS),
    "dispensers": _ledger(DISPENSER_COLUMNS),
    "tanks": _ledger(TANK_COLUMNS),
    "tank_charts": pa.schema([("tank_id", _TEXT), ("height_mm", _NUMBER), ("volume_l", _NUMBER)]),
    "nozzles": _ledger(NOZZLE_COLUMNS),
    "transactions": pa.schema(
        [
            ("nozzle_id", _TEXT),
            ("seq", _WHOLE),
            ("start", TIME),
            ("end", TIME),
            ("volume_l", _NUMBER),
            ("amount_cny", _NUMBER),
            ("unit_price", _NUMBER),
            ("totalizer_l", _NUMBER),
            ("totalizer_cny", _NUMBER),
            ("encoder_l", _NUMBER),
            ("encoder_pulses", _WHOLE),
            ("tax_l", _NUMBER),
            ("tax_cny", _NUMBER),
            ("payment", _TEXT),
            ("preset_kind", _TEXT),
            ("preset_value", _NUMBER),
        ]
    ),
    "tank_readings": pa.schema(
        [
            ("tank_id", _TEXT),
            ("time", TIME),
            ("height_mm", _NUMBER),
            ("volume_l", _NUMBER),
            ("volume_20c_l", _NUMBER),
            ("water_mm", _NUMBER),
            ("temperature_c", _NUMBER),
            ("density_kg_m3", _NUMBER),
        ]
    ),
    "deliveries": pa.schema(
        [
            ("tank_id", _TEXT),
            ("time", TIME),
            ("declared_l", _NUMBER),
            ("document_no", _TEXT),
            ("declared_20c_l", _NUMBER),
            ("supplier", _TEXT),
            ("truck", _TEXT),
            ("quality_report_no", _TEXT),
        ]
    ),
    "device_events": pa.schema(
        [("time", TIME), ("station_id", _TEXT), ("device_id", _TEXT), ("kind", _TEXT), ("detail", _TEXT)]
    ),
    "work_orders": pa.schema(
        [
            ("station_id", _TEXT),
            ("device_id", _TEXT),
            ("time", TIME),
            ("kind", _TEXT),
            ("certificate_no", _TEXT),
            ("error_percent", _NUMBER),
            ("signed_by_repairer", _TEXT),
            ("signed_by_institute", _TEXT),
            ("signed_by_station", _TEXT),
            ("detail", _TEXT),
        ]
    ),
    "declarations": pa.schema(
        [
            ("station_id", _TEXT),
            ("period", _TEXT),
            ("grade", _TEXT),
            ("declared_purchase_l", _NUMBER),
            ("declared_sale_l", _NUMBER),
            ("declared_revenue_cny", _NUMBER),
            ("tax_paid_cny", _NUMBER),
        ]
    ),
    "reports_12315": pa.schema(
        [("time", TIME), ("station_id", _TEXT), ("nozzle_id", _TEXT), ("channel", _TEXT), ("text", _TEXT)]
    ),
    "covert_tests": pa.schema(
        [
            ("time", TIME),
            ("nozzle_id", _TEXT),
            ("displayed_l", _NUMBER),
            ("measured_l", _NUMBER),
            ("reference_uncertainty_percent", _NUMBER),
        ]
    ),
}
"""Every table with its columns in order; all twelve of the canonical data set and the tanks' charts."""


# ---------------------------------------------------------------- the ledger


def ledger_tables(station: StationPlan, overrides: Overrides) -> Tables:
    """What is registered of a station."""
    registered: dict[str, list[object]] = {
        "stations": [station.registered],
        "dispensers": [dispenser.registered for dispenser in station.dispensers],
        "tanks": [tank.registered for tank in station.tanks],
        "nozzles": [nozzle.registered for nozzle in station.nozzles],
    }
    tables = {
        name: _rows(name, ({column: cell(row, column) for column in SCHEMAS[name].names} for row in rows), overrides)
        for name, rows in registered.items()
    }
    tables["tank_charts"] = pa.concat_tables(
        [SCHEMAS["tank_charts"].empty_table()]
        + [
            pa.table(
                [
                    pa.array([tank.registered.tank_id] * len(tank.gauge_chart.height_mm), _TEXT),
                    np.round(tank.gauge_chart.height_mm, 2),
                    np.round(tank.gauge_chart.volume_l_at, 2),
                ],
                schema=SCHEMAS["tank_charts"],
            )
            for tank in station.tanks
        ]
    )
    return tables


def _rows(name: str, rows: Iterable[dict[str, Any]], overrides: Overrides) -> pa.Table:
    schema = SCHEMAS[name]
    return pa.Table.from_pylist(
        [row | dict(overrides.get(str(row[schema.names[0]]), {})) for row in rows], schema=schema
    )


# ---------------------------------------------------------------- what devices reported


def record_tables(station: StationPlan, records: Records) -> Tables:
    """What has reached the collector of one stretch: fillings, readings, deliveries and events."""
    nozzles = pa.array([nozzle.registered.nozzle_id for nozzle in station.nozzles], _TEXT)
    tanks = pa.array([tank.registered.tank_id for tank in station.tanks], _TEXT)
    sales, readings, drops = records.transactions, records.tank_readings, records.deliveries
    ready = {"nozzle_id": _named(nozzles, sales["nozzle"]), "payment": _payments(sales)}
    return {
        "transactions": _columns("transactions", ready, sales),
        "tank_readings": _columns("tank_readings", {"tank_id": _named(tanks, readings["tank"])}, readings),
        "deliveries": _columns("deliveries", {"tank_id": _named(tanks, drops["tank"])}, drops),
        "device_events": event_table(records.events),
    }


def event_table(events: Iterable[DeviceEvent]) -> pa.Table:
    """Events as a table; the detail is JSON."""
    rows = [
        {
            "time": event.at,
            "station_id": event.station_id,
            "device_id": event.device_id,
            "kind": str(event.kind),
            "detail": json.dumps(dict(event.detail), ensure_ascii=False, sort_keys=True),
        }
        for event in events
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMAS["device_events"])


def _columns(name: str, ready: dict[str, pa.Array], columns: Columns) -> pa.Table:
    schema = SCHEMAS[name]
    arrays = [ready[field.name] if field.name in ready else _array(field, columns[field.name]) for field in schema]
    return pa.table(arrays, schema=schema)


def _named(names: pa.Array, indices: NDArray[np.generic]) -> pa.Array:
    return names.take(pa.array(indices.astype(np.int32)))


def _array(field: pa.Field, column: NDArray[np.generic]) -> pa.Array:
    """A column as Arrow has it: codes become words, NaN and empty texts become null, numbers get their decimals."""
    if field.name == "preset_kind":
        return _worded(PRESET_WORDS, column.astype(np.int64))
    if field.type == _TEXT:
        return pa.array([str(text) if text else None for text in column], _TEXT)
    if field.type == TIME:
        return pa.array(column.astype("datetime64[us]"), TIME)
    if field.type == _WHOLE:
        numbers = column.astype(np.float64) if np.issubdtype(column.dtype, np.floating) else column
        absent = np.isnan(numbers)
        return pa.array(np.where(absent, 0, numbers).astype(np.int64), _WHOLE, mask=absent)
    # Encoder litres are pulses times the pulse's litres, which may have more decimals than money and display.
    numbers = np.round(column.astype(np.float64), 4 if field.name == "encoder_l" else 2)
    return pa.array(numbers, _NUMBER, mask=np.isnan(numbers))


def _payments(sales: Columns) -> pa.Array:
    """How it was paid; a station's own use is booked as such."""
    own = sales["purpose"] == Purpose.OWN_USE
    words = PAYMENT_WORDS | {_OWN_USE: "own_use"}
    return _worded(words, np.where(own, _OWN_USE, sales["payment"]).astype(np.int64))


def _worded(words: Mapping[int, str | None], codes: Ints) -> pa.Array:
    dictionary = pa.array([words.get(code) for code in range(max(words) + 1)], _TEXT)
    return dictionary.take(pa.array(codes))


# ---------------------------------------------------------------- what offices hold


def paper_tables(papers: Papers) -> Tables:
    """Declarations, work orders, reports and covert tests of a station."""
    return {
        "work_orders": _rows("work_orders", map(_work_order, _in_time(papers.work_orders)), {}),
        "declarations": _rows("declarations", map(_rounded, map(asdict, papers.declarations)), {}),
        "reports_12315": _rows(
            "reports_12315", ({"time": r.at} | asdict(r) for r in sorted(papers.reports, key=lambda r: r.at)), {}
        ),
        "covert_tests": _rows(
            "covert_tests",
            ({"time": t.at} | _rounded(asdict(t)) for t in sorted(papers.covert_tests, key=lambda t: t.at)),
            {},
        ),
    }


def _in_time(orders: Iterable[WorkOrder]) -> list[WorkOrder]:
    return sorted(orders, key=lambda order: (order.at, order.device_id, order.kind))


def _work_order(order: WorkOrder) -> dict[str, Any]:
    attributes = dict(order.attributes)
    return {
        "station_id": order.station_id,
        "device_id": order.device_id,
        "time": order.at,
        "kind": order.kind,
        "certificate_no": order.certificate_no,
        "error_percent": None if order.error_percent is None else round(order.error_percent, 3),
        "signed_by_repairer": order.signed_by_repairer,
        "signed_by_institute": order.signed_by_institute,
        "signed_by_station": order.signed_by_station,
        "detail": attributes.get("detail"),
    }


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 3 if "measured" in name else 2) if isinstance(value, float) else value
        for name, value in row.items()
    }
