"""How often each tag must be heard of, so that a silence can be told from a value that stays as it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pumpwatch.model import ScanClass

if TYPE_CHECKING:
    from pumpwatch.acquisition.scanning import Device
    from pumpwatch.settings import AcquisitionSettings

_DAY_MIN: Final = 1_440
_SLACK: Final = 2.0
"""A tag that is heard of so many times later than it must has a gap: scans tremble, and one may fail."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Unchanged values are repeated once a heartbeat, and no tag is read more often than its scan class says."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """Between two samples at most, by path, of the tags of all configured devices."""
    heartbeat_s: float = 10.0
    """Of other tags, of which nothing else is known."""

    @classmethod
    def of(cls, devices: Iterable[Device], settings: AcquisitionSettings) -> Pace:
        """What is configured."""
        periods = {
            ScanClass.FAST: settings.fast_s,
            ScanClass.NORMAL: settings.normal_s,
            ScanClass.SLOW: settings.slow_s,
        }
        seconds = {
            f"{device.path}/{tag.name}": max(settings.heartbeat_s, periods[tag.scan])
            for device in devices
            for tag in device.driver.tags()
        }
        return cls(seconds, settings.heartbeat_s)

    def stations(self) -> frozenset[str]:
        """Those of which devices are configured."""
        return frozenset(path.partition("/")[0] for path in self.seconds)

    def longest_s(self, path: str) -> float:
        """A silence that is longer is a gap."""
        return _SLACK * self.seconds.get(path, self.heartbeat_s)

    def slot_min(self, path: str) -> int:
        """Minutes within which a tag must be heard of: as short as may be, and so many times as a day is long."""
        least = math.ceil(self.longest_s(path) / 60.0)
        return next((width for width in range(max(1, least), _DAY_MIN) if _DAY_MIN % width == 0), _DAY_MIN)
