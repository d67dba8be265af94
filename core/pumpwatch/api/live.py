"""The live feed: one layout, one alarm list, one binary frame a second, encoded once and sent to all.

The frame is little-endian: ``PW01``, layout version u32, unix time f64, S u32, N u32, T u32, 0 u32; then in layout
order S × f32 seconds since the last good data, S × f32 litres sold today, N × f32 litres, N × f32 CNY, N × f32 L/min,
T × f32 fill fraction (NaN unknown), S × u8 station quality, N × u8 nozzle state. S stations, N nozzles and T tanks are
those of the layout, flattened over stations.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from pumpwatch.alarms import to_json
from pumpwatch.model import NozzleState, to_us

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.websockets import WebSocket

    from pumpwatch.acquisition import Device
    from pumpwatch.engine import Engine
    from pumpwatch.hub import Last
    from pumpwatch.model import Station

HEADER = struct.Struct("<4sIdIIII")
STALE_S = 30.0
"""A connected station whose newest good value is older than this is stale."""
CLEARED_SHOWN_H = 4.0
"""A cleared alarm stays in the message this long, hours."""


class StationQuality(IntEnum):
    """One byte a station in the frame."""

    GOOD = 0
    STALE = 1
    OFFLINE = 2


_STATES = frozenset(map(float, NozzleState))


class CellState(IntEnum):
    """What a nozzle's byte may say beyond ``NozzleState``."""

    STALE = 5
    OFFLINE = 6


class LiveFeed:
    """Knows the layout, makes the frames, and serves every socket from the same bytes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._devices: dict[str, list[Device]] = {}
        self._nozzle_of: dict[str, tuple[Device, int]] = {}
        self._tank_of: dict[str, tuple[Device, int]] = {}
        for device in engine.acquisition.devices:
            self._devices.setdefault(device.site.station_id, []).append(device)
            if not device.driver.sale_channels:  # those do not see the display
                self._nozzle_of |= {n: (device, i) for i, n in enumerate(device.site.nozzle_ids, 1)}
            self._tank_of |= {t: (device, i) for i, t in enumerate(device.site.tank_ids, 1)}
        self._frame = b""
        self._new_frame = asyncio.Event()
        self.version = -1
        self._lay_out()

    @property
    def stations(self) -> Sequence[Station]:
        """The stations of the layout."""
        self._follow()
        return self._stations

    def _follow(self) -> None:
        """After an import the engine has another register."""
        if self._engine.register is not self._register:
            self._lay_out()

    def _lay_out(self) -> None:
        self._register = register = self._engine.register
        self._stations = [s for s in register.stations if s.station_id in self._devices]
        nozzles = [n for s in self._stations for n in register.nozzles_at(s.station_id)]
        tanks = [t for s in self._stations for t in register.tanks_of(s.station_id)]
        self._nozzles = [self._nozzle_of.get(n.nozzle_id) for n in nozzles]
        self._cells = [
            tuple(f"{at[0].path}/nozzle-{at[1]}.{what}" for what in ("volume", "amount", "flow", "state")) if at else ()
            for at in self._nozzles
        ]
        self._tanks = [
            (f"{at[0].path}/tank-{at[1]}.volume", t.capacity_l) if (at := self._tank_of.get(t.tank_id)) else ("", 1.0)
            for t in tanks
        ]
        entries = [self.entry(s.station_id) for s in self._stations]
        version = zlib.crc32(repr(entries).encode())
        if version == self.version:
            return
        server = self._engine.settings.server
        self.version = version
        self.layout = {
            "type": "layout",
            "version": version,
            "server": {"name": server.name, "time_zone": server.time_zone},
            "stations": entries,
        }
        self._frame = b""

    def entry(self, station_id: str) -> dict[str, Any]:
        """One station as the layout has it."""
        register = self._engine.register
        station = register.station(station_id)
        if station is None:
            raise KeyError(station_id)
        more = station.attributes
        return {
            "station_id": station_id,
            "name": station.name,
            "name_en": more.get("name_en", station.name),
            "short_name": station.short_name or station.name,
            "short_name_en": more.get("short_name_en", more.get("name_en", station.short_name or station.name)),
            "town": station.town,
            "town_en": more.get("town_en", station.town),
            "ownership": station.ownership,
            "latitude": station.latitude,
            "longitude": station.longitude,
            "nozzles": [
                {
                    "nozzle_id": n.nozzle_id,
                    "number": register.nozzle_number(n.nozzle_id),
                    "dispenser_id": n.dispenser_id,
                    "grade": n.grade,
                }
                for n in register.nozzles_at(station_id)
            ],
            "tanks": [
                {
                    "tank_id": t.tank_id,
                    "number": register.tank_number(t.tank_id),
                    "grade": t.grade,
                    "capacity_l": t.capacity_l,
                }
                for t in register.tanks_of(station_id)
            ],
        }

    def quality(self, station_id: str) -> tuple[StationQuality, float]:
        """How a station's data are, and the age of its newest good value in seconds."""
        devices = self._devices.get(station_id, ())
        now_us = to_us(self._engine.clock.now())
        ages = [(now_us - d.last_good_us) / 1e6 for d in devices if d.last_good_us]
        age = max(0.0, min(ages, default=float("inf")))
        if not any(d.connected for d in devices):
            return StationQuality.OFFLINE, age
        return (StationQuality.STALE if age > STALE_S else StationQuality.GOOD), age

    def frame(self) -> bytes:
        """The state of everything now."""
        engine = self._engine
        latest = engine.hub.latest
        qualities = [self.quality(s.station_id) for s in self.stations]  # follows the register first
        n = len(self._cells)
        numbers = np.zeros((3, n), np.float32)
        states = np.full(n, int(CellState.OFFLINE), np.uint8)
        for i, (at, cell) in enumerate(zip(self._nozzles, self._cells, strict=True)):
            if at is None or not at[0].connected:
                continue
            for row in range(3):
                numbers[row, i] = _number(latest.get(cell[row]), 0.0)
            state = latest.get(cell[3])
            if state is not None and state.quality.is_good and state.value in _STATES:
                states[i] = int(state.value)
            else:
                states[i] = int(CellState.STALE)
        fills = np.array([_number(latest.get(path), np.nan) / full for path, full in self._tanks], np.float32)
        head = HEADER.pack(b"PW01", self.version, engine.clock.now().timestamp(), len(self.stations), n, len(fills), 0)
        ages = np.array([min(age, 1e9) for _, age in qualities], np.float32)
        sold = np.array([engine.sales.litres(s.station_id) for s in self.stations], np.float32)
        levels = np.array([int(q) for q, _ in qualities], np.uint8)
        columns = (ages, sold, *numbers, fills, levels, states)
        return b"".join([head, *(c.astype(c.dtype.newbyteorder("<")).tobytes() for c in columns)])

    async def alarms(self) -> dict[str, Any]:
        """The alarm list as a message."""
        recent = await self._engine.alarms.recent(CLEARED_SHOWN_H)
        return {"type": "alarms", "alarms": [to_json(a) for a in recent]}

    async def run(self) -> None:
        """Make one frame a second until cancelled."""
        clock = self._engine.clock
        while True:
            second = int(clock.now().timestamp())
            self._frame = self.frame()
            self._new_frame.set()
            self._new_frame = asyncio.Event()
            await clock.sleep(1.0 - clock.now().timestamp() % 1.0)
            while int(clock.now().timestamp()) == second:  # a timer may ring a hair early
                await clock.sleep(1.0 - clock.now().timestamp() % 1.0)

    async def serve(self, socket: WebSocket) -> None:
        """Feed one socket until it goes. A slow socket misses frames; nothing queues up."""
        layout = self.layout
        await socket.send_json(layout)
        frames = asyncio.create_task(self._send_frames(socket, layout))
        alarms = asyncio.create_task(self._send_alarms(socket))
        gone = asyncio.create_task(until_gone(socket))
        tasks = {frames, alarms, gone}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_frames(self, socket: WebSocket, told: object) -> None:
        while True:
            arrived, layout, frame = self._new_frame, self.layout, self._frame
            if layout is not told:
                await socket.send_json(layout)
                told = layout
            if frame:
                await socket.send_bytes(frame)
            await arrived.wait()

    async def _send_alarms(self, socket: WebSocket) -> None:
        changes = self._engine.alarms.subscribe()
        while True:
            await socket.send_json(await self.alarms())
            await changes.next()


async def until_gone(socket: WebSocket) -> None:
    """Return when the other side has hung up; what it sends is not for us."""
    with suppress(RuntimeError):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return


def _number(last: Last | None, otherwise: float) -> float:
    if last is None or last.quality.is_bad or not isinstance(last.value, int | float):
        return otherwise
    return float(last.value)


def iso(at: datetime | None) -> str | None:
    """ISO 8601 with Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None
