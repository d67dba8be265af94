"""What the InfluxDB store makes of answers: not now, never, and only this one; and where its secrets show up."""

from __future__ import annotations

import asyncio
import gzip
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr, ValidationError

from pumpwatch import BadConfig, Batch, NotReachable, Refused, SampleBatch, Store, Transaction, to_us
from pumpwatch.engine.wiring import wire
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings
from pumpwatch_influx.settings import InfluxSettings
from pumpwatch_influx.store import InfluxStore

T = datetime(2026, 11, 22, tzinfo=UTC)
TOKEN = "not-a-real-token"
NOTHING = (200, '{"results":[{"statement_id":0}]}')


@dataclass
class Fake:
    """A server that answers writes as it is told, and knows nothing."""

    write: Callable[[list[str]], tuple[int, str]] = lambda lines: (204, "")
    query: Callable[[str], tuple[int, str]] = lambda q: NOTHING
    seen: list[list[str]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = field(default_factory=list)
    url: str = ""
    talks: list[asyncio.Task[None]] = field(default_factory=list)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talks.append(asyncio.ensure_future(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readline():
                _, target, _ = request.decode().split(" ")
                headers = {}
                while line := (await reader.readline()).decode().strip():
                    key, _, value = line.partition(": ")
                    headers[key.lower()] = value
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                parts = urlsplit(target)
                self.asked.append((parts.path, parse_qs(parts.query), headers))
                if parts.path == "/api/v2/write":
                    self.seen.append(gzip.decompress(body).decode().split("\n"))
                    status, answer = self.write(self.seen[-1])
                else:
                    status, answer = self.query(parse_qs(body.decode())["q"][0])
                head = f"HTTP/1.1 {status} Told\r\nContent-Length: {len(answer.encode())}\r\n\r\n"
                writer.write(head.encode() + answer.encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def faked(fake: Fake, tls: ssl.SSLContext | None = None, **more: object) -> AsyncIterator[InfluxStore]:
    server = await asyncio.start_server(fake.accept, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    fake.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    store = InfluxStore(InfluxSettings.model_validate({"url": fake.url, "token": TOKEN} | more), Path("unused"))
    try:
        yield store
    finally:
        await store.close()
        server.close()
        await asyncio.gather(*fake.talks)


def batch(n: int = 1, *records: Transaction) -> Batch:
    at = np.arange(n, dtype=np.int64) * 1_000_000 + to_us(T)
    values = np.arange(n, dtype=np.float64)
    samples = SampleBatch("S1", ("S1/D1/volume",) * n, at, values, (), np.zeros(n, np.uint8))
    return Batch("S1", samples, records, T)


async def test_a_bad_point_alone_is_refused_and_the_rest_is_kept() -> None:
    def write(lines: list[str]) -> tuple[int, str]:
        bad = any("volume=13 " in line for line in lines)
        return (400, '{"error":"partial write: field type conflict dropped=1"}') if bad else (204, "")

    fake = Fake(write)
    async with faked(fake) as store:
        await store.open()
        with pytest.raises(Refused, match=r"volume=13 .*field type conflict"):
            await store.write([batch(40)])
    kept = {line for lines in fake.seen if write(lines)[0] == 204 for line in lines}
    assert len(kept) == 39


async def test_what_is_too_large_is_halved_until_it_fits() -> None:
    fake = Fake(lambda lines: (413, "<html>nginx</html>") if len(lines) > 3 else (204, ""))
    async with faked(fake) as store:
        await store.open()
        await store.write([batch(40)])
    assert sorted(line for lines in fake.seen if len(lines) <= 3 for line in lines) == sorted(fake.seen[0])


async def test_writes_are_cut_compressed_and_say_where_to() -> None:
    fake = Fake()
    async with faked(fake, request_bytes=1_000) as store:
        await store.open()
        await store.write([batch(100, Transaction("S1-N1", 1, T, T, 20.0, 150.0, 7.5))])
    sizes = [len("\n".join(lines)) for lines in fake.seen]
    assert len(sizes) > 3
    assert max(sizes) <= 1_000
    writes = [(q, h) for path, q, h in fake.asked if path == "/api/v2/write"]
    assert writes[0][0] == {"org": ["pumpwatch"], "bucket": ["pumpwatch/samples"], "precision": ["us"]}
    assert writes[-1][0]["bucket"] == ["pumpwatch/records"]
    assert all(h["content-encoding"] == "gzip" and h["authorization"] == f"Token {TOKEN}" for _, h in writes)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, '{"error":"unauthorized"}', "correct the token"),
        (403, '{"code":"forbidden","message":"no"}', "correct the token"),
        (404, '{"error":"database not found: \\"x\\""}', "store init"),
        (429, '{"message":"slow down"}', "slow down.*tries again"),
        (500, '{"error":"timeout"}', "timeout.*tries again"),
        (503, "<html>", "503"),
        (400, "<html>a proxy</html>", "400"),
        (
            400,
            '{"error":"partial write: max-series-per-database limit exceeded: dropped=1"}',
            "raise the server's limit",
        ),
        (302, "", "302"),
    ],
)
async def test_what_is_not_the_points_fault_is_tried_again(status: int, body: str, reason: str) -> None:
    fake = Fake(lambda lines: (status, body))
    async with faked(fake) as store:
        await store.open()
        with pytest.raises(NotReachable, match=reason) as told:
            await store.write([batch(4)])
    assert len(fake.seen) == 1
    assert TOKEN not in str(told.value) + repr(told.value)


async def test_after_a_failure_the_same_is_sent_again_and_only_a_second_report_is_marked() -> None:
    """A mark makes the server's own buckets useless for its time, so a store that was away must not leave any."""
    answers = iter([(503, ""), (204, ""), (204, "")])
    fake = Fake(lambda lines: next(answers))
    async with faked(fake) as store:
        await store.open()
        with pytest.raises(NotReachable):
            await store.write([batch()])
        await store.write([batch()])
        await store.write([batch()])
    at = to_us(T)
    assert fake.seen == [
        [f"samples,device=D1,station=S1 volume=0 {at}"],
        [f"samples,device=D1,station=S1 volume=0 {at}"],
        [f"samples,device=D1,station=S1 volume=0.0,volume:quality=256i {at}"],
    ]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{}",
        "[]",
        '{"results":7}',
        '{"results":[{"statement_id":9,"series":[{"columns":[]}]}]}',
        "null",
        '{"results":[{"statement_id":0,"series":[{"values":[]}]}]}',
        '{"results":[{"error":"database not found"}]}',
        '{"results":[{"series":[{"columns":["time"],"values":[],"partial":true}]}]}',
    ],
)
async def test_answers_that_are_none_are_told_as_such(answer: str) -> None:
    async with faked(Fake(query=lambda q: (200, answer))) as store:
        with pytest.raises(NotReachable, match=r"InfluxDB|no answer|cut"):
            await store.open()


async def test_a_server_that_says_nothing_and_one_that_is_not_there() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store = InfluxStore(InfluxSettings(url=url, timeout_s=0.05), Path("unused"))
    with pytest.raises(NotReachable, match=r"no answer within 0\.05 s"):
        await store.open()
    await store.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(NotReachable, match="is InfluxDB running"):
        await store.open()
    await store.close()
    with pytest.raises(NotReachable, match="closed"):
        await store.latest()


# ---------------------------------------------------------------- secrets and TLS


async def test_the_secret_is_in_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with faked(Fake()) as store:
        await store.open()
        await store.write([batch()])
        assert TOKEN not in repr(store.settings) + store.settings.model_dump_json()
    assert TOKEN not in caplog.text


async def test_user_and_password_are_told_in_the_way_of_version_1() -> None:
    fake = Fake()
    async with faked(fake, user="pumpwatch") as store:
        await store.open()
    assert all(headers["authorization"].startswith("Basic ") for _, _, headers in fake.asked)


def test_a_reference_is_followed_where_nobody_did_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INFLUX_TOKEN", TOKEN)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    for reference in ("env:INFLUX_TOKEN", f"file:{tmp_path}/token"):
        token = InfluxSettings.model_validate({"token": reference}).token
        assert token is not None
        assert token.get_secret_value() == TOKEN
    monkeypatch.delenv("INFLUX_TOKEN")
    with pytest.raises(BadConfig, match="INFLUX_TOKEN is not set"):
        InfluxSettings.model_validate({"token": "env:INFLUX_TOKEN"})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"url": "ftp://here"}, "write an address"),
        ({"url": "http://me:secret@here"}, "may not stand in the address"),
        ({"url": "http://influx.example", "token": TOKEN}, "use https"),
        ({"url": "http://10.0.0.1:8086", "token": TOKEN}, "use https"),
        ({"user": "me"}, "needs its password"),
        ({"database": 'a"; DROP DATABASE b'}, "database"),
        ({"bucket": "x"}, "bucket"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as told:
        InfluxSettings.model_validate(given)
    assert TOKEN not in str(told.value)


def test_the_token_goes_in_the_clear_only_to_this_machine_or_when_allowed() -> None:
    for url in ("http://localhost:8086", "http://[::1]:8086", "https://influx.example"):
        assert InfluxSettings.model_validate({"url": url, "token": TOKEN})
    assert InfluxSettings.model_validate({"url": "http://10.0.0.1", "token": TOKEN, "plain_http": True})


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for this machine that nobody knows, and a server's side with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    pem = folder / "ca.pem"
    pem.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    own = folder / "key.pem"
    own.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, own)
    return pem, context


async def test_certificates_are_checked(tmp_path: Path) -> None:
    pem, context = certificate(tmp_path)
    fake = Fake()
    async with faked(fake, context) as store:
        with pytest.raises(NotReachable, match="certificate"):
            await store.open()
    assert fake.asked == []
    async with faked(fake, context, ca=str(pem)) as store:
        await store.open()
    assert fake.asked
    for wrong in (tmp_path / "none.pem", tmp_path / "key.pem"):
        async with faked(fake, context, ca=str(wrong)) as store:
            with pytest.raises(BadConfig, match="cannot be read as certificates"):
                await store.open()


# ---------------------------------------------------------------- through the configuration


def wired(token: str, tmp_path: Path) -> Store:
    text = f'[historian]\nstore = "influxdb"\n[historian.settings]\nurl = "https://influx.example"\ntoken = "{token}"\n'
    return wire(parse_settings(text), Plugins.discover(), tmp_path).store


def test_the_configuration_names_it_and_refers_to_the_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INFLUX_TOKEN", TOKEN)
    store = wired("env:INFLUX_TOKEN", tmp_path)
    assert isinstance(store, InfluxStore)
    assert isinstance(store.settings, InfluxSettings)
    assert store.settings.token == SecretStr(TOKEN)
    with pytest.raises(BadConfig, match="must be given as a reference") as told:
        wired(TOKEN, tmp_path)
    assert TOKEN not in str(told.value)
