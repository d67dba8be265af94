"""Records in InfluxDB so that evidence is never overwritten, although the server itself overwrites equal points.

Before a record is written that the server may have, what it has is read. The first report stands; a later one only
fills fields that are not there; one that says otherwise is kept whole beside it, in a measurement of its own whose
points carry a digest of what was said. One writer a station is taken for granted: the journal is drained in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pumpwatch import Record, Refused, Transaction, resubmission, to_us
from pumpwatch_influx.influxql import fields, identifier, select, where
from pumpwatch_influx.line_protocol import FIRST_US, LAST_US, head, line, unnamed
from pumpwatch_influx.server import Server
from pumpwatch_influx.tables import ARRIVED, TABLES, Row, Table

AGAIN: Final = "_again"
"""What the measurement of reports that say otherwise than the first ends in."""
_SLOTS: Final = 1_000
"""Records of one place and microsecond that can be told apart."""
_GAP_US: Final = 3_600_000_000
"""What is further apart is asked for separately."""

Home: TypeAlias = tuple[str, ...]


@dataclass(slots=True)
class _Report:
    """One report on its way to the server."""

    station: str
    tags: dict[str, str]
    row: Row
    at_us: int
    arrived_us: int


@dataclass(slots=True)
class _Point:
    """What the server has, or is about to have, of one record."""

    tags: Mapping[str, str]
    row: Row
    slot: int


class Records:
    """Writes and finds records."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._newest: dict[tuple[str, Home], int] = {}
        """By measurement and home the newest time that the server may have, microseconds."""

    async def open(self) -> None:
        """Learn up to when the server has records of whom. Raises ``NotReachable``."""
        for table in TABLES.values():
            last = f"GROUP BY {fields(table.home)} ORDER BY time DESC LIMIT 1"
            (answer,) = await self._server.query([select(identifier(ARRIVED), table.name, last)], table.policy)
            for rows in answer:
                home = tuple(unnamed(rows.tags[key]) for key in table.home)
                for point in rows.named():
                    self._note(table, home, point["time"] // _SLOTS)

    # ------------------------------------------------------------ writing

    async def keep(self, records: Iterable[tuple[str, int, Record]]) -> list[str]:
        """Keep records, each with its station and time of arrival; in sentences, what the server will never take.

        Raises ``NotReachable``.
        """
        refused: list[str] = []
        reports: dict[type[Record], list[_Report]] = {}
        for station, arrived_us, record in records:
            self._gather(reports, station, arrived_us, record, refused)
        lines: dict[str, list[str]] = {}
        for kind, table in TABLES.items():  # events last: fillings may add to them
            some = reports.get(kind, [])
            points = await self._known(table, some)
            for report in some:
                home = self._home(table, report)
                self._note(table, home, report.at_us)
                there = points.setdefault((home, report.at_us), [])
                lines.setdefault(table.policy, []).extend(self._lines(table, report, there, reports, refused))
        for policy, those in lines.items():
            refused += await self._server.write(those, policy, "ns")
        return refused

    def _gather(
        self,
        reports: dict[type[Record], list[_Report]],
        station: str,
        arrived_us: int,
        record: Record,
        refused: list[str],
    ) -> None:
        table, at_us = TABLES[type(record)], to_us(record.at)
        try:
            row = table.row(record)
        except Refused as error:
            refused.append(f"a {table.name} of {station} at {record.at.isoformat()}: {error}")
            return
        if not FIRST_US <= at_us <= LAST_US:
            refused.append(f"a {table.name} of {station}: its time {record.at.isoformat()} is beyond InfluxDB's")
            return
        reports.setdefault(table.kind, []).append(_Report(station, table.tags(row, station), row, at_us, arrived_us))

    def _lines(
        self,
        table: Table,
        report: _Report,
        there: list[_Point],
        reports: dict[type[Record], list[_Report]],
        refused: list[str],
    ) -> list[str]:
        """What has to be written of a report, given the points that are there; they are brought up to date."""
        identity = table.identity(report.row)
        first = next((p for p in there if table.identity(p.row) == identity), None)
        arrived = {ARRIVED: f"{report.arrived_us}i"}
        if first is None:
            slot = max((p.slot for p in there), default=-1) + 1
            if slot >= _SLOTS:
                refused.append(f"{table.name} {report.tags} at {report.at_us} µs: {_SLOTS} others have that very time")
                return []
            there.append(_Point(report.tags, report.row, slot))
            written = table.written(report.row) | arrived
            return [line(head(table.name, report.tags), written, report.at_us * _SLOTS + slot)]
        lines = []
        news = {c.name for c in table.columns if c.may_lack and c.name in report.row and c.name not in first.row}
        if news:
            filling = {name: report.row[name] for name in news}
            at_ns = report.at_us * _SLOTS + first.slot
            lines.append(line(head(table.name, first.tags), table.written(filling), at_ns))
        if any(first.row[name] != report.row[name] for name in first.row.keys() & report.row.keys()):
            tags = report.tags | {"report": table.digest(report.row)}
            written = table.written(report.row) | arrived
            lines.append(line(head(table.name + AGAIN, tags), written, report.at_us * _SLOTS))
            if table.kind is Transaction:
                self._raise_event(table, first.row, report, reports, refused)
        first.row |= {name: report.row[name] for name in news}
        return lines

    def _raise_event(
        self,
        table: Table,
        first: Row,
        report: _Report,
        reports: dict[type[Record], list[_Report]],
        refused: list[str],
    ) -> None:
        """A filling that was reported again, and otherwise, leaves an event."""
        old, new = table.record(first, report.at_us), table.record(report.row, report.at_us)
        if isinstance(old, Transaction) and isinstance(new, Transaction):
            event = resubmission(old, new, report.station)
            if event is not None:
                self._gather(reports, event.station_id, report.arrived_us, event, refused)

    async def _known(self, table: Table, reports: Sequence[_Report]) -> dict[tuple[Home, int], list[_Point]]:
        """What the server has of these reports' homes at their times."""
        times: dict[Home, set[int]] = {}
        for report in reports:
            home = self._home(table, report)
            if report.at_us <= self._newest.get((table.name, home), FIRST_US - 1):
                times.setdefault(home, set()).add(report.at_us)
        asked = [(home, window) for home, those in times.items() for window in _windows(sorted(those))]
        statements = [
            select("*", table.name, where(dict(zip(table.home, home, strict=True)), window[0], window[1] + 1))
            for home, window in asked
        ]
        known: dict[tuple[Home, int], list[_Point]] = {}
        answers = await self._server.query(statements, table.policy)
        for (home, _), answer in zip(asked, answers, strict=True):
            for point in (p for rows in answer for p in rows.named()):
                at_us, slot = divmod(point["time"], _SLOTS)
                if at_us in times[home]:
                    row = table.read(point)
                    tags = table.tags(row, unnamed(str(point["station"])))
                    known.setdefault((home, at_us), []).append(_Point(tags, row, slot))
        return known

    def _home(self, table: Table, report: _Report) -> Home:
        return tuple(report.tags[key] for key in table.home)

    def _note(self, table: Table, home: Home, at_us: int) -> None:
        place = (table.name, home)
        self._newest[place] = max(at_us, self._newest.get(place, at_us))

    # ------------------------------------------------------------ finding

    async def find(
        self, kind: type[Record], tags: Mapping[str, str], start_us: int, end_us: int, limit: int
    ) -> list[Record]:
        """Records with these tags and start <= time < end, newest first. Raises ``NotReachable``."""
        if limit <= 0:
            return []
        table = TABLES[kind]
        rest = f"{where(tags, start_us, end_us)} ORDER BY time DESC LIMIT {limit}"
        (answer,) = await self._server.query([select("*", table.name, rest)], table.policy)
        found: list[dict[str, Any]] = [point for rows in answer for point in rows.named()]
        return [table.record(table.read(point), point["time"] // _SLOTS) for point in found]


def subject_tags(kind: type[Record], key: str | None) -> dict[str, str]:
    """The tags that ``Store.records(key=…)`` asks for: a subject's id, or ``station/subject``."""
    if key is None:
        return {}
    station, slash, subject = key.partition("/")
    tag = TABLES[kind].home[-1]
    return {"station": station, tag: subject} if slash else {tag: key}


def _windows(times: Sequence[int]) -> list[tuple[int, int]]:
    """Few stretches of time that hold all of these, first and last of each."""
    windows: list[tuple[int, int]] = []
    for at in times:
        if windows and at - windows[-1][1] <= _GAP_US:
            windows[-1] = (windows[-1][0], at)
        else:
            windows.append((at, at))
    return windows
