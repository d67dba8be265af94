"""The newest of what is acknowledged and not yet in the store, in memory, so that answers need no disk."""

from __future__ import annotations

from collections import deque

from pumpwatch.historian.journal import Group
from pumpwatch.model import Batch


class Tail:
    """Groups in the order of their ids, up to the newest. Bounded: the oldest leave memory, not the journal."""

    def __init__(self, max_samples: int, max_groups: int) -> None:
        self.max_samples = max_samples
        self.max_groups = max_groups
        self.samples = 0
        self._groups: deque[Group] = deque()

    @property
    def first_id(self) -> int | None:
        """The oldest group in memory."""
        return self._groups[0].id if self._groups else None

    def add(self, group: Group) -> None:
        """Take the newest group."""
        self._groups.append(group)
        self.samples += group.samples
        while len(self._groups) > 1 and (self.samples > self.max_samples or len(self._groups) > self.max_groups):
            self._forget_oldest()

    def drop_through(self, group_id: int) -> None:
        """Forget what the store has."""
        while self._groups and self._groups[0].id <= group_id:
            self._forget_oldest()

    def oldest(self, max_samples: int) -> list[Group]:
        """The oldest groups until they hold ``max_samples``."""
        found: list[Group] = []
        for group in self._groups:
            if max_samples <= 0:
                break
            found.append(group)
            max_samples -= group.samples
        return found

    def batches(self, start_us: int | None = None, end_us: int | None = None) -> list[Batch]:
        """Batches of the groups that touch start <= time < end, in the order they came."""
        return [
            batch
            for group in self._groups
            if (start_us is None or group.last_us >= start_us) and (end_us is None or group.first_us < end_us)
            for batch in group.batches
        ]

    def _forget_oldest(self) -> None:
        self.samples -= self._groups.popleft().samples
