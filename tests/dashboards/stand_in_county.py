"""An invented county with a pulse for the stand-in API: layout, frames, stations, sales, series and alarms."""

from __future__ import annotations

import math
import random
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from stand_in_alarms import HOSTILE, current, earlier, iso

FROZEN = datetime(2026, 11, 22, 6, 9, 34, tzinfo=UTC)
TOWNS = (
    *(("西岭", "West", 5), ("北原", "North", 5), ("柳沟", "Willow", 4), ("石桥", "Bridge", 5), ("城关", "Centre", 9)),
    *(("东河", "East", 5), ("青山", "Green", 4), ("南塘", "South", 5), ("口岸", "Port", 4), ("高台", "Terrace", 5)),
    *(("平川", "Plain", 5), ("临水", "River", 4)),
)
HAN = "一二三四五六七八九"
GRADES = ("92#", "92#", "95#", "0#")
PRICES = {"92#": 7.42, "95#": 7.93, "98#": 8.71, "0#": 7.05}
IDLE, LIFTED, FUELLING, STOPPED, LOCKED, STALE, OFFLINE = range(7)
BOARDS = ("3F09", "3F12", "3F0C", "3F44", "3F51")


class County:
    """``stations`` of them; ``frozen`` keeps time and pulse still, for pictures."""

    def __init__(self, stations: int = 46, *, frozen: bool = False, scene: str = "one") -> None:
        self.frozen, self.scene = frozen, scene
        self.born = FROZEN if frozen else datetime.now(UTC)
        self.chance = random.Random(20261122)
        places = [(t, i) for t, (_, _, n) in enumerate(TOWNS) for i in range(n)][:stations]
        self.stations = [self._station(t, i, k) for k, (t, i) in enumerate(places)]
        self.version = 4_022_250_000 + stations
        self.sold = [4000 + self.chance.random() * 14000 for _ in self.stations]
        self.fill = {t["tank_id"]: 0.22 + self.chance.random() * 0.62 for s in self.stations for t in s["tanks"]}
        self.quality = {"S37": 2, "S14": 1} if scene != "calm" else {}
        self.nozzles = {n["nozzle_id"]: self._start() for s in self.stations for n in s["nozzles"]}
        self._preset()
        self.reset()

    def now(self) -> datetime:
        return FROZEN if self.frozen else datetime.now(UTC)

    def reset(self) -> None:
        """Take back what people did to the alarms."""
        self.alarms = current(self.scene, self.born, {s["station_id"] for s in self.stations})

    def history(self) -> list[dict[str, Any]]:
        return self.alarms + (earlier(self.born, self.alarms[-1]) if self.alarms else [])

    def entry(self, station_id: str) -> dict[str, Any]:
        return next(s for s in self.stations if s["station_id"] == station_id)

    # ------------------------------------------------------------ the forecourts

    def _station(self, t: int, i: int, k: int) -> dict[str, Any]:
        zh, en, n = TOWNS[t]
        station_id, chance = f"S{k + 1:02d}", self.chance
        out, turn = 0.36 * math.sqrt((i + 0.5) / n), i * 2.4 + chance.random()
        count = {"S22": 12, "S28": 20}.get(station_id) or chance.choice((6, 8, 8, 10, 10, 12, 12, 14, 16))
        name, name_en = f"示例{zh}{HAN[i]}站", f"Demo {en} {i + 1}"
        if self.scene == "hostile" and k == 0:
            name = name_en = HOSTILE
        nozzles = [
            {"nozzle_id": f"{station_id}-N{j + 1:02d}", "number": j + 1, "dispenser_id": f"{station_id}-D{j // 4 + 1}"}
            | {"grade": GRADES[j % 4]}
            for j in range(count)
        ]
        tanks = [
            {
                "tank_id": f"{station_id}-T{j + 1}",
                "number": j + 1,
                "grade": g,
                "capacity_l": 20000.0 if j == 2 else 30000.0,
            }
            for j, g in enumerate(("92#", "92#", "95#", "0#"))
        ]
        return {
            "station_id": station_id,
            "name": name,
            "name_en": name_en,
            "short_name": name,
            "short_name_en": name_en,
            "town": zh,
            "town_en": en,
            "ownership": "private" if k % 3 else "state",
            "latitude": 41.3 + 0.3 * (1 - t // 3 - out * math.sin(turn)),
            "longitude": 108.5 + 0.4 * (t % 3 - 1 + out * math.cos(turn)),
            "nozzles": nozzles,
            "tanks": tanks,
        }

    def _start(self) -> dict[str, float]:
        r, chance = self.chance.random(), self.chance
        to = 12 + chance.random() * 42
        if r < 0.15:
            return {"state": FUELLING, "to": to, "l": chance.random() * to, "wait": 0}
        if r < 0.20:
            return {"state": LIFTED if r < 0.18 else STOPPED, "to": to, "l": 0.7 * to, "wait": 5}
        return {"state": IDLE, "to": to, "l": 0.0, "wait": chance.random() * 40}

    def _preset(self) -> None:
        busy = {1: (FUELLING, 18.36), 3: (FUELLING, 27.43), 5: (STOPPED, 33.33), 6: (LIFTED, 0.0), 9: (FUELLING, 46.02)}
        for number in range(1, 13):
            state, litres = busy.get(number, (IDLE, 0.0))
            if f"S22-N{number:02d}" in self.nozzles:
                self.nozzles[f"S22-N{number:02d}"] = {"state": state, "l": litres, "to": litres + 9, "wait": 30}
        if "S41-N05" in self.nozzles:
            self.nozzles["S41-N05"]["state"] = LOCKED

    def step(self) -> None:
        """One second of forecourt life."""
        chance = self.chance
        for nozzle in self.nozzles.values():
            if nozzle["state"] == FUELLING:
                nozzle["l"] = min(nozzle["to"], nozzle["l"] + 0.45 + chance.random() * 0.25)
                if nozzle["l"] >= nozzle["to"]:
                    nozzle |= {"state": STOPPED, "wait": 4 + chance.random() * 10}
            elif nozzle["state"] in (STOPPED, LIFTED, IDLE):
                nozzle["wait"] -= 1
                if nozzle["wait"] < 0 and nozzle["state"] == STOPPED:
                    nozzle |= {"state": IDLE, "wait": 20 + chance.random() * 90}
                elif nozzle["wait"] < 0 and nozzle["state"] == LIFTED:
                    nozzle |= {"state": FUELLING, "l": 0.0, "to": 12 + chance.random() * 42}
                elif nozzle["wait"] < 0 and chance.random() < 0.05:
                    nozzle |= {"state": LIFTED, "wait": 3 + chance.random() * 6}
        self.sold = [v + 0.5 * chance.random() for v in self.sold]

    # ------------------------------------------------------------ the feed

    def layout(self) -> dict[str, Any]:
        server = {"name": "示例县", "name_en": "Demo county", "time_zone": "Asia/Shanghai"}
        return {"type": "layout", "version": self.version, "server": server, "stations": self.stations}

    def frame(self) -> bytes:
        if not self.frozen:
            self.step()
        quality = [self.quality.get(s["station_id"], 0) for s in self.stations]
        late = [{0: 0.8, 1: 250.0, 2: 14.2 * 60}[q] for q in quality]
        volume, amount, flow, states = [], [], [], []
        for s, q in zip(self.stations, quality, strict=True):
            for n in s["nozzles"]:
                now = self.nozzles[n["nozzle_id"]]
                litres = now["l"] if now["state"] in (FUELLING, STOPPED) else 0.0
                volume.append(litres)
                amount.append(litres * PRICES[n["grade"]])
                flow.append(38.2 - n["number"] / 3 if now["state"] == FUELLING and not q else 0.0)
                states.append((int(now["state"]), STALE, OFFLINE)[q])
        fill = [math.nan if k.partition("-")[0] in self.quality else v for k, v in self.fill.items()]
        sizes = (len(quality), len(states), len(fill))
        head = struct.pack("<4sIdIIII", b"PW01", self.version, self.now().timestamp(), *sizes, 0)
        floats = [*late, *self.sold, *volume, *amount, *flow, *fill]
        return head + struct.pack(f"<{len(floats)}f", *floats) + bytes(quality) + bytes(states)

    # ------------------------------------------------------------ a station's facts

    def station(self, station_id: str) -> dict[str, Any]:
        entry = self.entry(station_id)
        off = self.quality.get(station_id) == 2
        link = {"connected": not off, "reason": "10.0.0.37:502 does not answer" if off else "", "since": iso(self.born)}
        names = sorted({n["dispenser_id"] for n in entry["nozzles"]})
        nozzles = {d: [n["nozzle_id"] for n in entry["nozzles"] if n["dispenser_id"] == d] for d in names}
        devices = [
            {
                "device_id": d.rpartition("-")[2],
                "driver": "modbus",
                "dispenser_id": d,
                "nozzle_ids": nozzles[d],
                "tank_ids": [],
            }
            for d in names
        ]
        tanks = [t["tank_id"] for t in entry["tanks"]]
        devices += [{"device_id": "TLS", "driver": "tls350", "dispenser_id": None, "nozzle_ids": [], "tank_ids": tanks}]
        return entry | {
            "connected": not off,
            "retail_licence_expires": "2027-06-30",
            "tanks": [self._tank(t, station_id, i, off=off) for i, t in enumerate(entry["tanks"])],
            "devices": [d | link for d in devices],
            "dispensers": [self._dispenser(d, nozzles[d], i, off=off) for i, d in enumerate(names)],
        }

    def _tank(self, tank: dict[str, Any], station_id: str, i: int, *, off: bool) -> dict[str, Any]:
        quality = 0x81 if off else 0x41 if self.quality.get(station_id) else 0
        return tank | {
            "volume_l": None if off else self.fill[tank["tank_id"]] * tank["capacity_l"],
            "height_mm": None if off else (1498, 873, 1102, 1960)[i],
            "water_mm": None if off else (8, 6, 11, 4)[i],
            "temperature_c": None if off else (14.2, 14.0, 13.8, 12.9)[i],
            "at": iso(self.now()),
            "quality": quality,
            "path": f"{station_id}/TLS/tank-{i + 1}.",
        }

    def _dispenser(self, dispenser_id: str, nozzles: list[str], i: int, *, off: bool) -> dict[str, Any]:
        identity: dict[str, Any] = {"serial": f"DX4-{i:04d}", "mainboard_serial": BOARDS[i], "firmware_version": "4.02"}
        identity |= {"firmware_digest": "a91c" + "7" * 58 + "07", "tax_serial": f"TX-{i:05d}"}
        identity |= {"encoder_serials": {n: f"E-{77300 + k}" for k, n in enumerate(nozzles)}}
        changed = dispenser_id == "S22-D2"
        observed = identity | ({"mainboard_serial": "9A01"} if changed else {}) | {"at": iso(self.born)}
        return {
            "dispenser_id": dispenser_id,
            "brand": "示例",
            "model": "DX-4",
            "registered": identity,
            "observed": None if off else observed,
            "matches": None if off else not changed,
        }

    def transactions(self, station_id: str, limit: int) -> list[dict[str, Any]]:
        """260 sales, newest first; nozzle 3 of S22 is short above 25 L, nozzle 12 has sold next to nothing."""
        nozzles, chance, sales = self.entry(station_id)["nozzles"], random.Random(station_id), []
        end = self.born - timedelta(seconds=42)
        for k in range(260):
            nozzle, shown = nozzles[chance.randrange(len(nozzles))], round(8 + chance.random() * 45, 2)
            if nozzle["nozzle_id"] == "S22-N12" and k > 40:
                nozzle = nozzles[0]
            cheat = nozzle["nozzle_id"] == "S22-N03" and shown > 25
            error = 2.41 + chance.gauss(0, 0.12) if cheat else chance.gauss(0.02 * (nozzle["number"] % 5 - 2), 0.06)
            price = PRICES[nozzle["grade"]]
            sale = {"seq": 9000 - k, "start": iso(end - timedelta(seconds=shown * 1.7)), "end": iso(end)}
            sale |= {"volume_l": shown, "amount_cny": round(shown * price, 2), "unit_price": price}
            sale |= {"encoder_l": round(shown / (1 + error / 100), 2), "tax_l": None if k % 23 == 3 else shown}
            sales.append(nozzle | sale | {"station_id": station_id, "payment": "mobile"})
            end -= timedelta(seconds=20 + chance.random() * 150)
        return sales[:limit]

    def series(self, path: str, start: datetime, end: datetime) -> dict[str, Any]:
        """Fillings or a falling level, with a piece in the middle that could not be read."""
        chance = random.Random(path)
        at: list[str] = []
        values: list[float | None] = []
        quality: list[int] = []
        moment, tank, busy, level = start, "/tank-" in path, 0.0, 0.3 + chance.random() * 0.5
        while moment < end:
            gap = 0.55 < (moment - start) / (end - start) < 0.6
            if tank:
                level = 0.9 if chance.random() < 0.002 else max(0.1, level - 0.0004)
                now = level * (20000.0 if "tank-3" in path else 30000.0)
            else:
                busy = 40 + chance.random() * 120 if busy < -200 and chance.random() < 0.08 else busy - 10
                now = 36 + chance.random() * 6 if busy > 0 else 0.0
            at.append(iso(moment))
            values.append(None if gap else now)
            quality.append(0x81 if gap else 0)
            moment += timedelta(seconds=30 if tank else 10)
        return {"path": path, "at": at, "value": values, "quality": quality}
