"""What goes in comes out: row for row, bit for bit, the same bytes each time."""

from __future__ import annotations

import asyncio
import csv
import io
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import MethodType

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pumpwatch.canonical import TABLES, Format, Span
from pumpwatch.canonical.exporting import iso_times
from pumpwatch.canonical.measured import MEASURED_TABLES
from pumpwatch.contracts import PluginSettings, Series, Store
from pumpwatch.errors import BadConfig
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore
from pumpwatch.ledger import LEDGER_TABLES
from pumpwatch.model import Batch, Delivery, DeviceEvent, EventKind, TankReading, from_us

MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", list(Format))
async def test_export_import_export_is_the_same_bytes(kept, write, county, opened, tmp_path, kind, told):
    await kept.take(write(county))
    written = await kept.give(tmp_path / "first", kind=kind)
    assert [t.table for t in written] == list(TABLES)
    assert {t.table: t.rows for t in written} == {n: c.count("\n") - 1 for n, c in county.items()}
    async with opened(tmp_path / "other") as other:
        report = await other.take(tmp_path / "first")
        assert told(report) == []
        await other.give(tmp_path / "second", kind=kind)
    assert files(tmp_path / "first") == files(tmp_path / "second")
    await kept.give(tmp_path / "first", kind=kind)
    assert files(tmp_path / "first") == files(tmp_path / "second")


async def test_the_files_say_what_was_imported(kept, write, county, tmp_path, rows_of):
    await kept.take(write(county))
    await kept.give(tmp_path / "out", kind=Format.CSV)
    sales = rows_of(tmp_path / "out" / "transactions.csv")
    assert list(sales[0])[-1] == "shift"
    assert [(s["nozzle_id"], s["seq"], s["end"], s["volume_l"], s["shift"]) for s in sales] == [
        ("S01-N01", "7", "2026-03-01T01:01:00+00:00", "30.12", "A"),
        ("S01-N01", "8", "2026-03-01T01:06:00.250000+00:00", "1.5", ""),
        ("S02-N01", "1", "2026-03-01T01:06:00+00:00", "10.0", "B"),
    ]
    assert rows_of(tmp_path / "out" / "stations.csv")[0]["port_area"] == "true"
    assert [e["detail"] for e in rows_of(tmp_path / "out" / "device_events.csv")] == [
        '{"reason": "示例", "up": false}',
        "",
    ]
    assert [d["document_no"] for d in rows_of(tmp_path / "out" / "deliveries.csv")] == ["示例-7", ""]
    assert rows_of(tmp_path / "out" / "work_orders.csv")[0]["time"] == "2026-03-01T01:00:00+00:00"
    await kept.give(tmp_path / "out", tables=["transactions", "stations"])
    table = pq.read_table(tmp_path / "out" / "transactions.parquet")
    assert [str(t) for t in table.schema.types[:5]] == [
        *("string", "int64", "timestamp[us, tz=UTC]", "timestamp[us, tz=UTC]", "double")
    ]
    assert not (tmp_path / "out" / "tanks.parquet").exists()


async def test_a_span_and_a_choice_of_tables(kept, write, county, tmp_path):
    await kept.take(write(county))
    span = Span(MARCH + timedelta(hours=1, minutes=6), MARCH + timedelta(days=1, hours=2))
    written = await kept.give(tmp_path / "out", span=span)
    timeless = dict.fromkeys(("stations", "dispensers", "tanks", "tank_charts", "nozzles", "declarations"), 2)
    timed = {"transactions": 2, "deliveries": 1}
    assert {t.table: t.rows for t in written} == dict.fromkeys(TABLES, 0) | timeless | timed
    with pytest.raises(BadConfig, match="there is no table pumps; there are stations, dispensers"):
        await kept.give(tmp_path / "out", tables=["pumps"])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadConfig, match="cannot export to"):
        await kept.give(tmp_path / "file")


async def test_what_has_no_papers_is_no_delivery_of_the_data_set(kept, write, county, tmp_path, rows_of):
    await kept.take(write(county))
    seen = Delivery("S01-T1", MARCH, received_l=9_900.0)
    await kept.historian.store.write([Batch("S01", _no_samples(), (seen,), MARCH)])
    await kept.give(tmp_path / "out", kind=Format.CSV, tables=["deliveries"])
    assert len(rows_of(tmp_path / "out" / "deliveries.csv")) == 2


def _no_samples():
    from pumpwatch.model import SampleBatch

    return SampleBatch("S01", (), np.empty(0, np.int64), np.empty(0), (), np.empty(0, np.uint8))


async def test_what_only_the_journal_has_is_exported(kept, write, county, tmp_path):
    await kept.take(write(county))
    event = DeviceEvent(MARCH, "S02", "D1", EventKind.COVER, {"open": True})
    await kept.historian.keep(Batch("S02", _no_samples(), (event,), MARCH))
    written = await kept.give(tmp_path / "out", tables=["device_events"])
    assert written[0].rows == 3


async def test_pages_and_row_groups_do_not_show(kept, write, county, tmp_path, monkeypatch):
    many = "tank_id,time,height_mm,shift\n" + "".join(
        f"S01-T1,2026-03-01T{n // 60:02d}:{n % 60:02d}:00Z,{n / 7},{n % 3}\n" for n in range(1_000)
    )
    await kept.take(write(county | {"tank_readings": many}))
    await kept.give(tmp_path / "first", tables=["tank_readings"])
    monkeypatch.setattr("pumpwatch.historian.embedded._PAGE_ROWS", 37)
    await kept.give(tmp_path / "second", tables=["tank_readings"])
    assert files(tmp_path / "first") == files(tmp_path / "second")
    table = pq.read_table(tmp_path / "first" / "tank_readings.parquet")
    assert table["height_mm"].to_pylist() == [n / 7 for n in range(1_000)]


# ---------------------------------------------------------------- another store


class Plain(Store):
    """Somebody's store that knows nothing of bulk: it keeps what ``write`` brings, here in an embedded one."""

    name = "plain"

    def __init__(self, folder: Path) -> None:
        super().__init__(PluginSettings(), folder)
        self._kept = EmbeddedStore(EmbeddedSettings(), folder)
        for word in ("open", "write", "latest", "transactions", "records", "retention", "close"):
            setattr(self, word, MethodType(getattr(EmbeddedStore, word), self._kept))

    async def open(self) -> None: ...
    async def write(self, batches): ...
    async def latest(self): ...
    async def series(self, path, start, end, limit=100_000) -> Series: ...
    async def transactions(self, **wanted): ...
    async def records(self, kind, **wanted): ...
    async def retention(self, now): ...
    async def close(self) -> None: ...


async def test_a_store_without_the_bulk_door_is_served_record_by_record(
    kept, write, county, opened, tmp_path, monkeypatch
):
    monkeypatch.setattr("pumpwatch.historian.bulk._PAGE", 2)
    folder = write(county)
    await kept.take(folder)
    await kept.give(tmp_path / "first")
    async with opened(tmp_path / "other", Plain(tmp_path / "plain")) as other:
        report = await other.take(folder)
        assert {t.table: t.added for t in report.tables} == {n: c.count("\n") - 1 for n, c in county.items()}
        await other.take(folder)
        await other.give(tmp_path / "second")
    assert files(tmp_path / "first") == files(tmp_path / "second")


# ---------------------------------------------------------------- anything that may be

TEXT = st.text(st.characters(exclude_categories=["C"], exclude_characters="\x00"), min_size=1, max_size=8).map(
    str.strip
)
WORD = TEXT.filter(lambda s: s and "\x85" not in s)
ID = st.sampled_from(["S01-N01", "S02-N01"])
AMOUNT = st.floats(0, allow_infinity=False, allow_nan=False).map(abs)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-3, minutes=-30))])
TIME = st.datetimes(datetime(1990, 1, 2), datetime(2099, 12, 30), timezones=ZONES)  # noqa: DTZ001
MAYBE = {
    "number": st.none() | AMOUNT,
    "whole": st.none() | st.integers(0, 2**53),
    "text": st.none() | WORD,
}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


@st.composite
def sales(draw: st.DrawFn) -> dict[str, object]:
    start, end = sorted([draw(TIME), draw(TIME)])
    row: dict[str, object] = {"nozzle_id": draw(ID), "seq": draw(st.integers(0, 2**53)), "start": start, "end": end}
    row |= {name: draw(AMOUNT) for name in ("volume_l", "amount_cny", "unit_price")}
    row |= {name: draw(MAYBE["number"]) for name in ("totalizer_l", "encoder_l", "tax_cny", "preset_value")}
    return row | {"encoder_pulses": draw(MAYBE["whole"]), "payment": draw(MAYBE["text"]), "示例 x": draw(MAYBE["text"])}


@settings(
    max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)  # shrinking takes minutes
@given(
    rows=st.lists(sales(), max_size=12, unique_by=lambda r: (r["nozzle_id"], r["seq"], r["end"])),
    kind=st.sampled_from(Format),
)
def test_any_sale_that_may_be_comes_back_as_it_was(rows, kind, opened, county):
    async def there_and_back(folder: Path) -> None:
        source = folder / "in"
        source.mkdir()
        for table in ("stations", "dispensers", "tanks", "nozzles"):
            (source / f"{table}.csv").write_text(county[table], encoding="utf-8")
        out = io.StringIO()
        names = list(rows[0]) if rows else ["nozzle_id", "seq", "start", "end", "volume_l", "amount_cny", "unit_price"]
        writer = csv.writer(out)
        writer.writerows([names, *([_cell(row[n]) for n in names] for row in rows)])
        (source / "transactions.csv").write_bytes(out.getvalue().encode())
        async with opened(folder / "a") as first:
            report = await first.take(source)
            assert [str(p) for p in report.problems] == []
            await first.give(folder / "first", kind=kind, tables=["transactions"])
        back = sorted(_read(folder / "first" / f"transactions.{kind}"), key=_key)
        want = sorted(({n: v for n, v in row.items() if v is not None} for row in rows), key=_key)
        assert back == want
        for table in ("stations", "dispensers", "tanks", "nozzles"):
            (folder / "first" / f"{table}.csv").write_text(county[table], encoding="utf-8")
        async with opened(folder / "b") as second:
            assert (await second.take(folder / "first")).problems == ()
            await second.give(folder / "second", kind=kind, tables=["transactions"])
        name = f"transactions.{kind}"
        assert (folder / "first" / name).read_bytes() == (folder / "second" / name).read_bytes()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(there_and_back(Path(folder)))


def _key(row: dict[str, object]) -> tuple[object, ...]:
    return (row["nozzle_id"], row["end"], row["seq"])


def _read(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        return [{k: v for k, v in row.items() if v is not None} for row in pq.read_table(path).to_pylist()]
    words = {"nozzle_id", "payment", "示例 x"}
    out: list[dict[str, object]] = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            made: dict[str, object] = {}
            for name, cell in row.items():
                if not cell:
                    continue
                if name in ("start", "end"):
                    made[name] = datetime.fromisoformat(cell)
                elif name in words:
                    made[name] = cell
                else:
                    made[name] = int(cell) if name in ("seq", "encoder_pulses") else float(cell)
            out.append(made)
    return out


@given(st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31)), min_size=1, max_size=5))  # noqa: DTZ001
def test_times_are_written_as_python_does(times):
    micros = [int((at - datetime(1970, 1, 1)) / timedelta(microseconds=1)) for at in times]  # noqa: DTZ001
    assert iso_times(micros) == [from_us(us).isoformat() for us in micros]


def test_every_table_of_the_data_set_is_there():
    assert set(TABLES) == {
        *("stations", "dispensers", "tanks", "tank_charts", "nozzles", "transactions", "tank_readings", "deliveries"),
        *("device_events", "work_orders", "declarations", "reports_12315", "covert_tests"),
    }
    assert len(LEDGER_TABLES) + len(MEASURED_TABLES) == len(TABLES)


@pytest.mark.parametrize("kind", list(Format))
async def test_lone_surrogates_become_question_marks(kept, write, county, tmp_path, kind):
    await kept.take(write(county))
    event = DeviceEvent(MARCH, "S01", "D9", EventKind.LINK, {"reason": "\udcff😀", "up": False})
    reading = TankReading("S01-T1", MARCH, 5.0, attributes={"x\udcff": "y\ud800"})
    records = kept.historian.store._records
    records.write([("S01", event), ("S01", reading)], [])
    odd = '{"a\\udcff":"b\\udcff"}'  # as an earlier program wrote it
    file = records._open_file
    file.execute("UPDATE device_events SET detail = ? WHERE kind = 'power'", (odd,))
    file.execute("UPDATE tank_readings SET attributes = ? WHERE height_mm = 1480.2", (odd,))
    await kept.give(tmp_path / "out", kind=kind, tables=["device_events", "tank_readings"])
    if kind is Format.CSV:
        found = {
            name: list(csv.DictReader(io.StringIO((tmp_path / "out" / f"{name}.csv").read_text(encoding="utf-8"))))
            for name in ("device_events", "tank_readings")
        }
    else:
        found = {
            name: pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist()
            for name in ("device_events", "tank_readings")
        }
    details = {row["detail"] for row in found["device_events"]}
    assert {'{"a?": "b?"}', '{"reason": "?😀", "up": false}'} <= details
    said = [(row["a?"] or "", row["x?"] or "") for row in found["tank_readings"]]
    assert said == [("", "y?"), ("b?", ""), ("", "")]
