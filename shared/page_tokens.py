"""Page tokens: opaque to callers, and good only for the request that they were given for."""

import base64
import binascii
import hashlib
from typing import Any, TypeVar

import msgspec

from shared.errors import InvalidPageToken

T = TypeVar("T")


def encode(position: Any, *request: Any) -> str:
    """A token for `position`, tied to the parts of the request that must stay the same from page to page."""
    return base64.urlsafe_b64encode(msgspec.json.encode([_tie(request), position])).rstrip(b"=").decode()


def decode(token: str, kind: type[T], *request: Any) -> T | None:
    """The position in `token`, None for an empty token. Raises InvalidPageToken when it is not one of ours, or was
    given for another request."""
    if not token:
        return None
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        tie, position = msgspec.json.decode(data, type=tuple[str, kind])  # type: ignore[valid-type]
    except (binascii.Error, msgspec.MsgspecError, UnicodeError, ValueError):
        raise InvalidPageToken from None
    if tie != _tie(request):
        raise InvalidPageToken
    return position


def _tie(request: tuple[Any, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(request)).hexdigest()[:16]
