"""What is asked of a driver on a line: silence, damage, strangers' answers, hang-ups, noise, cancellation, leaks."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final, TypeAlias

from pumpwatch.errors import NotReachable
from pumpwatch.model import Reading, Transaction
from pumpwatch.testing.captures import Misbehaviour, TestCase
from pumpwatch.testing.certifying.bench import (
    BUSY_S,
    CANCELLED_S,
    PATIENCE_S,
    Bench,
    let_go,
    on_the_bench,
    open_files,
    truth,
    untrue,
)
from pumpwatch.testing.certifying.listening import counted, in_noise, may_work, worked
from pumpwatch.testing.certifying.subject import Grade, NotApplicableError, Subject, rule

MOST_DAMAGED: Final = 40
"""Places at which replies are damaged, a case."""
MOST_KEPT: Final = 4 << 20
"""Bytes that may be held after 2 MiB of noise."""

Damage: TypeAlias = Callable[[bytes], bytes]


@rule(
    "testcases",
    Grade.BRONZE,
    "Captured bytes give what they should, whole and byte by byte",
    "Record an exchange as testcases/NAME/capture.hex, write what must come of it into expected.toml; "
    "let complete() return 0 until the reply is whole.",
)
async def _cases(subject: Subject) -> list[str]:
    if not subject.good and not subject.heard:
        return ["there is no testcases/NAME/ with capture.hex and expected.toml in which values come"]
    found = []
    for case in subject.cases:
        for chunk in (1 << 16, 1):
            async with on_the_bench(subject, case, Misbehaviour(chunk=chunk)) as bench:
                outcome = await (bench.hear_all() if case.capture.passed else bench.read(2 * PATIENCE_S))
            how = "" if chunk > 1 else ", byte by byte"
            found += [f"{case.name}{how}: {difference}" for difference in case.differences(outcome)[:3]]
    return found


@rule(
    "silence",
    Grade.SILVER,
    "A silent device gives no values, and a read can be broken off",
    "Do not catch CancelledError or TimeoutError, and return nothing that was not read just now.",
)
async def _silence(subject: Subject) -> list[str]:
    found = []
    for case in _some(subject.good):
        misbehaviour = Misbehaviour(silent=True)
        async with on_the_bench(subject, case, misbehaviour) as bench:
            task = asyncio.ensure_future(bench.driver.read(bench.tags, case.now))
            done, _ = await asyncio.wait([task], timeout=PATIENCE_S / 3)
            if done and task.exception() is None and any(s.quality.is_good for s in task.result().samples):
                found.append(f"{case.name}: good values although the device said nothing")
            found += await _let_go(task, case.name)
            misbehaviour.silent = False
            found += [f"{case.name}, when it speaks again: {d}" for d in case.differences(await bench.read())[:1]]
    return found


async def _let_go(task: asyncio.Future[Reading], where: str) -> list[str]:
    took = await let_go(task)
    how = "and again" if math.isinf(took) else f"{took:.2f} s"
    return [f"{where}: it went on, {how}, after it was cancelled"] if took > CANCELLED_S else []


async def _damaged(subject: Subject, damages: Callable[[TestCase], Sequence[tuple[str, Damage]]]) -> list[str]:
    """Whatever is done to the replies, nothing untrue may come of it, and no other error than those of pumpwatch."""
    found: list[str] = []
    for case in _some(subject.good):
        async with on_the_bench(subject, case) as bench:
            right = await bench.read()
        if isinstance(right, Exception):
            continue  # told by another rule
        values, said = truth(right)
        for what, damage in damages(case):
            misbehaviour = Misbehaviour(damage=damage)
            async with on_the_bench(subject, case, misbehaviour) as bench:
                try:
                    outcome = await bench.read(PATIENCE_S / 6)
                except Exception as error:
                    found.append(f"{case.name}, {what}: {error!r}")
                    break
                found += [f"{case.name}, {what}: {untrue}" for untrue in untrue(outcome, values, said)[:1]]
            if len(found) > 5:
                return found
    return found


@rule(
    "short_frames",
    Grade.SILVER,
    "A reply that breaks off gives no values",
    "Let complete() return 0 until the length the frame names is there, and check it before decoding.",
)
async def _short(subject: Subject) -> list[str]:
    def damages(case: TestCase) -> list[tuple[str, Damage]]:
        longest = max(len(reply) for _, reply in case.capture.exchanges)
        return [(f"cut after {n} bytes", partial(_cut, n)) for n in _spread(longest, MOST_DAMAGED // 2)]

    return await _damaged(subject, damages)


@rule(
    "checksum",
    Grade.SILVER,
    "A reply with a flipped bit gives no values",
    "Verify the checksum over the whole frame and raise BadReply; if the protocol has none, say checksum "
    "= false in expected.toml.",
)
async def _garbled(subject: Subject) -> list[str]:
    if not any(case.has_checksum for case in subject.good):
        raise NotApplicableError("its frames carry no checksum, as its testcases say")

    def damages(case: TestCase) -> list[tuple[str, Damage]]:
        if not case.has_checksum:
            return []
        longest = max(len(reply) for _, reply in case.capture.exchanges)
        return [(f"bit {n % 8} of byte {n} flipped", partial(_flipped, n)) for n in _spread(longest, MOST_DAMAGED)]

    return await _damaged(subject, damages)


def _cut(length: int, reply: bytes) -> bytes:
    return reply[:length]


def _instead(other: bytes, _reply: bytes) -> bytes:
    return other


def _flipped(place: int, reply: bytes) -> bytes:
    if place >= len(reply):
        return reply
    return reply[:place] + bytes([reply[place] ^ (1 << place % 8)]) + reply[place + 1 :]


@rule(
    "whose_answer",
    Grade.SILVER,
    "The answer to another question is not taken for this one",
    "Compare address, function, transaction number or echo of the reply with the request, and raise BadReply.",
)
async def _others(subject: Subject) -> list[str]:
    """The answer to another question, in the wrong order, and one that comes late."""

    def damages(case: TestCase) -> list[tuple[str, Damage]]:
        replies = list(dict.fromkeys(reply for _, reply in case.capture.exchanges if reply))
        if len(replies) < 2:
            return []
        after = dict(zip(replies, replies[1:] + replies[:1], strict=True))
        return [("the answer to another question", lambda reply: after.get(reply, reply))]

    return await _damaged(subject, damages)


@rule(
    "late",
    Grade.SILVER,
    "After a question without an answer the next one works",
    "Keep no half-done state over an abandoned exchange.",
)
async def _late(subject: Subject) -> list[str]:
    found = []
    for case in _some(subject.good):
        if not case.has_checksum and len(case.capture.exchanges) < 2:
            continue
        misbehaviour = Misbehaviour(silent=True)
        async with on_the_bench(subject, case, misbehaviour) as bench:
            await bench.read(PATIENCE_S / 3)
            misbehaviour.silent = False
            outcome = await bench.read()
            found += [f"{case.name}, after a question without an answer: {d}" for d in case.differences(outcome)[:1]]
    return found


@rule(
    "reconnect",
    Grade.SILVER,
    "A device that hangs up is NotReachable, and works when it is back",
    "Let NotReachable pass, and make connect() begin anew.",
)
async def _hang_up(subject: Subject) -> list[str]:
    found = []
    for case in _some(subject.good):
        async with on_the_bench(subject, case, Misbehaviour(damage=partial(_instead, b""), hangs_up_after=1)) as bench:
            outcome = await bench.read()
            if not isinstance(outcome, NotReachable):
                found.append(f"{case.name}: {outcome!r:.80} instead of NotReachable when the device hung up")
            bench.device.misbehaviour = Misbehaviour()
            found += [f"{case.name}, when it is back: {d}" for d in case.differences(await bench.read())[:1]]
            again = await bench.read()
            if isinstance(again, Reading):
                doubled = [r for r in again.records if isinstance(r, Transaction)]
                first = [r for r in case.expected.get("records", []) if r["kind"] == "Transaction"]
                if len(doubled) > len(first):
                    found.append(f"{case.name}: more sales at the second read than there were")
    return found


@rule(
    "repeated",
    Grade.SILVER,
    "What is told again is the same record",
    "Give a sale the device's own number, or one that is kept from when it was first told; never count by yourself.",
)
async def _repeated(subject: Subject) -> list[str]:
    found = []
    for case in _some(subject.good):
        async with on_the_bench(subject, case) as bench:
            first = await bench.read()
            again = await bench.read(later=timedelta(seconds=5))
        async with on_the_bench(subject, case) as bench:
            anew = await bench.read()
        if isinstance(first, Reading):
            _, said = truth(first)
            found += [f"{case.name}, read again: {untrue}" for untrue in untrue(again, {}, said)]
            found += [f"{case.name}, after a restart: {untrue}" for untrue in untrue(anew, {}, said)]
    for case in subject.heard:
        found += await counted(subject, case)
    return found


@rule(
    "noise",
    Grade.SILVER,
    "Noise raises nothing but BadReply, and makes no sale",
    "Check lengths, ranges and digits before using them; raise BadReply for what does not fit.",
)
async def _noise(subject: Subject) -> list[str]:
    """Random bytes, and talk without end."""
    found = []
    for case in _some(subject.good):
        dice = random.Random(case.name)  # noqa: S311 - the same noise each time
        for round_ in range(MOST_DAMAGED):
            noise = dice.randbytes(dice.choice((1, 3, 8, 64, 300)))
            async with on_the_bench(subject, case, Misbehaviour(damage=partial(_instead, noise))) as bench:
                try:
                    await bench.read(PATIENCE_S / 10)
                except Exception as error:
                    found.append(f"{case.name}, noise {round_} ({noise[:16].hex(' ')} …): {error!r}")
                    break
    for case in _some(subject.heard):
        found += await in_noise(subject, case)
    return found


@rule(
    "bounded",
    Grade.GOLD,
    "Talk without end is given up, and memory stays bounded",
    "Raise BadReply in complete() as soon as the bytes can never be a reply; drop what a listener cannot use.",
)
async def _bounded(subject: Subject) -> list[str]:
    """Two MiB of noise that nobody asked for."""
    found = []
    dice = random.Random(2)  # noqa: S311
    junk = dice.randbytes(1 << 16) * 32
    for case in subject.heard[:1]:
        noise = TestCase(case.folder, type(case.capture)((), junk), case.expected)
        gc.collect()
        tracemalloc.start()
        async with on_the_bench(subject, noise) as bench:
            before = tracemalloc.get_traced_memory()[0]
            await bench.hear_all()
            gc.collect()
            kept = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        if kept > MOST_KEPT:
            found.append(f"{case.name}: {kept / 1e6:.1f} MB are kept after 2 MiB of noise")
    for case in subject.good[:1]:
        async with on_the_bench(subject, case, Misbehaviour(damage=partial(_instead, junk))) as bench:
            outcome = await bench.read(10 * PATIENCE_S)
        if isinstance(outcome, TimeoutError):
            found.append(f"{case.name}: it waits for the end of a talk without end; complete() must give up")
    return found


@rule(
    "cancellation",
    Grade.GOLD,
    "It can be broken off at every question within 100 ms and works afterwards",
    "Change the driver's state only after an exchange has succeeded.",
)
async def _cancelled_anywhere(subject: Subject) -> list[str]:
    found = []
    for case in _some(subject.good):
        for silent_from in range(min(len(case.capture.exchanges), 6)):
            answered = 0

            def damage(reply: bytes, silent_from: int = silent_from) -> bytes:
                nonlocal answered
                answered += 1
                return reply if answered <= silent_from else b""

            misbehaviour = Misbehaviour(damage=damage)
            async with on_the_bench(subject, case, misbehaviour) as bench:
                await bench.driver.connect()
                task = asyncio.ensure_future(bench.driver.read(bench.tags, case.now))
                await asyncio.wait([task], timeout=PATIENCE_S / 6)
                found += await _let_go(task, f"{case.name}, at question {silent_from + 1}")
                if task.done() and not task.cancelled() and task.exception() is None:
                    break  # that many questions it does not ask
                bench.device.misbehaviour = Misbehaviour()
                after = await _after(bench, same=not silent_from)
                found += [f"{case.name}, cancelled at question {silent_from + 1}, then: {d}" for d in after[:1]]
    return found


async def _after(bench: Bench, *, same: bool) -> list[str]:
    """What is wrong after a read that was broken off.

    Where questions had been answered it is right with the second read at the latest; a record may come with either.
    """
    first = await bench.read()
    found = bench.case.differences(first)
    if not found or same:
        return found
    second = await bench.read()
    if isinstance(first, Reading) and isinstance(second, Reading):
        second = Reading(second.samples, [*first.records, *second.records])
    return bench.case.differences(second)


@rule(
    "leaves_nothing",
    Grade.GOLD,
    "No task, thread or socket is left",
    "Close in close() what connect() opened; start nothing else.",
)
async def _leaves_nothing(subject: Subject) -> list[str]:
    case = next(iter([*subject.good, *subject.heard]), None)
    if case is None:
        return []

    async def once() -> None:
        async with on_the_bench(subject, case) as bench:
            await (bench.hear_all() if case.capture.passed else bench.read())

    await once()
    gc.collect()
    tasks, threads, files = len(asyncio.all_tasks()), threading.active_count(), open_files()
    for _ in range(5):
        await once()
    for _ in range(20):
        await asyncio.sleep(0)
    gc.collect()
    left = (
        (len(asyncio.all_tasks()) - tasks, "task"),
        (threading.active_count() - threads, "thread"),
        (open_files() - files, "open file or socket"),
    )
    return [f"{n} {what}{'s' if n > 1 else ''} left after five connections" for n, what in left if n > 0]


@rule(
    "clock_step",
    Grade.GOLD,
    "A step of our clock changes no sale and raises nothing",
    "Use the device's own times and numbers for sales; use `now` only to stamp values.",
)
async def _clock_steps(subject: Subject) -> list[str]:
    found = []
    for case in _some(subject.good):
        async with on_the_bench(subject, case) as bench:
            first = await bench.read()
            if isinstance(first, Exception):
                continue
            _, said = truth(first)
            for hours in (-1, 2):
                outcome = await bench.read(later=timedelta(hours=hours))
                if isinstance(outcome, Exception):
                    found.append(f"{case.name}, our clock stepped by {hours} h: {outcome!r}")
                else:
                    found += [
                        f"{case.name}, our clock stepped by {hours} h: {untrue}" for untrue in untrue(outcome, {}, said)
                    ]
    return found


@rule(
    "short_work",
    Grade.GOLD,
    "A read does little work at a stretch, so that neighbours are served",
    "Decode only what was asked for; build tables once in __init__.",
)
async def _never_hogs(subject: Subject) -> list[str]:
    found = []
    for case in _some(subject.good):
        async with on_the_bench(subject, case) as bench:
            await bench.read()
            began = time.thread_time()
            await bench.read()
            took = time.thread_time() - began
        if took > BUSY_S * max(1, len(bench.device.asked)):
            found.append(f"{case.name}: {took:.2f} s of work for one read")
    for case in subject.heard:
        took = min([await worked(subject, case) for _ in range(2)])
        if took > may_work(case):
            found.append(f"{case.name}: {took:.2f} s of work for {len(case.capture.passed)} bytes that passed")
    return found


@rule(
    "asks_what_is_shown",
    Grade.GOLD,
    "It sends only what its testcases show, and nothing where it listens",
    "Send read requests only, and capture each kind of them in a testcase.",
)
async def _asks_what_is_shown(subject: Subject) -> list[str]:
    found = []
    for case in [*subject.good, *subject.heard]:
        async with on_the_bench(subject, case) as bench:
            await (bench.hear_all() if case.capture.passed else bench.read())
            unknown = [asked for asked in bench.device.asked if case.capture.answer(asked) is None]
        if unknown and (case.refuse is None or case.capture.passed):
            found.append(f"{case.name}: it sent {unknown[0].hex(' ')}, which no testcase shows")
    return found


def _some(cases: Sequence[TestCase]) -> list[TestCase]:
    """The three that exchange most."""
    return sorted(cases, key=lambda case: -len(case.capture.exchanges))[:3]


def _spread(most: int, count: int) -> list[int]:
    return sorted({round(i * (most - 1) / max(count - 1, 1)) for i in range(count)}) if most > 0 else []
