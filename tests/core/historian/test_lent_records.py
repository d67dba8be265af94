"""Records that a store lends: others read them meanwhile, whole columns at a time, and not a moment longer."""

from __future__ import annotations

import asyncio
import math
import pickle
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pumpwatch import TankReading, Transaction
from pumpwatch.errors import NotReachable
from pumpwatch.historian import embedded, packing, reading
from pumpwatch.historian import records as keeping
from pumpwatch.historian.embedded import EmbeddedStore
from pumpwatch.historian.reading import LentReader, LentRecords
from pumpwatch.historian.records import Records
from pumpwatch.model import to_us

START = datetime(2026, 3, 2, tzinfo=UTC)
SPAN = to_us(START), to_us(START + timedelta(days=400))
ELSEWHERE = """
import pickle, sys
from pumpwatch import TankReading
lent, *span = bytes.fromhex(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with pickle.loads(lent).opened() as reader:
    series = reader.numbers_of_station(TankReading, "S01", ("at", "height_mm"), *span).series
print(*series["S01-T1"][:, 1].tolist())
"""
FIELDS = ("seq", "start", "end", "volume_l", "tax_l", "encoder_pulses", "payment", "preset_kind", "totalizer_l")


@pytest.fixture
def records(tmp_path):
    """An empty store of records."""
    one = Records(tmp_path / "records.sqlite")
    one.open()
    yield one
    one.close()


def sale(number: int, **more: object) -> tuple[str, Transaction]:
    """One filling of a nozzle of S01."""
    at = START + timedelta(minutes=5 * number)
    facts = {"volume_l": 40.0, "amount_cny": 300.0, "unit_price": 7.5} | more
    return "S01", Transaction("S01-N01", number, at, at + timedelta(minutes=2), **facts)


def readings(station: str, count: int, first: int = 0) -> list[tuple[str, TankReading]]:
    """Readings of one tank, five minutes apart."""
    at = [START + timedelta(minutes=5 * place) for place in range(first, first + count)]
    return [(station, TankReading(f"{station}-T1", one, 1_000.0 + place)) for place, one in enumerate(at, first)]


def heights(lent: LentRecords, station: str) -> list[float]:
    """What a reader of lent records gets."""
    with lent.opened() as reader:
        series = reader.numbers_of_station(TankReading, station, ("at", "height_mm"), *SPAN).series
    return [float(each) for rows in series.values() for each in rows[:, 1]]


def told_elsewhere(lent: LentRecords) -> list[float]:
    """The same in another process, of S01."""
    command = [sys.executable, "-c", ELSEWHERE, pickle.dumps(lent).hex(), *map(str, SPAN)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def test_columns_are_what_the_rows_are(records, monkeypatch):
    kinds = [-(2**40), -129, -1, 0, 1, 2, 127, 128, 32_768, 2**23, 2**31, 2**47, 2**52]
    random = np.random.default_rng(7)
    records.write(
        [
            sale(
                number,
                volume_l=float(random.choice([0.0, 1.0, -3.25, 41.07, 1e300, math.pi])),
                tax_l=random.choice([None, 40.0, 1e-9]),
                encoder_pulses=random.choice([None, *kinds]),
                payment=random.choice([None, "card", "现金", "own_use"]),
                totalizer_l=math.nan if number % 3 else float(number),
            )
            for number in range(5_000)
        ],
        [],
    )
    ask = (Transaction, "S01", FIELDS, SPAN[0], to_us(START + timedelta(minutes=5 * 4_200)))
    fast = records.numbers_of_station(*ask)
    monkeypatch.setattr(packing, "_MOST_COLUMNS", 0)
    slow = records.numbers_of_station(*ask)
    assert fast.words == slow.words == {"payment": ("card", "own_use", "现金"), "preset_kind": ()}
    np.testing.assert_array_equal(fast.series["S01-N01"], slow.series["S01-N01"])
    rows = records.of_station(*ask)["S01-N01"]
    assert len(rows) == len(fast.series["S01-N01"]) == 4_200
    for row, numbers in zip(rows, fast.series["S01-N01"].tolist(), strict=True):
        for name, told, number in zip(FIELDS, row, numbers, strict=True):
            if name in fast.words:
                assert number == (-1.0 if told is None else fast.words[name].index(told))
            else:
                assert math.isnan(number) if told is None else number == told


def test_a_station_without_records_gives_nothing(records):
    records.write(readings("S01", 3), [])
    assert records.numbers_of_station(TankReading, "S02", ("at",), *SPAN).series == {}
    (none,) = records.numbers_of_station(TankReading, "S01", ("at", "height_mm"), 0, 1).series.values()
    assert none.shape == (0, 2)


def test_another_process_reads_while_the_owner_writes(records):
    records.write(readings("S01", 2_000), [])
    with records.lent() as lent:
        assert told_elsewhere(lent) == [1_000.0 + n for n in range(2_000)]
        with lent.opened() as reader:
            assert isinstance(reader, LentReader)
            records.write(readings("S01", 500, first=2_000), [])
            told = reader.of_station(TankReading, "S01", ("height_mm",), *SPAN)
            assert len(told["S01-T1"]) == 2_500
        assert len(told_elsewhere(lent)) == 2_500
    records.write(readings("S02", 1), [])
    assert len(records.find(TankReading, limit=9_999)) == 2_501


def test_what_is_not_lent_cannot_be_read(records, monkeypatch):
    monkeypatch.setattr(reading, "_WAIT_S", 0.01)
    records.write(readings("S01", 3), [])
    with records.lent() as lent, records.lent():
        assert len(heights(lent, "S01")) == 3
    with pytest.raises(NotReachable, match=r"records\.sqlite.*owner"):
        heights(lent, "S01")
    with records.lent():
        assert len(heights(lent, "S01")) == 3


def broken(records: Records) -> None:
    """Tear one series of readings in two."""
    records.write(readings("S01", 3_000), [])
    records.close()
    with records.path.open("r+b") as file:
        file.seek(records.path.stat().st_size // 2 // 4_096 * 4_096)
        file.write(b"\xff" * 100)
    records.open()


def test_nobody_reads_what_is_only_half_saved(records, monkeypatch):
    monkeypatch.setattr(reading, "_WAIT_S", 0.01)
    broken(records)
    told: list[str] = []
    salvage, marked = keeping.salvage, keeping.touch_all

    def read(lent: LentRecords) -> None:
        with pytest.raises(NotReachable, match="locked"):
            heights(lent, "S01")
        told.append("locked")

    with records.lent() as lent:
        monkeypatch.setattr(keeping, "salvage", lambda file: (read(lent), salvage(file))[1])
        monkeypatch.setattr(keeping, "touch_all", lambda file: (read(lent), marked(file))[1])
        saved = records.numbers_of_station(TankReading, "S01", ("at", "height_mm"), *SPAN).series["S01-T1"]
        assert told == ["locked", "locked"]
        assert heights(lent, "S01") == saved[:, 1].tolist()
    with pytest.raises(NotReachable, match="locked"):
        heights(lent, "S01")


def test_what_is_saved_is_committed_by_the_thousand(records, monkeypatch):
    broken(records)
    single: list[bool] = []
    salvage = keeping.salvage

    def watched(file: sqlite3.Connection) -> int:
        file.set_trace_callback(lambda sql: single.append(not file.in_transaction) if " VALUES (" in sql else None)
        try:
            return salvage(file)
        finally:
            file.set_trace_callback(None)

    monkeypatch.setattr(keeping, "salvage", watched)
    saved = records.numbers_of_station(TankReading, "S01", ("at", "height_mm"), *SPAN).series["S01-T1"]
    assert len(single) > 2_000 < len(saved)
    assert not any(single), "each would wait for the disk"


def test_whoever_is_in_the_way_of_a_write_is_named(records, monkeypatch):
    monkeypatch.setattr(keeping, "_WAIT_S", 0.01)
    records.close()
    records.open()
    records.write(readings("S01", 3), [])
    with records.lent() as lent:
        file = sqlite3.connect(lent.path, isolation_level=None)
        file.execute("SELECT count(*) FROM tank_readings").fetchone()
    with closing(file), pytest.raises(NotReachable, match="another process still has it open"):
        records.write(readings("S01", 1, first=3), [])
    records.write(readings("S01", 1, first=3), [])
    assert len(records.find(TankReading, limit=9)) == 4


@pytest.mark.parametrize("begun", [True, False])
async def test_who_gives_up_while_it_is_lent_to_him_keeps_nothing(tmp_path, monkeypatch, begun):
    monkeypatch.setattr(reading, "_WAIT_S", 0.01)
    entering, go_on = threading.Event(), threading.Event()
    kept: list[AbstractContextManager[LentRecords]] = []

    @contextmanager
    def slowly(lending: AbstractContextManager[LentRecords]) -> Iterator[LentRecords]:
        entering.set()
        go_on.wait()
        with lending as lent:
            yield lent

    class Slow(Records):
        def lent(self) -> AbstractContextManager[LentRecords]:
            kept.append(slowly(super().lent()))  # so that nobody else ends it
            return kept[-1]

    monkeypatch.setattr(embedded, "Records", Slow)
    store = EmbeddedStore(EmbeddedStore.Settings(threads=1), tmp_path)
    await store.open()

    async def borrow() -> None:
        async with store.lent():
            raise AssertionError

    async def occupied() -> None:
        await store._in_thread(go_on.wait)

    busy = None if begun else asyncio.create_task(occupied())
    await asyncio.sleep(0)
    borrower = asyncio.create_task(borrow())
    await (asyncio.to_thread(entering.wait) if begun else asyncio.sleep(0))
    borrower.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await borrower
    if busy is not None:
        await busy
    await store.latest()  # there is one thread: whatever went before is done
    assert entering.is_set() == begun
    with pytest.raises(NotReachable, match="locked"):
        heights(LentRecords(tmp_path / "records.sqlite"), "S01")
    await store.close()
    await asyncio.get_running_loop().shutdown_default_executor()


def test_as_many_words_as_there_are_fillings_are_told(records):
    count = 2_000
    records._open_file.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
    records.write([sale(number, payment=f"{number:x}", tax_l=math.inf) for number in range(count)], [])
    ask = (Transaction, "S01", ("seq", "payment", "preset_kind", "tax_l"), *SPAN)
    told = records.numbers_of_station(*ask)
    assert len(told.words["payment"]) == count
    rows = told.series["S01-N01"]
    assert [told.words["payment"][int(place)] for place in rows[:, 1]] == [f"{int(seq):x}" for seq in rows[:, 0]]
    assert set(rows[:, 2].tolist()) == {-1.0}
    assert np.isnan(rows[:, 3]).all()


def test_a_broken_file_is_named_and_its_owner_mends_it(records, monkeypatch):
    broken(records)
    with records.lent() as lent:
        with pytest.raises(NotReachable, match=r"records\.sqlite: cannot be read beside its owner \(.*malformed"):
            heights(lent, "S01")
        saved = records.numbers_of_station(TankReading, "S01", ("at", "height_mm"), *SPAN).series["S01-T1"]
        assert 2_000 < len(saved) < 3_000
        assert heights(lent, "S01") == saved[:, 1].tolist()
    assert len(records.damage) == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(NotReachable, match="none"):
        heights(LentRecords(tmp_path / "none.sqlite"), "S01")
