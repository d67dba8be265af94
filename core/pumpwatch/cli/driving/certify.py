"""``pumpwatch driver certify``: the grade of a driver, and what keeps it from a better one."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pumpwatch.cli.output import AsJson, show_json, stderr, stdout
from pumpwatch.testing.certifying import RULES, Certificate, Grade, Subject
from pumpwatch.testing.certifying import certify as examine

if TYPE_CHECKING:
    from pumpwatch.testing.certifying import Verdict

_STYLES = {Grade.NONE: "red", Grade.BRONZE: "yellow", Grade.SILVER: "bright_white", Grade.GOLD: "bold yellow"}


def add_to(group: typer.Typer) -> None:
    """Register the command."""
    group.command()(certify)


def certify(
    path: Annotated[Path, typer.Argument(help="Folder of a driver's package, or its file.", metavar="PATH")],
    as_json: AsJson = False,
) -> None:
    """Put a driver to what lines and devices do wrong, and grade it. Exit code 0: Gold."""
    certificates = []
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=stderr, transient=True
    ) as bar:
        for subject in Subject.load(path):
            task = bar.add_task(subject.kind.name, total=len(RULES))
            said = subject.kind.name

            def tell(title: str, task: TaskID = task, said: str = said) -> None:
                bar.update(task, description=f"{said}: {title}", advance=1)

            certificates.append(asyncio.run(examine(subject, tell)))
    if as_json:
        show_json([asdict(each) | {"grade": each.grade.name.capitalize()} for each in certificates])
    else:
        for each in certificates:
            _show(each)
    sys.exit(0 if all(each.grade is Grade.GOLD for each in certificates) else 1)


def _show(certificate: Certificate) -> None:
    table = Table(title_justify="left", header_style="bold", show_lines=False)
    for column in ("grade", "rule", "", "what"):
        table.add_column(column, overflow="fold")
    for verdict in sorted(certificate.verdicts, key=lambda verdict: verdict.grade):
        table.add_row(verdict.grade.name.capitalize(), verdict.rule, *_told(verdict))
    stdout.print(table)
    grade = certificate.grade
    stdout.print(f"{certificate.driver}: {grade.name.capitalize()}", style=_STYLES[grade], highlight=False, end="")
    stdout.print(f"   {certificate.seconds:.0f} s", highlight=False)


def _told(verdict: Verdict) -> tuple[str, str]:
    if verdict.skipped:
        return "–", f"{verdict.title}: {verdict.skipped}"
    if verdict.broken:
        return "[red]✗[/]", "\n".join([verdict.title, *(f"  {each}" for each in verdict.broken), f"→ {verdict.remedy}"])
    return "[green]✓[/]", verdict.title
