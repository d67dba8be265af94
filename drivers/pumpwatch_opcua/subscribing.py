"""One subscription of a session: made in bulk, followed for gaps, made again when the server has dropped it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError

from pumpwatch import BadReply, NotReachable
from pumpwatch_opcua.session import MOST_MISSING, Mailbox
from pumpwatch_opcua.values import SEVERITY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pumpwatch_opcua.decoding import Changes
    from pumpwatch_opcua.link import Link
    from pumpwatch_opcua.points import LivePoint
    from pumpwatch_opcua.session import Session

KEEP_ALIVE_S = 5.0
"""A server with nothing to tell says so this often."""
LONGEST_S = 3600.0
"""No server is silent for longer, whatever it says."""
SILENCES = 3
"""Keep-alives that fail to come before the connection is thought dead."""
_REFUSED = frozenset({
    StatusCodes.BadServiceUnsupported,
    StatusCodes.BadNotSupported,
    StatusCodes.BadNotImplemented,
    StatusCodes.BadTooManySubscriptions,
    StatusCodes.BadUserAccessDenied,
    StatusCodes.BadOutOfMemory,
    StatusCodes.BadResourceUnavailable,
})  # fmt: skip

_IMPATIENT = frozenset({StatusCodes.BadTimeout, StatusCodes.BadTooManyPublishRequests})
"""The subscription is well; one request was not."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a subscription is to be; see the settings of the same names."""

    subscribes: bool
    publishing_s: float
    sampling_s: float
    queue: int
    outage_s: float


class Subscriber:
    """Subscribes points. Those the server refuses are left unsubscribed, and are read instead."""

    def __init__(self, link: Link, points: Sequence[LivePoint], pace: Pace) -> None:
        self._link = link
        self._points = points
        self._pace = pace
        self._box = Mailbox()
        self._subscription: int | None = None
        self._refused: set[int] = set()
        """Handles of points that the server will not monitor."""
        self._hopeless = not pace.subscribes
        """Whether there is no subscription to be had in this session."""
        self._silence = timedelta(0)
        self._responses = 0
        self._resumptions = 0
        self._left: list[Changes] = []
        """Told by a subscription that is no more, and not fetched yet."""
        self._heard: datetime | None = None
        self.unrecovered = 0
        """Messages that the server had no more when they were asked for again."""

    def forget(self) -> None:
        """The session is a new one."""
        self._begin_again()
        self._refused.clear()
        self._hopeless = not self._pace.subscribes

    async def subscribe(self) -> None:
        """Subscribe the points that are not, as far as the server lets us; goes on where it was cut short."""
        if self._hopeless:
            return
        session = self._link.session
        if self._box.ended is not None or session.stopped is not None:
            self._restart(session)
        wanted = [p for p in self._points if p.node is not None and not p.subscribed and p.handle not in self._refused]
        if wanted and self._subscription is None:
            await self._create()
        if wanted and self._subscription is not None:
            await self._monitor(self._subscription, wanted)

    async def drain(self, now: datetime) -> list[Changes]:
        """What was told since the last time, in order; what got lost on the way is asked for again first."""
        if self._subscription is None:
            left, self._left = self._left, []
            return left
        box = self._box
        if self._heard is None or box.responses != self._responses:
            self._heard, self._responses = now, box.responses
        elif now - self._heard > self._silence:
            self._link.drop()
            raise NotReachable(f"{self._link.address}: not even a keep-alive for {self._silence.total_seconds():g} s")
        if self._resumptions != self._link.resumptions:
            await self._catch_up(self._subscription)
        for number in list(box.missing):
            message = await self._link.missed(self._subscription, number)
            if message is None:
                self.unrecovered += 1
                box.missing.remove(number)
            else:
                box.recovered(message)
        left, self._left = self._left, []
        return left + box.drain()

    async def _catch_up(self, subscription: int) -> None:
        """Fetch what was on its way when the connection broke, without waiting until a later message shows the gap."""
        resumptions = self._link.resumptions
        for _ in range(MOST_MISSING):
            message = await self._link.missed(subscription, self._box.newest + 1)
            if message is None:
                break
            self._box.put(message)
        self._resumptions = resumptions

    def _restart(self, session: Session) -> None:
        """The publish loop has ended: ask again, or subscribe again when the server has dropped the subscription."""
        stopped = session.stopped
        well = isinstance(stopped, UaStatusCodeError) and stopped.code in _IMPATIENT
        if self._box.ended is not None or (isinstance(stopped, UaStatusCodeError) and not well):
            self._begin_again()
        session.ensure_publish_loop()
        if stopped is not None and not isinstance(stopped, UaStatusCodeError):
            raise BadReply(f"{self._link.address}: a notification that makes no sense: {stopped!r}"[:500])

    def _begin_again(self) -> None:
        """There is no subscription; what the last one told and nobody fetched is kept."""
        self._left += self._box.drain()
        self._box = Mailbox()
        self._subscription = None
        self._heard = None
        for point in self._points:
            point.subscribed = point.heard = False

    async def _create(self) -> None:
        pace = self._pace
        parameters = ua.CreateSubscriptionParameters()
        parameters.RequestedPublishingInterval = pace.publishing_s * 1000
        parameters.RequestedMaxKeepAliveCount = max(1, round(KEEP_ALIVE_S / pace.publishing_s))
        parameters.RequestedLifetimeCount = max(
            3 * parameters.RequestedMaxKeepAliveCount, round(pace.outage_s / pace.publishing_s)
        )
        parameters.MaxNotificationsPerPublish = 0
        parameters.PublishingEnabled = True
        try:
            created = await self._link.subscribe(parameters, self._box)
        except UaStatusCodeError as error:
            if error.code not in _REFUSED:
                raise
            self._hopeless = True
            return
        except BaseException:
            self._link.forget()  # whether there is a subscription now, nobody knows
            raise
        self._subscription = created.SubscriptionId
        keep_alive_s = created.RevisedPublishingInterval * created.RevisedMaxKeepAliveCount / 1000
        if not keep_alive_s <= LONGEST_S:  # not a number neither
            keep_alive_s = LONGEST_S
        self._silence = timedelta(seconds=SILENCES * max(0.0, keep_alive_s) + KEEP_ALIVE_S)
        self._heard = None

    async def _monitor(self, subscription: int, points: Sequence[LivePoint]) -> None:
        """Add points; where an answer did not come they are added again, and told twice as one."""
        pace = self._pace
        items = [
            ua.MonitoredItemCreateRequest(
                ItemToMonitor=ua.ReadValueId(NodeId=point.node, AttributeId=AttributeIds.Value),
                MonitoringMode=ua.MonitoringMode.Reporting,
                RequestedParameters=ua.MonitoringParameters(
                    ClientHandle=point.handle,
                    SamplingInterval=pace.sampling_s * 1000,
                    QueueSize=pace.queue,
                    DiscardOldest=True,
                ),
            )
            for point in points
        ]

        def take(number: int, status: int) -> None:
            if not status & SEVERITY:
                points[number].subscribed = True
            else:
                self._refused.add(points[number].handle)

        try:
            await self._link.monitor(subscription, items, take)
        except UaStatusCodeError as error:
            if error.code not in _REFUSED:
                raise
            self._refused.update(point.handle for point in points if not point.subscribed)
