"""Fleet files: what is read, and everything wrong said at once with line, key and remedy."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.errors import BadConfig
from pumpwatch.model import to_us
from pumpwatch_sim.fleet import Fleet, duration_us, load_fleet, when
from pumpwatch_sim.toml_lines import Lines

START_US = to_us(datetime(2026, 3, 1, tzinfo=UTC))

BAD = '''\
# [stations] in a comment is none
name = "Bad Name"
sed = 1
start = 2026-03-01T08:00:00
days = 0

[stations]
cuont = 46
probe = "god"
demand = "much"

[[scenario]]
name = """
[[line]]
"""
onset = "P1M"
lasts = "PT0S"
percent = 3

[[scenario]]
onset = "2026-03-01T08:00:00"

[[line]]
stations = [
  "S01", # ] not yet
  3,
]
protocol = "modbs"

[[fault]]
station = "S01"
kind = "silence"
share = 2.0
lenght = 3

[lin]
x = 1
'''


def read(folder: Path, text: str | bytes) -> Fleet:
    file = folder / "fleet.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_fleet(file)


def complaints(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(BadConfig) as caught:
        read(folder, text)
    return [line.removeprefix(f"{folder / 'fleet.toml'}:") for line in str(caught.value).splitlines()]


def test_a_whole_file(tmp_path: Path) -> None:
    fleet = read(
        tmp_path,
        """
        name = "some-8"
        seed = 7
        start = 2026-03-01T08:00:00+08:00
        days = 30
        stations = { count = 8, probe = "good", hours = "flat", demand = 2 }
        [[scenario]]
        name = "F01"
        onset = 2026-03-05T00:00:00Z
        lasts = "P1DT12H"
        percent = 2.5
        by_night = true
        [[line]]
        stations = ["S01", "S02"]
        protocol = "dart"
        wire = "pty"
        [[fault]]
        station = "S01"
        kind = "delay"
        delay_s = 3
        """,
    )
    assert (fleet.name, fleet.seed, fleet.days, fleet.stations.count) == ("some-8", 7, 30, 8)
    assert fleet.start == datetime(2026, 3, 1, tzinfo=UTC)
    assert fleet.scenario[0].model_extra == {"percent": 2.5, "by_night": True}
    assert when(fleet.scenario[0].onset, START_US) == START_US + 4 * 86_400_000_000
    assert fleet.line[0].stations == ("S01", "S02")
    assert fleet.fault[0].delay_s == 3.0


def test_a_fleet_knows_where_its_entries_stand(tmp_path: Path) -> None:
    fleet = read(tmp_path, 'name = "x"\n[[scenario]]\nname = "F01"\n\n[[scenario]]\nname = "F02"\nnozzle = "S01-N01"\n')
    file = tmp_path / "fleet.toml"
    assert fleet.where("scenario", 1, "nozzle") == f"{file}:7: scenario[1].nozzle"
    assert fleet.where("scenario", 1, "percent") == f"{file}:5: scenario[1].percent"
    assert Fleet(name="x").where("scenario", 0) == "scenario[0]"
    assert pickle.loads(pickle.dumps(fleet)).where("scenario", 0) == f"{file}:2: scenario[0]"


def test_defaults_and_a_windows_file(tmp_path: Path) -> None:
    fleet = read(tmp_path, b'\xef\xbb\xbfname = "x"\r\n[stations]\r\ncount = 3\r\n')
    assert (fleet.start, fleet.days, fleet.stations.count, fleet.stations.probe) == ("now", 90, 3, "mixed")


def test_everything_wrong_is_said_at_once_with_line_key_and_remedy(tmp_path: Path) -> None:
    said = complaints(tmp_path, BAD)
    expected = [
        ("2: name: ", "small letters, digits and hyphens"),
        ("3: sed: is not a known key", "did you mean 'seed'?"),
        ("4: start: ", "write 2026-03-01T08:00:00+08:00"),
        ("5: days: ", "not 0"),
        ("8: stations.cuont: is not a known key", "did you mean 'count'?"),
        ("9: stations.probe: ", "did you mean 'good'?"),
        ("10: stations.demand: ", "not 'much'"),
        ("16: scenario[0].onset: ", "years and months"),
        ("17: scenario[0].lasts: ", "lasts no time"),
        ("20: scenario[1].name: is missing", "add `name"),
        ("21: scenario[1].onset: ", "the time has no offset"),
        ("24: line[0].stations[1]: ", "not 3"),
        ("28: line[0].protocol: ", "did you mean 'modbus'?"),
        ("33: fault[0].share: ", "not 2.0"),
        ("34: fault[0].lenght: is not a known key", "there are station"),
        ("36: lin: is not a known key", "did you mean 'line'?"),
    ]
    assert len(said) == len(expected)
    for line, (start, remedy) in zip(said, expected, strict=True):
        assert line.startswith(start)
        assert remedy in line
        assert " — " in line


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('name = "x"\ndays == 3\n', "2:", "invalid value"),
        ('name = "x"\nname = "y"\n', "2:", "overwrite"),
        (b'name = "x"\n# \xff\n', "2:", "is not UTF-8"),
        ('name = "x"\nstart = "tomorrow"\n', "2: start:", 'or "now"'),
        ('name = "x"\nstart = 2026-03-01\n', "2: start:", "no offset"),
        ('name = "x"\nstart = 5\n', "2: start:", "neither a time"),
        ('name = "x"\nstart = 1989-12-31T00:00:00+08:00\n', "2: start:", "start between 1990 and 2088"),
        ('name = "x"\nstart = 2089-01-01T00:00:00+08:00\n', "2: start:", "start between 1990 and 2088"),
        ('[[fault]]\nstation = "S01"\nkind = "jam"\nprotocol = "drat"\n', "4: fault[0].protocol:", "'dart'"),
        ("stations = 5\n", "1: stations:", "not 5"),
    ],
)
def test_single_faults(tmp_path: Path, text: str | bytes, line: str, words: str) -> None:
    said = [one for one in complaints(tmp_path, text) if one.startswith(line)]
    assert any(words in one for one in said)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="there is no such file"):
        load_fleet(tmp_path / "none.toml")
    with pytest.raises(BadConfig, match="cannot be read"):
        load_fleet(tmp_path)


@given(
    weeks=st.integers(0, 50),
    days=st.integers(0, 900),
    hours=st.integers(0, 99),
    minutes=st.integers(0, 99),
    seconds=st.integers(0, 99_999),
)
def test_durations(weeks: int, days: int, hours: int, minutes: int, seconds: int) -> None:
    length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    text = f"P{weeks}W{days}DT{hours}H{minutes}M{seconds}S"
    assert duration_us(text) == length // timedelta(microseconds=1)
    assert when(text, START_US) == START_US + duration_us(text)


@pytest.mark.parametrize(
    "text", ["P", "PT", "P1DT", "P3M", "P1Y", "P1H", "P-1D", "P1D1D", "", "1D", "2026-13-01", "now"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(BadConfig, match="for example"):
        when(text, START_US)


def test_a_duration_beyond_all_periods_is_refused() -> None:
    with pytest.raises(BadConfig, match="longer than"):
        duration_us("P99999999999D")


def test_a_time_is_the_same_in_every_zone() -> None:
    zone = timezone(timedelta(hours=8))
    assert when(datetime(2026, 3, 1, 8, tzinfo=zone).isoformat(), 0) == START_US == when("2026-03-01T00:00:00Z", 5)
    with pytest.raises(BadConfig, match="has no offset"):
        when("2026-03-01T08:00:00", 0)


def test_lines_of_tables_keys_and_elements() -> None:
    lines = Lines(
        "a = 1\n\"b c\".d = [\n  { x = \"]\" },\n]\n[t]\nk = '''\n[no]\n'''\n\n[[u]]\n[[u]]\nv = 1\n[u.w]\nz = 1\n"
    )
    assert [lines.line(place) for place in (("a",), ("b c", "d"), ("b c", "d", 0, "x"), ("t",), ("t", "k"))] == [
        1, 2, 2, 5, 6,
    ]  # fmt: skip
    assert [lines.line(place) for place in (("u", 0), ("u", 1), ("u", 1, "v"), ("u", 1, "w", "z"))] == [10, 11, 12, 14]
    assert lines.line(("no",)) is None
