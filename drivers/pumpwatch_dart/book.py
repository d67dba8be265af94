"""The fillings of a side that have ended, until they are told, with the totalizers that prove them; sans-I/O."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from pumpwatch_dart.fillings import Decimals, Filling, Ledger

if TYPE_CHECKING:
    from datetime import datetime

    from pumpwatch_dart.transactions import Shown

HOLD = timedelta(seconds=10)
"""A filling waits so long for the totalizers, which controllers read after it, before it is told without them."""
MOST_STRAYS = 8
"""Fillings of unknown nozzle that wait for a totalizer, and of nozzles unknown to the configuration; overflow policy:
the oldest is given up."""
STRAYS_WAIT = timedelta(seconds=120)
"""Then they are given up, too: a later reading may be of another filling."""


class Book:
    """Fillings go in with ``enter`` or ``lose``, readings with ``take``; what is proven comes out with ``collect``."""

    def __init__(self, nozzles: int, decimals: Decimals) -> None:
        self.unproven = 0
        """Fillings heard whose figures nothing has proven; they are not told."""
        self.ledgers = {nozzle: Ledger(decimals) for nozzle in range(1, nozzles + 1)}
        self.strays: list[Filling] = []
        """Whose figures are known, but not their nozzle."""
        self.done: list[Filling] = []
        """Proven, and waiting for the totalizers."""
        self.foreign: deque[Filling] = deque(maxlen=MOST_STRAYS)
        """Proven, of nozzles that the configuration does not have; not collected yet."""
        self._last: dict[int, Filling] = {}
        """The last filling of each nozzle that is known to have ended."""

    def enter(self, filling: Filling) -> None:
        """A filling has ended. With its figures and its nozzle it is proven, else a totalizer must tell the rest."""
        if filling.nozzle is not None and filling.nozzle not in self.ledgers:
            if filling.is_proven:
                self.foreign.append(filling)
            else:
                self.lose(filling)
        elif filling.nozzle is not None:
            self._last[filling.nozzle] = filling
            if filling.is_proven:
                self.done.append(filling)
            self._settle(*self.ledgers[filling.nozzle].enter(filling))
        elif filling.is_proven:
            self.strays.append(filling)
            if len(self.strays) > MOST_STRAYS:
                self.lose(self.strays.pop(0))
        else:
            self.lose(filling)

    def lose(self, filling: Filling) -> None:
        """Nothing will ever prove it."""
        self._settle([], [filling])

    def take(
        self, nozzle: int, total: int, running: Filling | None, now: datetime, *, of_volume: bool
    ) -> Filling | None:
        """A totalizer has been read; ``running`` again, if that has proven its end."""
        ledger = self.ledgers[nozzle]
        missing = (ledger.volume if of_volume else ledger.amount).missing(total)
        for stray in self.strays:
            if missing == (stray.volume if of_volume else stray.amount):
                stray.nozzle = nozzle
                self.strays.remove(stray)
                self.enter(stray)
                break
        proven, lost = ledger.take(total, of_volume=of_volume, running=running)
        ended = running if running is not None and running in proven else None
        if ended is not None:
            ended.nozzle, ended.closed = nozzle, now
            self._last[nozzle] = ended
        self._settle(proven, lost)
        last = self._last.get(nozzle)
        if last is not None and of_volume and last.totalizer is None:
            last.totalizer = total
        elif last is not None and not of_volume and last.totalizer_amount is None:
            last.totalizer_amount = total
        return ended

    def runs_on(self) -> None:
        """The display of the filling that is not known to have ended has gone on."""
        for ledger in self.ledgers.values():
            ledger.runs_on()

    def counts(self, filling: Filling) -> bool:
        """Whether both totalizers have moved since its display did; they do when a nozzle is hung up."""
        ledger = self.ledgers.get(filling.nozzle or 0)
        return ledger is not None and ledger.volume.later is not None and ledger.amount.later is not None

    def said_again(self, shown: Shown, raw: bytes) -> bool:
        """Whether a display at rest is that of a filling that waits to be told; then it is proven by it, too."""
        for filling in self.done:
            if (filling.volume, filling.amount) == (shown.volume, shown.amount):
                filling.by_totalizer, filling.damaged, filling.raw = False, False, raw
                return True
        return False

    def reopen(self, shown: Shown) -> Filling | None:
        """The filling whose end a totalizer told too soon, for its display has gone on: some count while fuel flows."""
        for filling in self.done:
            if filling.by_totalizer and filling.volume is not None and shown.volume > filling.volume:
                self.done.remove(filling)
                filling.volume = filling.amount = filling.closed = None
                filling.totalizer = filling.totalizer_amount = None
                filling.by_totalizer = False
                return filling
        return None

    def uncounted(self, now: datetime) -> list[int]:
        """Nozzles whose last filling waits for the totalizers."""
        return sorted(
            nozzle
            for nozzle, last in self._last.items()
            if (last.totalizer is None or last.totalizer_amount is None)
            and (last.closed is None or now - last.closed < HOLD)
        )

    def tick(self, now: datetime) -> None:
        """Time passes."""
        while self.strays and now - (self.strays[0].closed or now) >= STRAYS_WAIT:
            self.lose(self.strays.pop(0))

    def collect(self, now: datetime) -> list[Filling]:
        """The fillings to tell now, each once; oldest first."""
        ready = [filling for filling in self.done if _is_ready(filling, now)]
        self.done = [filling for filling in self.done if filling not in ready]
        for filling in ready:
            filling.is_told = True
        return sorted(ready, key=lambda filling: filling.moved)

    def forget(self) -> None:
        """Fillings may have come and gone unheard, so the totalizers prove nothing of those before."""
        for ledger in self.ledgers.values():
            self._settle(*ledger.forget())

    def _settle(self, proven: list[Filling], lost: list[Filling]) -> None:
        for filling in proven:
            if filling not in self.done and not filling.is_told:
                filling.by_totalizer = True
                self.done.append(filling)
        self.unproven += len(lost)


def _is_ready(filling: Filling, now: datetime) -> bool:
    waited = filling.closed is None or now - filling.closed >= HOLD
    whole = filling.totalizer is not None and filling.totalizer_amount is not None
    return waited or (whole and not filling.by_totalizer)
