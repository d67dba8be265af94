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
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import pluggy
from pydantic import BaseModel, ConfigDict

from pumpwatch.errors import Refused
from pumpwatch.model import (
    CovertTest,
    Declaration,
    HotlineReport,
    SampleBatch,
    Subject,
    Summaries,
    WorkOrder,
    from_us,
    to_us,
)
from pumpwatch.past import Channel, StationPast

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

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
        SaleChannel,
        Station,
        Tag,
        Tank,
        Text,
        Transaction,
    )

_DAY_US = 86_400_000_000
_ONE_US = timedelta(microseconds=1)
_PAGE = 100_000

hookspec = pluggy.HookspecMarker("pumpwatch")
hookimpl = pluggy.HookimplMarker("pumpwatch")

Entry: TypeAlias = WorkOrder | Declaration | HotlineReport | CovertTest
"""What people enter into the ledger, as against the records that devices report."""


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


class Ear(Protocol):
    """Listens on a line that somebody else speaks on."""

    def heard(self) -> bytes:
        """Everything that has passed since the last call, both directions as they came; at once, nothing when quiet.

        Of what is not fetched only the last 1 MiB is kept. Raises ``NotReachable`` when the line is gone.
        """


@runtime_checkable
class Line(Protocol):
    """One shared wire (serial port or TCP connection); many devices take turns on it. The core owns and opens it."""

    @property
    def address(self) -> str:
        """As configured, for a driver whose library opens the connection itself: ``opc.tcp://HOST:PORT``."""

    async def ask(self, request: bytes, complete: Callable[[bytes], int]) -> bytes:
        """Send ``request`` and return the reply.

        ``complete(received)`` is called with all bytes received so far and returns how many of them (from the first)
        make the whole reply, or 0 while more are needed; it raises ``BadReply`` when they can never be one. Bytes left
        over from an abandoned exchange are thrown away before the request is sent. Several questions may be one request
        to a peer that takes several; then their replies together are the reply. Raises ``NotReachable`` when
        the line cannot be opened or breaks. The caller (acquisition) sets the deadline; an abandoned exchange leaves
        the line usable.
        """

    async def listen(self) -> Ear:
        """Hear everything that passes from now on, and never send on this line again; open it if need be.

        Every driver on a shared line has an ear of its own. After this ``ask`` raises ``Refused``.
        """


@dataclass(frozen=True, slots=True)
class Call:
    """A request of a device that calls the server: ``POST /call/STATION/DEVICE``, for ``line = "call:"``."""

    method: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    """At most 1 MiB."""
    path: str = ""
    """As the device asked for it, with the query; for digest authentication."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a device that calls is told."""

    status: int = 200
    """Of HTTP."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Probe:
    """A way to find out whether a device of a driver is on an unknown line; see ``Driver.probes``."""

    recognise: Callable[[bytes], str]
    """What has come so far → what answers, for example ``unit 3``; nothing when it is not, or not yet, known.

    It is given anything and raises nothing.
    """
    request: bytes = b""
    """What is asked; nothing where it is enough to listen."""
    settings: Mapping[str, str | int | float | bool | Sequence[str | int]] = field(default_factory=dict)
    """Of the device that is found, for the configuration."""
    baud: int = 9600
    bytesize: int = 8
    parity: str = "N"
    stopbits: float = 1.0


class Driver(ABC):
    """Reads one device. Read-only by construction: it never authorises, stops or prices a pump.

    The runner (acquisition) makes one object a device, calls ``connect`` once before the first ``read`` and again after
    a failure, never two methods at once, always under a deadline. A driver has no loop, sleep, retry, lock, timeout,
    logger or task of its own; it raises ``NotReachable``, ``BadReply`` or ``Refused`` and the runner reacts. One
    that asks several devices on a wire asks them through ``Turns``, so that a silent one takes no other with it.
    """

    name: ClassVar[str]
    """What ``driver = "…"`` says in the configuration."""
    Settings: ClassVar[type[PluginSettings]] = PluginSettings
    """Model of the device's own keys in the configuration."""
    sale_channels: frozenset[SaleChannel] = frozenset()
    """The channels that it tells of its nozzles' fillings as ``ChannelSale``; an object may set it by its settings.

    Acquisition joins them with the ``Transaction`` of the driver that sees the display, and waits for them.
    """

    def __init__(self, settings: PluginSettings, site: Site, line: Line) -> None:
        """Check the configuration only (raise ``BadConfig``); never touch the line."""
        self.settings = settings
        self.site = site
        self.line = line

    @classmethod
    def probes(cls) -> Sequence[Probe]:
        """How ``pumpwatch driver probe`` finds such a device: questions that change nothing, the likeliest first.

        Those without a question are put to a line on which somebody speaks; then nothing is sent there at all.
        """
        return ()

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

    def called(self, call: Call, now: datetime) -> tuple[Answer, Reading]:
        """Answer a device that calls, and say what it brought; never while another method runs, and quick.

        What was brought is kept for good before the answer is sent, so "OK" means that it will not be lost; the same
        brought again must be the same records. Raises ``Refused`` for what never can be answered.
        """
        raise Refused(f"the driver {self.name} is not called by devices")

    def explain(self, way: str, data: bytes) -> str:
        """In a few words what these bytes are, for ``pumpwatch driver trace``; nothing when it cannot be said.

        ``way`` is ``>`` to the device, ``<`` from it, ``=`` on a line that is listened to, where a piece may begin and
        end anywhere. It changes nothing in the driver.
        """
        return ""

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

    def before(self, sale: Transaction, limit: int) -> Sequence[Transaction]:
        """The fillings of the same nozzle that come before ``sale`` by end and sequence number, oldest first.

        At most ``limit``, the nearest; as far back as is remembered.
        """

    def events(self, station_id: str, kind: EventKind, since: datetime, until: datetime) -> Sequence[DeviceEvent]:
        """The events of a station with since <= time < until, oldest first, as far back as is remembered."""

    def latest_events(self, kind: EventKind) -> Sequence[DeviceEvent]:
        """The latest event of this kind of each device."""

    def latest_identity(self, dispenser_id: str) -> DeviceIdentity | None:
        """What the dispenser last said it is."""

    def work_orders(self, device_id: str, since: datetime) -> Sequence[WorkOrder]:
        """Signed work orders for a device (or its station), oldest first."""


def subject_of(nozzle_id: str, history: History) -> Subject:
    """Name the nozzle as exactly as the ledger allows; an unregistered one stands at the station its id begins with."""
    nozzle = history.nozzle(nozzle_id)
    if nozzle is None:
        return Subject(station_id=nozzle_id.rpartition("-")[0] or nozzle_id, nozzle_id=nozzle_id)
    dispenser = history.dispenser(nozzle.dispenser_id)
    station_id = dispenser.station_id if dispenser else nozzle.dispenser_id.rpartition("-")[0] or nozzle.dispenser_id
    return Subject(station_id=station_id, dispenser_id=nozzle.dispenser_id, nozzle_id=nozzle_id)


@dataclass(frozen=True, slots=True)
class About:
    """What a rule's page says; one or a few sentences each, Markdown. The page is written by ``make docs``."""

    title: Text
    """For example ``显示量与脉冲不符``, ``Display against pulses``."""
    catches: tuple[str, ...]
    """Scenarios of the catalogue it is there for: ``F01`` …"""
    inputs: str
    statistic: str
    """What is computed, as a formula where there is one."""
    threshold: str
    power: str
    """What it finds and how soon; with figures and how they were got."""
    pitfalls: str
    """What looks the same and how it is told apart."""
    source: str
    """The standard, manual or paper; never an address."""


class Rule(ABC):
    """What all rules share: a name that makes alarms, what it needs, settings, and its page."""

    rule: ClassVar[str]
    Settings: ClassVar[type[PluginSettings]] = PluginSettings
    about: ClassVar[About]
    needs: ClassVar[frozenset[Channel]] = frozenset()
    """Kinds of data without which it is off at a station."""
    explains: ClassVar[frozenset[str]] = frozenset()
    """Causes that other rules report of the same thing at the same time when this rule has found something: a replaced
    board also breaks the sequence. Such findings go into this rule's alarm as evidence: one cause, one alarm."""

    def __init__(self, settings: PluginSettings) -> None:
        self.settings = settings


class RecordRule(Rule):
    """A cheap rule that judges each record as it arrives. Pure: the same record and history give the same findings.

    Records may be told twice and out of order; ``history.before`` is always what truly came before. A finding raises
    an alarm that a person clears: a cheat that stops is not a cheat undone.
    """

    watches: ClassVar[tuple[type, ...]]
    """Which types of record it wants."""
    reach: ClassVar[int] = 0
    """How many later fillings of the nozzle a filling that arrives late may change the judgement of; those are judged
    again, and a finding that no longer holds is withdrawn."""
    patience: ClassVar[timedelta] = timedelta(0)
    """How long after its arrival a record is judged: for rules that miss something which may still be on its way."""

    @abstractmethod
    def check(self, record: Record, history: History) -> Iterable[Finding]:
        """Judge one record; ``history`` already holds it."""

    def screen(self, past: StationPast) -> NDArray[np.bool_] | None:
        """(n,) which fillings of ``past.sales`` may be worth a ``check``; None: all of them.

        A replay leaves out the others, so it may be too generous and never too strict.
        """
        return None


class Detector(Rule):
    """A question put to the live server at intervals. Pure: the same history and time give the same findings."""

    every: ClassVar[timedelta]
    """How often it is asked."""
    standing: ClassVar[bool] = False
    """True when the findings of one look are all that is wrong now: alarms of this rule whose subject is no longer
    among them return to normal by themselves."""

    @abstractmethod
    def look(self, history: History, now: datetime) -> Iterable[Finding]:
        """Everything this detector claims at ``now``."""


class Question(Rule):
    """What ``Review`` and ``Comparison`` share: when they are put, and how much of the past they see."""

    every: ClassVar[timedelta] = timedelta(hours=1)
    """How often it is asked live."""
    lookback: ClassVar[timedelta]
    """How much of the past before ``since`` it must be given."""
    wakes: ClassVar[tuple[type, ...]] = ()
    """Types of record, or of entry in the ledger, for which it is also asked live within seconds; see ``occasion``."""

    def occasion(self, record: Record | Entry, history: History) -> str | None:
        """Name what makes a record or entry of ``wakes`` worth asking at once; None: it can wait.

        The question is put to the record's station (a comparison: to all) once an occasion, soon after its first
        record. So it names what one finding is made of, a paper that has run out, and not each filling after it; and
        it is cheap, for every record of these types is asked about. It may be asked while the same object reviews in
        another thread, so neither keeps anything in ``self``. What it leaves out, the next review finds, within the
        days that reviews look back upon.
        """
        return repr(record)


class Review(Question):
    """A question put to one station's past, at intervals live and once over any period in a replay. Pure.

    A finding is claimed at its ``detected_at``, the data time at which the evidence sufficed; it may depend on nothing
    later, and on nothing earlier than ``lookback`` before it. So the findings of a long period are those of its parts
    put together, wherever it is cut.
    """

    @abstractmethod
    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterable[Finding]:
        """Everything with since < detected_at <= until.

        ``past`` reaches from ``lookback`` before ``since`` to ``until``. It may reach further both ways, and it may
        begin later where nothing is known.
        """


class Digests(Mapping[int, Mapping[str, "NDArray[np.float32]"]]):
    """A station's digests by day; days without data are not among them. Each is loaded when it is looked at."""

    def __init__(
        self,
        days: Mapping[int, Mapping[str, NDArray[np.float32]]],
        marks: Mapping[int, bytes] | None = None,
    ) -> None:
        self._days = days
        self._marks = marks or {}

    def __getitem__(self, day: int) -> Mapping[str, NDArray[np.float32]]:
        return self._days[day]

    def __iter__(self) -> Iterator[int]:
        return iter(self._days)

    def __len__(self) -> int:
        return len(self._days)

    def mark(self, day: int) -> bytes | None:
        """The same bytes as long as the day's digest is the same; None for a day that is not over, or not kept."""
        return self._marks.get(day)


class Chronicle(Review):
    """A review whose answer needs months: each day is made into a digest once, and the digests are judged. Pure.

    The server keeps the digests of days that are over and what ``conclude`` likes to remember, so that neither a day's
    step nor a restart goes through the months again. A digest that is kept is made anew when a record that it may
    depend on comes late, changes or goes, when the register, a chart or a work order of the station is another, and
    when the rule, its settings or the program is. Days are those of ``utc_offset_us``, counted from 1970.
    """

    days: ClassVar[int]
    """How many days of digests ``conclude`` must be given before ``since``."""
    context: ClassVar[timedelta]
    """How much of the past before a day its digest may depend on, with the register, charts and work orders."""
    settling: ClassVar[timedelta] = timedelta(hours=1)
    """How much after a day: fillings that are under way at its end must be known."""
    version: ClassVar[int] = 1
    """Of the digests; what was kept under another is not used."""
    digests_of: ClassVar[str] = ""
    """Rules of the same word here and the same settings make the same digests and share what is kept."""

    @property
    @abstractmethod
    def utc_offset_us(self) -> int:
        """Of the days' midnight."""

    @abstractmethod
    def digest(self, past: StationPast, day: int) -> Mapping[str, NDArray[np.float32]]:
        """What of one day is needed, by name; nothing of a day without data.

        The same from any ``past`` that holds ``context`` before the day, the day and ``settling`` after it.
        """

    @abstractmethod
    def conclude(
        self,
        past: StationPast,
        digests: Mapping[int, Mapping[str, NDArray[np.float32]]],
        since: datetime,
        until: datetime,
        memory: MutableMapping[str, bytes] | None = None,
    ) -> Iterable[Finding]:
        """Everything with since < detected_at <= until, from the digests by day, which are ``Digests``.

        Of ``past`` only what is registered and signed may be used, and the records of the last ``context``. ``memory``
        is kept between calls and may be lost at any time: it may save work and never change a finding. It is shared as
        digests are.
        """

    def days_between(self, start: datetime, end: datetime) -> range:
        """The days that have any time in start <= time < end."""
        first = (to_us(start) + self.utc_offset_us) // _DAY_US
        return range(first, -((-to_us(end) - self.utc_offset_us) // _DAY_US))

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterable[Finding]:
        """Make every digest anew and conclude."""
        try:
            first = max(past.start, since - timedelta(days=self.days + 1))
        except OverflowError:
            first = past.start
        digests = {day: self.digest(past, day) for day in self.days_between(first, min(past.end, until))}
        return self.conclude(past, Digests({day: told for day, told in digests.items() if told}), since, until)


class Comparison(Question):
    """A question put to all stations together: each is made into a small digest, then the digests are compared. Pure.

    What is said of time and cutting in ``Review`` holds here too.
    """

    @abstractmethod
    def digest(self, past: StationPast, since: datetime, until: datetime) -> object:
        """What of one station is needed; it is pickled, so keep it small."""

    @abstractmethod
    def compare(self, digests: Mapping[str, Any], since: datetime, until: datetime) -> Iterable[Finding]:
        """Everything with since < detected_at <= until, from the digests by station id."""


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

    async def summaries(self, path: str, start: datetime, end: datetime, width: timedelta) -> Summaries:
        """The samples of a tag with start <= at < end in buckets that begin at ``start`` and every ``width`` after it.

        The last bucket is cut at ``end``. A store with roll-ups has them for whole minutes and hours of UTC: let
        ``start`` and ``width`` be whole minutes or, for months, whole hours. Here it is reckoned from ``series``.
        """
        origin_us, width_us = to_us(start), max(1, width // _ONE_US)
        parts: list[Summaries] = []
        while start < end:  # the newest page first
            page = (await self.series(path, start, end, _PAGE)).samples
            parts.insert(0, Summaries.of(path, page, origin_us, width_us))
            if len(page) < _PAGE:
                break
            end = from_us(page.at_us[0])
        return Summaries.joined(path, parts, origin_us, width_us)

    async def samples(
        self,
        *,
        station_id: str | None = None,
        paths: Sequence[str] = (),
        start: datetime,
        end: datetime,
        after: tuple[str, datetime] | None = None,
        limit: int = 100_000,
    ) -> SampleBatch:
        """A page of the samples with start <= at < end of a station, of some paths or, without both, of all tags.

        Ordered by path and time, at most ``limit``; those behind ``after``, which is path and time of the last row of
        the page before. A page with fewer rows is the last. Its station is ``station_id``, or empty. Here it is put
        together from ``series``.
        """
        known = paths or (await self.latest()).paths
        asked = sorted({p for p in known if station_id is None or p.partition("/")[0] == station_id})
        parts: list[SampleBatch] = []
        for path in asked:
            if after is None or path >= after[0]:
                begin = max(start, after[1] + timedelta(microseconds=1)) if after and path == after[0] else start
                parts.append(await self._oldest(path, begin, end, limit - sum(map(len, parts))))
                if sum(map(len, parts)) >= limit:
                    break
        return SampleBatch.joined(station_id or "", parts)

    async def _oldest(self, path: str, start: datetime, end: datetime, limit: int) -> SampleBatch:
        """The oldest ``limit`` samples of a tag, by halving the time until ``series`` holds nothing back."""
        found = (await self.series(path, start, end, limit + 1)).samples
        if len(found) <= limit:
            return found
        middle = from_us((to_us(start) + to_us(end)) // 2)
        first = await self._oldest(path, start, middle, limit)
        if len(first) >= limit:
            return first
        return SampleBatch.joined(first.station, (first, await self._oldest(path, middle, end, limit - len(first))))

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
        """Record rules, detectors, reviews and comparisons."""

    @hookspec
    def pumpwatch_stores(self) -> Sequence[type[Store]]:
        """Stores for history."""
