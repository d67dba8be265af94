"""One device of an OPC UA server: drains what a subscription told, reads the rest at one go, reports what it means."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from pumpwatch import BadConfig, BadReply, Quality, Reading, Refused, Sample, ScanClass, Tag, TagKind
from pumpwatch_opcua.access import Access, load_identity
from pumpwatch_opcua.link import Link, server_node
from pumpwatch_opcua.nodemap import brand_path, load_map
from pumpwatch_opcua.points import Intake, LivePoint
from pumpwatch_opcua.records import Recorder
from pumpwatch_opcua.subscribing import Pace, Subscriber
from pumpwatch_opcua.values import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch import Record, Site, Value
    from pumpwatch_opcua.driver import OpcuaSettings
    from pumpwatch_opcua.values import Update

LOST = Tag("server.lost", "", ScanClass.SLOW, TagKind.COUNTER, "Values that the server's queues lost since the start")
CLOCK = Tag("server.clock_difference", "s", ScanClass.SLOW, TagKind.MEASUREMENT, "Server's clock less ours")
MOST_READY = 1_000_000
"""Samples kept while every read is cut short; then the subscription waits."""
LOOK_AGAIN = timedelta(minutes=1)
"""Browse paths that led nowhere are followed again after this long."""
_CURRENT_TIME = server_node(ObjectIds.Server_ServerStatus_CurrentTime)


class Device:
    """What ``OpcuaDriver`` is behind its contract; apart from it because the library is slow to load."""

    def __init__(self, settings: OpcuaSettings, site: Site, address: str) -> None:
        nodemap = load_map(settings.map or brand_path(settings.brand or ""))
        points = nodemap.points(site, settings.root)
        if not points:
            raise BadConfig(f"map: {nodemap.title!r} has nothing for this device; name its dispenser, nozzles or tanks")
        self._aliases = nodemap.namespaces
        self._points = {point.tag.name: LivePoint(point, handle) for handle, point in enumerate(points, 1)}
        if reserved := {LOST.name, CLOCK.name} & self._points.keys():
            raise BadConfig(f"map: {min(reserved)!r} is the driver's own tag; rename it")
        self._intake = Intake(self._points.values())
        self._records = Recorder(nodemap, site, self._points)
        name = f"{site.station_id}/{site.device_id}"
        self._link = Link(address, _access(settings), name, settings.outage_s)
        self._subscriber = Subscriber(self._link, self._intake.points, _pace(settings))
        self._known_session = 0
        """Of which session namespaces and nodes are known."""
        self._index: dict[str, int] = {}
        self._found = False
        """Whether all nodes of this session have been looked for."""
        self._looked: datetime | None = None
        """When last; those that were not there may have come since."""
        self._ready: list[Sample] = []
        """Samples not yet returned; kept over a read that is cut short."""

    def tags(self) -> Sequence[Tag]:
        """The map's tags of this device, and two of the server's."""
        return [*(point.tag for point in self._points.values()), LOST, CLOCK]

    async def connect(self) -> None:
        """Open or take up the session, find the nodes, subscribe. What is cut short goes on at the next call."""
        if not self._link.address.startswith("opc.tcp://"):
            raise Refused(f"line: {self._link.address!r} is no OPC UA server; write opc.tcp://HOST:PORT/PATH")
        with self._link.meaning():
            await self._link.open()
            await self._prepare()

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        """See ``pumpwatch.Driver``. What the subscription told since the last call is among it, due or not."""
        due, own = self._due(tags)
        with self._link.meaning():
            await self._link.renew(now)
            await self._prepare(now)
            if len(self._ready) < MOST_READY:
                for changes in await self._subscriber.drain(now):
                    self._keep(self._intake.changed(changes, now))
        minded = [self._points[name] for name in self._records.sequences]
        unknown = [p for p in dict.fromkeys([*due, *minded]) if not (p.subscribed and p.fresh)]
        servers = await self._poll(unknown, CLOCK.name in own, now)
        if LOST.name in own:
            servers.append(Sample(LOST.name, self._intake.lost, now))
        for owed in list(self._records.owed):
            names = self._records.wanted(owed.nozzle)
            updates = await self._read([self._points[name] for name in names.values()], now)
            points = (self._points[name] for name in names.values())
            told = {key: p.convert(u[0], u[1]) for key, p, u in zip(names, points, updates, strict=True)}
            self._records.sold(owed, told)
        samples, self._ready = self._ready, []
        told_now = {sample.tag for sample in samples}
        samples += [p.sample for p in due if p.name not in told_now and p.sample is not None]
        records: list[Record] = self._records.collect((point.name for point in due), now)
        return Reading(samples + servers, records)

    async def close(self) -> None:
        """End the session. What the server has not told yet is lost."""
        await self._link.close()

    # ------------------------------------------------------------ connecting

    async def _prepare(self, now: datetime | None = None) -> None:
        """Know the server as it runs now, and subscribe to what is not subscribed yet."""
        link = self._link
        link.session  # noqa: B018 - raises NotReachable when there is none
        if self._known_session != link.sessions:
            self._index = await link.namespaces(self._aliases)
            for point in self._intake.points:
                point.node, point.subscribed, point.fresh, point.heard = None, False, False, False
            self._subscriber.forget()
            self._found = False
            self._known_session = link.sessions
        if not self._found or (now is not None and self._looked is not None and now - self._looked >= LOOK_AGAIN):
            await self._find()
            self._found, self._looked = True, now
        elif self._looked is None:
            self._looked = now
        await self._subscriber.subscribe()

    async def _find(self) -> None:
        """Find the NodeIds of points that have none."""
        paths: list[ua.BrowsePath] = []
        owners: list[LivePoint] = []
        for point in self._intake.points:
            if point.node is not None:
                continue
            try:
                place = point.address.resolved(self._index)
            except KeyError:
                continue  # the server has no such namespace
            if isinstance(place, ua.NodeId):
                point.node, point.fresh = place, False
            else:
                paths.append(place)
                owners.append(point)

        def take(number: int, result: ua.BrowsePathResult) -> None:
            targets = [t.TargetId for t in result.Targets or () if t.RemainingPathIndex == 0xFFFF_FFFF]
            if result.StatusCode.is_good() and targets:
                found = targets[0]
                owners[number].node = ua.NodeId(found.Identifier, found.NamespaceIndex, found.NodeIdType)
                owners[number].fresh = False

        await self._link.translate(paths, take)

    # ------------------------------------------------------------ reading

    def _due(self, tags: Sequence[Tag]) -> tuple[list[LivePoint], list[str]]:
        """The points of the map, and the names of the driver's own tags among them."""
        points, own = [], []
        for tag in tags:
            if (point := self._points.get(tag.name)) is not None:
                points.append(point)
            elif tag.name in {LOST.name, CLOCK.name}:
                own.append(tag.name)
            else:
                raise BadConfig(f"no tag {tag.name!r} in the map; ask only for what tags() gives")
        return points, own

    def _keep(self, samples: Sequence[Sample]) -> None:
        self._records.note(samples)
        self._ready += samples

    async def _read(self, points: Sequence[LivePoint], now: datetime) -> list[Update]:
        """Read points at one go, and keep what is new."""
        absent: Update = (None, StatusCodes.BadNodeIdUnknown, 0, 0)
        updates = [absent] * len(points)
        places = [i for i, point in enumerate(points) if point.node is not None]

        def take(number: int, update: Update) -> None:
            updates[places[number]] = update

        with self._link.meaning():
            await self._link.read([node for point in points if (node := point.node) is not None], take)
        self._keep([s for p, u in zip(points, updates, strict=True) if (s := self._intake.read(p, u, now)) is not None])
        return updates

    async def _poll(self, points: Sequence[LivePoint], clock: bool, now: datetime) -> list[Sample]:
        """Read what no subscription tells. If it is refused, its tags are BAD while others can be had."""
        if not points and not clock:
            return []
        try:
            await self._read(points, now)
            return [await self._clock(now)] if clock else []
        except (BadReply, Refused) as error:
            if not self._link.is_open or len(points) == len(self._points):
                raise
            quality = Quality.REFUSED if isinstance(error, Refused) else Quality.BAD_REPLY
            names = [point.name for point in points] + [CLOCK.name] * clock
            return [Sample(name, None, now, quality) for name in names]

    async def _clock(self, now: datetime) -> Sample:
        told: list[Value] = []

        def take(_: int, update: Update) -> None:
            seconds = plain(update[0])
            told.append(seconds if isinstance(seconds, float) and update[1] == 0 else None)

        with self._link.meaning():
            await self._link.read([_CURRENT_TIME], take)
        seconds = told[0]
        if not isinstance(seconds, float):
            return Sample(CLOCK.name, None, now, Quality.BAD_REPLY)
        return Sample(CLOCK.name, round(seconds - now.timestamp(), 3), now)


def _access(settings: OpcuaSettings) -> Access:
    """What the settings say of security. Raises ``BadConfig`` when certificate or key cannot be used."""
    if settings.security == "none" or settings.certificate is None or settings.private_key is None:
        return Access()
    key_password = settings.private_key_password.get_secret_value() if settings.private_key_password else None
    return Access(
        policy=settings.security,
        encrypts=settings.protection == "sign_and_encrypt",
        ours=load_identity(settings.certificate, settings.private_key.get_secret_value(), key_password),
        fingerprint=settings.server_fingerprint,
        user=settings.user,
        password=settings.password.get_secret_value() if settings.password else None,
    )


def _pace(settings: OpcuaSettings) -> Pace:
    subscribes = settings.mode == "subscribe"
    return Pace(subscribes, settings.publishing_s, settings.sampling_s, settings.queue, settings.outage_s)
