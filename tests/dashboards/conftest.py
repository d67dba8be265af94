"""A stand-in API and a real dashboards process beside it, shared by all tests here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

HERE = Path(__file__).parent
TOKEN = "stand-in-token-7f3a"


class Process:
    """A process that says on its first line where it serves, and ends when told."""

    def __init__(self, *command: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | environment,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1].rstrip("/")

    def end(self) -> int:
        """Close its standard input, which ends the dashboards; the stand-in has been told to stop before."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process.stdout.close()
        return code


@pytest.fixture(scope="session")
def stand_in() -> Iterator[str]:
    """Address of the stand-in API; its time stands still."""
    process = Process(str(HERE / "stand_in_api.py"), "--port", "0", "--freeze", "--token", TOKEN)
    yield process.url
    process.process.terminate()
    process.end()


@pytest.fixture(scope="session")
def dashboards(stand_in: str) -> Iterator[str]:
    """Address of a real dashboards process that shows the stand-in's county."""
    command = ("-m", "pumpwatch_dashboards", "--api", stand_in, "--port", "0", "--until-stdin-closes")
    process = Process(*command, PUMPWATCH_TOKEN=TOKEN)
    yield process.url
    assert process.end() == 0


@pytest.fixture(scope="session")
def control(stand_in: str) -> Iterator[Callable[..., list[dict[str, str]]]]:
    """Tell the stand-in what to show; gives back the acts it was told of since the last call."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=stand_in, headers=headers, trust_env=False, timeout=60) as client:

        def tell(what: str, **query: str | int) -> list[dict[str, str]]:
            answer = client.post(f"/stand-in/{what}", params=query)
            answer.raise_for_status()
            acts: list[dict[str, str]] = answer.json()
            return acts

        yield tell


@pytest.fixture
def county(control: Callable[..., list[dict[str, str]]]) -> Iterator[Callable[..., list[dict[str, str]]]]:
    """``control``, with the ordinary county put back afterwards."""
    yield control
    control("show")
