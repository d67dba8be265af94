"""Sealed samples: one immutable Parquet file, sorted by path and time, that proves its own bytes when it is read."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pumpwatch.errors import BadReply
from pumpwatch.historian.coding import PathCodes
from pumpwatch.model import SampleBatch

DAY_US: Final = 86_400_000_000
ODD_DAY: Final = -(2**31)
"""Where the samples of devices with wandering clocks go, so that they cannot make a file a day each."""

ROWS_A_GROUP: Final = 16_384
"""Measured: smaller answers one series faster, larger packs a little tighter."""
_WRITE_AT: Final = 8 * ROWS_A_GROUP
_DAYS_A_WRITE: Final = 400
_FULLEST: Final = 4
"""Days that have a file of their own however few rows they have."""
_ROWS_OF_A_DAY: Final = 16
SCHEMA: Final = pa.schema(
    [
        ("path", pa.dictionary(pa.int32(), pa.string())),
        ("time", pa.timestamp("us", "UTC")),
        ("value", pa.float64()),
        ("text", pa.string()),
        ("quality", pa.uint8()),
    ]
)
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_VALUES: Final = ["time", "value", "text", "quality"]


@dataclass(frozen=True, slots=True)
class Segment:
    """What the manifest knows of one file."""

    name: str
    day: int
    """Days since 1970 UTC, or ``ODD_DAY``."""
    level: int
    """How often its rows have been merged."""
    order: int
    """Number of the newest write in it; of two samples of one path and time the later write counts."""
    rows: int
    size: int
    first_us: int
    last_us: int
    footer: int
    """CRC-32 of the file's footer."""
    groups: tuple[int, ...] = ()
    """CRC-32 of the bytes of each row group: the pages carry their own, but their heads do not."""
    thinned: str = ""
    """Which tags' samples were taken out, as ``retention.Going`` marks it; empty when nobody's were."""

    @classmethod
    def told(cls, known: Mapping[str, Any]) -> Segment:
        """As a manifest has it. Raises ``TypeError``."""
        return cls(**{**known, "groups": tuple(known.get("groups", ()))})


class Damaged(BadReply):
    """A segment that is not what was sealed."""

    def __init__(self, segment: Segment, text: str) -> None:
        super().__init__(text)
        self.segment = segment


@dataclass(frozen=True, slots=True)
class Footer:
    """A file's footer in memory: where which paths are."""

    segment: Segment
    parquet: Any
    paths: tuple[tuple[str, str], ...]
    """First and last path of each row group."""
    places: tuple[tuple[int, int], ...]
    """Where each row group begins and ends in the file."""

    def holding(self, path: str) -> list[int]:
        """The row groups that may hold ``path``."""
        return [g for g, (first, last) in enumerate(self.paths) if first <= path <= last]


def planned(day: int, level: int, number: int, order: int) -> Segment:
    """A segment that is still to be sealed."""
    ordinal = day + _EPOCH_ORDINAL
    in_calendar = 1 <= ordinal <= date.max.toordinal()
    where = "odd" if day == ODD_DAY else date.fromordinal(ordinal).isoformat() if in_calendar else f"day{day}"
    return Segment(f"{where}-{level}-{number:08d}.parquet", day, level, order, 0, 0, 0, 0, 0)


def columns(batches: Sequence[SampleBatch], codes: PathCodes) -> pa.Table:
    """All samples of these batches, in the order they came."""
    total = sum(len(b) for b in batches)
    if any(b.texts for b in batches):
        texts = pa.array([_valid(t) for b in batches for t in b.texts or (None,) * len(b)], pa.string())
    else:
        texts = pa.nulls(total, pa.string())
    return pa.table(
        [
            codes.coded(batches),
            pa.array(_joined([b.at_us for b in batches], np.int64)).cast(SCHEMA.field("time").type),
            pa.array(_joined([b.values for b in batches], np.float64)),
            texts,
            pa.array(_joined([b.qualities for b in batches], np.uint8)),
        ],
        schema=SCHEMA,
    )


def by_day(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each day; those of days with very few rows, beyond the fullest days, are one odd lot."""
    days = numbers(table["time"]) // DAY_US
    distinct, counts = np.unique(days, return_counts=True)
    if len(distinct) == 1:
        yield int(distinct[0]), table
        return
    fullest = np.argsort(-counts, kind="stable")[:_DAYS_A_WRITE]
    kept = distinct[fullest[(counts[fullest] >= _ROWS_OF_A_DAY) | (np.arange(len(fullest)) < _FULLEST)]]
    days = np.where(np.isin(days, kept), days, ODD_DAY)
    for day in np.unique(days).tolist():
        yield day, table.filter(pa.array(days == day))


def arranged(table: pa.Table) -> pa.Table:
    """Sorted by path and time; of equal path and time only the last row is left."""
    table = table.combine_chunks().unify_dictionaries()
    path = table["path"].chunk(0)
    names = path.dictionary.to_pylist()
    rank = np.empty(len(names), np.int32)
    rank[np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)] = np.arange(len(names), dtype=np.int32)
    ranks, at = rank[path.indices.to_numpy()], numbers(table["time"])
    order = np.lexsort((at, ranks))
    ranks, at = ranks[order], at[order]
    last = np.ones(len(order), bool)
    last[:-1] = (ranks[1:] != ranks[:-1]) | (at[1:] != at[:-1])
    return table.take(pa.array(order[last]))


def last_of_each(table: pa.Table) -> list[tuple[object, ...]]:
    """Path, microseconds, value, text and quality of the last row of each path of an arranged table."""
    path = table["path"].combine_chunks()
    codes = path.indices.to_numpy()
    last = np.flatnonzero(np.append(codes[1:] != codes[:-1], True))
    rows = table.take(pa.array(last))
    names = path.dictionary.to_pylist()
    texts = rows["text"]
    return list(
        zip(
            map(names.__getitem__, codes[last].tolist()),
            numbers(rows["time"]).tolist(),
            (None if v != v else v for v in rows["value"].to_numpy().tolist()),  # noqa: PLR0124 - NaN
            texts.to_pylist() if texts.null_count < len(texts) else (None,) * len(texts),
            rows["quality"].to_numpy().tolist(),
            strict=True,
        )
    )


def seal(folder: Path, plan: Segment, tables: Iterator[pa.Table]) -> Segment:
    """Write arranged tables, in order, as one file; on disk under its name when this returns.

    ``plan`` gives name, day, level and order; the rest is filled in.
    """
    path, unfinished = folder / plan.name, folder / (plan.name + ".tmp")
    first_us, last_us, rows = 2**63 - 1, -(2**63), 0
    about = json.dumps({"day": plan.day, "level": plan.level, "order": plan.order})
    try:
        with unfinished.open("wb") as file:
            with pq.ParquetWriter(
                file,
                SCHEMA.with_metadata({"pumpwatch": about}),
                compression="zstd",
                compression_level=3,
                use_dictionary=["path", "value", "text", "quality"],
                column_encoding={"time": "DELTA_BINARY_PACKED"},
                write_page_checksum=True,
            ) as writer:
                for table in _in_good_size(tables):
                    at = numbers(table["time"])
                    first_us, last_us, rows = min(first_us, int(at.min())), max(last_us, int(at.max())), rows + len(at)
                    writer.write_table(table, row_group_size=ROWS_A_GROUP)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        footer = _footer_crc(unfinished)
        groups = _group_crcs(unfinished, pq.read_metadata(unfinished))
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(folder)
    return replace(plan, rows=rows, size=size, first_us=first_us, last_us=last_us, footer=footer, groups=groups)


def read_footer(folder: Path, segment: Segment) -> Footer:
    """Raises ``Damaged`` when the file is not what the manifest says, ``FileNotFoundError`` when it is gone."""
    path = folder / segment.name
    if path.stat().st_size != segment.size or _footer_crc(path) != segment.footer:
        raise Damaged(segment, f"{path}: not the bytes that were sealed (length or footer differ)")
    try:
        parquet = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise Damaged(segment, f"{path}: {error}") from error
    return Footer(segment, parquet, _path_spans(parquet), _places(parquet, segment.size))


def rebuilt(path: Path) -> Segment:
    """What the manifest would know of a file, from the file alone. Raises ``BadReply`` when it cannot be read."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            parquet = file.metadata
            for group in range(parquet.num_row_groups):
                file.read_row_group(group, use_threads=False)  # CRCs of what is damaged would prove nothing
        about = json.loads(parquet.metadata[b"pumpwatch"])
        times = [parquet.row_group(g).column(1).statistics for g in range(parquet.num_row_groups)]
        return Segment(
            path.name,
            about["day"],
            about["level"],
            about["order"],
            parquet.num_rows,
            path.stat().st_size,
            int(min(t.min_raw for t in times)),
            int(max(t.max_raw for t in times)),
            _footer_crc(path),
            _group_crcs(path, parquet),
        )
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise BadReply(f"{path}: cannot be read as a segment ({error})") from error


def read(folder: Path, footer: Footer, path: str) -> pa.Table | None:
    """The rows of one path, by time; columns time, value, text, quality."""
    groups = footer.holding(path)
    if not groups:
        return None
    table = read_groups(folder, footer, groups)
    return table.filter(pc.equal(table["path"], path)).select(_VALUES)


def paths_of(folder: Path, footer: Footer) -> list[str]:
    """All paths of which there are rows. Raises ``Damaged``."""
    file = folder / footer.segment.name
    try:
        table = pq.read_table(file, columns=["path"], read_dictionary=["path"], use_threads=False)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise Damaged(footer.segment, f"{file}: {error}") from error
    names: list[str] = table["path"].unify_dictionaries().unique().to_pylist()
    return names


def read_groups(folder: Path, footer: Footer, groups: list[int]) -> pa.Table:
    """Whole row groups. Raises ``Damaged`` when a single bit is not as it was written."""
    path = folder / footer.segment.name
    try:
        _prove(path, footer, groups)
        with pq.ParquetFile(
            path, metadata=footer.parquet, read_dictionary=["path"], page_checksum_verification=True
        ) as file:
            table = file.read_row_groups(groups, use_threads=False)
            return table.replace_schema_metadata(None).cast(SCHEMA)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise Damaged(footer.segment, f"{path}: {error}") from error


def _prove(path: Path, footer: Footer, groups: list[int]) -> None:
    known = footer.segment.groups
    if not known:  # sealed before they were reckoned
        return
    with path.open("rb") as file:
        for group in groups:
            begin, end = footer.places[group]
            file.seek(begin)
            if zlib.crc32(file.read(end - begin)) != known[group]:
                raise Damaged(footer.segment, f"{path}: row group {group} is not the bytes that were sealed")


def _places(parquet: Any, size: int) -> tuple[tuple[int, int], ...]:  # noqa: ANN401 - pyarrow has no types
    columns = [
        [parquet.row_group(g).column(c) for c in range(parquet.num_columns)] for g in range(parquet.num_row_groups)
    ]
    begins = [min(c.dictionary_page_offset or c.data_page_offset for c in those) for those in columns]
    return tuple(zip(begins, [*begins[1:], size - 8 - parquet.serialized_size], strict=True))


def _group_crcs(path: Path, parquet: Any) -> tuple[int, ...]:  # noqa: ANN401
    with path.open("rb") as file:
        crcs: list[int] = []
        for begin, end in _places(parquet, path.stat().st_size):
            file.seek(begin)
            crcs.append(zlib.crc32(file.read(end - begin)))
    return tuple(crcs)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut (where the system lets one open a folder)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def as_batch(path: str, tables: Sequence[pa.Table]) -> SampleBatch:
    """Rows of one path, in the order of ``tables``, as columns."""
    table = pa.concat_tables([SCHEMA.empty_table().select(_VALUES), *tables])
    texts = table["text"]
    return SampleBatch(
        path.partition("/")[0],
        (path,) * len(table),
        numbers(table["time"]),
        np.asarray(table["value"].to_numpy(), np.float64),
        tuple(texts.to_pylist()) if texts.null_count < len(table) else (),
        np.asarray(table["quality"].to_numpy(), np.uint8),
    )


def as_page(station: str, table: pa.Table) -> SampleBatch:
    """Rows of any paths as columns."""
    path = table["path"].combine_chunks()
    names = path.dictionary.to_pylist()
    texts = table["text"]
    return SampleBatch(
        station,
        tuple(map(names.__getitem__, path.indices.to_numpy().tolist())),
        numbers(table["time"]),
        np.asarray(table["value"].to_numpy(), np.float64),
        tuple(texts.to_pylist()) if texts.null_count < len(table) else (),
        np.asarray(table["quality"].to_numpy(), np.uint8),
    )


def _path_spans(parquet: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401 - pyarrow has no types
    spans = (parquet.row_group(g).column(0).statistics for g in range(parquet.num_row_groups))
    return tuple((s.min, s.max) for s in spans)


def _footer_crc(path: Path) -> int:
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 8))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, end - 8 - length))
        return zlib.crc32(file.read())


def _in_good_size(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        if rows >= _WRITE_AT:
            whole = pa.concat_tables(waiting)
            kept = rows - rows % ROWS_A_GROUP
            yield whole.slice(0, kept).unify_dictionaries()
            waiting, rows = ([whole.slice(kept)], rows - kept) if rows > kept else ([], 0)
    if rows:
        yield pa.concat_tables(waiting).unify_dictionaries()


def numbers(time: pa.ChunkedArray) -> NDArray[np.int64]:
    """Times as microseconds since 1970 UTC."""
    return np.asarray(time.cast(pa.int64()).to_numpy(), np.int64)


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.asarray(p, kind) for p in parts]) if parts else np.empty(0, kind)


def _valid(text: str | None) -> str | None:
    """Lone surrogates (bytes that were no text) cannot be kept in Parquet and become question marks."""
    return None if text is None else text.encode(errors="replace").decode()
