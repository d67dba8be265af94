"""A target for the codec of every driver: given any bytes, it raises nothing but what pumpwatch knows, and stays small.

``make fuzz`` runs each for a minute under coverage guidance, beginning with the captured testcases. A target imports
its codec when it is made, so that the guidance can be woven into it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

SHELF = Path(__file__).parents[2] / "drivers"
NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
MOST_BYTES = 4096
LINE_OPTIONS = f"-max_len={MOST_BYTES} -rss_limit_mb=768 -timeout=10"
Target = Callable[[bytes], None]


def exchange(decode: Callable[[bytes], object], complete: Callable[[bytes], int], data: bytes) -> None:
    """As a line does it: a reply that grows until it is whole, and then is decoded."""
    from pumpwatch import PumpwatchError

    with suppress(PumpwatchError):
        for end in (len(data) // 2, len(data)):
            length = complete(data[:end])
            assert 0 <= length <= end
            if length:
                decode(data[:length])


def split(data: bytes, feed: Callable[[bytes], object]) -> None:
    """As a tap hears it: in pieces."""
    step = 1 + (data[0] if data else 0)
    for start in range(0, len(data), step):
        feed(data[start : start + step])


def modbus() -> Target:
    from pumpwatch_modbus.codec import RegisterRead, RtuFraming, TcpFraming
    from pumpwatch_modbus.reads import Span

    exchanges = [framing.exchange(RegisterRead(1, 3, Span(0, 4))) for framing in (TcpFraming(), RtuFraming())]

    def target(data: bytes) -> None:
        for each in exchanges:
            exchange(each.registers, each.complete, data)
        for way in "<>":
            TcpFraming().explain(way, data)
            RtuFraming().explain(way, data)

    return target


def tls350() -> Target:
    from pumpwatch_tls350 import reports
    from pumpwatch_tls350.envelope import SOH, Question, checksum

    forms = {
        "i20100": reports.inventory,
        "i20200": reports.deliveries,
        "i10100": reports.system_status,
        "i20500": reports.tank_status,
        "i90200": reports.software,
    }

    def target(data: bytes) -> None:
        for code, form in forms.items():
            asked = Question(code)
            exchange(lambda reply, asked=asked, form=form: form(asked.report(reply)), asked.complete, data)
            sound = SOH + code.encode() + b"2611221200" + bytes(byte & 0x7F for byte in data) + b"&&"
            sound += checksum(sound) + b"\x03"
            exchange(lambda reply, asked=asked, form=form: form(asked.report(reply)), asked.complete, sound)

    return target


def dart() -> Target:
    from pumpwatch_dart.frames import KEPT, Cutter, Kind
    from pumpwatch_dart.frames import data as framed
    from pumpwatch_dart.traffic import Traffic
    from pumpwatch_dart.transactions import from_controller, from_pump

    def target(data: bytes) -> None:
        split(data, Traffic().feed)
        cutter = Cutter()
        split(data, cutter.feed)
        assert len(cutter._rest) <= KEPT
        from_pump(data)
        from_controller(data)
        payload = data[:200]
        (frame,) = Cutter().feed(framed(0x50, 1, payload))
        assert (frame.kind, frame.payload) == (Kind.DATA, payload)

    return target


def twowire() -> Target:
    from pumpwatch_twowire.asking import Exchange
    from pumpwatch_twowire.damaged import Money, Repair
    from pumpwatch_twowire.listening import Listener
    from pumpwatch_twowire.words import LONGEST_BLOCK, Layout, Question

    repairs = [Repair(Layout(digits), Money(), {1: frozenset({0}), 2: frozenset({0})}) for digits in (5, 6)]

    def target(data: bytes) -> None:
        for repair in repairs:
            asked = {question: Exchange(question, 1, repair.layout) for question in Question}
            decoders = {
                Question.STATUS: asked[Question.STATUS].status,
                Question.MONEY: asked[Question.MONEY].money,
                Question.TRANSACTION: asked[Question.TRANSACTION].filling,
                Question.TOTALS: asked[Question.TOTALS].totals,
            }
            for question, each in asked.items():
                exchange(decoders[question], each.complete, data)
            listener = Listener(repair)
            split(data, listener.feed)
            assert len(listener._rest) <= 2 * LONGEST_BLOCK

    return target


def lanfeng() -> Target:
    from pumpwatch_lanfeng.frames import SIZE, Exchange, Question
    from pumpwatch_lanfeng.listening import Listener

    def target(data: bytes) -> None:
        for question in Question:
            each = Exchange(question, 1)
            exchange(each.state if question is Question.STATE else each.total, each.complete, data)
        listener = Listener()
        split(data, listener.feed)
        assert len(listener._rest) < 2 * SIZE

    return target


def taxport() -> Target:
    from pumpwatch_taxport.frames import Command, Question

    questions = [Question(command, 1, date(2026, 11, 22)) for command in Command]

    def target(data: bytes) -> None:
        for each in questions:
            exchange(each.fact, each.complete, data)

    return target


def ifsf() -> Target:
    from pumpwatch_ifsf import database
    from pumpwatch_ifsf.messages import Exchange, Node, Read, Roll, Subnet, messages

    own = Node(Subnet.CONTROLLER, 1)
    reads = [Read(Node(Subnet.DISPENSER, 3), b"\x21", (0x14, 0x15)), Read(Node(Subnet.DISPENSER, 3), b"\x01", (0x50,))]

    def target(data: bytes) -> None:
        exchange(Exchange(own, reads, 0).answers, Exchange(own, reads, 0).complete, data)
        exchange(Exchange(own, reads, 0).owed, Exchange(own, reads, 0).complete, data)
        roll = Roll(own, Subnet.DISPENSER, database.CALCULATOR, database.NUMBER_OF_POINTS)
        exchange(roll.found, roll.complete, data)
        assert all(0 < end <= len(data) for _, end in messages(data))

    return target


def ptsjson() -> Target:
    from pumpwatch_ptsjson import PtsJsonDriver

    driver, case = _calling(PtsJsonDriver)

    def target(data: bytes) -> None:
        from dataclasses import replace

        from pumpwatch import PumpwatchError

        with suppress(PumpwatchError):
            driver.called(replace(case.call, body=data), NOW)

    return target


def _calling(kind):
    from pumpwatch.testing import ScriptedLine
    from pumpwatch.testing.captures import CallCase

    case = CallCase.load(SHELF / "pumpwatch_ptsjson" / "testcases" / "status")
    return case.driver(kind, ScriptedLine({})), case


def opcua() -> Target:
    """What the driver itself decodes; it turns any error of these into ``BadReply``, but none may hang or grow."""
    from pumpwatch_opcua import decoding

    def target(data: bytes) -> None:
        for decode in (decoding.publish_response, decoding.read_response, decoding.created_items):
            with suppress(Exception):
                decode(data)

    return target


TARGETS: dict[str, Callable[[], Target]] = {
    each.__name__: each for each in (modbus, tls350, dart, twowire, lanfeng, taxport, ifsf, ptsjson, opcua)
}


def seeds(name: str) -> Iterator[bytes]:
    """What was captured."""
    from pumpwatch.testing import load_cases
    from pumpwatch.testing.captures import load_calls

    folder = SHELF / f"pumpwatch_{name}" / "testcases"
    for case in load_cases(folder):
        yield from (reply for _, reply in case.capture.exchanges)
        if case.capture.passed:
            yield case.capture.passed[:MOST_BYTES]
    for call in load_calls(folder):
        yield call.call.body


def main() -> None:
    """``targets.py NAME [option of libFuzzer …]``"""
    import atheris

    name = sys.argv[1]
    with atheris.instrument_imports(include=[f"pumpwatch_{name}"]):
        target = TARGETS[name]()
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds(name)):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, *LINE_OPTIONS.split(), *sys.argv[2:]], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
