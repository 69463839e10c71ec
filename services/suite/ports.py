"""Ports of this machine: finding free ones, and making sure that those wanted are free."""

import errno
import itertools
import secrets
from collections.abc import Iterable
from contextlib import ExitStack

from shared.errors import OperatorError
from shared.settings import split_address
from shared.sockets import listening

# Below the ranges that systems give to outgoing connections (Linux from 32768, macOS from 49152): nothing else takes
# such a port between our finding it free and its use.
_FIRST, _LAST = 20000, 32000
# One after the other from anywhere, so that who asks for several, before the first is listened on, gets different ones.
_asked = itertools.count(secrets.randbelow(_LAST - _FIRST))


def free_address(host: str = "127.0.0.1") -> str:
    """An address of `host` that no one listens on at this moment, for tests and the demo. No process gets one twice,
    until it has had all."""
    while True:
        address = f"{host}:{_FIRST + next(_asked) % (_LAST - _FIRST)}"
        try:
            with listening(address):
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
                    stack.enter_context(listening(f"{host}:{port}"))
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
                stack.enter_context(listening(address))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise OperatorError(f"Port {port} on {host} is taken; {setting} names another.") from None
                raise OperatorError(f"{setting}: {address} can't be listened on ({error.strerror}).") from None
