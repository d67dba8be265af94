"""What the rules ask of a driver whose library opens the connection: a real server behind a proxy that misbehaves."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pumpwatch.errors import NotReachable, PumpwatchError
from pumpwatch.testing.captures import Misbehaviour
from pumpwatch.testing.certifying.bench import CANCELLED_S, PATIENCE_S, let_go, open_files, truth, untrue, within
from pumpwatch.testing.certifying.papers import NoLine
from pumpwatch.testing.certifying.subject import Subject, Way, also

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pumpwatch.contracts import Driver
    from pumpwatch.model import Reading
    from pumpwatch.testing.captures import TestCase

CONNECTED_S: Final = 20 * PATIENCE_S
"""A library may need many exchanges, and a handshake, until it is connected."""
MOST_DAMAGED: Final = 8
"""Replies after which all that comes is noise."""


class Proxy:
    """Stands before a server and does what lines do wrong."""

    def __init__(self, address: str) -> None:
        self._to = urlsplit(address)
        self.misbehaviour = Misbehaviour()
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def on_tcp(self) -> AsyncIterator[str]:
        """The address it is at."""
        tasks: set[asyncio.Task[None] | None] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())
            with suppress(OSError):
                theirs, to_them = await asyncio.open_connection(self._to.hostname, self._to.port)
                self._writers += [writer, to_them]
                await asyncio.gather(self._pass(reader, to_them, spoilt=False), self._pass(theirs, writer, spoilt=True))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            port = server.sockets[0].getsockname()[1]
            yield replace_port(self._to.geturl(), port)
        finally:
            server.close()
            self.hang_up()
            await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
            await server.wait_closed()

    def hang_up(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, spoilt: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if spoilt and self.misbehaviour.silent:
                    continue
                writer.write(self.misbehaviour.damage(data) if spoilt else data)
                await writer.drain()
        writer.close()


def replace_port(address: str, port: int) -> str:
    """The same address on another port of this machine."""
    return urlsplit(address)._replace(netloc=f"127.0.0.1:{port}").geturl()


@asynccontextmanager
async def _served(case: TestCase) -> AsyncIterator[tuple[Proxy, str]]:
    async with case.serve() as address:
        proxy = Proxy(address)
        async with proxy.on_tcp() as ours:
            yield proxy, ours


@asynccontextmanager
async def _made(subject: Subject, case: TestCase, address: str) -> AsyncIterator[Driver]:
    driver = case.driver(subject.kind, NoLine(address))
    try:
        yield driver
    finally:
        with suppress(PumpwatchError):
            await driver.close()


async def _read(
    case: TestCase, driver: Driver, seconds: float = CONNECTED_S, later: timedelta = timedelta(0)
) -> Reading | Exception:
    try:
        return await within(_scan(case, driver, later), seconds)
    except (PumpwatchError, TimeoutError) as error:
        return error


@also("testcases", Way.LIBRARY)
async def _cases(subject: Subject) -> list[str]:
    found = []
    for case in subject.served:
        async with _served(case) as (_, address), _made(subject, case, address) as driver:
            found += [f"{case.name}: {difference}" for difference in case.differences(await _read(case, driver))[:3]]
    return found


@also("silence", Way.LIBRARY)
async def _silence(subject: Subject) -> list[str]:
    found = []
    for case in subject.served[:1]:
        async with _served(case) as (proxy, address), _made(subject, case, address) as driver:
            await _read(case, driver)
            proxy.misbehaviour = Misbehaviour(silent=True)
            task = asyncio.ensure_future(driver.read(case.tags(driver), case.now))
            await asyncio.wait([task], timeout=PATIENCE_S)
            if (took := await let_go(task)) > CANCELLED_S:
                found.append(f"{case.name}: it went on for {took:.2f} s after it was cancelled")
            proxy.misbehaviour = Misbehaviour()
            proxy.hang_up()
            await _read(case, driver)
            again = case.differences(await _read(case, driver), again=True)
            found += [f"{case.name}, when it speaks again: {difference}" for difference in again[:1]]
    return found


@also("reconnect", Way.LIBRARY)
async def _hang_up(subject: Subject) -> list[str]:
    found = []
    for case in subject.served[:1]:
        async with _served(case) as (proxy, address), _made(subject, case, address) as driver:
            await _read(case, driver)
            proxy.misbehaviour = Misbehaviour(silent=True)
            task = asyncio.ensure_future(driver.read(case.tags(driver), case.now))
            await asyncio.wait([task], timeout=PATIENCE_S)
            proxy.hang_up()
            try:
                await within(_finished(task), CONNECTED_S)
                found.append(f"{case.name}: a reading instead of NotReachable when the server hung up")
            except NotReachable:
                pass
            except (PumpwatchError, TimeoutError) as error:
                found.append(f"{case.name}: {error!r:.80} instead of NotReachable when the server hung up")
            proxy.misbehaviour = Misbehaviour()
            again = case.differences(await _read(case, driver), again=True)
            found += [f"{case.name}, when it is back: {difference}" for difference in again[:1]]
    return found


async def _finished(task: asyncio.Future[Reading]) -> Reading:
    return await task


@also("noise", Way.LIBRARY)
async def _noise(subject: Subject) -> list[str]:
    """Random bytes instead of replies, at the beginning and later."""
    found = []
    for case in subject.served[:1]:
        dice = random.Random(case.name)  # noqa: S311 - the same noise each time
        async with _served(case) as (proxy, address):
            for round_ in range(MOST_DAMAGED):
                passed = 0

                def damage(reply: bytes, until: int = round_, dice: random.Random = dice) -> bytes:
                    nonlocal passed
                    passed += 1
                    return reply if passed <= until else dice.randbytes(len(reply))

                proxy.misbehaviour = Misbehaviour(damage=damage)
                async with _made(subject, case, address) as driver:
                    try:
                        outcome = await _read(case, driver, PATIENCE_S)
                        proxy.hang_up()
                    except Exception as error:  # the driver is a plugin: it may raise anything
                        found.append(f"{case.name}, noise after {round_} replies: {error!r}")
                        break
                    if passed > round_ and not isinstance(outcome, Exception) and outcome.records:
                        found.append(f"{case.name}, noise after {round_} replies: records of what was not said")
    return found


@also("cancellation", Way.LIBRARY)
async def _cancelled_anywhere(subject: Subject) -> list[str]:
    found = []
    for case in subject.served[:1]:
        async with _served(case) as (proxy, address):
            for silent_from in range(0, 9, 2):
                passed = 0

                def damage(reply: bytes, silent_from: int = silent_from) -> bytes:
                    nonlocal passed
                    passed += 1
                    return reply if passed <= silent_from else b""

                proxy.misbehaviour = Misbehaviour(damage=damage)
                async with _made(subject, case, address) as driver:
                    task = asyncio.ensure_future(_scan(case, driver))
                    await asyncio.wait([task], timeout=PATIENCE_S)
                    if (took := await let_go(task)) > CANCELLED_S:
                        found.append(f"{case.name}, after {silent_from} replies: it went on for {took:.2f} s")
                    proxy.misbehaviour = Misbehaviour()
                    proxy.hang_up()
                    await _read(case, driver)
                    after = case.differences(await _read(case, driver), again=True)
                    found += [f"{case.name}, cancelled after {silent_from} replies, then: {d}" for d in after[:1]]
    return found


async def _scan(case: TestCase, driver: Driver, later: timedelta = timedelta(0)) -> Reading:
    await driver.connect()
    return await driver.read(case.tags(driver), case.now + later)


@also("leaves_nothing", Way.LIBRARY)
async def _leaves_nothing(subject: Subject) -> list[str]:
    left: list[str] = []
    for case in subject.served[:1]:
        async with _served(case) as (proxy, address):

            async def once(case: TestCase = case, proxy: Proxy = proxy, address: str = address) -> None:
                async with _made(subject, case, address) as driver:
                    await _read(case, driver)
                proxy.hang_up()
                await asyncio.sleep(PATIENCE_S / 3)
                gc.collect()

            await once()
            threads, files, tasks = threading.active_count(), open_files(), len(asyncio.all_tasks())
            for _ in range(5):
                await once()
            now = threading.active_count() - threads, open_files() - files, len(asyncio.all_tasks()) - tasks
            names = ("threads", "open files or sockets", "tasks")
            left += [f"{n} {what} left after five connections" for n, what in zip(now, names, strict=True) if n > 0]
    return left


@also("clock_step", Way.LIBRARY)
async def _clock_steps(subject: Subject) -> list[str]:
    found = []
    for case in subject.served[:1]:
        async with _served(case) as (_, address), _made(subject, case, address) as driver:
            first = await _read(case, driver)
            if isinstance(first, Exception):
                continue
            _, said = truth(first)
            for hours in (-1, 2):
                outcome = await _read(case, driver, later=timedelta(hours=hours))
                what = [repr(outcome)] if isinstance(outcome, Exception) else untrue(outcome, {}, said)
                found += [f"{case.name}, our clock stepped by {hours} h: {each}" for each in what]
    return found
