"""Secrets of companies, encrypted at rest with a key that PostgreSQL never sees: credentials of sources (sync), signing
secrets (ingest)."""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shared.errors import OperatorError
from shared.secret_keys import secret_keys


class Vault:
    """Encrypts with the first of the setting's keys, decrypts with any. Raises OperatorError when one of them is no
    key."""

    def __init__(self, key: str) -> None:
        try:
            self._fernet = MultiFernet([Fernet(one) for one in secret_keys(key)])
        except ValueError:
            raise OperatorError("HOOKLINE_SECRET_KEY is no key: it must be 32 bytes in URL-safe base64.") from None

    def encrypt(self, secret: str) -> bytes:
        """A different text each time."""
        return self._fernet.encrypt(secret.encode())

    def decrypt(self, encrypted: bytes) -> str:
        """Raises OperatorError when it was encrypted with none of the keys."""
        try:
            return self._fernet.decrypt(encrypted).decode()
        except InvalidToken:
            raise OperatorError("HOOKLINE_SECRET_KEY is not the key that a secret was encrypted with.") from None
