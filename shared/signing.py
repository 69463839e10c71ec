"""Texts that callers carry and can't change: signed with a key that only Hookline has."""

import base64
import binascii
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.secret_keys import secret_keys

_SIGNATURE_BYTES = 16


class Signer:
    """Signs for one purpose; what is signed for another is not taken. Every process with the same HOOKLINE_SECRET_KEY
    takes what any of them has signed, or what was signed with another of the keys that the setting has. Does not
    encrypt."""

    def __init__(self, secret_key: str, purpose: str) -> None:
        self._keys = [
            HKDF(SHA256(), 32, salt=None, info=f"hookline {purpose}".encode()).derive(key.encode())
            for key in secret_keys(secret_key)
        ]

    def sign(self, body: bytes) -> str:
        """The body and its signature, as a text for URLs."""
        return _spelt(_signature(self._keys[0], body) + body)

    def open(self, text: str) -> bytes | None:
        """The body, or None when it is not as it was signed."""
        try:
            signed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        signature, body = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        if not any(hmac.compare_digest(signature, _signature(key, body)) for key in self._keys):
            return None
        # Spelt as we spell it: base64 can write the same bytes in several ways.
        return body if text == _spelt(signed) else None

    def digests(self, body: bytes) -> list[bytes]:
        """Each stands for the body without telling anything of it: nobody without its key can find out what it was. One
        for each key; the first is that of the key in use."""
        return [hmac.digest(key, b"digest " + body, "sha256") for key in self._keys]


def _signature(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")[:_SIGNATURE_BYTES]


def _spelt(signed: bytes) -> str:
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
