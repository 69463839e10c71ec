"""Ports of this machine: finding free ones, and making sure that those wanted are free."""

import errno
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from shared.errors import OperatorError
from shared.settings import split_address

# Below the ranges that systems give to outgoing connections (Linux from 32768, macOS from 49152): nothing else takes
# such a port between our finding it free and its use.
_FIRST, _LAST = 20000, 32000


def free_address(host: str = "127.0.0.1") -> str:
    """An address of `host` that no one listens on at this moment, for tests and the demo."""
    while True:
        address = f"{host}:{_FIRST + secrets.randbelow(_LAST - _FIRST)}"
        try:
            with _bound(address):
                return address
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def free_addresses(count: int, host: str = "127.0.0.1") -> str:
    """The first of `count` addresses of `host` with ports one after the other, none of them listened on: what metrics
    are counted up from. At most ten. Apart from those that `free_address` gives."""
    while True:
        first = _FIRST - 10 * (1 + secrets.randbelow(900))
        try:
            with ExitStack() as stack:
                for port in range(first, first + count):
                    stack.enter_context(_bound(f"{host}:{port}"))
            return f"{host}:{first}"
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def check_free(addresses: Iterable[tuple[str, str]]) -> None:
    """Raises OperatorError when one of the addresses can't be listened on, or two are the same. Each comes after
    the setting that names it."""
    with ExitStack() as stack:
        for setting, address in addresses:
            host, port = split_address(address)
            if port == 0:
                raise OperatorError(f"{setting} needs a port that callers can know, not 0.")
            try:
                stack.enter_context(_bound(address))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise OperatorError(f"Port {port} on {host} is taken; {setting} names another.") from None
                raise OperatorError(f"{setting}: {address} can't be listened on ({error.strerror}).") from None


def counted_up(address: str, count: int) -> str:
    """The address whose port is `count` further. Raises OperatorError beyond the last port."""
    host, port = address.rsplit(":", 1)
    if int(port) + count > 65535:
        raise OperatorError(f"HOOKLINE_METRICS_ADDRESS: no {count} ports follow {port}.")
    return f"{host}:{int(port) + count}"


def reachable(address: str) -> str:
    """How this machine reaches a server that listens on `address`, which may stand for all interfaces."""
    host, port = split_address(address)
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return address
    if not ip.is_unspecified:
        return address
    return f"127.0.0.1:{port}" if ip.version == 4 else f"[::1]:{port}"


def _bound(address: str) -> socket.socket:
    host, port = split_address(address)
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # REUSEADDR passes over connections that are fading away. Never REUSEPORT: it would share a port with a server
        # that allows sharing, as gRPC servers do by default, and find it free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
