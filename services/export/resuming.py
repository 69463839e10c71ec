"""Resume tokens: where an export stood after a chunk, carried by the caller, good on any process."""

import msgspec

from services.export.chunker import Position
from services.export.formats import VERSION
from services.export.store import Mark
from shared.errors import ExportNotResumable, InvalidResumeToken
from shared.signing import Signer


class _Token(msgspec.Struct, frozen=True, array_like=True):
    version: int
    request: bytes
    mark: Mark
    position: Position


class ResumeTokens:
    """Makes and reads tokens, signed with a key derived from `secret_key`."""

    def __init__(self, secret_key: str) -> None:
        self._signer = Signer(secret_key, "export resume token")

    def encode(self, request: bytes, mark: Mark, position: Position) -> str:
        """The token for what comes after `position`. `request` stands for all that decides the file's bytes."""
        return self._signer.sign(msgspec.msgpack.encode(_Token(VERSION, request, mark, position)))

    def decode(self, token: str, request: bytes) -> tuple[Mark, Position]:
        """The export's mark and where it stood. Raises InvalidResumeToken when the token is not one of ours or was
        given for another request, ExportNotResumable when the file would be written in another way now."""
        body = self._signer.open(token)
        if body is None:
            raise InvalidResumeToken
        try:
            version = msgspec.msgpack.decode(body)[0]
            if version != VERSION:
                raise ExportNotResumable("format_changed")
            decoded = msgspec.msgpack.decode(body, type=_Token)
        except (msgspec.MsgspecError, TypeError, LookupError):
            raise InvalidResumeToken from None
        if decoded.request != request:
            raise InvalidResumeToken
        return decoded.mark, decoded.position
