"""The store ``influxdb``: what the journal hands over goes to an InfluxDB server, and questions are put to it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final, cast

from pumpwatch import (
    Batch,
    NotReachable,
    PluginSettings,
    Record,
    Refused,
    SampleBatch,
    Series,
    Store,
    Summaries,
    Transaction,
    to_us,
)
from pumpwatch_influx.line_protocol import FIRST_US, LAST_US, Encoder
from pumpwatch_influx.preparing import prepare
from pumpwatch_influx.records import Records, subject_tags
from pumpwatch_influx.samples import POLICY, Samples
from pumpwatch_influx.server import Server
from pumpwatch_influx.settings import InfluxSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


_ONE_US: Final = timedelta(microseconds=1)
_MOST_NAMED: Final = 5
"""How many refused points an error names."""


class InfluxStore(Store):
    """Keeps history in an InfluxDB server, 1.8, 2 or 3: wide lines of samples, and records as evidence.

    How long samples are kept is the server's business, as ``prepare`` asked of it.
    """

    name: ClassVar[str] = "influxdb"
    Settings: ClassVar[type[PluginSettings]] = InfluxSettings

    def __init__(self, settings: PluginSettings, folder: Path) -> None:
        super().__init__(settings, folder)
        self._rules = cast("InfluxSettings", settings)
        self._server = Server(self._rules)
        self._encoder = Encoder()
        self._samples = Samples(self._server)
        self._records = Records(self._server)

    async def prepare(self) -> list[str]:
        """Make database, buckets and retention as the settings say; what was done, as sentences.

        Raises ``NotReachable`` and ``Refused``.
        """
        server = Server(self._rules)
        server.open()
        try:
            return await prepare(server, self._rules)
        finally:
            await server.close()

    async def open(self) -> None:
        """Learn what the server has. Raises ``NotReachable``, and ``BadConfig`` for a file of certificates."""
        self._server.open()
        for device in await self._samples.newest():
            self._encoder.note(*device)
        await self._records.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def write(self, batches: Sequence[Batch]) -> None:
        """Keep these for good. What the server never will take is left out; then ``Refused`` names it."""
        before = self._encoder.newest()
        try:
            lines = await asyncio.to_thread(self._encoder.encode, [b.samples for b in batches])
            refused = list(lines.refused)
            for some in (lines.first, lines.later):
                refused += await self._server.write(some, POLICY, "us")
        except (NotReachable, asyncio.CancelledError):
            self._encoder.back_to(before)  # they come again, and are no second samples of their times then
            raise
        refused += await self._records.keep((b.station, to_us(b.arrived), r) for b in batches for r in b.records)
        if refused:
            more = f"; and {len(refused) - _MOST_NAMED} more" if len(refused) > _MOST_NAMED else ""
            raise Refused(f"InfluxDB does not take {'; '.join(refused[:_MOST_NAMED])}{more}")

    def encoded(self, batches: Sequence[Batch]) -> bytes:
        """The samples as line protocol, as ``write`` sends them to a server that is empty."""
        lines = Encoder().encode([b.samples for b in batches])
        return "\n".join(lines.first + lines.later).encode()

    async def latest(self) -> SampleBatch:
        """The last sample of every tag; its station is empty, the paths name theirs."""
        return await self._samples.latest()

    async def series(self, path: str, start: datetime, end: datetime, limit: int = 100_000) -> Series:
        """The samples of a tag, oldest first, at most ``limit`` (the newest ones)."""
        return Series(path, await self._samples.of_path(path, to_us(start), to_us(end), limit, "DESC"))

    async def samples(
        self,
        *,
        station_id: str | None = None,
        paths: Sequence[str] = (),
        start: datetime,
        end: datetime,
        after: tuple[str, datetime] | None = None,
        limit: int = 100_000,
    ) -> SampleBatch:
        """A page of the samples of a station, of some paths or of all tags, by path and time; see ``Store``."""
        known = paths or (await self.latest()).paths
        wanted = sorted({p for p in known if station_id is None or p.partition("/")[0] == station_id})
        asked = [(path, to_us(start)) for path in wanted if after is None or path >= after[0]]
        if after is not None and asked and asked[0][0] == after[0]:
            asked[0] = (after[0], max(to_us(start), to_us(after[1]) + 1))
        found = await self._samples.oldest(asked, to_us(end), limit)
        return SampleBatch.joined(station_id or "", [found])

    async def summaries(self, path: str, start: datetime, end: datetime, width: timedelta) -> Summaries:
        """Buckets, reckoned by the server where it can; see ``Store``."""
        if start < end and width >= _ONE_US:
            found = await self._samples.summaries(path, to_us(start), to_us(end), width // _ONE_US)
            if found is not None:
                return found
        return await super().summaries(path, start, end, width)

    async def transactions(
        self,
        *,
        station_id: str | None = None,
        nozzle_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1_000,
    ) -> Sequence[Transaction]:
        """Fillings with start <= end time < end, newest first."""
        given = {"station": station_id, "nozzle": nozzle_id}
        found = await self._records.find(
            Transaction,
            {tag: value for tag, value in given.items() if value is not None},
            FIRST_US if start is None else to_us(start),
            LAST_US + 1 if end is None else to_us(end),
            limit,
        )
        return cast("list[Transaction]", found)

    async def records(
        self, kind: type[Record], *, start: datetime, end: datetime, key: str | None = None, limit: int = 10_000
    ) -> Sequence[Record]:
        """Records of one kind, newest first; ``key`` may be ``station/device`` where a device id alone is ambiguous."""
        return await self._records.find(kind, subject_tags(kind, key), to_us(start), to_us(end), limit)

    async def retention(self, now: datetime) -> None:
        """Nothing is left to do: the server drops what is older than its buckets' retention."""
