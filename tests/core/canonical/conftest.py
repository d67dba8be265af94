"""A small county as a data set, and the hands that import, export and compare it."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pumpwatch.canonical import ExportedTable, export_folder, import_folder
from pumpwatch.database import Database, ledger_url
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian
from pumpwatch.ledger import ImportReport, Ledger
from pumpwatch.testing import FakeClock

COUNTY = {
    "stations": "station_id,name,ownership,port_area\nS01,示例一,state,true\nS02,示例二,private,\n",
    "dispensers": "dispenser_id,station_id\nS01-D1,S01\nS02-D1,S02\n",
    "tanks": "tank_id,station_id,grade,capacity_l\nS01-T1,S01,92#,30000\nS02-T1,S02,0#,50000\n",
    "tank_charts": "tank_id,height_mm,volume_l\nS01-T1,0,0\nS01-T1,10.5,33.25\n",
    "nozzles": "nozzle_id,dispenser_id,tank_id,grade\nS01-N01,S01-D1,S01-T1,92#\nS02-N01,S02-D1,S02-T1,0#\n",
    "transactions": "nozzle_id,seq,start,end,volume_l,amount_cny,unit_price,encoder_pulses,payment,shift\n"
    "S01-N01,7,2026-03-01T09:00:00+08:00,2026-03-01T09:01:00+08:00,30.12,235.84,7.83,3012,cash,A\n"
    "S01-N01,8,2026-03-01T01:05:00Z,2026-03-01T01:06:00.25Z,1.5,11.75,7.83,,,\n"
    "S02-N01,1,2026-03-01T01:05:00Z,2026-03-01T01:06:00Z,1e1,78.3,7.83,1000,mobile,B\n",
    "tank_readings": "tank_id,time,height_mm,volume_l,temperature_c\n"
    "S01-T1,2026-03-01T01:00:00Z,1480.2,20111.5,18.4\n"
    "S01-T1,2026-03-01T01:05:00Z,1480.1,,-3\n",
    "deliveries": "tank_id,time,declared_l,document_no,declared_20c_l,supplier,truck,quality_report_no,seal\n"
    "S01-T1,2026-03-02T01:00:00Z,10000,示例-7,9950.5,示例公司,示A00001,Q-1,x\n"
    "S01-T1,2026-03-03T01:00:00Z,9000,,,,,,\n",
    "device_events": "time,station_id,device_id,kind,detail\n"
    '2026-03-01T01:00:00Z,S01,D1,link,"{""up"": false, ""reason"": ""示例""}"\n'
    "2026-03-01T01:00:00Z,S01,D1,power,\n",
    "work_orders": "station_id,device_id,time,kind,signed_by_station,detail\n"
    "S01,S01-D1,2026-03-01T09:00:00+08:00,repair,示例,board\n",
    "declarations": "station_id,period,grade,declared_sale_l\nS01,2026-03,92#,12345.6\nS01,2026-04,92#,\n",
    "reports_12315": "time,station_id,nozzle_id,channel,text\n"
    "2026-03-04T08:00:00+08:00,S01,S01-N01,12315,少油\n"
    "2026-03-04T08:00:00+08:00,S01,,12315,油质\n",
    "covert_tests": "time,nozzle_id,displayed_l,measured_l,reference_uncertainty_percent\n"
    "2026-03-05T08:00:00+08:00,S01-N01,20,19.61,0.05\n",
}


@dataclass
class Kept:
    """An open data folder."""

    database: Database
    historian: Historian
    data: Path

    async def take(self, folder: Path) -> ImportReport:
        return await import_folder(self.database, self.historian, folder, rejects=self.data / "rejects")

    async def give(self, folder: Path, **how: Any) -> tuple[ExportedTable, ...]:
        return await export_folder(Ledger(self.database), self.historian, folder, **how)


@asynccontextmanager
async def opened_folder(data: Path, store: Any = None) -> AsyncIterator[Kept]:
    own = store or EmbeddedStore(EmbeddedSettings(), data / "history" / "embedded")
    async with (
        Database.open(ledger_url(data)) as database,
        Historian.open(data / "history", own, FakeClock()) as historian,
    ):
        yield Kept(database, historian, data)


@pytest.fixture(scope="session")
def opened() -> Callable[..., Any]:
    return opened_folder


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    async with opened_folder(tmp_path / "var") as kept:
        yield kept


@pytest.fixture(scope="session")
def county() -> dict[str, str]:
    return dict(COUNTY)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """``write({"stations": "…"})``: a folder with these tables as CSV."""

    def put(files: Mapping[str, str | bytes], name: str = "in") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for table, content in files.items():
            path = folder / (table if "." in table else f"{table}.csv")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return put


@pytest.fixture
def told() -> Callable[[ImportReport], list[str]]:
    return lambda report: [str(problem) for problem in report.problems]


@pytest.fixture
def rows_of() -> Callable[[Path], list[dict[str, str]]]:
    def read(path: Path) -> list[dict[str, str]]:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return read
