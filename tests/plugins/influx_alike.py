"""Some of everything, at random and often twice, and everything a store can be asked: two stores must answer alike."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import numpy as np

from pumpwatch import (
    Batch,
    Delivery,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    Record,
    SampleBatch,
    Store,
    TankReading,
    Transaction,
    to_us,
)

T = datetime(2026, 11, 22, tzinfo=UTC)
DAY = timedelta(days=1)
QUALITIES = (0, 0, 0, 0x01, 0x40, 0x80, 0x81, 0x82)
TEXTS = ("idle", "", '50 % "full" \\', "two\nlines\x00", "加油 =,", "\\")
TAGS = ("nozzle-1.volume", "nozzle-1.state", "a,b =c", "time", "station", "found", "x:quality", "_y", "back\\")
KINDS: tuple[type[Record], ...] = (TankReading, Delivery, DeviceIdentity, DeviceEvent)


def samples_of(chance: random.Random, station: str) -> SampleBatch:
    """Few devices, tags and times, so that much is written twice, and otherwise."""
    n = chance.randrange(12)
    texts = [chance.choice(TEXTS) if chance.random() < 0.2 else None for _ in range(n)]
    numbers = (0.0, -0.0, 1.5, 20.01, 1e300, 5e-324, math.inf, -math.inf, math.nan)
    return SampleBatch(
        station,
        tuple(f"{station}/{chance.choice(('D1', 'D 2'))}/{chance.choice(TAGS)}" for _ in range(n)),
        np.array([to_us(T) + chance.randrange(8) * 1_000_001 for _ in range(n)], np.int64),
        np.array([math.nan if t is not None else chance.choice(numbers) for t in texts], np.float64),
        tuple(texts) if any(t is not None for t in texts) else (),
        np.array([chance.choice(QUALITIES) for _ in range(n)], np.uint8),
    )


def record_of(chance: random.Random, station: str) -> Record:
    """A record of few subjects and times: reports of the same meet, agreeing and not."""
    at = T + timedelta(seconds=chance.randrange(4))
    maybe = [None, 1.0, 2.5]
    kind = chance.randrange(5)
    if kind == 0:
        return Transaction(
            f"{station}-N{chance.randrange(2)}",
            chance.randrange(3),
            at - timedelta(minutes=1),
            at,
            chance.choice([20.0, 20.01]),
            150.0,
            7.5,
            tax_l=chance.choice(maybe),
            encoder_pulses=chance.choice([None, 2_000]),
            payment=chance.choice([None, "cash"]),
            raw=chance.choice([b"", b"\x00\xff"]),
            attributes=chance.choice([{}, {"b": "2\n", "a": "1"}]),
        )
    if kind == 1:
        return TankReading(f"{station}-T1", at, 1_000.5, chance.choice(maybe), water_mm=chance.choice(maybe))
    if kind == 2:
        papers = chance.choice([None, "A-1", "A-2"])
        return Delivery(f"{station}-T1", at, chance.choice(maybe), chance.choice(maybe), document_no=papers)
    if kind == 3:
        serials = chance.choice([{}, {"N1": "E1"}])
        return DeviceIdentity(station, f"{station}-D1", at, chance.choice([None, "S"]), encoder_serials=serials)
    detail: dict[str, str | float | int | bool | None] = chance.choice(
        [{}, {"up": True}, {"up": False, "reason": "加"}]
    )
    return DeviceEvent(
        at, station, chance.choice(["D1", "D2"]), chance.choice([EventKind.LINK, EventKind.SEAL]), detail
    )


def column(samples: SampleBatch) -> list[tuple[object, ...]]:
    """Comparable rows; NaN is None."""
    texts = samples.texts or (None,) * len(samples)
    values = [None if math.isnan(v) else v for v in samples.values.tolist()]
    return list(zip(samples.paths, samples.at_us.tolist(), values, texts, samples.qualities.tolist(), strict=True))


def known(record: Record) -> str:
    return repr(record)


async def answers(store: Store) -> dict[str, object]:
    """Everything a store can be asked, in an order of its own where the contract names none."""
    latest = await store.latest()
    told: dict[str, object] = {"latest": column(latest)}
    for path in latest.paths:
        told[path] = column((await store.series(path, T, T + DAY)).samples)
        told[f"{path} newest"] = column((await store.series(path, T, T + timedelta(seconds=6), 2)).samples)
        sums = await store.summaries(path, T, T + timedelta(seconds=7), timedelta(seconds=3))
        told[f"{path} summaries"] = [
            np.nan_to_num(c, nan=-1.0).tolist()
            for c in (sums.start_us, sums.count, sums.good, sums.low, sums.high, sums.mean, sums.last)
        ]
    pages: list[tuple[object, ...]] = []
    after: tuple[str, datetime] | None = None
    while True:
        page = await store.samples(station_id="S1", start=T, end=T + DAY, after=after, limit=7)
        pages += column(page)
        if len(page) < 7:
            break
        after = (page.paths[-1], T + timedelta(microseconds=int(page.at_us[-1]) - to_us(T)))
    told["pages"] = pages
    told["fillings"] = sorted(map(known, await store.transactions()))
    told["S1"] = sorted(map(known, await store.transactions(station_id="S1", start=T, end=T + timedelta(seconds=2))))
    told["N1"] = sorted(map(known, await store.transactions(nozzle_id="S2-N1")))
    for kind in KINDS:
        told[kind.__name__] = sorted(map(known, await store.records(kind, start=T, end=T + DAY)))
    told["one"] = sorted(map(known, await store.records(DeviceEvent, start=T, end=T + DAY, key="S1/D1")))
    told["any"] = sorted(map(known, await store.records(DeviceEvent, start=T, end=T + DAY, key="D1")))
    return told


def batch_of(*records: Record) -> Batch:
    nothing = SampleBatch("S1", (), np.empty(0, np.int64), np.empty(0), (), np.empty(0, np.uint8))
    return Batch("S1", nothing, records, T)
