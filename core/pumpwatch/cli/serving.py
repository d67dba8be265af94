"""``pumpwatch serve``: the engine and its API in one process, until told to stop."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import uvicorn

from pumpwatch.api import create_app
from pumpwatch.cli.output import DEFAULT_DATA, Config, Data, PluginsDir, UntilStdinCloses, stderr
from pumpwatch.cli.places import RUNNING, settings_for
from pumpwatch.clock import SystemClock
from pumpwatch.engine import Engine
from pumpwatch.errors import BadConfig
from pumpwatch.plugins import Plugins, PluginState
from pumpwatch.settings import Settings, resolve_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(serve)


def serve(
    data: Data = DEFAULT_DATA,
    config: Config = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the API; overrides the configuration.")] = None,
    plugins_dir: PluginsDir = None,
    until_stdin_closes: UntilStdinCloses = False,
) -> None:
    """Run the server: read devices, keep history, judge, raise alarms, answer the API."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    for quiet in ("apscheduler", "alembic", "pymodbus"):
        logging.getLogger(quiet).setLevel(logging.ERROR)
    settings = settings_for(data, config)
    plugins = Plugins.discover(settings.plugins.disabled, plugins_dir)
    for plugin in plugins.found:
        if plugin.state is PluginState.FAILED:
            stderr.print(f"plugin {plugin.name} is not loaded: {plugin.reason}", style="yellow", markup=False)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings, data, plugins, port, until_stdin_closes=until_stdin_closes))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop's where it is installed (the extra ``speed``): half the work for each byte of a line."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


class _Server(uvicorn.Server):
    """Uvicorn that leaves signals to us: one place decides when everything stops."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(
    settings: Settings, data: Path, plugins: Plugins, port: int | None, *, until_stdin_closes: bool
) -> None:
    host = settings.api.host
    token = resolve_secret(settings.api.token) if settings.api.token else None
    async with Engine.open(settings, data, plugins, SystemClock()) as engine:
        app = create_app(engine, token)
        with _listener(host, settings.api.port if port is None else port) as listener:
            server = _Server(
                uvicorn.Config(
                    app,
                    log_level="warning",
                    access_log=False,
                    server_header=False,
                    ws="websockets-sansio",
                    timeout_graceful_shutdown=2,
                )
            )
            stop = asyncio.Event()
            _stop_on_signals(stop, until_stdin_closes=until_stdin_closes)
            url = f"http://{_in_url(host)}:{listener.getsockname()[1]}"
            _spare_garbage_collection()
            with _announced(data, url):
                await _run(engine, app.state.feed.run, server, listener, stop)


async def _run(
    engine: Engine,
    feed: Callable[[], Coroutine[None, None, None]],
    server: _Server,
    listener: socket.socket,
    stop: asyncio.Event,
) -> None:
    """Engine, feed and server side by side; whoever ends first ends all."""
    tasks = [
        asyncio.create_task(engine.run(), name="engine"),
        asyncio.create_task(feed(), name="feed"),
        asyncio.create_task(server.serve(sockets=[listener]), name="api"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await asyncio.wait([tasks[2]], timeout=3)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [r for r in results if isinstance(r, Exception)]
    if errors:
        raise errors[0]


def _spare_garbage_collection() -> None:
    """Leave alone what lives as long as the server: full collections stopped every scan for a quarter of a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@contextmanager
def _listener(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise BadConfig(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port N") from error
    with listener:
        yield listener


@contextmanager
def _announced(data: Path, url: str) -> Iterator[None]:
    """Say in the data folder where the server is while it runs."""
    path = data / RUNNING
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"pid": os.getpid(), "api": url}), encoding="utf-8")
    part.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _stop_on_signals(stop: asyncio.Event, *, until_stdin_closes: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:

        def readable() -> None:
            if not os.read(sys.stdin.fileno(), 4096):
                loop.remove_reader(sys.stdin.fileno())
                stop.set()

        loop.add_reader(sys.stdin.fileno(), readable)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
