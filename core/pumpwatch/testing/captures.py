"""Captured bytes as folders: what a device said, and what its driver must make of it.

A folder of ``testcases/`` holds

``capture.hex``
    Lines of hex: ``>`` what is sent, then ``<`` what comes back; a reply may take several lines. Or, for a line that
    is only listened to, ``=`` what passes. ``#`` begins a remark. A field that a device only echoes, such as a
    transaction id, may differ from the capture: the reply then has the one that was asked with.

``expected.toml``
    ``now``, ``[settings]`` and ``[site]`` (nozzles, tanks) of the device, ``read`` (tags to ask for; all if it is left
    out), then what must come: ``[samples]`` (tag to value), ``[qualities]`` (of all samples that are not GOOD),
    ``[at]`` (tag to time), ``[[records]]`` (all, in order: kind and any of their fields), or ``[error]`` with kind and
    a part of its text. ``checksum = false`` says that its frames carry none, so that some damage cannot be seen.

A device that calls the server has, instead of ``capture.hex``,

``call.http``
    What it sent, as it passed: request line, headers, an empty line, the body. Its ``expected.toml`` has ``status``
    (of the answer; 200 if it is left out) instead of ``read``.

A driver whose library opens the connection has neither: its ``expected.toml`` says ``served = true``, and beside the
folders stands a ``device.py`` with ``serve(case)``, an async context manager that gives the address of a small server.

Beside the folders there may be a ``device.py`` with ``refuse(request: bytes) -> bytes``: what the device says to a
request that is not in the capture. Without it, it says nothing.
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pumpwatch.contracts import Call, Site
from pumpwatch.errors import BadConfig
from pumpwatch.model import Quality

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from types import ModuleType

    from pumpwatch.contracts import Driver, Line
    from pumpwatch.model import Reading, Sample, Tag

Refuse = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Capture:
    """The bytes of one capture."""

    exchanges: Sequence[tuple[bytes, bytes]]
    """What was asked and what came back."""
    passed: bytes = b""
    """What passed on a line that was listened to."""

    @classmethod
    def parse(cls, text: str, name: str = "capture.hex") -> Capture:
        """Read the lines; raises ``BadConfig`` naming the line."""
        exchanges: list[tuple[bytes, bytes]] = []
        passed = bytearray()
        for number, line in enumerate(text.splitlines(), 1):
            mark, rest = (line.partition("#")[0].strip() + " ")[0], line.partition("#")[0].strip()[1:]
            if not line.partition("#")[0].strip():
                continue
            if mark not in "<>=":
                mark, rest = "<", mark + rest
            try:
                data = bytes.fromhex(rest)
            except ValueError:
                raise BadConfig(f"{name}, line {number}: {line!r} is no hex; write pairs of 0-9 A-F") from None
            if mark == "=":
                passed += data
            elif mark == ">":
                exchanges.append((data, b""))
            elif exchanges:
                exchanges[-1] = (exchanges[-1][0], exchanges[-1][1] + data)
            else:
                raise BadConfig(f"{name}, line {number}: an answer before anything was asked; begin with a `>` line")
        return cls(tuple(exchanges), bytes(passed))

    def answer(self, request: bytes) -> bytes | None:
        """What the device said to this; None when it was not asked so."""
        for asked, reply in self.exchanges:
            if asked == request:
                return reply
        for asked, reply in self.exchanges:
            if len(asked) == len(request) and (moved := _echoed(asked, reply, request)) is not None:
                return moved
        return None


def _echoed(asked: bytes, reply: bytes, request: bytes) -> bytes | None:
    """The reply to ``request``, if it differs from ``asked`` only in two bytes at the front, which may be echoed."""
    if asked[2:] != request[2:]:
        return None
    return request[:2] + reply[2:] if reply[:2] == asked[:2] else reply


@dataclass(frozen=True)
class TestCase:
    """One folder."""

    __test__ = False
    folder: Path
    capture: Capture
    expected: Mapping[str, Any] = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> TestCase:
        """Read a folder; raises ``BadConfig`` naming the file."""
        try:
            expected = tomllib.loads((folder / "expected.toml").read_text(encoding="utf-8"))
            text = "" if expected.get("served") else (folder / "capture.hex").read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BadConfig(f"{folder}: {error}; a testcase is a folder with capture.hex and expected.toml") from error
        if not isinstance(expected.get("now"), datetime):
            raise BadConfig(f"{folder}/expected.toml: `now` is missing; write a time with its offset, as it was then")
        return cls(folder, Capture.parse(text, str(folder / "capture.hex")), expected)

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @property
    def now(self) -> datetime:
        """When it was."""
        now: datetime = self.expected["now"]
        return now

    @property
    def fails(self) -> bool:
        """Whether an error is what must come."""
        return "error" in self.expected

    @property
    def has_checksum(self) -> bool:
        """Whether its frames carry one."""
        return bool(self.expected.get("checksum", True))

    @cached_property
    def refuse(self) -> Refuse | None:
        """What the device says to what is not in the capture."""
        refuse: Refuse | None = getattr(self._device, "refuse", None)
        return refuse

    def serve(self) -> AbstractAsyncContextManager[str]:
        """A server as the case has it, and its address. Raises ``BadConfig``."""
        if (serve := getattr(self._device, "serve", None)) is None:
            raise BadConfig(f"{self.folder.parent}/device.py: serve(case) is missing; it gives the address of a server")
        server: AbstractAsyncContextManager[str] = serve(self)
        return server

    @cached_property
    def _device(self) -> ModuleType | None:
        file = self.folder.parent / "device.py"
        if not file.is_file():
            return None
        spec = importlib.util.spec_from_file_location(f"pumpwatch_device_{self.folder.parent.parent.name}", file)
        if spec is None or spec.loader is None:
            raise BadConfig(f"{file} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def answer(self, request: bytes) -> bytes | None:
        """What the device says."""
        reply = self.capture.answer(request)
        return self.refuse(request) if reply is None and self.refuse is not None else reply

    def driver(self, kind: type[Driver], line: Line) -> Driver:
        """A driver for this device. Raises ``BadConfig`` and what pydantic raises."""
        return _driver(self.expected, kind, line)

    def tags(self, driver: Driver) -> list[Tag]:
        """Those to ask for."""
        tags = {tag.name: tag for tag in driver.tags()}
        names = self.expected.get("read", list(tags))
        if unknown := [name for name in names if name not in tags]:
            raise BadConfig(f"{self.folder}/expected.toml: the driver has no tag {unknown[0]!r}")
        return [tags[name] for name in names]

    def differences(self, outcome: Reading | Exception, *, again: bool = False) -> list[str]:
        """What came and should not have, or the other way; nothing when all is as expected.

        ``again``: it was read before, so that records may have been told already.
        """
        if isinstance(outcome, Exception):
            wanted = self.expected.get("error")
            if wanted is None:
                return [f"{type(outcome).__name__}: {outcome}"]
            said = type(outcome).__name__ == wanted["kind"] and wanted.get("says", "") in str(outcome)
            return [] if said else [f"{outcome!r} instead of {wanted['kind']}({wanted.get('says', '')!r})"]
        if self.fails:
            return [f"values instead of {self.expected['error']['kind']}"]
        found = _samples(self.expected, outcome.samples)
        return found if again else [*found, *_records(self.expected, outcome.records)]


@dataclass(frozen=True)
class CallCase:
    """One folder of a device that calls."""

    folder: Path
    call: Call = field(repr=False)
    expected: Mapping[str, Any] = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> CallCase:
        """Read a folder; raises ``BadConfig`` naming the file."""
        try:
            expected = tomllib.loads((folder / "expected.toml").read_text(encoding="utf-8"))
            sent = (folder / "call.http").read_bytes()
        except (OSError, ValueError) as error:
            raise BadConfig(f"{folder}: {error}; a testcase is a folder with call.http and expected.toml") from error
        if not isinstance(expected.get("now"), datetime):
            raise BadConfig(f"{folder}/expected.toml: `now` is missing; write a time with its offset, as it was then")
        return cls(folder, _call(sent, folder / "call.http"), expected)

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @property
    def now(self) -> datetime:
        """When it was."""
        now: datetime = self.expected["now"]
        return now

    @property
    def status(self) -> int:
        """What it is answered."""
        return int(self.expected.get("status", 200))

    @property
    def has_checksum(self) -> bool:
        """Whether its body is signed."""
        return bool(self.expected.get("checksum", True))

    def driver(self, kind: type[Driver], line: Line) -> Driver:
        """A driver for this device. Raises ``BadConfig`` and what pydantic raises."""
        return _driver(self.expected, kind, line)

    def differences(self, status: int, brought: Reading) -> list[str]:
        """What came and should not have, or the other way; nothing when all is as expected."""
        found = [] if status == self.status else [f"the answer is {status}, not {self.status}"]
        return [*found, *_samples(self.expected, brought.samples), *_records(self.expected, brought.records)]


def _call(sent: bytes, file: Path) -> Call:
    head, gap, body = sent.replace(b"\r\n", b"\n").partition(b"\n\n")
    request, *lines = head.decode("latin-1").splitlines() or [""]
    words = request.split()
    if len(words) != 3 or not gap:
        raise BadConfig(f"{file}: no request; write `POST /call/S01/D1 HTTP/1.1`, headers, an empty line and the body")
    pairs = (line.partition(":") for line in lines)
    return Call(words[0], {name.strip().lower(): value.strip() for name, _, value in pairs}, body, words[1])


def _driver(expected: Mapping[str, Any], kind: type[Driver], line: Line) -> Driver:
    where = expected.get("site", {})
    site = Site("S01", "D1", "S01-D1", tuple(where.get("nozzles", ())), tuple(where.get("tanks", ())))
    return kind(kind.Settings.model_validate(expected.get("settings", {})), site, line)


def _samples(expected: Mapping[str, Any], samples: Sequence[Sample]) -> list[str]:
    last = {sample.tag: sample for sample in samples}
    found = []
    for tag, value in expected.get("samples", {}).items():
        given = last[tag].value if tag in last else "nothing"
        if not _same(given, value):
            found.append(f"{tag} is {given!r}, not {value!r}")
    bad = {tag: sample.quality.name for tag, sample in last.items() if sample.quality is not Quality.GOOD}
    if bad != expected.get("qualities", {}):
        found.append(f"bad are {bad}, not {expected.get('qualities', {})}")
    for tag, at in expected.get("at", {}).items():
        if tag not in last or last[tag].at != at:
            found.append(f"{tag} is of {last[tag].at if tag in last else None}, not {at}")
    return found


def _records(expected: Mapping[str, Any], records: Sequence[object]) -> list[str]:
    wanted = expected.get("records", [])
    kinds, given = [each["kind"] for each in wanted], [type(record).__name__ for record in records]
    if kinds != given:
        return [f"the records are {given}, not {kinds}"]
    return [
        f"{each['kind']}.{name} is {_field(record, name)!r}, not {value!r}"
        for record, each in zip(records, wanted, strict=True)
        for name, value in each.items()
        if name != "kind" and not _same(_field(record, name), value)
    ]


def _field(record: object, name: str) -> object:
    value = getattr(record, name.removesuffix("_hex"), "nothing")
    return value.hex(" ") if isinstance(value, bytes) and name.endswith("_hex") else value


def _same(given: object, wanted: object) -> bool:
    if isinstance(wanted, float) and isinstance(given, int | float):
        return math.isclose(given, wanted, rel_tol=1e-6)
    if isinstance(wanted, dict) and isinstance(given, Mapping):
        return all(name in given and _same(given[name], value) for name, value in wanted.items())
    if isinstance(wanted, str) and isinstance(given, str) and given != wanted:
        return given.replace(" ", "") == wanted.replace(" ", "").lower()
    return given == wanted


def load_cases(folder: Path, *, served: bool = False) -> list[TestCase]:
    """Every testcase with bytes, or every ``served`` one, below a folder ``testcases/``, by name."""
    files = sorted(folder.glob("*/expected.toml"))
    cases = [TestCase.load(file.parent) for file in files if not (file.parent / "call.http").exists()]
    return [case for case in cases if bool(case.expected.get("served")) == served]


def load_calls(folder: Path) -> list[CallCase]:
    """Every call below a folder ``testcases/``, by name."""
    return [CallCase.load(file.parent) for file in sorted(folder.glob("*/call.http"))]


@dataclass
class Misbehaviour:
    """What a replayed device does wrong; nothing unless it is set."""

    silent: bool = False
    """It takes requests and says nothing."""
    damage: Callable[[bytes], bytes] = bytes
    """What becomes of each reply on its way."""
    hangs_up_after: int | None = None
    """Replies after which it ends the connection."""
    chunk: int = 1 << 16
    """Bytes it sends at a time."""
    before: bytes = b""
    """What it sends before each reply."""


class ReplayDevice:
    """A capture as a device on a TCP port of this machine: it answers as was recorded, whoever asks."""

    def __init__(self, case: TestCase, misbehaviour: Misbehaviour | None = None) -> None:
        self.case = case
        self.misbehaviour = misbehaviour or Misbehaviour()
        self.asked: list[bytes] = []
        """Every request so far."""
        self.connections = 0

    @asynccontextmanager
    async def on_tcp(self, port: int = 0) -> AsyncIterator[str]:
        """The address it is at, as long as it is there."""
        busy: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            busy[asyncio.current_task()] = writer
            self.connections += 1
            with suppress(ConnectionError):
                await self._talk(reader, writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", port)
        try:
            yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for writer in busy.values():
                writer.transport.abort()
            await asyncio.gather(*(task for task in busy if task is not None), return_exceptions=True)
            await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.case.capture.passed:
            await self._send(writer, self.case.capture.passed)
            return
        pending, answered = b"", 0
        while data := await reader.read(1 << 16):
            pending += data
            reply = self.case.answer(pending)
            if reply is None and any(asked.startswith(pending) for asked, _ in self.case.capture.exchanges):
                continue
            self.asked.append(pending)
            pending = b""
            if reply is None or self.misbehaviour.silent:
                continue
            await self._send(writer, self.misbehaviour.before + self.misbehaviour.damage(reply))
            answered += 1
            if answered == self.misbehaviour.hangs_up_after:
                return

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for start in range(0, len(data), self.misbehaviour.chunk):
            writer.write(data[start : start + self.misbehaviour.chunk])
            await writer.drain()
            if self.misbehaviour.chunk < len(data):
                await asyncio.sleep(0)
