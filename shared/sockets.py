"""Sockets that listen: alone on their port, or on purpose together with others of ours."""

import socket

import structlog

from shared.errors import OperatorError
from shared.settings import Settings, is_loopback, split_address

BACKLOG = 1024
"""Connections that wait to be taken; the system may allow fewer."""

_log = structlog.get_logger()


def bound(address: str, *, shared: bool = False) -> socket.socket:
    """A socket bound to an address, which does not listen yet. Raises OSError when another has the address.

    With `shared` others of this user may have it too, as long as all of them share it: the system then spreads new
    connections over those that listen.
    """
    host, port = split_address(address)
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    one = socket.socket(family, kind, protocol)
    try:
        # REUSEADDR passes over connections that are fading away. Without REUSEPORT a port is found taken even where its
        # server allows sharing, as gRPC servers do by default.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.bind(where)
    except OSError:
        one.close()
        raise
    return one


def listening(address: str, *, shared: bool = False) -> socket.socket:
    """The same, and it listens."""
    one = bound(address, shared=shared)
    try:
        one.listen(BACKLOG)
    except OSError:
        one.close()
        raise
    return one


def taken(address: str) -> OperatorError:
    """What the operator is told when an address can't be had."""
    return OperatorError(f"{address} can't be listened on: the port is taken or the host is not ours.")


def require_allowed(settings: Settings, address: str, *, has_tokens: bool) -> None:
    """Raises OperatorError when other machines could reach the address without TLS or without tokens, and the settings
    don't allow that. `has_tokens` says whether callers must have one there."""
    host, _ = split_address(address)
    if is_loopback(host):
        return
    lacking = {
        "TLS": None if settings.tls_certificate else "HOOKLINE_TLS_CERTIFICATE and HOOKLINE_TLS_KEY turn TLS on",
        "tokens": None if has_tokens else "HOOKLINE_REQUIRE_TOKENS=true asks for tokens",
    }
    advice = [text for text in lacking.values() if text]
    if not advice:
        return
    if not settings.allow_insecure:
        raise OperatorError(
            f"{address} can be reached from other machines: {', '.join(advice)}; "
            "or HOOKLINE_ALLOW_INSECURE=true goes without, behind something that has both."
        )
    _log.warning("reachable_insecurely", address=address, lacks=[name for name, text in lacking.items() if text])
