"""The routes: stations, history, alarms and the live feed, all under ``/api/v1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from pumpwatch import __version__
from pumpwatch.alarms import UnknownAlarm, to_json
from pumpwatch.api.asking import asking_router
from pumpwatch.api.calls import calls_router
from pumpwatch.api.detecting import detecting_router
from pumpwatch.api.exchange import exchange_router
from pumpwatch.api.figures import figures_router
from pumpwatch.api.guard import Guard
from pumpwatch.api.live import LiveFeed, StationQuality, iso
from pumpwatch.api.looking import looking_router
from pumpwatch.api.tables import Form, Format, list_answer
from pumpwatch.errors import NotReachable, PumpwatchError, Refused
from pumpwatch.model import from_us

if TYPE_CHECKING:
    from pumpwatch.engine import Engine
    from pumpwatch.hub import Last
    from pumpwatch.model import DeviceIdentity, Dispenser

IDENTITY = ("serial", "mainboard_serial", "firmware_version", "firmware_digest", "tax_serial")


class Act(BaseModel):
    """What a person does to an alarm."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    by: str = Field(min_length=1, max_length=80, description="Who does it")
    note: str = Field(default="", max_length=2000)


def create_app(engine: Engine, token: str | None = None) -> FastAPI:
    """The API of one engine. Without ``token`` it answers loopback clients only; see ``guard``."""
    feed = LiveFeed(engine)

    app = FastAPI(title="pumpwatch", version=__version__, docs_url=None, redoc_url=None)
    app.state.feed = feed
    app.include_router(_router(engine, feed))
    app.include_router(asking_router(engine))
    app.include_router(looking_router(engine))
    app.include_router(exchange_router(engine))
    app.include_router(detecting_router(engine))
    app.include_router(figures_router(engine))
    app.include_router(calls_router(engine))
    app.add_exception_handler(PumpwatchError, _explain)
    app.add_exception_handler(HTTPException, _explain)
    app.add_exception_handler(RequestValidationError, _explain)
    app.add_middleware(Guard, token=token)
    return app


async def _explain(_: Request, error: Exception) -> JSONResponse:
    """Every error is ``{"error": words}`` with a status that says whose move it is."""
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    if isinstance(error, RequestValidationError):
        wrong = [f"{'.'.join(map(str, e['loc'][1:])) or e['loc'][0]}: {e['msg']}" for e in error.errors()]
        return JSONResponse({"error": "; ".join(wrong)}, 422)
    status = 409 if isinstance(error, Refused) else 503 if isinstance(error, NotReachable) else 400
    return JSONResponse({"error": str(error)}, 404 if isinstance(error, UnknownAlarm) else status)


def _router(engine: Engine, feed: LiveFeed) -> APIRouter:
    router = APIRouter(prefix="/api/v1")
    view = _View(engine, feed)

    @router.get("/status")
    async def status() -> dict[str, Any]:
        return engine.status()

    @router.get("/plugins")
    async def plugins() -> list[dict[str, Any]]:
        return [
            {"name": p.name, "source": p.source, "state": p.state, "reason": p.reason, "provides": p.provides}
            for p in engine.plugins.found
        ]

    @router.get("/stations")
    async def stations(format: Format = Form.JSON) -> Response:  # noqa: A002 - the query parameter's name
        return list_answer([view.station(s.station_id) for s in feed.stations], format, "stations")

    @router.get("/stations/{station_id}")
    async def station(station_id: str) -> dict[str, Any]:
        return view.detail(station_id)

    @router.get("/alarms")
    async def alarms(
        state: Literal["current", "all"] = "current",
        limit: Annotated[int, Query(ge=1, le=100_000)] = 200,
        format: Format = Form.JSON,  # noqa: A002
    ) -> Response:
        found = engine.alarms.current()[:limit] if state == "current" else await engine.alarms.history(limit)
        rows = [to_json(a) for a in found]
        return list_answer([_flat(r) for r in rows] if format is not Form.JSON else rows, format, "alarms")

    @router.post("/alarms/{alarm_id}/acknowledge")
    async def acknowledge(alarm_id: str, act: Act) -> dict[str, Any]:
        return to_json(await engine.alarms.acknowledge(alarm_id, act.by, act.note))

    @router.post("/alarms/{alarm_id}/clear")
    async def clear(alarm_id: str, act: Act) -> dict[str, Any]:
        return to_json(await engine.alarms.clear(alarm_id, act.by, act.note))

    @router.post("/drivers/{name}/reload")
    async def reload_driver(name: str) -> dict[str, Any]:
        return {"devices": await engine.reload(name)}

    @router.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await feed.serve(socket)

    return router


class _View:
    """Model to JSON, with what the ledger knows beside what the devices say."""

    def __init__(self, engine: Engine, feed: LiveFeed) -> None:
        self._engine = engine
        self._feed = feed

    def known(self, station_id: str) -> None:
        if all(station_id != s.station_id for s in self._feed.stations):
            raise HTTPException(404, f"no station {station_id!r}; GET /api/v1/stations lists them")

    def station(self, station_id: str) -> dict[str, Any]:
        devices = [d for d in self._engine.acquisition.devices if d.site.station_id == station_id]
        quality, age = self._feed.quality(station_id)
        entry = self._feed.entry(station_id)
        entry["nozzles"], entry["tanks"] = len(entry["nozzles"]), len(entry["tanks"])
        return entry | {
            "connected": quality is not StationQuality.OFFLINE,
            "quality": quality.name.lower(),
            "age_s": round(age, 1) if age < 1e9 else None,
            "devices": len(devices),
            "devices_connected": sum(bool(d.connected) for d in devices),
            "sold_today_l": round(self._engine.sales.litres(station_id), 2),
            "scan_delay_p99_ms": self._engine.acquisition.delay_ms(99, station_id),
        }

    def detail(self, station_id: str) -> dict[str, Any]:
        self.known(station_id)
        engine = self._engine
        station = engine.register.station(station_id)
        quality, _ = self._feed.quality(station_id)
        devices = [d for d in engine.acquisition.devices if d.site.station_id == station_id]
        gauges = {t: (d, i) for d in devices for i, t in enumerate(d.site.tank_ids, 1)}
        tanks = []
        for entry in self._feed.entry(station_id)["tanks"]:
            device, number = gauges.get(entry["tank_id"], (None, 0))
            prefix = f"{device.path}/tank-{number}." if device else ""
            levels = {w: engine.hub.latest.get(prefix + w) for w in ("volume", "height", "water", "temperature")}
            volume = levels["volume"]
            tanks.append(
                entry
                | {
                    "volume_l": _good(levels["volume"]),
                    "height_mm": _good(levels["height"]),
                    "water_mm": _good(levels["water"]),
                    "temperature_c": _good(levels["temperature"]),
                    "at": iso(from_us(volume.at_us)) if volume else None,
                    "quality": int(volume.quality) if volume else None,
                    "path": prefix,
                }
            )
        expires = station.retail_licence_expires if station else None
        return self._feed.entry(station_id) | {
            "connected": quality is not StationQuality.OFFLINE,
            "quality": quality.name.lower(),
            "retail_licence_expires": expires.isoformat() if expires else None,
            "devices": [
                {
                    "device_id": d.site.device_id,
                    "driver": d.driver.name,
                    "connected": d.connected,
                    "reason": d.reason,
                    "since": iso(d.since),
                    "dispenser_id": d.site.dispenser_id,
                    "nozzle_ids": d.site.nozzle_ids,
                    "tank_ids": d.site.tank_ids,
                }
                for d in devices
            ],
            "dispensers": [self._dispenser(d) for d in engine.register.dispensers if d.station_id == station_id],
            "tanks": tanks,
        }

    def _dispenser(self, dispenser: Dispenser) -> dict[str, Any]:
        observed = self._engine.history.latest_identity(dispenser.dispenser_id)
        encoders = {n.nozzle_id: n.encoder_serial for n in self._engine.register.nozzles_of(dispenser.dispenser_id)}
        return {
            "dispenser_id": dispenser.dispenser_id,
            "brand": dispenser.brand,
            "model": dispenser.model,
            "registered": {f: getattr(dispenser, f) for f in IDENTITY} | {"encoder_serials": encoders},
            "observed": _observed(observed),
            "matches": _matches(dispenser, encoders, observed),
        }


def _observed(identity: DeviceIdentity | None) -> dict[str, Any] | None:
    if identity is None:
        return None
    seen = {f: getattr(identity, f) for f in IDENTITY}
    return seen | {"encoder_serials": dict(identity.encoder_serials), "at": iso(identity.at)}


def _matches(registered: Dispenser, encoders: dict[str, str | None], observed: DeviceIdentity | None) -> bool | None:
    """Whether all that is both registered and observed agrees; None when nothing can be compared."""
    if observed is None:
        return None
    pairs = [(getattr(registered, f), getattr(observed, f)) for f in IDENTITY]
    pairs += [(encoders.get(n), serial) for n, serial in observed.encoder_serials.items()]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return all(a == b for a, b in known) if known else None


def _good(last: Last | None) -> float | str | None:
    return last.value if last and not last.quality.is_bad else None


def _flat(alarm: dict[str, Any]) -> dict[str, Any]:
    """An alarm as one spreadsheet row."""
    subject: dict[str, Any] = alarm["subject"]
    finding = alarm["finding"]
    row: dict[str, Any] = {k: v for k, v in alarm.items() if k not in {"finding", "log", "subject", "departments"}}
    estimate = finding.get("estimate") or {}
    return (
        row
        | subject
        | {
            "departments": " ".join(alarm["departments"]),
            "title_zh": finding["explanation"]["title"]["zh"],
            "title_en": finding["explanation"]["title"]["en"],
            "estimate": estimate.get("value"),
            "unit": estimate.get("unit"),
        }
    )
