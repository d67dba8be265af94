"""Writes a page a rule into ``docs/reference/rules`` and their index, from the plugins; ``make docs`` runs it.

What stands there comes from the rule's ``about``, its settings and what it is; the causes and the departments are those
of the scenarios that it is there for.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pumpwatch.contracts import About, Comparison, Detector, RecordRule, Review, Rule
from pumpwatch.past import Channel
from pumpwatch.plugins import Plugins
from pumpwatch.settings import keys_table
from pumpwatch_sim.scenarios.catalogue import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pumpwatch_sim.scenarios.base import Scenario

FOLDER = Path(__file__).parent / "reference" / "rules"
INDEX = Path(__file__).parent / "reference" / "rules.md"
NOTE = "<!-- Generated from the plugins by `make docs`; do not edit. -->\n"
SECTIONS = ("inputs", "statistic", "threshold", "power", "settings", "pitfalls", "source")
LEAST = 20
"""A section that says less says nothing."""
CHANNELS = {
    Channel.ENCODER: "encoder",
    Channel.TAX: "tax control",
    Channel.TOTALIZERS: "totalizers",
    Channel.TANK_READINGS: "tank readings",
    Channel.TANK_DIPS: "tank dips",
    Channel.CHARTS: "strapping charts",
    Channel.DELIVERIES: "delivery papers",
    Channel.IDENTITY: "identity",
    Channel.DECLARATIONS: "declarations",
    Channel.CERTIFICATES: "certificates",
}
HEAD = f"""\
# Rules that come with pumpwatch

{NOTE}
What each rule is there for, and without which data it is off at a station (`pumpwatch status` says so). The scenarios
are those of [the catalogue](scenarios.md); the departments are those a finding is for.

| rule | what | judged | scenarios | needs | departments |
|---|---|---|---|---|---|
"""


class NoPageYetError(Exception):
    """Rules that say too little of themselves; the words name them and what is missing."""


def rules() -> Mapping[str, type[Rule]]:
    """The rules of the plugins that are installed, by name."""
    return dict(sorted(Plugins.discover().rules.items()))


def pages() -> dict[Path, str]:
    """What each page says, the index included. Raises ``NoPageYetError``."""
    known = rules()
    if wrong := [f"{name} ({_plugin(rule)}): {words}" for name, rule in known.items() for words in missing(rule)]:
        raise NoPageYetError("a rule's page comes from its `about`; " + "; ".join(wrong))
    told = {FOLDER / f"{name}.md": page(rule) for name, rule in known.items()}
    return {**told, INDEX: index(known)}


def write() -> None:
    """Write all of them where they belong, and delete the pages of rules that are no more."""
    told = pages()
    FOLDER.mkdir(exist_ok=True)
    for path in set(FOLDER.glob("*.md")) - told.keys():
        path.unlink()
    for path, text in told.items():
        path.write_text(text, encoding="utf-8")


def missing(rule: type[Rule]) -> list[str]:
    """What its page still lacks, as words."""
    about = getattr(rule, "about", None)
    if not isinstance(about, About):
        return ["has no `about`"]
    known = {kind.id for kind in SCENARIOS}
    short = [name for name in SECTIONS if len(section(rule, name).strip()) <= LEAST]
    mute = [key for key, field in rule.Settings.model_fields.items() if not field.description]
    return (
        [f"`{name}` says too little" for name in short]
        + [f"catches {name!r}, which is no scenario" for name in about.catches if name not in known]
        + [f"setting `{key}` has no description" for key in mute]
    )


def page(rule: type[Rule]) -> str:
    """One rule's page."""
    about = rule.about
    facts = [f"Plugin `{_plugin(rule)}`; {_judged(rule)}.", _caught(about), _needed(rule)]
    if rule.explains:
        causes = _listed(f"`{cause}`" for cause in sorted(rule.explains))
        facts.append(f"Takes findings of {causes} of the same thing into its own alarm: one cause, one alarm.")
    head = f"# {rule.rule}\n\n{NOTE}\n**{about.title.zh} · {about.title.en}.** {_summary(rule)}\n\n"
    return head + "".join(f"* {fact}\n" for fact in facts) + "".join(_section(rule, name) for name in SECTIONS)


def section(rule: type[Rule], name: str) -> str:
    """The text of one section."""
    if name != "settings":
        return str(getattr(rule.about, name)).strip()
    if not rule.Settings.model_fields:
        return f"Nothing but `enabled` in `[rules.{rule.rule}]`: there is nothing to set."
    return f"Keys of `[rules.{rule.rule}]`, beside `enabled`.\n\n{keys_table(rule.Settings).strip()}"


def index(known: Mapping[str, type[Rule]]) -> str:
    """The table of all rules."""
    caught = {name for rule in known.values() for name in rule.about.catches}
    rows = "".join(
        f"| [`{name}`](rules/{name}.md) | {rule.about.title.zh} · {rule.about.title.en} | {_when(rule)} "
        f"| {' '.join(rule.about.catches) or '—'} | {_channels(rule) or '—'} | {_departments(rule.about) or '—'} |\n"
        for name, rule in known.items()
    )
    left = [kind.id for kind in SCENARIOS if kind.cause and kind.id not in caught and not kind.id.startswith("demo")]
    rest = f"\nScenarios that no rule here is there for: {' '.join(left)}.\n" if left else ""
    return HEAD + rows + rest


def _section(rule: type[Rule], name: str) -> str:
    return f"\n## {name.capitalize()}\n\n{section(rule, name)}\n"


def _plugin(rule: type[Rule]) -> str:
    return rule.__module__.partition(".")[0]


def _summary(rule: type[Rule]) -> str:
    return " ".join((rule.__doc__ or "").partition("\n\n")[0].replace("``", "`").split())


def _judged(rule: type[Rule]) -> str:
    if issubclass(rule, RecordRule):
        kinds = _listed(kind.__name__ for kind in rule.watches)
        wait = f", {_span(rule.patience)} after its arrival" if rule.patience else " as it arrives"
        reach = f"; the next {rule.reach} fillings of the nozzle are judged again" if rule.reach else ""
        return f"judges each {kinds}{wait}{reach}"
    if issubclass(rule, Review | Comparison):
        whom = "each station by itself" if issubclass(rule, Review) else "all stations together"
        woken = f"; woken by an occasion among {_woken(rule)}" if rule.wakes else ""
        return f"reviews {whom} every {_span(rule.every)}, looking back {_span(rule.lookback)}{woken}"
    if issubclass(rule, Detector):
        return f"looks every {_span(rule.every)}" + (
            "; its alarms return to normal by themselves" if rule.standing else ""
        )
    raise NoPageYetError(f"{rule.rule} is no kind of rule that has a page")


def _when(rule: type[Rule]) -> str:
    if issubclass(rule, RecordRule):
        return "on arrival"
    woken = f", woken by {_woken(rule)}" if issubclass(rule, Review | Comparison) and rule.wakes else ""
    return f"every {_span(rule.every)}{woken}" if issubclass(rule, Review | Comparison | Detector) else "—"


def _woken(rule: type[Review | Comparison]) -> str:
    return _listed((kind.__name__ for kind in rule.wakes), "or")


def _span(time: timedelta) -> str:
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if time.total_seconds() >= seconds and not time.total_seconds() % seconds:
            return f"{time.total_seconds() / seconds:g} {unit}"
    return f"{time.total_seconds():g} s"


def _caught(about: About) -> str:
    if not about.catches:
        return "There for no single scenario of the catalogue."
    kinds = [f"{kind.id} {kind.title.en}" for kind in _scenarios(about)]
    causes = _listed(f"`{cause}`" for cause in dict.fromkeys(kind.cause for kind in _scenarios(about)))
    return f"There for: {_listed(kinds)} ([scenarios](../scenarios.md)). Causes: {causes}. For: {_departments(about)}."


def _needed(rule: type[Rule]) -> str:
    names = _channels(rule)
    return f"Off at a station that has no {names}." if names else "Needs no channel that a station may lack."


def _channels(rule: type[Rule]) -> str:
    return _listed((CHANNELS[channel] for channel in Channel if channel in rule.needs), "or")


def _departments(about: About) -> str:
    named = [department.replace("_", " ") for kind in _scenarios(about) for department in kind.departments]
    return ", ".join(dict.fromkeys(named))


def _scenarios(about: About) -> list[type[Scenario]]:
    by_id = {kind.id: kind for kind in SCENARIOS}
    return [by_id[name] for name in about.catches]


def _listed(names: Iterable[str], last: str = "and") -> str:
    *first, end = [*names] or [""]
    return f"{', '.join(first)} {last} {end}" if first else end
