"""The DART driver: one dispenser with its sides, listened to on its controller's bus, or polled where there is none."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from pumpwatch import (
    BadConfig,
    BadReply,
    Driver,
    NotReachable,
    PluginSettings,
    Quality,
    Reading,
    Refused,
    ScanClass,
    SilentError,
    Tag,
    TagKind,
    Turns,
)
from pumpwatch_dart.fillings import Decimals
from pumpwatch_dart.frames import ADDRESSES
from pumpwatch_dart.polling import Conversation
from pumpwatch_dart.probing import probes
from pumpwatch_dart.reporting import Reporter
from pumpwatch_dart.requests import Ask, Counter
from pumpwatch_dart.side import Side
from pumpwatch_dart.traffic import FromPump, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pumpwatch import Ear, Line, Probe, Site
    from pumpwatch_dart.requests import Question

MOST_QUESTIONS = 4
"""Questions in one scan of a polled dispenser; the others wait for the next, so that a scan keeps its deadline."""

MOST_UNANSWERED = 3
"""Polls that a pump may leave out while its state changes."""
LONGEST_ROUND = 6
"""Silences that a controller may take to come round to a pump."""
LEAST_PIECE = 32
"""Bytes a second below which a bus is not polled all the time."""
MOST_PIECES = 3600
"""Into which what has passed between two scans is cut."""

Address = Annotated[int, Field(ge=ADDRESSES.start, lt=ADDRESSES.stop)]
Places = Annotated[int, Field(ge=0, le=4)]


class DartSettings(PluginSettings):
    """Keys of ``settings`` of a device with ``driver = "dart"``."""

    address: Address | tuple[Address, ...] = Field(
        description="Address of the first side, 0x50 to 0x6f, the others following it; or a list of all"
    )
    nozzles_per_side: int = Field(1, ge=1, le=9, description="Nozzles that share one address")
    mode: Literal["tap", "poll"] = Field("tap", description="tap only listens; poll is for where no controller is")
    volume_decimals: Places = Field(2, description="Decimals of the volume on the display")
    amount_decimals: Places = Field(2, description="Decimals of the amount")
    price_decimals: Places = Field(2, description="Decimals of the unit price")
    totals_decimals: Places | None = Field(None, description="Decimals of the volume totalizer; else as the volume")
    totals: Literal["auto", "standard", "china"] = Field(
        "auto", description="Form of the totalizers' answer: 16 bytes, or 13 with volume and amount in one"
    )
    silence_s: float = Field(10.0, ge=2.0, le=600.0, description="After so long without a sign of the pump it is gone")
    answer_s: float = Field(
        0.2, ge=0.02, le=5.0, description="Poll: so long one side of several may take to answer, seconds"
    )
    identity_is: Literal["serial", "mainboard_serial"] | None = Field(
        None, description="Which registered serial the pump's ten digits are; else they are a tag only"
    )

    @field_validator("address")
    @classmethod
    def _differ(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(value, tuple) and (not value or len(set(value)) != len(value)):
            raise ValueError("give each side's address once, for example [0x50, 0x51]")
        return value


@dataclass(slots=True)
class _Polled:
    """A side that we poll, and what is still to be asked."""

    talk: Conversation
    questions: deque[Question]


class DartDriver(Driver):
    """Reads one dispenser: its sides' states and displays, and every filling that can be proven."""

    name: ClassVar[str] = "dart"
    Settings: ClassVar[type[PluginSettings]] = DartSettings

    def __init__(self, settings: DartSettings, site: Site, line: Line) -> None:
        super().__init__(settings, site, line)
        per_side, nozzles = settings.nozzles_per_side, len(site.nozzle_ids)
        if not nozzles:
            raise BadConfig("nozzles: a dispenser has at least one; give their ids in the order of sides and nozzles")
        addresses = _addresses(settings.address, -(-nozzles // per_side))
        if len(addresses) != -(-nozzles // per_side):
            raise BadConfig(
                f"address: {len(addresses)} sides with {per_side} nozzles each, but {nozzles} nozzles are given; "
                "correct address, nozzles_per_side or nozzles"
            )
        decimals = Decimals(
            settings.volume_decimals,
            settings.amount_decimals,
            settings.price_decimals,
            settings.volume_decimals if settings.totals_decimals is None else settings.totals_decimals,
        )
        china = {"auto": None, "standard": False, "china": True}[settings.totals]
        self._silence = timedelta(seconds=settings.silence_s)
        self._sides = {
            address: Side(min(per_side, max(1, nozzles - i * per_side)), decimals, china)
            for i, address in enumerate(addresses)
        }
        self._reporter = Reporter(site, tuple(self._sides.items()), per_side, decimals, settings.identity_is)
        self._traffic = Traffic()
        self._ear: Ear | None = None
        self._polling = Turns(addresses, settings.answer_s)
        self._polled = (
            {
                address: _Polled(Conversation(address, line, self._polling), deque(_first(side)))
                for address, side in self._sides.items()
            }
            if settings.mode == "poll"
            else {}
        )
        self._turns = deque(addresses)
        """Polled sides, the one that was last asked something at the end."""
        self._since: datetime | None = None
        """When we began to listen."""
        self._drained: datetime | None = None
        """When we last took what had passed."""
        self._heard: int = 0
        """Bytes since the last frame of anybody."""
        self._talked: datetime | None = None
        """When the last frame of anybody was heard."""
        self._unanswered = dict.fromkeys(addresses, 0)
        """What the controller has said to each side since its pump last spoke."""

    @classmethod
    def probes(cls) -> Sequence[Probe]:
        """What passes on the bus, then a poll of the usual addresses, at 9600 and 19200 baud, odd parity."""
        return probes()

    def tags(self) -> Sequence[Tag]:
        """Seven tags a nozzle, two a side, and the dispenser's own."""
        return self._reporter.tags

    async def connect(self) -> None:
        """Begin to listen, unless we still do. Polled, nothing is sent yet, and what was missed is asked for."""
        for address in self._polled:
            self._begin(address)
        if not self._polled and self._ear is None:
            self._ear = await self.line.listen()

    def _begin(self, address: int) -> None:
        """Nothing is known of a polled side: what it did meanwhile was not heard."""
        side, polled = self._sides[address], self._polled[address]
        polled.talk.begin()
        polled.questions = deque(_first(side))
        side.book.forget()

    async def close(self) -> None:
        """Listen no more."""
        self._ear = None

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        """See ``Driver``. A side that cannot be understood or heard makes its own tags BAD."""
        if self._polled:
            qualities = await self._poll(tags, now)
            for side in self._sides.values():
                side.tick(now)
        else:
            qualities = self._listen(now)
        records = self._reporter.records(now)
        return Reading(self._reporter.samples({tag.name for tag in tags}, qualities, now), records)

    # ------------------------------------------------------------ listening

    def _listen(self, now: datetime) -> dict[int, Quality]:
        """Take what has passed; the quality of the sides that are not heard."""
        if self._ear is None:
            raise NotReachable("not listening yet")
        try:
            passed = self._ear.heard()
        except NotReachable:
            self._ear = self._since = self._drained = self._talked = None
            self._traffic.forget()
            for side in self._sides.values():
                side.forget()
            raise
        self._since = self._since or now
        for piece, at in _spread(passed, self._drained or now, now):
            self._take(piece, at)
        self._drained = now
        silent = [address for address, side in self._sides.items() if self._is_silent(address, side, now)]
        for address in silent:
            self._sides[address].forget()
        if len(silent) == len(self._sides):
            raise NotReachable(self._why())
        return dict.fromkeys(silent, Quality.NOT_CONNECTED)

    def _take(self, passed: bytes, now: datetime) -> None:
        self._heard += len(passed)
        for heard in self._traffic.feed(passed):
            self._heard, self._talked = 0, now
            side = self._sides.get(heard.address)
            if side is None:
                continue
            self._unanswered[heard.address] += 1
            if isinstance(heard, FromPump):
                self._unanswered[heard.address] = 0
            side.hear(heard, now)
        for side in self._sides.values():
            side.tick(now)

    def _is_silent(self, address: int, side: Side, now: datetime) -> bool:
        """Whether a pump is gone; while its controller is busy with others it merely has no occasion to speak."""
        since = side.alive or self._since or now
        if now - since < self._silence:
            return False
        is_quiet = now - (self._talked or since) >= self._silence
        return is_quiet or self._unanswered[address] >= MOST_UNANSWERED or now - since >= LONGEST_ROUND * self._silence

    def _why(self) -> str:
        """Why there is nothing, and what to do."""
        waits = f"nothing heard for {self._silence.total_seconds():g} s"
        sides = ", ".join(f"{address:#04x}" for address in self._sides)
        if max(self._unanswered.values()) >= MOST_UNANSWERED:
            return f"{waits} from {sides}, though the controller polls; is the dispenser switched on?"
        if self._heard:
            return f"{waits} that is DART, but {self._heard} other bytes; check baud (9600 or 19200) and parity (odd)"
        return f"{waits} from {sides}; check wires A and B, the addresses, and that the controller runs"

    # ------------------------------------------------------------ polling

    async def _poll(self, tags: Sequence[Tag], now: datetime) -> dict[int, Quality]:
        """Poll all sides, and ask some of what is to be asked; the quality of the sides that gave no sense."""
        failures: dict[int, BadReply | SilentError] = {}
        due = self._polling.due()
        slow = any(tag.scan is ScanClass.SLOW and tag.kind is TagKind.IDENTITY for tag in tags)
        for address in due:
            side, polled = self._sides[address], self._polled[address]
            last, flowed = side.alive, side.flowed

            def take(heard: FromPump, side: Side = side, last: datetime | None = last) -> None:
                side.hear(heard, now, last)

            try:
                await polled.talk.hear(take)
            except (BadReply, SilentError) as error:
                failures[address] = error
                continue
            if slow and not polled.questions:
                polled.questions += [Ask.STATUS, Ask.IDENTITY, *_counters(side)]
            if side.is_running and side.flowed == flowed and Ask.FILLING not in polled.questions:
                polled.questions.appendleft(Ask.FILLING)  # some do not volunteer it
            for nozzle in side.book.uncounted(now):
                polled.questions.extendleft(
                    question for question in _of_nozzle(side, nozzle)[::-1] if question not in polled.questions
                )
        for _ in range(MOST_QUESTIONS):
            waiting = [
                address
                for address in self._turns
                if address in due and address not in failures and self._polled[address].questions
            ]
            if not waiting:
                break
            self._turns.remove(waiting[0])
            self._turns.append(waiting[0])
            await self._ask(waiting[0], self._polled[waiting[0]], now, failures)
        if len(failures) == len(due):
            raise next(iter(failures.values()))
        silent = dict.fromkeys(filter(self._polling.is_silent, self._polled), Quality.NOT_CONNECTED)
        for address in silent:
            self._begin(address)
            self._sides[address].forget()
        return silent | {
            address: Quality.BAD_REPLY for address, error in failures.items() if isinstance(error, BadReply)
        }

    async def _ask(
        self, address: int, polled: _Polled, now: datetime, failures: dict[int, BadReply | SilentError]
    ) -> None:
        side, question = self._sides[address], polled.questions[0]
        try:
            if not (isinstance(question, Counter) and question.of_amount and side.china):
                await polled.talk.ask(question, lambda heard: side.hear(heard, now))
        except (BadReply, SilentError) as error:
            failures[address] = error
        except Refused:
            pass  # an old pump: its tag stays unknown
        polled.questions.popleft()


def _spread(passed: bytes, since: datetime, now: datetime) -> Iterator[tuple[bytes, datetime]]:
    """What has passed since the last scan in pieces of a second: a bus that is polled is never much more or less busy.

    So fillings that passed while nobody read still have a duration.
    """
    pieces = max(1, min(int((now - since).total_seconds()), len(passed) // LEAST_PIECE, MOST_PIECES))
    size = max(1, -(-len(passed) // pieces))
    for number in range(pieces - 1):
        yield passed[number * size : (number + 1) * size], since + (now - since) * (number + 1) / pieces
    yield passed[(pieces - 1) * size :], now


def _addresses(given: int | tuple[int, ...], sides: int) -> tuple[int, ...]:
    if isinstance(given, tuple):
        return given
    if given + sides > ADDRESSES.stop:
        raise BadConfig(f"address: {sides} sides from {given:#04x} go beyond 0x6f; correct it or list the addresses")
    return tuple(range(given, given + sides))


def _of_nozzle(side: Side, nozzle: int) -> list[Question]:
    both: list[Question] = [Counter(nozzle), Counter(nozzle, of_amount=True)]
    return both[:1] if side.china else both


def _first(side: Side) -> list[Question]:
    """What is asked of a pump of which nothing is known."""
    return [Ask.STATUS, Ask.PARAMETERS, Ask.IDENTITY, *_counters(side)]


def _counters(side: Side) -> list[Question]:
    return [question for nozzle in range(1, side.nozzles + 1) for question in _of_nozzle(side, nozzle)]
