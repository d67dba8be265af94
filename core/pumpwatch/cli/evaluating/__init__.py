"""``pumpwatch evaluate``: how good the rules are, on simulated fleets or on a data set with its truth."""

from __future__ import annotations

import importlib.util
import json
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumpwatch.cli.evaluating.folder import data_folder
from pumpwatch.cli.evaluating.judging import jury
from pumpwatch.cli.evaluating.tables import print_tables
from pumpwatch.cli.keeping import bar
from pumpwatch.cli.output import AsJson, PluginsDir, show_json, stderr, stdout
from pumpwatch.engine import RuleBook
from pumpwatch.errors import BadConfig
from pumpwatch.evaluation import Source, merge, run, score
from pumpwatch.evaluation.page import performance_page
from pumpwatch.evaluation.report import report_page
from pumpwatch.evaluation.scoring import VERSION
from pumpwatch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

FLEETS = ("score-catalogue", "score-sizes", "score-honest")
"""What is judged when nothing is named."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(evaluate)


def evaluate(
    fleet: Annotated[
        list[str] | None,
        typer.Option("--fleet", help=f"Fleet file or name; several times. Default: {', '.join(FLEETS)}."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Judge each fleet with each of these.", metavar="1,2,3")
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option("--scenario", help="Only stations where these happen; * stands for anything.", metavar="F01,T*"),
    ] = None,
    data_set: Annotated[
        Path | None, typer.Option("--data-set", help="Judge a data set instead.", metavar="DIR")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Its truth; default DIR/truth.json.", metavar="FILE")
    ] = None,
    scores_of: Annotated[
        list[Path] | None,
        typer.Option("--scores", help="Judge nothing: show an evaluation.json, or several as one.", metavar="FILE"),
    ] = None,
    rules: Annotated[str | None, typer.Option("--rules", help="Only these rules.", metavar="NAME,NAME")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes that judge.")] = 2,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write evaluation.json and report.html there.", metavar="DIR")
    ] = None,
    publish: Annotated[
        Path | None, typer.Option("--publish", help="Write the table of performance.md there.", metavar="FILE")
    ] = None,
    plugins_dir: PluginsDir = None,
    as_json: AsJson = False,
) -> None:
    """Measure the rules: recall, delay, false alarms, attribution, causes and estimates, against the truth."""
    if scores_of:
        scores = merge([_read_scores(file) for file in scores_of])
    else:
        scores = _judged(
            fleet or [],
            _numbers(seeds),
            _listed(scenario),
            data_set,
            truth,
            _listed(rules),
            workers,
            plugins_dir,
            quiet=as_json,
        )
    for rule, why in scores["rules"]["failing"].items():
        stderr.print(f"rule {rule} fails: {why}", style="red", markup=False, highlight=False)
    if out is not None:
        _write(out / "evaluation.json", json.dumps(scores, ensure_ascii=False, indent=1) + "\n")
        _write(out / "report.html", report_page(scores))
    if publish is not None:
        _write(publish, performance_page(scores))
    if as_json:
        show_json(scores)
        return
    print_tables(scores, stdout)
    if out is not None:
        stdout.print(f"{out / 'report.html'} shows it with pictures.", highlight=False, soft_wrap=True)


def _judged(
    fleets: Sequence[str],
    seeds: Sequence[int],
    patterns: Sequence[str],
    data_set: Path | None,
    truth: Path | None,
    rules: Sequence[str],
    workers: int,
    plugins_dir: Path | None,
    *,
    quiet: bool,
) -> dict[str, Any]:
    began = time.monotonic()
    book = RuleBook(Settings(), plugins_dir).choose(rules)
    judging = sorted(rule.rule for rule in jury(book).rules)
    with ExitStack() as stack:
        sources: Sequence[Source]
        if data_set is not None:
            if fleets or seeds:
                raise BadConfig("--data-set has neither fleets nor seeds; leave --fleet and --seeds out")
            sources = [stack.enter_context(data_folder(data_set, truth, patterns, quiet=quiet))]
        elif truth is not None:
            raise BadConfig("--truth belongs to a data set; name its folder with --data-set DIR")
        else:
            sources = _fleets(fleets or FLEETS, seeds, patterns)
        progress = stack.enter_context(bar(quiet=quiet))
        task = progress.add_task("evaluating", total=None)

        def tell(what: str, done: int, of: int) -> None:
            progress.update(task, description=what, completed=done, total=of)

        scores = score(run(sources, partial(jury, book), workers, tell))
    scores["rules"]["on"] = judging
    scores["run"] = {"seconds": round(time.monotonic() - began, 1), "workers": workers}
    return scores


def _fleets(names: Sequence[str], seeds: Sequence[int], patterns: Sequence[str]) -> Sequence[Source]:
    if importlib.util.find_spec("pumpwatch_sim") is None:
        raise BadConfig(
            "the simulator is not installed; install the whole of pumpwatch, or name files with --data-set and --truth"
        )
    from pumpwatch.cli.evaluating.simulated import simulated  # noqa: PLC0415 - the simulator need not be installed

    return simulated(names, seeds, patterns)


def _listed(text: str | None) -> list[str]:
    return [each.strip() for each in (text or "").split(",") if each.strip()]


def _numbers(text: str | None) -> list[int]:
    words = _listed(text)
    if not all(word.isdecimal() for word in words):
        raise BadConfig(f"--seeds {text}: write whole numbers with commas between them, for example 1,2,3")
    return [int(word) for word in words]


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadConfig(f"{file}: cannot be written ({error.strerror}); name another place") from error


def _read_scores(file: Path) -> dict[str, Any]:
    """An ``evaluation.json`` of an earlier run. Raises ``BadConfig``."""
    try:
        scores: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if scores["version"] != VERSION:
            raise BadConfig(f"{file}: is of version {scores['version']}, not {VERSION}; evaluate anew")
    except OSError as error:
        raise BadConfig(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadConfig(f"{file}: is no evaluation.json") from error
    return scores
