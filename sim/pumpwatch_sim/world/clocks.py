"""What a dispenser's clock says: right at each weekly setting, gaining or losing since, and what scenarios do to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pumpwatch_sim.world.timeline import Floats, Ints, Timeline

_DAY_US = 86_400_000_000


def offset_s(timeline: Timeline, dispenser: int, at_us: Ints) -> Floats:
    """Seconds by which the clock of this dispenser (an index) is ahead of the time, at times within the stretch.

    All clocks are set when a stretch begins; faults that began earlier and last are part of every timeline.
    """
    plan = timeline.station.dispensers[dispenser]
    ahead: Floats = plan.clock_drift_s_per_day / _DAY_US * (at_us - timeline.start_us).astype(np.float64)
    for fault in timeline.clock_faults:
        if fault.dispenser_id != plan.registered.dispenser_id:
            continue
        wrong = (at_us >= fault.at_us) & (at_us < (fault.end_us or np.iinfo(np.int64).max))
        ahead = ahead + wrong * (fault.step_s + fault.drift_s_per_day / _DAY_US * (at_us - fault.at_us))
    return ahead
