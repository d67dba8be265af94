"""A small OPC UA server with the nodes of a case: ``[nodes]`` of its ``expected.toml``, name or path to value."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pumpwatch.testing import TestCase


@asynccontextmanager
async def serve(case: TestCase) -> AsyncIterator[str]:
    """The address it is at."""
    from asyncua import ua  # noqa: PLC0415 - an extra, and slow to load
    from asyncua.server.server import Server  # noqa: PLC0415

    probe = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    server = Server()
    await server.init()
    address = f"opc.tcp://127.0.0.1:{port}/station"
    server.set_endpoint(address)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:pumpwatch:simulated-county")
    folders = {"": server.nodes.objects}
    for name, value in case.expected["nodes"].items():
        *path, last = name.split("/")
        above = ""
        for part in path:
            folder = f"{above}/{part}"
            if folder not in folders:
                named = ua.NodeId.from_string(f"ns={index};s={folder}"), ua.QualifiedName(part, index)
                folders[folder] = await folders[above].add_object(*named)
            above = folder
        variable = await folders[above].add_variable(
            ua.NodeId.from_string(f"ns={index};s={name}"), ua.QualifiedName(last, index), value
        )
        data = ua.DataValue(ua.Variant(value), SourceTimestamp=ua.DateTime.fromtimestamp(case.now.timestamp(), UTC))
        await server.write_attribute_value(variable.nodeid, data)
    async with server:
        yield address
