"""A watch as bytes and back: plain numbers, words and arrays, and no code."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pumpwatch_physics.chance import Chance
from pumpwatch_physics.states import Filter, Sized, Suspicion
from pumpwatch_physics.wandering import Wandering
from pumpwatch_physics.watch import Claim, Track, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_KINDS: Final[dict[str, type]] = {
    kind.__name__: kind for kind in (Chance, Filter, Sized, Suspicion, Claim, Track, Wandering, Watch)
}
_ARRAYS: Final = frozenset({"<f8", "<f4", "<i8", "|b1"})
_ROWS, _INTS = "rows", "ints"
_HEAD: Final = 8
"""Bytes that tell the length of the JSON, behind which the arrays lie."""


def to_bytes(watch: Watch) -> bytes:
    """Everything it knows."""
    arrays = bytearray()
    head = json.dumps(_plain(watch, arrays), separators=(",", ":")).encode()
    return b"".join((len(head).to_bytes(_HEAD, "little"), head, arrays))


def from_bytes(told: bytes) -> Watch:
    """The inverse of ``to_bytes``. Raises ``ValueError`` when it is not one."""
    end = _HEAD + int.from_bytes(told[:_HEAD], "little")
    try:
        made = _made(json.loads(told[_HEAD:end]), memoryview(told)[end:])
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"no watch: {error!r}") from error
    if made.__class__ is not Watch:
        raise ValueError("no watch")
    watch: Watch = made
    return watch


def _plain(value: Any, arrays: bytearray) -> Any:  # noqa: ANN401 - anything that JSON has
    """As JSON has it; whatever JSON has no word for is a pair of a word and what it is made of."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item(), arrays)
    if isinstance(value, np.ndarray):
        if value.dtype.str not in _ARRAYS:
            raise TypeError(f"an array of {value.dtype} cannot be kept")
        at = len(arrays)
        arrays += np.ascontiguousarray(value).tobytes()
        return ["array", [value.dtype.str, list(value.shape), at]]
    if isinstance(value, list) and len(value) > 1 and (one := _stacked(value)) is not None:
        return [_ROWS if one.ndim > 1 else _INTS, _plain(one, arrays)]
    if isinstance(value, list | tuple | set | frozenset):
        those = sorted(value) if isinstance(value, set | frozenset) else value
        return [type(value).__name__, [_plain(each, arrays) for each in those]]
    if isinstance(value, dict):
        return ["dict", [[_plain(key, arrays), _plain(each, arrays)] for key, each in value.items()]]
    kind = type(value).__name__
    if _KINDS.get(kind) is not type(value):
        raise TypeError(f"a {kind} cannot be kept")
    return [kind, [[name, _plain(each, arrays)] for name, each in _parts(value)]]


def _stacked(value: list[Any]) -> NDArray[Any] | None:
    """A list of whole numbers, or of arrays that are alike, as one array: there are hundreds of them."""
    kinds = set(map(type, value))
    if kinds == {int}:
        return np.array(value, np.int64)
    if kinds == {np.ndarray} and len({(each.dtype, each.shape) for each in value}) == 1 and value[0].ndim:
        return np.concatenate(value).reshape(len(value), *value[0].shape)
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - one of _KINDS
    if is_dataclass(value):
        return ((one.name, getattr(value, one.name)) for one in fields(value))
    return iter(vars(value).items())


def _made(told: Any, arrays: memoryview) -> Any:  # noqa: ANN401 - anything that JSON has
    if not isinstance(told, list):
        return told
    word, those = told
    if word == "array":
        kind, shape, at = those
        if kind not in _ARRAYS:
            raise ValueError(f"an array of {kind}")
        return np.frombuffer(arrays, kind, math.prod(shape), at).reshape(shape).copy()
    if word in {_ROWS, _INTS}:
        rows = _made(those, arrays)
        return list(rows) if word == _ROWS else rows.tolist()
    if word == "dict":
        return {_made(key, arrays): _made(each, arrays) for key, each in those}
    if word in {"list", "tuple", "set", "frozenset"}:
        kinds: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
        return kinds[word](_made(each, arrays) for each in those)
    made: Any = object.__new__(_KINDS[word])
    for name, each in those:
        object.__setattr__(made, name, _made(each, arrays))
    return made
