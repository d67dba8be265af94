"""The present moment of the simulated world: its start plus the time that has really passed, times a speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig
from pumpwatch.model import to_us

if TYPE_CHECKING:
    from pumpwatch.clock import Clock

FASTEST = 100_000.0


class Moment:
    """World time in microseconds, held still between two ticks so that one answer tells of one moment.

    Whoever answers bytes ticks first. A machine's clock that is set back makes the world wait.
    """

    def __init__(self, clock: Clock, world_us: int, speed: float = 1.0, really_us: int | None = None) -> None:
        """When it is ``really_us`` by the clock it is ``world_us`` in the world; None: at :meth:`begin`.

        Raises ``BadConfig`` for a speed that cannot be.
        """
        if not 0.0 < speed <= FASTEST:
            raise BadConfig(f"--speed {speed:g}: give a factor above 0 and at most {FASTEST:g}; 1 is real time")
        self._clock = clock
        self._world_us = world_us
        self._really_us = really_us
        self.speed = speed
        self.us = self._now_us()
        """At the last tick."""

    def begin(self) -> None:
        """Let time pass from here, unless it does."""
        if self._really_us is None:
            self._really_us = to_us(self._clock.now())

    def __call__(self) -> int:
        """World time at the last tick."""
        return self.us

    def tick(self) -> int:
        """Look at the clock; world time now."""
        self.us = max(self.us, self._now_us())
        return self.us

    def _now_us(self) -> int:
        if self._really_us is None:
            return self._world_us
        passed_us = to_us(self._clock.now()) - self._really_us
        return self._world_us + (passed_us if self.speed == 1.0 else round(passed_us * self.speed))
