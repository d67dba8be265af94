"""Writes ``docs/reference/plugins.md`` from the plugins that come with pumpwatch; ``make docs`` runs it.

The scenarios' page, a page a rule and the page of detection limits are written beside it, see ``scenario_pages``,
``rule_pages`` and ``delay_curve``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pumpwatch.contracts import Comparison, Detector, Driver, RecordRule, Review, Rule, Store
from pumpwatch.plugins import Plugins
from pumpwatch.settings import keys_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = Path(__file__).parent / "reference" / "plugins.md"
HEAD = """\
# Plugins that come with pumpwatch

<!-- Generated from the plugins' models by `make docs`; do not edit. -->

Their own keys, and what holds when a key is not written. `pumpwatch plugins` lists what is installed on a machine,
with the reason where one could not be loaded.
"""
SECTIONS = """
## Drivers

Keys of `settings` in `[[stations.devices]]`.
{drivers}
## Rules

Keys of `[rules.NAME]`, beside `enabled`. A rule without a table is on with these defaults.
{rules}
## Stores

Keys of `settings` in `[historian]`.
{stores}"""


def page() -> str:
    """The whole page."""
    plugins = Plugins.discover()
    sections = SECTIONS.format(
        drivers="".join(_entries(plugins.drivers)),
        rules="".join(_entries(plugins.rules)),
        stores="".join(_entries(plugins.stores)),
    )
    return HEAD + sections


def _entries(shelf: Mapping[str, type[Driver] | type[Rule] | type[Store]]) -> Iterator[str]:
    for name, kind in sorted(shelf.items()):
        more = f" [How it judges](rules/{name}.md)." if issubclass(kind, Rule) else ""
        yield f"\n### `{name}`\n\n{_what(kind)}{more}\n"
        if kind.Settings.model_fields:
            yield f"\n{keys_table(kind.Settings)}"
    yield ""


def _what(kind: type[Driver] | type[Rule] | type[Store]) -> str:
    text = (kind.__doc__ or "").strip().partition("\n\n")[0]
    words = " ".join(text.replace("``", "`").split())
    if issubclass(kind, RecordRule):
        return f"{words} Judges on arrival: {', '.join(watched.__name__ for watched in kind.watches)}."
    if issubclass(kind, Detector):
        returns = " Its alarms return to normal by themselves." if kind.standing else ""
        return f"{words} Looks every {kind.every.total_seconds():g} s.{returns}"
    if issubclass(kind, Review | Comparison):
        whom = "each station" if issubclass(kind, Review) else "all stations together"
        woken = f", and within seconds of {', '.join(k.__name__ for k in kind.wakes)}" if kind.wakes else ""
        return f"{words} Reviews {whom} every {kind.every.total_seconds() / 3600:g} h{woken}."
    return words


if __name__ == "__main__":
    import delay_curve
    import rule_pages
    import scenario_pages

    PAGE.write_text(page(), encoding="utf-8")
    scenario_pages.write()
    rule_pages.write()
    delay_curve.write()
    sys.stdout.write(f"{PAGE}\n{scenario_pages.PAGE}\n{rule_pages.INDEX}\n{rule_pages.FOLDER}\n{delay_curve.PAGE}\n")
