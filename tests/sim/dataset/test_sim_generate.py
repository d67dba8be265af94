"""The data set of a tiny fleet: the same bytes every time, whole or not there, sound, and silent on the truth."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from pumpwatch.errors import BadConfig
from pumpwatch_sim.dataset.generate import generate
from pumpwatch_sim.dataset.tables import SCHEMAS
from pumpwatch_sim.scenarios.catalogue import CATALOGUE

FLEET = """
name = "tiny"
seed = 5
start = 2026-06-24T00:00:00+08:00
days = 9

[stations]
count = 2

[[scenario]]
name = "F01"
onset = "P2D"

[[scenario]]
name = "C01"
onset = "P4DT10H"
"""
KEYS = {
    "stations": ("station_id",),
    "dispensers": ("dispenser_id",),
    "tanks": ("tank_id",),
    "tank_charts": ("tank_id", "height_mm"),
    "nozzles": ("nozzle_id",),
    "transactions": ("nozzle_id", "seq", "end"),
    "tank_readings": ("tank_id", "time"),
    "deliveries": ("tank_id", "time", "document_no"),
    "declarations": ("station_id", "period", "grade"),
}
REFERENCES = [
    ("dispensers", "station_id", "stations"),
    ("tanks", "station_id", "stations"),
    ("tank_charts", "tank_id", "tanks"),
    ("nozzles", "dispenser_id", "dispensers"),
    ("nozzles", "tank_id", "tanks"),
    ("transactions", "nozzle_id", "nozzles"),
    ("tank_readings", "tank_id", "tanks"),
    ("deliveries", "tank_id", "tanks"),
    ("device_events", "station_id", "stations"),
    ("work_orders", "station_id", "stations"),
    ("declarations", "station_id", "stations"),
    ("reports_12315", "station_id", "stations"),
    ("covert_tests", "nozzle_id", "nozzles"),
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("fleet") / "tiny.toml"
    file.write_text(FLEET, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def made(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set as Parquet, by one worker."""
    out = tmp_path_factory.mktemp("made") / "data"
    generate(fleet, out, workers=1)
    return out


@pytest.fixture(scope="module")
def tables(made: Path) -> dict[str, pa.Table]:
    return {name: pq.read_table(made / f"{name}.parquet") for name in SCHEMAS}


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_bytes_by_two_workers(fleet: Path, made: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    rows = generate(fleet, tmp_path / "again", workers=2, progress=lambda done, of: told.append((done, of)))
    assert digests(tmp_path / "again") == digests(made)
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert rows == {name: pq.read_metadata(made / f"{name}.parquet").num_rows for name in SCHEMAS}


def test_another_seed_is_another_county(fleet: Path, made: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(FLEET.replace("seed = 5", "seed = 6"), encoding="utf-8")
    generate(other, tmp_path / "other", workers=1)
    assert digests(tmp_path / "other")["transactions.parquet"] != digests(made)["transactions.parquet"]


def test_exactly_the_canonical_columns(tables: dict[str, pa.Table]) -> None:
    for name, table in tables.items():
        assert table.schema.equals(SCHEMAS[name]), name
    for name in ("stations", "transactions", "tank_readings", "deliveries", "device_events", "tank_charts"):
        assert tables[name].num_rows, name


def test_keys_are_unique(tables: dict[str, pa.Table]) -> None:
    for name, key in KEYS.items():
        table = tables[name]
        assert table.group_by(list(key)).aggregate([]).num_rows == table.num_rows, name


def test_ids_point_at_something(tables: dict[str, pa.Table]) -> None:
    for name, column, target in REFERENCES:
        known = tables[target].column(0)
        assert pc.all(pc.is_in(tables[name][column], known)).as_py() in {True, None}, (name, column)
    devices = {
        device
        for name in ("stations", "dispensers", "tanks", "nozzles")
        for device in tables[name].column(0).to_pylist()
    }
    for name in ("device_events", "work_orders"):
        assert set(tables[name]["device_id"].to_pylist()) <= devices, name


def test_fillings_are_sound(tables: dict[str, pa.Table]) -> None:
    sales = tables["transactions"]
    start, end = (
        datetime.fromisoformat("2026-06-24T00:00:00+08:00"),
        datetime.fromisoformat("2026-07-03T00:00:00+08:00"),
    )
    assert pc.all(pc.greater_equal(sales["end"], pa.scalar(start, sales["end"].type))).as_py()
    assert pc.all(pc.less(sales["end"], pa.scalar(end, sales["end"].type))).as_py()
    assert pc.all(pc.greater(sales["end"], sales["start"])).as_py()
    for name in ("volume_l", "amount_cny", "unit_price"):
        cents = pc.multiply(sales[name], 100.0)
        assert pc.max(pc.abs(pc.subtract(cents, pc.round(cents)))).as_py() < 1e-5, name
    exact = pc.multiply(sales["volume_l"], sales["unit_price"])
    assert pc.max(pc.abs(pc.subtract(exact, sales["amount_cny"]))).as_py() < 0.0051
    assert set(sales["payment"].unique().to_pylist()) <= {"cash", "card", "mobile", "own_use", None}
    assert set(sales["preset_kind"].unique().to_pylist()) == {"litres", "money", None}
    assert sales["preset_value"].null_count == sales["preset_kind"].null_count


def test_the_truth_stands_beside_the_data_only(made: Path, tables: dict[str, pa.Table]) -> None:
    truth = json.loads((made / "truth.json").read_text(encoding="utf-8"))
    assert [item["cause"] for item in truth["items"]] == [CATALOGUE["F01"].cause, CATALOGUE["C01"].cause]
    assert set(truth["items"][0]) == {
        "scenario", "cause", "subject", "onset", "end", "size", "departments", "deterministic", "horizon_days",
    }  # fmt: skip
    nozzles = tables["nozzles"].num_rows
    assert 0 < truth["honest_nozzle_years"] < nozzles * 9 / 365.25
    words = {kind.name for kind in CATALOGUE.values()} | {kind.cause for kind in CATALOGUE.values() if kind.cause}
    told = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in [*words, "scenario", "truth", "F01", "C01"]))
    for name, table in tables.items():
        for column in table.columns:
            if pa.types.is_string(column.type):
                for text in column.unique().to_pylist():
                    assert not told.search(text or ""), (name, text)
        assert not told.search(" ".join(str(table.schema.metadata or {}).split())), name


def test_csv_says_the_same_as_parquet(fleet: Path, tables: dict[str, pa.Table], tmp_path: Path) -> None:
    generate(fleet, tmp_path / "csv", "csv", workers=1)
    for name, table in tables.items():
        kinds = {f.name: pa.string() if pa.types.is_timestamp(f.type) else f.type for f in table.schema}
        convert = pa_csv.ConvertOptions(column_types=kinds, strings_can_be_null=True, quoted_strings_can_be_null=False)
        read = pa_csv.read_csv(tmp_path / "csv" / f"{name}.csv", convert_options=convert)
        assert read.column_names == table.column_names
        for column, kept in zip(read.columns, table.columns, strict=True):
            if pa.types.is_timestamp(kept.type):
                assert pc.all(pc.ends_with(column, "+00:00")).as_py() in {True, None}
                column = pc.cast(column, kept.type)
            assert column.combine_chunks().equals(kept.combine_chunks()), name


def test_a_broken_off_run_leaves_nothing(fleet: Path, tmp_path: Path) -> None:
    class StopError(Exception):
        """Ctrl-C at the first station."""

    def stop(done: int, _: int) -> None:
        if done == 1:
            raise StopError

    for workers in (1, 2):
        with pytest.raises(StopError):
            generate(fleet, tmp_path / "out", workers=workers, progress=stop)
        assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_is_left_alone(fleet: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(BadConfig, match="holds other things"):
        generate(fleet, tmp_path, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_empty_folder_is_taken(fleet: Path, made: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    generate(fleet, tmp_path / "out", workers=1)
    assert digests(tmp_path / "out") == digests(made)


def test_files_need_a_time(tmp_path: Path) -> None:
    file = tmp_path / "now.toml"
    file.write_text('name = "now"\nstart = "now"\n', encoding="utf-8")
    with pytest.raises(BadConfig, match="2026-06-01T00:00:00"):
        generate(file, tmp_path / "out", workers=1)
