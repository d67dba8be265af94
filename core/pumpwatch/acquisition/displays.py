"""The displays of one device's nozzles, watched at every read; floor 4."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pumpwatch.display import DISPLAY, DisplayWatch, Look
from pumpwatch.model import DeviceEvent, EventKind, NozzleState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pumpwatch.contracts import Site
    from pumpwatch.display import Verdict
    from pumpwatch.model import Sample

_STATES = {float(state): state for state in NozzleState}
_HUNG = (NozzleState.IDLE, NozzleState.LOCKED)


class Displays:
    """The displays of one device's nozzles, watched at every read: what is not passed on is seen too."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._watched = [
            (f"nozzle-{number}.state", f"nozzle-{number}.volume", f"nozzle-{number}.flow", nozzle_id, DisplayWatch())
            for number, nozzle_id in enumerate(site.nozzle_ids, 1)
        ]
        self.tags = frozenset(tag for each in self._watched for tag in each[:3])
        """What ``look`` looks at."""
        self._lifted: dict[str, datetime] = {}
        """When each nozzle that does not hang was first seen so, by the source."""

    def look(self, samples: Sequence[Sample], began: float, ended: float) -> Iterator[DeviceEvent]:
        """What a read between these two moments ended: an event for each filling with which something was wrong."""
        told = {sample.tag: sample for sample in samples if sample.tag in self.tags and sample.quality.is_good}
        states = [_STATES.get(_number(told.get(each[0]))) for each in self._watched]
        busy = sum(state not in _HUNG for state in states)
        for state, (_, shown, flowing, nozzle_id, watch) in zip(states, self._watched, strict=True):
            volume = told.get(shown)
            if state is None or volume is None:
                continue
            hangs = state in _HUNG
            look = Look(began, ended, state, _number(volume), _number(told.get(flowing)), busy == (not hangs))
            verdict = watch.feed(look)
            lifted = self._lifted.pop(nozzle_id, volume.at) if hangs else self._lifted.setdefault(nozzle_id, volume.at)
            if verdict is not None and verdict.wrong:
                yield self._event(nozzle_id, verdict, lifted, volume.at)

    def _event(self, nozzle_id: str, seen: Verdict, lifted: datetime, at: datetime) -> DeviceEvent:
        detail: dict[str, str | float | int | bool | None] = {
            "code": DISPLAY,
            "wrong": " ".join(seen.wrong),
            "lifted": lifted.isoformat(),
            "displayed_l": round(seen.volume_l, 2),
            "excess_l": round(seen.excess_l, 3),
            "start_l": None if math.isnan(seen.start_l) else round(seen.start_l, 3),
            "jump_s": round(seen.jumps[0][0] - seen.started, 1) if seen.jumps else None,
            "looks": seen.trace,
        }
        return DeviceEvent(at, self._site.station_id, nozzle_id, EventKind.ALARM, detail)


def _number(sample: Sample | None) -> float:
    return float(sample.value) if sample is not None and isinstance(sample.value, int | float) else math.nan
