"""Lets others wait for alarms to change without asking again and again, and without a queue."""

from __future__ import annotations

import asyncio


class Bell:
    """Rung at every change. Holds a revision number and nothing else: who is late finds the newest."""

    def __init__(self) -> None:
        self.revision = 0
        self.rung = asyncio.Event()

    def ring(self) -> None:
        """Wake everyone who waits."""
        self.revision += 1
        self.rung.set()
        self.rung = asyncio.Event()


class Changes:
    """One listener's place: ``async for revision in alarms.subscribe(): …``.

    Changes that came while the listener was busy are told as one. Needs no closing.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._seen = bell.revision

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> int:
        return await self.next()

    async def next(self) -> int:
        """The newest revision, as soon as it is another one than last time."""
        while self._bell.revision == self._seen:
            await self._bell.rung.wait()
        self._seen = self._bell.revision
        return self._seen
