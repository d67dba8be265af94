"""The ledger as CSV, and plain JSON, for whoever runs beside a simulator: what is registered and how to connect."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import County

STATION_COLUMNS = (
    "station_id",
    "name",
    "short_name",
    "credit_code",
    "ownership",
    "region",
    "town",
    "address",
    "latitude",
    "longitude",
    "business_licence_expires",
    "retail_licence_expires",
    "hazmat_licence_expires",
    "port_area",
    "name_en",
    "short_name_en",
    "town_en",
)
DISPENSER_COLUMNS = (
    "dispenser_id",
    "station_id",
    "brand",
    "model",
    "serial",
    "mainboard_serial",
    "firmware_version",
    "firmware_digest",
    "tax_serial",
    "installed_on",
)
TANK_COLUMNS = ("tank_id", "station_id", "grade", "capacity_l", "diameter_mm", "length_mm", "manifold")
NOZZLE_COLUMNS = (
    "nozzle_id",
    "dispenser_id",
    "tank_id",
    "grade",
    "encoder_serial",
    "pulse_l",
    "certificate_no",
    "certificate_expires",
    "seal_meter",
    "seal_encoder",
    "seal_mainboard",
)


def write_ledger(folder: Path, county: County) -> None:
    """Write the four tables of what is registered, as canonical CSV."""
    dispensers = [part for station in county.stations for part in station.dispensers]
    _write_table(folder / "stations.csv", STATION_COLUMNS, (station.registered for station in county.stations))
    _write_table(folder / "dispensers.csv", DISPENSER_COLUMNS, (part.registered for part in dispensers))
    tanks = (tank.registered for station in county.stations for tank in station.tanks)
    _write_table(folder / "tanks.csv", TANK_COLUMNS, tanks)
    _write_table(folder / "nozzles.csv", NOZZLE_COLUMNS, (n.registered for part in dispensers for n in part.nozzles))


def write_json(file: Path, content: object) -> None:
    """Write JSON so that a reader sees the whole of it or nothing."""
    _write(file, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _write_table(file: Path, columns: Sequence[str], rows: Iterable[object]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    for row in rows:
        cells = (cell(row, name) for name in columns)
        table.writerow(["" if value is None else str(value) for value in cells])
    _write(file, text.getvalue())


def cell(row: object, column: str) -> object:
    """What the ledger has in a column of a registered thing: its own field, else an attribute of that name."""
    attributes = getattr(row, "attributes", {})
    return attributes[column] if column in attributes else getattr(row, column)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(file)
    finally:
        half.unlink(missing_ok=True)
