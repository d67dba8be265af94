"""Samples and records as InfluxDB line protocol: one wide line a device and time; no input or output.

Names and texts that line protocol cannot carry (line breaks, other control characters, an empty tag, lone surrogates, a
backslash or a quotation mark in a name) travel percent-encoded and come back as they were.

Source: InfluxDB line protocol reference.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import add
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pumpwatch import Quality, SampleBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES: Final = "samples"
"""The measurement of all samples."""
QUALITY: Final = ":quality"
TEXT: Final = ":text"
UNUSABLE: Final = ":bad"
"""What a tag's name ends in where the field is not its usable number; a colon in the name itself is encoded."""
FIRST_US: Final = -9_223_372_036_854_775
LAST_US: Final = 9_223_372_036_854_774
"""InfluxDB counts nanoseconds in 64 bits: the years 1677 to 2262."""
_MOST_PATHS: Final = 200_000
_IN_TEXTS: Final = re.compile("[%\x00-\x1f\x7f\ud800-\udfff]")
_IN_NAMES: Final = re.compile('[%:"\\\\\x00-\x1f\x7f\ud800-\udfff]|^_|^(?:time|station|device)$')
_SPECIAL: Final = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_QUOTES: Final = str.maketrans({'"': '\\"', "\\": "\\\\"})


class Form(IntEnum):
    """What a sample holds; in the high bits of its quality field where that is not plain from the other fields."""

    AS_THERE = 0
    """The text if there is one, else the number, else nothing."""
    NUMBER = 1
    TEXT = 2
    NOTHING = 3
    INFINITE = 4
    MINUS_INFINITE = 5


@dataclass(frozen=True, slots=True)
class Lines:
    """What becomes of samples."""

    first: list[str]
    later: list[str]
    """Lines of points that are among ``first`` as well; to be written after them."""
    refused: list[str]
    """What InfluxDB has no room for, as sentences."""


# ---------------------------------------------------------------- names and texts


def named(name: str) -> str:
    """A tag's value or a field's name as text without control characters; never empty. ``unnamed`` is the way back."""
    return _IN_NAMES.sub(_percent, name) if name else "%"


def unnamed(name: str) -> str:
    """What ``named`` was given."""
    return "" if name == "%" else told(name)


def telling(text: str) -> str:
    """Any text without control characters; ``told`` is the way back."""
    return _IN_TEXTS.sub(_percent, text)


def told(text: str) -> str:
    """What ``telling`` was given."""
    return unquote_to_bytes(text).decode("utf-8", "surrogatepass") if "%" in text else text


def escaped(name: str) -> str:
    """A tag's key or value, or a field's key, as it stands in a line."""
    return name.translate(_SPECIAL)


def quoted(text: str) -> str:
    """A text field's value as it stands in a line."""
    return f'"{telling(text).translate(_QUOTES)}"'


def _percent(match: re.Match[str]) -> str:
    first, rest = match[0][0], match[0][1:]
    return "".join(f"%{byte:02X}" for byte in first.encode("utf-8", "surrogatepass")) + rest


# ---------------------------------------------------------------- lines


def head(measurement: str, tags: Mapping[str, str]) -> str:
    """A line's beginning up to its fields; ``tags`` in the order of their keys, which is the fastest for the server."""
    return measurement + "".join(f",{key}={escaped(named(tags[key]))}" for key in sorted(tags)) + " "


def line(start: str, fields: Mapping[str, str], at: int) -> str:
    """One line: ``head``, fields as they stand there, time."""
    return f"{start}{','.join(f'{escaped(key)}={value}' for key, value in fields.items())} {at}"


def parts(path: str) -> tuple[str, str, str]:
    """Station, device and tag of a path; what is missing is empty."""
    station, _, rest = path.partition("/")
    device, _, tag = rest.partition("/")
    return station, device, tag


class Encoder:
    """Samples as lines with times in microseconds, a line a device and time.

    It remembers the newest time of each device. What is not newer may overwrite: its quality field is written in any
    case and says which of the point's fields count, so that of two samples of one tag and time the later holds alone,
    although InfluxDB puts their fields together.
    """

    def __init__(self) -> None:
        self._paths: dict[str, int] = {}
        """Of each path its number."""
        self._keys: list[str] = []
        """By the number of a path the key of its field, with the equals sign."""
        self._owners: list[int] = []
        """By the number of a path the number of its device."""
        self._devices: dict[str, int] = {}
        """Of each head of a device's lines its number."""
        self._newest: list[int] = []
        """By the number of a device the newest time of its samples."""

    def note(self, station: str, device: str, at_us: int) -> None:
        """The server has samples of this device up to this time."""
        number = self._number(station, device)
        self._newest[number] = max(self._newest[number], at_us)

    def newest(self) -> tuple[int, ...]:
        """What it remembers, for ``back_to``."""
        return tuple(self._newest)

    def back_to(self, newest: Sequence[int]) -> None:
        """Remember as before what was encoded since and could not be written."""
        self._newest[: len(newest)] = newest
        self._newest[len(newest) :] = [FIRST_US - 1] * (len(self._newest) - len(newest))

    def encode(self, batches: Iterable[SampleBatch]) -> Lines:
        """The lines of these batches; of two samples of one tag and time the later counts."""
        refused: list[str] = []
        samples = _in_range(SampleBatch.joined("", list(batches)), refused)
        if not len(samples):
            return Lines([], [], refused)
        paths = self._numbers(samples.paths)
        devices = np.array(self._owners)[paths]
        begins = _begins(devices, samples.at_us)
        is_usual = self._usual(samples, paths, begins)
        whole = self._lines(samples, paths, devices, begins)
        ends = [*begins[1:].tolist(), len(samples)]
        first: dict[tuple[int, int], str] = {}
        slow: dict[tuple[int, int], dict[str, str]] = {}
        later: dict[tuple[int, int], dict[str, str]] = {}
        stretches = zip(begins.tolist(), ends, devices[begins].tolist(), samples.at_us[begins].tolist(), strict=True)
        for number, (begin, end, device, time) in enumerate(stretches):
            place = (device, time)
            is_new = time > self._newest[device]
            if is_new:
                self._newest[device] = time
                if is_usual[number]:
                    first[place] = whole[number]
                    continue
            fields = (later if place in first else slow).setdefault(place, {})
            for i in range(begin, end):
                text = samples.texts[i] if samples.texts else None
                value, quality = float(samples.values[i]), int(samples.qualities[i])
                fields.update(_fields(self._keys[paths[i]], value, text, quality, is_sure=is_new))
        return Lines([*first.values(), *self._merged(slow)], self._merged(later), refused)

    def _numbers(self, paths: Sequence[str]) -> NDArray[np.int64]:
        try:
            return np.fromiter(map(self._paths.__getitem__, paths), np.int64, len(paths))
        except KeyError:
            if len(self._paths) > _MOST_PATHS:
                self._paths.clear()
                self._keys.clear()
                self._owners.clear()
            owners: dict[tuple[str, str], int] = {}
            for path in dict.fromkeys(paths):
                if path not in self._paths:
                    station, device, tag = parts(path)
                    if (station, device) not in owners:
                        owners[station, device] = self._number(station, device)
                    self._paths[path] = len(self._keys)
                    self._keys.append(f"{escaped(named(tag))}=")
                    self._owners.append(owners[station, device])
        return np.fromiter(map(self._paths.__getitem__, paths), np.int64, len(paths))

    def _number(self, station: str, device: str) -> int:
        start = head(SAMPLES, {"station": station, "device": device})
        number = self._devices.setdefault(start, len(self._newest))
        if number == len(self._newest):
            self._newest.append(FIRST_US - 1)
        return number

    def _usual(self, samples: SampleBatch, paths: NDArray[np.int64], begins: NDArray[np.intp]) -> list[bool]:
        """Of each stretch, whether it holds good numbers only, and no tag twice."""
        good = np.isfinite(samples.values) & (samples.qualities == Quality.GOOD)
        if samples.texts:
            good &= np.fromiter((text is None for text in samples.texts), np.bool_, len(samples))
        rising = np.append(True, paths[1:] > paths[:-1])
        rising[begins] = True
        usual = np.logical_and.reduceat(good, begins)
        for number in np.flatnonzero(usual & ~np.logical_and.reduceat(rising, begins)).tolist():
            end = begins[number + 1] if number + 1 < len(begins) else len(samples)
            here = paths[begins[number] : end].tolist()
            usual[number] = len(set(here)) == len(here)
        usual_list: list[bool] = usual.tolist()
        return usual_list

    def _lines(
        self, samples: SampleBatch, paths: NDArray[np.int64], devices: NDArray[np.int64], begins: NDArray[np.intp]
    ) -> list[str]:
        """Every stretch as a line of numbers, by Arrow: it takes a third of the time that strings take in Python."""
        values = pa.Array.from_buffers(pa.float64(), len(samples), [None, pa.py_buffer(samples.values)])
        written = pc.cast(values, pa.string())  # the shortest that reads the same, as repr does
        known, places = np.unique(paths, return_inverse=True)
        keys = pa.array([self._keys[number] for number in known.tolist()], pa.string()).take(_whole(places))
        fields = pc.binary_join_element_wise(keys, written, "")
        edges = np.append(begins, len(samples)).astype(np.int32)
        bodies = pc.binary_join(
            pa.ListArray.from_arrays(
                pa.Array.from_buffers(pa.int32(), len(edges), [None, pa.py_buffer(edges)]), fields
            ),
            ",",
        )
        heads = pa.array(list(self._devices), pa.string()).take(_whole(devices[begins]))
        times = pc.cast(_whole(samples.at_us[begins]), pa.string())
        lines: list[str] = pc.binary_join_element_wise(
            pc.binary_join_element_wise(heads, bodies, ""), times, " "
        ).to_pylist()
        return lines

    def _merged(self, points: Mapping[tuple[int, int], Mapping[str, str]]) -> list[str]:
        heads = list(self._devices)
        return [
            f"{heads[device]}{','.join(map(add, fields.keys(), fields.values()))} {time}"
            for (device, time), fields in points.items()
        ]


def _whole(numbers: NDArray[np.int64]) -> pa.Array:
    return pa.Array.from_buffers(
        pa.int64(), len(numbers), [None, pa.py_buffer(np.ascontiguousarray(numbers, np.int64))]
    )


def _begins(devices: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where each stretch of one device and time begins."""
    return np.flatnonzero(np.append(True, (devices[1:] != devices[:-1]) | (at[1:] != at[:-1])))


def _fields(key: str, value: float, text: str | None, quality: int, *, is_sure: bool) -> dict[str, str]:
    """The fields of one sample, keys with their equals sign; all of them when it may overwrite (not ``is_sure``)."""
    name = key[:-1]
    fields: dict[str, str] = {}
    if text is not None:
        form = Form.TEXT
        fields[f"{name}{TEXT}="] = quoted(text)
    elif math.isnan(value):
        form = Form.NOTHING
    elif math.isinf(value):
        form = Form.INFINITE if value > 0 else Form.MINUS_INFINITE
    else:
        form = Form.NUMBER
        fields[key if quality < Quality.BAD else f"{name}{UNUSABLE}="] = repr(value)
    if is_sure and (fields or (form is Form.NOTHING and quality)):
        form = Form.AS_THERE
    if code := form << 8 | quality:
        fields[f"{name}{QUALITY}="] = f"{code}i"
    return fields


def _in_range(samples: SampleBatch, refused: list[str]) -> SampleBatch:
    """The samples whose time InfluxDB can count."""
    fits = (samples.at_us >= FIRST_US) & (samples.at_us <= LAST_US)
    if fits.all():
        return samples
    for i in np.flatnonzero(~fits).tolist():
        refused.append(f"{samples.paths[i]}: its time, {samples.at_us[i]} µs since 1970, is beyond InfluxDB's")
    kept = np.flatnonzero(fits).tolist()
    return SampleBatch(
        samples.station,
        tuple(samples.paths[i] for i in kept),
        samples.at_us[fits],
        samples.values[fits],
        tuple(samples.texts[i] for i in kept) if samples.texts else (),
        samples.qualities[fits],
    )
