"""The address of a line: ``tcp://192.168.1.20:502``, ``serial:/dev/ttyS1?baud=9600&parity=O`` and others."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Literal

from pumpwatch.errors import BadConfig
from pumpwatch.settings.problems import REMEDY, did_you_mean

_TCP_EXAMPLE = "write tcp://HOST:PORT, for example tcp://192.168.1.20:502"
_SERIAL_EXAMPLE = "write serial:PORT, for example serial:/dev/ttyS1?baud=9600&parity=O"
_TLS_EXAMPLE = "write tls://HOST:PORT, for example tls://192.168.1.20:802?ca=station.pem&cert=own.pem&key=own.key"
_REMOTE_EXAMPLE = "write rfc2217://HOST:PORT, for example rfc2217://192.168.1.20:4001?baud=9600&parity=E"
_OPC_EXAMPLE = "write opc.tcp://HOST:PORT/PATH, for example opc.tcp://192.168.1.20:4840"
_PARITIES = ("N", "E", "O", "M", "S")
_HOST_AND_PORT = re.compile(r"(?:\[(?P<six>[^\[\]/\s]+)\]|(?P<host>[^\[\]:/@\s]+)):(?P<port>[0-9]{1,6})/?", re.ASCII)
_PORT_OPTIONS = ("baud", "bytesize", "parity", "stopbits")
_TLS_OPTIONS = ("ca", "cert", "key", "name")


class BadAddress(BadConfig):
    """A line address that says nothing a line could be opened with."""

    def __init__(self, text: str, message: str, remedy: str) -> None:
        self.message, self.remedy = message, remedy
        super().__init__(f'line address "{text}": {message}{REMEDY}{remedy}')


@dataclass(frozen=True, slots=True)
class LineAddress:
    """Where a line is and how it is spoken on; equal addresses are one line."""

    scheme: Literal["tcp", "tls", "rfc2217", "serial", "opc.tcp", "call"]
    """Bytes over TCP, TLS, a serial port elsewhere or one here; an OPC UA server, to which the library opens the
    connection; one who calls."""
    host: str = ""
    """All but serial and call: name or IP address, IPv6 without brackets."""
    port: int = 0
    """All but serial and call: 1 to 65535."""
    path: str = ""
    """OPC UA: what follows the port, with its slash."""
    device: str = ""
    """Serial: the system's name of the port, for example ``/dev/ttyS1``."""
    baud: int = 9600
    """Serial and RFC 2217, as the next three."""
    bytesize: int = 8
    parity: str = "N"
    """N none, E even, O odd, M mark, S space."""
    stopbits: float = 1.0
    """1, 1.5 or 2."""
    ca: str = ""
    """TLS: file of the certificates that are believed; else those the system believes."""
    cert: str = ""
    """TLS: file of our own certificate, for devices that ask who we are."""
    key: str = ""
    """TLS: file of its private key; else it is in ``cert``."""
    name: str = ""
    """TLS: what stands in the device's certificate; the host without it."""

    @classmethod
    def parse(cls, text: str) -> LineAddress:
        """Read an address as it stands in the configuration; raises ``BadConfig`` with the remedy."""
        scheme, colon, rest = text.strip().partition(":")
        match scheme.lower():
            case "tcp" if colon:
                return _tcp(text, rest)
            case "tls" if colon:
                return _tls(text, rest)
            case "rfc2217" if colon:
                return _remote(text, rest)
            case "serial" if colon:
                return _serial(text, rest)
            case "opc.tcp" if colon:
                return _opc(text, rest)
            case "call" if colon:
                if rest:
                    raise BadAddress(text, "who calls has no address", "write call: and nothing more")
                return LineAddress("call")
            case _:
                raise BadAddress(
                    text,
                    "a line begins with tcp://, tls://, rfc2217://, serial:, opc.tcp:// or call:",
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
        match self.scheme:
            case "serial" | "rfc2217":
                bits = f"bytesize={self.bytesize}&parity={self.parity}&stopbits={self.stopbits:g}"
                return f"{self.wire}?baud={self.baud}&{bits}"
            case "tls":
                options = "&".join(f"{name}={value}" for name in _TLS_OPTIONS if (value := getattr(self, name)))
                return f"{self.wire}?{options}" if options else self.wire
            case _:
                return self.wire


def _tcp(text: str, rest: str) -> LineAddress:
    where = _after_slashes(text, rest, _TCP_EXAMPLE)
    if "?" in where:
        raise BadAddress(text, "a tcp line has no options", "leave out everything from the question mark on")
    host, port = _host_and_port(text, where, _TCP_EXAMPLE)
    return LineAddress("tcp", host=host, port=port)


def _tls(text: str, rest: str) -> LineAddress:
    where, _, query = _after_slashes(text, rest, _TLS_EXAMPLE).partition("?")
    host, port = _host_and_port(text, where, _TLS_EXAMPLE)
    options = _options(text, query, _TLS_OPTIONS)
    if "key" in options and "cert" not in options:
        raise BadAddress(text, "a key is of no use without its certificate", "add cert=…")
    ca, cert, key, name = (options.get(option, "") for option in _TLS_OPTIONS)
    return LineAddress("tls", host=host, port=port, ca=ca, cert=cert, key=key, name=name)


def _remote(text: str, rest: str) -> LineAddress:
    where, _, query = _after_slashes(text, rest, _REMOTE_EXAMPLE).partition("?")
    host, port = _host_and_port(text, where, _REMOTE_EXAMPLE)
    return _with_port_options(text, query, LineAddress("rfc2217", host=host, port=port))


def _after_slashes(text: str, rest: str, example: str) -> str:
    if not rest.startswith("//"):
        raise BadAddress(text, "two slashes are missing", example)
    return rest[2:]


def _opc(text: str, rest: str) -> LineAddress:
    where, slash, path = _after_slashes(text, rest, _OPC_EXAMPLE).partition("/")
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
    return _with_port_options(text, query, LineAddress("serial", device=device))


def _options(text: str, query: str, known: tuple[str, ...]) -> dict[str, str]:
    """What follows the question mark, by name."""
    options: dict[str, str] = {}
    for item in query.split("&") if query else ():
        name, equals, value = item.partition("=")
        if name not in known:
            raise BadAddress(text, f"unknown option `{name}`", did_you_mean(name, known))
        if name in options:
            raise BadAddress(text, f"option `{name}` stands there twice", "keep one of them")
        if not equals or not value:
            raise BadAddress(text, f"option `{name}` has no value", f"write {name}=…")
        options[name] = value
    return options


def _with_port_options(text: str, query: str, address: LineAddress) -> LineAddress:
    options = _options(text, query, _PORT_OPTIONS)
    return replace(
        address,
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
