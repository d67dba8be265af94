"""Fillings asked for by the hundred thousand do not keep the server from its devices."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pumpwatch import Batch, SampleBatch, Transaction
from pumpwatch.engine.queries import fillings as asked
from pumpwatch.engine.queries.pages import Window
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian
from pumpwatch.ledger import Register
from pumpwatch.testing import FakeClock

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=1)
NOTHING = SampleBatch("S01", (), np.zeros(0, np.int64), np.zeros(0), (), np.zeros(0, np.uint8))


@pytest.mark.parametrize("limit", [20, 100])
async def test_their_table_is_made_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    threads: list[int] = []
    table_of = asked.table_of

    def watched(sales: Sequence[Transaction], register: Register) -> pa.Table:
        threads.append(threading.get_ident())
        return table_of(sales, register)

    monkeypatch.setattr(asked, "table_of", watched)
    moments = [START + timedelta(seconds=n) for n in range(50)]
    sales = tuple(Transaction("S01-N01", n, at, at, 1.0, 7.5, 7.5) for n, at in enumerate(moments))
    async with Historian.open(tmp_path, EmbeddedStore(EmbeddedSettings(), tmp_path / "e"), FakeClock()) as historian:
        await historian.keep(Batch("S01", NOTHING, sales, START))
        await historian.journaled()
        page = await asked.fillings(historian, Register(), asked.FillingFilter(), Window(START, END), None, limit)
    assert page.table.column("seq").to_pylist() == list(range(49, 49 - min(limit, 50), -1))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
