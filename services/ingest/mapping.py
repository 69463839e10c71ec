"""What a payload means: pure rules from bytes to an event, or to the reason why not. No I/O, no protobuf."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from shared.names import NAME_RULE, is_name
from shared.platforms import Platform

NAME_CHARACTERS = 500
"""Customer and product names are cut after so many: they are for listing, the payload holds the whole."""
KEY_BYTES = 255
"""A longer dedup key is replaced by its SHA-256."""
TYPE_CHARACTERS = 128
MAX_DEPTH = 200
"""Nesting beyond this is no webhook; PostgreSQL's own limit depends on its stack."""
MAX_EXPONENT = 1000
"""jsonb writes every number out: 1e100000 would be a hundred thousand digits in each export."""
_TOTAL_LIMIT = Decimal(10) ** 18
_TOTAL_CHARACTERS = 60
_EXACT = Context(prec=1_000_000)
_is_decimal = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]+)?\s*").fullmatch
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reason(StrEnum):
    """Why an event is not accepted. The names are those of the contract's OutcomeReason."""

    PAYLOAD_EMPTY = "PAYLOAD_EMPTY"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    NAME_MALFORMED = "NAME_MALFORMED"
    JSON_MALFORMED = "JSON_MALFORMED"
    JSON_NOT_OBJECT = "JSON_NOT_OBJECT"
    JSON_UNSTORABLE = "JSON_UNSTORABLE"
    PLATFORM_UNKNOWN = "PLATFORM_UNKNOWN"
    PLATFORM_UNRECOGNISED = "PLATFORM_UNRECOGNISED"
    TYPE_MISSING = "TYPE_MISSING"
    TOTAL_MALFORMED = "TOTAL_MALFORMED"
    TIME_MALFORMED = "TIME_MALFORMED"


class Incoming(msgspec.Struct, frozen=True):
    """An event as it came. `platform` and `source` may be empty."""

    platform: str
    source: str
    payload: bytes


class Mapped(msgspec.Struct, frozen=True):
    """An event understood."""

    source: str
    platform: str
    type: str
    dedup_key: str
    customer_name: str | None
    product_name: str | None
    total: str | None
    """A plain decimal number."""
    currency: str | None
    occurred_time: datetime | None
    payload: bytes
    payload_sha256: bytes
    """Of the payload's content: white space, the order of members and ways to write a number make no difference."""


class SetAside(msgspec.Struct, frozen=True):
    """An event not understood, to be kept as it came."""

    source: str
    platform: str
    reason: Reason
    message: str
    payload: bytes


class Rejected(msgspec.Struct, frozen=True):
    """An event that is not stored at all."""

    reason: Reason
    message: str


class _NotUnderstoodError(Exception):
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Mapper:
    """Applies the platforms' mappings. Holds no state but them."""

    def __init__(self, platforms: Mapping[str, Platform], max_payload_bytes: int) -> None:
        self._compiled = {name: _Compiled(platform) for name, platform in platforms.items()}
        self._max_payload_bytes = max_payload_bytes

    def map(self, incoming: Incoming) -> Mapped | SetAside | Rejected:
        """Understands one event. Never raises, whatever the payload."""
        payload, named = incoming.payload, incoming.platform
        if not payload:
            return Rejected(Reason.PAYLOAD_EMPTY, "there is no payload")
        if len(payload) > self._max_payload_bytes:
            message = f"the payload has {len(payload)} bytes; at most {self._max_payload_bytes} are taken"
            return Rejected(Reason.PAYLOAD_TOO_LARGE, message)
        if named and not is_name(named):
            return Rejected(Reason.NAME_MALFORMED, f"platform: {NAME_RULE}")
        if incoming.source and not is_name(incoming.source):
            return Rejected(Reason.NAME_MALFORMED, f"source: {NAME_RULE}")
        platform_name = named
        try:
            content, digest = _parse(payload)
            if named:
                compiled = self._compiled.get(named)
                if compiled is None:
                    raise _NotUnderstoodError(Reason.PLATFORM_UNKNOWN, f"there is no mapping named {named}")
            else:
                compiled = self._recognise(content)
            platform_name = compiled.platform.name
            return compiled.map(incoming.source or platform_name, payload, content, digest)
        except _NotUnderstoodError as error:
            source = incoming.source or platform_name or "unknown"
            return SetAside(source, platform_name, error.reason, error.message, payload)

    def _recognise(self, content: dict[str, Any]) -> "_Compiled":
        for compiled in self._compiled.values():
            if compiled.recognises(content):
                return compiled
        raise _NotUnderstoodError(Reason.PLATFORM_UNRECOGNISED, "no platform recognises the payload")


class _Parser:
    """Parses JSON with exact decimals, noting those on the way that need a second look: only they can be written in
    more than one way, or be too large."""

    def __init__(self) -> None:
        self._suspects: list[Decimal] = []
        self._decode = msgspec.json.Decoder(float_hook=self._number).decode

    def parse(self, payload: bytes) -> tuple[Any, list[Decimal]]:
        self._suspects = []
        return self._decode(payload), self._suspects

    def _number(self, text: str) -> Decimal:
        number = Decimal(text)
        if text[-1] == "0" or "e" in text or "E" in text:
            self._suspects.append(number)
        return number


_parser = _Parser()
# NUL as an escape: an odd number of backslashes before u0000.
_has_nul = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search


def _parse(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The payload's content, and the digest of it."""
    try:
        content, suspects = _parser.parse(payload)
    except RecursionError:
        raise _NotUnderstoodError(Reason.JSON_UNSTORABLE, "the payload is nested too deeply") from None
    except UnicodeDecodeError:
        raise _NotUnderstoodError(Reason.JSON_MALFORMED, "the payload is not UTF-8") from None
    except (msgspec.ValidationError, InvalidOperation):
        # More digits than an int may have, or an exponent beyond those of Decimal.
        raise _NotUnderstoodError(Reason.JSON_UNSTORABLE, "a number in the payload is too large or too small") from None
    except msgspec.DecodeError as error:
        # The parser's text says what and where (a byte's position), and quotes nothing of the payload.
        raise _NotUnderstoodError(Reason.JSON_MALFORMED, f"the payload is not JSON: {error}") from None
    if type(content) is not dict:
        raise _NotUnderstoodError(Reason.JSON_NOT_OBJECT, "the payload is JSON but not an object")
    if b"\\u0000" in payload and _has_nul(payload):
        raise _NotUnderstoodError(Reason.JSON_UNSTORABLE, "the payload holds the character NUL")
    if any(abs(number.adjusted()) > MAX_EXPONENT for number in suspects):
        raise _NotUnderstoodError(Reason.JSON_UNSTORABLE, "a number in the payload is too large or too small")
    if payload.count(b"{") + payload.count(b"[") > MAX_DEPTH and _depth(content) > MAX_DEPTH:
        raise _NotUnderstoodError(Reason.JSON_UNSTORABLE, "the payload is nested too deeply")
    in_one_form = _decode_in_one_form(payload) if suspects else content
    return content, hashlib.sha256(_encode_in_one_form(in_one_form)).digest()


def _depth(content: Any) -> int:
    level, depth = [content], 0
    while level:
        depth += 1
        values = [value for item in level for value in (item.values() if isinstance(item, dict) else item)]
        level = [value for value in values if isinstance(value, dict | list)]
    return depth


def _one_form(text: str) -> int | Decimal:
    """One form for one value: 10, 10.0 and 1e1 are the same number."""
    number = Decimal(text).normalize(_EXACT)
    return int(number) if number == number.to_integral_value() else number


_decode_in_one_form = msgspec.json.Decoder(float_hook=_one_form).decode
_encode_in_one_form = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


class _Compiled:
    """A platform's paths, split once."""

    def __init__(self, platform: Platform) -> None:
        fields = platform.fields
        self.platform = platform
        self._present = _paths(platform.recognise.present) if platform.recognise else ()
        self._type = _paths(fields.type)
        self._dedup_key = tuple(
            tuple((_path(part.removesuffix("?")), part.endswith("?")) for part in parts) for parts in fields.dedup_key
        )
        self._customer_name = _paths(fields.customer_name)
        self._product_name = _paths(fields.product_name)
        self._total = _paths(fields.total)
        self._currency = _paths(fields.currency)
        self._occurred_time = _paths(fields.occurred_time)
        self._zone = ZoneInfo(platform.time_zone)

    def recognises(self, content: dict[str, Any]) -> bool:
        if self.platform.fallback:
            return _first(content, self._type) is not None
        return bool(self._present) and all(_get(content, path) is not None for path in self._present)

    def map(self, source: str, payload: bytes, content: dict[str, Any], digest: bytes) -> Mapped:
        event_type = _text(_first(content, self._type))
        if event_type is None or len(event_type) > TYPE_CHARACTERS or not event_type.isprintable():
            message = f"there is no type, or it is no text of at most {TYPE_CHARACTERS} printable characters"
            raise _NotUnderstoodError(Reason.TYPE_MISSING, message)
        total = self._amount(_first(content, self._total))
        return Mapped(
            source=source,
            platform=self.platform.name,
            type=event_type,
            dedup_key=self._key(content) or "sha256:" + digest.hex(),
            customer_name=_name(_first(content, self._customer_name)),
            product_name=_name(_first(content, self._product_name)),
            total=total,
            currency=None if total is None else self._currency_of(content),
            occurred_time=self._time(_first(content, self._occurred_time)),
            payload=payload,
            payload_sha256=digest,
        )

    def _currency_of(self, content: dict[str, Any]) -> str | None:
        # A currency that is none (too long, not letters) is not worth a quarantine: the payload still holds it.
        code = _text(_first(content, self._currency))
        return code.upper() if code and len(code) == 3 and code.isascii() and code.isalpha() else self.platform.currency

    def _key(self, content: dict[str, Any]) -> str | None:
        for parts in self._dedup_key:
            texts = []
            for path, optional in parts:
                text = _text(_get(content, path))
                if text is None and not optional:
                    break
                texts.append(text or "")
            else:
                return _key(texts)
        return None

    def _amount(self, value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
            raise _NotUnderstoodError(Reason.TOTAL_MALFORMED, "the total is neither a number nor a text")
        if isinstance(value, str) and not _is_decimal(value):
            raise _NotUnderstoodError(Reason.TOTAL_MALFORMED, "the total is no plain decimal number")
        amount = Decimal(value)
        text = f"{amount.scaleb(-2, _EXACT) if self.platform.total_unit == 'minor' else amount:f}"
        if abs(amount) >= _TOTAL_LIMIT or len(text) > _TOTAL_CHARACTERS:
            raise _NotUnderstoodError(Reason.TOTAL_MALFORMED, "the total is no amount of money: it has too many digits")
        return text

    def _time(self, value: Any) -> datetime | None:
        if value is None:
            return None
        try:
            moment = _moment(value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=self._zone)
            moment = moment.astimezone(UTC)
            if moment < _EPOCH:
                raise ValueError
        except (ValueError, OverflowError):
            message = "the time is no time between the years 1970 and 9999"
            raise _NotUnderstoodError(Reason.TIME_MALFORMED, message) from None
        return moment


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value.strip())
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        # Seconds or milliseconds since 1970: as seconds, 10^11 would be the year 5138.
        number = Decimal(value)
        seconds = number / 1000 if abs(number) >= 10**11 else number
        return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))
    raise ValueError


Path = tuple[str | int, ...]


def _path(text: str) -> Path:
    return tuple(int(part) if part.isdigit() else part for part in text.split("."))


def _paths(texts: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(_path(text) for text in texts)


def _get(content: Any, path: Path) -> Any:
    for part in path:
        if type(content) is dict:
            content = content.get(part)
        elif type(content) is list and type(part) is int and part < len(content):
            content = content[part]
        else:
            return None
    return content


def _first(content: dict[str, Any], paths: tuple[Path, ...]) -> Any:
    """The first value that is there and says something: neither null nor an empty text."""
    for path in paths:
        value = _get(content, path)
        if value is not None and value != "":
            return value
    return None


def _text(value: Any) -> str | None:
    """A value that identifies, as text: texts, and whole numbers as written. Anything else is none."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def _name(value: Any) -> str | None:
    text = _text(value)
    return text[:NAME_CHARACTERS] if text is not None else None


def _key(parts: list[str]) -> str:
    # Ids by themselves, ids put together, and digests never come to the same key.
    if len(parts) > 1:
        # A colon inside a part is escaped: other parts must not come to the same whole.
        key = "".join(":" + part.replace("%", "%25").replace(":", "%3A") for part in parts)
        is_its_own = True
    else:
        [key] = parts
        is_its_own = not key.startswith((":", "sha256:"))
    if is_its_own and len(key.encode()) <= KEY_BYTES:
        return key
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()
