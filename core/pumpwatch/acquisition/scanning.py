"""Runs drivers: when to read, under which deadline, what a failure means, and what is worth passing on; floor 4."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch.acquisition.displays import Displays
from pumpwatch.errors import BadReply, NotReachable, Refused
from pumpwatch.model import (
    Batch,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    Quality,
    Reading,
    Sample,
    SampleBatch,
    ScanClass,
    to_us,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from pumpwatch.clock import Clock
    from pumpwatch.contracts import Driver, Site
    from pumpwatch.hub import Hub
    from pumpwatch.model import Record, Tag, Value
    from pumpwatch.settings import AcquisitionSettings

log = logging.getLogger(__name__)

IDENTITY_REPEATED_S = 3600.0
"""An unchanged identity is passed on again after this long; a changed one at once."""
MOST = 2**1000
"""No number is so large; a history of floats could not keep it."""
DELAYS_KEPT = 240
"""Scan delays remembered a device; at one scan a second, the last four minutes."""


@dataclass(slots=True, eq=False)
class Device:
    """One device under supervision: its driver, whose turn on which line, and how it is doing."""

    site: Site
    driver: Driver
    turn: AbstractAsyncContextManager[object]
    """The line's turn; held for one scan."""
    connected: bool | None = None
    """None until the first scan has ended."""
    reason: str = ""
    """Why it is not connected."""
    since: datetime | None = None
    """When ``connected`` last changed."""
    last_good_us: int = 0
    """Source time of the newest good value, microseconds since 1970 UTC; 0 before the first."""
    failures: int = 0
    """Scans failed in a row."""
    overruns: int = 0
    """Scans left out because the one before took too long."""
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=DELAYS_KEPT))
    """How late each scan started, seconds."""

    @property
    def path(self) -> str:
        """``station/device``."""
        return f"{self.site.station_id}/{self.site.device_id}"


class Acquisition:
    """Scans every device on its own schedule and publishes what has changed.

    Each line starts at a random phase and its devices follow evenly, so that reads spread over the period and
    neighbours do not meet. A failing device is asked again soon, then backs off alone; while it fails all its tags are
    BAD. State changes are logged once, not scans.
    """

    def __init__(self, devices: Sequence[Device], settings: AcquisitionSettings, hub: Hub, clock: Clock) -> None:
        self.devices = tuple(devices)
        self._settings = settings
        self._hub = hub
        self._clock = clock

    async def run(self) -> None:
        """Scan until cancelled."""
        lines: dict[AbstractAsyncContextManager[object], list[Device]] = {}
        for device in self.devices:
            lines.setdefault(device.turn, []).append(device)
        async with asyncio.TaskGroup() as group:
            for neighbours in lines.values():
                first = random.random()  # noqa: S311 - spreads load, guards nothing
                for place, device in enumerate(neighbours):
                    scan = _Scan(device, self._settings, self._hub, self._clock)
                    phase = (first + place / len(neighbours)) % 1.0
                    group.create_task(scan.run(phase), name=f"scan {device.path}")

    def delay_ms(self, percentile: float, station_id: str | None = None) -> float | None:
        """How late scans start, over the last minutes; None before the first."""
        delays = [d for device in self.devices if station_id in {None, device.site.station_id} for d in device.delays]
        return round(float(np.percentile(delays, percentile)) * 1000, 2) if delays else None


@dataclass(frozen=True, slots=True)
class _Failure:
    """A scan that brought nothing: why, and what its tags become."""

    reason: str
    quality: Quality


def _sound(reading: Reading) -> Reading:
    """The same. Raises ``BadReply`` for a number that no float holds."""
    for sample in reading.samples:
        if isinstance(sample.value, int) and abs(sample.value) > MOST:
            raise BadReply(f"{sample.tag} tells a number of {sample.value.bit_length()} bits")
    return reading


class _Scan:
    """The loop of one device."""

    def __init__(self, device: Device, settings: AcquisitionSettings, hub: Hub, clock: Clock) -> None:
        self._device = device
        self._settings = settings
        self._hub = hub
        self._clock = clock
        self._tags: dict[ScanClass, list[Tag]] = {c: [] for c in ScanClass}
        for tag in device.driver.tags():
            self._tags[tag.scan].append(tag)
        periods = {
            ScanClass.FAST: settings.fast_s,
            ScanClass.NORMAL: settings.normal_s,
            ScanClass.SLOW: settings.slow_s,
        }
        self._periods = {c: periods[c] for c, tags in self._tags.items() if tags}
        self._period = min(self._periods.values(), default=settings.normal_s)
        self._sent: dict[str, tuple[Value, Quality, float]] = {}
        self._identity: DeviceIdentity | None = None
        self._displays = Displays(device.site)

    async def run(self, phase: float) -> None:
        """Scan until cancelled, beginning at ``phase`` (0 to 1) of the period."""
        clock, device = self._clock, self._device
        start = clock.monotonic() + phase * self._period
        due = dict.fromkeys(self._periods, start)
        next_scan = start
        while True:
            await clock.sleep(next_scan - clock.monotonic())
            async with device.turn:
                began = clock.monotonic()
                device.delays.append(max(0.0, began - next_scan))
                ready = [c for c, at in due.items() if at <= began + 1e-3] or [min(due, key=lambda c: due[c])]
                if not device.connected:
                    ready = list(due)
                outcome = await self._read([tag for c in ready for tag in self._tags[c]])
            await self._settle(outcome, began)
            ended = clock.monotonic()
            for scan_class in ready:
                period = self._periods[scan_class]
                missed = max(0, int((ended - due[scan_class]) // period))  # a timer may ring a hair early
                due[scan_class] += period * (missed + 1)
                if missed and device.connected and period == self._period:
                    device.overruns += missed
            next_scan = min(due.values())
            if device.failures == 1:
                next_scan = min(next_scan, ended + self._settings.fast_s)
            elif device.failures:
                next_scan = max(next_scan, ended + self._backoff())

    def _backoff(self) -> float:
        """Seconds until a failing device is tried again: doubles up to the limit, with 20 % jitter."""
        doubled: float = self._settings.fast_s * 2 ** min(self._device.failures - 2, 16)
        return min(self._settings.backoff_max_s, doubled) * random.uniform(0.8, 1.0)  # noqa: S311

    async def _read(self, tags: Sequence[Tag]) -> Reading | _Failure:
        """One scan under its deadline. The one place where a driver's errors are caught."""
        device, clock = self._device, self._clock
        try:
            async with clock.deadline(self._settings.timeout_s):
                if not device.connected:
                    await device.driver.connect()
                return _sound(await device.driver.read(tags, clock.now()))
        except TimeoutError:
            return _Failure(f"no answer within {self._settings.timeout_s:g} s", Quality.NOT_CONNECTED)
        except NotReachable as error:
            return _Failure(str(error), Quality.NOT_CONNECTED)
        except BadReply as error:
            return _Failure(str(error), Quality.BAD_REPLY)
        except Refused as error:
            return _Failure(str(error), Quality.REFUSED)
        except Exception as error:  # a driver's bug must not stop its neighbours
            if device.failures == 0:
                log.exception("%s: the driver %r failed unexpectedly", device.path, device.driver.name)
            return _Failure(f"driver error: {error!r}", Quality.BAD)

    async def _settle(self, outcome: Reading | _Failure, began: float) -> None:
        if isinstance(outcome, Reading):
            seen = tuple(self._displays.look(outcome.samples, began, self._clock.monotonic()))
            await self._succeeded(replace(outcome, records=(*outcome.records, *seen)) if seen else outcome)
        else:
            await self._failed(outcome.reason, outcome.quality)

    async def _succeeded(self, reading: Reading) -> None:
        device = self._device
        records = tuple(r for r in reading.records if not (isinstance(r, DeviceIdentity) and self._is_known(r)))
        if not device.connected:
            records = (self._changed(up=True, reason=""), *records)
            log.info("%s: connected", device.path)
        device.failures = 0
        good = [to_us(s.at) for s in reading.samples if s.quality.is_good]
        device.last_good_us = max(device.last_good_us, *good) if good else device.last_good_us
        await self._publish(reading.samples, records)

    async def _failed(self, reason: str, quality: Quality) -> None:
        device = self._device
        device.failures += 1
        records: tuple[Record, ...] = ()
        if device.connected is not False:
            records = (self._changed(up=False, reason=reason),)
            log.warning("%s: not connected: %s", device.path, reason)
        device.reason = reason
        now = self._clock.now()
        await self._publish([Sample(t.name, None, now, quality) for tags in self._tags.values() for t in tags], records)

    def _changed(self, *, up: bool, reason: str) -> DeviceEvent:
        device = self._device
        device.connected, device.reason, device.since = up, reason, self._clock.now()
        site = device.site
        return DeviceEvent(device.since, site.station_id, site.device_id, EventKind.LINK, {"up": up, "reason": reason})

    def _is_known(self, identity: DeviceIdentity) -> bool:
        """Whether the device said the same of itself not long ago."""
        known = self._identity
        same = known is not None and identity == replace(known, at=identity.at)
        if known is not None and same and (identity.at - known.at).total_seconds() < IDENTITY_REPEATED_S:
            return True
        self._identity = identity
        return False

    async def _publish(self, samples: Sequence[Sample], records: tuple[Record, ...]) -> None:
        """Pass on what has changed, and what has not been said for a heartbeat."""
        now, sent = self._clock.monotonic(), self._sent
        heartbeat = self._settings.heartbeat_s - self._period / 2  # no scan takes as long as another: the nearest one
        news = []
        for sample in samples:
            value, quality, at = sent.get(sample.tag, (None, None, -1e9))
            if value != sample.value or quality != sample.quality or now - at >= heartbeat:
                sent[sample.tag] = (sample.value, sample.quality, now)
                news.append(sample)
        if news or records:
            site = self._device.site
            batch = SampleBatch.pack(site.station_id, site.device_id, news)
            await self._hub.publish(Batch(site.station_id, batch, records, self._clock.now()))
