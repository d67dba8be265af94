"""The measurement of the OPC UA driver measures: every item of the double arrives, by our driver and by the library."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pumpwatch.cli.benching import opcua

pytestmark = pytest.mark.integration


async def test_the_measurement_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ITEMS": 300, "PERIOD_S": 0.05, "SECONDS": 0.5, "SCAN_S": 0.1, "RETRY_S": 0.02}.items():
        monkeypatch.setattr(opcua, name, value)
    figures, peer = await opcua._measure(tmp_path)
    assert all(value > 0 for value in (figures | peer).values())
    assert set(figures) >= {"opcua_updates_per_cpu_s", "opcua_subscribe_10k_s", "opcua_live_again_10k_s"}
    assert asyncio.all_tasks() == {asyncio.current_task()}
