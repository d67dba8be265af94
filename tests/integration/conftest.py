"""Real servers for the integration tests: the whole demo as a user starts it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest


def free_ports() -> int:
    """The first of two neighbouring free ports, outside the range from which the system deals them to everybody."""
    for port in random.SystemRandom().sample(range(20_000, 32_000, 2), 100):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two free ports")


def wait_for(what: str, ready: Callable[[], Any], seconds: float) -> Any:
    """Poll until ``ready`` gives something true; what it gave."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := ready():
                return found
        except (httpx.HTTPError, OSError, ValueError, LookupError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"no {what} within {seconds:g} s")


def children_of(pid: int) -> dict[str, int]:
    """Child processes by the module or command they run."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except (OSError, IndexError):
                continue
            if parent == pid and "-m" in words:
                found[words[words.index("-m") + 1]] = int(entry.name)
    return found


@dataclass
class Demo:
    """A running demo and what can be asked of it."""

    process: subprocess.Popen[bytes]
    port: int
    data: Path
    started: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, route: str, **parameters: Any) -> Any:
        answer = httpx.get(f"http://127.0.0.1:{self.port + 1}/api/v1{route}", params=parameters, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: dict[str, str]) -> httpx.Response:
        return httpx.post(f"http://127.0.0.1:{self.port + 1}/api/v1{path}", json=body, timeout=30)

    def alarms(self) -> dict[str, Any]:
        """Current alarms by rule."""
        return {a["rule"]: a for a in self.get("/alarms")}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pumpwatch", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    def truth(self) -> list[dict[str, Any]]:
        return json.loads((self.data / "sim" / "truth.json").read_text())["items"]


def start_demo(data: Path, *options: str) -> Demo:
    """Start ``pumpwatch demo`` as a user does and wait for the address; what it says is in a file beside its data."""
    port = free_ports()
    began = time.monotonic()
    words = ["demo", "--port", str(port), "--data", str(data), "--no-browser", *options]
    said = data.with_suffix(".log")
    with said.open("w") as file:  # a pipe that nobody empties would stop it
        process = subprocess.Popen(
            [sys.executable, "-m", "pumpwatch", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    demo = Demo(process, port, data, began)
    while process.poll() is None:
        if f"127.0.0.1:{port}/" in said.read_text():
            return demo
        time.sleep(0.1)
    raise AssertionError("the demo did not start:\n" + said.read_text())


def stop_demo(demo: Demo) -> None:
    if demo.process.poll() is None:
        demo.process.send_signal(signal.SIGINT)
        try:
            demo.process.wait(30)
        except subprocess.TimeoutExpired:
            demo.process.kill()
            demo.process.wait()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Five stations with the three cheats, shared by all integration tests."""
    running = start_demo(tmp_path_factory.mktemp("demo") / "var", "--stations", "5")
    yield running
    stop_demo(running)


@pytest.fixture(name="wait_for", scope="session")
def _wait_for() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(name="children_of", scope="session")
def _children_of() -> Callable[[int], dict[str, int]]:
    return children_of


@pytest.fixture(name="start_demo")
def _start_demo() -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def start(data: Path, *options: str) -> Demo:
        started.append(start_demo(data, *options))
        return started[-1]

    yield start
    for demo in started:
        stop_demo(demo)
