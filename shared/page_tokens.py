"""Page tokens: opaque to callers, signed, good only for the request (and so the company) that they were given for."""

import hashlib
from typing import Any, TypeVar

import msgspec

from shared.errors import InvalidPageToken
from shared.signing import Signer

T = TypeVar("T")

# The process's, as its logging is: set once, before it serves.
_signers: list[Signer] = []


def configure(secret_key: str) -> None:
    """Sets the key that this process signs with. Every process with the same key takes what any of them has signed."""
    _signers[:] = [Signer(secret_key, "page token")]


def encode(position: Any, *request: Any) -> str:
    """A token for `position`, tied to the parts of the request that must stay the same from page to page: its method
    and its company among them."""
    [signer] = _signers
    return signer.sign(msgspec.json.encode([_tie(request), position]))


def decode(token: str, kind: type[T], *request: Any) -> T | None:
    """The position in `token`, None for an empty token. Raises InvalidPageToken when it is not one of ours, or was
    given for another request."""
    if not token:
        return None
    [signer] = _signers
    body = signer.open(token)
    if body is None:
        raise InvalidPageToken
    try:
        tie, position = msgspec.json.decode(body, type=tuple[str, kind])  # type: ignore[valid-type]
    except (msgspec.MsgspecError, UnicodeError):
        raise InvalidPageToken from None
    if tie != _tie(request):
        raise InvalidPageToken
    return position


def _tie(request: tuple[Any, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(request)).hexdigest()
