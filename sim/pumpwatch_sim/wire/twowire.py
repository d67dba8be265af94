"""Gilbarco Two-Wire (also 北京长吉) as bytes: the pumps of a current loop, and the controller that is their master.

Evidence grade B+: dimoskar/ASFuelControlV1, fangym0335/first lischn001.c and lischn022.c,
a sniff report; four implementations that agree. 5787 baud (5760 in China), 8 data, even parity, 1 stop.
What bytes 5 to 7 of a transaction and the frame around the nozzle reply mean is not known; they are sent as observed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire.sides import Side, devices, latest_sale, scaled, sides

if TYPE_CHECKING:
    from pumpwatch_sim.live.views import DispenserView, NozzleView

FIRST_PUMP, MOST_PUMPS = 1, 16
STATUS, AUTHORISE, SEND_DATA, STOP, TRANSACTION, TOTALS, MONEY = range(7)
STOP_ALL = 0xFC
DATA_ERROR, IDLE, CALL, AUTHORISED, BUSY, PRESET_END, FILL_END, STOPPED, LISTENING = 0, 6, 7, 8, 9, 10, 11, 12, 13
NOZZLE_QUERY = bytes.fromhex("FF E9 FE E0 E1 E0 FB EE F0")
"""Special function 010: which nozzle is out."""

_START, _END, _LRC_NEXT = 0xFF, 0xF0, 0xFB
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """How a loop's pumps write numbers; what differs from site to site."""

    digits: int = 6
    """Of volume and money: 6, or 5 on older pumps."""
    volume_decimals: int = 3
    money_decimals: int = 2
    price_decimals: int = 2
    totals: int = 2
    """0: one decimal; 1: one, the hundredths' digits stand in the nozzle reply; 2: two, without the top digit."""


def words(number: int, digits: int) -> bytes:
    """Data words of a number, least significant digit first."""
    return bytes(0xE0 | int(digit) for digit in reversed(f"{number % 10**digits:0{digits}d}"))


def lrc(block: bytes) -> int:
    """The check word of a block from its start to ``FB``."""
    return 0xE0 | (-sum(byte & 0x0F for byte in block) & 0x0F)


def closed(block: bytes) -> bytes:
    """A block (from ``FF`` on) with ``FB``, check word and end."""
    block += bytes((_LRC_NEXT,))
    return block + bytes((lrc(block), _END))


def intact(block: bytes) -> bool:
    """Whether a block from ``FF`` to ``F0`` is whole and its check word right."""
    return len(block) >= 5 and block[-3] == _LRC_NEXT and block[-2] == lrc(block[:-2])


def transaction(pump: int, grade: int, price: int, volume: int, money: int, digits: int = 6) -> bytes:
    """The last filling, as displayed; ``grade`` counts from 0."""
    return closed(
        bytes((0xFF, 0xF1, 0xF8, 0xEB, 0xE0 | pump - 1, 0xE0, 0xE0, 0xE1, 0xF6, 0xE0 | grade, 0xF4, 0xF7))
        + words(price, 4)
        + b"\xf9"
        + words(volume, digits)
        + b"\xfa"
        + words(money, digits)
    )


def totals(grades: Sequence[tuple[int, int, int]]) -> bytes:
    """Volume, money and price of each grade, as displayed."""
    block = b"\xff"
    for grade, (volume, money, price) in enumerate(grades):
        block += bytes((0xF6, 0xE0 | grade, 0xF9)) + words(volume, 8) + b"\xfa" + words(money, 8)
        block += b"\xf4" + words(price, 4) + b"\xf5" + words(price, 4)
    return closed(block)


def price_block(grade: int, price: int) -> bytes:
    """New price of a grade counted from 0."""
    return closed(bytes((0xFF, 0xE5, 0xF4, 0xF6, 0xE0 | grade, 0xF7)) + words(price, 4))


def nozzle_reply(pump: int, nozzle: int, kind: int, hundredths: Sequence[int]) -> bytes:
    """Which nozzle is out (0 none): 19 bytes, the nozzle at index 14; ``kind``: see ``Settings.totals``."""
    number = 0xB0 | pump if pump < 10 else 0xC1 + pump - 10
    digits = [0xB0 | digit for digit in [*hundredths, 0, 0, 0, 0][:4]]
    head = bytes((0xBA, 0xB0, 0xB3, number, 0xB0, 0xB1, 0xB0, 0xB0, 0xB0, 0xB0 | kind))
    return head + bytes((*digits, 0xB0 | nozzle, 0xC3, 0xC1, 0x8D, 0x8A))


class TwoWirePumps:
    """All pumps of a loop; see :class:`pumpwatch_sim.live.views.Pump`.

    The world is read-only: authorising and stopping show in the status as far as that goes and change no filling.
    """

    def __init__(
        self,
        dispensers: Sequence[DispenserView],
        nozzles_per_side: int = 1,
        settings: Settings | None = None,
        echo: bool = False,
    ) -> None:
        """With ``echo`` the loop gives the master's own bytes back before the answer.

        Pumps are numbered from 1; raises ``ValueError`` when they are more than 16.
        """
        by_pump = sides(dispensers, FIRST_PUMP, nozzles_per_side, MOST_PUMPS)
        self.devices = devices(by_pump)
        self._echo = echo
        self._pumps = {pump: _Pump(side, settings or Settings()) for pump, side in by_pump.items()}
        self._listener: _Pump | None = None
        self._block = bytearray()

    def receive(self, data: bytes) -> bytes:
        """Answer commands of one byte and take the data block that a pump has been asked to listen for."""
        answer = bytearray()
        for byte in data:
            if self._echo:
                answer.append(byte)
            answer += self._byte(byte)
        return bytes(answer)

    def pause(self) -> bytes:
        """Half a block is forgotten, and that somebody listens."""
        self._block.clear()
        self._listener = None
        return b""

    def _byte(self, byte: int) -> bytes:
        if self._listener is not None:
            if self._block or byte == _START:
                return self._block_byte(self._listener, byte)
            self._listener = None
        if byte == STOP_ALL:
            for pump in self._pumps.values():
                pump.stop()
            return b""
        addressed = self._pumps.get(byte & 0x0F or MOST_PUMPS)
        if addressed is None:
            return b""
        if byte >> 4 == SEND_DATA:
            self._listener = addressed
            return bytes((LISTENING << 4 | byte & 0x0F,))
        return addressed.command(byte >> 4)

    def _block_byte(self, pump: _Pump, byte: int) -> bytes:
        self._block.append(byte)
        if byte != _END and len(self._block) < _LONGEST:
            return b""
        block = bytes(self._block)
        self.pause()
        return pump.take(block)


class _Pump:
    """One pump number: a display, and what the master has made of it."""

    def __init__(self, side: Side, settings: Settings) -> None:
        self._side = side
        self._settings = settings
        self._current = 0
        self._authorised = False
        self._stopped = False
        self._unread = False
        self._read_early = False
        """Somebody read the transaction of a preset that had ended before the nozzle was hung up."""
        self._data_error = False
        self._totals = [nozzle.totalizer for nozzle in side.nozzles]

    def command(self, command: int) -> bytes:
        """Answer a command of one byte."""
        status = self._status()
        match command:
            case 0:
                if self._data_error:
                    self._data_error, status = False, DATA_ERROR
                return bytes((status << 4 | self._side.address & 0x0F,))
            case 1 if status == CALL:
                self._authorised = True
            case 3:
                self.stop()
            case 4:
                self._unread = False
                self._read_early = status == PRESET_END
                return self._transaction()
            case 5:
                return totals([self._total(nozzle) for nozzle in self._side.nozzles])
            case 6:
                money = scaled(self._nozzle.amount, self._settings.money_decimals, self._settings.digits)
                return words(money, self._settings.digits)
            case _:
                pass
        return b""

    def stop(self) -> None:
        """What was authorised is no longer."""
        if self._status() == AUTHORISED:
            self._stopped = True
        self._authorised = False

    def take(self, block: bytes) -> bytes:
        """Take a data block; only the nozzle query is answered."""
        self._data_error = not intact(block)
        if self._data_error or block != NOZZLE_QUERY:
            return b""
        self._status()
        out = 0 if self._nozzle.state in {NozzleState.IDLE, NozzleState.LOCKED} else self._current + 1
        kind = self._settings.totals
        hundredths = [nozzle.totalizer % 10 if kind == 1 else 0 for nozzle in self._side.nozzles]
        return nozzle_reply(self._side.address, out, kind, hundredths)

    @property
    def _nozzle(self) -> NozzleView:
        return self._side.nozzles[self._current]

    def _status(self) -> int:
        side = self._side
        self._current = side.busy(self._current) if self._unread else side.to_tell(self._current, self._totals)
        nozzle = self._nozzle
        if nozzle.state is NozzleState.LOCKED:
            return STOPPED
        if nozzle.state is NozzleState.IDLE:
            self._authorised = self._stopped = False
            if nozzle.totalizer != self._totals[self._current]:
                self._totals[self._current] = nozzle.totalizer
                self._unread = not self._read_early
            self._read_early = False
            return self._end() if self._unread else IDLE
        self._unread = False
        if nozzle.state is NozzleState.STOPPED:
            return PRESET_END if self._limited() else BUSY
        self._read_early = False
        if nozzle.state is NozzleState.FUELLING:
            return BUSY
        if self._stopped:
            return IDLE
        return AUTHORISED if self._authorised else CALL

    def _end(self) -> int:
        return PRESET_END if self._limited() else FILL_END

    def _limited(self) -> bool:
        """Whether a preset ended the filling on the display."""
        sale = latest_sale(self._nozzle)
        if sale is None or not sale.preset:
            return False
        return (sale.volume, sale.amount) == (self._nozzle.volume, self._nozzle.amount)

    def _transaction(self) -> bytes:
        nozzle, settings = self._nozzle, self._settings
        return transaction(
            self._side.address,
            self._current,
            scaled(nozzle.price, settings.price_decimals, 4),
            scaled(nozzle.volume, settings.volume_decimals, settings.digits),
            scaled(nozzle.amount, settings.money_decimals, settings.digits),
            settings.digits,
        )

    def _total(self, nozzle: NozzleView) -> tuple[int, int, int]:
        decimals = 2 if self._settings.totals == 2 else 1
        volume, money = scaled(nozzle.totalizer, decimals, 8), scaled(nozzle.totalizer_amount, decimals, 8)
        return volume, money, scaled(nozzle.price, self._settings.price_decimals, 4)


class _Step(Enum):
    """What the controller does next with a pump."""

    STATUS = 0
    LISTEN_FOR_QUERY = 1
    QUERY = 2
    LISTEN_FOR_PRICE = 3
    PRICE = 4
    AUTHORISE = 5
    MONEY = 6
    TRANSACTION = 7
    TOTALS = 8


_CALLED = (
    _Step.LISTEN_FOR_QUERY,
    _Step.QUERY,
    _Step.LISTEN_FOR_PRICE,
    _Step.PRICE,
    _Step.AUTHORISE,
)
_COMMANDS = {
    _Step.STATUS: STATUS,
    _Step.LISTEN_FOR_QUERY: SEND_DATA,
    _Step.LISTEN_FOR_PRICE: SEND_DATA,
    _Step.AUTHORISE: AUTHORISE,
    _Step.MONEY: MONEY,
    _Step.TRANSACTION: TRANSACTION,
    _Step.TOTALS: TOTALS,
}


class TwoWireController:
    """The station's master on a loop; see :class:`pumpwatch_sim.live.views.Controller`.

    It reads the totals of each pump at first, then asks for the status in a circle, prices and authorises whoever
    calls, reads the running money while a pump is busy, transaction and totals at the end.
    """

    def __init__(
        self, dispensers: Sequence[DispenserView], nozzles_per_side: int = 1, settings: Settings | None = None
    ) -> None:
        """As :class:`TwoWirePumps` was made; raises ``ValueError`` likewise."""
        self._sides = list(sides(dispensers, FIRST_PUMP, nozzles_per_side, MOST_PUMPS).values())
        self._settings = settings or Settings()
        self._steps: deque[_Step] = deque()
        self._fresh = len(self._sides)
        self._at = -1
        self._step = _Step.STATUS
        self._sent = b""
        self._heard = b""
        self._nozzle = 1
        self._read: set[int] = set()
        """Pumps whose last filling has been read."""

    def turn(self) -> bytes:
        """The next command or data block."""
        if not self._sides:
            return b""
        self._learn()
        if self._steps:
            self._step = self._steps.popleft()
        else:
            self._at = (self._at + 1) % len(self._sides)
            self._step = _Step.STATUS
            if self._fresh:
                self._fresh -= 1
                self._steps.append(_Step.TOTALS)
        self._sent, self._heard = self._bytes(self._step), b""
        return self._sent

    def receive(self, data: bytes) -> None:
        """Take what came back, the loop's echo among it."""
        self._heard = (self._heard + data)[-1024:]

    def _learn(self) -> None:
        """Draw the conclusions from the answer to the last command."""
        answer = self._heard.removeprefix(self._sent) if self._sent else b""
        match self._step:
            case _Step.STATUS if len(answer) == 1:
                self._conclude(answer[0] >> 4)
            case _Step.LISTEN_FOR_QUERY | _Step.LISTEN_FOR_PRICE if answer[:1] != bytes((0xD0 | self._number,)):
                self._steps.clear()
            case _Step.QUERY:
                self._nozzle = answer[14] & 0x0F if len(answer) == 19 else 0
                if not 1 <= self._nozzle <= len(self._sides[self._at].nozzles):
                    self._steps.clear()
            case _Step.TRANSACTION if len(answer) == 21 + 2 * self._settings.digits:
                self._read.add(self._number)
            case _:
                pass

    def _conclude(self, status: int) -> None:
        if status not in {PRESET_END, FILL_END}:
            self._read.discard(self._number)
        if status == CALL:
            self._steps.extend(_CALLED)
        elif status == BUSY:
            self._steps.append(_Step.MONEY)
        elif status in {PRESET_END, FILL_END} and self._number not in self._read:
            self._steps.extend((_Step.TRANSACTION, _Step.TOTALS))

    @property
    def _number(self) -> int:
        return self._sides[self._at].address & 0x0F

    def _bytes(self, step: _Step) -> bytes:
        if step is _Step.QUERY:
            return NOZZLE_QUERY
        if step is _Step.PRICE:
            price = self._sides[self._at].nozzles[self._nozzle - 1].price
            return price_block(self._nozzle - 1, scaled(price, self._settings.price_decimals, 4))
        return bytes((_COMMANDS[step] << 4 | self._number,))
