"""One simulated station's past in memory: what the files would hold of it, without the files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from pumpwatch.model import (
    CovertTest,
    Declaration,
    Delivery,
    DeviceEvent,
    Dispenser,
    EventKind,
    HotlineReport,
    Nozzle,
    Station,
    Tank,
    Transaction,
    WorkOrder,
    from_us,
)
from pumpwatch.past import SALE_COLUMNS, Chart, Levels, Sales, StationPast, resubmission, sales_from
from pumpwatch_sim.dataset.generate import station_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pumpwatch_sim.staging import Staging

EntryT = TypeVar("EntryT")

_LEVELS = ("height_mm", "volume_l", "volume_20c_l", "water_mm", "temperature_c", "density_kg_m3")


def station_past(staging: Staging, station_id: str) -> StationPast:
    """All that the data set of a fleet holds of one station, over its whole period."""
    tables = station_tables(staging, station_id)
    nozzles = _entries(Nozzle, tables["nozzles"])
    sales, events = _sales(tables["transactions"], [nozzle.nozzle_id for nozzle in nozzles], station_id)
    (station,) = _entries(Station, tables["stations"])
    return StationPast(
        station=station,
        dispensers=_entries(Dispenser, tables["dispensers"]),
        nozzles=nozzles,
        tanks=_entries(Tank, tables["tanks"]),
        start=from_us(staging.start_us),
        end=from_us(staging.end_us),
        sales=sales,
        levels=_levels(tables["tank_readings"]),
        deliveries=_in_time(_entries(Delivery, tables["deliveries"])),
        events=_in_time([*_events(tables["device_events"]), *events]),
        work_orders=_entries(WorkOrder, tables["work_orders"]),
        declarations=_entries(Declaration, tables["declarations"]),
        reports=_entries(HotlineReport, tables["reports_12315"]),
        covert_tests=_entries(CovertTest, tables["covert_tests"]),
        charts=_charts(tables["tank_charts"]),
    )


def _entries(kind: Callable[..., EntryT], table: pa.Table) -> tuple[EntryT, ...]:
    """Rows as entries; columns that are no field become attributes, as an import does it."""
    named = set(signature(kind).parameters)
    made = []
    for row in table.to_pylist():
        told = {("at" if name == "time" else name): _plain(value) for name, value in row.items() if value is not None}
        attributes = {name: str(value) for name, value in told.items() if name not in named}
        made.append(kind(**{n: v for n, v in told.items() if n in named}, attributes=attributes))
    return tuple(made)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell of any kind
    """Times in the one UTC that records have."""
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _in_time(records: Any) -> tuple[Any, ...]:  # noqa: ANN401 - records of any one kind
    return tuple(sorted(records, key=lambda record: record.at))


def _events(table: pa.Table) -> Iterator[DeviceEvent]:
    for row in table.to_pylist():
        yield DeviceEvent(
            _plain(row["time"]),
            row["station_id"],
            row["device_id"],
            EventKind(row["kind"]),
            json.loads(row["detail"] or "{}"),
        )


def _sales(table: pa.Table, nozzle_ids: list[str], station_id: str) -> tuple[Sales, list[DeviceEvent]]:
    """The fillings, and the events of those that came again with other content."""
    columns: dict[str, NDArray[Any]] = {"nozzle": _codes(table["nozzle_id"], nozzle_ids).astype(np.int32)}
    words: dict[str, tuple[str, ...]] = {}
    for name in ("payment", "preset_kind"):
        told = sorted(set(table[name].to_pylist()) - {None})
        columns[name] = _codes(table[name], told).astype(np.int16)
        words[f"{name}s"] = tuple(told)
    columns["start_us"], columns["end_us"] = _times(table["start"]), _times(table["end"])
    columns["seq"] = table["seq"].to_numpy()
    for name in SALE_COLUMNS:
        if name not in columns:
            columns[name] = _numbers(table[name])
    return sales_from(columns, nozzle_ids, words["payments"], words["preset_kinds"]), _again(
        columns, nozzle_ids, words, station_id
    )


def _again(
    columns: dict[str, NDArray[Any]], nozzle_ids: list[str], words: dict[str, tuple[str, ...]], station_id: str
) -> list[DeviceEvent]:
    order = np.lexsort((columns["seq"], columns["end_us"], columns["nozzle"]))
    keys = np.stack([columns[name][order] for name in ("nozzle", "end_us", "seq")])
    ordered: dict[str, Any] = {name: columns[name][order] for name in SALE_COLUMNS}
    every = Sales(tuple(nozzle_ids), **ordered, payments=words["payments"], preset_kinds=words["preset_kinds"])
    events: list[DeviceEvent] = []
    first: Transaction | None = None
    for row in np.flatnonzero((keys[:, 1:] == keys[:, :-1]).all(axis=0)) + 1:
        if first is None or first.key != every.record(int(row)).key:
            first = every.record(int(row) - 1)
        event = resubmission(first, every.record(int(row)), station_id)
        if event is not None and event not in events:
            events.append(event)
    return events


def _levels(table: pa.Table) -> dict[str, Levels]:
    tanks = table["tank_id"].to_numpy(zero_copy_only=False)
    at, columns = _times(table["time"]), [_numbers(table[name]) for name in _LEVELS]
    levels = {}
    for tank in dict.fromkeys(tanks.tolist()):
        rows = np.flatnonzero(tanks == tank)
        rows = rows[np.argsort(at[rows], kind="stable")]
        rows = rows[np.diff(at[rows], prepend=-1) != 0]
        levels[tank] = Levels(at[rows], *(column[rows] for column in columns))
    return levels


def _charts(table: pa.Table) -> dict[str, Chart]:
    tanks = table["tank_id"].to_numpy(zero_copy_only=False)
    height, volume = _numbers(table["height_mm"]), _numbers(table["volume_l"])
    return {tank: Chart(height[tanks == tank], volume[tanks == tank]) for tank in dict.fromkeys(tanks.tolist())}


def _codes(column: pa.ChunkedArray, words: list[str]) -> NDArray[np.int64]:
    """The place of each word; −1 for null."""
    found = pa.compute.index_in(column, value_set=pa.array(words, pa.string())).fill_null(-1)
    return np.asarray(found.to_numpy(), np.int64)


def _times(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).to_numpy(), np.int64)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
