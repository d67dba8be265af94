"""What a plugin may be: the one file a plugin author reads; floor 2.

A plugin is a module with functions marked ``@hookimpl``. It is found by an entry point of the group ``pumpwatch`` or as
one file in ``--plugins-dir``::

    from pumpwatch import Driver, Reading, hookimpl

    class MyDriver(Driver):
        name = "mydriver"
        ...

    @hookimpl
    def pumpwatch_drivers():
        return [MyDriver]

Hooks are for registration only and are never called in the data path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import pluggy
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from pathlib import Path

    from pumpwatch.model import (
        Batch,
        DeviceEvent,
        DeviceIdentity,
        Dispenser,
        EventKind,
        Finding,
        Nozzle,
        Reading,
        Record,
        SampleBatch,
        Station,
        Tag,
        Tank,
        Transaction,
        WorkOrder,
    )

hookspec = pluggy.HookspecMarker("pumpwatch")
hookimpl = pluggy.HookimplMarker("pumpwatch")


class PluginSettings(BaseModel):
    """Base of a plugin's settings. Unknown keys are errors; defaults live here, not in files."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------- drivers


@dataclass(frozen=True, slots=True)
class Site:
    """Where a device stands: the ids a driver puts into its records.

    ``nozzle_ids[i]`` is the nozzle the device calls number i+1, ``tank_ids[i]`` the tank number i+1.
    """

    station_id: str
    device_id: str
    dispenser_id: str | None = None
    nozzle_ids: tuple[str, ...] = ()
    tank_ids: tuple[str, ...] = ()


@runtime_checkable
class Line(Protocol):
    """One shared wire (serial port or TCP connection); many devices take turns on it. The core owns and opens it."""

    async def ask(self, request: bytes, complete: Callable[[bytes], int]) -> bytes:
        """Send ``request`` and return the reply.

        ``complete(received)`` is called with all bytes received so far and returns how many of them (from the first)
        make the whole reply, or 0 while more are needed; it raises ``BadReply`` when they can never be one. Bytes left
        over from an abandoned exchange are thrown away before the request is sent. Raises ``NotReachable`` when
        the line cannot be opened or breaks. The caller (acquisition) sets the deadline; an abandoned exchange leaves
        the line usable.
        """


class Driver(ABC):
    """Reads one device. Read-only by construction: it never authorises, stops or prices a pump.

    The runner (acquisition) makes one object a device, calls ``connect`` once before the first ``read`` and again after
    a failure, never two methods at once, always under a deadline. A driver has no loop, sleep, retry, lock, timeout,
    logger or task of its own; it raises ``NotReachable``, ``BadReply`` or ``Refused`` and the runner reacts.
    """

    name: ClassVar[str]
    """What ``driver = "…"`` says in the configuration."""
    Settings: ClassVar[type[PluginSettings]] = PluginSettings
    """Model of the device's own keys in the configuration."""

    def __init__(self, settings: PluginSettings, site: Site, line: Line) -> None:
        """Check the configuration only (raise ``BadConfig``); never touch the line."""
        self.settings = settings
        self.site = site
        self.line = line

    @abstractmethod
    def tags(self) -> Sequence[Tag]:
        """Every tag this device can give; the same after each call."""

    async def connect(self) -> None:  # noqa: B027 - many protocols have no connect
        """Say hello, if the protocol has one."""

    @abstractmethod
    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        """Read at least ``tags`` (those due now); return their samples and any records that became known.

        ``now`` is the core's time, for devices that have no clock of their own. A tag that cannot be had while others
        can is returned with a BAD quality.
        """

    async def close(self) -> None:  # noqa: B027 - nothing to say goodbye to
        """Say goodbye, if the protocol has it. The line is not the driver's to close."""


# ---------------------------------------------------------------- detectors


class History(Protocol):
    """What a detector may ask. The live server and a replay of last year answer alike."""

    def station(self, station_id: str) -> Station | None:
        """The registered station."""

    def dispenser(self, dispenser_id: str) -> Dispenser | None:
        """The registered dispenser."""

    def nozzle(self, nozzle_id: str) -> Nozzle | None:
        """The registered nozzle."""

    def tank(self, tank_id: str) -> Tank | None:
        """The registered tank."""

    def nozzles_of(self, dispenser_id: str) -> Sequence[Nozzle]:
        """Nozzles of a dispenser, in the order of their numbers."""

    def devices_of(self, station_id: str) -> Sequence[str]:
        """Configured devices of a station."""

    def transactions(self, nozzle_id: str, limit: int) -> Sequence[Transaction]:
        """The last ``limit`` fillings of a nozzle known so far, oldest first (by end, then seq)."""

    def transaction(self, nozzle_id: str, seq: int, near: datetime) -> Transaction | None:
        """The filling with this sequence number whose end is nearest ``near``, if it is known."""

    def latest_events(self, kind: EventKind) -> Sequence[DeviceEvent]:
        """The latest event of this kind of each device."""

    def latest_identity(self, dispenser_id: str) -> DeviceIdentity | None:
        """What the dispenser last said it is."""

    def work_orders(self, device_id: str, since: datetime) -> Sequence[WorkOrder]:
        """Signed work orders for a device (or its station), oldest first."""


class Rule(ABC):
    """What record rules and detectors share: a name that makes alarms, and settings."""

    rule: ClassVar[str]
    Settings: ClassVar[type[PluginSettings]] = PluginSettings

    def __init__(self, settings: PluginSettings) -> None:
        self.settings = settings


class RecordRule(Rule):
    """A cheap rule that judges each record as it arrives. Pure: the same record and history give the same findings.

    Records may be told twice and out of order. A finding raises an alarm that a person clears: a cheat that stops is
    not a cheat undone.
    """

    watches: ClassVar[tuple[type, ...]]
    """Which types of record it wants."""

    @abstractmethod
    def check(self, record: Record, history: History) -> Iterable[Finding]:
        """Judge one record; ``history`` already holds it."""


class Detector(Rule):
    """A question put to history at intervals. Pure: the same history and time give the same findings."""

    every: ClassVar[timedelta]
    """How often it is asked."""
    standing: ClassVar[bool] = False
    """True when the findings of one look are all that is wrong now: alarms of this rule whose subject is no longer
    among them return to normal by themselves."""

    @abstractmethod
    def look(self, history: History, now: datetime) -> Iterable[Finding]:
        """Everything this detector claims at ``now``."""


# ---------------------------------------------------------------- stores


@dataclass(frozen=True, slots=True)
class Series:
    """One tag over time as columns; see ``SampleBatch`` for their types."""

    path: str
    samples: SampleBatch


class Store(ABC):
    """Keeps history behind the disk journal. All writes are idempotent: the same batch twice is there once.

    ``NotReachable`` means not now: the journal keeps and tries again, ``open`` included. ``Refused`` means never: what
    it concerns is set aside and named. A store may also tell ``gather_s`` and ``gather_rows`` (how long and how much to
    gather before a write), ``stored_samples`` and ``damage`` (what it found broken and set aside, as sentences).
    """

    name: ClassVar[str]
    Settings: ClassVar[type[PluginSettings]] = PluginSettings

    def __init__(self, settings: PluginSettings, folder: Path) -> None:
        """``folder`` is the store's own, below the data folder."""
        self.settings = settings
        self.folder = folder

    @abstractmethod
    async def open(self) -> None:
        """Make ready; called once before anything else."""

    @abstractmethod
    async def write(self, batches: Sequence[Batch]) -> None:
        """Keep these for good: when it returns they survive a power cut.

        Raises ``NotReachable`` when it cannot be done now; the journal keeps them and tries again.
        """

    @abstractmethod
    async def latest(self) -> SampleBatch:
        """The last sample of every tag; asked only at start."""

    @abstractmethod
    async def series(self, path: str, start: datetime, end: datetime, limit: int = 100_000) -> Series:
        """The samples of a tag with start <= at < end, oldest first, at most ``limit`` (the newest ones)."""

    @abstractmethod
    async def transactions(
        self,
        *,
        station_id: str | None = None,
        nozzle_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1_000,
    ) -> Sequence[Transaction]:
        """Fillings with start <= end time < end, newest first."""

    @abstractmethod
    async def records(
        self, kind: type[Record], *, start: datetime, end: datetime, key: str | None = None, limit: int = 10_000
    ) -> Sequence[Record]:
        """Records of another kind (``TankReading`` by tank, ``DeviceEvent`` by device …), newest first."""

    @abstractmethod
    async def retention(self, now: datetime) -> None:
        """Drop what is older than the settings allow."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what is under way; may follow an ``open`` that failed."""


# ---------------------------------------------------------------- hooks


class Hooks(Protocol):
    """The hooks a plugin may implement; each returns a list of classes."""

    @hookspec
    def pumpwatch_drivers(self) -> Sequence[type[Driver]]:
        """Device drivers."""

    @hookspec
    def pumpwatch_detectors(self) -> Sequence[type[Rule]]:
        """Record rules and detectors."""

    @hookspec
    def pumpwatch_stores(self) -> Sequence[type[Store]]:
        """Stores for history."""
