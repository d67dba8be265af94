"""What faults make of a reply, when they are at work and how far they reach."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from pumpwatch.errors import BadConfig
from pumpwatch_sim.county import build_county
from pumpwatch_sim.fleet import FaultEntry
from pumpwatch_sim.live.buses import KINDS
from pumpwatch_sim.live.faults import Fault, FaultKind, Faults, Spoiler, Spoilt, fault_of
from pumpwatch_sim.wire.crc import crc16
from pumpwatch_sim.world.plans import County

TLS = b"\x01i10100" + b"9707290902000000&&FB2B\x03"
DART = bytes.fromhex("51 3E 01 01 04 A1 B7 03 FA")
START_US = 1_000_000_000


@pytest.fixture(scope="module")
def whole() -> County:
    return build_county(1, date(2026, 11, 22))


@pytest.fixture
def spoil(county: County) -> Callable[..., Spoilt]:
    def spoil(kind: str, data: bytes, protocol: str = "tls350", at_us: int = START_US, **more: float) -> Spoilt:
        faults = Faults(county.stations, [FaultEntry(station="S01", kind=kind, **more)], START_US)  # type: ignore[arg-type]
        return Spoiler(faults, "S01", protocol, KINDS[protocol].frame, 1).reply(data, at_us)

    return spoil


def tls_sum(reply: bytes) -> int:
    return (sum(reply[:-5]) + int(reply[-5:-1], 16)) % 0x10000


def test_each_kind_does_what_it_says(spoil: Callable[..., Spoilt]) -> None:
    assert spoil("silence", TLS) == Spoilt(b"")
    garbage = spoil("garbage", TLS).data
    assert len(garbage) == len(TLS)
    assert garbage != TLS
    cut = spoil("truncation", TLS).data
    assert 0 < len(cut) < len(TLS)
    assert TLS.startswith(cut)
    assert spoil("delay", TLS, delay_s=2.5) == Spoilt(TLS, 2.5)
    assert spoil("disconnect", TLS) == Spoilt(b"", hang_up=True)


def test_a_wrong_checksum_is_all_that_is_wrong(spoil: Callable[..., Spoilt]) -> None:
    wrong = spoil("wrong_checksum", TLS).data
    assert wrong[:-5] == TLS[:-5]
    assert wrong[-1:] == TLS[-1:]
    assert tls_sum(TLS) == 0 != tls_sum(wrong)
    wrong = spoil("wrong_checksum", DART, "dart").data
    assert (wrong[:-4], wrong[-2:]) == (DART[:-4], DART[-2:])
    assert wrong != DART


def test_a_wrong_address_comes_with_a_right_checksum(spoil: Callable[..., Spoilt]) -> None:
    wrong = spoil("wrong_address", TLS).data
    assert wrong[:7] == b"\x01i10101"
    assert tls_sum(wrong) == 0
    wrong = spoil("wrong_address", DART, "dart").data
    assert wrong[0] == 0x50
    assert wrong[1:5] == DART[1:5]
    assert wrong[5:7] == crc16(wrong[:5]).to_bytes(2, "little") != DART[5:7]
    reply = bytes.fromhex("0001 0000 0005 01 03 02 0001")
    assert spoil("wrong_address", reply, "modbus").data == bytes.fromhex("0001 0000 0005 00 03 02 0001")


def test_a_share_of_the_replies_is_spoilt_and_the_same_ones_each_time(county: County) -> None:
    entry = FaultEntry(station="S01", kind="silence", share=0.3)

    def lost() -> list[bool]:
        faults = Faults(county.stations, [entry], START_US)
        spoiler = Spoiler(faults, "S01", "tls350", KINDS["tls350"].frame, 1)
        return [spoiler.reply(TLS, START_US).data == b"" for _ in range(2000)]

    first = lost()
    assert first == lost()
    assert sum(first) == pytest.approx(600, abs=80)


def test_a_fault_begins_and_ends_and_spoils_its_line_alone(county: County) -> None:
    entry = FaultEntry(station="S01", protocol="modbus", kind="silence", onset="PT10S", lasts="PT20S")
    faults = Faults(county.stations, [entry], START_US)
    seen = {at: len(faults.at_work("S01", "modbus", START_US + at * 1_000_000)) for at in (9, 10, 29, 30)}
    assert seen == {9: 0, 10: 1, 29: 1, 30: 0}
    assert faults.at_work("S01", "tls350", START_US + 15_000_000) == []
    assert faults.at_work("S20", "modbus", START_US + 15_000_000) == []


def test_faults_add_up(county: County) -> None:
    entries = [FaultEntry(station="S01", kind=kind) for kind in ("truncation", "delay")]
    spoiler = Spoiler(Faults(county.stations, entries, START_US), "S01", "tls350", KINDS["tls350"].frame, 1)
    spoilt = spoiler.reply(TLS, START_US)
    assert spoilt.delay_s == 1.0
    assert len(spoilt.data) < len(TLS)
    assert spoiler.reply(b"", START_US) == Spoilt(b"")


def test_a_jammer_reaches_the_neighbours_and_is_cleared_with_them(whole: County) -> None:
    faults = Faults(whole.stations, [], START_US)
    reached = faults.add(Fault("S07", None, FaultKind.JAM, START_US, None))
    plans = {plan.station_id: plan for plan in whole.stations}
    assert reached[0] == "S07"
    assert len(reached) > 1
    for name, plan in plans.items():
        assert (plan.registered.town == plans["S07"].registered.town) == (name in reached)
        deaf = Spoiler(faults, name, "modbus", KINDS["modbus"].frame, 1).deaf(START_US)
        assert deaf == (name in reached)
    faults.add(Fault("S07", None, FaultKind.GARBAGE, START_US, None))
    assert faults.clear("S07", kind=FaultKind.JAM) == 1
    assert [fault.kind for fault in faults.all_at_work(START_US)] == [FaultKind.GARBAGE]
    assert faults.clear("S07") == 1
    assert faults.all_at_work(START_US) == []


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"kind": "garbage"}, "station"),
        ({"station": "S07", "kind": "gremlin"}, "silence, garbage"),
        ({"station": "S07", "kind": "garbage", "share": 1.5}, "share: 1.5"),
        ({"station": "S07", "kind": "delay", "delay_s": "long"}, "delay_s: 'long'"),
        ({"station": "S07", "kind": "jam", "for_s": -1}, "for_s: -1"),
    ],
)
def test_an_order_for_a_fault_that_cannot_be(order: dict[str, object], words: str) -> None:
    with pytest.raises(BadConfig) as error:
        fault_of(order, START_US, 1.0)
    assert words in str(error.value)


def test_seconds_of_an_order_are_real_ones() -> None:
    fault = fault_of({"station": "S07", "kind": "garbage", "for_s": 60, "share": 0.3}, START_US, 10.0)
    assert (fault.start_us, fault.end_us, fault.share) == (START_US, START_US + 600_000_000, 0.3)
    assert fault_of({"station": "S07", "kind": "garbage"}, START_US, 1.0).end_us is None


def test_a_fault_at_an_unknown_station_is_refused(county: County) -> None:
    with pytest.raises(BadConfig, match="no station 'S99'"):
        Faults(county.stations, [FaultEntry(station="S99", kind="jam")], START_US)
