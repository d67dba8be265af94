"""Samples out of InfluxDB: questions in InfluxQL, and answers as columns."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Literal

import numpy as np

from pumpwatch import Quality, SampleBatch, Summaries
from pumpwatch_influx.influxql import duration, fields, identifier, select, where
from pumpwatch_influx.line_protocol import LAST_US, QUALITY, SAMPLES, TEXT, UNUSABLE, Form, named, parts, told, unnamed
from pumpwatch_influx.server import Rows, Server

POLICY: Final = "samples"
_KINDS: Final = ("", QUALITY, TEXT, UNUSABLE)
_WIDEST_US: Final = LAST_US // 2
_TAGS_AT_ONCE: Final = 500
_LINES_AT_ONCE: Final = 500
"""Lines of each device where many tags are asked for together."""
_LAST: Final = ":last"
_CODE: Final = 0xFF
_SHIFT: Final = 8


class Samples:
    """Finds samples. Every method raises ``NotReachable``."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def newest(self) -> list[tuple[str, str, int]]:
        """Of every device its station, its id and the time of its last line, microseconds."""
        asked = select("*", SAMPLES, "GROUP BY station, device ORDER BY time DESC LIMIT 1")
        (answer,) = await self._server.query([asked], POLICY)
        return [(*_device(rows), point["time"] // 1_000) for rows in answer for point in rows.named()]

    async def latest(self) -> SampleBatch:
        """The last sample of every tag, by path; its station is empty."""
        (answer,) = await self._server.query([f"SHOW FIELD KEYS FROM {identifier(SAMPLES)}"], POLICY)
        kinds: defaultdict[str, list[str]] = defaultdict(list)
        for key in (str(point["fieldKey"]) for rows in answer for point in rows.named()):
            name, colon, kind = key.partition(":")
            kinds[name].append(colon + kind)
        asked = [(name, kind) for name, those in kinds.items() for kind in those if kind != UNUSABLE]
        by_device = "GROUP BY station, device"
        statements = [
            select(f"last({identifier(name + kind)}) AS {identifier(_LAST)}, {_columns(name)}", SAMPLES, by_device)
            for name, kind in asked
        ]
        newest: dict[str, tuple[int, float, str | None, int]] = {}
        for (name, _), answers in zip(asked, await self._server.query(statements, POLICY), strict=True):
            for rows in answers:
                path = "/".join((*_device(rows), unnamed(name)))
                for point in rows.named():
                    sample = _sample(name, point)
                    if path not in newest or sample[0] > newest[path][0]:
                        newest[path] = sample
        paths = sorted(newest)
        return _batch("", paths, [newest[path] for path in paths])

    async def of_path(
        self, path: str, start_us: int, end_us: int, limit: int, order: Literal["ASC", "DESC"]
    ) -> SampleBatch:
        """Samples of a tag with start <= time < end, oldest first: the first ``limit`` in this order."""
        if limit <= 0:
            return _batch("", (), ())
        ((found, _),) = await self._found([(path, start_us)], end_us, limit, order)
        return found

    async def oldest(self, asked: Sequence[tuple[str, int]], end_us: int, limit: int) -> SampleBatch:
        """Samples of tags, each from a time of its own on, by the order of ``asked`` and time; at most ``limit``."""
        pages: list[SampleBatch] = []
        room = limit
        for first in range(0, len(asked), _TAGS_AT_ONCE):
            if room <= 0:
                break
            some = asked[first : first + _TAGS_AT_ONCE]
            answers = await self._found(some, end_us, min(room, _LINES_AT_ONCE), "ASC")
            for (path, start_us), (found, is_whole) in zip(some, answers, strict=True):
                page = found if is_whole else await self.of_path(path, start_us, end_us, room, "ASC")
                pages.append(_first(page, room))
                room -= len(pages[-1])
        return SampleBatch.joined("", pages)

    async def _found(
        self, asked: Sequence[tuple[str, int]], end_us: int, limit: int, order: Literal["ASC", "DESC"]
    ) -> list[tuple[SampleBatch, bool]]:
        """Of each tag its samples in the first ``limit`` lines of its device, and whether that is all of them."""
        groups = [list(group) for _, group in groupby(asked, lambda one: (*parts(one[0])[:2], one[1]))]
        statements = []
        for group in groups:
            station, device, _ = parts(group[0][0])
            condition = where({"station": station, "device": device}, group[0][1], end_us)
            columns = ", ".join(_columns(named(parts(path)[2])) for path, _ in group)
            statements.append(select(columns, SAMPLES, f"{condition} ORDER BY time {order} LIMIT {limit}"))
        batches: list[tuple[SampleBatch, bool]] = []
        for group, answer in zip(groups, await self._server.query(statements, POLICY), strict=True):
            points = [point for rows in answer for point in rows.named()]
            is_whole = len(points) < limit
            if order == "DESC":
                points.reverse()
            for path, _ in group:
                station, _, tag = parts(path)
                name = named(tag)
                found = [_sample(name, p) for p in points if any(name + kind in p for kind in _KINDS)]
                batches.append((_batch(station, [path] * len(found), found), is_whole))
        return batches

    async def summaries(self, path: str, start_us: int, end_us: int, width_us: int) -> Summaries | None:
        """Buckets reckoned by the server; None where it cannot know all: of texts, and of samples written twice."""
        if width_us > _WIDEST_US:
            return None
        station, device, tag = parts(path)
        name = named(tag)
        condition = where({"station": station, "device": device}, start_us, end_us)
        number, quality, text = (identifier(name + kind) for kind in ("", QUALITY, TEXT))
        buckets = f"GROUP BY time({duration(width_us)}, {duration(start_us % width_us)}) fill(none)"
        usable, odd, both, odder = await self._server.query(
            [
                select(
                    f"count({number}) AS n, min({number}) AS low, max({number}) AS high, mean({number}) AS mean, "
                    f"last({number}) AS last",
                    SAMPLES,
                    f"{condition} {buckets}",
                ),
                select(f"count({quality}) AS n", SAMPLES, f"{condition} {buckets}"),
                select(f"count({number}) AS n", SAMPLES, f"{condition} AND {quality} >= 0 {buckets}"),
                select(f"max({quality}) AS form, count({text}) AS texts", SAMPLES, condition),
            ],
            POLICY,
        )
        for point in (p for rows in odder for p in rows.named()):
            if point.get("form", 0) > _CODE or point.get("texts", 0):
                return None
        columns = {point["time"] // 1_000: point for rows in usable for point in rows.named() if point["n"]}
        counts = {at: int(point["n"]) for at, point in columns.items()}
        for rows, sign in [*((r, 1) for r in odd), *((r, -1) for r in both)]:
            for point in rows.named():
                at = point["time"] // 1_000
                counts[at] = counts.get(at, 0) + sign * int(point["n"])
        begins = sorted(at for at, count in counts.items() if count)
        return Summaries(
            path,
            np.array(begins, np.int64),
            np.array([counts[at] for at in begins], np.int64),
            np.array([columns[at]["n"] if at in columns else 0 for at in begins], np.int64),
            *(
                np.array([columns[at][word] if at in columns else math.nan for at in begins], np.float64)
                for word in ("low", "high", "mean", "last")
            ),
        )


def _columns(name: str) -> str:
    return fields(name + kind for kind in _KINDS)


def _device(rows: Rows) -> tuple[str, str]:
    return unnamed(rows.tags["station"]), unnamed(rows.tags["device"])


def _sample(name: str, point: Mapping[str, Any]) -> tuple[int, float, str | None, int]:
    """Time, number, text and quality of a tag in one point."""
    code = int(point.get(name + QUALITY, 0))
    form, quality = code >> _SHIFT, code & _CODE
    value, text = math.nan, None
    if form in {Form.AS_THERE, Form.TEXT} and (name + TEXT) in point:
        text = told(point[name + TEXT])
    elif form in {Form.AS_THERE, Form.NUMBER}:
        value = float(point.get(name if quality < Quality.BAD else name + UNUSABLE, math.nan))
    elif form in {Form.INFINITE, Form.MINUS_INFINITE}:
        value = math.inf if form == Form.INFINITE else -math.inf
    return point["time"] // 1_000, value, text, quality


def _batch(station: str, paths: Sequence[str], found: Sequence[tuple[int, float, str | None, int]]) -> SampleBatch:
    at, values, texts, qualities = zip(*found, strict=True) if found else ((), (), (), ())
    return SampleBatch(
        station,
        tuple(paths),
        np.array(at, np.int64),
        np.array(values, np.float64),
        texts if any(t is not None for t in texts) else (),
        np.array(qualities, np.uint8),
    )


def _first(samples: SampleBatch, count: int) -> SampleBatch:
    return SampleBatch(
        samples.station,
        samples.paths[:count],
        samples.at_us[:count],
        samples.values[:count],
        samples.texts[:count],
        samples.qualities[:count],
    )
