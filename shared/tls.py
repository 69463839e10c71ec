"""TLS as servers speak it: certificate, key and the CA of clients, read again whenever their files change.

A change is seen by the next connection, whatever the listener; connections that are there go on. New files that are no
good are logged once, and what was there before goes on.
"""

import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from prometheus_client import Gauge

from shared.errors import OperatorError
from shared.settings import Settings

_log = structlog.get_logger()

_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class _Files:
    certificate: Path
    key: Path
    client_ca: Path | None

    def stamp(self) -> _Stamp:
        """What tells whether one of them was replaced or written to."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_ca))


@dataclass(frozen=True)
class _Loaded:
    """What the files held, checked to belong together."""

    stamp: _Stamp
    expires: datetime
    configuration: grpc.ServerCertificateConfiguration
    open_context: ssl.SSLContext
    """For those who need no certificate of their own."""
    mutual_context: ssl.SSLContext
    """Asks for a client's certificate where there is a CA to check it with."""


_given: list[grpc.ServerCredentials] = []
"""gRPC calls back into what it was given, and keeps it no longer than the server, which a handshake may outlive."""


class Certificates:
    """What a server proves with who it is, as its files have it at the moment. Safe to use from any thread.

    Making one reads the files, and raises OperatorError where they can't be used.
    """

    def __init__(self, files: _Files) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._loaded = _load(files)
        self._seen = self._loaded.stamp
        _expiry().set(self._loaded.expires.timestamp())

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For one gRPC server. With a CA of clients, only those come in who have a certificate of it."""
        given = self._current()

        def if_changed() -> grpc.ServerCertificateConfiguration | None:
            # gRPC asks before each handshake, one after the other. None: as before.
            nonlocal given
            current = self._current()
            if current is given:
                return None
            given = current
            return current.configuration

        credentials = grpc.dynamic_ssl_server_credentials(
            given.configuration,
            # Its stubs know of no None, which its code does.
            cast(Callable[[], grpc.ServerCertificateConfiguration], if_changed),
            require_client_authentication=self._files.client_ca is not None,
        )
        _given.append(credentials)
        return credentials

    def context(self, *, ask_clients: bool) -> ssl.SSLContext:
        """For one server of HTTP/1.1. `ask_clients`: as gRPC does; else nobody is asked for a certificate."""

        def current() -> ssl.SSLContext:
            loaded = self._current()
            return loaded.mutual_context if ask_clients else loaded.open_context

        def at_each_handshake(connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
            # As a whole: another certificate in the same context would be there before its key is.
            connection.context = current()

        first = _context(self._files, ask_clients=ask_clients)
        first.sni_callback = at_each_handshake
        return first

    def _current(self) -> _Loaded:
        with self._lock:
            stamp = self._files.stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._read_again()
            return self._loaded

    def _read_again(self) -> None:
        try:
            self._loaded = _load(self._files)
        except OperatorError as error:
            _log.error("certificate_refused", why=str(error))
            return
        # What changed while it was being read is read again by the next one.
        self._seen = self._loaded.stamp
        _expiry().set(self._loaded.expires.timestamp())
        _log.info("certificate_changed", expires=self._loaded.expires.isoformat())


_open: WeakValueDictionary[_Files, Certificates] = WeakValueDictionary()


def certificates(settings: Settings) -> Certificates | None:
    """The server's certificates; None where the settings have no TLS. Raises OperatorError."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate and key:
        files = _Files(certificate, key, settings.tls_client_ca)
        # One for all listeners of a process: what is wrong is told once.
        if (found := _open.get(files)) is None:
            found = _open[files] = Certificates(files)
        return found
    if certificate or key:
        raise OperatorError("HOOKLINE_TLS_CERTIFICATE and HOOKLINE_TLS_KEY are set together, or neither is.")
    if settings.tls_client_ca:
        raise OperatorError("HOOKLINE_TLS_CLIENT_CA needs HOOKLINE_TLS_CERTIFICATE and HOOKLINE_TLS_KEY beside it.")
    return None


def client_options(settings: Settings) -> Mapping[str, Any]:
    """How `hookline.client` reaches the suite's services: what its clients are given beside addresses. Raises
    OperatorError for files that can't be used."""
    certificates(settings)
    if settings.tls_ca:
        _certificates("HOOKLINE_TLS_CA", settings.tls_ca, _read("HOOKLINE_TLS_CA", settings.tls_ca))
    return {
        "tls": settings.has_tls,
        "ca": settings.tls_ca,
        # Who asks for clients' certificates asks the services, too.
        "certificate": settings.tls_certificate,
        "key": settings.tls_key,
    }


def client_environment(settings: Settings) -> Mapping[str, str]:
    """The same as variables of a command's environment; empty without TLS."""
    if not settings.tls_certificate:
        return {}
    files = {"TLS_CA": settings.tls_ca}
    if settings.tls_client_ca:
        files |= {"TLS_CERTIFICATE": settings.tls_certificate, "TLS_KEY": settings.tls_key}
    return {"HOOKLINE_TLS": "true"} | {f"HOOKLINE_{name}": str(file) for name, file in files.items() if file}


@cache
def _expiry() -> Gauge:
    # Made when there is something to tell: 0 would be a certificate long expired.
    return Gauge("hookline_tls_certificate_expiry_seconds", "When the server's certificate expires, as Unix time.")


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None


def _load(files: _Files) -> _Loaded:
    for _ in range(3):
        stamp = files.stamp()
        loaded = _load_once(files, stamp)
        if files.stamp() == stamp:
            return loaded
    raise OperatorError(f"HOOKLINE_TLS_CERTIFICATE: {files.certificate} changes while it is read.")


def _load_once(files: _Files, stamp: _Stamp) -> _Loaded:
    chain = _read("HOOKLINE_TLS_CERTIFICATE", files.certificate)
    key = _read("HOOKLINE_TLS_KEY", files.key)
    expires = _check(files, chain, key)
    client_ca = None
    if files.client_ca:
        client_ca = _read("HOOKLINE_TLS_CLIENT_CA", files.client_ca)
        _certificates("HOOKLINE_TLS_CLIENT_CA", files.client_ca, client_ca)
    return _Loaded(
        stamp,
        expires,
        grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=client_ca),
        _context(files, ask_clients=False),
        _context(files, ask_clients=True),
    )


def _check(files: _Files, chain: bytes, key: bytes) -> datetime:
    """Whether they can be used, and together; gives the time at which the certificate expires."""
    certificate = _certificates("HOOKLINE_TLS_CERTIFICATE", files.certificate, chain)[0]
    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        raise OperatorError(f"HOOKLINE_TLS_KEY: {files.key} is encrypted; it must be as it is, unencrypted.") from None
    except Exception:
        # Not the reason: it may quote the key.
        raise OperatorError(f"HOOKLINE_TLS_KEY: {files.key} holds no key (PEM).") from None
    if private.public_key() != certificate.public_key():
        raise OperatorError(f"HOOKLINE_TLS_KEY: {files.key} is not the key of the certificate in {files.certificate}.")
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        # Nobody looks at the common name any more.
        raise OperatorError(
            f"HOOKLINE_TLS_CERTIFICATE: the certificate in {files.certificate} names no host (subjectAltName)."
        ) from None
    expires = certificate.not_valid_after_utc
    if expires <= datetime.now(UTC):
        raise OperatorError(
            f"HOOKLINE_TLS_CERTIFICATE: the certificate in {files.certificate} expired at {expires.isoformat()}."
        )
    return expires


def _certificates(setting: str, path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise OperatorError(f"{setting}: {path} holds no certificate (PEM).") from None


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{setting}: {path} can't be read ({error.strerror}).") from None


def _context(files: _Files, *, ask_clients: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # Who resumed a session would go on with the certificate, and the leave, of before.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(files.certificate, files.key, password="")
        if ask_clients and files.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(files.client_ca)
    except OSError as error:
        # Such as a key that is too short.
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise OperatorError(f"HOOKLINE_TLS_CERTIFICATE: {files.certificate} can't be used ({reason}).") from None
    return context
