"""What the rules ask of a driver whose devices call the server: damaged bodies, strangers, repetition, our clock."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pumpwatch.errors import PumpwatchError
from pumpwatch.model import Reading, Transaction
from pumpwatch.testing.certifying.bench import Sale, open_files, sale_of
from pumpwatch.testing.certifying.papers import NoLine
from pumpwatch.testing.certifying.subject import NotApplicableError, Subject, Way, also

if TYPE_CHECKING:
    from collections.abc import Callable

    from pumpwatch.contracts import Call, Driver
    from pumpwatch.testing.captures import CallCase

MOST_BYTES: Final = 1 << 20
"""Of a body that the server hands on."""
MOST_KEPT: Final = 4 << 20
"""Bytes that may be held after hostile bodies of 2 MiB."""
BUSY_S: Final = 0.05
"""So much work a call may make; meanwhile no other device is served."""
_SHAPES: Final = (b"", b"null", b"7", b'"text"', b"[]", b"{}", b"[null]", b"<a/>")
_PLACES: Final = 60
"""At which a body is damaged."""


def _made(subject: Subject, case: CallCase) -> Driver:
    return case.driver(subject.kind, NoLine("call:"))


def _good(subject: Subject) -> list[CallCase]:
    return [case for case in subject.calls if case.status < 300]


def _sales(brought: Reading) -> set[Sale]:
    return {sale_of(record) for record in brought.records if isinstance(record, Transaction)}


def _brought(driver: Driver, call: Call, case: CallCase, later: timedelta = timedelta(0)) -> Reading:
    """What a call brings; nothing where it is refused as a driver may refuse it."""
    try:
        answer, brought = driver.called(call, case.now + later)
    except PumpwatchError:
        return Reading()
    return brought if answer.status < 300 else Reading()


def _damaged(subject: Subject, what: str, bodies: Callable[[CallCase], list[bytes]], *, told: bool) -> list[str]:
    """Bodies as they should not be: no other error than those of pumpwatch; no sale that never was, where ``told``."""
    found: list[str] = []
    for case in _good(subject):
        right = _sales(_brought(_made(subject, case), case.call, case))
        driver = _made(subject, case)
        for number, body in enumerate(bodies(case)):
            try:
                brought = _brought(driver, replace(case.call, body=body), case)
            except Exception as error:  # the driver is a plugin: it may raise anything
                found.append(f"{case.name}, {what} {number}: {error!r:.200}")
                break
            if told and (wrong := _sales(brought) - right):
                found.append(f"{case.name}, {what} {number}: a sale that never was: {wrong.pop()}")
                break
    return found


@also("testcases", Way.CALL)
async def _cases(subject: Subject) -> list[str]:
    if not _good(subject):
        return ["there is no testcases/NAME/ with call.http and expected.toml that is answered with 200"]
    found = []
    for case in subject.calls:
        try:
            answer, brought = _made(subject, case).called(case.call, case.now)
        except PumpwatchError as error:
            found.append(f"{case.name}: {error!r}")
        else:
            found += [f"{case.name}: {difference}" for difference in case.differences(answer.status, brought)[:3]]
    return found


@also("silence", Way.CALL)
async def _silence(subject: Subject) -> list[str]:
    found = []
    for case in _good(subject):
        driver = _made(subject, case)
        await driver.connect()
        try:
            reading = await driver.read(driver.tags(), case.now)
        except PumpwatchError:
            continue
        finally:
            await driver.close()
        if reading.records or any(sample.quality.is_good for sample in reading.samples):
            found.append(f"{case.name}: good values although the device has not called")
    return found


@also("short_frames", Way.CALL)
async def _short(subject: Subject) -> list[str]:
    return _damaged(subject, "cut", lambda case: [case.call.body[:n] for n in _places(case)], told=True)


@also("checksum", Way.CALL)
async def _garbled(subject: Subject) -> list[str]:
    if not any(case.has_checksum for case in _good(subject)):
        raise NotApplicableError("its bodies are not signed, as its testcases say")
    return _damaged(
        subject,
        "flipped",
        lambda case: [_flipped(case, n) for n in _places(case)] if case.has_checksum else [],
        told=True,
    )


@also("whose_answer", Way.CALL)
async def _strangers(subject: Subject) -> list[str]:
    """A call that does not show what the device shows brings nothing."""
    found = []
    for case in _good(subject):
        for headers in ({}, {name: value[::-1] for name, value in case.call.headers.items()}):
            brought = _brought(_made(subject, case), replace(case.call, headers=headers), case)
            if brought.records or brought.samples:
                found.append(f"{case.name}: a stranger's call is believed; ask for credentials")
                break
    return found


@also("repeated", Way.CALL)
async def _repeated(subject: Subject) -> list[str]:
    """As after an answer that was lost; also when the server has been started anew meanwhile."""
    found = []
    for case in _good(subject):
        driver = _made(subject, case)
        first = _brought(driver, case.call, case)
        for how, again in (("again", driver), ("after a restart", _made(subject, case))):
            brought = _brought(again, case.call, case, timedelta(minutes=5))
            if _sales(brought) != _sales(first):
                found.append(f"{case.name}, called {how}: the sales are others")
    return found


@also("noise", Way.CALL)
async def _noise(subject: Subject) -> list[str]:
    """Random bytes, flipped bits, other shapes, and structures without end."""

    def bodies(case: CallCase) -> list[bytes]:
        dice = random.Random(case.name)  # noqa: S311 - the same noise each time
        noise = [dice.randbytes(dice.choice((1, 3, 8, 64, 300))) for _ in range(_PLACES)]
        return [*noise, *_SHAPES, *_endless()]

    def flipped(case: CallCase) -> list[bytes]:
        return [_flipped(case, n) for n in _places(case)]

    return _damaged(subject, "noise", bodies, told=True) + _damaged(subject, "flipped", flipped, told=False)


@also("bounded", Way.CALL)
async def _bounded(subject: Subject) -> list[str]:
    found = []
    for case in _good(subject)[:1]:
        driver = _made(subject, case)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for body in _endless():
            _brought(driver, replace(case.call, body=body), case)
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        if kept > MOST_KEPT:
            found.append(f"{case.name}: {kept / 1e6:.1f} MB are kept after bodies that make no sense")
    return found


@also("leaves_nothing", Way.CALL)
async def _leaves_nothing(subject: Subject) -> list[str]:
    before = open_files()
    for case in _good(subject):
        for _ in range(5):
            driver = _made(subject, case)
            await driver.connect()
            _brought(driver, case.call, case)
            await driver.close()
    gc.collect()
    left = open_files() - before
    return [f"{left} open files or sockets left after five calls"] if left > 0 else []


@also("clock_step", Way.CALL)
async def _clock_steps(subject: Subject) -> list[str]:
    found = []
    for case in _good(subject):
        driver = _made(subject, case)
        said = _sales(_brought(driver, case.call, case))
        for hours in (-1, 2):
            if _sales(_brought(driver, case.call, case, timedelta(hours=hours))) - said:
                found.append(f"{case.name}, our clock stepped by {hours} h: the sales are others")
    return found


@also("short_work", Way.CALL)
async def _never_hogs(subject: Subject) -> list[str]:
    found = []
    for case in _good(subject):
        driver = _made(subject, case)
        _brought(driver, case.call, case)
        began = time.thread_time()
        _brought(driver, case.call, case)
        if (took := time.thread_time() - began) > BUSY_S:
            found.append(f"{case.name}: {took:.2f} s of work for one call")
    return found


def _endless() -> list[bytes]:
    return [b"[" * MOST_BYTES, b'{"a":' * (MOST_BYTES // 5), b"9" * MOST_BYTES]


def _places(case: CallCase) -> list[int]:
    most = len(case.call.body) - 1
    return sorted({round(n * most / _PLACES) for n in range(_PLACES)}) if most > 0 else []


def _flipped(case: CallCase, place: int) -> bytes:
    body = bytearray(case.call.body)
    body[place] ^= 1 << place % 7
    return bytes(body)
