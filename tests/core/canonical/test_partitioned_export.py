"""Exports by station and day, read back by what analysts use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pumpwatch.canonical import SAMPLES, TABLES, Span, export_partitioned
from pumpwatch.canonical import partitioning as parts
from pumpwatch.errors import BadConfig
from pumpwatch.ledger import Ledger
from pumpwatch.model import Batch, SampleBatch, to_us

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 3, 1, 4, tzinfo=UTC)


async def measured(kept, county, write) -> int:
    """The small county, and two days of a tag of each of two stations; how many samples."""
    await kept.take(write(county))
    at = [to_us(NOON + timedelta(minutes=20 * i)) for i in range(100)]
    for station in ("S01", "S 二X"):
        samples = SampleBatch(
            station,
            (f"{station}/D1/nozzle-1.flow",) * len(at),
            np.array(at, np.int64),
            np.arange(len(at), dtype=np.float64),
            tuple("停" if i == 7 else None for i in range(len(at))),
            np.zeros(len(at), np.uint8),
        )
        await kept.historian.keep(Batch(station, samples, (), NOON))
    return 200


async def given(kept, folder: Path, **asked):
    tables = asked.pop("tables", (*TABLES, SAMPLES))
    span = asked.pop("span", Span())
    return await export_partitioned(
        Ledger(kept.database), kept.historian, folder, tables=tables, span=span, zone=ZONE, **asked
    )


async def test_everybody_reads_station_and_day_from_the_folders(kept, county, write, tmp_path) -> None:
    rows = await measured(kept, county, write)
    told = {each.table: each.rows for each in await given(kept, tmp_path / "out")}
    assert told == {name: text.count("\n") - 1 for name, text in county.items()} | {SAMPLES: rows}
    folder = tmp_path / "out" / "samples"
    assert (folder / "station=S01" / "day=2026-03-01" / "part-0.parquet").is_file()

    frame = pd.read_parquet(folder)
    by_pandas = frame.groupby(["station", "day"], observed=True).size()
    assert by_pandas.loc["S01"].to_dict() == {"2026-03-01": 36, "2026-03-02": 64}

    dataset = ds.dataset(folder, partitioning="hive")
    assert dataset.count_rows() == rows
    one = dataset.to_table(filter=(ds.field("station") == "S01") & (ds.field("day") == "2026-03-01"))
    assert one.num_rows == 36
    assert one["at"].to_pylist() == sorted(one["at"].to_pylist())
    assert (one["text"][7].as_py(), one["value"][7].as_py()) == ("停", 7.0)

    sales = pd.read_parquet(tmp_path / "out" / "transactions")
    assert sales.set_index("seq")["station"].to_dict() == {7: "S01", 8: "S01", 1: "S02"}
    assert pq.read_table(tmp_path / "out" / "stations.parquet").num_rows == 2


async def test_duckdb_reads_it(kept, county, write, tmp_path) -> None:
    duckdb = pytest.importorskip("duckdb")
    await measured(kept, county, write)
    await given(kept, tmp_path / "out")
    where = f"read_parquet('{tmp_path}/out/samples/*/*/*.parquet', hive_partitioning = true)"
    with duckdb.connect() as base:
        found = base.execute(
            f"SELECT station, day::VARCHAR, count(*) FROM {where} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    assert found == [
        ("S 二X", "2026-03-01", 36),
        ("S 二X", "2026-03-02", 64),
        ("S01", "2026-03-01", 36),
        ("S01", "2026-03-02", 64),
    ]


async def test_days_begin_at_the_stations_midnight(kept, county, write, tmp_path) -> None:
    await measured(kept, county, write)
    midnight = datetime(2026, 3, 2, tzinfo=ZONE)
    await given(kept, tmp_path / "out", tables=(SAMPLES,), span=Span(midnight - timedelta(hours=1), midnight))
    assert {path.name for path in (tmp_path / "out" / "samples" / "station=S01").iterdir()} == {"day=2026-03-01"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"samples"}


async def test_little_memory_makes_more_files_and_the_same_rows(kept, county, write, tmp_path, monkeypatch) -> None:
    rows = await measured(kept, county, write)
    monkeypatch.setattr(parts, "_SAMPLES_AT_ONCE", 17)
    monkeypatch.setattr(parts, "_ROWS_HELD", 30)
    await given(kept, tmp_path / "out", tables=(SAMPLES,))
    dataset = ds.dataset(tmp_path / "out" / "samples", partitioning="hive")
    assert len(dataset.files) > 4
    table = dataset.to_table().sort_by([("path", "ascending"), ("at", "ascending")])
    assert table.num_rows == rows
    assert table["value"].to_pylist() == [float(i) for i in range(100)] * 2
    assert pa.types.is_timestamp(table["at"].type)


async def test_an_export_that_is_there_is_not_mixed_with_another(kept, county, write, tmp_path) -> None:
    await measured(kept, county, write)
    await given(kept, tmp_path / "out", tables=(SAMPLES,))
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.parquet")}
    with pytest.raises(BadConfig, match="holds an export already"):
        await given(kept, tmp_path / "out", tables=(SAMPLES,))
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.parquet")} == before
    with pytest.raises(BadConfig, match="there is no table sales"):
        await given(kept, tmp_path / "other", tables=("sales",))
