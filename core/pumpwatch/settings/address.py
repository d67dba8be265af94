"""The address of a line: ``tcp://192.168.1.20:502``, ``serial:/dev/ttyS1?baud=9600&parity=O`` and others."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from pumpwatch.errors import BadConfig
from pumpwatch.settings.problems import REMEDY, did_you_mean

_TCP_EXAMPLE = "write tcp://HOST:PORT, for example tcp://192.168.1.20:502"
_SERIAL_EXAMPLE = "write serial:PORT, for example serial:/dev/ttyS1?baud=9600&parity=O"
_OPC_EXAMPLE = "write opc.tcp://HOST:PORT/PATH, for example opc.tcp://192.168.1.20:4840"
_PARITIES = ("N", "E", "O", "M", "S")
_HOST_AND_PORT = re.compile(r"(?:\[(?P<six>[^\[\]/\s]+)\]|(?P<host>[^\[\]:/@\s]+)):(?P<port>[0-9]{1,6})/?", re.ASCII)
_OPTIONS = ("baud", "bytesize", "parity", "stopbits")


class BadAddress(BadConfig):
    """A line address that says nothing a line could be opened with."""

    def __init__(self, text: str, message: str, remedy: str) -> None:
        self.message, self.remedy = message, remedy
        super().__init__(f'line address "{text}": {message}{REMEDY}{remedy}')


@dataclass(frozen=True, slots=True)
class LineAddress:
    """Where a line is and how it is spoken on; equal addresses are one line."""

    scheme: Literal["tcp", "serial", "opc.tcp", "call"]
    """Bytes over TCP or a serial port; an OPC UA server, to which the library opens the connection; one who calls."""
    host: str = ""
    """TCP and OPC UA: name or IP address, IPv6 without brackets."""
    port: int = 0
    """TCP and OPC UA: 1 to 65535."""
    path: str = ""
    """OPC UA: what follows the port, with its slash."""
    device: str = ""
    """Serial: the system's name of the port, for example ``/dev/ttyS1``."""
    baud: int = 9600
    bytesize: int = 8
    parity: str = "N"
    """Serial: N none, E even, O odd, M mark, S space."""
    stopbits: float = 1.0
    """Serial: 1, 1.5 or 2."""

    @classmethod
    def parse(cls, text: str) -> LineAddress:
        """Read an address as it stands in the configuration; raises ``BadConfig`` with the remedy."""
        scheme, colon, rest = text.strip().partition(":")
        match scheme.lower():
            case "tcp" if colon:
                return _tcp(text, rest)
            case "serial" if colon:
                return _serial(text, rest)
            case "opc.tcp" if colon:
                return _opc(text, rest)
            case "call" if colon:
                if rest:
                    raise BadAddress(text, "who calls has no address", "write call: and nothing more")
                return LineAddress("call")
            case "rfc2217":
                raise BadAddress(
                    text,
                    "rfc2217:// is not supported yet",
                    "set the serial server to raw TCP and write tcp://HOST:PORT",
                )
            case _:
                raise BadAddress(
                    text,
                    "a line begins with tcp://, serial:, opc.tcp:// or call:",
                    f"{_TCP_EXAMPLE}; or {_SERIAL_EXAMPLE}",
                )

    @property
    def wire(self) -> str:
        """What is physically shared: two addresses with one wire must agree in everything else."""
        match self.scheme:
            case "serial":
                return f"serial:{self.device}"
            case "call":
                return "call:"
            case scheme:
                return f"{scheme}://{self._host_and_port}{self.path}"

    @property
    def _host_and_port(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        if self.scheme != "serial":
            return self.wire
        return f"{self.wire}?baud={self.baud}&bytesize={self.bytesize}&parity={self.parity}&stopbits={self.stopbits:g}"


def _tcp(text: str, rest: str) -> LineAddress:
    if not rest.startswith("//"):
        raise BadAddress(text, "two slashes are missing", _TCP_EXAMPLE)
    if "?" in rest:
        raise BadAddress(text, "a tcp line has no options", "leave out everything from the question mark on")
    host, port = _host_and_port(text, rest[2:], _TCP_EXAMPLE)
    return LineAddress("tcp", host=host, port=port)


def _opc(text: str, rest: str) -> LineAddress:
    if not rest.startswith("//"):
        raise BadAddress(text, "two slashes are missing", _OPC_EXAMPLE)
    where, slash, path = rest[2:].partition("/")
    if set(path) & set(" ?#\\\"'<>") or not path.isprintable():
        raise BadAddress(text, f"/{path} is no path", _OPC_EXAMPLE)
    host, port = _host_and_port(text, where, _OPC_EXAMPLE)
    return LineAddress("opc.tcp", host=host, port=port, path=f"{slash}{path}" if path else "")


def _host_and_port(text: str, where: str, example: str) -> tuple[str, int]:
    found = _HOST_AND_PORT.fullmatch(where)
    if found is None:
        raise BadAddress(text, "host or port cannot be read", example)
    port = int(found["port"])
    if not 1 <= port <= 65535:
        raise BadAddress(text, f"there is no port {port}", "write a port from 1 to 65535")
    if found["six"] is None:
        return found["host"].lower(), port
    try:
        return str(ipaddress.IPv6Address(found["six"])), port
    except ValueError:
        raise BadAddress(text, f"[{found['six']}] is no IPv6 address", example) from None


def _serial(text: str, rest: str) -> LineAddress:
    device, _, query = rest.partition("?")
    device = device.removeprefix("//")
    if not device:
        raise BadAddress(text, "no serial port is named", _SERIAL_EXAMPLE)
    options: dict[str, str] = {}
    for item in query.split("&") if query else ():
        name, equals, value = item.partition("=")
        if name not in _OPTIONS:
            raise BadAddress(text, f"unknown option `{name}`", did_you_mean(name, _OPTIONS))
        if name in options:
            raise BadAddress(text, f"option `{name}` stands there twice", "keep one of them")
        if not equals or not value:
            raise BadAddress(text, f"option `{name}` has no value", f"write {name}=…")
        options[name] = value
    return LineAddress(
        "serial",
        device=device,
        baud=_baud(text, options.get("baud", "9600")),
        bytesize=int(_one_of(text, "bytesize", options.get("bytesize", "8"), ("5", "6", "7", "8"))),
        parity=_one_of(text, "parity", options.get("parity", "N").upper(), _PARITIES),
        stopbits=float(_one_of(text, "stopbits", options.get("stopbits", "1"), ("1", "1.5", "2"))),
    )


def _baud(text: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()) or not 50 <= int(value[:9]) <= 4_000_000:
        raise BadAddress(text, f"baud={value} is no line speed", "write bits a second, for example baud=9600")
    return int(value)


def _one_of(text: str, name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise BadAddress(text, f"{name}={value} is not possible", f"write one of {', '.join(choices)}")
    return value
