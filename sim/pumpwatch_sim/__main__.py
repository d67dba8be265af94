"""The command line: ``python -m pumpwatch_sim serve|generate|stop|start|fault|clear|status``."""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from pumpwatch.clock import SystemClock
from pumpwatch.errors import PumpwatchError
from pumpwatch_sim.fleets import fleet_path
from pumpwatch_sim.live.control import tell
from pumpwatch_sim.live.faults import FaultKind
from pumpwatch_sim.live.serve import Options, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_FOLDER_ERRORS = {errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EPERM, errno.EEXIST}
_INTERRUPTED = 130
"""Exit code of a program that Ctrl-C ended, as shells have it."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code, 0 when all went well."""
    asked = _parser().parse_args(arguments)
    try:
        match asked.command:
            case "serve":
                _serve(asked)
            case "generate":
                _generate(asked)
            case _:
                sys.stdout.write(json.dumps(tell(asked.out, _order(asked)), ensure_ascii=False) + "\n")
    except PumpwatchError as error:
        sys.stderr.write(f"pumpwatch_sim: {error}\n")
        return 1
    except OSError as error:
        asks = f"; is --out {asked.out} a folder one may write to?" if error.errno in _FOLDER_ERRORS else ""
        sys.stderr.write(f"pumpwatch_sim: {error}{asks}\n")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _serve(asked: argparse.Namespace) -> None:
    options = Options(
        out=asked.out,
        fleet=asked.fleet,
        speed=asked.speed,
        stations=asked.stations,
        seed=asked.seed,
        cheats=asked.cheats,
        demand=asked.demand,
        us_gauges=frozenset(asked.us_gauge),
        until_stdin_closes=asked.until_stdin_closes,
    )
    with _progress("making the first week") as progress:
        asyncio.run(serve(options, SystemClock(), _announce, progress))


def _generate(asked: argparse.Namespace) -> None:
    from pumpwatch_sim.dataset.generate import generate  # noqa: PLC0415 - what writes Parquet is slow to load

    with _progress("making the data set") as progress:
        rows = generate(fleet_path(asked.fleet), asked.out, asked.format, asked.workers, progress)
    sys.stdout.write(json.dumps({"out": str(asked.out), "rows": rows}, ensure_ascii=False) + "\n")


def _order(asked: argparse.Namespace) -> dict[str, object]:
    """What goes to the running simulator; options left out are not sent."""
    names = ("station", "protocol", "kind", "share", "for_s", "delay_s")
    given = {name: getattr(asked, name, None) for name in names}
    return {"do": asked.command} | {name: value for name, value in given.items() if value is not None}


@contextmanager
def _progress(words: str) -> Iterator[Callable[[int, int], object]]:
    """A bar on a terminal that is gone when all stations are done; nothing elsewhere."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(words)

        def progress(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)
            if done == of:
                bar.stop()
            elif not bar.live.is_started and not bar.disable:
                bar.start()

        yield progress


def _announce(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pumpwatch_sim", description="A simulated county of filling stations.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="show the world on real wires until interrupted"))

    generating = commands.add_parser("generate", help="write the world as a data set")
    _add_fleet(generating, "county")
    generating.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    generating.add_argument("--format", choices=("parquet", "csv"), default="parquet", help="default: %(default)s")
    generating.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default %(default)s)")

    for name, words in (("stop", "take a station off the network"), ("start", "bring a stopped station back")):
        command = commands.add_parser(name, help=words)
        command.add_argument("station", metavar="STATION", help="its id, for example S07")
        _add_out(command, "the running simulator's folder")

    fault = commands.add_parser("fault", help="spoil the wires of a station")
    _add_line(fault)
    fault.add_argument("--kind", required=True, choices=[kind.value for kind in FaultKind], help="what goes wrong")
    fault.add_argument("--share", type=float, metavar="X", help="share of the replies, 0 to 1 (default 1)")
    fault.add_argument("--for", dest="for_s", type=float, metavar="S", help="so many seconds; default: until cleared")
    fault.add_argument("--delay", dest="delay_s", type=float, metavar="S", help="of the kind delay (default 1 s)")
    clear = commands.add_parser("clear", help="make the wires of a station whole again")
    _add_line(clear)
    clear.add_argument("--kind", choices=[kind.value for kind in FaultKind], help="this kind alone")

    _add_out(commands.add_parser("status", help="what the running simulator does"), "the running simulator's folder")
    return parser


def _add_serve(serving: argparse.ArgumentParser) -> None:
    _add_out(serving, "folder for sim.json, truth.json and ledger/")
    _add_fleet(serving, "demo")
    serving.add_argument("--speed", type=float, default=1.0, metavar="X", help="world seconds a second (default 1)")
    serving.add_argument("--stations", type=int, metavar="N", help="how many instead of the fleet's")
    serving.add_argument("--seed", type=int, metavar="N", help="another seed is another county")
    serving.add_argument("--demand", type=float, metavar="X", help="further factor on the customers (default 1)")
    serving.add_argument("--no-cheats", dest="cheats", action="store_false", help="without the fleet's scenarios")
    serving.add_argument(
        "--us-gauge",
        action="append",
        default=[],
        metavar="STATION",
        help="this station's tank gauge reports gallons, inches and degrees Fahrenheit; may be repeated",
    )
    serving.add_argument(
        "--until-stdin-closes", action="store_true", help="end when standard input does, as a child process should"
    )


def _add_fleet(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--fleet",
        default=default,
        metavar="FLEET",
        help="a fleet file, or the name of one that comes along (%(default)s)",
    )


def _add_line(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("station", metavar="STATION", help="its id, for example S07")
    parser.add_argument("--protocol", metavar="NAME", help="one line of it; default: all")
    _add_out(parser, "the running simulator's folder")


def _add_out(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=words)


if __name__ == "__main__":
    raise SystemExit(main())
