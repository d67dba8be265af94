"""How we show ourselves to a server and how we know it: security policy, certificates, user."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.uaerrors import UaError
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pumpwatch import BadConfig, Refused

if TYPE_CHECKING:
    from pathlib import Path

POLICIES: dict[str, type[security_policies.SecurityPolicy]] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128Sha256RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256Sha256RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Our certificate and key, DER, and the application URI the certificate speaks for."""

    certificate: bytes
    key: bytes
    uri: str


@dataclass(frozen=True, slots=True)
class Access:
    """What a device's settings say of security."""

    policy: str = "none"
    encrypts: bool = True
    ours: Identity | None = None
    fingerprint: str = ""
    """SHA-256 of the server's certificate, hexadecimal; empty: none is trusted yet."""
    user: str | None = None
    password: str | None = None

    @property
    def mode(self) -> ua.MessageSecurityMode:
        """As the service names it."""
        return ua.MessageSecurityMode.SignAndEncrypt if self.encrypts else ua.MessageSecurityMode.Sign

    async def secure(self, client: Client, server_certificate: bytes) -> None:
        """Give the client our certificate and the server's."""
        if self.ours is None:
            return
        client.application_uri = self.ours.uri
        await client.set_security(
            POLICIES[self.policy],
            CertProperties(self.ours.certificate, "der"),
            CertProperties(self.ours.key, "der"),
            server_certificate=CertProperties(server_certificate, "der"),
            mode=self.mode,
        )

    def trusted(self, endpoints: list[ua.EndpointDescription]) -> bytes:
        """The certificate of the endpoint that suits, if it is the one we trust; else ``Refused`` shows it.

        A server that only copies the certificate cannot answer: it has not the key.
        """
        try:
            endpoint = Client.find_endpoint(endpoints, self.mode, POLICIES[self.policy].URI)
        except UaError as error:
            offered = sorted(
                {f"{(e.SecurityPolicyUri or '').rpartition('#')[2]} {e.SecurityMode.name}" for e in endpoints}
            )
            raise Refused(
                f"the server has no endpoint with {self.policy} {self.mode.name}; it offers {', '.join(offered)}; "
                "correct security and protection"
            ) from error
        shown = first_certificate(endpoint.ServerCertificate or b"")
        fingerprint = hashlib.sha256(shown).hexdigest()
        if not self.fingerprint:
            raise Refused(
                f"the server shows a certificate with SHA-256 {fingerprint}, and none is trusted yet; "
                "compare it with the one on the server itself and set server_fingerprint to it"
            )
        if fingerprint != self.fingerprint:
            raise Refused(
                f"the server shows a certificate with SHA-256 {fingerprint}, not the trusted one; find out why it has "
                "changed, and only then set server_fingerprint to it"
            )
        return shown


def load_identity(certificate: Path, key: str, password: str | None) -> Identity:
    """Our certificate (DER or PEM file) and its key (PEM text). Raises ``BadConfig`` with the remedy."""
    try:
        content = certificate.read_bytes()
    except OSError as error:
        raise BadConfig(f"certificate: {certificate}: {error.strerror}; check the path and who may read it") from error
    try:
        pem = content.lstrip().startswith(b"-----")
        ours = x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)
    except ValueError as error:
        raise BadConfig(f"certificate: {certificate} is no X.509 certificate; give a DER or PEM file") from error
    try:
        private = serialization.load_pem_private_key(key.encode(), password.encode() if password else None)
    except (TypeError, ValueError) as error:
        raise BadConfig(
            "private_key: no PEM private key, or private_key_password is wrong; refer to the key's PEM file with file:"
        ) from error
    if not isinstance(private, rsa.RSAPrivateKey) or private.public_key() != ours.public_key():
        raise BadConfig("private_key: it does not belong to the certificate; give the RSA key it was made with")
    try:
        names = ours.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uri = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    except (x509.ExtensionNotFound, IndexError) as error:
        raise BadConfig(
            f"certificate: {certificate} has no application URI among its alternative names; OPC UA servers ask for it"
        ) from error
    return Identity(
        ours.public_bytes(serialization.Encoding.DER),
        private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        uri,
    )


def first_certificate(chain: bytes) -> bytes:
    """The server's own certificate out of the chain it sends (ASN.1 sequences with lengths of two bytes)."""
    if chain[:2] != b"\x30\x82":
        return chain
    return chain[: 4 + int.from_bytes(chain[2:4], "big")]
