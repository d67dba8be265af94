"""What ledger and historian give back of a station is what the simulator says of it, row for row."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from pumpwatch import EventKind, TankReading, Transaction, resubmissions
from pumpwatch.canonical import Pasts, import_folder
from pumpwatch.clock import SystemClock
from pumpwatch.database import Database, ledger_url
from pumpwatch.errors import NotReachable
from pumpwatch.historian import Historian
from pumpwatch.historian.embedded import EmbeddedStore
from pumpwatch.historian.reading import LentReader
from pumpwatch.ledger import Ledger
from pumpwatch.model import from_us
from pumpwatch.past import SALE_COLUMNS, Channel, Levels
from pumpwatch_sim.dataset.generate import generate
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.fleet import load_fleet
from pumpwatch_sim.staging import stage

FLEET = """
name = "pasts"
seed = 5
start = 2026-03-02T00:00:00+08:00
days = 10
[stations]
count = 3
[[scenario]]
name = "edited_record"
station = "S01"
onset = "P2D"
[[scenario]]
name = "duplicated_batch"
station = "S01"
onset = "P4D"
[[scenario]]
name = "mainboard_swapped"
station = "S43"
onset = "P3D"
"""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A fleet, its data set on disk, and its staging."""
    folder = tmp_path_factory.mktemp("pasts")
    (folder / "fleet.toml").write_text(FLEET, encoding="utf-8")
    plan = load_fleet(folder / "fleet.toml")
    generate(folder / "fleet.toml", folder / "set", workers=1)
    return folder, stage(plan, plan.start)


@pytest.fixture
async def pasts(simulated, tmp_path):
    """The data set in a data folder."""
    folder, _ = simulated
    store = EmbeddedStore(EmbeddedStore.Settings(), tmp_path / "history" / "embedded")
    async with (
        Database.open(ledger_url(tmp_path)) as database,
        Historian.open(tmp_path / "history", store, SystemClock()) as historian,
    ):
        await import_folder(database, historian, folder / "set")
        yield await Pasts.load(Ledger(database), historian)


def same_columns(one, other, names):
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def plain(event):
    """An event as text, whatever the order of its details."""
    return repr(replace(event, detail=dict(sorted(event.detail.items()))))


async def test_a_station_comes_back_as_it_was_simulated(simulated, pasts):
    _, staging = simulated
    assert list(pasts.station_ids) == [s.station_id for s in staging.county.stations]
    for station_id in pasts.station_ids:
        told = station_past(staging, station_id)
        kept = await pasts.station(station_id, told.start, told.end)
        assert len(kept.sales) > 1_000
        assert kept.sales.nozzle_ids == told.sales.nozzle_ids
        same_columns(kept.sales, told.sales, [n for n in SALE_COLUMNS if n not in {"payment", "preset_kind"}])
        for row in range(0, len(kept.sales), 97):
            assert kept.sales.record(row) == told.sales.record(row)
        assert list(kept.levels) == list(told.levels)
        for tank, levels in told.levels.items():
            same_columns(kept.levels[tank], levels, ["at_us", "height_mm", "volume_l", "volume_20c_l", "water_mm"])
            same_columns(kept.charts[tank], told.charts[tank], ["height_mm", "volume_l"])
        assert sorted(map(plain, kept.events)) == sorted(map(plain, told.events))
        for name in ("station", "dispensers", "nozzles", "tanks", "channels"):
            assert getattr(kept, name) == getattr(told, name), name
        for name in ("deliveries", "declarations", "covert_tests", "work_orders", "reports"):
            rows = [sorted(repr(asdict(entry)) for entry in getattr(past, name)) for past in (kept, told)]
            assert rows[0] == rows[1], name


async def test_a_filling_that_came_again_and_otherwise_leaves_an_event(simulated, pasts):
    _, staging = simulated
    told = station_past(staging, "S01")
    past = await pasts.station("S01", told.start, told.end)
    events = list(resubmissions(past))
    assert len(events) > 10
    for event in events:
        assert event.kind is EventKind.ALARM
        assert event.detail["field"] == "volume_l"
        assert event.detail["later"] < event.detail["first"]  # ten per cent less
    keys = {(past.sales.nozzle_ids[n], s) for n, s in zip(past.sales.nozzle, past.sales.seq, strict=True)}
    assert {(e.device_id, e.detail["seq"]) for e in events} <= keys


async def test_a_part_of_the_past_has_only_its_records(simulated, pasts):
    start, end = await pasts.span()
    half = start + (end - start) / 2
    whole = await pasts.station("S43", start, end)
    first, second = await pasts.station("S43", start, half), await pasts.station("S43", half, end)
    assert len(first.sales) + len(second.sales) == len(whole.sales)
    assert len(first.events) + len(second.events) == len(whole.events)
    cut = whole.between(start, half)
    same_columns(cut.sales, first.sales, SALE_COLUMNS)
    assert cut.events == first.events
    assert Channel.TANK_READINGS in first.channels
    with pytest.raises(KeyError):
        await pasts.station("S99", start, end)


async def test_another_process_reads_the_same(pasts):
    start, end = await pasts.span()
    near = await pasts.station("S43", start, end)
    async with pasts.lent() as lent:
        far = pickle.loads(pickle.dumps(await pasts.far(lent, "S43", start, end)))
        read = await asyncio.to_thread(far.read)
        with pytest.raises(KeyError):
            await pasts.far(lent, "S99", start, end)
    same_columns(read.sales, near.sales, SALE_COLUMNS)
    assert (read.sales.payments, read.sales.preset_kinds) == (near.sales.payments, near.sales.preset_kinds)
    assert list(read.levels) == list(near.levels)
    for tank, levels in near.levels.items():
        same_columns(read.levels[tank], levels, [f.name for f in fields(Levels)])
        same_columns(read.charts[tank], near.charts[tank], ["height_mm", "volume_l"])
    for field in fields(near):
        if field.name not in {"sales", "levels", "charts"}:
            assert getattr(read, field.name) == getattr(near, field.name), field.name


async def test_what_another_process_reads_is_of_one_moment(simulated, pasts, monkeypatch):
    start, end = await pasts.span()
    near = await pasts.station("S43", start, end)
    sale, (tank, levels) = near.sales.record(len(near.sales) - 1), next(iter(near.levels.items()))
    store = pasts._historian._drain.opened_store()
    read, written = LentReader.numbers_of_station, []

    def meanwhile(reader, kind, *ask):
        """Between the question for sales and the one for levels both come."""
        if kind is TankReading and len(written) < most:
            new = len(written) + 1
            at = from_us(int(levels.at_us[-1]) - new)
            more = replace(sale, seq=sale.seq + 10_000 + new)
            store._records.write([("S43", more), ("S43", TankReading(tank, at, 1_000.0))], [])
            written.append(more)
        return read(reader, kind, *ask)

    monkeypatch.setattr(LentReader, "numbers_of_station", meanwhile)
    async with pasts.lent() as lent:
        far = await pasts.far(lent, "S43", start, end)
        most = 2
        past = await asyncio.to_thread(far.read)
        assert (len(past.sales), len(past.levels[tank])) == (len(near.sales) + 2, len(levels) + 2)
        most = 2 + 3
        with pytest.raises(NotReachable, match="S43: its records change while they are read"):
            await asyncio.to_thread(far.read)


async def test_a_store_without_the_bulk_door_tells_the_same(simulated, pasts, monkeypatch):
    start, end = await pasts.span()
    fast = await pasts.station("S43", start, end)
    monkeypatch.setattr("pumpwatch.historian.bulk.BulkRecords", type("Never", (), {}))
    slow = await pasts.station("S43", start, end)
    assert [slow.sales.record(i) for i in range(0, len(slow.sales), 50)] == [
        fast.sales.record(i) for i in range(0, len(fast.sales), 50)
    ]
    for tank, levels in fast.levels.items():
        same_columns(slow.levels[tank], levels, ["at_us", "height_mm", "temperature_c"])
    assert slow.events == fast.events
    assert isinstance(slow.sales.record(0), Transaction)
