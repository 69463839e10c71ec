"""Whether a delivery proves that its platform sent it. Pure: the time is given.

Comparisons take the same time whatever is given. Nothing here raises, whatever comes as a signature.
"""

import base64
import hmac
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import Enum, auto

import msgspec
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from services.ingest.references import Resolve, Sent, resolver, text_of
from shared.platforms import Hmac, Signature, StandardWebhooks, Stripe, Token
from shared.platforms.references import Body, Header, parse_references

_is_timestamp = re.compile(r"[0-9]{1,12}").fullmatch


class Verdict(Enum):
    """What a delivery's proof is worth."""

    RIGHT = auto()
    MISSING = auto()
    WRONG = auto()
    TOO_OLD = auto()
    """Right, and its time too far from now, before or after."""


Verify = Callable[[bytes, Sent, Iterable[str], float], Verdict]
"""Judges the payload as it came and what came with it, by secrets of which any may be the one, at a time in seconds."""


class Proof(msgspec.Struct, frozen=True):
    """How a platform's deliveries are verified."""

    verify: Verify
    in_body: bool
    """Whether the payload must be read first."""
    header: str
    """The header that it is in, in lower case. Empty: none."""


def proof_of(signature: Signature) -> Proof:
    """Makes the scheme of a platform's file into a function, once."""
    [reference] = parse_references(signature.at)
    find = resolver(signature.at)
    match signature:
        case Hmac():
            verify = _hmac(signature, find)
        case Token():
            verify = _token(find)
        case Stripe():
            verify = _stripe(signature, find)
        case StandardWebhooks():
            verify = _standard_webhooks(signature, find)
    return Proof(verify, isinstance(reference, Body), reference.name if isinstance(reference, Header) else "")


def _hmac(signature: Hmac, find: Resolve) -> Verify:
    def expected(payload: bytes, secret: str) -> str:
        mac = hmac.digest(_bytes(secret), payload, signature.algorithm)
        return signature.prefix + (mac.hex() if signature.encoding == "hex" else base64.b64encode(mac).decode())

    def verify(payload: bytes, sent: Sent, secrets: Iterable[str], now: float) -> Verdict:
        given = text_of(find(sent))
        if given is None:
            return Verdict.MISSING
        if signature.encoding == "hex":
            start = len(signature.prefix)
            given = given[:start] + given[start:].lower()
        is_right = any(_same(expected(payload, secret), given) for secret in secrets)
        return Verdict.RIGHT if is_right else Verdict.WRONG

    return verify


def _token(find: Resolve) -> Verify:
    def verify(payload: bytes, sent: Sent, secrets: Iterable[str], now: float) -> Verdict:
        given = text_of(find(sent))
        if given is None:
            return Verdict.MISSING
        is_right = any(_same(secret.strip(), given) for secret in secrets)
        return Verdict.RIGHT if is_right else Verdict.WRONG

    return verify


def _stripe(signature: Stripe, find: Resolve) -> Verify:
    def verify(payload: bytes, sent: Sent, secrets: Iterable[str], now: float) -> Verdict:
        header = text_of(find(sent))
        if header is None:
            return Verdict.MISSING
        parts = [part.strip().partition("=") for part in header.split(",")]
        times = [value for name, _, value in parts if name == "t"]
        given = [value for name, _, value in parts if name == "v1"]
        if len(times) != 1 or not _is_timestamp(times[0]):
            return Verdict.WRONG
        signed = times[0].encode() + b"." + payload
        expected = [hmac.digest(_bytes(secret), signed, "sha256").hex() for secret in secrets]
        return _timed(expected, given, int(times[0]), now, signature.tolerance_seconds)

    return verify


def _standard_webhooks(signature: StandardWebhooks, find: Resolve) -> Verify:
    # The library's own `verify` reads the clock and has one tolerance: it only makes the signatures here.
    def expected(payload: bytes, message_id: str, timestamp: int, secret: str) -> str:
        moment = datetime.fromtimestamp(timestamp, UTC)
        return Webhook(secret.strip()).sign(message_id, moment, payload.decode()).removeprefix("v1,")

    def verify(payload: bytes, sent: Sent, secrets: Iterable[str], now: float) -> Verdict:
        header = text_of(find(sent))
        if header is None:
            return Verdict.MISSING
        message_id, time = sent.headers.get("webhook-id", ""), sent.headers.get("webhook-timestamp", "")
        if not message_id or not _is_timestamp(time):
            return Verdict.WRONG
        given = [value for version, _, value in (part.partition(",") for part in header.split()) if version == "v1"]
        able = []
        for secret in secrets:
            try:
                able.append(expected(payload, message_id, int(time), secret))
            except (ValueError, OverflowError, EmptyWebhookSecretError):
                # A secret that is no base64, or a body that is no text: nothing can be signed so.
                continue
        return _timed(able, given, int(time), now, signature.tolerance_seconds)

    return verify


def _timed(expected: Iterable[str], given: Iterable[str], timestamp: int, now: float, tolerance: int) -> Verdict:
    if not any(_same(one, other) for one in expected for other in given):
        return Verdict.WRONG
    return Verdict.RIGHT if abs(now - timestamp) <= tolerance else Verdict.TOO_OLD


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
