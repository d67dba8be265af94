"""The OPC UA driver under a security policy: certificates, trust by fingerprint, user and password."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import ValidationError

from pumpwatch import BadConfig, Quality, Refused, Site
from pumpwatch_opcua import OpcuaDriver, OpcuaSettings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.integration]

MAP = 'title = "test"\n[[tags]]\nname = "a"\nnode = "nsu=urn:test;s=a"\n'


class OneInspector(UserManager):
    """Lets in whoever knows the password."""

    def get_user(
        self, iserver: object, username: str | None = None, password: str | None = None, certificate: object = None
    ) -> User | None:
        return User(role=UserRole.User) if (username, password) == ("inspector", "检查-1") else None


@dataclass
class Secured:
    address: str
    folder: Path
    fingerprint: str

    def driver(self, **keys: Any) -> OpcuaDriver:
        given = {
            "map": self.folder / "map.toml",
            "publishing_s": 0.05,
            "security": "Basic256Sha256",
            "certificate": self.folder / "ours.der",
            "private_key": (self.folder / "ours.pem").read_text(),
            "server_fingerprint": self.fingerprint,
            "user": "inspector",
            "password": "检查-1",
        }
        settings = OpcuaSettings(**{key: value for key, value in (given | keys).items() if value is not None})
        return OpcuaDriver(settings, Site("S01", "D1"), SimpleNamespace(address=self.address))


async def certificate(folder: Path, name: str, uri: str) -> None:
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    key, cert = folder / f"{name}.pem", folder / f"{name}.der"
    await setup_self_signed_certificate(key, cert, uri, socket.gethostname(), usage, {"organizationName": "测试"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    folder = tmp_path_factory.mktemp("opcua")
    (folder / "map.toml").write_text(MAP, encoding="utf-8")
    for name, uri in (("ours", "urn:pumpwatch:test"), ("other", "urn:other"), ("server", "urn:test:server")):
        await certificate(folder, name, uri)
    probe = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    server = Server(user_manager=OneInspector())
    await server.init()
    await server.set_application_uri("urn:test:server")
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    policies = ua.SecurityPolicyType
    server.set_security_policy([policies.Basic256Sha256_SignAndEncrypt, policies.Basic256Sha256_Sign])
    await server.load_certificate(folder / "server.der")
    await server.load_private_key(folder / "server.pem")
    index = await server.register_namespace("urn:test")
    await server.nodes.objects.add_variable(ua.NodeId("a", index), ua.QualifiedName("a", index), 7.5)
    async with server:
        shown = hashlib.sha256((folder / "server.der").read_bytes()).hexdigest()
        yield Secured(f"opc.tcp://127.0.0.1:{port}/", folder, shown)


async def value_of(driver: OpcuaDriver) -> object:
    now = datetime.now(UTC)
    try:
        await driver.connect()
        return {s.tag: s for s in (await driver.read(driver.tags(), now)).samples}["a"].value
    finally:
        await driver.close()


@pytest.mark.parametrize("protection", ["sign", "sign_and_encrypt"])
async def test_a_trusted_server(secured: Secured, protection: str) -> None:
    driver = secured.driver(protection=protection)
    now = datetime.now(UTC)
    await driver.connect()
    samples = {s.tag: s for s in (await driver.read(driver.tags(), now)).samples}
    assert (samples["a"].value, samples["a"].quality) == (7.5, Quality.GOOD)
    driver._device._link.drop()
    await driver.connect()
    assert driver._device._link.sessions == 1, "the session goes on over a new secure channel"
    await driver.read(driver.tags(), now)
    await driver.close()


async def test_a_server_nobody_trusts_yet(secured: Secured) -> None:
    with pytest.raises(Refused, match=f"{secured.fingerprint}, and none is trusted yet"):
        await value_of(secured.driver(server_fingerprint=""))


async def test_a_server_that_shows_another_certificate(secured: Secured) -> None:
    with pytest.raises(Refused, match="not the trusted one; find out why"):
        await value_of(secured.driver(server_fingerprint="ab" * 32))


async def test_a_wrong_password(secured: Secured) -> None:
    with pytest.raises(Refused, match="BadUserAccessDenied; correct user and password"):
        await value_of(secured.driver(password="wrong"))


async def test_a_policy_the_server_has_not(secured: Secured) -> None:
    with pytest.raises(Refused, match=r"no endpoint with Aes128Sha256RsaOaep .*offers Basic256Sha256 Sign"):
        await value_of(secured.driver(security="Aes128Sha256RsaOaep"))


async def test_without_security_it_is_refused(secured: Secured) -> None:
    plain = dict.fromkeys(("certificate", "private_key", "server_fingerprint", "user", "password"))
    with pytest.raises(Refused):
        await value_of(secured.driver(security="none", **plain))


# ---------------------------------------------------------------- settings


async def test_an_encrypted_key(secured: Secured) -> None:
    key = serialization.load_pem_private_key((secured.folder / "ours.pem").read_bytes(), None)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"geheim")
    ).decode()
    assert await value_of(secured.driver(private_key=pem, private_key_password="geheim")) == 7.5
    with pytest.raises(BadConfig, match="private_key_password is wrong"):
        secured.driver(private_key=pem, private_key_password="other")


async def test_files_that_do_not_fit(secured: Secured) -> None:
    with pytest.raises(BadConfig, match="does not belong to the certificate"):
        secured.driver(private_key=(secured.folder / "other.pem").read_text())
    with pytest.raises(BadConfig, match=r"nowhere\.der: No such file.*check the path"):
        secured.driver(certificate=secured.folder / "nowhere.der")
    with pytest.raises(BadConfig, match=r"is no X\.509 certificate"):
        secured.driver(certificate=secured.folder / "map.toml")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"brand": "county", "map": "x.toml"}, "give either brand"),
        ({}, "give either brand"),
        ({"brand": "county", "user": "x", "password": "y"}, "for all to read; choose security"),
        ({"brand": "county", "security": "Basic256Sha256"}, "needs certificate and private_key"),
        ({"brand": "county", "server_fingerprint": "12"}, "64 hexadecimal digits"),
        ({"brand": "county", "queue": 1}, "greater than or equal to 2"),
    ],
)
async def test_settings_that_cannot_be(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OpcuaSettings(**keys)
