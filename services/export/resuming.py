"""Resume tokens: where an export stood after a chunk, carried by the caller, good on any process."""

import uuid

import msgspec

from services.export.chunker import Position
from services.export.formats import VERSION
from services.export.store import Mark
from shared.errors import ExportNotResumable, InvalidResumeToken
from shared.signing import Signer


class Begun(msgspec.Struct, frozen=True, array_like=True):
    """What an export is of: the company's log at a mark. In another log, such as one that was restored and has grown
    since, the last event has another id."""

    mark: Mark
    last_event_id: uuid.UUID | None


class _Token(msgspec.Struct, frozen=True, array_like=True):
    version: int
    request: bytes
    begun: Begun
    position: Position


class ResumeTokens:
    """Makes and reads tokens, signed with a key derived from `secret_key`."""

    def __init__(self, secret_key: str) -> None:
        self._signer = Signer(secret_key, "export resume token")

    def encode(self, request: bytes, begun: Begun, position: Position) -> str:
        """The token for what comes after `position`. `request` stands for all that decides the file's bytes."""
        return self._signer.sign(msgspec.msgpack.encode(_Token(VERSION, request, begun, position)))

    def decode(self, token: str, request: bytes) -> tuple[Begun, Position]:
        """What the export is of, and where it stood. Raises InvalidResumeToken when the token is not one of ours or was
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
        return decoded.begun, decoded.position
