"""TLS: whom a client trusts, what it proves with who it is, and channels that go on when those files are replaced."""

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from hookline.client.errors import HooklineError

File = str | os.PathLike[str]

LOOK_SECONDS = 1.0
"""How often the files are looked at, at most."""

_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Tls:
    """The files that TLS is spoken with. `ca`: CAs to trust; None: those that gRPC brings along. `certificate` and
    `key`: for servers that ask for a client's certificate."""

    ca: File | None = None
    certificate: File | None = None
    key: File | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """What channels are made with. Raises OSError, and HooklineError for a file that is not what it should be."""
        ca, certificate, key = (_read(path) for path in (self.ca, self.certificate, self.key))
        # gRPC takes anything, and then never connects without saying why.
        if ca is not None:
            _check(ca, self.ca)
        if self.certificate and self.key:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self.certificate, self.key, password="")
            except ssl.SSLError:
                raise HooklineError(
                    f"{os.fspath(self.certificate)} and {os.fspath(self.key)} are not a certificate and its key."
                ) from None
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def stamp(self) -> _Stamp:
        """What tells whether one of the files was replaced or written to."""
        return tuple(_stamp(path) for path in (self.ca, self.certificate, self.key))


def tls_or_environment(tls: bool | None, ca: File | None, certificate: File | None, key: File | None) -> Tls | None:
    """As given, else as the environment says; None: without TLS. Raises HooklineError for a certificate without its
    key."""
    if tls is False:
        return None
    ca = ca or os.environ.get("HOOKLINE_TLS_CA") or None
    if not (certificate or key):
        certificate, key = (os.environ.get(f"HOOKLINE_TLS_{name}") or None for name in ("CERTIFICATE", "KEY"))
    if bool(certificate) != bool(key):
        raise HooklineError("A client's certificate and its key are given together, or neither is.")
    if tls or ca or certificate or os.environ.get("HOOKLINE_TLS", "").lower() in ("1", "true", "yes", "on"):
        return Tls(ca, certificate, key)
    return None


class SecureChannel:
    """What stubs are made of in a channel's place, blocking or not. Calls begun after the files have changed go through
    a channel of the new ones; those under way stay where they are.

    `open_channel` makes a channel. Raises as `Tls.credentials`.
    """

    def __init__(self, tls: Tls, open_channel: Callable[[grpc.ChannelCredentials], Any]) -> None:
        self._tls = tls
        self._open = open_channel
        self._lock = threading.Lock()
        self._stamp = tls.stamp()
        # The last one is in use. Those before it close their connections by themselves, once they are idle.
        self._channels = [open_channel(tls.credentials())]
        self._look_at = time.monotonic() + LOOK_SECONDS

    def __iter__(self) -> Iterator[Any]:
        """The channels, which whoever has them closes."""
        return iter(self._channels)

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._method("unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._method("unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._method("stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._method("stream_stream", arguments, options)

    def _method(self, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Callable[..., Any]:
        def of(channel: Any) -> tuple[Any, Any]:
            return channel, getattr(channel, kind)(*arguments, **options)

        made = of(self._channels[-1])

        def call(*request: Any, **more: Any) -> Any:
            nonlocal made
            channel, method = made
            current = self._current()
            if current is not channel:
                channel, method = made = of(current)
            return method(*request, **more)

        return call

    def _current(self) -> Any:
        if time.monotonic() < self._look_at:
            return self._channels[-1]
        with self._lock:
            stamp = self._tls.stamp()
            if stamp != self._stamp:
                try:
                    self._channels.append(self._open(self._tls.credentials()))
                    self._stamp = stamp
                except (OSError, HooklineError):
                    # What was there before goes on; half written, they are looked at again.
                    pass
            self._look_at = time.monotonic() + LOOK_SECONDS
            return self._channels[-1]


def _read(path: File | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def _check(pem: bytes, path: File | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise HooklineError(f"{os.fspath(path or '')} holds no certificate of a CA (PEM).") from None


def _stamp(path: File | None) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat() if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None
