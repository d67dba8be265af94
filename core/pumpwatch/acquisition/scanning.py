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
from pumpwatch.acquisition.joining import Joining
from pumpwatch.acquisition.sending import Sending
from pumpwatch.acquisition.tracing import Tracing
from pumpwatch.contracts import Answer
from pumpwatch.errors import BadReply, NotReachable, PumpwatchError, Refused
from pumpwatch.model import (
    Batch,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    Quality,
    Reading,
    Sample,
    SampleBatch,
    SampleColumns,
    ScanClass,
    to_us,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from datetime import datetime

    from pumpwatch.acquisition.tracing import Seen
    from pumpwatch.clock import Clock
    from pumpwatch.contracts import Call, Driver, Site
    from pumpwatch.hub import Hub
    from pumpwatch.model import Record, Tag
    from pumpwatch.settings import AcquisitionSettings

log = logging.getLogger(__name__)

IDENTITY_REPEATED_S = 3600.0
"""An unchanged identity is passed on again after this long; a changed one at once."""
MOST = 2**1000
"""No number is so large; a history of floats could not keep it."""
CALLS = "call:"
"""The line of a device that calls."""
TURNED_AWAY = 400
"""Status of HTTP from which on a call has brought nothing."""
WAITED_S = 1.0
"""How often fillings are looked for that have waited long enough for their channels."""
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
    """Source time of the newest good value, but not later than it came: a device's clock may be ahead.

    Microseconds since 1970 UTC; 0 before the first.
    """
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

    @property
    def calls(self) -> bool:
        """Whether it calls the server, and is not asked."""
        return self.driver.line.address == CALLS


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
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.joining = Joining(((device.site, device.driver.sale_channels) for device in self.devices), clock)
        self._scans = {device.path: _Scan(device, settings, hub, clock, self.joining) for device in self.devices}

    async def run(self) -> None:
        """Scan until cancelled."""
        lines: dict[AbstractAsyncContextManager[object], list[Device]] = {}
        for device in self.devices:
            lines.setdefault(device.turn, []).append(device)
        async with asyncio.TaskGroup() as group:
            self._group = group
            for neighbours in lines.values():
                first = random.random()  # noqa: S311 - spreads load, guards nothing
                for place, device in enumerate(neighbours):
                    self._begin(device, (first + place / len(neighbours)) % 1.0)
            if self.joining.is_needed:
                group.create_task(self._pass_on(), name="joining")

    def _begin(self, device: Device, phase: float) -> None:
        if self._group is not None:
            task = self._group.create_task(self._scans[device.path].run(phase), name=f"scan {device.path}")
            self._tasks[device.path] = task

    async def close(self) -> None:
        """Let every driver say goodbye, all at once and within the deadline of a read."""
        await asyncio.gather(*(self._farewell(device) for device in self.devices))

    async def _farewell(self, device: Device) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await device.driver.close()
        except Exception as error:  # it goes, whatever it says
            log.warning("%s: the driver did not close: %r", device.path, error)

    async def renew(self, path: str, driver: Driver) -> None:
        """Give the device ``station/device`` another driver between two scans; the others notice nothing."""
        device = next(device for device in self.devices if device.path == path)
        async with device.turn, self._scans[path].passing_on:
            if (task := self._tasks.get(path)) is not None:
                task.cancel()
                await asyncio.wait({task})
            await self._farewell(device)
            device.driver, device.connected = driver, None
            self._scans[path] = _Scan(device, self._settings, self._hub, self._clock, self.joining)
        self._begin(device, 0.0)

    def waiting(self) -> list[Batch]:
        """The fillings that still wait for their channels, to be kept when the server stops."""
        return self._batches(self.joining.flush())

    async def _pass_on(self) -> None:
        while True:
            await self._clock.sleep(WAITED_S)
            for batch in self._batches(self.joining.pass_on()):
                await self._hub.publish(batch)

    def _batches(self, by_station: Mapping[str, Sequence[Record]]) -> list[Batch]:
        now = self._clock.now()
        return [
            Batch(station, SampleBatch.pack(station, "", ()), tuple(records), now)
            for station, records in by_station.items()
        ]

    async def called(self, path: str, call: Call) -> Answer:
        """Have the device ``station/device`` answer its call, and publish what it brought, unless it was turned away.

        Raises ``PumpwatchError``, ``NotReachable`` when the device's turn does not come in time.
        """
        return await self._scans[path].called(call)

    def trace(self, path: str) -> AbstractContextManager[asyncio.Queue[Seen]]:
        """The bytes of the device ``station/device`` from now on, as long as it is looked at."""
        return self._scans[path].tracing.looking_on()

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
    samples = reading.samples
    values = samples.exact.values() if isinstance(samples, SampleColumns) else [sample.value for sample in samples]
    for value in values:
        if isinstance(value, int) and abs(value) > MOST:
            tag = next(sample.tag for sample in samples if sample.value == value)
            raise BadReply(f"{tag} tells a number of {value.bit_length()} bits")
    return reading


def _last_good_us(samples: Sequence[Sample]) -> int:
    """Source time of the newest good one; 0 when there is none."""
    if isinstance(samples, SampleColumns):
        return to_us(samples.at) if (samples.qualities < Quality.UNCERTAIN).any() else 0
    return max((to_us(sample.at) for sample in samples if sample.quality.is_good), default=0)


class _Scan:
    """The loop of one device."""

    def __init__(self, device: Device, settings: AcquisitionSettings, hub: Hub, clock: Clock, joining: Joining) -> None:
        self._joining = joining
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
        # No scan takes as long as another: at a heartbeat the nearest one speaks.
        self._sending = Sending(device.site, settings.heartbeat_s - self._period / 2)
        self._asked: dict[tuple[ScanClass, ...], tuple[Tag, ...]] = {}
        self._identity: DeviceIdentity | None = None
        self._displays = Displays(device.site)
        self._lost_a_call = False
        self.tracing = Tracing(device.driver, clock)
        self.passing_on = asyncio.Lock()
        """Held while what a scan brought is published: a driver that is replaced must not take it along."""

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
                with self.tracing.turn():
                    outcome = await self._read(self._of(ready))
            if not (device.calls and device.connected is None and isinstance(outcome, Reading)):
                async with self.passing_on:  # who has not called yet is neither here nor gone
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

    def _of(self, classes: Sequence[ScanClass]) -> tuple[Tag, ...]:
        """Their tags: for the same classes the same tuple, so that a driver need not look into it again."""
        asked = tuple(classes)
        if asked not in self._asked:
            self._asked[asked] = tuple(tag for c in classes for tag in self._tags[c])
        return self._asked[asked]

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

    async def called(self, call: Call) -> Answer:
        """See ``Acquisition.called``."""
        device, clock = self._device, self._clock
        began = clock.monotonic()
        try:
            async with clock.deadline(self._settings.timeout_s), device.turn:
                answer, reading = device.driver.called(call, clock.now())
                _sound(reading)
        except TimeoutError:
            raise NotReachable(f"{device.path} is busy; call again") from None
        except PumpwatchError:
            raise
        except Exception:  # a driver's bug must not stop the server
            if not self._lost_a_call:
                self._lost_a_call = True
                log.exception("%s: the driver %r failed unexpectedly at a call", device.path, device.driver.name)
            return Answer(500)
        if answer.status < TURNED_AWAY:
            await self._settle(reading, began)
        return answer

    async def _settle(self, outcome: Reading | _Failure, began: float) -> None:
        if isinstance(outcome, Reading):
            samples = outcome.samples
            shown = samples.only(self._displays.tags) if isinstance(samples, SampleColumns) else samples
            seen = tuple(self._displays.look(shown, began, self._clock.monotonic()))
            await self._succeeded(replace(outcome, records=(*outcome.records, *seen)) if seen else outcome)
        else:
            await self._failed(outcome.reason, outcome.quality)

    async def _succeeded(self, reading: Reading) -> None:
        device = self._device
        joined = self._joining.take(device.site, reading.records, wait=not device.calls)
        await self._joining.keep()
        records = tuple(r for r in joined if not (isinstance(r, DeviceIdentity) and self._is_known(r)))
        if not device.connected:
            records = (self._changed(up=True, reason=""), *records)
            log.info("%s: connected", device.path)
        device.failures = 0
        newest_us = min(_last_good_us(reading.samples), to_us(self._clock.now()))
        device.last_good_us = max(device.last_good_us, newest_us)
        await self._publish(reading.samples, records)

    async def _failed(self, reason: str, quality: Quality) -> None:
        device = self._device
        device.failures += 1
        self._joining.lost(device.site)
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
        """Pass on what is worth it."""
        site = self._device.site
        batch = self._sending.news(samples, self._clock.monotonic())
        if batch is not None or records:
            batch = batch or SampleBatch.pack(site.station_id, site.device_id, ())
            await self._hub.publish(Batch(site.station_id, batch, records, self._clock.now()))
