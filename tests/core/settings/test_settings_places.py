from __future__ import annotations

import tomllib
from collections.abc import Iterator
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.settings import Place, scan

KEYS = ["a", "b", "stations", "a-b", "1", '"q.u"', "'l #'", '"\\u00e9]"', '""', "true"]
NOISE = [
    "'#'",
    '"]"',
    '"\\"}"',
    '"""x\n"] #\n"""',
    "'''\n[a]\\'''",
    '"""a""""',
    "1979-05-27 07:32:00Z",
    "-inf",
    "0x_ff"[:4],
    "true",
]
BLANKS = ["", "\n", '  # ] } = "\n', "\n\n\t# '''\n"]


@st.composite
def values(draw: st.DrawFn, numbers: Iterator[int], depth: int = 0) -> str:
    kind = draw(st.sampled_from(["number", "noise", "array", "table"] if depth < 3 else ["number", "noise"]))
    if kind == "number":
        return str(next(numbers))
    if kind == "noise":
        return draw(st.sampled_from(NOISE))
    inner = [draw(values(numbers, depth + 1)) for _ in range(draw(st.integers(0, 3)))]
    if kind == "array":
        pieces = [draw(st.sampled_from(BLANKS)) + value + draw(st.sampled_from(BLANKS)) for value in inner]
        comma = draw(st.sampled_from(["", ","])) if inner else ""
        return f"[{','.join(pieces)}{comma}{draw(st.sampled_from(BLANKS))}]"
    pairs = [f"{draw(dotted_keys())} = {value}" for value in inner]
    return f"{{ {', '.join(pairs)} }}"


@st.composite
def dotted_keys(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3))
    return draw(st.sampled_from([".", " . ", "\t."])).join(parts)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A valid TOML text: statements one by one, each kept only if the text stays valid."""
    numbers = count(100_001)
    text = draw(st.sampled_from(BLANKS))
    for _ in range(draw(st.integers(0, 12))):
        key = draw(dotted_keys())
        match draw(st.sampled_from(["pair", "pair", "table", "array of tables"])):
            case "pair":
                statement = f"  {key}={draw(values(numbers))}"
            case "table":
                statement = f"[ {key} ]"
            case _:
                statement = f"[[{key}]] # again"
        statement += draw(st.sampled_from(["\n", " # [x]\n", "\n\n"]))
        try:
            tomllib.loads(text + statement)
        except tomllib.TOMLDecodeError:
            continue
        text += statement
    return text


def places_in(data: object, place: Place = ()) -> Iterator[tuple[Place, object]]:
    if place:
        yield place, data
    if isinstance(data, dict):
        for key, value in data.items():
            yield from places_in(value, (*place, key))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from places_in(value, (*place, number))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_every_place_of_any_valid_text_is_found_on_its_line(text: str) -> None:
    found = scan(text)
    expected = dict(places_in(tomllib.loads(text)))
    assert len(found) == len(expected)
    for place, value in expected.items():
        assert place in found
        if type(value) is int and value > 100_000:
            assert found.line(place) == text[: text.index(str(value))].count("\n") + 1
    windows = scan(text.replace("\n", "\r\n"))
    assert all(windows.line(place) == found.line(place) for place in expected)


TEXT = """\
# head
[api]
port = 1

[[stations]]
id = "S01"
[[stations.devices]]
id = "D1"
settings = { brand = "x", unit = 1 }
[[stations.devices]]
[stations.devices.settings]
unit = [
  1,
  2, # two
]
[[stations]]
x.y = 3
"""


def test_tables_and_keys() -> None:
    found = scan(TEXT)
    assert found.line(("api",)) == 2
    assert found.line(("api", "port")) == 3
    assert found.line(("stations", 0)) == 5
    assert found.line(("stations", 0, "devices", 0, "settings", "unit")) == 9
    assert found.line(("stations", 0, "devices", 1)) == 10
    assert found.line(("stations", 0, "devices", 1, "settings", "unit", 1)) == 14
    assert found.line(("stations", 1)) == 16
    assert found.line(("stations", 1, "x", "y")) == 17


def test_a_place_that_is_not_written_has_the_line_of_its_table() -> None:
    found = scan("[[stations]]\n\n[[stations.devices]]\nid = 'D1'\n")
    assert found.line(("stations", 0, "devices", 0, "driver")) == 3
    assert found.line(("api", "token")) is None
