"""A stand-in for the API with its addresses and wire formats and invented data, to test the dashboards by themselves.

``python tests/dashboards/stand_in_api.py --port 8081`` serves it. ``POST /stand-in/show?scene=flood&stations=5``
changes what it shows, ``hold`` stops the frames, ``go`` lets them flow again, ``reset`` takes back every act.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import sys
from datetime import datetime
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from stand_in_alarms import figure, iso
from stand_in_county import County
from starlette.websockets import WebSocketDisconnect

from pumpwatch.figures import Look, to_png, to_svg
from pumpwatch.model import Severity


class StandIn:
    """The county shown now, and what tells the sockets that something changed."""

    def __init__(self, county: County, token: str | None) -> None:
        self.county, self.token = county, token
        self.sending = True
        self.revision = 0
        self.changed = asyncio.Condition()
        self.acts: list[dict[str, str]] = []

    def allows(self, headers: Any) -> bool:
        return self.token is None or headers.get("authorization") == f"Bearer {self.token}"

    async def change(self) -> None:
        self.revision += 1
        async with self.changed:
            self.changed.notify_all()

    def act(self, alarm_id: str, act: str, by: str, note: str) -> dict[str, Any]:
        alarm = next((a for a in self.county.alarms if a["id"] == alarm_id), None)
        if alarm is None:
            raise HTTPException(404, f"no alarm {alarm_id!r}")
        self.acts.append({"id": alarm_id, "act": act, "by": by, "note": note})
        at = iso(self.county.now())
        if act == "clear" or alarm["state"] == "returned":
            alarm |= {"state": "cleared", "cleared_at": at, "cleared_by": by}
        else:
            alarm |= {"state": "acknowledged", "acknowledged_at": at, "acknowledged_by": by}
        alarm["log"] = [*alarm["log"], {"at": at, "act": act, "by": by, "note": note}]
        return alarm

    async def feed(self, socket: WebSocket) -> None:
        shown, told = None, -1
        while True:
            if shown is not self.county:
                shown = self.county
                await socket.send_json(shown.layout())
            if told != self.revision:
                told = self.revision
                await socket.send_json({"type": "alarms", "alarms": self.county.alarms})
            if self.sending:
                await socket.send_bytes(self.county.frame())
            try:
                async with asyncio.timeout(1.0), self.changed:
                    await self.changed.wait()
            except TimeoutError:
                continue


def create_app(stand_in: StandIn) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        if not stand_in.allows(request.headers):
            return Response('{"error": "this server wants its token"}', 401, media_type="application/json")
        answer: Response = await call_next(request)
        return answer

    def known(station_id: str) -> str:
        if station_id not in {s["station_id"] for s in stand_in.county.stations}:
            raise HTTPException(404, f"no station {station_id!r}")
        return station_id

    @app.get("/api/v1/stations/{station_id}")
    async def station(station_id: str) -> dict[str, Any]:
        return stand_in.county.station(known(station_id))

    @app.get("/api/v1/stations/{station_id}/transactions")
    async def transactions(station_id: str, limit: int = 50) -> list[dict[str, Any]]:
        return stand_in.county.transactions(known(station_id), limit)

    @app.get("/api/v1/series")
    async def series(path: str, start: datetime, end: datetime) -> dict[str, Any]:
        return stand_in.county.series(path, start, end)

    @app.get("/api/v1/alarms")
    async def alarms(state: str = "current", limit: int = 200, format: str = "json") -> Any:  # noqa: A002
        county = stand_in.county
        rows = county.history() if state == "all" else [a for a in county.alarms if a["state"] != "cleared"]
        if format != "csv":
            return rows[:limit]
        text = io.StringIO()
        csv.writer(text).writerows([["id", "rule", "state"], *([a["id"], a["rule"], a["state"]] for a in rows[:limit])])
        return Response("\ufeff" + text.getvalue(), media_type="text/csv; charset=utf-8")

    @app.get("/api/v1/alarms/{alarm_id}/figures/{number}.{form}")
    def drawn(
        alarm_id: str, number: int, form: str, language: str = "zh", theme: str = "light", width: int = 760
    ) -> Response:
        alarm = next((a for a in stand_in.county.alarms if a["id"] == alarm_id), None)
        if alarm is None or number >= len(alarm["finding"]["figures"]):
            raise HTTPException(404, f"no figure {number} of {alarm_id!r}")
        look = Look(width, theme == "dark", Severity(alarm["severity"]))
        draw, kind = (to_svg, "image/svg+xml") if form == "svg" else (to_png, "image/png")
        name = f'inline; filename="{alarm_id}.{form}"'
        picture = draw(figure(datetime.fromisoformat(alarm["raised_at"])), language, look)  # type: ignore[arg-type]
        return Response(picture, media_type=kind, headers={"content-disposition": name})

    @app.post("/api/v1/alarms/{alarm_id}/{act}")
    async def act(alarm_id: str, act: str, request: Request) -> dict[str, Any]:
        said = await request.json()
        alarm = stand_in.act(alarm_id, act, said["by"], said["note"])
        await stand_in.change()
        return alarm

    @app.post("/stand-in/{what}")
    async def control(what: str, scene: str = "one", stations: int = 46) -> list[dict[str, str]]:
        stand_in.sending = what != "hold"
        if what == "show":
            stand_in.county = County(stations, frozen=stand_in.county.frozen, scene=scene)
        if what in {"reset", "show"}:
            stand_in.county.reset()
        await stand_in.change()
        acts, stand_in.acts = stand_in.acts, []
        return acts

    @app.websocket("/api/v1/live")
    async def live(socket: WebSocket) -> None:
        if not stand_in.allows(socket.headers):
            await socket.close(4401)
            return
        await socket.accept()
        try:
            await stand_in.feed(socket)
        except (WebSocketDisconnect, RuntimeError):
            return

    return app


async def serve(asked: argparse.Namespace) -> None:
    stand_in = StandIn(County(asked.stations, frozen=asked.freeze, scene=asked.scene), asked.token)
    config = uvicorn.Config(create_app(stand_in), port=asked.port, log_level="warning", ws="websockets-sansio")
    config.load()
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    socket.listen()  # whoever reads the address may come at once
    sys.stdout.write(f"stand-in on http://127.0.0.1:{socket.getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve([socket])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--stations", type=int, default=46)
    parser.add_argument("--scene", choices=["one", "calm", "flood", "hostile"], default="one")
    parser.add_argument("--freeze", action="store_true", help="keep time and pulse still")
    parser.add_argument("--token")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
