"""The report and the published table say what the scores say, and are whole."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from by_hand import finding, nozzle
from test_scoring import item, trial

from pumpwatch.evaluation import pictures
from pumpwatch.evaluation.page import performance_page
from pumpwatch.evaluation.report import report_page
from pumpwatch.evaluation.scoring import merge, score
from pumpwatch.evaluation.summaries import summaries
from pumpwatch.evaluation.words import amount, rate_words, size_words, spread_words
from pumpwatch.model import Estimate

VOID = {"meta", "link", "br", "line", "rect", "circle", "polyline"}


class Whole(HTMLParser):
    """Fails on elements that are not closed, or in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def scores(*, wrong: bool = True) -> dict[str, Any]:
    if not wrong:
        return {**score([trial()]), "run": {"seconds": 1.0, "workers": 1}}
    told = [
        finding(at=10.6, estimate=Estimate(2.1, "%", 1.8, 2.4)),
        finding("<odd> rule", "leak", nozzle(2), at=20.0),
    ]
    items = (item(), item(nozzle(3, 2), deterministic=False, horizon_days=30.0))
    return {**score([trial(*told, items=items)]), "run": {"seconds": 1.0, "workers": 1}}


@pytest.mark.parametrize("wrong", [True, False])
def test_the_report_is_whole_and_needs_nothing_else(wrong: bool) -> None:
    page = report_page(scores(wrong=wrong))
    reader = Whole()
    reader.feed(page)
    assert reader.open == []
    assert reader.addresses == []
    assert "@import" not in page and "url(" not in page
    assert "<odd>" not in page


def test_the_report_says_it_in_both_languages() -> None:
    page = report_page(scores())
    assert page.count('lang="zh"') == page.count('lang="en"') > 20
    text = re.sub(r"<[^>]+>", "|", page)
    for words in ("short_by_mainboard", "2 %", "&lt;odd&gt; rule", "H08 verification_draws", "by-hand", "1 of 2 items"):
        assert words in text, words


def test_the_published_table() -> None:
    page = performance_page(scores())
    row = next(line for line in page.splitlines() if line.startswith("| `short_by_mainboard`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    heads = next(line for line in page.splitlines() if line.startswith("| scenario | cause")).strip("|").split("|")
    told = dict(zip([head.strip() for head in heads], cells, strict=True))
    assert told["recall"] == "50% (1%–99%)"
    assert (told["size"], told["n"], told["in time"], told["covered"]) == ("2 %", "2", "1 of 1", "100%")
    assert told["rules"] == "`pulse_ratio`"
    assert "1 in 0.3" in page.replace("\n", " ")
    assert "do not edit" in page
    assert "What is found" not in performance_page(scores(wrong=False))


def test_the_published_table_says_which_rules_judged_which_fleet() -> None:
    """Parts that were judged by different rules: all of them, a few by name, more by their packages."""
    few, many = ["tank_balance", "selective_delivery"], ["amount", "price", "display", "pulses", "sequence"]
    parts = [score([trial()]) for _ in range(3)]
    for part, on in zip(parts, (few, many, few + many), strict=True):
        part["rules"]["on"] = on
        part["rules"]["packages"] = dict.fromkeys(few, "pumpwatch_physics") | {
            rule: "pumpwatch_tax" if rule == "sequence" else "pumpwatch_metering" for rule in many
        }
    page = performance_page(merge(parts)).partition("## False alarms")[0]
    judged = [line.split("|")[-2].strip() for line in page.splitlines() if line.startswith("| `")]
    assert judged == [
        "`tank_balance`, `selective_delivery`",
        "4 of `pumpwatch_metering`, 1 of `pumpwatch_tax`",
        "all 7 rules",
    ]


def test_what_both_pages_share() -> None:
    told = scores()
    tables = {each.title[1]: each for each in summaries(told)}
    assert tables.keys() == {
        "In one figure",
        "Estimates",
        "False alarms by group of rules",
        "False alarms by how long a station is known",
        "Honest things, and what is said of them",
    }
    for each in tables.values():
        assert {len(row) for row in each.rows} == {len(each.heads)}
        assert each.title[0] != each.title[1] and each.words[0] != each.words[1]
    assert ["pulse_ratio", "1", "0.1", "0.1", "100% (2%–100%)"] in tables["Estimates"].rows
    groups = {row[0]: row[1] for row in tables["False alarms by group of rules"].rows}
    assert (groups["records"], groups["physics"], groups["pumpwatch_tax"]) == ("1", "0", "0")
    assert [row[:2] for row in tables["False alarms by how long a station is known"].rows] == [["0–60", "1"]]
    figures = dict(tables["In one figure"].rows)  # type: ignore[arg-type]
    assert (figures["precision"], figures["recall"], figures["right nozzle, at first"]) == ("50%", "50%", "100%")
    weighed = item(deterministic=False, horizon_days=30.0)
    made = score([trial(finding(at=12.5), items=(weighed,), bound=1.0)])
    (row,) = next(each.rows for each in summaries(made) if each.title[1] == "Against the bound")
    assert row == [
        "short_by_mainboard",
        "short_delivery",
        "2 %",
        "1",
        "100%",
        "2",
        "2",
        "",
        "2",
        "1",
        "2",
        "2",
        "",
        "",
        "",
    ]
    for page in (report_page(made), performance_page(made)):
        assert "Against the bound" in page and "÷ formula" in page
    quiet = [each.title[1] for each in summaries(score([trial(happening=())]))]
    assert quiet == ["False alarms by group of rules", "False alarms by how long a station is known"]


def test_pictures_stay_within_their_frames() -> None:
    spread = {"median": 1e-9, "mean": 500.0, "p90": 500.0}
    strip = pictures.delay_strip(spread, 6.9)
    assert all(0.0 <= float(x) <= 180.0 for x in re.findall(r' (?:cx|x1|x2)="([-0-9.]+)"', strip))
    assert pictures.delay_strip(None, None).count("<circle") == 0
    told = {"count": 0, "per_100_nozzle_years": 0.0, "low": 0.0, "high": 1.5}
    assert ">1.5</text>" in pictures.rates([("all", told)])
    assert pictures.rates([]).startswith("<svg")
    curve = pictures.found_over_time([("one", [0.5, None]), ("two", []), ("three", [0.5, 2.0])])
    assert curve.count("<polyline") == 2


def test_words() -> None:
    assert [amount(value) for value in (0.0, 0.01234, 4.561, 99.96, 1234.4)] == ["0", "0.0123", "4.56", "100", "1,234"]
    assert size_words({"size": 2.0, "unit": "%"}) == "2 %"
    assert size_words({"size": 1.0, "unit": ""}) == ""
    assert spread_words(None) == ""
    assert spread_words({"median": 1.0, "p90": 1.0}) == "1"
    assert spread_words({"median": 1.0, "p90": 2.5}) == "1 (2.5)"
    assert rate_words({"per_100_nozzle_years": None, "low": None, "high": None}) == "—"
