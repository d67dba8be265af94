"""``bench detect`` judges a folder with the rules that read records, and with those that weigh the tank."""

from __future__ import annotations

import pytest

from pumpwatch.cli.benching import detect
from pumpwatch.plugins import Plugins

SMALL = """
name = "small"
start = 2026-06-01T00:00:00+08:00
days = 12
[stations]
count = 1
tank_reading_minutes = 15
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    (folder / "small.toml").write_text(SMALL, encoding="utf-8")
    detect._run("pumpwatch_sim", "generate", "--fleet", str(folder / "small.toml"), "--out", str(folder / "set"))
    detect._run("pumpwatch", "import", str(folder / "set"), "--data", str(folder / "data"), "--json")
    return folder / "data"


def test_every_rule_is_measured_once():
    kinds = Plugins.discover().rules
    reading, weighing = detect.split(kinds)
    assert set(weighing) == {"flow_switch", "selective_delivery", "tank_balance"}
    assert sorted([*reading, *weighing]) == sorted(kinds)


def test_a_folder_gives_every_figure(data):
    reading, weighing = detect.split(Plugins.discover().rules)
    figures = detect.period(data, reading, weighing)
    assert figures.keys() == {"period_seconds", "peak_rss_mib", "physics_period_seconds", "physics_daily_seconds"}
    assert min(figures.values()) > 0.0
    assert (data / "bench.sqlite").is_file()  # the day's step found what was kept


def test_a_program_that_fails_is_an_error():
    with pytest.raises(detect.NotReachable, match="no-such-command ended with code"):
        detect._run("pumpwatch", "no-such-command")
