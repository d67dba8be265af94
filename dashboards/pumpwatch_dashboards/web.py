"""What browsers ask of this process: the live feed, facts passed on from the API, and an operator's acts on alarms."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from tornado.routing import Matcher
from tornado.web import Finish, RequestHandler, StaticFileHandler
from tornado.websocket import WebSocketHandler

from pumpwatch.errors import BadReply, NotReachable
from pumpwatch_dashboards.api import DRAWING_S, Api, Reply
from pumpwatch_dashboards.feed import LiveFeed, Outlet
from pumpwatch_dashboards.indication import indications
from pumpwatch_dashboards.policy import Doors, StrangeHost

ASSETS = Path(__file__).parent / "assets"
LARGEST_ACT = 4_096
"""Bytes of a posted act."""
_ID = r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})"
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,40}")
_NOTE = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]{0,500}")
_QUERY = {
    "limit": re.compile(r"[0-9]{1,5}"),
    "state": re.compile(r"current|all"),
    "format": re.compile(r"csv|json"),
}
_FIGURE_QUERY = {
    "language": re.compile(r"zh|en"),
    "theme": re.compile(r"light|dark"),
    "width": re.compile(r"[0-9]{3,4}"),
    "finding": re.compile(r"[0-9a-f]{1,64}"),
}
_PICTURES = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True, slots=True)
class House:
    """What every handler of this process shares."""

    api: Api
    feed: LiveFeed
    doors: Doors


class LiveSocket(WebSocketHandler):
    """A browser's WebSocket: hears the feed, says nothing."""

    def initialize(self, house: House) -> None:
        """Tornado hands over what the route names."""
        self._house = house
        self._outlet = Outlet(self._send)

    def check_origin(self, origin: str) -> bool:
        """Only our own pages may listen."""
        return self._house.doors.knows_origin(origin)

    def open(self, *args: str, **kwargs: str) -> None:
        """Start listening."""
        self.set_nodelay(True)
        self._house.feed.add(self._outlet)

    def on_message(self, message: str | bytes) -> None:
        """Browsers have nothing to say here."""
        self.close(1008, "nothing is expected from a browser here")

    def on_close(self) -> None:
        """Stop listening."""
        self._house.feed.remove(self._outlet)

    async def _send(self, message: str | bytes) -> None:
        await self.write_message(message, binary=isinstance(message, bytes))


class _Door(RequestHandler):
    """Plain answers, also for what is refused."""

    def initialize(self, house: House) -> None:
        self._house = house

    def refuse(self, status: int, error: str, detail: str) -> None:
        """Answer with an error and stop."""
        self.set_status(status)
        self.answer({"error": error, "detail": detail})
        raise Finish

    def answer(self, facts: object) -> None:
        """Answer with JSON."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.write(json.dumps(facts, ensure_ascii=False))

    def pass_on(self, reply: Reply) -> None:
        """Answer with what the API answered."""
        self.set_status(reply.status)
        csv = reply.content_type.startswith("text/csv")
        self.set_header("Content-Type", "text/csv; charset=utf-8" if csv else "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        if csv:
            self.set_header("Content-Disposition", 'attachment; filename="alarms.csv"')
        self.write(reply.body)

    def query(self, known: Mapping[str, re.Pattern[str]] = _QUERY) -> dict[str, str | int]:
        """Return the query keys we know; an unknown or odd one is an error, not a surprise further in."""
        found: dict[str, str | int] = {}
        for name, values in self.request.query_arguments.items():
            value = values[-1].decode("utf-8", "replace")
            if name not in known or not known[name].fullmatch(value):
                self.refuse(400, "bad_query", f"{name} is not understood here")
            found[name] = value
        return found


class Facts(_Door):
    """GET: one resource of the API, passed on unchanged."""

    def initialize(self, house: House, path: Sequence[str] = ()) -> None:
        """Tornado hands over what the route names."""
        super().initialize(house)
        self._path = path

    async def get(self, *ids: str) -> None:
        """Fill the ids of the address into the resource's path."""
        left = iter(ids)
        try:
            self.pass_on(await self._house.api.get(*(part or next(left) for part in self._path), query=self.query()))
        except NotReachable as error:
            self.refuse(503, "not_reachable", str(error))


class Picture(_Door):
    """GET: a figure of an alarm, as the API draws it.

    ``finding`` says which finding's figure is wanted; it is there so that a browser asks again when that is another.
    """

    async def get(self, alarm_id: str, number: str, form: str) -> None:
        """Pass the picture on, or what the API says instead."""
        query = self.query(_FIGURE_QUERY)
        query.pop("finding", None)
        try:
            reply = await self._house.api.get(
                "alarms", alarm_id, "figures", f"{number}.{form}", query=query, timeout_s=DRAWING_S
            )
        except NotReachable as error:
            self.refuse(503, "not_reachable", str(error))
            return
        if reply.status != 200 or not reply.content_type.startswith(_PICTURES[form]):
            self.pass_on(reply)
            return
        self.set_header("Content-Type", _PICTURES[form])
        self.set_header("Cache-Control", "private, max-age=30")
        self.set_header("Content-Disposition", reply.disposition or "inline")
        self.write(reply.body)


class Indications(_Door):
    """GET: the indication error of each nozzle of a station, pooled over the sales the API knows."""

    SALES: ClassVar[int] = 1_000

    async def get(self, station_id: str) -> None:
        """Ask for the sales and pool them."""
        try:
            sales = await self._house.api.rows("stations", station_id, "transactions", query={"limit": self.SALES})
        except NotReachable as error:
            self.refuse(503, "not_reachable", str(error))
        except BadReply as error:
            self.refuse(502, "bad_reply", str(error))
        else:
            self.answer([asdict(nozzle) for nozzle in indications(sales)])


class Act(_Door):
    """POST: a person acknowledges an alarm, or clears it with a note."""

    def prepare(self) -> None:
        """A form or a page of another server cannot send this: JSON type and our own Origin are demanded."""
        if self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            self.refuse(415, "not_json", "send application/json")
        if not self._house.doors.knows_origin(self.request.headers.get("Origin")):
            self.refuse(403, "strange_origin", "acts are taken from this server's own pages only")
        if len(self.request.body) > LARGEST_ACT:
            self.refuse(413, "too_large", f"an act is at most {LARGEST_ACT} bytes")

    async def post(self, alarm_id: str, act: str) -> None:
        """Check who and why, then pass it on."""
        try:
            said = json.loads(self.request.body)
        except ValueError:
            said = None
        if (
            not isinstance(said, dict)
            or not isinstance(said.get("by"), str)
            or not isinstance(said.get("note", ""), str)
        ):
            self.refuse(422, "bad_act", 'send {"by": "name", "note": "text"}')
            return
        by, note = said["by"].strip(), said.get("note", "").strip()
        if not _NAME.fullmatch(by):
            self.refuse(422, "no_name", "an act needs the name of who does it, at most 40 characters")
        if not _NOTE.fullmatch(note) or (act == "clear" and not note):
            self.refuse(422, "no_note", "clearing an alarm needs a note, at most 500 characters")
        try:
            self.pass_on(await self._house.api.post("alarms", alarm_id, act, body={"by": by, "note": note}))
        except NotReachable as error:
            self.refuse(503, "not_reachable", str(error))


class Refusal(_Door):
    """Any method, any address: a request that calls this server by another name."""

    def prepare(self) -> None:
        """Refuse before anything is looked at."""
        self.refuse(403, "strange_host", "this server is not called that; start it with --origin HOST:PORT")


class Asset(StaticFileHandler):
    """Our own scripts and styles; the browser asks each time whether they changed."""

    def set_extra_headers(self, path: str) -> None:
        """Revalidate by the digest in the Etag."""
        self.set_header("Cache-Control", "no-cache")


def routes(house: House) -> list[tuple[str | Matcher, type[RequestHandler], dict[str, object]]]:
    """Every address besides the pages; the first also guards those."""
    shared: dict[str, object] = {"house": house}
    return [
        (StrangeHost(house.doors), Refusal, shared),
        (r"/live", LiveSocket, shared),
        (rf"/data/stations/{_ID}", Facts, shared | {"path": ("stations", "")}),
        (rf"/data/stations/{_ID}/transactions", Facts, shared | {"path": ("stations", "", "transactions")}),
        (rf"/data/stations/{_ID}/indications", Indications, shared),
        (r"/data/alarms", Facts, shared | {"path": ("alarms",)}),
        (rf"/data/alarms/{_ID}/(acknowledge|clear)", Act, shared),
        (rf"/data/alarms/{_ID}/figures/([0-9]{{1,3}})\.(svg|png)", Picture, shared),
        (r"/assets/(.*)", Asset, {"path": str(ASSETS)}),
    ]
