"""What goes wrong on the wires: which faults are at work where, and what they make of a reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig
from pumpwatch_sim.chance import generator
from pumpwatch_sim.fleet import when

if TYPE_CHECKING:
    from numpy.random import Generator

    from pumpwatch_sim.fleet import FaultEntry
    from pumpwatch_sim.world.plans import StationPlan

_HEX = b"0123456789ABCDEF"


class FaultKind(StrEnum):
    """What is wrong with a wire."""

    SILENCE = "silence"
    """Replies are lost."""
    GARBAGE = "garbage"
    """Replies are other bytes of the same number."""
    TRUNCATION = "truncation"
    """The end of a reply is missing."""
    WRONG_CHECKSUM = "wrong_checksum"
    WRONG_ADDRESS = "wrong_address"
    """Another device seems to answer."""
    DELAY = "delay"
    """Replies come ``delay_s`` late."""
    DISCONNECT = "disconnect"
    """The connection ends instead of a reply."""
    JAM = "jam"
    """By radio: no station of the town is heard."""
    POWER_CUT = "power_cut"
    """Nothing at the station answers."""


_DEAF = frozenset({FaultKind.JAM, FaultKind.POWER_CUT})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one station's lines."""

    station_id: str
    protocol: str | None
    """None: all its lines."""
    kind: FaultKind
    start_us: int
    end_us: int | None
    share: float = 1.0
    """Of the replies."""
    delay_s: float = 1.0
    source: str = ""
    """The station at which it was set, when it reaches others too."""

    def at_work(self, protocol: str, now_us: int) -> bool:
        """Whether it spoils this line now."""
        begun = self.start_us <= now_us and (self.end_us is None or now_us < self.end_us)
        return begun and self.protocol in (None, protocol)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the replies of a protocol carry address and checksum."""

    address: int | None = None
    """Index of the address byte."""
    checksum: tuple[int, int] | None = None
    """First and end index of the checksum, counted from the end of the reply."""
    text: bool = False
    """Address and checksum are written in hexadecimal digits."""
    seal: Callable[[bytes], bytes] | None = None
    """The reply with its checksum made right again."""


@dataclass(frozen=True, slots=True)
class Spoilt:
    """What becomes of a reply."""

    data: bytes
    delay_s: float = 0.0
    hang_up: bool = False


class Faults:
    """All faults of a county; the fleet's, and those that come and go by order."""

    def __init__(self, stations: Sequence[StationPlan], entries: Sequence[FaultEntry], start_us: int) -> None:
        """Raises ``BadConfig`` for an entry about a station that is not there."""
        self._stations = {plan.station_id: plan for plan in stations}
        self._by_station: dict[str, list[Fault]] = {}
        for entry in entries:
            if entry.station not in self._stations:
                raise BadConfig(f"[[fault]] {entry.kind}: no station {entry.station!r} in this county")
            onset_us = when(entry.onset, start_us)
            end_us = None if entry.lasts is None else when(entry.lasts, onset_us)
            kind = FaultKind(entry.kind)
            self.add(
                Fault(entry.station, entry.protocol, kind, onset_us, end_us, entry.share, entry.delay_s, entry.station)
            )

    def add(self, fault: Fault, now_us: int = 0) -> list[str]:
        """Set a fault; the stations it reaches, where those that are over at ``now_us`` are forgotten."""
        reached = [fault.station_id]
        if fault.kind is FaultKind.JAM:
            reached += self._neighbours(fault.station_id)
        for station in reached:
            spread = Fault(
                station,
                fault.protocol if station == fault.station_id else None,
                fault.kind,
                fault.start_us,
                fault.end_us,
                fault.share,
                fault.delay_s,
                fault.station_id,
            )
            lasting = [old for old in self._by_station.get(station, ()) if old.end_us is None or now_us < old.end_us]
            self._by_station[station] = [*lasting, spread]
        return reached

    def clear(self, station: str, protocol: str | None = None, kind: FaultKind | None = None) -> int:
        """Take away the faults set at a station, all or those of a line or a kind; returns how many there were."""
        cleared = 0
        for place, faults in self._by_station.items():
            kept = [
                fault
                for fault in faults
                if fault.source != station
                or (protocol is not None and fault.protocol != protocol)
                or (kind is not None and fault.kind is not kind)
            ]
            cleared += len(faults) - len(kept) if place == station else 0
            self._by_station[place] = kept
        return cleared

    def at_work(self, station: str, protocol: str, now_us: int) -> list[Fault]:
        """The faults of a line now, in the order in which they were set."""
        faults = self._by_station.get(station)
        if not faults:
            return []
        return [fault for fault in faults if fault.at_work(protocol, now_us)]

    def all_at_work(self, now_us: int) -> list[Fault]:
        """The faults of all lines now."""
        every = [fault for station in sorted(self._by_station) for fault in self._by_station[station]]
        return [fault for fault in every if fault.at_work(fault.protocol or "", now_us)]

    def _neighbours(self, station: str) -> list[str]:
        town = self._stations[station].registered.town
        return [name for name, plan in self._stations.items() if name != station and plan.registered.town == town]


class Spoiler:
    """The faults of one line."""

    def __init__(self, faults: Faults, station: str, protocol: str, frame: Frame, seed: int) -> None:
        self._faults = faults
        self._station = station
        self._protocol = protocol
        self._frame = frame
        self._chance: Generator = generator(seed, "wire", station, protocol)

    def deaf(self, now_us: int) -> bool:
        """Whether nothing gets through in either direction."""
        return any(fault.kind in _DEAF for fault in self._faults.at_work(self._station, self._protocol, now_us))

    def reply(self, data: bytes, now_us: int) -> Spoilt:
        """What the peer gets instead of a reply."""
        delay_s, hang_up = 0.0, False
        for fault in self._faults.at_work(self._station, self._protocol, now_us):
            if not data or (fault.share < 1.0 and self._chance.random() >= fault.share):
                continue
            match fault.kind:
                case FaultKind.DELAY:
                    delay_s += fault.delay_s
                case FaultKind.DISCONNECT:
                    data, hang_up = b"", True
                case kind:
                    data = self._spoil(data, kind)
        return Spoilt(data, delay_s, hang_up)

    def _spoil(self, data: bytes, kind: FaultKind) -> bytes:
        match kind:
            case FaultKind.GARBAGE:
                return self._chance.bytes(len(data))
            case FaultKind.TRUNCATION:
                return data[: int(self._chance.integers(1, len(data)))] if len(data) > 1 else b""
            case FaultKind.WRONG_CHECKSUM:
                return self._checksum(data)
            case FaultKind.WRONG_ADDRESS:
                return self._address(data)
            case _:
                return b""

    def _checksum(self, data: bytes) -> bytes:
        frame = self._frame
        if frame.checksum is None or len(data) < -frame.checksum[0]:
            return _changed(data, len(data) - 1, text=False)
        first, end = frame.checksum
        return _changed(data, len(data) + int(self._chance.integers(first, end)), text=frame.text)

    def _address(self, data: bytes) -> bytes:
        frame = self._frame
        if frame.address is None or frame.address >= len(data):
            return _changed(data, 0, text=False)
        wrong = _changed(data, frame.address, text=frame.text)
        return frame.seal(wrong) if frame.seal is not None else wrong


def _changed(data: bytes, index: int, *, text: bool) -> bytes:
    """Another byte there; a hexadecimal digit stays one."""
    byte = data[index]
    other = _HEX[(_HEX.index(byte) + 1) % 16] if text and byte in _HEX else byte ^ 1
    return data[:index] + bytes([other]) + data[index + 1 :]


def fault_of(order: Mapping[str, object], now_us: int, speed: float) -> Fault:
    """The fault an order from the control port asks for, beginning now. Raises ``BadConfig`` for one that cannot be."""
    kinds = [kind.value for kind in FaultKind]
    kind, station, protocol = order.get("kind"), order.get("station"), order.get("protocol")
    if not isinstance(station, str):
        raise BadConfig("a fault needs a station, for example S07")
    if kind not in kinds:
        raise BadConfig(f"no fault {kind!r}; there are {', '.join(kinds)}")
    share = _number(order, "share", 1.0, 1.0)
    delay_s = _number(order, "delay_s", 1.0, 60.0)
    lasts_s = order.get("for_s")
    end_us = None if lasts_s is None else now_us + round(_number(order, "for_s", 0.0, 1e9) * 1e6 * speed)
    name = protocol if isinstance(protocol, str) else None
    return Fault(station, name, FaultKind(str(kind)), now_us, end_us, share, delay_s, station)


def _number(order: Mapping[str, object], key: str, default: float, most: float) -> float:
    value = order.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value <= most:
        raise BadConfig(f"{key}: {value!r} is no number above 0 and up to {most:g}")
    return float(value)
