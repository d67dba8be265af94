"""A session whose publish loop hands over bytes decoded thinly, and the mailbox they are put into."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.client.ua_session import UaSession
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import BadNoSubscription

from pumpwatch_opcua.decoding import (
    Changes,
    Message,
    created_items,
    publish_response,
    read_response,
    republish_response,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch_opcua.values import Update

MOST_WAITING = 200_000
"""Values that wait for the next read; then nothing more is fetched, and the server's queues fill instead."""
MOST_MISSING = 100
"""Messages that are asked for again; more than a server keeps."""
WRAP = 1 << 31
"""A number that is lower by more than this has begun again from 1."""


class Mailbox:
    """What a subscription has told since it was last emptied, by the numbers of its messages."""

    def __init__(self) -> None:
        self.responses = 0
        """Publish responses so far, keep-alives among them."""
        self.missing: deque[int] = deque(maxlen=MOST_MISSING)
        """Numbers of messages that never came."""
        self.ended: ua.StatusCode | None = None
        """Why the server has given up the subscription."""
        self._messages: dict[int, list[Changes]] = {}
        self.newest = 0
        """The highest number so far."""
        self._waiting = 0
        self._room = asyncio.Event()

    async def take(self, result: ua.PublishResult) -> None:
        """Called by the publish loop with each response; waits while the box is full."""
        self.responses += 1
        notification = result.NotificationMessage
        self.put(Message(result.SubscriptionId, notification.SequenceNumber, notification.NotificationData))
        while self._waiting >= MOST_WAITING:
            self._room.clear()
            await self._room.wait()

    def put(self, message: Message) -> None:
        """Keep a message; one that came before is not kept twice."""
        number, newest = message.sequence, self.newest
        if message.notifications and number in self.missing:
            self.recovered(message)
            return
        if newest and newest + 1 < number < newest + WRAP:
            self.missing.extend(range(max(newest + 1, number - MOST_MISSING), number))
        if not message.notifications:  # a keep-alive tells the number that comes next
            self.newest = max(newest, number - 1)
        elif not newest or number > newest or newest - number > WRAP:
            self.newest = number
            self._keep(message)

    def recovered(self, message: Message) -> None:
        """A missing message that the server still had."""
        self.missing.remove(message.sequence)
        self._keep(message)

    def drain(self) -> list[Changes]:
        """Everything, in the order of the messages."""
        messages, self._messages, self._waiting = self._messages, {}, 0
        self._room.set()
        return [changes for number in sorted(messages) for changes in messages[number]]

    def _keep(self, message: Message) -> None:
        kept = self._messages[message.sequence] = []
        for notification in message.notifications:
            if isinstance(notification, Changes):
                kept.append(notification)
                self._waiting += len(notification)
            elif isinstance(notification, ua.StatusChangeNotification):
                self.ended = notification.Status


class Session(UaSession):
    """The library's session, with the three services that carry values read thinly."""

    stopped: Exception | None = None
    """Why the publish loop ended; None while it runs."""

    def ensure_publish_loop(self) -> None:
        """Run the publish loop, again after it has stopped."""
        self.stopped = None
        super().ensure_publish_loop()

    async def publish(self, acks: list[ua.SubscriptionAcknowledgement]) -> ua.PublishResponse:
        """Ask once and wait for what is told. Whatever goes wrong ends the loop; the next read sees to it."""
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acks
        try:
            message = publish_response(bytes(await self._send_request(request, timeout=0)))
        except Exception as error:
            self.stopped = error
            raise BadNoSubscription from error
        response = ua.PublishResponse()
        response.Parameters.SubscriptionId = message.subscription
        response.Parameters.NotificationMessage.SequenceNumber = message.sequence
        response.Parameters.NotificationMessage.NotificationData = message.notifications
        return response

    async def missed(self, subscription: int, number: int) -> Message:
        """A message that never came (Republish)."""
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId = subscription
        request.Parameters.RetransmitSequenceNumber = number
        return republish_response(subscription, bytes(await self._send_request(request)))

    async def monitor(self, parameters: ua.CreateMonitoredItemsParameters) -> list[int]:
        """The status code of each item (CreateMonitoredItems)."""
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters = parameters
        buffer = await self._send_request(request)
        created = created_items(bytes(buffer))
        if created is not None:
            return created
        response = struct_from_binary(ua.CreateMonitoredItemsResponse, buffer)
        return [result.StatusCode.value for result in response.Results]

    async def values(self, nodes: Sequence[ua.NodeId]) -> list[Update]:
        """The values of nodes, one each (Read)."""
        request = ua.ReadRequest()
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for node in nodes]
        return read_response(bytes(await self._send_request(request)))

    async def end_publishing(self) -> None:
        """Stop the publish loop and wait until it has ended."""
        task, self._publish_task = self._publish_task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])
