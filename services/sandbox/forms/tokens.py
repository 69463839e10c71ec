"""Cursors that the shop makes: opaque to whoever gets one, and all that is asked for is in it."""

import base64
import binascii

import msgspec

from services.sandbox.forms import Asked, Wrong


def encode(asked: Asked) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(asked)).decode()


def decode(token: str) -> Asked:
    """Raises Wrong when the shop has not made it."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token), type=Asked)
    except (binascii.Error, ValueError):
        raise Wrong(400, "there is no such page") from None
