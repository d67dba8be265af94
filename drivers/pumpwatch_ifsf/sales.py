"""A fuelling point's buffer of transactions: which are owed, what one says, and its security checksum; sans-I/O.

Source: IFSF part 3-01, transaction data base; data ids 202 to 205 are CNPC's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from pumpwatch import BadReply, DeviceEvent, EventKind, Transaction, to_us
from pumpwatch_ifsf.database import point
from pumpwatch_ifsf.values import amount, bcd, crc, local_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pumpwatch import Site

TRANSACTIONS = 0x21
NUMBER, AMOUNT, VOLUME, PRICE, NOZZLE, PRODUCT, CHECKSUM = 1, 5, 6, 7, 8, 10, 14
DATE, TIME, END_TOTAL = 202, 203, 205
IDS = (NUMBER, AMOUNT, VOLUME, PRICE, NOZZLE, PRODUCT, CHECKSUM, DATE, TIME, END_TOTAL)
LAST = 9_999
"""After this number comes 1."""
MOST_TRIES = 5
"""Reads of a transaction that is not in the buffer although its number says so; then it is given up."""
MOST_LASTED = 64
"""Fillings whose transaction never came that are remembered; overflow policy: all are forgotten."""
MARK = "security_checksum"
"""Attribute of a filling, and code of the event: ``sound``, ``wrong``, ``none`` or ``unknown``."""


def address(point_: int, number: int) -> bytes:
    """Of one transaction's data base."""
    return point(point_) + bytes((TRANSACTIONS,)) + bytes.fromhex(f"{number:04d}")


class SaleMemory:
    """Follows the transaction numbers of a dispenser's fuelling points.

    Call ``note`` with each number that was read, read each of ``owed``, then ``taken`` or ``missed`` it. A sale is owed
    from the moment its number is seen until it has been read, so an exchange cut short loses nothing.
    """

    def __init__(self, history: int) -> None:
        """``history``: how many old transactions the buffer holds at most."""
        self._history = history
        self._seen: dict[int, int] = {}
        self._tries: dict[tuple[int, int], int] = {}
        """(point, number) of each sale owed: how often it has been read in vain."""
        self._old: set[tuple[int, int]] = set()
        """Those that were in the buffer already when it was looked at first."""
        self._busy: dict[int, bool] = {}

    def note(self, point_: int, number: int, *, busy: bool) -> None:
        """The number of a point's current transaction; while the point is ``busy`` it is not in the buffer yet."""
        self._busy[point_] = busy
        seen = self._seen.get(point_)
        if seen == number:
            return
        self._seen[point_] = number
        passed = self._history if seen is None else (number - seen) % LAST
        news = [(number - back - 1) % LAST + 1 for back in range(min(passed, self._history))]
        if seen is None:
            news = [each for each in news if each <= number]  # of a new dispenser there is nothing before 1
            self._old |= {(point_, each) for each in news if busy is False or each != number}
        self._tries |= {(point_, each): 0 for each in reversed(news)}

    def owed(self) -> list[tuple[int, int]]:
        """Point and number of the sales to read now, in the order in which they came."""
        return [key for key in self._tries if not (self._busy.get(key[0]) and key[1] == self._seen.get(key[0]))]

    def is_old(self, key: tuple[int, int]) -> bool:
        """Whether it was there before anybody looked."""
        return key in self._old

    def taken(self, key: tuple[int, int]) -> None:
        """It has been read."""
        self._tries.pop(key, None)
        self._old.discard(key)

    def missed(self, key: tuple[int, int]) -> None:
        """It was not there; tried again at the next read, a few times."""
        self._tries[key] += 1
        if self._tries[key] >= MOST_TRIES or key in self._old:
            self.taken(key)


class FlowWatch:
    """How long each filling took as far as it was seen: the data base of a transaction tells its end alone.

    The number of the current transaction may move when it begins or when it is over.
    """

    def __init__(self) -> None:
        self._flowed: dict[int, bool] = {}
        self._numbers: dict[int, int | None] = {}
        self._began: dict[int, datetime] = {}
        self._lasted: dict[tuple[int, int], timedelta] = {}

    def look(self, point_: int, number: int | None, now: datetime, *, flows: bool) -> None:
        """What a point shows now."""
        flowed, moved = self._flowed.get(point_, flows), self._numbers.get(point_, number) != number
        self._flowed[point_], self._numbers[point_] = flows, number
        began = self._began.get(point_)
        if began is not None and number is not None and (moved or not flows):
            del self._began[point_]
            if len(self._lasted) >= MOST_LASTED:
                self._lasted.clear()
            self._lasted[point_, number] = now - began
        elif flows and not flowed:
            self._began[point_] = now

    def lasted(self, key: tuple[int, int]) -> timedelta:
        """How long the flow of this filling was seen, to a read at either end; nothing if it was not seen."""
        return self._lasted.pop(key, timedelta(0))


@dataclass(slots=True)
class Security:
    """The checksum that makes a transaction's figures tamper-evident."""

    polynomial: int | None = None
    seed: int | None = None
    is_used: bool = False
    """Whether one has been right: a device that fills it in does so always."""

    def verdict(self, point_: int, told: Mapping[int, bytes]) -> tuple[str, int]:
        """``sound``, ``wrong``, ``none`` (the device fills in zeros) or ``unknown``; and what it must be."""
        if self.polynomial is None or self.seed is None:
            return "unknown", 0
        covered = b"".join(told.get(number, b"") for number in (NUMBER, AMOUNT, VOLUME))
        expected = crc(self.polynomial, self.seed, point(point_) + covered)
        given = int.from_bytes(told.get(CHECKSUM, b""), "big")
        if given == expected and told.get(CHECKSUM):
            self.is_used = self.is_used or expected != 0
            return "sound", expected
        return ("wrong" if given or self.is_used else "none"), expected


def transaction(
    told: Mapping[int, bytes],
    nozzle_id: str,
    number: int,
    offset: timedelta,
    *,
    otherwise: datetime | None,
    mark: str,
    shared: bool,
) -> Transaction | None:
    """The filling; None when the buffer does not hold it, or holds no time and ``otherwise`` is none either.

    Where nozzles of a point share its numbers, so that gaps in them mean nothing, its own number is its end in seconds.
    Raises ``BadReply`` for figures that make no sense.
    """
    if not all(told.get(each) for each in (AMOUNT, VOLUME, PRICE)) or bcd(told.get(NUMBER, b"") or b"\0") != number:
        return None
    end = otherwise
    if told.get(DATE) and told.get(TIME):
        try:
            end = local_time(told[DATE], told[TIME]).replace(tzinfo=UTC) - offset
        except OverflowError as error:
            raise BadReply(f"{told[DATE].hex()} is no day: {error}") from error
    if end is None:
        return None
    volume_l, amount_cny, unit_price = (amount(told[each]) for each in (VOLUME, AMOUNT, PRICE))
    if min(volume_l, amount_cny, unit_price) < 0:
        raise BadReply(f"a filling of {volume_l:g} L, {amount_cny:g} at {unit_price:g} a litre")
    product = told.get(PRODUCT, b"").hex()
    return Transaction(
        nozzle_id=nozzle_id,
        seq=to_us(end) // 1_000_000 if shared else number,
        start=end,
        end=end,
        volume_l=volume_l,
        amount_cny=amount_cny,
        unit_price=unit_price,
        totalizer_l=amount(told[END_TOTAL]) if told.get(END_TOTAL) else None,
        raw=b"".join(bytes((each, len(data))) + data for each, data in sorted(told.items())),
        attributes={MARK: mark, "transaction": str(number)} | ({"product": product} if product else {}),
    )


def tampered(sale: Transaction, site: Site, told: Mapping[int, bytes], expected: int) -> DeviceEvent:
    """The event that a filling's figures are not those its checksum was made for."""
    detail: dict[str, str | float | int | bool | None] = {
        "code": MARK,
        "nozzle_id": sale.nozzle_id,
        "seq": sale.seq,
        "told": told.get(CHECKSUM, b"").hex(),
        "computed": f"{expected:06x}",
        "zh": f"{sale.nozzle_id} 序号 {sale.seq}：交易的安全校验和不符",
        "en": f"{sale.nozzle_id}, sale {sale.seq}: the transaction's security checksum does not agree",
    }
    return DeviceEvent(sale.end, site.station_id, site.device_id, EventKind.ALARM, detail)
