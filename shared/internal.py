"""What Hookline's services prove themselves to each other with: short-lived, signed, good for ingest only."""

import time
from collections.abc import Callable

import msgspec

from shared.auth import Caller, Scope
from shared.signing import Signer

SECONDS = 300.0
"""How long one is taken: it also bounds by how much the services' clocks may differ. A stream goes on beyond it."""
PREFIX = "hki_"
_PURPOSE = "internal"


class _Body(msgspec.Struct, frozen=True, array_like=True):
    service: str
    expires: float


class InternalTokens:
    """Makes and reads tokens of services, which may name any company. Every process with the same HOOKLINE_SECRET_KEY
    takes them."""

    def __init__(self, secret_key: str, clock: Callable[[], float] = time.time) -> None:
        self._signer = Signer(secret_key, _PURPOSE)
        self._clock = clock

    def source(self, service: str) -> Callable[[], str]:
        """What gives the service a token for each call; the same one until half of its time is over."""
        made: tuple[str, float] = "", 0.0

        def token() -> str:
            nonlocal made
            now = self._clock()
            if made[1] - now < SECONDS / 2:
                expires = now + SECONDS
                made = PREFIX + self._signer.sign(msgspec.json.encode(_Body(service, expires))), expires
            return made[0]

        return token

    def caller(self, token: str) -> Caller | None:
        """Whose token it is; None when it is none of ours, or too old."""
        body = self._signer.open(token.removeprefix(PREFIX))
        if body is None:
            return None
        try:
            read = msgspec.json.decode(body, type=_Body)
        except (msgspec.MsgspecError, UnicodeError):
            # Ours, of another version.
            return None
        # One from the future was made by a clock that is wrong, or it would be good for longer than any may be.
        if not 0 < read.expires - self._clock() <= 2 * SECONDS:
            return None
        return Caller("", frozenset({Scope.INGEST}), f"service {read.service}")
