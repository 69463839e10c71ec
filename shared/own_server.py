"""Reaching a server of this machine's own by TLS, to see whether it is well: whatever name its certificate is for."""

import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import grpc
from cryptography import x509

from shared.settings import split_address

TIMEOUT = 3.0


def context(certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Takes any certificate: who answers at an address of this machine is asked for nothing that needs trust. Shows the
    one given to a server that asks for one. Raises OSError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if certificate and key:
        made.load_cert_chain(certificate, key)
    return made


def credentials(
    address: str, certificate: Path, key: Path | None
) -> tuple[grpc.ChannelCredentials, Sequence[tuple[str, str]]]:
    """What a channel to that address needs, credentials and options, while the server there keeps its certificate. The
    files are the server's own, which it may ask its clients for. Raises OSError.

    gRPC always checks certificates. Hence it is told to trust the one that is there, under the name that it bears.
    """
    if key is None:
        raise OSError("no key")
    mine = context(certificate, key)
    mine.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(split_address(address), TIMEOUT) as connection,
        mine.wrap_socket(connection) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    if shown is None:
        raise OSError("no certificate")
    trusted = grpc.ssl_channel_credentials(
        ssl.DER_cert_to_PEM_cert(shown).encode(), key.read_bytes(), certificate.read_bytes()
    )
    return trusted, [("grpc.ssl_target_name_override", _name(x509.load_der_x509_certificate(shown)))]


def _name(certificate: x509.Certificate) -> str:
    """One of the names that it is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise OSError("the certificate names no host") from None
    for name in names:
        if isinstance(name, x509.DNSName):
            return name.value.replace("*", "any")
        if isinstance(name, x509.IPAddress):
            return str(name.value)
    raise OSError("the certificate names no host")
