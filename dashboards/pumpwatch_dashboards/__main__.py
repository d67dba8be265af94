"""``python -m pumpwatch_dashboards``: serve the dashboards until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

from pumpwatch.clock import SystemClock
from pumpwatch.errors import PumpwatchError
from pumpwatch_dashboards.server import serving

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and serve; returns the process's exit code."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for noisy in ("bokeh", "tornado", "httpx", "panel"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if asked.host not in _LOOPBACK:
        logging.getLogger(__name__).warning(
            "serving on %s: the dashboards ask for no password, so anyone who reaches them may acknowledge alarms",
            asked.host,
        )
    try:
        asyncio.run(_serve(asked))
    except PumpwatchError as error:
        sys.stderr.write(f"pumpwatch_dashboards: {error}\n")
        return 2
    return 0


async def _serve(asked: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if asked.until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), _hear, stop)
    async with serving(
        asked.api,
        host=asked.host,
        port=asked.port,
        token=os.environ.get("PUMPWATCH_TOKEN") or None,
        origins=asked.origin,
        clock=SystemClock(),
    ) as running:
        for name in (signal.SIGINT, signal.SIGTERM):  # after Panel has set its own, which would break the loop off
            loop.add_signal_handler(name, stop.set)
        sys.stdout.write(f"dashboards on {running.url}\n")
        sys.stdout.flush()
        await stop.wait()


def _hear(stop: asyncio.Event) -> None:
    """Stop when whoever started us has gone."""
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pumpwatch_dashboards",
        description="Wall, station and alarm pages of a pumpwatch server.",
        epilog="A token for the API is read from the environment variable PUMPWATCH_TOKEN; it never reaches a browser.",
    )
    parser.add_argument("--api", default="http://127.0.0.1:8081", metavar="URL", help="the API (default %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port, 0 for a free one (default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (default %(default)s)")
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a further name browsers call this server by, as behind a proxy; may be repeated",
    )
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when standard input is closed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
