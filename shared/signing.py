"""Texts that callers carry and can't change: signed with a key that only Hookline has."""

import base64
import binascii
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_SIGNATURE_BYTES = 16


class Signer:
    """Signs for one purpose; what is signed for another is not taken. Every process with the same HOOKLINE_SECRET_KEY
    takes what any of them has signed. Does not encrypt."""

    def __init__(self, secret_key: str, purpose: str) -> None:
        self._key = HKDF(SHA256(), 32, salt=None, info=f"hookline {purpose}".encode()).derive(secret_key.encode())

    def sign(self, body: bytes) -> str:
        """The body and its signature, as a text for URLs."""
        return base64.urlsafe_b64encode(self._signature(body) + body).rstrip(b"=").decode()

    def open(self, text: str) -> bytes | None:
        """The body, or None when it is not as it was signed."""
        try:
            signed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        signature, body = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(body)):
            return None
        # Spelt as we spell it: base64 can write the same bytes in several ways.
        return body if text == self.sign(body) else None

    def digest(self, body: bytes) -> bytes:
        """Stands for the body without telling anything of it: nobody without the key can find out what it was."""
        return hmac.digest(self._key, b"digest " + body, "sha256")

    def _signature(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_SIGNATURE_BYTES]
