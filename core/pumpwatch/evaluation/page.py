"""The published performance table, ``docs/reference/performance.md``, from what ``score`` gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from pumpwatch.evaluation.summaries import Summary, mistaken, summaries
from pumpwatch.evaluation.words import amount, rate_words, share_words, size_words, spread_words

_HEAD: Final = """\
# Performance

<!-- Written by `pumpwatch evaluate --publish docs/reference/performance.md`; do not edit. -->

What the rules find, how soon, and what they say of honest stations, measured on simulated fleets whose seeds, season,
gauges, customers and nuisances are not those the rules were made with. [The scenarios](scenarios.md) say what each of
them is; `pumpwatch evaluate --out DIR` makes the same with pictures, on these fleets or on a data set of your own with
its `truth.json` (`--data-set DIR --truth FILE`).
"""

_FEW_RULES: Final = 4
_MEANINGS: Final = files("pumpwatch.evaluation").joinpath("assets", "meanings.md").read_text(encoding="utf-8")


def performance_page(scores: Mapping[str, Any]) -> str:
    """The whole page, Markdown."""
    parts = [_HEAD, *_judged(scores), *_false_alarms(scores["false_alarms"])]
    if scores["scenarios"]:
        parts += [*_scenarios(scores["scenarios"]), *_causes(scores)]
    for each in summaries(scores):
        parts += _summary(each)
    return "\n".join([*parts, _MEANINGS.strip("\n"), ""])


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _summary(each: Summary) -> Iterator[str]:
    yield f"## {each.title[1]}\n"
    yield f"{each.words[1]}\n"
    yield from _table(
        [en for _, en in each.heads],
        ([f"`{cell}`" if cell and place < each.names else cell for place, cell in enumerate(row)] for row in each.rows),
    )


def _judged(scores: Mapping[str, Any]) -> Iterator[str]:
    yield "## What was judged\n"
    heads = ("fleet", "seed", "stations", "days", "nozzle-years", "of them honest", "items", "by")
    every = scores["rules"].get("on", ())
    yield from _table(
        heads,
        (
            (
                f"`{each['fleet']}`",
                "—" if each["seed"] is None else str(each["seed"]),
                str(each["stations"]),
                amount(each["days"]),
                amount(each["nozzle_years"]),
                amount(each["honest_nozzle_years"]),
                str(each["items"]),
                _rules_words(each.get("rules", every), every, scores["rules"]["packages"]),
            )
            for each in scores["fleets"]
        ),
    )


def _rules_words(rules: Sequence[str], every: Sequence[str], packages: Mapping[str, str]) -> str:
    """All of them, a few by name, more by their packages."""
    if len(rules) == len(every):
        return f"all {len(every)} rules" if every else ""
    if len(rules) <= _FEW_RULES:
        return ", ".join(f"`{rule}`" for rule in rules)
    told = Counter(packages[rule] for rule in rules if rule in packages)
    return ", ".join(f"{count} of `{package}`" for package, count in sorted(told.items()))


def _false_alarms(false: Mapping[str, Any]) -> Iterator[str]:
    years = amount(false["honest_nozzle_years"])
    yield "## False alarms\n"
    yield f"{false['count']} in {years} honest nozzle-years: {rate_words(false)} per 100 nozzle-years.\n"
    if false["by_rule"]:
        yield from _table(
            ("rule", "count", "per 100 nozzle-years"),
            ((f"`{rule}`", str(told["count"]), rate_words(told)) for rule, told in false["by_rule"].items()),
        )


def _scenarios(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## What is found\n"
    heads = (
        "scenario", "cause", "size", "n", "recall", "days", "sales", "litres", "in time", "÷ bound", "nozzle",
        "covered", "rules",
    )  # fmt: skip
    yield from _table(heads, map(_scenario, rows))


def _scenario(row: Mapping[str, Any]) -> Sequence[str]:
    first, estimate, delay = row["first_record"], row["estimate"], row["delay"]
    nozzle = row["attribution_next_day"]["nozzle"]
    return (
        f"`{row['scenario']}`",
        f"`{row['cause']}`",
        size_words(row),
        str(row["n"]),
        share_words(row["recall"], row["recall_low"], row["recall_high"]),
        spread_words(delay["days"]),
        spread_words(delay["sales"]),
        spread_words(delay["litres"]),
        f"{first['on_time']} of {first['n']}" if first["n"] else "",
        "" if row["ratio_to_bound"] is None else f"{row['ratio_to_bound']:.1f}",
        "" if nozzle is None else f"{nozzle:.0%}",
        "" if estimate is None or estimate["coverage"] is None else f"{estimate['coverage']:.0%}",
        ", ".join(f"`{rule}`" for rule in row["rules"]),
    )


def _causes(scores: Mapping[str, Any]) -> Iterator[str]:
    wrong = [(f"`{true}`", f"`{other}`" if other else "no alarm", *times) for true, other, *times in mistaken(scores)]
    if wrong:
        yield "## Missed, or taken for something else\n"
        yield from _table(("true cause", "claimed as", "at first", "in the end"), iter(wrong))
