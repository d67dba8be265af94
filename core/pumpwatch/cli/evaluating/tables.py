"""An evaluation as tables for people; they fit eighty columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pumpwatch.evaluation.summaries import mistaken, summaries
from pumpwatch.evaluation.words import amount, rate_words, size_words, spread_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

_WIDE = 130
"""Columns from which on there is room for more."""


def print_tables(scores: Mapping[str, Any], console: Console) -> None:
    """Fleets, scenarios, causes that were taken for others, and false alarms."""
    console.print(_fleets(scores))
    if scores["scenarios"]:
        console.print(_scenarios(scores, wide=console.width >= _WIDE))
        mistaken = _mistaken(scores)
        if mistaken.row_count:
            console.print(mistaken)
    if console.width >= _WIDE:
        for each in summaries(scores):
            table = _table(each.title[1], *(en for _, en in each.heads))
            for row in each.rows:
                table.add_row(*row)
            console.print(table)
    console.print(_false_alarms(scores))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if number else "left", no_wrap=number > 0)
    return table


def _fleets(scores: Mapping[str, Any]) -> Table:
    table = _table("Judged", "fleet", "seed", "stations", "days", "nozzle-y", "honest", "items", "alarms")
    for fleet in scores["fleets"]:
        table.add_row(
            fleet["fleet"],
            "—" if fleet["seed"] is None else str(fleet["seed"]),
            str(fleet["stations"]),
            amount(fleet["days"]),
            amount(fleet["nozzle_years"]),
            amount(fleet["honest_nozzle_years"]),
            str(fleet["items"]),
            str(fleet["alarms"]),
        )
    return table


def _scenarios(scores: Mapping[str, Any], *, wide: bool) -> Table:
    columns = ["scenario", "size", "n", "found", "days", "sales", "in time"]
    more = ["cause", "× bound", "nozzle", "covered", "rules"]
    table = _table("What was found: delays as median (90th percentile)", *columns, *(more if wide else ()))
    table.columns[0].min_width = 24
    before = None
    for row in scores["scenarios"]:
        first, estimate = row["first_record"], row["estimate"]
        name = row["scenario"] if before != row["scenario"] or wide else f"  {row['cause']}"
        before = row["scenario"]
        cells = [
            name,
            size_words(row),
            str(row["n"]),
            f"{row['recall']:.0%}",
            spread_words(row["delay"]["days"]),
            spread_words(row["delay"]["sales"]),
            f"{first['on_time']}/{first['n']}" if first["n"] else "",
        ]
        if wide:
            nozzle = row["attribution_next_day"]["nozzle"]
            cells += [
                row["cause"],
                "" if row["ratio_to_bound"] is None else f"{row['ratio_to_bound']:.1f}",
                "" if nozzle is None else f"{nozzle:.0%}",
                "" if estimate is None or estimate["coverage"] is None else f"{estimate['coverage']:.0%}",
                ", ".join(row["rules"]),
            ]
        table.add_row(*cells, style="red" if row["recall"] < 0.5 else "yellow" if row["recall"] < 0.95 else None)
    return table


def _mistaken(scores: Mapping[str, Any]) -> Table:
    table = _table("Missed, or taken for something else", "true cause", "claimed as", "at first", "in the end")
    for true, other, *times in mistaken(scores):
        table.add_row(true, other or "—", *times)
    return table


def _false_alarms(scores: Mapping[str, Any]) -> Table:
    false = scores["false_alarms"]
    title = f"False alarms: {false['count']} in {amount(false['honest_nozzle_years'])} honest nozzle-years"
    table = _table(title, "rule", "count", "per 100 nozzle-years (95 %)")
    for rule, told in false["by_rule"].items():
        table.add_row(rule, str(told["count"]), rate_words(told))
    table.add_section()
    table.add_row("all", str(false["count"]), rate_words(false), style="bold")
    return table
