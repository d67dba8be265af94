"""The connection to a server: opened, taken up again after a loss, renewed and closed; and what is asked over it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClientState
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes, get_name_and_doc
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from pumpwatch import BadReply, NotReachable, PumpwatchError, Refused
from pumpwatch_opcua.addresses import namespaces
from pumpwatch_opcua.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pumpwatch_opcua.access import Access
    from pumpwatch_opcua.decoding import Message
    from pumpwatch_opcua.session import Mailbox
    from pumpwatch_opcua.values import Update

Item = TypeVar("Item")
Result = TypeVar("Result")

REQUEST_S = 10.0
"""Longest wait for one answer when the caller sets no deadline."""
MOST_AT_ONCE = 1000
"""Operations in one request, where the server sets no limit of its own."""
_CODES = StatusCodes
_LIMITS = (
    ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
    ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
)
_TOO_MANY = frozenset({
    _CODES.BadTooManyOperations,
    _CODES.BadRequestTooLarge,
    _CODES.BadResponseTooLarge,
    _CODES.BadEncodingLimitsExceeded,
})  # fmt: skip
_GONE = frozenset({
    _CODES.BadSessionIdInvalid,
    _CODES.BadSessionClosed,
    _CODES.BadSessionNotActivated,
    _CODES.BadSecureChannelIdInvalid,
    _CODES.BadSecureChannelClosed,
    _CODES.BadSecureChannelTokenUnknown,
    _CODES.BadConnectionClosed,
    _CODES.BadServerHalted,
    _CODES.BadShutdown,
    _CODES.BadTimeout,
    _CODES.BadRequestTimeout,
    _CODES.BadTcpServerTooBusy,
    _CODES.BadTcpInternalError,
    _CODES.BadTcpNotEnoughResources,
})  # fmt: skip
_REMEDIES = {
    _CODES.BadUserAccessDenied: "correct user and password, and what the server lets this user do",
    _CODES.BadIdentityTokenRejected: "correct user and password",
    _CODES.BadIdentityTokenInvalid: "correct user and password; the server may not take anonymous clients",
    _CODES.BadSecurityChecksFailed: "let the server trust our certificate",
    _CODES.BadSecurityPolicyRejected: "correct security",
    _CODES.BadSecurityModeRejected: "correct protection",
    _CODES.BadCertificateUntrusted: "let the server trust our certificate",
    _CODES.BadCertificateUriInvalid: "make the certificate's application URI what the server expects",
    _CODES.BadCertificateTimeInvalid: "renew our certificate, and compare the clocks",
    _CODES.BadTooManySessions: "close other clients, or raise the server's limit of sessions",
    _CODES.BadTcpEndpointUrlInvalid: "correct the path in the line's address",
}


@dataclass(slots=True)
class Limit:
    """Most operations in one request; falls when the server says that they were too many."""

    most: int = MOST_AT_ONCE

    def declared(self, value: object) -> None:
        """What the server says of itself; 0 is no limit."""
        if isinstance(value, int) and value > 0:
            self.most = min(self.most, value)


@dataclass(slots=True)
class Limits:
    """Of a server."""

    read: Limit = field(default_factory=Limit)
    translate: Limit = field(default_factory=Limit)
    monitor: Limit = field(default_factory=Limit)


class Link:
    """One session with one server. Nobody reconnects behind its back: ``open`` is called when it has been lost."""

    def __init__(self, address: str, access: Access, name: str, outage_s: float) -> None:
        self.address = address
        self._access = access
        self._name = name
        self._outage_s = outage_s
        self._client: Client | None = None
        self._session: Session | None = None
        self._certificate = b""
        self._renewed: datetime | None = None
        self.sessions = 0
        """Sessions so far; what was known of the server belongs to one of them."""
        self.resumptions = 0
        """How often a session was taken up again; what was on its way then may be lost."""
        self.limits = Limits()

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._client is not None and self._client.state is UaClientState.CONNECTED

    @property
    def session(self) -> Session:
        """The session. Raises ``NotReachable`` when there is none."""
        if self._session is None or not self.is_open:
            raise NotReachable(f"{self.address}: the connection is lost")
        return self._session

    # ------------------------------------------------------------ opening and closing

    async def open(self) -> None:
        """Be connected: the session is kept where the server still has it, else it is a new one."""
        if self.is_open:
            return
        if self._client is not None and await self._taken_up(self._client):
            return
        self.forget()
        if self._access.ours is not None and not self._certificate:
            self._certificate = await self._servers_certificate()
        client = self._new_client()
        session = Session(client.uaclient)
        client.uaclient.session = session
        await self._access.secure(client, self._certificate)
        client.set_user(self._access.user or "")
        client.set_password(self._access.password or "")
        trusted, self._certificate = self._certificate, b""
        async with _Dropped(client):
            await _opened(client)
            await client.create_session()
            await self._activated(client)
        self._certificate = trusted  # else it is looked at again: it may have changed
        self._client, self._session, self._renewed = client, session, None
        self.limits = Limits()
        self.sessions += 1

    async def close(self) -> None:
        """Say goodbye, and leave neither a task nor a socket even if that is cut short."""
        client, session = self._client, self._session
        self._client = self._session = None
        if client is None or session is None:
            return
        try:
            if client.state is UaClientState.CONNECTED:
                await client.close_session()
        except (OSError, TimeoutError, UaError):
            pass  # the server forgets the session by itself
        finally:
            await _ended(client)
            await session.end_publishing()

    def drop(self) -> None:
        """Let go of the socket; the session may be taken up again."""
        if self._client is not None:
            _drop(self._client)

    def forget(self) -> None:
        """Let go of the socket and of the session."""
        self.drop()
        self._client = self._session = None

    async def renew(self, now: datetime) -> None:
        """Ask for new keys when three quarters of the channel's life are over (OPC 10000-4, 5.6.2.1)."""
        client = self._client
        if client is None:
            return
        if self._renewed is None:
            self._renewed = now
        if now - self._renewed < timedelta(milliseconds=client.secure_channel_timeout * 0.75):
            return
        self._renewed = now
        async with _Dropped(client):
            await client.open_secure_channel(renew=True)
            client.uaclient.revolve_security_token()

    async def _taken_up(self, client: Client) -> bool:
        """Whether the server still had the session, and it goes on."""
        async with _Dropped(client):
            try:
                await _opened(client)
                client.uaclient.session.rebind_authentication_token()
                await self._activated(client)
            except UaError:
                return False  # the server has started again, or waited too long
            client.uaclient.ensure_publish_loop()
        self._renewed = None
        self.resumptions += 1
        return True

    async def _activated(self, client: Client) -> None:
        await client.activate_session(self._access.user, self._access.password)

    async def _servers_certificate(self) -> bytes:
        client = self._new_client()
        async with _Dropped(client):
            await _opened(client)
            endpoints = await client.get_endpoints()
        _drop(client)
        return self._access.trusted(endpoints)

    def _new_client(self) -> Client:
        client = Client(self.address, timeout=REQUEST_S)
        client.name = client.description = f"pumpwatch {self._name}"
        client.application_uri = "urn:pumpwatch:client"
        client.product_uri = "urn:pumpwatch"
        client.session_timeout = int(self._outage_s * 1000)
        return client

    # ------------------------------------------------------------ asking

    async def namespaces(self, aliases: Mapping[str, str]) -> dict[str, int]:
        """The number of each namespace; learns the server's limits by the way."""
        nodes = [server_node(ObjectIds.Server_NamespaceArray), *map(server_node, _LIMITS)]
        uris, *limits = await self.session.values(nodes)
        for limit, told in zip((self.limits.read, self.limits.translate, self.limits.monitor), limits, strict=True):
            limit.declared(told[0])
        return namespaces([str(uri) for uri in uris[0] or ()] if isinstance(uris[0], list) else [], aliases)

    async def read(self, nodes: Sequence[ua.NodeId], take: Callable[[int, Update], None]) -> None:
        """Read values with the fewest requests; ``take`` gets each node's place and value as they come."""

        async def ask(part: Sequence[ua.NodeId]) -> list[Update]:
            return await self.session.values(part)

        await _in_parts(nodes, self.limits.read, ask, take)

    async def translate(self, paths: Sequence[ua.BrowsePath], take: Callable[[int, ua.BrowsePathResult], None]) -> None:
        """Find the nodes at the ends of browse paths."""

        async def ask(part: Sequence[ua.BrowsePath]) -> list[ua.BrowsePathResult]:
            return await self.session.translate_browsepaths_to_nodeids(list(part))

        await _in_parts(paths, self.limits.translate, ask, take)

    async def subscribe(self, parameters: ua.CreateSubscriptionParameters, box: Mailbox) -> ua.CreateSubscriptionResult:
        """Make a subscription that fills the mailbox."""
        return await self.session.create_subscription(parameters, box.take)

    async def monitor(
        self,
        subscription: int,
        items: Sequence[ua.MonitoredItemCreateRequest],
        take: Callable[[int, int], None],
    ) -> None:
        """Add items to a subscription; ``take`` gets each item's place and status code as they come."""

        async def ask(part: Sequence[ua.MonitoredItemCreateRequest]) -> list[int]:
            parameters = ua.CreateMonitoredItemsParameters(
                SubscriptionId=subscription, TimestampsToReturn=ua.TimestampsToReturn.Both, ItemsToCreate=list(part)
            )
            return await self.session.monitor(parameters)

        await _in_parts(items, self.limits.monitor, ask, take)

    async def missed(self, subscription: int, number: int) -> Message | None:
        """A message that never came; None if the server has it no more."""
        try:
            message = await self.session.missed(subscription, number)
        except UaStatusCodeError as error:
            if error.code in {_CODES.BadMessageNotAvailable, _CODES.BadServiceUnsupported}:
                return None
            raise
        return message if message.sequence == number and message.notifications else None

    @contextmanager
    def meaning(self) -> Iterator[None]:
        """Turn the library's errors into the four that the core knows."""
        try:
            yield
        except PumpwatchError:
            raise
        except UaStatusCodeError as error:
            raise self._explained(error) from error
        except UaError as error:
            self.drop()
            if "matching endpoint" in str(error):
                raise Refused(f"{self.address}: {error}; choose a security that the server offers") from error
            raise BadReply(f"{self.address}: {error}"[:500]) from error
        except (OSError, TimeoutError) as error:
            self.drop()
            raise NotReachable(f"{self.address}: {str(error) or 'no answer'}") from error
        except Exception as error:  # whatever a hostile reply makes of the library
            self.drop()
            raise BadReply(f"{self.address}: a reply that makes no sense: {error!r}"[:500]) from error

    def _explained(self, error: UaStatusCodeError) -> PumpwatchError:
        name = get_name_and_doc(error.code)[0]
        if error.code in _GONE:
            self.drop()
            return NotReachable(f"{self.address}: {name}")
        remedy = _REMEDIES.get(error.code)
        if remedy or name.startswith(("BadCertificate", "BadServiceUnsupported", "BadNotSupported", "BadTooMany")):
            return Refused(f"{self.address}: {name}; {remedy or 'see the log of the server'}")
        return BadReply(f"{self.address}: {name}")


class _Dropped:
    """Lets go of a client's socket if its block does not come to its end."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __aenter__(self) -> None:
        """Nothing yet."""

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Drop it after an error or a cancellation."""
        if kind is not None:
            _drop(self._client)


async def _opened(client: Client) -> None:
    """Socket, hello and secure channel."""
    task = asyncio.current_task()
    cancellations = task.cancelling() if task else 0
    await client.connect_socket()
    if task and task.cancelling() > cancellations:  # asyncio.wait_for of Python 3.11 may have swallowed it
        raise asyncio.CancelledError
    await client.send_hello()
    await client.open_secure_channel()


def _drop(client: Client) -> None:
    protocol = client.uaclient.protocol
    if protocol is not None:
        protocol.on_connection_lost = None  # it must not be taken for the end of the next connection
        if protocol.transport is not None:
            protocol.transport.abort()
    client.disconnect_socket()


async def _ended(client: Client) -> None:
    """Drop, and wait until the socket is closed."""
    protocol = client.uaclient.protocol
    was_open = protocol is not None and protocol.transport is not None
    _drop(client)
    if protocol is None or not was_open:
        return
    ended = asyncio.get_running_loop().create_future()
    protocol.on_connection_lost = lambda _: None if ended.done() else ended.set_result(None)
    await ended


async def _in_parts(
    items: Sequence[Item],
    limit: Limit,
    ask: Callable[[Sequence[Item]], Awaitable[list[Result]]],
    take: Callable[[int, Result], Any],
) -> None:
    """Ask for as many at once as the server takes, for half as many when it says that they were too many."""
    place = 0
    while place < len(items):
        part = items[place : place + limit.most]
        try:
            results = await ask(part)
        except UaStatusCodeError as error:
            if error.code not in _TOO_MANY or len(part) == 1:
                raise
            limit.most = len(part) // 2
            continue
        if len(results) != len(part):
            raise BadReply(f"{len(results)} results for {len(part)} operations; the server does not keep to OPC UA")
        for number, result in enumerate(results, place):
            take(number, result)
        place += len(part)


def server_node(number: int) -> ua.NodeId:
    """A node of namespace 0."""
    return ua.NodeId(ua.Int32(number))
