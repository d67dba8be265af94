"""``pumpwatch driver new``: a package of its own whose tests are green at once."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.cli.output import stdout
from pumpwatch.errors import BadConfig

_NAME = re.compile(r"[a-z][a-z0-9]{1,30}")


def add_to(group: typer.Typer) -> None:
    """Register the command."""
    group.command()(new)


def new(
    name: Annotated[str, typer.Argument(help="Its name: small letters and digits, for example `acme`.")],
    into: Annotated[Path, typer.Option("--into", help="Folder to make it in.", metavar="DIR")] = Path(),
) -> None:
    """Make the package of a new driver: a codec, a driver, papers, a captured testcase and tests."""
    if not _NAME.fullmatch(name):
        raise BadConfig(f"{name!r} cannot be a driver's name; use small letters and digits, a letter first, at most 31")
    project = into / f"pumpwatch-{name}"
    if project.exists():
        raise BadConfig(f"{project} is there already; choose another name or --into another folder")
    written = 0
    for path, text in _template():
        file = project / path.replace("NAME", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("NAME", name).replace("Name", name.capitalize()), encoding="utf-8")
        written += 1
    stdout.print(f"{project}: {written} files. Now:", highlight=False, soft_wrap=True)
    stdout.print(f"  pip install -e {project}", highlight=False, soft_wrap=True)
    stdout.print(f"  pytest {project}", highlight=False, soft_wrap=True)
    stdout.print(f"  pumpwatch driver certify {project / f'pumpwatch_{name}'}", highlight=False, soft_wrap=True)


def _template() -> list[tuple[str, str]]:
    """Paths and texts of the files."""
    root = files("pumpwatch.cli.driving") / "template"
    found: list[tuple[str, str]] = []
    waiting = [("", root)]
    while waiting:
        path, folder = waiting.pop()
        for item in folder.iterdir():
            name = f"{path}{item.name}"
            if item.is_dir():
                waiting.append((f"{name}/", item))
            elif item.name.endswith(".txt"):
                found.append((name.removesuffix(".txt"), item.read_text(encoding="utf-8")))
    return sorted(found)
