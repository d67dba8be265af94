"""The composition root: opens the organs in order, introduces them to each other, runs them as one group."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pumpwatch.acquisition import Acquisition
from pumpwatch.acquisition.scanning import TURNED_AWAY
from pumpwatch.alarms import Alarms
from pumpwatch.canonical import hold
from pumpwatch.database import Database, ledger_url
from pumpwatch.detection import Detection, LiveHistory
from pumpwatch.engine.backing import Snapshots
from pumpwatch.engine.exchange import Exchange
from pumpwatch.engine.judging import RuleBook
from pumpwatch.engine.queries import Pace, Queries
from pumpwatch.engine.reviewing import Reviewing
from pumpwatch.engine.shelf import FILE_NAME
from pumpwatch.engine.storage import StorageWatch
from pumpwatch.engine.waking import Waking
from pumpwatch.engine.wiring import renewed, wire
from pumpwatch.historian import Historian
from pumpwatch.hub import Hub
from pumpwatch.ledger import Ledger
from pumpwatch.model import DeviceEvent, DeviceIdentity, Transaction, from_us
from pumpwatch.settings import BadSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from pathlib import Path

    from pumpwatch.clock import Clock
    from pumpwatch.contracts import Answer, Call
    from pumpwatch.engine.wiring import Wiring
    from pumpwatch.ledger import Register
    from pumpwatch.model import Batch, Record
    from pumpwatch.plugins import Plugins
    from pumpwatch.settings import Settings

log = logging.getLogger(__name__)

REMEMBERED = timedelta(days=2)
"""How much of the past rules may look at right after a start."""
FOUND_BACK = timedelta(days=14)
"""Findings of so long ago may still explain what is found after a start, or follow from it."""
SEEDED = 200_000
"""Records of a kind read back at start, at most."""
RETENTION_EVERY_S = 3600.0
LAST_WORDS_S = 1.0
"""So long a stop waits for a historian whose disk is full."""
RATE_WINDOW_S = 10.0
"""Samples per second are counted over this long."""


class SalesToday:
    """Litres sold since local midnight, by station; each filling counts once however often it is told."""

    def __init__(self, zone: ZoneInfo, clock: Clock) -> None:
        self._zone = zone
        self._clock = clock
        self._stations: dict[str, str] = {}
        self._litres: dict[str, float] = {}
        self._counted: set[tuple[str, int, datetime]] = set()
        self._midnight = self._last_midnight()

    def locate(self, register: Register) -> None:
        """Learn which nozzle belongs to which station."""
        self._stations = {
            n.nozzle_id: d.station_id for d in register.dispensers for n in register.nozzles_of(d.dispenser_id)
        }

    def take(self, records: Iterable[Record]) -> None:
        """Count the fillings among records."""
        for record in records:
            if isinstance(record, Transaction) and record.end >= self.since and record.key not in self._counted:
                station = self._stations.get(record.nozzle_id)
                if station is not None:
                    self._counted.add(record.key)
                    self._litres[station] = self._litres.get(station, 0.0) + record.volume_l

    def litres(self, station_id: str) -> float:
        """Sold today at a station."""
        return self._litres.get(station_id, 0.0) if self.since else 0.0

    @property
    def since(self) -> datetime:
        """The last midnight; a new day starts from nothing."""
        midnight = self._last_midnight()
        if midnight != self._midnight:
            self._midnight = midnight
            self._litres.clear()
            self._counted.clear()
        return midnight

    def _last_midnight(self) -> datetime:
        return self._clock.now().astimezone(self._zone).replace(hour=0, minute=0, second=0, microsecond=0)


class Engine:
    """A running server without its faces. ``open`` it, then ``run`` it; the API and the tests look at its organs."""

    def __init__(
        self,
        settings: Settings,
        plugins: Plugins,
        clock: Clock,
        wiring: Wiring,
        data: Path,
        database: Database,
        register: Register,
        alarms: Alarms,
        historian: Historian,
    ) -> None:
        self.settings = settings
        self.plugins = plugins
        self.clock = clock
        self.wiring = wiring
        self.ledger = Ledger(database)
        self.register = register
        """What the ledger says; replaced after an import."""
        self.alarms = alarms
        self.historian = historian
        self.hub = Hub()
        self.acquisition = Acquisition(wiring.devices, settings.acquisition, self.hub, clock)
        self.acquisition.joining.keeper = historian.keep
        devices: dict[str, list[str]] = {}
        for device in wiring.devices:
            devices.setdefault(device.site.station_id, []).append(device.site.device_id)
        self.exchange = Exchange(database, historian, data, self.renew_register)
        self.snapshots = Snapshots(historian, data, clock)
        self.history = LiveHistory(register, devices)
        acts = (alarms.raise_, alarms.settle, alarms.withdraw, alarms.attach)
        self.detection = Detection(wiring.rules, self.history, clock, *acts)
        book = RuleBook(settings, plugins.folder)
        self.reviewing = Reviewing(
            book,
            settings.detection,
            self.ledger,
            historian,
            clock,
            self.detection.hand_on,
            alarms.unknown,
            data / FILE_NAME,
        )
        self.waking = Waking(
            wiring.rules, self.ledger, historian, clock, self.history, self.detection.hand_on, alarms.unknown
        )
        self.storage = StorageWatch(
            historian, data, settings.historian, settings.server.name, clock, alarms.raise_, alarms.settle
        )
        zone = ZoneInfo(settings.server.time_zone)
        self.queries = Queries(historian, lambda: self.register, self.hub.latest, self._pace, zone, clock)
        self.sales = SalesToday(zone, clock)
        self.sales.locate(register)
        self.started = clock.now()
        self.samples_per_s = 0.0
        self.hub.attach(historian.keep)
        self.hub.attach(self.detection.take)
        if settings.detection.review_s:
            self.hub.attach(self.waking.take)
        self.hub.attach(self._count_sales)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, data: Path, plugins: Plugins, clock: Clock) -> AsyncIterator[Engine]:
        """Open everything kept in ``data``. Raises ``BadSettings`` before anything has been touched."""
        wiring = wire(settings, plugins, data)
        async with AsyncExitStack() as stack:
            stack.enter_context(hold(data))
            database = await stack.enter_async_context(Database.open(ledger_url(data)))
            register = await Ledger(database).load()
            alarms = Alarms(database, clock)
            await alarms.load()
            keeping = settings.historian
            historian = await stack.enter_async_context(
                Historian.open(
                    data / "history",
                    wiring.store,
                    clock,
                    max_bytes=keeping.journal_max_bytes,
                    max_age=timedelta(days=keeping.journal_max_days),
                )
            )
            for line in wiring.lines:
                stack.callback(line.close)
            engine = cls(settings, plugins, clock, wiring, data, database, register, alarms, historian)
            await engine._remember()
            yield engine

    async def run(self) -> None:
        """Read, keep and judge until cancelled; then keep what still waits to be joined."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.historian.run(), name="historian")
                group.create_task(self.detection.run(), name="detection")
                group.create_task(self.reviewing.run(), name="reviews")
                group.create_task(self.waking.run(), name="looks")
                group.create_task(self.acquisition.run(), name="acquisition")
                group.create_task(self._count_rate(), name="sample rate")
                group.create_task(self._keep_house(), name="retention")
                group.create_task(self.storage.run(), name="storage")
        finally:
            try:
                async with asyncio.timeout(LAST_WORDS_S):
                    for batch in self.acquisition.waiting():
                        await self.historian.keep(batch)
            except TimeoutError:
                log.exception("fillings that waited for their channels could not be kept: %s", self.historian.trouble)
            await self.acquisition.close()

    def status(self) -> dict[str, Any]:
        """How the server is doing; the shape is an outside interface (``pumpwatch status --json``)."""
        devices = self.acquisition.devices
        stations = {d.site.station_id for d in devices}
        connected = {d.site.station_id for d in devices if d.connected}
        return {
            "server": self.settings.server.name,
            "started": self.started.isoformat(),
            "stations": {"total": len(stations), "connected": len(connected)},
            "devices": {"total": len(devices), "connected": sum(bool(d.connected) for d in devices)},
            "samples_per_s": round(self.samples_per_s, 1),
            "scan_delay_ms": {"p50": self.acquisition.delay_ms(50), "p99": self.acquisition.delay_ms(99)},
            "overruns": sum(d.overruns for d in devices),
            "journal_backlog": self.historian.backlog,
            "journal_gathering": self.historian.gathering,
            "journal_fill": self.historian.fill,
            "journal_trouble": self.historian.trouble,
            "damage": list(self.historian.damage),
            "active_alarms": [
                {
                    "id": alarm.id,
                    "rule": alarm.rule,
                    "subject": alarm.subject.key,
                    "severity": alarm.severity.value,
                    "state": alarm.state.value,
                    "since": alarm.raised_at.isoformat(),
                    "acknowledged": alarm.acknowledged_by,
                    "title": {"zh": alarm.finding.explanation.title.zh, "en": alarm.finding.explanation.title.en},
                }
                for alarm in self.alarms.current()
            ],
            "rules": {
                "on": self.detection.rules,
                "off_because": dict(self.wiring.off),
                "off_at": {rule: dict(stations) for rule, stations in self.reviewing.off.items()},
                "reviewed": self.reviewing.reviewed and self.reviewing.reviewed.isoformat(),
                "review_trouble": self.reviewing.trouble,
                "failing": _told_together(self.reviewing.failing, self.waking.failing, self.detection.failing),
            },
        }

    async def reload(self, driver: str) -> list[str]:
        """Read a driver's plugin anew and give it to its devices; their paths. Others go on without a pause.

        Raises ``BadConfig`` or ``BadSettings``; then everything is as it was.
        """
        before = self.plugins.driver(driver)
        self.plugins.reload(driver)
        try:
            drivers = renewed(self.settings, self.plugins, driver, self.acquisition.devices)
        except BadSettings:
            self.plugins.drivers[driver] = before
            raise
        for path, made in drivers.items():
            await self.acquisition.renew(path, made)
        return sorted(drivers)

    async def called(self, path: str, call: Call) -> Answer:
        """The answer to the device ``station/device`` that calls; what it brought is on disk by then.

        Raises ``PumpwatchError``; then the device is to call again.
        """
        answer = await self.acquisition.called(path, call)
        if answer.status < TURNED_AWAY:
            await self.historian.journaled()
        return answer

    async def renew_register(self) -> None:
        """Look things up in the ledger as it is now."""
        self.register = await self.ledger.load()
        self.history.ledger = self.register
        self.sales.locate(self.register)
        self.reviewing.wake()
        if self.settings.detection.review_s:
            self.waking.ledger_changed()

    def _pace(self) -> Pace:
        return Pace.of(self.acquisition.devices, self.settings.acquisition)

    async def _remember(self) -> None:
        """Give hub, rules and counters what was known before the last stop."""
        now = self.clock.now()
        await self.waking.remember()
        self.detection.remember(await self.alarms.found(now - FOUND_BACK))
        since = now - REMEMBERED
        self.hub.remember(await self.historian.latest())
        sales = await self.historian.transactions(start=min(since, self.sales.since), limit=SEEDED)
        self.history.take(sales)
        self.sales.take(sales)
        soon = now + timedelta(days=1)
        events = await self.historian.records(DeviceEvent, start=since, end=soon, limit=SEEDED)
        self.history.take(events)
        self.history.take(await self.historian.records(DeviceIdentity, start=since, end=soon, limit=SEEDED))
        told = [event for event in events if isinstance(event, DeviceEvent)]
        stopped_us = max((last.at_us for last in self.hub.latest.values()), default=None)
        stopped = None if stopped_us is None else min(now, from_us(stopped_us))
        self.acquisition.joining.remember(sales, told, stopped)

    async def _count_sales(self, batch: Batch) -> None:
        self.sales.take(batch.records)

    async def _count_rate(self) -> None:
        while True:
            before, began = self.hub.samples, self.clock.monotonic()
            await self.clock.sleep(RATE_WINDOW_S if before else 1.0)
            self.samples_per_s = (self.hub.samples - before) / max(self.clock.monotonic() - began, 1e-9)

    async def _keep_house(self) -> None:
        while True:
            await self.clock.sleep(RETENTION_EVERY_S)
            try:
                await self.historian.retention()
            except Exception:  # housekeeping must not stop supervision
                log.exception("retention failed; it is tried again in an hour")


def _told_together(*failing: Mapping[str, str]) -> dict[str, str]:
    """Why each rule fails; of one that fails in several ways, all of them."""
    whys: dict[str, list[str]] = {}
    for told in failing:
        for rule, why in told.items():
            if why not in whys.setdefault(rule, []):
                whys[rule].append(why)
    return {rule: "; ".join(each) for rule, each in whys.items()}
