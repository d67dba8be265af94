"""What an alarm names, thing and cause: at first, and as it stands later; pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch.evaluation.scoring import Alarm
    from pumpwatch.evaluation.truth import Layout
    from pumpwatch.model import Subject

NAMING: Final = timedelta(days=1)
"""After which the nozzle and the cause that an alarm names are to stand."""


def namings(found: Alarm, others: Sequence[Alarm], layout: Layout) -> tuple[Alarm, Alarm]:
    """Of an alarm and ``others``: the one that named the nozzle at first, and the one that stands ``NAMING`` later.

    Both are of one rule and cause and about nozzles of one tank. It stands which was claimed last of all by then. Of an
    alarm about a tank, that which takes it over within ``NAMING`` and names one of its nozzles counts.
    """
    if found.subject.nozzle_id is None:
        sharper = [
            each
            for each in others
            if (each.of, each.rule, each.cause) == (found.of, found.rule, found.cause)
            and each.subject.nozzle_id is not None
            and timedelta(0) <= each.at - found.at <= NAMING
        ]
        found = min(sharper, key=lambda each: (each.at, each.subject.key), default=found)
    group = _group(found.subject, layout)
    mates = [
        each
        for each in others
        if (each.rule, each.cause) == (found.rule, found.cause)
        and group is not None
        and _group(each.subject, layout) == group
    ]
    begun = [each for each in mates if timedelta(0) < found.at - each.at <= NAMING]
    first = min(begun, key=lambda each: (each.at, each.subject.key), default=found)
    until = first.at + NAMING
    standing = [each for each in (found, *mates) if first.at <= each.at <= until]
    return first, max(standing, key=lambda each: max(at for at in each.times if at <= until))


def standing(first: Alarm, others: Sequence[Alarm], until: datetime) -> Alarm:
    """What an alarm has become by then: what explains it, else what its rule told last of the same thing.

    ``others`` are about the same thing. The rule's later findings count because it weighs causes against one another:
    what it tells later takes back what it told before.
    """
    mates = [each for each in (first, *others) if each.at <= until and (each.of == first.of or each.rule == first.rule)]
    return max(
        mates,
        key=lambda each: (
            each.of == first.of and each.is_root and each.rule != first.rule,
            each.rule == first.rule,
            max(at for at in each.times if at <= until),
            each.is_root,
            each.subject.key,
        ),
    )


def named(told: Subject, true: Subject) -> dict[str, bool | None]:
    """Which parts the alarm names as the truth does; None where the truth names none."""
    return {
        part: None
        if getattr(true, f"{part}_id") is None
        else getattr(told, f"{part}_id") == getattr(true, f"{part}_id")
        for part in ("dispenser", "nozzle", "tank")
    }


def _group(subject: Subject, layout: Layout) -> tuple[str, ...] | None:
    """The tanks from which a nozzle draws; None where no nozzle is named."""
    home = layout.nozzles.get(subject.nozzle_id or "")
    return None if home is None else layout.manifolds.get(home[1], (home[1],))
