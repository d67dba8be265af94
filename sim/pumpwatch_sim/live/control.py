"""Orders to a running simulator: one JSON object a line, on a loopback port."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from pumpwatch.errors import BadReply, NotReachable, Refused
from pumpwatch_sim.live.wires import LOOPBACK, Connection, Port

Answer: TypeAlias = dict[str, object]
"""What goes back over the wire: ``ok`` and what was asked, or ``ok: false`` and ``error``."""

SIM_FILE = "sim.json"
_LONGEST_LINE = 4096
_DEADLINE_S = 5.0


class Orders:
    """Lines from the control port waiting for the one task that carries them out.

    Bounded; a full queue answers the newest order with an error at once.
    """

    def __init__(self, most: int = 64) -> None:
        self._queue: asyncio.Queue[tuple[str, ControlConnection]] = asyncio.Queue(most)

    def take(self, line: str, connection: ControlConnection) -> None:
        """Remember one order."""
        try:
            self._queue.put_nowait((line, connection))
        except asyncio.QueueFull:
            connection.answer({"ok": False, "error": "too many orders at once; ask again in a second"})

    async def carry_out(self, obey: Callable[[dict[str, object]], Awaitable[Answer]]) -> None:
        """Work through the orders for ever; ``obey`` raises ``Refused`` for one that makes no sense.

        Whatever else is in a line, a time too far away or brackets without end, is refused too: none ends the county.
        """
        while True:
            line, connection = await self._queue.get()
            try:
                connection.answer({"ok": True} | await obey(_order(line)))
            except (Refused, OSError, OverflowError, ValueError, RecursionError) as error:
                connection.answer({"ok": False, "error": str(error)})


class ControlConnection(Connection):
    """Someone on the control port."""

    def __init__(self, port: Port, orders: Orders) -> None:
        super().__init__(port)
        self._orders = orders
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Cut the stream into lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._orders.take(line.decode("utf-8", "replace"), self)
        if len(self._rest) > _LONGEST_LINE:
            self.hang_up()

    def answer(self, answer: Answer) -> None:
        """Send one line."""
        self.send(json.dumps(answer, ensure_ascii=False).encode() + b"\n")


def _order(line: str) -> dict[str, object]:
    try:
        order = json.loads(line)
    except (ValueError, RecursionError):
        order = None
    if not isinstance(order, dict):
        raise Refused(f'no JSON object: {line[:80]!r}; send for example {{"do": "status"}}')
    return order


def tell(folder: Path, order: dict[str, object]) -> Answer:
    """Give a running simulator an order and return its answer; blocks for a few seconds at most.

    ``folder`` is its ``--out``. Raises ``NotReachable`` when none runs there, ``Refused`` with its own words and
    ``BadReply`` when something else answers.
    """
    port = _control_port(folder)
    try:
        with socket.create_connection((LOOPBACK, port), _DEADLINE_S) as line:
            line.sendall(json.dumps(order).encode() + b"\n")
            with line.makefile("rb") as replies:
                text = replies.readline()
    except OSError as error:
        raise NotReachable(
            f"{folder / SIM_FILE} names control port {port}, but nothing answers there ({error}); "
            "the simulator has ended: start it again with `serve`"
        ) from error
    answer = _answer(text, port)
    if answer.get("ok") is not True:
        raise Refused(str(answer.get("error", "refused without a reason")))
    return answer


def _control_port(folder: Path) -> int:
    file = folder / SIM_FILE
    try:
        port = json.loads(file.read_text(encoding="utf-8"))["control_port"]
    except FileNotFoundError as error:
        raise NotReachable(
            f"no {file}: no simulator runs in this folder; start one with `serve --out {folder}` or give its --out"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadReply(f"{file} is not what a simulator writes; remove it and start the simulator again") from error
    if not isinstance(port, int):
        raise BadReply(f"{file}: control_port is {port!r}, not a number; start the simulator again")
    return port


def _answer(text: bytes, port: int) -> Answer:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise BadReply(f"port {port} answered {text[:80]!r}; is it a simulator's control port?")
    return answer
