"""Groups of batches as checked, compressed bytes and back, without loss; no input or output."""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pumpwatch.errors import BadReply
from pumpwatch.historian.coding import PathCodes
from pumpwatch.historian.rows import SHAPES, Plain
from pumpwatch.model import Batch, Record, SampleBatch, from_us, to_us

_MAGIC: Final = b"PWJ1"
_OUTER: Final = struct.Struct("<4sII")
"""Magic, CRC-32 of what follows the CRC, length before compression."""
_INNER: Final = struct.Struct("<I")
"""Length of the head (JSON); the Arrow stream follows it."""
_LEVEL: Final = 1


def encode(batches: Sequence[Batch], codes: PathCodes | None = None) -> bytes:
    """One blob for these batches: a JSON head (stations, arrival, records) and one Arrow stream (all samples), zstd.

    Who encodes many gives each time the same ``codes``.
    """
    for b in batches:
        _check(b.samples)
    head = {
        "batches": [
            [b.station, b.samples.station, to_us(b.arrived), len(b.samples), bool(b.samples.texts)] for b in batches
        ],
        "records": [[_named(r) for r in b.records] for b in batches] if any(b.records for b in batches) else [],
    }
    head_bytes = json.dumps(head, separators=(",", ":")).encode()
    raw = _INNER.pack(len(head_bytes)) + head_bytes + _stream([b.samples for b in batches], codes or PathCodes())
    packed = pa.Codec("zstd", compression_level=_LEVEL).compress(raw, asbytes=True)
    body = struct.pack("<I", len(raw)) + packed
    return b"".join((_MAGIC, struct.pack("<I", zlib.crc32(body)), body))


def decode(blob: bytes, place: str) -> tuple[Batch, ...]:
    """The batches ``encode`` was given. Raises ``BadReply`` naming ``place`` when a single bit is not as it was."""
    if len(blob) < _OUTER.size or not blob.startswith(_MAGIC):
        raise BadReply(f"{place}: not a group of batches ({len(blob)} bytes)")
    _, crc, length = _OUTER.unpack_from(blob)
    if zlib.crc32(memoryview(blob)[8:]) != crc:
        raise BadReply(f"{place}: the checksum is wrong, the bytes have changed on disk")
    raw = pa.Codec("zstd").decompress(memoryview(blob)[_OUTER.size :], length, asbytes=True)
    (head_length,) = _INNER.unpack_from(raw)
    head = json.loads(raw[_INNER.size : _INNER.size + head_length])
    samples = _samples(raw[_INNER.size + head_length :], head["batches"])
    records = head["records"] or [[] for _ in samples]
    return tuple(
        Batch(station, columns, tuple(map(_record, those)), from_us(arrived))
        for (station, _, arrived, _, _), columns, those in zip(head["batches"], samples, records, strict=True)
    )


def _check(samples: SampleBatch) -> None:
    n = len(samples.paths)
    if not (len(samples.at_us) == len(samples.values) == len(samples.qualities) == n and len(samples.texts) in (0, n)):
        raise ValueError(f"the columns of a batch of {samples.station} are not equally long")


def _stream(parts: Sequence[SampleBatch], codes: PathCodes) -> bytes:
    names = ["path", "at", "value", "quality"]
    columns = [
        codes.coded(parts),
        pa.array(_joined([p.at_us for p in parts], np.int64)),
        pa.array(_joined([p.values for p in parts], np.float64)),
        pa.array(_joined([p.qualities for p in parts], np.uint8)),
    ]
    if any(p.texts for p in parts):
        names.append("text")
        # Devices may send bytes that are no text; a lone surrogate must survive, so texts travel as bytes.
        texts = [t for p in parts for t in p.texts or (None,) * len(p)]
        encoded = [None if t is None else t.encode(errors="surrogatepass") for t in texts]
        columns.append(pa.array(encoded, pa.binary()))
    rows = pa.record_batch(columns, names=names)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())


def _samples(stream: bytes, heads: Sequence[Sequence[Any]]) -> list[SampleBatch]:
    with pa.ipc.open_stream(stream) as reader:
        rows = reader.read_next_batch()
    path = rows.column("path")
    names = path.dictionary.to_pylist()
    paths = [names[i] for i in path.indices.to_numpy().tolist()]
    at, value, quality = (rows.column(n).to_numpy() for n in ("at", "value", "quality"))
    has_text = "text" in rows.schema.names
    texts = (
        [t if t is None else t.decode(errors="surrogatepass") for t in rows.column("text").to_pylist()]
        if has_text
        else []
    )
    out: list[SampleBatch] = []
    start = 0
    for _, station, _, n, texted in heads:
        here = slice(start, start + n)
        out.append(
            SampleBatch(
                station, tuple(paths[here]), at[here], value[here], tuple(texts[here]) if texted else (), quality[here]
            )
        )
        start += n
    return out


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.asarray(p, kind) for p in parts]) if parts else np.empty(0, kind)


def _named(record: Record) -> dict[str, object]:
    shape = SHAPES[type(record)]
    named: dict[str, object] = {"": shape.table}
    for column, value in zip(shape.columns, shape.row(record), strict=True):
        if value is not None:
            named[column.name] = {"b64": b64encode(value).decode()} if isinstance(value, bytes) else value
    return named


def _record(named: dict[str, Any]) -> Record:
    shape = next(s for s in SHAPES.values() if s.table == named[""])
    values: dict[str, Plain] = {k: b64decode(v["b64"]) if isinstance(v, dict) else v for k, v in named.items()}
    return shape.from_named(values)
