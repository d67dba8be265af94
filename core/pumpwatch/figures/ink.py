"""The colours a figure is drawn with: those of the dashboards' ``tokens.css``, which a test compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pumpwatch.model import Severity


@dataclass(frozen=True, slots=True)
class Ink:
    """Grey is normal; the alarm's colour is for what is wrong and for nothing else."""

    panel: str
    well: str
    line: str
    edge: str
    ink: str
    ink_2: str
    ink_3: str
    run: str
    run_2: str
    band: str
    mark_edge: str
    priorities: tuple[str, str, str, str]
    """Of priority 1 (critical) to 4 (low)."""

    def alarm(self, severity: Severity) -> str:
        """The colour of what is wrong; an event has none."""
        return self.ink if severity is Severity.INFO else self.priorities[Severity.CRITICAL.rank - severity.rank]


_LIGHT: Final = Ink(
    panel="#e3e6e8",
    well="#fafbfb",
    line="#b4bbc1",
    edge="#6a747c",
    ink="#171d22",
    ink_2="#3b454d",
    ink_3="#515b64",
    run="#4a5a68",
    run_2="#9aa7b1",
    band="#c9d0d5",
    mark_edge="#171d22",
    priorities=("#b8001a", "#f08000", "#f7d417", "#6f42b0"),
)
_DARK: Final = Ink(
    panel="#171b1f",
    well="#0b0d0f",
    line="#353e45",
    edge="#7b8790",
    ink="#e9ecee",
    ink_2="#b9c2c9",
    ink_3="#98a3ac",
    run="#a3b4c2",
    run_2="#4c5a66",
    band="#2d363d",
    mark_edge="#0f1215",
    priorities=("#ff4a4a", "#ff9a1f", "#ffe14a", "#b99bf8"),
)


def ink(*, dark: bool) -> Ink:
    """The colours for a dim room or for a lit one; paper is lit."""
    return _DARK if dark else _LIGHT
