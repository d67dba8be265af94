"""The InfluxDB store on a real server: it means what the embedded store means."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from influx_alike import DAY, T, answers, batch_of, record_of, samples_of
from influx_server import InfluxServer, needed

from pumpwatch import (
    Batch,
    DeviceEvent,
    Refused,
    SampleBatch,
    Transaction,
    to_us,
)
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore

pytestmark = pytest.mark.integration
SEQUENCE = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    needed()
    server = InfluxServer(tmp_path_factory.mktemp("influx"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("seed", range(3))
async def test_it_means_what_the_embedded_store_means(server: InfluxServer, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    embedded = EmbeddedStore(EmbeddedSettings(), tmp_path)
    influx = server.store(database=f"alike{seed}")
    await influx.prepare()
    await embedded.open()
    await influx.open()
    for step in range(15):
        batches = []
        for _ in range(chance.randrange(4)):
            station = chance.choice(("S1", "S2"))
            records = tuple(record_of(chance, station) for _ in range(chance.randrange(4)))
            batches.append(Batch(station, samples_of(chance, station), records, T))
        await embedded.write(batches)
        await influx.write(batches)
        if step % 5 == 0:
            await influx.write(batches)  # once more, as after an answer that got lost
            await embedded.write(batches)
        if step % 10 == 9:  # another process, which remembers nothing
            await influx.close()
            influx = server.store(database=f"alike{seed}")
            await influx.open()
    mine, theirs = await answers(influx), await answers(embedded)
    await influx.close()
    await embedded.close()
    assert mine.keys() == theirs.keys()
    for question, answer in theirs.items():
        assert mine[question] == answer, question


async def test_a_report_that_says_otherwise_is_kept_beside_the_first(server: InfluxServer) -> None:
    store = server.store(database="otherwise")
    await store.prepare()
    await store.open()
    first = Transaction("S1-N1", 7, T, T, 20.0, 150.0, 7.5)
    later = Transaction("S1-N1", 7, T, T, 19.0, 150.0, 7.5, tax_l=19.0)
    for sale in (first, later, later, first):
        await store.write([batch_of(sale)])
    (kept,) = await store.transactions()
    assert (kept.volume_l, kept.tax_l) == (20.0, 19.0)
    (event,) = await store.records(DeviceEvent, start=T, end=T + DAY)
    assert isinstance(event, DeviceEvent)
    assert event.detail == {"code": "resubmitted", "seq": 7, "field": "volume_l", "first": 20.0, "later": 19.0}
    ((rows,),) = await store._server.query(['SELECT * FROM "transaction_again"'], "records")
    (point,) = rows.named()
    assert point["volume_l"] == 19.0
    await store.close()


async def test_what_the_server_never_takes_is_named_and_the_rest_is_kept(server: InfluxServer) -> None:
    store = server.store(database="partly")
    await store.prepare()
    await store.open()
    taken = f'samples,device=D1,station=S1 taken="a text" {to_us(T) + 1}'
    await store._server.write([taken], "samples", "us")  # somebody else's
    at = np.array([to_us(T)] * 3 + [2**63 - 1], np.int64)
    paths = ("S1/D1/volume", "S1/D1/taken", "S1/D2/volume", "S1/D2/volume")
    batch = SampleBatch("S1", paths, at, np.array([1.0, 2.0, 3.0, 4.0]), (), np.zeros(4, np.uint8))
    odd = Transaction("S1-N1", 2**63, T, T, 20.0, 150.0, 7.5)
    good = Transaction("S1-N1", 8, T, T, 20.0, 150.0, 7.5)
    with pytest.raises(Refused, match=r"beyond InfluxDB.*D1.*64 bits") as told:
        await store.write([Batch("S1", batch, (odd, good), T)])
    assert "field type conflict" in str(told.value)
    assert (await store.series("S1/D2/volume", T, T + DAY)).samples.values.tolist() == [3.0]
    assert [s.seq for s in await store.transactions()] == [8]
    await store.close()


async def test_points_that_retention_would_drop_do_not_stop_the_rest(server: InfluxServer) -> None:
    store = server.store(database="short", samples_days=30)
    await store.prepare()
    await store.open()
    now = datetime.now(UTC)
    at = np.array([to_us(now - timedelta(days=400)), to_us(now)], np.int64)
    old_and_new = SampleBatch("S1", ("S1/D1/v", "S1/D1/v"), at, np.array([1.0, 2.0]), (), np.zeros(2, np.uint8))
    await store.write([Batch("S1", old_and_new, (), now)])
    found = (await store.series("S1/D1/v", now - timedelta(days=500), now + DAY)).samples
    assert found.values.tolist() == [2.0]
    await store.close()


@given(st.lists(st.text(st.characters(), max_size=8), min_size=3, max_size=3, unique=True), st.text(max_size=20))
@settings(max_examples=20)
def test_any_ids_and_texts_come_back_and_questions_stay_questions(
    server: InfluxServer, ids: list[str], text: str
) -> None:
    station, device, tag = (one.replace("/", "") for one in ids)
    path = f"{station}/{device}/{tag}"

    async def there_and_back() -> None:
        store = server.store(database="anything")
        await store.open()
        try:
            at = np.array([to_us(T), to_us(T) + 1], np.int64)
            samples = SampleBatch(
                station, (path, path), at, np.array([1.5, math.nan]), (None, text), np.zeros(2, np.uint8)
            )
            sale = Transaction(device, next(SEQUENCE), T, T, 20.0, 150.0, 7.5, payment=text, attributes={tag: text})
            await store.write([Batch(station, samples, (sale,), T)])
            found = (await store.series(path, T, T + DAY)).samples
            assert (found.values.tolist()[0], found.texts) == (1.5, (None, text))
            assert path in (await store.latest()).paths
            assert sale in await store.transactions(station_id=station, nozzle_id=device)
            assert sale in await store.records(Transaction, start=T, end=T + DAY, key=f"{station}/{device}")
        finally:
            await store.close()

    asyncio.run(server.store(database="anything").prepare())
    asyncio.run(there_and_back())
