"""The command line: ``python -m pumpwatch_sim serve|stop|start|status``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from pumpwatch.clock import SystemClock
from pumpwatch.errors import PumpwatchError
from pumpwatch_sim.county import STATION_COUNT
from pumpwatch_sim.live.control import tell
from pumpwatch_sim.live.serve import Options, serve


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code, 0 when all went well."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "serve":
            _serve(asked)
        else:
            order: dict[str, object] = {"do": asked.command}
            if asked.command != "status":
                order["station"] = asked.station
            sys.stdout.write(json.dumps(tell(asked.out, order), ensure_ascii=False) + "\n")
    except PumpwatchError as error:
        sys.stderr.write(f"pumpwatch_sim: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"pumpwatch_sim: {error}; is --out {asked.out} a folder one may write to?\n")
        return 1
    return 0


def _serve(asked: argparse.Namespace) -> None:
    options = Options(
        out=asked.out,
        stations=asked.stations,
        seed=asked.seed,
        cheats=asked.cheats,
        demand=asked.demand,
        us_gauges=frozenset(asked.us_gauge),
        until_stdin_closes=asked.until_stdin_closes,
    )
    asyncio.run(serve(options, SystemClock(), _announce))


def _announce(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pumpwatch_sim", description="A simulated county of filling stations.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serving = commands.add_parser("serve", help="simulate until interrupted")
    _add_out(serving, "folder for sim.json, truth.json and ledger/")
    serving.add_argument(
        "--stations", type=int, default=STATION_COUNT, metavar="N", help="how many (default %(default)s)"
    )
    serving.add_argument("--seed", type=int, default=1, help="which county (default %(default)s)")
    serving.add_argument("--demand", type=float, default=1.0, metavar="X", help="factor on the customers (default 1)")
    serving.add_argument("--no-cheats", dest="cheats", action="store_false", help="an honest county")
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
    for name, words in (("stop", "take a station off the network"), ("start", "bring a stopped station back")):
        command = commands.add_parser(name, help=words)
        command.add_argument("station", metavar="STATION", help="its id, for example S07")
        _add_out(command, "the running simulator's folder")
    _add_out(commands.add_parser("status", help="what the running simulator does"), "the running simulator's folder")
    return parser


def _add_out(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=words)


if __name__ == "__main__":
    raise SystemExit(main())
