"""Plans, records and papers become canonical tables, and the tables become files that say the same."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pumpwatch.model import DeviceEvent, EventKind, WorkOrder
from pumpwatch_sim.county import build_county
from pumpwatch_sim.dataset.files import CsvFile, ParquetFile, csv_rows
from pumpwatch_sim.dataset.papers import write_ledger
from pumpwatch_sim.dataset.tables import SCHEMAS, ledger_tables, paper_tables, record_tables
from pumpwatch_sim.world.plans import StationPlan
from pumpwatch_sim.world.timeline import Payment, Preset, Purpose
from pumpwatch_sim.world.work import CovertTest, Declaration, Papers, Records, Report, Stretch

START_US = 1_780_243_200_000_000
"""2026-06-01 00:00 in the county."""


@pytest.fixture(scope="module")
def station() -> StationPlan:
    return build_county(1, date(2026, 6, 1), 2).stations[0]


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def records_of(station: StationPlan) -> Records:
    """Two fillings, one reading, one delivery and an event, by hand."""
    stretch = Stretch(station, 0, START_US, START_US + 10**12, START_US)
    transactions = {
        "nozzle": np.array([0, 2]),
        "seq": np.array([7, 9]),
        "start": START_US + np.array([60_000_000, 90_500_000]),
        "end": START_US + np.array([120_000_000, 150_000_000]),
        "volume_l": np.array([20.510000000000002, 36.5]),
        "amount_cny": np.array([150.34, 267.55]),
        "unit_price": np.array([7.33, 7.33]),
        "totalizer_l": np.array([123456.78, 5.0]),
        "totalizer_cny": np.array([876543.21, 6.0]),
        "encoder_l": np.array([20.1, 36.5]),
        "encoder_pulses": np.array([2010, 3650]),
        "tax_l": np.array([20.51, math.nan]),
        "tax_cny": np.array([150.34, math.nan]),
        "payment": np.array([Payment.MOBILE, Payment.UNKNOWN]),
        "preset_kind": np.array([Preset.NONE, Preset.MONEY]),
        "preset_value": np.array([math.nan, 267.55]),
        "purpose": np.array([Purpose.CUSTOMER, Purpose.OWN_USE]),
    }
    readings = {
        "tank": np.array([1]),
        "time": np.array([START_US]),
        "height_mm": np.array([1234.5]),
        "volume_l": np.array([15_000.004]),
        "volume_20c_l": np.array([14_950.0]),
        "water_mm": np.array([3.1]),
        "temperature_c": np.array([17.25]),
        "density_kg_m3": np.array([math.nan]),
    }
    deliveries = {
        "tank": np.array([0]),
        "time": np.array([START_US + 5]),
        "declared_l": np.array([9_000.0]),
        "document_no": np.array(["DEMO-1"], object),
        "declared_20c_l": np.array([8_990.0]),
        "supplier": np.array(['示例, "油库"'], object),
        "truck": np.array([None], object),
        "quality_report_no": np.array([""], object),
    }
    event = DeviceEvent(
        datetime(2026, 6, 1, tzinfo=UTC), station.station_id, station.station_id, EventKind.LINK, {"up": False}
    )
    return Records(stretch, transactions, readings, deliveries, [event])


def test_fillings_get_ids_words_and_nulls(station: StationPlan) -> None:
    first, second = record_tables(station, records_of(station))["transactions"].to_pylist()
    assert first["nozzle_id"] == station.nozzles[0].registered.nozzle_id
    assert second["nozzle_id"] == station.nozzles[2].registered.nozzle_id
    assert (first["payment"], first["preset_kind"], first["preset_value"]) == ("mobile", None, None)
    assert (second["payment"], second["preset_kind"], second["preset_value"]) == ("own_use", "money", 267.55)
    assert first["volume_l"] == 20.51
    assert (second["tax_l"], second["tax_cny"]) == (None, None)
    assert first["start"] == datetime(2026, 5, 31, 16, 1, tzinfo=UTC)
    assert (first["encoder_l"], first["encoder_pulses"], first["seq"]) == (20.1, 2010, 7)


def test_readings_deliveries_and_events(station: StationPlan) -> None:
    tables = record_tables(station, records_of(station))
    (reading,) = tables["tank_readings"].to_pylist()
    assert reading["tank_id"] == station.tanks[1].registered.tank_id
    assert (reading["volume_l"], reading["density_kg_m3"]) == (15_000.0, None)
    (drop,) = tables["deliveries"].to_pylist()
    assert (drop["truck"], drop["quality_report_no"], drop["document_no"]) == (None, None, "DEMO-1")
    (event,) = tables["device_events"].to_pylist()
    assert (event["kind"], json.loads(event["detail"])) == ("link", {"up": False})


def test_the_ledger_with_what_differs(station: StationPlan) -> None:
    nozzle = station.nozzles[0].registered
    tables = ledger_tables(
        station, {nozzle.nozzle_id: {"certificate_no": "X", "certificate_expires": date(2027, 1, 2)}}
    )
    rows = {row["nozzle_id"]: row for row in tables["nozzles"].to_pylist()}
    assert len(rows) == len(station.nozzles)
    assert rows[nozzle.nozzle_id]["certificate_no"] == "X"
    assert rows[nozzle.nozzle_id]["certificate_expires"] == date(2027, 1, 2)
    assert rows[nozzle.nozzle_id]["seal_meter"] == nozzle.seal_meter
    (registered,) = tables["stations"].to_pylist()
    assert registered["town_en"]
    assert registered["port_area"] in {"true", "false"}
    charts = tables["tank_charts"].to_pylist()
    assert {row["tank_id"] for row in charts} == {tank.registered.tank_id for tank in station.tanks}


def test_papers(station: StationPlan) -> None:
    at = datetime(2026, 6, 20, 3, tzinfo=UTC)
    nozzle = station.nozzles[0].registered.nozzle_id
    order = WorkOrder(station.station_id, nozzle, at, "repair", "A", "B", "C", "D", 0.1239, {"detail": "换滤芯"})
    papers = Papers(
        station,
        date(2026, 6, 1),
        date(2026, 6, 30),
        [Declaration(station.station_id, "2026-06", "92#", 1.0, 2.0, 3.0, 4.0)],
        [order],
        [Report(at, station.station_id, None, "12315", "少了")],
        [CovertTest(at, nozzle, 20.0, 19.4012, 0.1)],
        {},
    )
    tables = paper_tables(papers)
    (row,) = tables["work_orders"].to_pylist()
    assert (row["detail"], row["error_percent"], row["signed_by_repairer"], row["certificate_no"]) == (
        "换滤芯",
        0.124,
        "A",
        "D",
    )
    assert tables["declarations"].to_pylist()[0]["period"] == "2026-06"
    assert tables["reports_12315"].to_pylist()[0]["nozzle_id"] is None
    assert tables["covert_tests"].to_pylist()[0]["measured_l"] == 19.401


@pytest.mark.parametrize("table", ["transactions", "deliveries", "device_events"])
def test_csv_and_parquet_say_the_same(station: StationPlan, tmp_path: Path, table: str) -> None:
    made = record_tables(station, records_of(station))[table]
    for file in (CsvFile(tmp_path, table), ParquetFile(tmp_path, table)):
        file.write(made)
        file.close()
    kept = pq.read_table(tmp_path / f"{table}.parquet")
    assert kept.equals(made)
    lines = rows_of(tmp_path / f"{table}.csv")
    for line, row in zip(lines, kept.to_pylist(), strict=True):
        assert list(line) == SCHEMAS[table].names
        for name, value in row.items():
            match value:
                case None:
                    assert line[name] == ""
                case datetime():
                    assert line[name].endswith("+00:00")
                    assert datetime.fromisoformat(line[name]) == value
                case float():
                    assert float(line[name]) == value
                case _:
                    assert line[name] == str(value)


def test_csv_of_many_pieces_some_of_them_empty() -> None:
    piece = pa.table({"a": ["S01-T1"] * 50, "b": [1.5] * 50})
    pieces = pa.concat_tables([piece.slice(0, 0), piece, piece.slice(0, 0), piece])
    assert csv_rows(pieces) == b"S01-T1,1.5\n" * 100
    assert csv_rows(piece.slice(0, 0)) == b""


def test_csv_quotes_only_where_needed() -> None:
    plain, awkward = pa.table({"a": ["x", None]}), pa.table({"a": ['x"y', "a,b"]})
    assert csv_rows(plain) == b"x\n\n"
    assert list(csv.reader(io.StringIO(csv_rows(awkward).decode()))) == [['x"y'], ["a,b"]]


def test_the_ledger_of_a_running_simulator(tmp_path: Path) -> None:
    county = build_county(1, date(2026, 6, 1), 2)
    write_ledger(tmp_path, county)
    for name in ("stations", "dispensers", "tanks", "nozzles"):
        told = rows_of(tmp_path / f"{name}.csv")
        made = [row for station in county.stations for row in ledger_tables(station, {})[name].to_pylist()]
        key = SCHEMAS[name].names[0]
        assert [line[key] for line in told] == [row[key] for row in made]
        assert set(told[0]) == set(SCHEMAS[name].names)
