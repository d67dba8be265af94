"""The tools of ``bench store`` measure what they say."""

from __future__ import annotations

from itertools import islice

import numpy as np

from pumpwatch.cli.benching import store, store_peers
from pumpwatch.model import to_us


def test_a_day_is_every_tag_of_every_station_once_each_instant() -> None:
    batches = list(store.day_of_batches(20, samples=40))
    assert sum(len(b.samples) for b in batches) == store.STATIONS * store.TAGS * 40
    assert len({b.station for b in batches}) == store.STATIONS
    first = batches[0].samples
    assert all(path.startswith(f"{batches[0].station}/") for path in first.paths)
    assert len(set(zip(first.paths, first.at_us.tolist(), strict=True))) == len(first) == 1_000
    assert np.array_equal(np.round(first.values, 2), first.values)


def test_the_peers_do_the_same_work() -> None:
    def day(instants: int) -> list[store_peers.Columns]:
        return [store._plain(b) for b in store.day_of_batches(instants, samples=instants) if b.station == "S037"]

    few = [store._plain(b) for b in islice(store.day_of_batches(20, samples=20), 2)]
    figures = store_peers.measure(day, few, lambda: day(20), to_us(store.DAY))
    names = {name.partition("_")[2] for name in figures if name.startswith("sqlite_")}
    assert names == {
        "ingest_1k_durable_per_cpu_s",
        "ingest_10k_per_cpu_s",
        "bytes_per_sample",
        "latest_5000_ms",
        "tag_day_means_ms",
        "station_day_arrow_ms",
        "year_chart_ms",
    }
    assert figures.get("duckdb") == "not installed" or all(f"duckdb_{name}" in figures for name in names)
    assert all(value > 0 for value in figures.values() if not isinstance(value, str))
