"""The whole way on a small simulated fleet; a folder says the same."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from by_hand import START
from typer.testing import CliRunner

from pumpwatch import Finding, PluginSettings
from pumpwatch.cli.evaluating import evaluate
from pumpwatch.cli.evaluating.folder import data_folder
from pumpwatch.cli.evaluating.judging import Jury, jury
from pumpwatch.cli.evaluating.simulated import SimulatedFleet, simulated
from pumpwatch.contracts import Comparison
from pumpwatch.engine import RuleBook
from pumpwatch.errors import BadConfig
from pumpwatch.evaluation import Source, run, score
from pumpwatch.evaluation.running import judge_one
from pumpwatch.model import from_us, to_us
from pumpwatch.settings import Settings
from pumpwatch_sim.dataset.generate import generate

if TYPE_CHECKING:
    from datetime import datetime

FLEET = """
name = "small"
seed = 4
start = 2026-06-01T00:00:00+08:00
days = 20

[stations]
count = 3
tank_reading_minutes = 30
demand = 0.4

[[scenario]]
name = "F01"
onset = "P10D"

[[scenario]]
name = "T03"
onset = "P12D"

[[scenario]]
name = "H08"
onset = "P14D"
"""
RULES = ("pulse_ratio", "totalizer_continuity")


def book(*names: str) -> RuleBook:
    return RuleBook(Settings()).choose(names or RULES)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("fleet") / "small.toml"
    file.write_text(FLEET, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def alone(fleet: Path) -> dict[str, Any]:
    return scores(simulated([str(fleet)], [], []), 1)


def scores(sources: list[SimulatedFleet] | list[Source], workers: int) -> dict[str, Any]:
    return score(run(sources, partial(jury, book()), workers))


def test_what_a_small_fleet_gives(alone: dict[str, Any]) -> None:
    assert alone["false_alarms"]["count"] == 0
    assert alone["fleets"][0]["stations"] == 3
    assert alone["rules"]["failing"] == {}
    rows = {row["scenario"]: row for row in alone["scenarios"]}
    assert rows.keys() == {"short_by_mainboard", "totalizer_rollback"}
    for row in rows.values():
        assert (row["n"], row["recall"], row["attribution_next_day"]["nozzle"]) == (1, 1.0, 1.0)
        assert row["first_record"] == {"n": 1, "on_time": 1, "latest": row["first_record"]["latest"]}
    assert rows["short_by_mainboard"]["estimate"]["coverage"] == 1.0
    assert alone["rules"]["packages"]["pulse_ratio"] == "pumpwatch_metering"
    assert [each["scenario"] for each in alone["honest"]["happened"]] == ["H08 verification_draws"]


def test_the_same_from_files(fleet: Path, alone: dict[str, Any], tmp_path: Path) -> None:
    """But for the first records, which files cannot know."""
    generate(fleet, tmp_path / "set", workers=1)
    with data_folder(tmp_path / "set", None, [], quiet=True) as source:
        told = scores([source], 1)
    assert told["fleets"][0]["findings"] == alone["fleets"][0]["findings"]
    for mine, other in zip(told["items"], alone["items"], strict=True):
        assert {key: mine[key] for key in ("subject", "detected_at", "rule", "estimate", "found")} == {
            key: other[key] for key in ("subject", "detected_at", "rule", "estimate", "found")
        }


def test_only_some_scenarios(fleet: Path) -> None:
    (source,) = simulated([str(fleet)], [], ["t*"])
    assert len(source.stations()) == 1
    assert [item.scenario for item in source.truth().items if source.wanted(item)] == ["totalizer_rollback"]
    (honest,) = simulated([str(fleet)], [], ["H08"])
    assert len(honest.stations()) == 1
    assert not any(honest.wanted(item) for item in honest.truth().items)
    assert [each.seed for each in simulated([str(fleet)], [7, 8], [])] == [7, 8]
    with pytest.raises(BadConfig, match=r"no.*scenario like F23"):
        simulated([str(fleet)], [], ["F23"])


def test_the_first_sign_is_the_record_that_would_be_other(fleet: Path) -> None:
    (source,) = simulated([str(fleet)], [], [])
    for item in source.truth().items:
        past = source.past(item.subject.station_id)
        sign = source.first_sign(item.subject.station_id, item, past)
        assert sign is not None
        mine = past.sales.take(past.sales.of(str(item.subject.nozzle_id)))
        ends = mine.end_us[mine.end_us >= to_us(item.onset)]
        assert to_us(sign) in ends[:2]  # a preset filling may show the same litres with another K


SAME_TWICE = """
name = "twice"
seed = 4
start = 2026-06-01T00:00:00+08:00
days = 8

[stations]
count = 1

[[scenario]]
name = "F01"
station = "S01"
nozzle = "S01-N01"
onset = "P2D"

[[scenario]]
name = "F01"
station = "S01"
nozzle = "S01-N03"
onset = "P5D"

[[scenario]]
name = "P01"
station = "S01"
nozzle = "S01-N02"
onset = "P3D"
"""


SOME_SHORT = """
name = "some"
seed = 4
start = 2026-06-01T00:00:00+08:00
days = 8

[stations]
count = 1

[[scenario]]
name = "F07"
nozzle = "S01-N01"
station = "S01"
onset = "P2D"

[[scenario]]
name = "W05"
station = "S01"
onset = "P2D"
"""


@pytest.fixture(scope="module")
def signs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[datetime | None, list[datetime]]]:
    """Of each item the first sign, and when its nozzle's fillings since the onset ended."""
    file = tmp_path_factory.mktemp("fleet") / "twice.toml"
    file.write_text(SAME_TWICE, encoding="utf-8")
    (source,) = simulated([str(file)], [], [])
    past, told = source.past("S01"), {}
    for item in source.truth().items:
        ends = past.sales.end_us[past.sales.of(str(item.subject.nozzle_id))].tolist()
        later = [from_us(end) for end in ends if end >= to_us(item.onset)]
        told[item.scenario, str(item.subject.nozzle_id)] = (source.first_sign("S01", item, past), later)
    return told


def test_of_two_things_of_one_name_each_has_its_own_first_sign(
    signs: dict[tuple[str, str], tuple[datetime | None, list[datetime]]],
) -> None:
    boards = [told for (scenario, _), told in signs.items() if scenario == "short_by_mainboard"]
    assert len(boards) == 2
    for sign, ends in boards:
        assert sign in ends[:2]


def test_what_is_registered_is_shown_by_the_first_filling(
    signs: dict[tuple[str, str], tuple[datetime | None, list[datetime]]],
) -> None:
    ((sign, ends),) = [told for (scenario, _), told in signs.items() if scenario == "certificate_expired"]
    assert sign == ends[0]


def test_nothing_can_be_known_before_the_first_filling_or_load_that_is_short(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text(SOME_SHORT, encoding="utf-8")
    (source,) = simulated([str(file)], [], [])
    past, told = source.past("S01"), judge_one(source, "S01", Jury([]))
    for place, item in enumerate(source.truth().items):
        exposure, affected = told.exposures[place], source.affected("S01", item, past)
        if item.cause == "delivery_short":
            first = min(each.at for each in past.deliveries if each.truck == affected.truck and each.at >= item.onset)
            assert exposure.shown == max(item.onset, first - timedelta(minutes=45))
        else:
            assert affected.extra_l is not None
            assert exposure.shown == from_us(int(past.sales.start_us[affected.extra_l > 0.0].min()))
            assert exposure.shown > exposure.begin  # some customers came before whom it does not concern


def test_a_rule_that_fails_is_named_and_the_others_go_on(fleet: Path) -> None:
    (source,) = simulated([str(fleet)], [], ["F01"])
    good = jury(book("totalizer_continuity")).rules
    broken = jury(book("pulse_ratio")).rules[0]
    broken.screen = lambda past: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    told = score(run([source], partial(Jury, [broken, *good]), 1))
    assert "ZeroDivisionError" in told["rules"]["failing"]["pulse_ratio"]
    assert told["fleets"][0]["findings"] == 0


def test_a_comparison_that_fails_is_named() -> None:
    def compare(self: object, digests: object, since: object, until: object) -> list[Finding]:
        raise ValueError("odd")

    broken = type("Broken", (Comparison,), {"rule": "twins", "compare": compare, "digest": lambda *_: None})
    told, failing = Jury([broken(PluginSettings())]).together({"S01": {"twins": 1}}, START, START)
    assert (told, failing) == ([], {"twins": "all stations: ValueError: odd"})


def test_the_command_writes_everything(fleet: Path, tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(evaluate)
    page = tmp_path / "docs" / "performance.md"
    words = ["--fleet", str(fleet), "--scenario", "F01", "--rules", "pulse_ratio", "--workers", "1"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out"), "--publish", str(page), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told == json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert told["rules"]["on"] == ["pulse_ratio"]
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "short_by_mainboard" in report and "http" not in report.replace("http-equiv", "")
    assert "| `short_by_mainboard` | `short_delivery` | 2 % | 1 | 100%" in page.read_text(encoding="utf-8")
    table = CliRunner().invoke(app, ["--scores", str(tmp_path / "out" / "evaluation.json")])
    assert table.exit_code == 0 and "short_by_mainboard" in table.output and "False alarms: 0" in table.output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--truth", "x.json"], "--data-set"),
        (["--data-set", "x", "--seeds", "1"], "leave"),
        (["--seeds", "one"], "whole numbers"),
        (["--rules", "nothing"], "nothing"),
        (["--fleet", "nowhere"], "no fleet"),
        (["--scores", "nowhere.json"], "cannot be read"),
        (["--scores", __file__], "no evaluation.json"),
    ],
)
def test_mistakes_are_one_message(words: list[str], complaint: str) -> None:
    import typer

    app = typer.Typer()
    app.command()(evaluate)
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, BadConfig)
    assert complaint in str(done.exception)
