"""The register map of the generic dispenser, field by field from its addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from pumpwatch_sim.fleet import Fleet, Stations
from pumpwatch_sim.live.player import DispenserPlayer, StationPlayer
from pumpwatch_sim.live.views import Identity, Sale
from pumpwatch_sim.staging import Staging, stage
from pumpwatch_sim.wire.modbus import OutsideError
from pumpwatch_sim.wire.registers import NO_TAX_RECORD, DispenserRegisters, ascii16
from pumpwatch_sim.world.timeline import Payment, Preset

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)


@dataclass
class World:
    """Some busy stations and the time they look at."""

    staging: Staging
    now_us: int

    def __post_init__(self) -> None:
        stations = [plan.station_id for plan in self.staging.county.stations]
        self.players = [StationPlayer(self.staging, station, lambda: self.now_us) for station in stations]
        self.dispensers = [dispenser for player in self.players for dispenser in player.dispensers]

    def to(self, seconds: float) -> None:
        self.now_us = self.staging.start_us + round(seconds * 1e6)


@pytest.fixture(scope="module")
def staging() -> Staging:
    return stage(Fleet(name="registers", start=START, stations=Stations(count=4, demand=10.0, hours="flat")), START)


@pytest.fixture
def world(staging: Staging) -> World:
    return World(staging, staging.start_us)


def dispenser_with(world: World, nozzles: int) -> DispenserPlayer:
    return next(d for d in world.dispensers if len(d.nozzles) == nozzles)


def number(registers: DispenserRegisters, address: int, words: int) -> int:
    return int.from_bytes(registers.read(address, words), "big")


def text(registers: DispenserRegisters, address: int) -> str:
    return registers.read(address, 8).rstrip(b"\0").decode("ascii")


def test_identity_block(world: World) -> None:
    dispenser = dispenser_with(world, 3)
    registered = dispenser.plan.registered
    registers = DispenserRegisters(dispenser)
    assert number(registers, 0, 1) == 1
    assert number(registers, 1, 1) == 0
    assert text(registers, 2) == registered.serial
    assert text(registers, 10) == registered.mainboard_serial
    assert text(registers, 18) == registered.firmware_version
    assert registers.read(26, 16).hex() == registered.firmware_digest
    assert text(registers, 42) == registered.tax_serial
    assert number(registers, 50, 2) == dispenser.now_s == pytest.approx(START.timestamp(), abs=2)
    for place in range(3):
        assert text(registers, 52 + 8 * place) == dispenser.nozzles[place].plan.registered.encoder_serial
    assert registers.read(52 + 24, 8) == bytes(16), "the nozzle it lacks reads 0"


def test_the_clock_runs_and_a_new_mainboard_shows_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    dispenser = dispenser_with(world, 2)
    registers = DispenserRegisters(dispenser)
    registers.read(0, 84)
    world.to(7)
    before = dispenser.identity
    new = Identity("DEMO-X", "MB-NEW", "9.9", "ab" * 32, "TX-X", before.encoder_serials)
    monkeypatch.setattr(DispenserPlayer, "identity", new)
    monkeypatch.setattr(DispenserPlayer, "identity_changes", 99)
    assert number(registers, 50, 2) == pytest.approx(START.timestamp() + 7, abs=2)
    assert text(registers, 10) == "MB-NEW"
    assert registers.read(26, 16) == b"\xab" * 32


def test_live_and_sale_blocks_follow_every_nozzle(world: World) -> None:
    dispensers = world.dispensers
    maps = [DispenserRegisters(dispenser) for dispenser in dispensers]
    states = set()
    for second in range(0, 240, 3):
        world.to(second)
        for dispenser, registers in zip(dispensers, maps, strict=True):
            for place, nozzle in enumerate(dispenser.nozzles):
                base = 100 + 20 * place
                states.add(number(registers, base, 1))
                assert number(registers, base, 1) == nozzle.state
                assert f"{number(registers, base + 1, 1)}#" == nozzle.grade
                assert number(registers, base + 2, 2) == nozzle.volume
                assert number(registers, base + 4, 2) == nozzle.amount
                assert number(registers, base + 6, 1) == nozzle.flow
                assert number(registers, base + 7, 1) == nozzle.price
                assert number(registers, base + 8, 4) == nozzle.totalizer
                assert number(registers, base + 12, 4) == nozzle.totalizer_amount
                assert number(registers, base + 16, 2) == nozzle.sequence
                assert number(registers, base + 18, 2) == 0
                slot = nozzle.sequence % 4
                sale, base = nozzle.sales[slot], 200 + (place * 4 + slot) * 32
                assert sale is not None
                assert number(registers, base, 2) == sale.sequence == nozzle.sequence
                assert number(registers, base + 2, 2) == sale.start_s
                assert number(registers, base + 4, 2) == sale.end_s
                assert number(registers, base + 6, 2) == sale.volume
                assert number(registers, base + 8, 2) == sale.amount
                assert number(registers, base + 10, 1) == sale.price
                assert number(registers, base + 11, 1) in {1, 2, 3}
                assert number(registers, base + 12, 4) == sale.totalizer == nozzle.totalizer
                assert number(registers, base + 16, 4) == sale.totalizer_amount == nozzle.totalizer_amount
                assert number(registers, base + 20, 2) == sale.pulses
                assert number(registers, base + 22, 1) == 100
                assert number(registers, base + 23, 1) == sale.preset
                assert number(registers, base + 24, 2) == sale.preset_value
                assert number(registers, base + 26, 2) == sale.tax_volume
                assert number(registers, base + 28, 2) == sale.tax_amount
                assert number(registers, base + 30, 2) == 0
    assert states == {0, 1, 2, 3}


def test_all_four_slots_are_filled_from_the_start(world: World) -> None:
    dispenser = dispenser_with(world, 4)
    registers = DispenserRegisters(dispenser)
    for place, nozzle in enumerate(dispenser.nozzles):
        sequences = {number(registers, 200 + (place * 4 + slot) * 32, 2) for slot in range(4)}
        assert sequences == set(range(nozzle.sequence - 3, nozzle.sequence + 1))


def test_nozzles_the_dispenser_lacks_read_zero(world: World) -> None:
    registers = DispenserRegisters(dispenser_with(world, 2))
    world.to(60)
    assert registers.read(140, 40) == bytes(80)
    assert registers.read(200 + 8 * 32, 125) == bytes(250)
    assert registers.read(140 - 20, 20) != bytes(40)


def test_a_read_may_begin_and_end_anywhere_within_a_part(world: World) -> None:
    dispenser = dispenser_with(world, 4)
    whole = DispenserRegisters(dispenser)
    for start, end in ((0, 84), (100, 180), (200, 712)):
        image = b"".join(whole.read(at, 1) for at in range(start, end))
        for address, quantity in ((start, 3), (start + 19, 23), (end - 40, 40), (start + 31, 33)):
            fresh = DispenserRegisters(dispenser)
            at = 2 * (address - start)
            assert fresh.read(address, quantity) == image[at : at + 2 * quantity]


@pytest.fixture
def slot_of(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sale], bytes]:
    """The registers of one sale."""

    def slot_of(sale: Sale) -> bytes:
        dispenser = dispenser_with(world, 2)
        monkeypatch.setattr(type(dispenser.nozzles[0]), "sales", [None, sale, None, None])
        return DispenserRegisters(dispenser).read(200 + 32, 32)

    return slot_of


def test_a_sale_without_tax_record_says_so(slot_of: Callable[[Sale], bytes]) -> None:
    def sale(volume: int, tax: int) -> Sale:
        return Sale(5, 1, 2, volume, 8 * volume, 800, Payment.CASH, 9, 9, volume, Preset.NONE, 0, tax, 8 * tax)

    def tax_of(slot: bytes) -> tuple[int, int]:
        return int.from_bytes(slot[52:56], "big"), int.from_bytes(slot[56:60], "big")

    assert tax_of(slot_of(sale(2000, 1990))) == (1990, 8 * 1990)
    assert tax_of(slot_of(sale(2000, 0))) == (NO_TAX_RECORD, NO_TAX_RECORD)
    assert tax_of(slot_of(sale(0, 0))) == (0, 0), "nothing was sold, and that is what tax control has"


@pytest.mark.parametrize(
    ("address", "quantity"),
    [(84, 1), (83, 2), (99, 2), (90, 5), (180, 1), (179, 2), (199, 2), (711, 2), (712, 1), (0, 125)],
)
def test_a_read_outside_is_refused(world: World, address: int, quantity: int) -> None:
    registers = DispenserRegisters(dispenser_with(world, 4))
    with pytest.raises(OutsideError):
        registers.read(address, quantity)


def test_text_must_fit() -> None:
    assert ascii16(None) == b""
    with pytest.raises(ValueError, match="16 characters"):
        ascii16("12345678901234567")
