"""How long samples are kept, tag by tag: the first pattern that fits a tag counts, and one rule for all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from pumpwatch.model import to_us


def before_us(now: datetime, days: float | None) -> int | None:
    """What is older than so many days, microseconds since 1970; None when nothing ever is (no days, or 0)."""
    return to_us(now - timedelta(days=days)) if days else None


@dataclass(frozen=True, slots=True)
class Terms:
    """From when on samples are kept, by pattern in their order; the last pattern fits all tags."""

    by_pattern: tuple[tuple[str, int | None], ...]
    """Microseconds since 1970; None: for ever."""

    @classmethod
    def at(cls, now: datetime, days: float | None, days_of: Mapping[str, float]) -> Terms:
        """``days`` for all tags but those that a pattern of ``days_of`` fits.

        A pattern is matched as file names are, with ``*``, ``?`` and ``[…]``: one with a slash against a whole path
        ``STATION/DEVICE/TAG``, another against the tag's name alone.
        """
        return cls(tuple((pattern, before_us(now, d)) for pattern, d in (*days_of.items(), ("*", days))))

    def of(self, path: str) -> int | None:
        """Samples of this tag before this time are to go."""
        return next(before for pattern, before in self.by_pattern if _fits(pattern, path))

    def going(self, last_us: int) -> Going | None:
        """Which tags lose their samples where none is newer than ``last_us``; None when nobody does."""
        going = Going(tuple((p, before is not None and last_us < before) for p, before in self.by_pattern))
        return going if any(goes for _, goes in going.by_pattern) else None


@dataclass(frozen=True, slots=True)
class Going:
    """Which tags' samples are over time."""

    by_pattern: tuple[tuple[str, bool], ...]

    @property
    def all(self) -> bool:
        """Whether nobody's stay."""
        return all(goes for _, goes in self.by_pattern)

    @property
    def mark(self) -> str:
        """A text that tells the same; for a segment to remember what has been taken out of it."""
        return "\n".join(f"{'-' if goes else '+'}{pattern}" for pattern, goes in self.by_pattern)

    def takes(self, path: str) -> bool:
        """Whether this tag's samples go."""
        return next(goes for pattern, goes in self.by_pattern if _fits(pattern, path))


def _fits(pattern: str, path: str) -> bool:
    return fnmatchcase(path if "/" in pattern else path.split("/", 2)[-1], pattern)
