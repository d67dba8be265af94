"""Every rule has its page in docs/reference/rules, as its plugin tells it, with every setting and its default."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import Field

from pumpwatch import About, PluginSettings, RecordRule, Text, Transaction
from pumpwatch_sim.scenarios.catalogue import SCENARIOS

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
import rule_pages  # noqa: E402

RULES = rule_pages.rules()
HEADINGS = ["Inputs", "Statistic", "Threshold", "Power", "Settings", "Pitfalls", "Source"]


def sections(page: str) -> dict[str, str]:
    """Heading → text of a page."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def kept(name: str) -> str:
    return (DOCS / "reference" / "rules" / f"{name}.md").read_text("utf-8")


@pytest.mark.parametrize("name", RULES)
def test_a_rule_tells_enough_of_itself(name: str) -> None:
    assert rule_pages.missing(RULES[name]) == []


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_its_page(name: str) -> None:
    assert kept(name) == rule_pages.page(RULES[name]), f"docs/reference/rules/{name}.md is stale: run `make docs`"
    assert kept(name).startswith(f"# {name}\n")
    assert list(sections(kept(name))) == HEADINGS
    assert all(len(text.strip()) > rule_pages.LEAST for text in sections(kept(name)).values())


@pytest.mark.parametrize("name", RULES)
def test_every_setting_stands_on_it_with_its_default(name: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*) \|", sections(kept(name))["Settings"], re.MULTILINE))
    fields = RULES[name].Settings.model_fields
    assert rows.keys() == fields.keys()
    for key, field in fields.items():
        if isinstance(field.default, float | int) and not isinstance(field.default, bool):
            assert float(rows[key].strip("` ")) == float(field.default), key


def test_no_page_without_a_rule() -> None:
    assert {p.stem for p in (DOCS / "reference" / "rules").glob("*.md")} == set(RULES)


def test_the_index_holds_every_rule_and_every_scenario() -> None:
    text = (DOCS / "reference" / "rules.md").read_text("utf-8")
    assert text == rule_pages.index(RULES), "docs/reference/rules.md is stale: run `make docs`"
    assert set(re.findall(r"^\| \[`(\w+)`\]", text, re.MULTILINE)) == set(RULES)
    told = set(re.findall(r"[\w-]+", text))
    assert {kind.id for kind in SCENARIOS if kind.cause and not kind.id.startswith("demo")} <= told


# ---------------------------------------------------------------- the generator itself


class DemoSettings(PluginSettings):
    limit_l: float = Field(0.5, description="Beyond this, litres.")


class Demo(RecordRule):
    """A rule for this test.

    More of it.
    """

    rule = "demo"
    Settings = DemoSettings
    watches = (Transaction,)
    patience = timedelta(minutes=10)
    reach = 2
    explains = frozenset({"edited_record"})
    about = About(
        Text("示例", "Demo"), ("F01",), *("It says enough of itself to be understood." for _ in range(6)),
    )  # fmt: skip

    def check(self, record, history):
        return ()


def test_what_a_page_says() -> None:
    page = rule_pages.page(Demo)
    assert "**示例 · Demo.** A rule for this test.\n" in page
    assert "judges each Transaction, 10 min after its arrival; the next 2 fillings" in page
    assert "F01" in page
    assert "`short_delivery`" in page
    assert "market regulation" in page
    assert "| `limit_l` | number | 0.5 |" in page.replace("`number`", "number").replace("`0.5`", "0.5")
    assert "`edited_record`" in page
    assert rule_pages.missing(Demo) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"about": None}, "has no `about`"),
        ({"about": About(Text("示", "D"), (), *("Too short." for _ in range(6)))}, "`power` says too little"),
        ({"about": About(Text("示", "D"), ("F99",), *("x" * 50 for _ in range(6)))}, "F99"),
        ({"Settings": type("Mute", (PluginSettings,), {"__annotations__": {"key": int}, "key": 1})}, "`key`"),
    ],
)
def test_a_rule_that_says_too_little_is_named(change, words, monkeypatch) -> None:
    wrong = type("Wrong", (Demo,), change)
    assert any(words in word for word in rule_pages.missing(wrong))
    monkeypatch.setattr(rule_pages, "rules", lambda: {"demo": wrong})
    with pytest.raises(rule_pages.NoPageYetError, match=r"demo \("):
        rule_pages.pages()
