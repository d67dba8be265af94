"""What is wrong with a configuration, in plain words with file, line, place and remedy."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from pumpwatch.errors import BadConfig

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from pumpwatch.settings.models import Settings
    from pumpwatch.settings.places import Place, Places

REMEDY = " — "
"""A validator's message may carry its remedy behind this dash: ``raise ValueError("is dry — fill it up")``."""

_SECRET_KEYS = ("token", "password", "passwd", "secret", "key", "code")
_MAX_SHOWN = 60

_MUST_BE = {
    "int_type": ("a whole number", "write digits without quotes"),
    "int_parsing": ("a whole number", "write digits without quotes"),
    "int_from_float": ("a whole number", "leave out the decimal point"),
    "float_type": ("a number", "write digits without quotes, with a point for decimals"),
    "float_parsing": ("a number", "write digits without quotes, with a point for decimals"),
    "finite_number": ("a number that is not nan or inf", "write digits, with a point for decimals"),
    "string_type": ("text", "put it in double quotes"),
    "bool_type": ("true or false", "write true or false, small letters, without quotes"),
    "bool_parsing": ("true or false", "write true or false, small letters, without quotes"),
    "tuple_type": ("a list", 'put it in square brackets, for example ["S01-N01", "S01-N02"]'),
    "list_type": ("a list", 'put it in square brackets, for example ["S01-N01", "S01-N02"]'),
    "dict_type": ("a table of keys and values", "write { key = value } or a [table] of its own"),
    "mapping_type": ("a table of keys and values", "write { key = value } or a [table] of its own"),
    "model_type": ("a table of keys and values", "write { key = value } or a [table] of its own"),
    "model_attributes_type": ("a table of keys and values", "write { key = value } or a [table] of its own"),
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; prints as ``config.toml:12: stations[0].id: what — remedy``."""

    file: str
    line: int | None
    """From 1; None when the file as a whole is meant."""
    place: str
    """Dotted, for example ``stations[0].devices[1].line``; empty when the file as a whole is meant."""
    message: str
    remedy: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        what = f"{self.place}: {self.message}" if self.place else self.message
        return f"{where}: {what}{REMEDY}{self.remedy}" if self.remedy else f"{where}: {what}"


class BadSettings(BadConfig):
    """A configuration with all its problems at once, one a line."""

    def __init__(self, problems: Iterable[Problem], readable: Settings | None = None) -> None:
        self.problems = tuple(problems)
        self.readable = readable
        """The settings without what is wrong: only to look for more problems, never to run."""
        super().__init__("\n".join(map(str, self.problems)))


def dotted(place: Place) -> str:
    """Write a place as people read it: ``stations[0].devices[1].line``."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part.replace("-", "").replace("_", "").isalnum()
            text += ("." if text else "") + (part if plain else f'"{part}"')
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The remedy for a word that is not known: the nearest known one, or all of them."""
    words = list(known)
    near = get_close_matches(word, words, n=1, cutoff=0.6) or get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"known here: {', '.join(words)}" if words else "nothing may stand here: take it out"


def problems_from(
    error: ValidationError,
    file: str,
    place_prefix: Place = (),
    lines: Places | None = None,
    model: type[BaseModel] | None = None,
) -> list[Problem]:
    """Say each error of a pydantic validation in plain words.

    ``place_prefix`` is where the validated table stands, for example ``("stations", 0, "devices", 1, "settings")``;
    ``lines`` gives line numbers (``Settings.source.lines``); ``model`` is what was validated, for "did you mean".
    """
    problems = []
    for detail in error.errors(include_url=False):
        loc = tuple(part for part in detail["loc"])
        place = (*place_prefix, *loc)
        message, remedy = _plain(detail, loc, model)
        problems.append(Problem(file, lines.line(place) if lines else None, dotted(place), message, remedy))
    return sorted(problems, key=lambda p: p.line or 0)


def _plain(detail: ErrorDetails, loc: Place, model: type[BaseModel] | None) -> tuple[str, str]:
    """Message and remedy of one pydantic error."""
    kind, given = detail["type"], detail["input"]
    context: Mapping[str, Any] = detail.get("ctx", {})
    key = next((part for part in reversed(loc) if isinstance(part, str)), "")
    shown = "" if _is_secret(key) else f", not {_shown(given)}"
    if kind == "missing":
        return "is missing", f"add `{key} = …`{_meaning(loc, model)}"
    if kind == "extra_forbidden":
        table = _table(loc[:-1], model)
        return "is not a known key", did_you_mean(key, table.model_fields) if table else "take it out"
    if kind in _MUST_BE:
        what, remedy = _MUST_BE[kind]
        return f"must be {what}{shown}", remedy
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        limit = context.get(bound)
        words = f"{words} {limit:g}" if isinstance(limit, int | float) else f"{words} {limit}"
        return f"must be {words}{shown}", f"write a number {words}"
    if kind in ("literal_error", "enum"):
        choices = str(context.get("expected", "")).replace("'", "")
        near = did_you_mean(str(given), [c.strip() for c in choices.replace(" or ", ", ").split(",") if c.strip()])
        return f"must be one of {choices}{shown}", near
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message, _, remedy = message.partition(REMEDY)
    if kind not in ("value_error", "assertion_error") and message[:1].isupper():
        message = message[0].lower() + message[1:]
    return message, remedy or f"correct it{_meaning(loc, model)}"


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_KEYS)


def _shown(value: object) -> str:
    if isinstance(value, str):
        text = f'the text "{value}"'
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, Mapping):
        text = "a table"
    elif isinstance(value, list | tuple):
        text = "a list"
    else:
        text = str(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _meaning(loc: Place, model: type[BaseModel] | None) -> str:
    """What the key at ``loc`` is for, from its description."""
    table = _table(loc[:-1], model)
    field = table.model_fields.get(str(loc[-1])) if table and loc else None
    return f": {field.description}" if field and field.description else ""


def _table(loc: Place, model: type[BaseModel] | None) -> type[BaseModel] | None:
    """The model of the table at ``loc``, or None where it cannot be told."""
    found: type[BaseModel] | None = model
    for part in loc:
        if found is None or isinstance(part, int):
            continue
        field = found.model_fields.get(part)
        found = next(_models_in(field.annotation), None) if field else None
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - an annotation may be anything
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
