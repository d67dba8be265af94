"""Lines over RFC 2217 and TLS: pyserial's own server on a pseudo-terminal, and a certificate made here."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import os
import pty
import ssl
import threading
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import serial
import serial.rfc2217
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import BadConfig, NotReachable, Probe, Refused
from pumpwatch.cli.driving import probe as probing
from pumpwatch.line import WireLine
from pumpwatch.line.remote_port import COM_PORT, DONT, IAC, SB, SE, WILL, ComPort
from pumpwatch.plugins import Plugins
from pumpwatch.settings import LineAddress

ALL_BYTES = bytes(range(256))


def answered(received: bytes) -> int:
    return len(ALL_BYTES) if len(received) >= len(ALL_BYTES) else 0


class Outlet:
    """What ``PortManager`` writes its answers to."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def write(self, data: bytes) -> None:
        self._writer.write(data)


@asynccontextmanager
async def serial_server(port: serial.Serial) -> AsyncIterator[str]:
    """The port behind pyserial's RFC 2217 server; its address."""
    loop, serving = asyncio.get_running_loop(), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        manager = serial.rfc2217.PortManager(port, Outlet(writer))
        loop.add_reader(port.fileno(), lambda: writer.write(b"".join(manager.escape(port.read(port.in_waiting)))))
        with suppress(ConnectionError):
            while data := await reader.read(1000):
                port.write(b"".join(manager.filter(data)))
        loop.remove_reader(port.fileno())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    await asyncio.gather(*serving)


class Port(serial.Serial):
    """A pseudo-terminal has no modem lines, of which the server tells."""

    cts = dsr = ri = cd = False


@contextmanager
def device() -> Iterator[serial.Serial]:
    """A device on a pseudo-terminal that sends back what it gets, and the port it hangs on."""
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)

    def echo() -> None:
        with suppress(OSError):
            while data := os.read(ours, 1000):
                os.write(ours, data)

    thread = threading.Thread(target=echo)
    thread.start()
    port = Port(os.ttyname(theirs), timeout=0)
    try:
        yield port
    finally:
        port.close()
        os.close(theirs)  # the last one on that side: the thread's read ends
        thread.join()
        os.close(ours)


async def test_every_byte_passes_a_port_that_was_set_from_afar() -> None:
    with device() as port:
        async with serial_server(port) as where:
            line = WireLine(LineAddress.parse(f"rfc2217://{where}?baud=19200&parity=N&stopbits=2"))
            assert await line.ask(ALL_BYTES, answered) == ALL_BYTES
            assert (port.baudrate, port.bytesize, port.parity, port.stopbits) == (19200, 8, "N", 2)
            assert await line.ask(ALL_BYTES[::-1], answered) == ALL_BYTES[::-1]
            line.close()


@asynccontextmanager
async def talker(
    says: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    serving = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with suppress(ConnectionError, ssl.SSLError):
            await says(reader, writer)
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    await asyncio.gather(*serving)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (bytes([IAC, DONT, COM_PORT]), Refused, "does not speak RFC 2217"),
        (bytes([IAC, SB, COM_PORT, 101, 0, 0, 9, 96, IAC, SE]), Refused, "this baud; it says 00000960"),
        (b"", NotReachable, "closed the connection"),
    ],
)
async def test_a_server_that_does_not_set_the_port(answer: bytes, error: type[Exception], words: str) -> None:
    async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        if answer:
            await reader.read(-1)

    async with talker(says) as where:
        line = WireLine(LineAddress.parse(f"rfc2217://{where}"))
        with pytest.raises(error, match=words):
            await line.ask(b"?", len)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.lists(st.integers(1, 50), max_size=20))
def test_what_the_port_says_arrives_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    sent, got, port = ComPort.escaped(data), b"", ComPort(9600, 8, "N", 1)
    for cut in [*cuts, len(sent)]:
        passed, answer = port.feed(sent[:cut])
        assert not answer
        got, sent = got + passed, sent[cut:]
    assert got == data


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000))
def test_rubbish_makes_no_endless_talk(data: bytes) -> None:
    port = ComPort(9600, 8, "N", 1)
    said = sum(len(port.feed(data)[1]) for _ in range(5))
    assert said <= 3 * 512, "each option is answered once, either way"
    assert not port.feed(bytes([IAC, SE, IAC, WILL, 0]))[1]


# ---------------------------------------------------------------- TLS


def certificate(folder: Path, name: str, *, ip: str | None = None) -> tuple[str, str]:
    """A self-signed certificate and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if ip:
        names.append(x509.IPAddress(ipaddress.ip_address(ip)))
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(files[0]), str(files[1])


@asynccontextmanager
async def secure_device(cert: str, key: str, believes: str = "") -> AsyncIterator[str]:
    """Sends back what it gets; with ``believes`` only to who shows that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if believes:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(believes)

    async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)

    async with talker(says, context) as where:
        yield where


async def asked(address: str) -> bytes:
    line = WireLine(LineAddress.parse(address))
    try:
        return await line.ask(ALL_BYTES, answered)
    finally:
        line.close()
        await asyncio.sleep(0)


async def test_a_device_over_tls_shows_who_it_is_and_learns_who_we_are(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "device", ip="127.0.0.1")
    own, own_key = certificate(tmp_path, "server")
    async with secure_device(cert, key, believes=own) as where:
        assert await asked(f"tls://{where}?ca={cert}&cert={own}&key={own_key}") == ALL_BYTES
        assert await asked(f"tls://{where}?ca={cert}&cert={own}&key={own_key}&name=device") == ALL_BYTES
        with pytest.raises(NotReachable):
            await asked(f"tls://{where}?ca={cert}")


async def test_a_device_that_is_another_is_not_talked_to(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "device")
    other, _ = certificate(tmp_path, "other")
    async with secure_device(cert, key) as where:
        with pytest.raises(NotReachable, match=r"certificate: .*check ca, and name"):
            await asked(f"tls://{where}?ca={other}&name=device")
        with pytest.raises(NotReachable, match=r"certificate: .*check ca, and name"):
            await asked(f"tls://{where}?ca={cert}")
        with pytest.raises(BadConfig, match="PEM"):
            await asked(f"tls://{where}?ca={tmp_path / 'none.pem'}")
        with pytest.raises(BadConfig, match="PEM"):
            await asked(f"tls://{where}?ca={key}")
        assert await asked(f"tls://{where}?ca={cert}&name=device") == ALL_BYTES


# ---------------------------------------------------------------- probing


def answer_of_a_unit(request: bytes) -> bytes:
    """Of Modbus TCP unit 1, for one register; nothing to anybody else."""
    if len(request) != 12 or request[6] != 1:
        return b""
    return request[:4] + bytes([0, 5, 1, request[7], 2, 0, 7])


async def modbus_found_on(address: str) -> list[tuple[str, dict[str, Any]]]:
    asked = [("modbus", each) for each in Plugins.discover().driver("modbus").probes() if each.request]
    found = await probing.look(LineAddress.parse(address), [], asked, "?" in address, len)
    return [(each.line, each.settings) for each in found]


async def test_a_device_over_tls_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "LISTENED_S", 0.05)
    monkeypatch.setattr(probing, "ANSWERED_S", 0.1)
    cert, key = certificate(tmp_path, "device", ip="127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(answer_of_a_unit(data))

    async with talker(says, context) as where:
        address = f"tls://{where}?ca={cert}"
        assert (address, {"unit": 1, "framing": "tcp"}) in await modbus_found_on(address)
        with pytest.raises(NotReachable, match=r"certificate: .*check ca, and name"):
            await modbus_found_on(f"tls://{where}")


async def test_a_port_far_away_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "LISTENED_S", 0.1)
    heard: list[int] = []

    def recognise(received: bytes) -> str:
        heard.append(port.baudrate)
        return ""

    ears = [("quiet", Probe(recognise, baud=baud)) for baud in (4800, 19200)]
    with device() as port:
        async with serial_server(port) as where:
            assert await probing.look(LineAddress.parse(f"rfc2217://{where}"), ears, [], False, len) == []
    assert heard == [4800, 19200]
