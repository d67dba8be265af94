"""Compac C5000: the manual's register list, both orders, both bases."""

from __future__ import annotations

from types import ModuleType

import pytest

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire import compac
from pumpwatch_sim.wire.compac import CompacHose
from pumpwatch_sim.wire.modbus import OutsideError


def number(hose: CompacHose, address: int, words: int = 1) -> int:
    return int.from_bytes(hose.read(address, words), "big")


def test_the_live_registers(fakes: ModuleType) -> None:
    (nozzle,) = fakes.nozzles(1)
    nozzle.totalizer, nozzle.totalizer_amount = 123456789, 9876543210
    nozzle.lift()
    hose = CompacHose(nozzle)
    assert number(hose, 100) == 0
    nozzle.fuel(2550)
    assert number(hose, 100) == 1
    assert number(hose, 101) == 789
    assert number(hose, 102, 2) == 25500
    assert number(hose, 104, 2) == 20120
    assert hose.read(106, 3).hex() == "000123456789"
    assert hose.read(109, 3).hex() == "009876543210"
    assert number(hose, 113) == 4000
    assert hose.read(117, 2).hex() == "23456789"
    assert number(hose, 124) == 0


def test_the_last_sale_and_the_lock(fakes: ModuleType) -> None:
    (nozzle,) = fakes.nozzles(1)
    hose = CompacHose(nozzle)
    assert hose.read(124, 8) == b"\x00\x01" + bytes(14)
    nozzle.sell(2550)
    nozzle.lift()
    assert number(hose, 102, 2) == 0
    assert number(hose, 125, 2) == 25500
    assert number(hose, 127, 2) == 201200
    assert (number(hose, 200), number(hose, 201), number(hose, 114)) == (0, 789, 0)
    nozzle.state = NozzleState.LOCKED
    assert (number(hose, 200), number(hose, 114)) == (1, 1)


def test_word_order_and_base(fakes: ModuleType) -> None:
    (nozzle,) = fakes.nozzles(1)
    nozzle.totalizer = 123456789
    nozzle.lift()
    nozzle.fuel(65538)
    assert CompacHose(nozzle).read(102, 2).hex() == "000a0014"
    assert CompacHose(nozzle, low_first=True).read(102, 2).hex() == "0014000a"
    assert CompacHose(nozzle, low_first=True).read(106, 3).hex() == "678923450001"
    shifted = CompacHose(nozzle, base_offset=-1)
    assert shifted.read(99, 19) == CompacHose(nozzle).read(100, 19)
    with pytest.raises(OutsideError):
        shifted.read(118, 1)


@pytest.mark.parametrize(("address", "quantity"), [(99, 1), (118, 2), (119, 1), (123, 2), (131, 2), (199, 1), (204, 2)])
def test_a_read_outside_is_refused(fakes: ModuleType, address: int, quantity: int) -> None:
    with pytest.raises(OutsideError):
        CompacHose(fakes.nozzles(1)[0]).read(address, quantity)


def test_a_read_may_begin_and_end_anywhere_within_a_part(fakes: ModuleType) -> None:
    (nozzle,) = fakes.nozzles(1)
    nozzle.sell(2550)
    hose = CompacHose(nozzle)
    for start, stop in ((100, 119), (124, 132), (200, 205)):
        whole = hose.read(start, stop - start)
        assert b"".join(hose.read(at, 1) for at in range(start, stop)) == whole


def test_every_hose_is_a_unit(fakes: ModuleType) -> None:
    dispensers = [fakes.FakeDispenser(fakes.nozzles(2)), fakes.FakeDispenser(fakes.nozzles(3))]
    dispensers[1].nozzles[2].price = 801
    units = compac.units(dispensers)
    assert list(units) == [1, 2, 3, 4, 5]
    assert number(units[5], 101) == 801
