"""What can be read of a configuration although parts of it are wrong, so that the rest can be checked as well."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pumpwatch.settings.models import TOLD, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pumpwatch.settings.places import Place

_STANDING_IN = {"id": "unreadable", "driver": "unreadable", "line": "tcp://unreadable:1"}
"""For keys that must be there: list positions, and with them places, stay as they are in the file."""


def readable(data: Mapping[str, Any], error: ValidationError | None) -> Settings | None:
    """The settings without what ``error`` complains of; only to look for more problems, never to run."""
    rest = deepcopy(dict(data))
    for detail in error.errors(include_url=False) if error else ():
        _leave_out(rest, detail["loc"])
    try:
        return Settings.model_validate(rest, context=TOLD)
    except ValidationError:
        return None


def _leave_out(table: dict[str, Any], place: Place) -> None:
    """Take the key at ``place`` out, or put another value in if it must be there."""
    above: list[tuple[dict[str, Any], str]] = []
    here: Any = table
    for part in place:
        if isinstance(here, dict) and isinstance(part, str):
            above.append((here, part))
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            break
    for nearest, key in reversed(above):
        if key in _STANDING_IN:
            nearest[key] = _STANDING_IN[key]
            return
        if key in nearest:
            del nearest[key]
            return
        # What is missing there cannot be taken out; then its table is, for example [api] without its token.
