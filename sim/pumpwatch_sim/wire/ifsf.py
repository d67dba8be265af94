"""IFSF over TCP/IP as bytes: the data bases of dispensers (subnet 1) and of a tank gauge (subnet 9), read by messages.

Evidence grade B: IFSF 2-02 and 3-01 by fangym0335/first, zhang98722/ifsf-communication,
ycxzfforever/ZSY_IFSF. Widths of fields follow the structures of the first; that the checksum is BIN24 and transactions
are numbered from 1 to 9999 is said by the last. Grade D, decided here: the pulse-volume factor is pulses a litre, the
calibration factor is 1/10000, acknowledge codes 2 (not writable) and 5 (some data not taken); a serial number has its
letters and digits only, for it has twelve places. Every nozzle is a fuelling point of its own (21h to 24h) with
logical nozzle 11h.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire.sides import bcd, wall_clock
from pumpwatch_sim.world.timeline import TOTALIZER_ROLL

if TYPE_CHECKING:
    from pumpwatch_sim.live.views import DispenserView, NozzleView, Sale, StationView, TankView

DISPENSER, CONTROLLER, TANK_GAUGE = 1, 2, 9
"""Subnets."""
READ, ANSWER, WRITE, UNSOLICITED_TO_ACK, UNSOLICITED, ACKNOWLEDGE = 0, 1, 2, 3, 4, 7
CALCULATOR, FIRST_POINT, FIRST_NOZZLE, FIRST_METER, TRANSACTIONS = 0x01, 0x21, 0x11, 0x81, 0x21
ALL_PROBES, FIRST_PROBE = 0x20, 0x21

_HEADER = 8
_LONGEST = 1024
_MOST_POINTS = 4
_STATES = {
    NozzleState.IDLE: 3,
    NozzleState.LIFTED: 4,
    NozzleState.FUELLING: 8,
    NozzleState.STOPPED: 8,
    NozzleState.LOCKED: 1,
}
_CLEARED, _PAYABLE = 1, 2
_LAST_NUMBER = 9_999


@dataclass(frozen=True, slots=True)
class Message:
    """An application message."""

    receiver: tuple[int, int]
    """Subnet and node."""
    sender: tuple[int, int]
    kind: int
    """``READ`` …"""
    token: int
    address: bytes
    """Of the data base."""
    content: bytes

    def encoded(self) -> bytes:
        """As it goes over the line."""
        body = bytes((len(self.address),)) + self.address + self.content
        head = bytes((*self.receiver, *self.sender, 0, self.kind << 5 | self.token))
        return head + len(body).to_bytes(2, "big") + body


class Framer:
    """Cuts a stream into messages, however split; what cannot be a header is passed over byte by byte."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes and return the whole messages among them."""
        rest, found, at = self._rest + data, [], 0
        while len(rest) - at > _HEADER:
            length, depth = int.from_bytes(rest[at + 6 : at + 8], "big"), rest[at + 8]
            if rest[at + 4] != 0 or not 1 < length <= _LONGEST or not 1 <= depth <= min(8, length - 1):
                at += 1
                continue
            end = at + _HEADER + length
            if end > len(rest):
                break
            found.append(
                Message(
                    (rest[at], rest[at + 1]),
                    (rest[at + 2], rest[at + 3]),
                    rest[at + 5] >> 5,
                    rest[at + 5] & 0x1F,
                    rest[at + 9 : at + 9 + depth],
                    rest[at + 9 + depth : end],
                )
            )
            at = end
        self._rest = rest[at:]
        return found

    def forget(self) -> None:
        """Drop half a message."""
        self._rest = b""


def number8(hundredths: int) -> bytes:
    """Money or volume: six integer digits and two decimals."""
    return b"\x06" + bcd(hundredths, 4)


def price6(hundredths: int) -> bytes:
    """A unit price: four integer digits and two decimals."""
    return b"\x04" + bcd(hundredths, 3)


def total12(hundredths: int) -> bytes:
    """A total: ten integer digits and two decimals."""
    return b"\x0a" + bcd(hundredths, 6)


def checksum(polynomial: int, seed: int, data: bytes) -> int:
    """CRC-16 with the data base's own polynomial and seed, highest bit first."""
    crc = seed
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


class _Nodes(ABC):
    """Devices behind one TCP port; see :class:`pumpwatch_sim.live.views.Pump`."""

    def __init__(self) -> None:
        self._framer = Framer()

    def receive(self, data: bytes) -> bytes:
        """Answer every message meant for one of the devices; writes are acknowledged and change nothing."""
        answers = b""
        for message in self._framer.feed(data):
            if self._has(message.receiver):
                answers += self._reply(message)
        return answers

    def pause(self) -> bytes:
        """Half a message is forgotten."""
        self._framer.forget()
        return b""

    @abstractmethod
    def _has(self, device: tuple[int, int]) -> bool:
        """Whether the device is one of these."""

    @abstractmethod
    def _records(self, device: tuple[int, int], address: bytes) -> list[tuple[bytes, Mapping[int, bytes]]]:
        """The data bases an address means, each with its own address and its data by id."""

    def _reply(self, message: Message) -> bytes:
        records = self._records(message.receiver, message.address) or [(message.address, {})]
        if message.kind == READ:
            return b"".join(_back(message, ANSWER, address, _said(message.content, data)) for address, data in records)
        if message.kind in {WRITE, UNSOLICITED_TO_ACK}:
            address, data = records[0]
            refused = [number in data for number in _named(message.content)]
            content = bytes((5 if any(refused) else 0,))
            for number, no in zip(_named(message.content), refused, strict=True):
                content += bytes((number, 2 if no else 0))
            return _back(message, ACKNOWLEDGE, address, content)
        return b""


class IfsfDispensers(_Nodes):
    """The dispensers of a station, one node each: its unit number."""

    def __init__(
        self,
        dispensers: Sequence[DispenserView],
        polynomial: int = 0x1021,
        seed: int = 0,
        pulses_a_litre: int = 100,
        software_date: int = 20240501,
    ) -> None:
        """``software_date`` YYYYMMDD; raises ``ValueError`` for a dispenser of more than four nozzles."""
        super().__init__()
        self._calculators = {
            dispenser.unit: _Calculator(dispenser, polynomial, seed, pulses_a_litre, software_date)
            for dispenser in dispensers
        }
        self.devices = {dispenser.dispenser_id: dispenser.unit for dispenser in dispensers}

    def _has(self, device: tuple[int, int]) -> bool:
        return device[0] == DISPENSER and device[1] in self._calculators

    def _records(self, device: tuple[int, int], address: bytes) -> list[tuple[bytes, Mapping[int, bytes]]]:
        data = self._calculators[device[1]].record(address)
        return [(address, data)] if data is not None else []


class _Calculator:
    """One dispenser's data base."""

    def __init__(
        self, dispenser: DispenserView, polynomial: int, seed: int, pulses_a_litre: int, software_date: int
    ) -> None:
        if len(dispenser.nozzles) > _MOST_POINTS:
            raise ValueError(f"{dispenser.dispenser_id} has more nozzles than the four fuelling points of IFSF")
        self._dispenser = dispenser
        self._polynomial = polynomial
        self._seed = seed
        self._pulses_a_litre = pulses_a_litre
        self._software_date = self._changed_on = software_date
        self._identity = dispenser.identity_changes

    def record(self, address: bytes) -> Mapping[int, bytes] | None:
        """The data at an address by their ids; None where there is nothing."""
        if address == bytes((CALCULATOR,)):
            return self._calculator()
        index = address[0] - (FIRST_METER if len(address) == 1 and address[0] >= FIRST_METER else FIRST_POINT)
        if not 0 <= index < len(self._dispenser.nozzles):
            return None
        nozzle = self._dispenser.nozzles[index]
        if len(address) == 1:
            return self._meter(nozzle) if address[0] >= FIRST_METER else _point(nozzle)
        if address[1:] == bytes((FIRST_NOZZLE,)):
            return _logical_nozzle(nozzle, index)
        if len(address) == 4 and address[1] == TRANSACTIONS:
            return self._transaction(address[0], nozzle, address[2:])
        return None

    def _calculator(self) -> Mapping[int, bytes]:
        dispenser, identity = self._dispenser, self._dispenser.identity
        if dispenser.identity_changes != self._identity:
            self._identity = dispenser.identity_changes
            self._changed_on = int(f"{dispenser.local_time:%Y%m%d}")
        points = len(dispenser.nozzles)
        return {
            4: bytes((points,)),
            5: bytes((points,)),
            26: b"\x05",
            53: _text("".join(filter(str.isalnum, identity.serial)), 12),
            54: _text(identity.firmware_version, 12),
            55: _text(identity.firmware_version, 6),
            56: bcd(self._software_date, 4),
            57: b"\x01",
            59: bcd(self._changed_on, 4),
            60: _text("0000001", 7),
            61: bytes.fromhex(identity.firmware_digest)[:4],
            80: self._polynomial.to_bytes(2, "big"),
            81: self._seed.to_bytes(2, "big"),
        }

    def _meter(self, nozzle: NozzleView) -> Mapping[int, bytes]:
        factor = (10_000).to_bytes(2, "big")
        return {2: bytes((self._pulses_a_litre,)), 3: factor, 20: total12(nozzle.totalizer)}

    def _transaction(self, point: int, nozzle: NozzleView, number: bytes) -> Mapping[int, bytes] | None:
        sales = [sale for sale in nozzle.sales if sale is not None and _number(sale.sequence) == number]
        if not sales:
            return None
        sale: Sale = sales[0]
        ended = wall_clock(self._dispenser, sale.end_s)
        amount, volume = number8(sale.amount), number8(sale.volume)
        security = checksum(self._polynomial, self._seed, bytes((point,)) + number + amount + volume)
        return {
            1: number,
            5: amount,
            6: volume,
            7: price6(sale.price),
            8: b"\x01",
            10: _product(nozzle),
            14: security.to_bytes(3, "big"),
            21: bytes((_PAYABLE if sale.sequence == nozzle.sequence else _CLEARED,)),
            202: _date(ended),
            203: _time(ended),
            204: total12((sale.totalizer - sale.volume) % TOTALIZER_ROLL),
            205: total12(sale.totalizer),
        }


class IfsfGauge(_Nodes):
    """A station's tank gauge: a node of subnet 9 with a probe (21h upwards) a tank."""

    def __init__(self, station: StationView, node: int = 1) -> None:
        """``node`` of the gauge on its subnet."""
        super().__init__()
        self._station = station
        self._node = node
        self.devices = {tank.tank_id: FIRST_PROBE - 1 + tank.number for tank in station.tanks}

    def _has(self, device: tuple[int, int]) -> bool:
        return device == (TANK_GAUGE, self._node)

    def _records(self, device: tuple[int, int], address: bytes) -> list[tuple[bytes, Mapping[int, bytes]]]:
        if len(address) != 1:
            return []
        return [
            (bytes((probe,)), self._probe(tank))
            for tank in self._station.tanks
            if address[0] in {ALL_PROBES, probe := FIRST_PROBE - 1 + tank.number}
        ]

    def _probe(self, tank: TankView) -> Mapping[int, bytes]:
        look, now = tank.look(), self._station.local_time
        temperature = round(look.temperature_c * 100)
        data = {
            0x0A: bcd(round(tank.diameter_mm * 1000), 4),
            0x0B: total12(round(tank.capacity_l * 100)),
            0x20: b"\x02",
            0x21: b"\0\0",
            0x40: bcd(max(0, round(look.height_mm * 1000)), 4),
            0x41: total12(max(0, round(look.volume_l * 100))),
            0x42: total12(max(0, round(look.volume_20c_l * 100))),
            0x43: bytes((0x82 if temperature < 0 else 0x02,)) + bcd(abs(temperature), 2),
            0x44: bcd(max(0, round(look.water_mm * 1000)), 4),
            0x46: _date(now),
            0x47: _time(now),
        }
        if math.isfinite(look.density_kg_m3):
            data[0x45] = min(0xFFFF, max(0, round(look.density_kg_m3))).to_bytes(2, "big")
        return data


def _back(message: Message, kind: int, address: bytes, content: bytes) -> bytes:
    return Message(message.sender, message.receiver, kind, message.token, address, content).encoded()


def _said(asked: bytes, data: Mapping[int, bytes]) -> bytes:
    """Id, length and data of each id asked for; length 0 where there is none."""
    return b"".join(bytes((number, len(data.get(number, b"")))) + data.get(number, b"") for number in asked)


def _named(content: bytes) -> list[int]:
    """The ids of what is written."""
    found, at = [], 0
    while at + 2 <= len(content):
        found.append(content[at])
        at += 2 + content[at + 1]
    return found


def _point(nozzle: NozzleView) -> Mapping[int, bytes]:
    up = nozzle.state not in {NozzleState.IDLE, NozzleState.LOCKED}
    return {
        4: b"\x01",
        20: bytes((_STATES[nozzle.state],)),
        21: b"\x01" if up else b"\0",
        29: _number(nozzle.sequence),
        34: number8(nozzle.amount),
        35: number8(nozzle.volume),
        36: price6(nozzle.price),
        37: b"\x01" if up else b"\0",
        38: _product(nozzle),
        41: _number(nozzle.sequence),
    }


def _logical_nozzle(nozzle: NozzleView, index: int) -> Mapping[int, bytes]:
    return {
        5: bytes((nozzle.number,)),
        7: bytes((index + 1,)),
        20: total12(nozzle.totalizer),
        21: total12(nozzle.totalizer_amount),
        22: total12(nozzle.sequence * 100),
    }


def _number(sequence: int) -> bytes:
    """Of a transaction: after 9999 comes 1; 0 when there has been none."""
    return bcd((sequence - 1) % _LAST_NUMBER + 1 if sequence else 0, 2)


def _product(nozzle: NozzleView) -> bytes:
    return bcd(int("".join(char for char in nozzle.grade if char in "0123456789") or "0"), 4)


def _text(text: str, width: int) -> bytes:
    return text.encode("ascii", "replace")[:width].ljust(width)


def _date(at: datetime) -> bytes:
    return bytes.fromhex(f"{at:%Y%m%d}")


def _time(at: datetime) -> bytes:
    return bytes.fromhex(f"{at:%H%M%S}")
