"""What a damaged block of a filling can only have said: the nearest whole one; sans-I/O.

Of the 33 words a listener hears, a disturbed line may spoil a few, and the station's controller need not ask twice. But
price, volume, money and check word say the same thing more than once: money is volume times price, the price is one
that was heard whole before, and the check word adds up. A damaged block is taken for the only filling that disagrees
with at most one of its readable words, while every other filling disagrees with more. What is left unclear the totals
may decide; otherwise it is nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from pumpwatch_twowire.words import Filling, Layout, check_word, is_number, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PUMPS = 16
MOST_SPOILT = 5
"""Words of a block that may be unreadable."""
MOST_GUESSED = 2
"""Digits of a volume tried in every way."""
MOST_WRONG = 1
"""Readable words that may be others than those sent."""
MOST_UNCLEAR = 2
"""The same, where the totals decide."""
MOST_UNFIT = 0.05
"""Share of the blocks that check by chance although they are damaged."""
MARGIN = 2
"""By so many words more must every other filling disagree, when one is thought wrong."""
PRICES_KNOWN = 32
LATEST = 64
"""Blocks by which a line's noise is judged."""
BLOCKS_TO_LEARN = 8
"""Whole blocks that show how money is rounded; half of them show whether a volume's last digit is used."""


@dataclass(frozen=True, slots=True)
class Money:
    """How money follows from volume and price on a display: decimals of each."""

    volume_decimals: int = 3
    money_decimals: int = 2
    price_decimals: int = 2

    @property
    def scale(self) -> float:
        """Volume times price in their last digits, divided by this, is money in its last digit."""
        return 10.0 ** (self.volume_decimals + self.price_decimals - self.money_decimals)

    def fits(self, filling: Filling) -> bool:
        """Whether money is volume times price, as near as digits can show it."""
        exact = filling.volume * filling.price / self.scale
        return abs(filling.money - exact) <= 1.0 + filling.price / self.scale

    def of(self, volume: int, price: int, *, nearest: bool) -> tuple[int, ...]:
        """The money for a volume: rounded to the nearest, or either way."""
        exact = volume * price / self.scale
        down = int(exact + 1e-6)
        if nearest or exact - down < 1e-6:
            return (int(exact + 0.5 + 1e-6),)
        return down, down + 1

    def volumes(self, money: int, price: int) -> range:
        """The volumes that such money can be for."""
        if not price:
            return range(0)
        step = self.scale / price
        return range(max(0, int((money - 1) * step)), int((money + 1) * step) + 2) if step < 50 else range(0)


class Usual:
    """What the blocks of a line have in common, learnt from those that were heard whole; and how many are."""

    def __init__(self) -> None:
        self.prices: dict[int, None] = {}
        """Prices heard; the one heard longest ago is forgotten first."""
        self.unknown: bytes = b""
        """The three words whose meaning is not known, as they were last."""
        self._blocks = 0
        self._fine = 0
        self._unrounded = 0
        self._unfit = 0
        self._latest: deque[bool] = deque(maxlen=LATEST)
        """Whether each of the latest blocks was whole."""

    @property
    def volume_step(self) -> int:
        """10 where the last digit of a volume has never been another than 0, else 1."""
        return 10 if self._blocks >= BLOCKS_TO_LEARN // 2 and not self._fine else 1

    @property
    def is_quiet(self) -> bool:
        """Whether enough blocks come whole, so that few words can be wrong without being unreadable."""
        return 4 * sum(self._latest) + BLOCKS_TO_LEARN >= len(self._latest)

    @property
    def always_fits(self) -> bool:
        """Whether money is volume times price here, so that a block in which it is not must be damaged."""
        return self._blocks >= BLOCKS_TO_LEARN and MOST_UNFIT * self._blocks >= self._unfit

    @property
    def rounds(self) -> bool:
        """Whether money has always been rounded to the nearest."""
        return self._blocks >= BLOCKS_TO_LEARN and not self._unrounded

    def price(self, price: int) -> None:
        """A price was heard."""
        self.prices.pop(price, None)
        self.prices[price] = None
        if len(self.prices) > PRICES_KNOWN:
            del self.prices[next(iter(self.prices))]

    def block(self, filling: Filling, block: bytes, money: Money) -> None:
        """A whole block was heard."""
        self._latest.append(True)
        self.price(filling.price)
        self.unknown = block[5:8]
        self._blocks += 1
        if not money.fits(filling):
            self._unfit += 1
            return
        self._fine += filling.volume % 10 > 0
        self._unrounded += filling.money not in money.of(filling.volume, filling.price, nearest=True)

    def damaged(self) -> None:
        """A damaged block was heard."""
        self._latest.append(False)


@dataclass(frozen=True, slots=True)
class Repair:
    """Reads damaged blocks of some pumps."""

    layout: Layout
    money: Money
    grades: dict[int, frozenset[int]]
    """Pump → the grades its nozzles have."""

    def spoilt(self, block: bytes) -> int:
        """Words of a block that cannot be right."""
        wrong = sum(block[place] != word for place, word in self.layout.fixed)
        return wrong + sum(not _is_readable(block[place], nibble) for place, nibble in self._places)

    def nearest(self, block: bytes, asked: int | None, usual: Usual) -> tuple[tuple[Filling, ...], bool]:
        """What a damaged block may have said, and whether it can be nothing else.

        ``asked`` is the pump whose question came before it.
        """
        if len(block) != self.layout.size or self.spoilt(block) > MOST_SPOILT:
            return (), False
        places = [*self._places, *(((5, True), (6, True), (7, True)) if usual.unknown else ())]
        readable = [(place, block[place]) for place, nibble in places if _is_readable(block[place], nibble)]
        unknown = usual.unknown or block[5:8]
        # The pump's own word is also in the check word; against both together stands the question alone.
        other_pump = 2 if _is_readable(block[self.layout.size - 2], True) else 1
        ranked: list[tuple[int, Filling]] = []
        for filling in self._candidates(block, asked, usual):
            said = self._said(filling, unknown)
            wrong = sum(said.get(place, word) != word for place, word in readable)
            if asked not in {None, filling.pump}:
                wrong += other_pump
            if wrong <= MOST_WRONG + MARGIN:
                ranked.append((wrong, filling))
        ranked.sort(key=lambda each: each[0])
        if not ranked:
            return (), False
        wrong, best = ranked[0]
        margin = MARGIN if wrong else 1
        if (
            usual.is_quiet
            and wrong <= MOST_WRONG
            and all(other == best or far >= wrong + margin for far, other in ranked[1:])
        ):
            return (best,), True
        return tuple(dict.fromkeys(filling for wrong, filling in ranked if wrong <= MOST_UNCLEAR)), False

    @property
    def _places(self) -> Iterator[tuple[int, bool]]:
        """The words that differ from block to block, and whether any nibble will do."""
        yield from ((place, True) for place in (4, 9, 19 + 2 * self.layout.digits))
        yield from ((place, False) for place in range(12, 16))
        for words in (self.layout.volume, self.layout.money):
            yield from ((place, False) for place in range(words.start, words.stop))

    def _candidates(self, block: bytes, asked: int | None, usual: Usual) -> Iterator[Filling]:
        read = (block[4] & 0x0F) + 1 if block[4] >> 4 == 0xE else None
        # Where one of both is not known, the check word may tell the pump; or deny the other.
        known = asked is not None and read is not None
        pumps = sorted({pump for pump in (asked, read) if pump is not None}) if known else range(1, PUMPS + 1)
        if not any(pump in self.grades for pump in pumps):
            return
        for price, volume, money in self._figures(block, usual):
            for pump in pumps:
                for grade in sorted(self.grades.get(pump, (block[9] & 0x0F,))):
                    yield Filling(pump, grade, price, volume, money)

    def _figures(self, block: bytes, usual: Usual) -> Iterator[tuple[int, int, int]]:
        """Price, volume and money that go together and of which few readable digits are others."""
        prices = {*usual.prices, number(block[12:16])} if is_number(block[12:16]) else set(usual.prices)
        for price in sorted(prices):
            amiss = self._amiss(price, block[12:16])
            if amiss > MOST_WRONG + MARGIN:
                continue
            for volume in sorted(self._volumes(block, price)):
                if volume % usual.volume_step:
                    continue
                most = MOST_WRONG + MARGIN - amiss - self._amiss(volume, block[self.layout.volume])
                for money in self.money.of(volume, price, nearest=usual.rounds):
                    if self._amiss(money, block[self.layout.money]) <= most:
                        yield price, volume, money

    @staticmethod
    def _amiss(value: int, words: bytes) -> int:
        """Readable digits that are not those of ``value``."""
        return sum(
            _is_readable(word, False) and word & 0x0F != value // 10**place % 10 for place, word in enumerate(words)
        )

    def _volumes(self, block: bytes, price: int) -> set[int]:
        """Volumes that the block may have said: its readable digits, one of them wrong, or what its money is for."""
        words, ten = block[self.layout.volume], range(10)
        digits: list[Sequence[int]] = [(word & 0x0F,) if _is_readable(word, False) else ten for word in words]
        lost = sum(len(tried) > 1 for tried in digits)
        found: set[int] = set()
        if lost <= MOST_GUESSED:
            found |= {_joined(each) for each in product(*digits)}
        if lost < MOST_GUESSED:
            for place in range(len(digits)):
                found |= {_joined(each) for each in product(*digits[:place], ten, *digits[place + 1 :])}
        if is_number(block[self.layout.money]):
            found |= set(self.money.volumes(number(block[self.layout.money]), price))
        most: int = 10**self.layout.digits
        return {volume for volume in found if volume < most}

    def _said(self, filling: Filling, unknown: bytes) -> dict[int, int]:
        """The words that a whole block of this filling has where they differ from block to block."""
        layout = self.layout
        said = {4: 0xE0 | filling.pump - 1, 9: 0xE0 | filling.grade}
        for first, digits, value in (
            (12, 4, filling.price),
            (layout.volume.start, layout.digits, filling.volume),
            (layout.money.start, layout.digits, filling.money),
        ):
            for place in range(digits):
                said[first + place] = 0xE0 | value // 10**place % 10
        said |= dict(zip((5, 6, 7), unknown, strict=True))
        if all(word >> 4 == 0xE for word in unknown):
            last = layout.size - 3
            words = dict(layout.fixed) | said
            said[last + 1] = check_word(words[place] for place in range(last + 1))
        return said


def _is_readable(word: int, any_nibble: bool) -> bool:
    return word >> 4 == 0xE and (any_nibble or word & 0x0F <= 9)


def _joined(digits: Sequence[int]) -> int:
    return sum(digit * 10**place for place, digit in enumerate(digits))
