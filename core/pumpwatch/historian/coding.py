"""The paths of many samples as a dictionary and numbers, which is how they are written everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from pumpwatch.model import SampleBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REMEMBERED: Final = 4_000_000
"""Strings and numbers."""


class PathCodes:
    """Remembers paths and what batches were made of: a device sends the same ones each time. For one thread."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._new: list[pa.Array] = []
        """Paths that are not yet among the names."""
        self._names = pa.array([], pa.string())
        self._batches: dict[tuple[int, str], tuple[tuple[str, ...], NDArray[np.int32]]] = {}
        self._held = 0

    def coded(self, parts: Sequence[SampleBatch]) -> pa.DictionaryArray:
        """The paths of all parts in their order; the dictionary holds those that occur, each once.

        Raises what Arrow does, or ``TypeError``, for a path that is no text; nothing of it is remembered.
        """
        if self._held > _REMEMBERED:
            self._codes, self._batches, self._held = {}, {}, 0
            self._names = self._names[:0]
        numbers = np.concatenate([np.empty(0, np.int32), *(self._numbers(p.paths) for p in parts if len(p))])
        if self._new:
            self._names = pa.concat_arrays([self._names, *self._new])
            self._new = []
        occurs = np.zeros(len(self._codes), np.bool_)
        occurs[numbers] = True
        own = np.cumsum(occurs, dtype=np.int32) - 1
        return pa.DictionaryArray.from_arrays(
            pa.array(own[numbers]), self._names.take(pa.array(np.flatnonzero(occurs)))
        )

    def _numbers(self, paths: tuple[str, ...]) -> NDArray[np.int32]:
        place = len(paths), paths[0]
        known = self._batches.get(place)
        if known is None or known[0] != paths:
            new = [path for path in dict.fromkeys(paths) if path not in self._codes]
            names = pa.array(new, pa.string())
            if names.null_count:
                raise TypeError("a path is None")
            self._codes.update(zip(new, range(len(self._codes), len(self._codes) + len(new)), strict=True))
            self._new.append(names)
            self._held += len(new) + len(paths)
            known = paths, np.fromiter(map(self._codes.__getitem__, paths), np.int32, len(paths))
            self._batches[place] = known
        return known[1]
