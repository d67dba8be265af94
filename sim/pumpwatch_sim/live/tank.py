"""A tank as its gauge sees it at this moment, looked up in the course of what stands in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch_sim.live.views import DropLook, TankLook
from pumpwatch_sim.world.gauges import read
from pumpwatch_sim.world.people import LOCAL

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import TankPlan
    from pumpwatch_sim.world.timeline import Drop, TankCourse, Timeline

DROPS = 10
"""Finished deliveries the gauge remembers."""

BLOCK_S = 60
"""Readings are made for so many seconds at once."""

_SECOND_US = 1_000_000
_COLUMNS = ("height_mm", "volume_l", "volume_20c_l", "water_mm", "temperature_c", "density_kg_m3")


@dataclass(frozen=True, slots=True)
class _Unloading:
    """A delivery that has begun."""

    drop: Drop
    before: TankLook


class TankPlayer:
    """One tank; see :class:`pumpwatch_sim.live.views.TankView`."""

    def __init__(self, plan: TankPlan, index: int, seed: int, now_us: Callable[[], int]) -> None:
        """``index`` counts in ``StationPlan.tanks``; ``seed`` is the county's."""
        self.plan = plan
        self.number = index + 1
        self._index = index
        self._seed = seed
        self._now_us = now_us
        self._timeline: Timeline | None = None
        self._second = -1
        self._look: TankLook | None = None
        self._block: list[tuple[float, ...]] = []
        self._block_second = 0
        self._coming: deque[Drop] = deque()
        self._unloading: deque[_Unloading] = deque()
        self._drops: deque[DropLook] = deque(maxlen=DROPS)

    @property
    def tank_id(self) -> str:
        """The registered id."""
        return self.plan.registered.tank_id

    @property
    def grade(self) -> str:
        """``92#``, ``95#``, ``98#`` or ``0#``."""
        return self.plan.registered.grade

    @property
    def capacity_l(self) -> float:
        """As the gauge has it."""
        return self.plan.gauge_chart.capacity_l

    @property
    def diameter_mm(self) -> float:
        """The gauge's chart ends there."""
        return float(self.plan.gauge_chart.height_mm[-1])

    @property
    def receiving(self) -> bool:
        """Whether a delivery is under way."""
        self._see(self._now_us())
        return bool(self._unloading)

    def chart(self, points: int) -> Sequence[tuple[float, float]]:
        """So many evenly spaced heights up to the top, as the gauge has them."""
        self._now_us()
        heights = np.linspace(self.diameter_mm / points, self.diameter_mm, points)
        volumes = self._course.plan.gauge_chart.volume_l(heights)
        return [(float(height), float(volume)) for height, volume in zip(heights, volumes, strict=True)]

    def look(self) -> TankLook:
        """The probe's reading of this second."""
        second = self._now_us() // _SECOND_US
        if second != self._second or self._look is None:
            place = second - self._block_second
            if not 0 <= place < len(self._block):
                self._block, self._block_second, place = self._read(second, BLOCK_S), second, 0
            self._look, self._second = self._look_of(self._block[place]), second
        return self._look

    def drops(self) -> Sequence[DropLook]:
        """The last ten finished deliveries, oldest first."""
        self._see(self._now_us())
        return tuple(self._drops)

    def look_on(self) -> None:
        """Take note of the deliveries that have begun or ended."""
        self._see(self._now_us())

    def follow(self, timeline: Timeline) -> None:
        """Go on with this stretch."""
        if self._timeline is not None:
            self._see(timeline.start_us - 1)
        self._timeline = timeline
        self._coming.extend(d for d in timeline.drops if d.tank == self._index and d.litres_20c > 0.0)
        self._look, self._block = None, []

    @property
    def _course(self) -> TankCourse:
        if self._timeline is None:
            raise RuntimeError(f"{self.tank_id} is asked before its station's first stretch is made")
        return self._timeline.tanks[self._index]

    def _see(self, now_us: int) -> None:
        """Deliveries that have begun or ended since the last look."""
        while self._coming and self._coming[0].start_us <= now_us:
            drop = self._coming.popleft()
            self._unloading.append(_Unloading(drop, self._at(drop.start_us)))
        for unloading in [u for u in self._unloading if u.drop.end_us <= now_us]:
            drop = unloading.drop
            after = self._at(drop.end_us)
            self._drops.append(DropLook(_local(drop.start_us), _local(drop.end_us), unloading.before, after))
            self._unloading.remove(unloading)

    def _at(self, at_us: int) -> TankLook:
        return self._look_of(self._read(at_us // _SECOND_US, 1)[0])

    def _read(self, second: int, count: int) -> list[tuple[float, ...]]:
        """Readings of so many seconds, in the order of ``_COLUMNS``: many at once cost little more than one."""
        course, timeline = self._course, self._timeline
        if timeline is None:
            raise RuntimeError(f"{self.tank_id} has no stretch")
        at_us = np.arange(second, second + count, dtype=np.int64) * _SECOND_US
        columns = read(course, timeline, np.clip(at_us, timeline.start_us, timeline.end_us), self._seed)
        return list(zip(*(columns[name].tolist() for name in _COLUMNS), strict=True))

    def _look_of(self, row: tuple[float, ...]) -> TankLook:
        height_mm, volume_l, volume_20c_l, water_mm, temperature_c, density_kg_m3 = row
        chart = self._course.plan.gauge_chart
        water_l = float(np.interp(water_mm, chart.height_mm, chart.volume_l_at))
        return TankLook(
            height_mm=height_mm,
            volume_l=volume_l,
            volume_20c_l=volume_20c_l,
            ullage_l=max(0.0, chart.capacity_l - volume_l - water_l),
            water_mm=water_mm,
            water_l=water_l,
            temperature_c=temperature_c,
            density_kg_m3=density_kg_m3,
        )


def _local(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // _SECOND_US, UTC).astimezone(LOCAL)
