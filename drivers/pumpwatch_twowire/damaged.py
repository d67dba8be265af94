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

from pumpwatch_twowire.words import Filling, Layout, is_number, number

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
MOST_TRIED = 4_000
"""Volumes, and fillings, that are tried for a block; of one that leaves open more it is not known what it said."""
PRICES_KNOWN = 8
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


class _TooManyError(Exception):
    """A block leaves open too much."""


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
        try:
            ranked = list(self._ranked(block, asked, usual))
        except _TooManyError:
            return (), False
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

    def _ranked(self, block: bytes, asked: int | None, usual: Usual) -> Iterator[tuple[int, Filling]]:
        """Fillings with the number of readable words that they disagree with, where these are few."""
        pump_word, grade_word, check = block[4], block[9], block[self.layout.size - 2]
        read = (pump_word & 0x0F) + 1 if _is_readable(pump_word, True) else None
        # Where one of both is not known, the check word may tell the pump; or deny the other.
        known = asked is not None and read is not None
        pumps = sorted({pump for pump in (asked, read) if pump is not None}) if known else range(1, PUMPS + 1)
        if not any(pump in self.grades for pump in pumps):
            return
        unknown = usual.unknown or block[5:8]
        words = dict(self.layout.fixed) | dict(zip((5, 6, 7), unknown, strict=True))
        always = sum(word & 0x0F for place, word in words.items() if place < self.layout.size - 2)
        checks = _is_readable(check, True) and all(_is_readable(word, True) for word in unknown)
        # The pump's own word is also in the check word; against both together stands the question alone.
        other_pump = 2 if _is_readable(check, True) else 1
        most = MOST_WRONG + MARGIN
        amiss = sum(_is_readable(word, True) and word != unknown[place] for place, word in enumerate(block[5:8]))
        places = []
        for pump in pumps:
            for grade in sorted(self.grades.get(pump, (grade_word & 0x0F,))):
                wrong = amiss + (read not in {None, pump}) + (0 if asked in {None, pump} else other_pump)
                wrong += _is_readable(grade_word, True) and grade_word & 0x0F != grade
                if wrong <= most:
                    places.append((wrong, always + pump - 1 + grade, pump, grade))
        tried = 0
        for figures_wrong, digits, price, volume, money in self._figures(block, usual):
            tried += len(places)
            if tried > MOST_TRIED:
                raise _TooManyError
            for wrong, nibbles, pump, grade in places:
                wrong_all = wrong + figures_wrong + (checks and -(nibbles + digits) & 0x0F != check & 0x0F)
                if wrong_all <= most:
                    yield wrong_all, Filling(pump, grade, price, volume, money)

    def _figures(self, block: bytes, usual: Usual) -> Iterator[tuple[int, int, int, int, int]]:
        """Price, volume and money that go together, behind their readable digits that are others, and their sum."""
        most, tried = MOST_WRONG + MARGIN, 0
        volume_words, money_words, price_words = block[self.layout.volume], block[self.layout.money], block[12:16]
        prices = {*usual.prices, number(price_words)} if is_number(price_words) else set(usual.prices)
        likely = [(wrong, price) for price in prices if (wrong := self._amiss(price, price_words)) <= most]
        guessed = self._guessed(volume_words)
        for price_wrong, price in sorted(likely):
            for volume in sorted(guessed | self._paid(money_words, price)):
                tried += 1
                if tried > MOST_TRIED:
                    raise _TooManyError
                if volume % usual.volume_step:
                    continue
                wrong = price_wrong + self._amiss(volume, volume_words)
                for money in self.money.of(volume, price, nearest=usual.rounds) if wrong <= most else ():
                    wrong_all = wrong + self._amiss(money, money_words)
                    if wrong_all <= most:
                        yield wrong_all, _sum(price) + _sum(volume) + _sum(money), price, volume, money

    @staticmethod
    def _amiss(value: int, words: bytes) -> int:
        """Readable digits that are not those of ``value``."""
        return sum(
            _is_readable(word, False) and word & 0x0F != value // 10**place % 10 for place, word in enumerate(words)
        )

    @staticmethod
    def _guessed(words: bytes) -> set[int]:
        """Volumes that the block may have said by its readable digits, one of them wrong."""
        ten = range(10)
        digits: list[Sequence[int]] = [(word & 0x0F,) if _is_readable(word, False) else ten for word in words]
        lost = sum(len(tried) > 1 for tried in digits)
        found: set[int] = set()
        if lost <= MOST_GUESSED:
            found |= {_joined(each) for each in product(*digits)}
        if lost < MOST_GUESSED:
            for place in range(len(digits)):
                found |= {_joined(each) for each in product(*digits[:place], ten, *digits[place + 1 :])}
        return found

    def _paid(self, words: bytes, price: int) -> set[int]:
        """Volumes that the block's money can be for."""
        if not is_number(words):
            return set()
        most: int = 10**self.layout.digits
        return {volume for volume in self.money.volumes(number(words), price) if volume < most}


def _is_readable(word: int, any_nibble: bool) -> bool:
    return word >> 4 == 0xE and (any_nibble or word & 0x0F <= 9)


def _joined(digits: Sequence[int]) -> int:
    return sum(digit * 10**place for place, digit in enumerate(digits))


def _sum(number: int) -> int:
    """Of its digits."""
    return sum(map(int, str(number)))
