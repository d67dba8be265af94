"""Fillings as they are heard, and what proves their figures: the display once it rests, or the totalizers; sans-I/O.

Numbers are whole numbers as the pump tells them; ``Decimals`` says where their points stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import TYPE_CHECKING

from pumpwatch_dart.transactions import Shown

if TYPE_CHECKING:
    from datetime import datetime

ROLL = 10**10
"""A totalizer has ten digits."""
UNHEARD_L = 5
"""Litres that may flow at the end of a filling between the last display that was heard and its end."""
MOST_GUESSED = 5
"""Fillings among which it is sought by which a totalizer has moved."""
MOST_WAITING = 16
"""Fillings of a nozzle that wait for a totalizer; overflow policy: the oldest is given up."""


@dataclass(frozen=True, slots=True)
class Decimals:
    """Decimals of what a pump tells."""

    volume: int = 2
    amount: int = 2
    price: int = 2
    totals: int = 2
    """Of the volume totalizer; that of amounts has the amount's."""

    def money(self, volume: int, price: int) -> Fraction:
        """Volume times price in units of the amount, not rounded."""
        return volume * price * Fraction(10) ** (self.amount - self.volume - self.price)

    def volume_of(self, amount: int, price: int | None) -> int | None:
        """The one volume whose money, rounded, is this; None if there is none, or more than one."""
        step = self.money(1, price or 0)
        if step < 1:
            return None
        volume = int(amount / step + Fraction(1, 2))
        return volume if int(self.money(volume, price or 0) + Fraction(1, 2)) == amount else None

    def agree(self, shown: Shown, price: int) -> bool:
        """Whether the amount is volume times price, but for rounding and one step of the volume (presets)."""
        return abs(shown.amount - self.money(shown.volume, price)) <= self.money(1, price) + 1


@dataclass(slots=True, eq=False)
class Filling:
    """One filling of a side, from the first that was heard of it."""

    began: datetime
    """When it began, reckoned back from the first that was heard of it."""
    moved: datetime
    """When its volume was last heard to change."""
    shown: Shown
    """The display as last heard while it ran."""
    nozzle: int | None = None
    """Of the side, from 1; None: not known yet."""
    price: int | None = None
    stood: bool = False
    """Whether the display was last heard to say the same twice: then no more has flowed."""
    claimed: Shown | None = None
    """What a display at rest said that does not agree with the price; a second witness must say the same."""
    volume: int | None = None
    """Final and proven, as is ``amount``."""
    amount: int | None = None
    closed: datetime | None = None
    """When it was known to have ended."""
    by_totalizer: bool = False
    """Its volume was not heard from the display at rest."""
    damaged: bool = False
    """The frame that tells its end fails its check by one byte; the figures are those heard before."""
    totalizer: int | None = None
    """After it, as is ``totalizer_amount``."""
    totalizer_amount: int | None = None
    preset_volume: int | None = None
    preset_amount: int | None = None
    raw: bytes = b""
    """The frame that proves it."""
    is_told: bool = False

    @property
    def is_proven(self) -> bool:
        """Whether its figures are known."""
        return self.volume is not None and self.amount is not None

    @property
    def way(self) -> dict[str, str]:
        """How it became known, where that was not by the display at rest in a sound frame."""
        if self.by_totalizer:
            return {"rebuilt": "totalizer"}
        return {"end": "damaged"} if self.damaged else {}

    def settle(self, shown: Shown) -> None:
        """These are its figures."""
        self.volume, self.amount = shown.volume, shown.amount

    def couple(self, decimals: Decimals) -> None:
        """A totalizer has told one figure: where the display once said the same, its other figure holds too."""
        for shown in (self.claimed, self.shown):
            if shown is None:
                continue
            if self.amount is None and shown.volume == self.volume:
                self.amount = shown.amount
            elif self.volume is None and shown.amount == self.amount and decimals.money(1, self.price or 0) >= 1:
                self.volume = shown.volume  # each step of the volume is seen in the amount


class Totalizer:
    """One totalizer of a nozzle: its last reading, and the fillings ended since."""

    def __init__(self, decimals: Decimals, *, of_volume: bool) -> None:
        self._of_volume = of_volume
        self._decimals = decimals
        self._scale = Fraction(10) ** (decimals.volume - decimals.totals) if of_volume else Fraction(1)
        """Units of the display in one of the totalizer."""
        self._slack = Fraction(0) if self._scale == 1 else max(self._scale, Fraction(1))
        self.value: int | None = None
        self.since: list[Filling] = []
        self.later: int | None = None
        """A reading taken while a filling was not known to have ended."""

    def missing(self, total: int) -> Fraction | None:
        """What it moved beyond the fillings whose figure is known, in units of the display; None if that is unknown."""
        if self.value is None or (total - self.value) % ROLL > ROLL // 2:
            return None
        known = sum(self._figure(filling) or 0 for filling in self.since)
        return (total - self.value) % ROLL * self._scale - known

    def take(self, total: int, running: Filling | None) -> tuple[list[Filling], list[Filling]]:
        """A new reading: the fillings whose figure it proves, and those it can no longer prove.

        ``running`` is not known to have ended. A totalizer counts a filling once it has ended, so one that has moved by
        just what the display showed proves the end too. Any other reading is put aside until the end is known.
        """
        missing, before = self.missing(total), self.value
        unknown = [filling for filling in self.since if self._figure(filling) is None]
        if missing is None or before is None:
            return self._begin(total, unknown)
        runs = running is not None and running not in self.since and missing > self._slack
        counted = self._guess([*unknown, running] if runs and running is not None else unknown, missing)
        if counted is None and runs:
            self.later = total
            return [], []
        if counted is None:
            counted = self._infer(unknown, missing)
        if runs and running is not None and running in counted:
            self.since.append(running)
        if counted or not missing:
            self._run_on(before)
        return counted, self._begin(total, [filling for filling in unknown if filling not in counted])[1]

    def _begin(self, total: int | None, unproven: list[Filling]) -> tuple[list[Filling], list[Filling]]:
        self.value, self.since, self.later = total, [], None
        return [], unproven

    def forget(self) -> None:
        """Older readings prove nothing."""
        self._begin(None, [])

    def _guess(self, unknown: list[Filling], missing: Fraction) -> list[Filling] | None:
        """The fillings by whose display it moved; None if there are none such, or more than one choice."""
        found: list[Filling] | None = None
        if len(unknown) > MOST_GUESSED:
            return None
        for size in range(len(unknown) + 1):
            for some in combinations(unknown, size):
                if abs(missing - sum(map(self._likely, some))) <= self._slack:
                    if found is not None:
                        return None
                    found = list(some)
        for filling in found or ():
            self._settle(filling, self._likely(filling))
        return found

    def _infer(self, unknown: list[Filling], missing: Fraction) -> list[Filling]:
        """The one filling that has ended, if all it moved must be of it and no more than its end is unheard."""
        if len(unknown) != 1 or self._slack or unknown[0].claimed is not None or unknown[0].stood:
            return []
        unheard = missing - self._of(unknown[0].shown)
        most = UNHEARD_L * Fraction(10) ** self._decimals.volume
        if not self._of_volume:
            most = self._decimals.money(int(most), unknown[0].price or 0)
        if not 0 < unheard <= most:
            return []
        self._settle(unknown[0], int(missing))
        return unknown

    def _settle(self, filling: Filling, figure: int) -> None:
        if self._of_volume:
            filling.volume = figure
        else:
            filling.amount = figure
        filling.couple(self._decimals)

    def _run_on(self, before: int) -> None:
        """What it stood at after each filling, now that all they brought is known."""
        total = Fraction(before)
        for filling in self.since:
            figure = self._figure(filling)
            if figure is None:
                continue
            total += figure / self._scale
            if total.denominator != 1:
                return
            if self._of_volume and filling.totalizer is None:
                filling.totalizer = int(total) % ROLL
            elif not self._of_volume and filling.totalizer_amount is None:
                filling.totalizer_amount = int(total) % ROLL

    def _likely(self, filling: Filling) -> int:
        """Its figure by the display, or by what the other totalizer told of it."""
        if filling.claimed is None and self._of_volume and filling.amount is not None:
            return self._decimals.volume_of(filling.amount, filling.price) or filling.shown.volume
        return self._of(filling.claimed or filling.shown)

    def _figure(self, filling: Filling) -> int | None:
        return filling.volume if self._of_volume else filling.amount

    def _of(self, shown: Shown) -> int:
        return shown.volume if self._of_volume else shown.amount


class Ledger:
    """A nozzle's two totalizers and the fillings between their readings.

    What each call returns are the fillings proven by it, and those that can no longer be.
    """

    def __init__(self, decimals: Decimals) -> None:
        self.volume = Totalizer(decimals, of_volume=True)
        self.amount = Totalizer(decimals, of_volume=False)

    def enter(self, filling: Filling) -> tuple[list[Filling], list[Filling]]:
        """A filling has ended."""
        known = filling.is_proven
        given_up = [] if known else [filling]
        for totalizer in (self.volume, self.amount):
            if totalizer.value is not None and filling not in totalizer.since:
                totalizer.since.append(filling)
                if len(totalizer.since) > MOST_WAITING:
                    given_up.append(totalizer.since.pop(0))
        lost = self._lost(given_up)
        proven = [each for each in given_up if each.is_proven]
        for totalizer in (self.volume, self.amount):
            if (later := totalizer.later) is not None:
                totalizer.later = None
                more = self.take(later, of_volume=totalizer is self.volume, running=None)
                proven, lost = proven + more[0], lost + more[1]
        return list(dict.fromkeys(proven)), list(dict.fromkeys(lost))

    def take(self, total: int, *, of_volume: bool, running: Filling | None) -> tuple[list[Filling], list[Filling]]:
        """A totalizer has been read."""
        this, other = (self.volume, self.amount) if of_volume else (self.amount, self.volume)
        proven, unproven = this.take(total, running)
        done: list[Filling] = []
        lost = self._lost([*proven, *unproven])
        if running is not None and running in proven:
            done, gone = self._enter_other(running, other)
            lost += gone
        done += [filling for filling in (*proven, *unproven) if filling.is_proven]
        return list(dict.fromkeys(done)), list(dict.fromkeys(lost))

    def _enter_other(self, filling: Filling, other: Totalizer) -> tuple[list[Filling], list[Filling]]:
        """One totalizer has proven the end of a filling; what the other had told before is of use now."""
        if other.value is None:
            return [], []
        other.since.append(filling)
        later, other.later = other.later, None
        return ([], []) if later is None else self.take(later, of_volume=other is self.volume, running=None)

    def runs_on(self) -> None:
        """The filling that is not known to have ended has gone on since: readings put aside are of the time before."""
        self.volume.later = self.amount.later = None

    def forget(self) -> tuple[list[Filling], list[Filling]]:
        """What passed meanwhile was not heard, so older readings prove nothing."""
        waiting = list(dict.fromkeys(self.volume.since + self.amount.since))
        for totalizer in (self.volume, self.amount):
            totalizer.forget()
        waiting = [filling for filling in waiting if not filling.is_proven]
        lost = self._lost(waiting)
        return [filling for filling in waiting if filling.is_proven], lost

    def _lost(self, fillings: list[Filling]) -> list[Filling]:
        """Those of whose figures one is not known and no totalizer will tell it."""
        return [
            filling
            for filling in fillings
            if not filling.is_proven
            and not (filling.volume is None and filling in self.volume.since)
            and not (filling.amount is None and filling in self.amount.since)
        ]
