"""An OPC UA server that costs little: the double that suite ``poll`` measures the client against, in its own process.

It keeps to the protocol as far as one client needs it, and answers from prepared bytes: a server of the library takes
longer for ten thousand items than the client that is to be measured. ``python opcua_server.py PERIOD_S``: it prints its
port, publishes every item once a period, and starts again at each line on stdin.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from typing import Any, cast

import numpy as np
from asyncua import ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import (
    header_from_binary,
    nodeid_from_binary,
    nodeid_to_binary,
    struct_from_binary,
    struct_to_binary,
    uatcp_to_binary,
)

DOWN_S = 0.5
"""How long it is away when it starts again."""
UNIX_TICKS = 116_444_736_000_000_000
NAMESPACE = "urn:pumpwatch:bench"
_CHANGE = np.dtype(
    [("handle", "<u4"), ("mask", "u1"), ("kind", "u1"), ("value", "<f8"), ("source", "<i8"), ("server", "<i8")]
)
"""A monitored item's notification of a Double with both times (OPC 10000-6, 5.2.2.17)."""
_DATA_CHANGE = struct.pack("<BBH", 1, 0, ObjectIds.DataChangeNotification_Encoding_DefaultBinary)
_CREATED = struct.Struct("<IIdIBBB")
"""Status, id, sampling interval, queue size, and no filter result."""
_NODE = ua.NodeId(ua.Int32(1000), ua.Int16(1))
_VALUE = ua.ReadValueId(NodeId=_NODE, AttributeId=ua.IntegerId(13))
_HANDLE = 0xA5A5A5A5
_NO_SESSION = ua.StatusCode(ua.UInt32(StatusCodes.BadSessionIdInvalid))


def _item() -> bytes:
    """A request for one item with a NodeId of four bytes."""
    wanted = ua.MonitoringParameters(ClientHandle=ua.IntegerId(_HANDLE))
    return struct_to_binary(ua.MonitoredItemCreateRequest(ItemToMonitor=_VALUE, RequestedParameters=wanted))


_ITEM_SIZE, _HANDLE_AT = len(_item()), _item().index(struct.pack("<I", _HANDLE))
_VALUE_SIZE = len(struct_to_binary(_VALUE))


class Peer(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Double) -> None:
        self._server = server
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._connection = SecureConnection(SecurityPolicyNone(), TransportLimits())  # type: ignore[no-untyped-call]
        self._has_session = False
        self._handles: list[int] = []
        self._asking: list[tuple[int, int]] = []
        """Request id and handle of publish requests that wait."""
        self._sequence = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody came."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._server.peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        self._server.peers.discard(self)

    def abort(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer each whole message."""
        self._received += data
        while len(self._received) >= 8:
            size = struct.unpack_from("<I", self._received, 4)[0]
            if len(self._received) < size:
                return
            message, self._received = self._received[:size], self._received[size:]
            buffer = Buffer(message)
            header = header_from_binary(buffer)
            self._answer(self._connection.receive_from_header_and_body(header, buffer))

    def publish(self, turn: float) -> None:
        """Tell every item, if the client asks for it."""
        if not self._asking or not self._handles:
            return
        changes = _values(len(self._handles), turn)
        changes["handle"] = self._handles
        body = struct.pack("<i", len(changes)) + changes.tobytes() + struct.pack("<i", -1)
        self._sequence += 1
        request, handle = self._asking.pop(0)
        message = struct.pack("<IiBIqi", 1, 0, 0, self._sequence, int(changes["server"][0]), 1)
        message += _DATA_CHANGE + struct.pack("<Bi", 1, len(body)) + body + struct.pack("<ii", -1, -1)
        self._send(_head(ua.PublishResponse(), handle) + message, request)

    def _send(self, body: bytes, request: int, kind: Any = ua.MessageType.SecureMessage) -> None:  # noqa: ANN401 - of the library
        if self._transport is not None:
            self._transport.write(self._connection.message_to_binary(body, message_type=kind, request_id=request))

    def _answer(self, message: Any) -> None:  # noqa: ANN401 - whatever the library makes of it
        if isinstance(message, ua.Hello) and self._transport is not None:
            limits = TransportLimits().create_acknowledge_and_set_limits(message)
            self._transport.write(uatcp_to_binary(cast("Any", ua.MessageType.Acknowledge), limits))
            return
        if not isinstance(message, ua.Message):
            return
        body, request = message.body(), message.request_id()  # type: ignore[no-untyped-call]
        kind = nodeid_from_binary(body)
        header = struct_from_binary(ua.RequestHeader, body)
        if kind.Identifier == ObjectIds.PublishRequest_Encoding_DefaultBinary:
            self._asking.append((request, header.RequestHandle))
            return
        if kind.Identifier == ObjectIds.CloseSecureChannelRequest_Encoding_DefaultBinary:
            self.abort()  # there is no answer to it
            return
        if kind.Identifier == ObjectIds.CreateMonitoredItemsRequest_Encoding_DefaultBinary:
            self._send(_head(ua.CreateMonitoredItemsResponse(), header.RequestHandle) + self._monitored(body), request)
            return
        asked = bytes(body)
        if kind.Identifier == ObjectIds.ReadRequest_Encoding_DefaultBinary and (count := _plain_nodes(asked)):
            values = _values(count, 0.0).view("u1").reshape(count, -1)[:, 4:].tobytes()
            told = struct.pack("<i", count) + values + struct.pack("<i", -1)
            self._send(_head(ua.ReadResponse(), header.RequestHandle) + told, request)
            return
        response = self._response(kind.Identifier, body)
        response.ResponseHeader.RequestHandle = header.RequestHandle
        opens = isinstance(response, ua.OpenSecureChannelResponse)
        self._send(
            struct_to_binary(response), request, ua.MessageType.SecureOpen if opens else ua.MessageType.SecureMessage
        )

    def _response(self, kind: object, body: Buffer) -> Any:  # noqa: ANN401 - one of the library's many
        match kind:
            case ObjectIds.OpenSecureChannelRequest_Encoding_DefaultBinary:
                opened = ua.OpenSecureChannelResponse()
                asked = struct_from_binary(ua.OpenSecureChannelParameters, body)
                opened.Parameters = self._connection.open(asked, self._server)
                return opened
            case ObjectIds.CreateSessionRequest_Encoding_DefaultBinary:
                self._has_session = True
                created = ua.CreateSessionResponse()
                token = ua.NodeId(ua.Int32(self._server.get_new_channel_id()), ua.Int16(1))
                created.Parameters.AuthenticationToken = token
                created.Parameters.RevisedSessionTimeout = 120_000
                created.Parameters.ServerEndpoints = [
                    ua.EndpointDescription(
                        EndpointUrl="opc.tcp://127.0.0.1/",
                        SecurityMode=ua.MessageSecurityMode.None_,
                        SecurityPolicyUri=SecurityPolicyNone.URI,
                    )
                ]
                return created
            case ObjectIds.ActivateSessionRequest_Encoding_DefaultBinary:
                if not self._has_session:
                    return ua.ServiceFault(ResponseHeader=ua.ResponseHeader(ServiceResult=_NO_SESSION))
                return ua.ActivateSessionResponse()
            case ObjectIds.ReadRequest_Encoding_DefaultBinary:
                read = ua.ReadResponse()
                read.Results = [_told(each.NodeId) for each in struct_from_binary(ua.ReadParameters, body).NodesToRead]
                return read
            case ObjectIds.CreateSubscriptionRequest_Encoding_DefaultBinary:
                made = ua.CreateSubscriptionResponse()
                wanted = struct_from_binary(ua.CreateSubscriptionParameters, body)
                made.Parameters.SubscriptionId = 1
                made.Parameters.RevisedPublishingInterval = wanted.RequestedPublishingInterval
                made.Parameters.RevisedLifetimeCount = wanted.RequestedLifetimeCount
                made.Parameters.RevisedMaxKeepAliveCount = wanted.RequestedMaxKeepAliveCount
                return made
            case _:
                return ua.CloseSessionResponse()

    def _monitored(self, body: Buffer) -> bytes:
        """Take items of one size, and what the answer says of them."""
        data = bytes(body)
        count = struct.unpack_from("<i", data, 8)[0]
        if len(data) != 12 + count * _ITEM_SIZE:
            raise ValueError("the double takes items with NodeIds of four bytes only")
        first = len(self._handles)
        places = range(12 + _HANDLE_AT, len(data), _ITEM_SIZE)
        self._handles += [struct.unpack_from("<I", data, place)[0] for place in places]
        created = b"".join(_CREATED.pack(0, first + n, 250.0, 20, 0, 0, 0) for n in range(1, count + 1))
        return struct.pack("<i", count) + created + struct.pack("<i", -1)


def _head(response: Any, handle: int) -> bytes:  # noqa: ANN401 - one of the library's many
    """The type and header that every response begins with."""
    response.ResponseHeader.RequestHandle = handle
    return nodeid_to_binary(response.TypeId) + struct_to_binary(response.ResponseHeader)


def _values(count: int, turn: float) -> np.ndarray[Any, Any]:
    """So many values of now, each with a source time of its own."""
    values = np.zeros(count, _CHANGE)
    now = time.time_ns() // 100 + UNIX_TICKS
    values["mask"], values["kind"] = 0x0D, 11
    values["value"] = turn + np.arange(count)
    values["source"] = now - 10 * np.arange(count)
    values["server"] = now
    return values


def _plain_nodes(data: bytes) -> int:
    """How many nodes a read asks for, if all have NodeIds of four bytes outside namespace 0; else 0."""
    count: int = struct.unpack_from("<i", data, 12)[0]
    return count if len(data) == 16 + count * _VALUE_SIZE and data[16] == 1 and data[17] else 0


def _told(node: ua.NodeId) -> ua.DataValue:
    if node.Identifier == ObjectIds.Server_NamespaceArray:
        return ua.DataValue(ua.Variant(["http://opcfoundation.org/UA/", NAMESPACE], ua.VariantType.String))
    return ua.DataValue(ua.Variant(0, ua.VariantType.UInt32))


class Double:
    """The server."""

    def __init__(self, period_s: float) -> None:
        self.peers: set[Peer] = set()
        self._period_s = period_s
        self._channels = 0
        self._port = 0

    def get_new_channel_id(self) -> int:
        """Another number; the library asks for it by this name."""
        self._channels += 1
        return self._channels

    async def listen(self) -> asyncio.Server:
        """Take clients, always on the same port."""
        server = await asyncio.get_running_loop().create_server(lambda: Peer(self), "127.0.0.1", self._port)
        self._port = server.sockets[0].getsockname()[1]
        return server

    async def run(self) -> None:
        """Publish until stdin closes; start again at each line."""
        server = await self.listen()
        _say(self._port)
        publishing = asyncio.create_task(self._publish())
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while await lines.readline():
            server.close()
            for peer in list(self.peers):
                peer.abort()
            await asyncio.sleep(DOWN_S)
            server = await self.listen()
            _say("again")
        publishing.cancel()

    async def _publish(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(self._period_s)
            turn += 1
            for peer in list(self.peers):
                peer.publish(float(turn))


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(Double(float(sys.argv[1])).run())
