from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.errors import BadConfig
from pumpwatch.settings import LineAddress


def test_tcp() -> None:
    address = LineAddress.parse("tcp://192.168.1.20:502")
    assert (address.scheme, address.host, address.port) == ("tcp", "192.168.1.20", 502)
    assert LineAddress.parse("TCP://Gauge-1.local:10001/").host == "gauge-1.local"
    assert LineAddress.parse("tcp://[fe80::1%eth0]:502").host == "fe80::1%eth0"


def test_serial() -> None:
    address = LineAddress.parse("serial:/dev/ttyS1?baud=19200&parity=o&bytesize=7&stopbits=1.5")
    assert address == LineAddress("serial", device="/dev/ttyS1", baud=19200, parity="O", bytesize=7, stopbits=1.5)
    plain = LineAddress.parse("serial:///dev/ttyUSB0")
    assert (plain.device, plain.baud, plain.bytesize, plain.parity, plain.stopbits) == ("/dev/ttyUSB0", 9600, 8, "N", 1)
    assert LineAddress.parse("serial:COM3").device == "COM3"


def test_a_port_elsewhere_is_set_as_one_here() -> None:
    address = LineAddress.parse("rfc2217://10.0.0.9:4001?baud=19200&parity=e")
    assert (address.host, address.port, address.baud, address.parity) == ("10.0.0.9", 4001, 19200, "E")
    assert str(address) == "rfc2217://10.0.0.9:4001?baud=19200&bytesize=8&parity=E&stopbits=1"
    assert address.wire == "rfc2217://10.0.0.9:4001"


def test_tls() -> None:
    address = LineAddress.parse("tls://10.0.0.9:802?ca=/etc/station.pem&cert=own.pem&key=own.key&name=pump-1")
    assert (address.ca, address.cert, address.key, address.name) == ("/etc/station.pem", "own.pem", "own.key", "pump-1")
    assert str(LineAddress.parse("tls://10.0.0.9:802")) == "tls://10.0.0.9:802"


def test_defaults_written_out_are_the_same_line() -> None:
    assert LineAddress.parse("serial:/dev/ttyS1") == LineAddress.parse("serial:/dev/ttyS1?baud=9600&parity=N")
    assert hash(LineAddress.parse("serial:/dev/ttyS1")) == hash(LineAddress.parse("serial:/dev/ttyS1?stopbits=1"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rfc2217:10.0.0.1:4001", "two slashes"),
        ("rfc2217://10.0.0.1:4001?speed=9600", "unknown option `speed`"),
        ("rfc2217://10.0.0.1:4001?parity=X", "N, E, O, M, S"),
        ("tls://10.0.0.1", "tls://HOST:PORT"),
        ("tls://10.0.0.1:802?baud=9600", "unknown option `baud`"),
        ("tls://10.0.0.1:802?key=own.key", "cert=…"),
        ("tcp:10.0.0.1:502", "two slashes"),
        ("tcp://10.0.0.1", "tcp://HOST:PORT"),
        ("tcp://:502", "tcp://HOST:PORT"),
        ("tcp://[h]:502", "no IPv6 address"),
        ("tcp://h:0", "no port 0"),
        ("tcp://h:65536", "no port 65536"),
        ("tcp://h:٥٠٢", "tcp://HOST:PORT"),
        ("tcp://h:502?baud=9600", "no options"),
        ("tcp://u:p@h:502", "tcp://HOST:PORT"),
        ("serial:", "no serial port"),
        ("serial:/dev/ttyS1?bauds=9600", "did you mean `baud`"),
        ("serial:/dev/ttyS1?baud=fast", "no line speed"),
        ("serial:/dev/ttyS1?baud=99999999999999999999", "no line speed"),
        ("serial:/dev/ttyS1?baud=9600&baud=1200", "twice"),
        ("serial:/dev/ttyS1?parity=", "no value"),
        ("serial:/dev/ttyS1?parity=X", "N, E, O, M, S"),
        ("serial:/dev/ttyS1?bytesize=9", "5, 6, 7, 8"),
        ("serial:/dev/ttyS1?stopbits=3", "1, 1.5, 2"),
        ("tcp", "begins with tcp://, tls://"),
        ("/dev/ttyS1", "begins with tcp://, tls://"),
        ("", "begins with tcp://, tls://"),
    ],
)
def test_what_cannot_be_a_line_is_refused_with_a_remedy(text: str, says: str) -> None:
    with pytest.raises(BadConfig) as refused:
        LineAddress.parse(text)
    assert says in str(refused.value)
    assert text in str(refused.value)
    assert " — " in str(refused.value)


@settings(deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"(tcp://|tls://h:1|rfc2217://h:1|serial:)[!-~]{0,40}", fullmatch=True)))
def test_any_text_is_read_or_refused_and_what_is_read_reads_back(text: str) -> None:
    try:
        address = LineAddress.parse(text)
    except BadConfig:
        return
    assert LineAddress.parse(str(address)) == address
