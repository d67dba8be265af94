"""Every rule has its page in docs/reference/rules, with the required headings, every setting and its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pumpwatch_integrity
import pumpwatch_metering

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "rules"
HEADINGS = ["Inputs", "Statistic", "Threshold", "Power", "Settings", "Pitfalls", "Source"]
RULES = [*pumpwatch_metering.pumpwatch_detectors(), *pumpwatch_integrity.pumpwatch_detectors()]


def sections(page):
    """Heading → text of a page."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.rule)
def test_a_rule_has_its_page(rule):
    page = (PAGES / f"{rule.rule}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {rule.rule}\n")
    assert list(sections(page)) == HEADINGS
    assert all(len(text.strip()) > 40 for text in sections(page).values())


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.rule)
def test_every_setting_stands_on_it_with_its_default(rule):
    rows = dict(
        re.findall(
            r"^\| `(\w+)` \| (\S+) \|", sections((PAGES / f"{rule.rule}.md").read_text("utf-8"))["Settings"], re.M
        )
    )
    fields = rule.Settings.model_fields
    assert rows == {name: "—" if f.default is None else f"{f.default:g}" for name, f in fields.items()}


def test_no_page_without_a_rule():
    assert {p.stem for p in PAGES.glob("*.md")} == {rule.rule for rule in RULES}
