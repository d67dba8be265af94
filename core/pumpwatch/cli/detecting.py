"""``pumpwatch detect``: judges any period of what a data folder holds, with the rules that judge it live."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pumpwatch.canonical import Span
from pumpwatch.cli.asking import rules_off
from pumpwatch.cli.keeping import bar, held, kept, moment, settings_or_none
from pumpwatch.cli.output import DEFAULT_DATA, Config, Data, PluginsDir, stderr, stdout
from pumpwatch.cli.sending import fetch_findings
from pumpwatch.engine import DIGESTS, RuleBook, judge_folder, judgement_to_json, judges
from pumpwatch.errors import BadConfig
from pumpwatch.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(detect)


def detect(
    start: Annotated[
        str | None, typer.Option("--from", help="Only what shows after this time.", metavar="TIME")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Only what shows up to this time.", metavar="TIME")] = None,
    rule: Annotated[
        list[str] | None, typer.Option("--rule", help="A rule to judge with; may be given several times. Default: all.")
    ] = None,
    station: Annotated[
        list[str] | None, typer.Option("--station", help="A station; may be given several times. Default: all.")
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Every finding; without it one for each cause, with how many there are.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, max=8, help="Processes that judge.")] = 2,
    data: Data = DEFAULT_DATA,
    config: Config = None,
    plugins_dir: PluginsDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each finding as one line of JSON.")] = False,
) -> None:
    """Judge any period of history: the same findings as live, whatever order the records arrived in."""
    span = Span(moment(start, "--from"), moment(end, "--to"))
    told = asyncio.run(
        _detect(span, rule or [], station or [], workers, data, config, plugins_dir, each=each, quiet=as_json)
    )
    if as_json:
        for finding in told["findings"]:
            typer.echo(json.dumps(finding, ensure_ascii=False))
        return
    stdout.print(_table(told["findings"]) if told["findings"] else "Nothing was found.")
    for line in rules_off(told["off"]):
        stderr.print(line, style="yellow", markup=False, highlight=False)


async def _detect(
    span: Span,
    rules: list[str],
    stations: list[str],
    workers: int,
    data: Path,
    config: Path | None,
    plugins_dir: Path | None,
    *,
    each: bool,
    quiet: bool,
) -> dict[str, Any]:
    if not data.is_dir():  # noqa: ASYNC240 - before anything runs
        raise BadConfig(f"{data}: no such folder; name the one that holds the data with --data DIR")
    with bar(quiet=quiet) as progress, held(data) as server:
        task = progress.add_task("judging", total=None)
        if server is not None:
            return await fetch_findings(server, span=span, rules=rules, stations=stations, workers=workers, each=each)
        book = RuleBook(settings_or_none(data, config), plugins_dir).choose(rules)
        with judges(book, workers, data / DIGESTS) as bench:
            async with kept(data, config, plugins_dir) as (database, historian):
                judgement = await judge_folder(
                    bench,
                    Ledger(database),
                    historian,
                    span.start,
                    span.end,
                    stations=stations,
                    progress=lambda done, of: progress.update(task, completed=done, total=of),
                )
        if judgement.trouble:
            stderr.print(judgement.trouble, style="yellow", markup=False, highlight=False)
        return judgement_to_json(judgement, each=each)


def _table(findings: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(title="Findings", title_justify="left", header_style="bold")
    for column in ("detected at", "severity", "subject", "what", "rule", "since", "estimate", "times"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        subject, estimate = finding["subject"], finding["estimate"]
        table.add_row(
            finding["detected_at"][:19],
            finding["severity"],
            subject["nozzle_id"] or subject["tank_id"] or subject["dispenser_id"] or subject["station_id"],
            finding["explanation"]["title"]["en"],
            finding["rule"],
            finding["onset"][:19],
            f"{estimate['value']:g} {estimate['unit']}" if estimate else "",
            str(finding.get("count", 1)),
        )
    return table
