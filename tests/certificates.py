"""Certificates made for a test: CAs, and what they issue."""

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from shared.settings import split_address

_SIGNS = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path

    @property
    def der(self) -> bytes:
        """The certificate as it goes over a connection."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).public_bytes(Encoding.DER)

    def replace_by(self, other: "Pair") -> None:
        """Puts the other's content into these files, as whoever renews certificates does."""
        for mine, theirs in ((self.key, other.key), (self.certificate, other.certificate)):
            part = mine.with_suffix(".part")
            part.write_bytes(theirs.read_bytes())
            part.replace(mine)


class Authority:
    """A CA of the test's own."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} of a test")])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._count = 0
        builder = _builder(self._name, self._name, self._key.public_key(), timedelta(days=2))
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self._issued_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(_SIGNS, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))
        self._prefix = name

    def issue(self, *names: str, expires_in: timedelta = timedelta(days=1), nameless: bool = False) -> Pair:
        """Issues a certificate for hosts, by default this machine, or for none; for servers and for clients."""
        hosts = names or ("127.0.0.1", "localhost", "::1")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        builder = _builder(subject, self._name, key.public_key(), expires_in)
        if not nameless:
            alternatives = x509.SubjectAlternativeName([_name(host) for host in hosts])
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.add_extension(self._issued_by, critical=False).sign(self._key, hashes.SHA256())
        self._count += 1
        made = Pair(*(self._folder / f"{self._prefix}-{self._count}.{kind}.pem" for kind in ("certificate", "key")))
        made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made

    def credentials(self, client: Pair | None = None) -> grpc.ChannelCredentials:
        """Of a channel that trusts this CA, and shows that certificate."""
        if client is None:
            return grpc.ssl_channel_credentials(self.file.read_bytes())
        return grpc.ssl_channel_credentials(
            self.file.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
        )


async def shown(address: str, client: Pair | None = None, protocol: str = "h2") -> bytes:
    """The certificate that a new connection is shown, whoever vouches for it."""

    def connect() -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        if client:
            context.load_cert_chain(client.certificate, client.key)
        with socket.create_connection(split_address(address), 10) as plain, context.wrap_socket(plain) as secured:
            return secured.getpeercert(binary_form=True) or b""

    return await asyncio.to_thread(connect)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, expires_in: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + expires_in)
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
