"""What is said of honest things: alarms about them are false, notes may tell them for what they are; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from pumpwatch.evaluation.truth import iso
from pumpwatch.model import Severity

if TYPE_CHECKING:
    from pumpwatch.evaluation.running import Trial
    from pumpwatch.model import Finding

BEFORE, AFTER = timedelta(days=1), timedelta(days=90)
"""A finding so long before the begin of what happens, or after its begin or end, may be about it."""
_BOTH: Final = ("notes", "alarms")


def told_of_happenings(trial: Trial) -> Iterator[dict[str, Any]]:
    """For each thing that happens and is honest, or of which a note is due: what was said that touches it then."""
    stations = {each.station_id: each for each in trial.stations}
    said = list(_findings(trial))
    for station in trial.stations:
        for each in station.happenings:
            if not (each.honest or each.notes):
                continue
            # What is wrong goes on until it is set right.
            last = (each.end or each.onset) + AFTER if each.honest or each.end else station.end
            touching = [
                finding
                for finding in said
                if finding.subject.station_id == station.station_id
                and each.onset - BEFORE <= finding.detected_at <= last
                and stations[station.station_id].layout.touch(finding.subject, each.subject)
            ]
            info = [finding.severity is Severity.INFO for finding in touching]
            notes = sorted({one.cause for one, note in zip(touching, info, strict=True) if note})
            alarms = sorted({one.cause for one, note in zip(touching, info, strict=True) if not note})
            right = set(notes) if each.honest else {*notes, *alarms}
            yield {
                "fleet": trial.name,
                "seed": trial.seed,
                "scenario": each.words,
                "subject": each.subject.key,
                "onset": iso(each.onset),
                "due": list(each.notes),
                "notes": notes,
                "alarms": alarms,
                "right": bool(right & set(each.notes)) if each.notes else None,
            }


def _findings(trial: Trial) -> Iterator[Finding]:
    for claim in trial.claims:
        for part in (claim, *claim.consequences):
            yield from (part.root, *part.later)


def by_happening(told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a scenario: how many, of how many a note was made, the right one, or an alarm, and their causes."""
    rows = []
    for name, group in groupby(sorted(told, key=lambda each: str(each["scenario"])), lambda each: each["scenario"]):
        each = list(group)
        due = [one["right"] for one in each if one["right"] is not None]
        rows.append(
            {
                "scenario": name,
                "n": len(each),
                **{f"with_{kind}": sum(bool(one[kind]) for one in each) for kind in _BOTH},
                "right": sum(due) if due else None,
                "right_share": round(sum(due) / len(due), 4) if due else None,
                **{kind: dict(sorted(Counter(c for one in each for c in one[kind]).items())) for kind in _BOTH},
            }
        )
    return rows
