"""Wayne DART (= Mepsan MKR5) as bytes: the pumps of a line, and the station's controller that is their master.

Evidence grade A: vendor specification 2.11 as cited by public firmware,
dimoskar/ASFuelControlV1, alejomonroy/Full-Colombia-Wayne, fangym0335/first; 29 captured frames, checksums recomputed.
RS-485, 9600 (19200) baud, 8 data, odd parity, 1 stop; the master speaks first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire.dart_frames import (
    ACK,
    ACKPOLL,
    DATA,
    EOT,
    FIRST_ADDRESS,
    MOST_SIDES,
    NAK,
    POLL,
    Frame,
    Framer,
    Settings,
    control,
    data,
    dc3,
    dc7,
    dc101,
    transaction,
    transactions,
)
from pumpwatch_sim.wire.sides import Side, bcd, devices, latest_sale, scaled, sides

if TYPE_CHECKING:
    from pumpwatch_sim.live.views import DispenserView, NozzleView

UNPROGRAMMED, RESET, AUTHORISED, FILLING, COMPLETED, LIMIT, OFF = 0, 1, 2, 4, 5, 6, 7
CPU_RESET, PULSER = 0x01, 0x06
"""Alarms of DC5."""

_TRIES = 3


class DartPumps:
    """All pumps of a line; see :class:`pumpwatch_sim.live.views.Pump`.

    The world is read-only: whatever the master commands is acknowledged and shows in the pump's own status as far as
    that goes, but who fuels and how much does not depend on it.
    """

    def __init__(
        self,
        dispensers: Sequence[DispenserView],
        first_address: int = FIRST_ADDRESS,
        nozzles_per_side: int = 1,
        settings: Settings | None = None,
    ) -> None:
        """Addresses count up from ``first_address``, one a side; raises ``ValueError`` when they are too many."""
        by_address = sides(dispensers, first_address, nozzles_per_side, MOST_SIDES)
        self.devices = devices(by_address)
        self._framer = Framer()
        self._pumps = {address: _Pump(side, settings or Settings()) for address, side in by_address.items()}

    def receive(self, data: bytes) -> bytes:
        """Answer each frame that has ended and is meant for one of the pumps."""
        answers = [
            self._pumps[frame.address].take(frame) for frame in self._framer.feed(data) if frame.address in self._pumps
        ]
        return b"".join(answers)

    def pause(self) -> bytes:
        """Half a frame is forgotten."""
        self._framer.forget()
        return b""


class _Pump:
    """One address: what it has told and what it still has to tell."""

    def __init__(self, side: Side, settings: Settings) -> None:
        self._side = side
        self._settings = settings
        self._number = settings.wrap_to
        self._unacked: bytes | None = None
        self._heard: int | None = None
        self._answers: deque[bytes] = deque(maxlen=16)
        self._current = 0
        self._out = False
        self._told = RESET
        self._rest = RESET
        """Status while nobody fuels and nothing is authorised."""
        self._authorised = False
        self._shown = (0, 0)
        self._totals = [nozzle.totalizer for nozzle in side.nozzles]
        """When each nozzle was last hung up, as ``_amounts``: totals move then and not before."""
        self._amounts = [nozzle.totalizer_amount for nozzle in side.nozzles]
        self._sequences = [nozzle.sequence for nozzle in side.nozzles]
        self._identity = side.dispenser.identity_changes

    def take(self, frame: Frame) -> bytes:
        """Answer one frame."""
        address, number = self._side.address, frame.number
        if frame.kind == DATA:
            if not frame.intact or not self._in_turn(number):
                return control(address, NAK, number)
            if number == 0 or number != self._heard:
                self._heard = number
                for code, content in transactions(frame.payload):
                    self._obey(code, content)
            return control(address, ACK, number)
        if frame.kind in {ACK, ACKPOLL} and self._unacked is not None and number == self._number:
            self._unacked = None
            self._number = _after(number, self._settings.wrap_to)
        if frame.kind in {POLL, ACKPOLL}:
            return self._poll()
        return b""

    def _in_turn(self, number: int) -> bool:
        """The master counts on, repeats itself, or starts anew with 0."""
        return self._heard is None or number in {0, 1 if self._heard == 15 else self._heard + 1, self._heard}

    def _poll(self) -> bytes:
        if self._unacked is None:
            payload = self._answers.popleft() if self._answers else self._news()
            if not payload:
                return control(self._side.address, EOT)
            self._unacked = data(self._side.address, self._number, payload)
        return self._unacked

    # ------------------------------------------------------------------------------------------ what has changed

    def _news(self) -> bytes:
        """What the pump volunteers now; empty when nothing has changed."""
        dispenser = self._side.dispenser
        if dispenser.identity_changes != self._identity:
            self._identity = dispenser.identity_changes
            return transaction(0x05, bytes((CPU_RESET,)))
        nozzle = self._nozzle
        if nozzle.state is NozzleState.IDLE:
            done = self._done(nozzle)
            if done:
                return done
            self._current = self._side.to_tell(self._current, self._totals)
            nozzle = self._nozzle
            if nozzle.state is NozzleState.IDLE:
                done = self._done(nozzle)
                if done:
                    return done
        return self._dc3() if self._lifted() else self._status_news(nozzle)

    def _lifted(self) -> bool:
        """Whether the nozzle is out, which has not been told yet."""
        if self._out or self._nozzle.state in {NozzleState.IDLE, NozzleState.LOCKED}:
            return False
        self._out = True
        self._shown = (0, 0)
        return True

    def _done(self, nozzle: NozzleView) -> bytes:
        """A filling has ended, or a nozzle that was out has been hung up unused."""
        out, self._out = self._out, False
        place = self._current
        moved = nozzle.totalizer != self._totals[place]
        shown = out or nozzle.sequence != self._sequences[place]
        self._totals[place], self._amounts[place] = nozzle.totalizer, nozzle.totalizer_amount
        self._sequences[place] = nozzle.sequence
        if moved and shown:  # what the display did not see, the line does not hear; its totals tell
            self._authorised = False
            self._rest = self._told = COMPLETED
            return self._dc2() + self._dc3() + _dc1(COMPLETED)
        if out:
            self._authorised = False
            self._told = self._rest
            return self._dc3() + _dc1(self._rest)
        return b""

    def _status_news(self, nozzle: NozzleView) -> bytes:
        status, before = self._status(), self._told
        self._told = status
        if status == OFF and before != OFF:
            return _dc1(OFF) + transaction(0x05, bytes((PULSER,)))
        shown = (nozzle.volume, nozzle.amount)
        moved = status in {FILLING, LIMIT} and shown != self._shown
        if moved:
            self._shown = shown
        if status == before:
            return self._dc2() if moved else b""
        if status == FILLING:
            return _dc1(status) + self._dc3() + self._dc2()
        return self._dc2() + _dc1(status) if status == LIMIT else _dc1(status)

    def _status(self) -> int:
        nozzle = self._nozzle
        match nozzle.state:
            case NozzleState.LOCKED:
                return OFF
            case NozzleState.FUELLING:
                return FILLING
            case NozzleState.STOPPED:
                sale = latest_sale(nozzle)
                limited = (
                    sale is not None and sale.preset and (sale.volume, sale.amount) == (nozzle.volume, nozzle.amount)
                )
                return LIMIT if limited else FILLING
            case _:
                return AUTHORISED if self._authorised else self._rest

    @property
    def _nozzle(self) -> NozzleView:
        return self._side.nozzles[self._current]

    # -------------------------------------------------------------------------------------------------- commands

    def _obey(self, code: int, content: bytes) -> None:
        if code == 0x01 and len(content) == 1:
            self._command(content[0])
        elif code == 0x65 and len(content) == 1:
            self._count(content[0])

    def _command(self, command: int) -> None:
        status = self._status()
        match command:
            case 0x00:
                self._lifted()
                filling = self._dc2() if status in {FILLING, LIMIT} else b""
                self._answers.append(_dc1(status) + self._dc3() + filling)
            case 0x02:
                self._answers.append(dc7(self._settings, len(self._side.nozzles)))
            case 0x03:
                self._answers.append(transaction(0x09, bcd(_identity(self._side.dispenser), 5)))
            case 0x04:
                self._lifted()
                self._answers.append(self._dc2() + self._dc3())
            case 0x05 if status in {RESET, COMPLETED, LIMIT}:
                self._rest = RESET
            case 0x06 if status == RESET:
                self._authorised = True
            case 0x08:
                self._authorised = False
            case 0x0F:
                prices = b"".join(bcd(self._price(nozzle), 3) for nozzle in self._side.nozzles)
                self._answers.append(transaction(0x67, prices))
            case _:
                pass

    def _count(self, counter: int) -> None:
        """Totals of nozzle 1 to 9: 01-09 volume, 11-19 amount."""
        place, digit = counter >> 4, counter & 0x0F
        if place > 1 or not 1 <= digit <= len(self._side.nozzles):
            return
        nozzle = self._side.nozzles[digit - 1]
        totals = nozzle.totalizer, nozzle.totalizer_amount
        if nozzle.state not in {NozzleState.IDLE, NozzleState.LOCKED}:
            totals = self._totals[digit - 1], self._amounts[digit - 1]
        volume = scaled(totals[0], self._settings.volume_decimals, 10)
        amount = scaled(totals[1], self._settings.amount_decimals, 10)
        if self._settings.china_totals:
            content = bytes((counter,)) + bcd(volume, 6) + bcd(amount, 6)
            self._answers.append(transaction(0x65, content))
        else:
            total = amount if place else volume
            self._answers.append(dc101(counter, total, total))

    # --------------------------------------------------------------------------------------------------- reports

    def _dc2(self) -> bytes:
        nozzle = self._nozzle
        volume = scaled(nozzle.volume, self._settings.volume_decimals, 8)
        amount = scaled(nozzle.amount, self._settings.amount_decimals, 8)
        return transaction(0x02, bcd(volume, 4) + bcd(amount, 4))

    def _dc3(self) -> bytes:
        return dc3(self._price(self._nozzle), self._current + 1 if self._out else 0, self._out)

    def _price(self, nozzle: NozzleView) -> int:
        return scaled(nozzle.price, self._settings.price_decimals, 6)


class DartController:
    """The station's master on a line of pumps; see :class:`pumpwatch_sim.live.views.Controller`.

    It asks each pump for status, identity and totals at first, then polls in a circle, prices and authorises whoever
    lifts a nozzle and reads the totals after each filling.
    """

    def __init__(
        self,
        dispensers: Sequence[DispenserView],
        first_address: int = FIRST_ADDRESS,
        nozzles_per_side: int = 1,
        settings: Settings | None = None,
    ) -> None:
        """As :class:`DartPumps` was made; raises ``ValueError`` likewise."""
        by_address = sides(dispensers, first_address, nozzles_per_side, MOST_SIDES)
        self._settings = settings or Settings()
        self._masters = [_Master(side, self._settings) for side in by_address.values()]
        self._framer = Framer()
        self._at = -1
        self._stay = False
        self._reply = b""
        self._waiting: bytes | None = None
        self._tries = 0

    def turn(self) -> bytes:
        """An acknowledgement owed, a command, or the next poll; the last command again when nobody answered it."""
        if not self._masters:
            return b""
        self._framer.forget()
        if self._reply:
            reply, self._reply = self._reply, b""
            return reply
        if self._waiting is not None:
            self._tries += 1
            if self._tries < _TRIES:
                return self._waiting
            self._give_up()
        if not self._stay:
            self._at = (self._at + 1) % len(self._masters)
            self._masters[self._at].visit()
        master = self._masters[self._at]
        if master.tasks and not master.poll_due:
            self._stay, self._tries = True, 0
            self._waiting = data(master.address, master.number, master.tasks[0])
            return self._waiting
        master.poll_due = False
        self._stay = bool(master.tasks)
        return control(master.address, POLL)

    def receive(self, data: bytes) -> None:
        """Take what a pump answered; what is not from the pump just asked is nobody's business."""
        for frame in self._framer.feed(data):
            master = self._masters[self._at]
            if self._at < 0 or frame.address != master.address:
                continue
            if frame.kind == DATA:
                self._reply = control(master.address, ACK if frame.intact else NAK, frame.number)
                if frame.intact:
                    master.hear(frame)
                else:
                    master.poll_due = True
                self._stay = bool(master.tasks) or master.poll_due
            elif frame.kind == ACK and self._waiting is not None and frame.number == master.number:
                self._waiting = None
                master.tasks.popleft()
                master.number = _after(master.number, self._settings.wrap_to)
                master.poll_due = self._stay = True
            elif frame.kind == NAK and self._waiting is not None:
                self._tries += 1
                master.number = 0
                if self._tries >= _TRIES:
                    self._give_up()
                else:
                    self._waiting = None

    def _give_up(self) -> None:
        """The pump takes no command: drop it and start numbering anew."""
        master = self._masters[self._at]
        self._waiting, self._stay = None, False
        master.tasks.clear()
        master.number = 0


class _Master:
    """What the controller knows of one pump and has in mind for it."""

    def __init__(self, side: Side, settings: Settings) -> None:
        self.address = side.address
        self.number = 0
        self.poll_due = False
        self.tasks: deque[bytes] = deque(maxlen=64)
        self._side = side
        self._settings = settings
        self._heard: int | None = None
        self._prices: list[int] = []
        self._nozzle = 1
        self._out = False
        self._status = UNPROGRAMMED
        self._visits = 0
        self._begin()

    def _begin(self) -> None:
        """Nothing is known of the pump: it is new, or has started anew."""
        self.tasks += [_cd1(0x00), _cd1(0x02), _cd1(0x03)]
        for number in range(1, len(self._side.nozzles) + 1):
            self._read_totals(number)

    def visit(self) -> None:
        """Its turn in the circle: new prices while nobody fuels, now and then the filling's figures."""
        self._visits += 1
        prices = [scaled(nozzle.price, self._settings.price_decimals, 6) for nozzle in self._side.nozzles]
        if prices != self._prices and not self._out:
            self._prices = prices
            self._send_prices()
        if self._status == FILLING and self._visits % 4 == 0:
            self.tasks.append(_cd1(0x04))

    def hear(self, frame: Frame) -> None:
        """Take a pump's DATA, once."""
        if frame.number != 0 and frame.number == self._heard:
            return
        self._heard = frame.number
        told = transactions(frame.payload)
        volunteered = any(code == 0x02 for code, _ in told)
        for code, content in told:
            if code == 0x03 and len(content) == 4:
                self._moved(content[3])
            elif code == 0x01 and len(content) == 1:
                self._turned(content[0], volunteered)
            elif code == 0x05 and content == bytes((CPU_RESET,)):
                self._begin()

    def _moved(self, byte: int) -> None:
        out = bool(byte & 0x10)
        if out:
            self._nozzle = byte & 0x0F or 1
        if out and not self._out:
            self.tasks.append(transaction(0x02, bytes(range(1, len(self._side.nozzles) + 1))))
            self.tasks.append(_cd1(0x05))
            self._send_prices()
            self.tasks.append(_cd1(0x06))
        self._out = out

    def _turned(self, status: int, with_volume: bool) -> None:
        if status == COMPLETED and with_volume:
            self._read_totals(self._nozzle)
        elif status == UNPROGRAMMED:
            self._send_prices()
        self._status = status

    def _send_prices(self) -> None:
        prices = [scaled(nozzle.price, self._settings.price_decimals, 6) for nozzle in self._side.nozzles]
        self.tasks.append(transaction(0x05, b"".join(bcd(price, 3) for price in prices)))

    def _read_totals(self, number: int) -> None:
        self.tasks.append(transaction(0x65, bytes((number,))))
        if not self._settings.china_totals:
            self.tasks.append(transaction(0x65, bytes((0x10 + number,))))


def _after(number: int, wrap_to: int) -> int:
    return wrap_to if number == 15 else number + 1


def _dc1(status: int) -> bytes:
    return transaction(0x01, bytes((status,)))


def _cd1(command: int) -> bytes:
    return transaction(0x01, bytes((command,)))


def _identity(dispenser: DispenserView) -> int:
    """Ten digits that change with the mainboard."""
    serial = dispenser.identity.mainboard_serial
    digits = "".join(char for char in serial if char in "0123456789")
    return int(digits) if len(digits) >= 6 else int.from_bytes(serial.encode(), "big")
