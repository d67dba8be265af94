"""What ``flow_switch`` remembers of days, so that the step of a day need not learn the flows of months again.

What a day's flows are depends on its fillings and those of ``HISTORY_DAYS`` before; so what was made of them is good as
long as the marks of the digests of all those days are the same.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch_physics.flow_rates import BINS, HISTORY_DAYS, LEARNT, Rates

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from pumpwatch import Digests

_VERSION: Final = 1
_SEAL: Final = 16
"""Bytes."""
_NUMBERS: Final = LEARNT + 2
_MOST: Final = 255
"""Fillings in one bin of a histogram; a day with more is not remembered."""


class FlowMemory:
    """Of one station with so many nozzles; ``kept`` is the chronicle's memory.

    ``first_told`` is the first day of which digests are told, if there are any.
    """

    def __init__(
        self, kept: MutableMapping[str, bytes], digests: Digests, nozzles: int, first_told: int, offset_us: int
    ) -> None:
        self._kept, self._digests, self._nozzles, self._first_told = kept, digests, nozzles, first_told
        self._salt = f"{_VERSION} {nozzles} {offset_us}".encode()

    def rates(self, days: range) -> Rates | None:
        """Of the first of these days, as many as are remembered, without single fillings; None for none."""
        seals, told = self._seals(days), []
        for day in days:
            kept = self._kept.get(str(day), b"")
            if day not in seals or kept[:_SEAL] != seals[day]:
                break
            told.append(kept[_SEAL:])
        if not told:
            return None
        cut = 8 * self._nozzles * _NUMBERS
        numbers = np.frombuffer(b"".join(each[:cut] for each in told)).reshape(len(told), self._nozzles, _NUMBERS)
        counts = np.frombuffer(b"".join(each[cut:] for each in told), np.uint8).reshape(len(told), self._nozzles, BINS)
        numbers = numbers.swapaxes(0, 1)
        none, nothing = np.zeros(0, np.int64), np.zeros(0)
        return Rates(
            row=none,
            nozzle=none,
            day=none,
            flow_l_min=nothing,
            excess=nothing,
            first_day=days.start,
            centre=numbers[:, :, LEARNT],
            counted=numbers[:, :, LEARNT + 1].astype(np.int64),
            histogram=counts.swapaxes(0, 1).astype(np.int64),
            learnt=numbers[:, :, :LEARNT],
        )

    def keep(self, made: Rates, days: range) -> None:
        """Remember these days, as far as they are over and everything they depend on was told; forget all others."""
        seals = self._seals(days)
        numbers = np.concatenate((made.learnt, made.centre[:, :, None], made.counted[:, :, None]), axis=2)
        for day in days:
            place = day - made.first_day
            if day in seals and 0 <= place < numbers.shape[1] and made.histogram[:, place].max(initial=0) <= _MOST:
                counts = made.histogram[:, place].astype(np.uint8)
                self._kept[str(day)] = seals[day] + numbers[:, place].tobytes() + counts.tobytes()
        for key in set(self._kept) - {str(day) for day in days}:
            del self._kept[key]

    def _seals(self, days: range) -> dict[int, bytes]:
        """Of all that is known of each of these days and those it depends on; none of days that are not over."""
        first = max(days.start, self._first_told + HISTORY_DAYS)
        marks: list[bytes] = []
        for day in range(first - HISTORY_DAYS, days.stop):
            mark = self._digests.mark(day) if day in self._digests else b"nothing"
            if mark is None:
                break
            marks.append(mark)
        seals = {}
        for place in range(len(marks) - HISTORY_DAYS):
            said = b" ".join((self._salt, *marks[place : place + HISTORY_DAYS + 1]))
            seals[first + place] = hashlib.blake2b(said, digest_size=_SEAL).digest()
        return seals
