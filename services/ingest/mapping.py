"""What a delivery means: pure rules from what came to an event, or to the reason why not. No I/O, no protobuf."""

import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from services.ingest import forms, kept_headers, values
from services.ingest import payload as payloads
from services.ingest.recognition import Recogniser, looks
from services.ingest.references import Sent, by_lower_name, first_listed, first_of, parameters, resolver, text_of
from services.ingest.signatures import Verdict, proof_of
from shared.names import NAME_RULE, is_name
from shared.platforms import TYPE_CHARACTERS, Platform
from shared.platforms.references import Body, parse_references
from shared.platforms.times import moment_of

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 * 1024
MAX_QUERY_BYTES = 4 * 1024


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
    SIGNATURE_MISSING = "SIGNATURE_MISSING"
    SIGNATURE_WRONG = "SIGNATURE_WRONG"
    SIGNATURE_TOO_OLD = "SIGNATURE_TOO_OLD"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"


class Incoming(msgspec.Struct, frozen=True):
    """An event as it came. `platform` and `source` may be empty."""

    platform: str
    source: str
    payload: bytes
    headers: Mapping[str, str] = {}
    """By their names, in any case."""
    query: str = ""
    at_door: bool = False
    """Whether it came to an endpoint: where there is a secret, a signature must be there."""
    trusted: bool = False
    """Whether it has proven its sender before, or did not need to: its signature is not asked for again."""
    quarantine_id: uuid.UUID | None = None
    """Under which it lies in quarantine; None where it is not one that is tried again."""


class SetAside(msgspec.Struct, frozen=True):
    """An event not understood, to be kept as it came, without the platform's secrets where the platform is known."""

    source: str
    platform: str
    reason: Reason
    message: str
    payload: bytes
    named_source: str = ""
    named_platform: str = ""
    headers: Mapping[str, str] = {}
    """Those that some mapping reads, and the one that says that the payload is a form, by their names in lower case;
    where the platform is not known, what a mapping to come may read. Never one that proves the sender."""
    telling: frozenset[str] = frozenset()
    """Names of those headers that make another event of the same payload."""
    trusted: bool = False
    """Whether it may become an event without a signature: it had the right one, or nothing asked for one."""


class Mapped(msgspec.Struct, frozen=True):
    """An event understood."""

    source: str
    platform: str
    type: str
    platform_type: str | None
    """What happened in the platform's own words; None where `type` is in them."""
    dedup_key: str
    customer_name: str | None
    product_name: str | None
    total: str | None
    """A plain decimal number."""
    currency: str | None
    occurred_time: datetime | None
    payload: bytes
    """As it came, a form as JSON, without the platform's secrets."""
    payload_sha256: bytes
    """Of the payload's content: white space, the order of members and ways to write a number make no difference."""
    aside: SetAside
    """What it is set aside as if PostgreSQL can't hold it."""
    quarantine_id: uuid.UUID | None
    """Under which it lies in quarantine, if it does."""


class Rejected(msgspec.Struct, frozen=True):
    """An event that is not stored at all."""

    reason: Reason
    message: str


class Secret(msgspec.Struct, frozen=True):
    """What a source's deliveries are signed with, and until when. None: no end."""

    text: str
    expire_time: datetime | None = None


class Rules(msgspec.Struct, frozen=True):
    """What one company has of its own."""

    platforms: Mapping[str, "Compiled"] = {}
    """By name. Tried before the built-in ones, and in place of those of the same name."""
    secrets: Mapping[str, tuple[Secret, ...]] = {}
    """By source."""


NO_RULES = Rules()


class _NotUnderstoodError(Exception):
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Mapper:
    """Applies the mappings: the built-in ones, which it holds, and a company's own, which come with each call."""

    def __init__(
        self, platforms: Mapping[str, Platform], max_payload_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._built_in = {name: compile_platform(platform) for name, platform in platforms.items()}
        self._fallback = next((one for one in self._built_in.values() if one.platform.fallback), None)
        recognisers = {name: one.recogniser for name, one in self._built_in.items() if one.recogniser}
        self._looks, self._looks_without_headers = (
            [(member, self._built_in[name]) for name, member in looks(recognisers, with_headers=with_headers)]
            for with_headers in (True, False)
        )
        self._read_headers = kept_headers.read_by_all(one.headers for one in self._built_in.values())
        self._max_payload_bytes = max_payload_bytes
        self._clock = clock

    def map(self, incoming: Incoming, rules: Rules = NO_RULES) -> Mapped | SetAside | Rejected:
        """Understands one event. Never raises, whatever comes."""
        refused = self._refused(incoming)
        if refused is not None:
            return refused
        named = incoming.platform
        headers = by_lower_name(incoming.headers) if incoming.headers else _NOTHING
        query = parameters(incoming.query) if incoming.query else _NOTHING
        compiled = rules.platforms.get(named) or self._built_in.get(named) if named else None
        # What is signed outside of the payload is verified before anything of the payload is looked at.
        if rules.secrets and compiled is not None and not compiled.is_proven_in_body:
            refused = self._unproven(incoming, compiled, Sent({}, headers, query), rules)
            if refused is not None:
                return refused
        payload, document = self._read(incoming.payload, headers)
        sent = Sent(document.content, headers, query)
        if not named:
            compiled = self._recognised(sent, rules)
        if rules.secrets and compiled is not None and (compiled.is_proven_in_body or not named):
            refused = self._unproven(incoming, compiled, sent, rules)
            if refused is not None:
                return refused
        platform = named if compiled is None else compiled.platform.name
        stripped = None
        if compiled is not None and compiled.secret_paths:
            stripped = payloads.strip(document.content, compiled.secret_paths)
        kept, telling = self._kept(incoming, headers, compiled, rules)
        aside = SetAside(
            source=incoming.source or platform or "unknown",
            platform=platform,
            reason=Reason.JSON_UNSTORABLE,
            message="PostgreSQL can't hold the payload",
            payload=stripped or incoming.payload,
            named_source=incoming.source,
            named_platform=named,
            headers=kept,
            telling=telling,
            trusted=_is_trusted(incoming, platform if compiled else "", rules),
        )
        try:
            if document.flaw is not None:
                raise _NotUnderstoodError(Reason[document.flaw], document.message)
            if compiled is None:
                raise _unknown(named)
            return compiled.map(stripped or payload, sent, document, aside, incoming.quarantine_id)
        except _NotUnderstoodError as error:
            return msgspec.structs.replace(aside, reason=error.reason, message=error.message)

    def _refused(self, incoming: Incoming) -> Rejected | None:
        """What is not even looked at."""
        size = len(incoming.payload)
        if not size:
            return Rejected(Reason.PAYLOAD_EMPTY, "there is no payload")
        if size > self._max_payload_bytes:
            message = f"the payload has {size} bytes; at most {self._max_payload_bytes} are taken"
            return Rejected(Reason.PAYLOAD_TOO_LARGE, message)
        if incoming.platform and not is_name(incoming.platform):
            return Rejected(Reason.NAME_MALFORMED, f"platform: {NAME_RULE}")
        if incoming.source and not is_name(incoming.source):
            return Rejected(Reason.NAME_MALFORMED, f"source: {NAME_RULE}")
        if incoming.headers and (
            len(incoming.headers) > MAX_HEADERS
            or _size("".join(incoming.headers)) + _size("".join(incoming.headers.values())) > MAX_HEADER_BYTES
        ):
            message = f"at most {MAX_HEADERS} headers of at most {MAX_HEADER_BYTES} bytes together are taken"
            return Rejected(Reason.HEADERS_TOO_LARGE, message)
        if incoming.query and _size(incoming.query) > MAX_QUERY_BYTES:
            return Rejected(Reason.HEADERS_TOO_LARGE, f"a query of at most {MAX_QUERY_BYTES} bytes is taken")
        return None

    def _read(self, payload: bytes, headers: Mapping[str, str]) -> tuple[bytes, payloads.Document]:
        """The payload, a form as JSON, and what it holds."""
        if headers and forms.is_form(headers):
            try:
                payload = forms.to_json(payload, self._max_payload_bytes)
            except forms.FormMalformed as error:
                return payload, payloads.Document({}, flaw=payloads.Flaw.JSON_MALFORMED, message=str(error))
        return payload, payloads.read(payload)

    def _unproven(self, incoming: Incoming, compiled: "Compiled", sent: Sent, rules: Rules) -> Rejected | None:
        """Why what came does not prove its sender; None when it does, or need not."""
        secrets = rules.secrets.get(incoming.source or compiled.platform.name)
        if not secrets or incoming.trusted:
            return None
        now = self._clock()
        good = [one.text for one in secrets if one.expire_time is None or one.expire_time.timestamp() > now]
        if compiled.proof is None:
            # Nobody gets around the secret by sending what looks like a platform that signs nothing.
            if good and incoming.at_door and not incoming.platform:
                unsigned = _UNSIGNED.format(compiled.platform.name)
                return Rejected(Reason.SIGNATURE_MISSING, _UNVERIFIED if incoming.quarantine_id else unsigned)
            return None
        match compiled.proof.verify(incoming.payload, sent, good, now):
            case Verdict.RIGHT:
                return None
            case Verdict.MISSING:
                # Inside the company's own walls events may come without what they were delivered with.
                if not (incoming.at_door or incoming.headers or incoming.query):
                    return None
                return Rejected(Reason.SIGNATURE_MISSING, _UNVERIFIED if incoming.quarantine_id else _MISSING)
            case Verdict.WRONG:
                return Rejected(Reason.SIGNATURE_WRONG, "the signature is not by any secret that the source has")
            case Verdict.TOO_OLD:
                return Rejected(Reason.SIGNATURE_TOO_OLD, "the signature is right, and its time too far from now")

    def _recognised(self, sent: Sent, rules: Rules) -> "Compiled | None":
        for compiled in rules.platforms.values():
            if compiled.recognises(sent):
                return compiled
        looks = self._looks if sent.headers else self._looks_without_headers
        content = sent.content
        for member, compiled in looks:
            if (
                (member is None or member in content)
                and compiled.recognises(sent)
                and compiled.platform.name not in rules.platforms
            ):
                return compiled
        fallback = self._fallback
        if fallback is not None and rules.platforms:
            fallback = rules.platforms.get(fallback.platform.name, fallback)
        if fallback is not None and fallback.platform.recognise is None and fallback.says_what(sent):
            return fallback
        return None

    def _kept(
        self, incoming: Incoming, headers: Mapping[str, str], compiled: "Compiled | None", rules: Rules
    ) -> tuple[Mapping[str, str], frozenset[str]]:
        """The headers that trying again will need, and those of them that tell one event from another."""
        if not headers:
            return _NOTHING, frozenset()
        read = self._read_headers
        if rules.platforms:
            read = kept_headers.read_by_all([read, *(one.headers for one in rules.platforms.values())])
        # The fallback takes what is anybody's.
        is_unknown = compiled is None or compiled.platform.fallback
        kept = kept_headers.kept(headers, read, is_unknown=is_unknown, keeps_all=incoming.quarantine_id is not None)
        return kept, kept_headers.telling(kept, read, is_unknown=is_unknown)


_NOTHING: Mapping[str, str] = {}
_MISSING = "the source has a signing secret, and there is no signature"
_UNVERIFIED = "the source has a signing secret, and the event was not verified when it came"
_UNSIGNED = "the source has a signing secret, and {} has no signatures: name the platform at the endpoint"


def _is_trusted(incoming: Incoming, platform: str, rules: Rules) -> bool:
    """Whether what is not rejected may become an event later without being asked for its signature, whatever its
    platform turns out to be; `platform`: the one that is known by now, if any."""
    if incoming.trusted or not rules.secrets or not (incoming.at_door or incoming.headers or incoming.query):
        return True
    if platform and (incoming.source or platform) in rules.secrets:
        # It has been asked.
        return True
    # With another platform it would be of another source, unless that was named.
    return bool(incoming.source) and incoming.source not in rules.secrets


def _unknown(named: str) -> _NotUnderstoodError:
    if named:
        return _NotUnderstoodError(Reason.PLATFORM_UNKNOWN, f"there is no mapping named {named}")
    return _NotUnderstoodError(Reason.PLATFORM_UNRECOGNISED, "no platform recognises the payload")


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


class Compiled:
    """A platform's file, its references made into functions once."""

    def __init__(self, platform: Platform) -> None:
        fields, signature = platform.fields, platform.signature
        self.platform = platform
        self.proof = proof_of(signature) if signature else None
        self.is_proven_in_body = self.proof is not None and self.proof.in_body
        paths = [parse_references(text) for text in platform.secrets]
        self.secret_paths = tuple(one.steps for path in paths for one in path if isinstance(one, Body))
        self.headers = kept_headers.read_by(platform, self.proof.header if self.proof else "")
        self.recogniser = Recogniser(platform.recognise) if platform.recognise else None
        self._type = first_listed(fields.type, platform.types)
        self._types = platform.types
        self._dedup_key = tuple(
            tuple((resolver(part.removesuffix("?")), part.endswith("?")) for part in parts)
            for parts in fields.dedup_key
        )
        self._customer_name = first_of(fields.customer_name)
        self._product_name = first_of(fields.product_name)
        self._total = first_of(fields.total)
        self._currency = first_of(fields.currency)
        self._occurred_time = first_of(fields.occurred_time)
        self._zone = ZoneInfo(platform.time_zone)
        self._is_brazilian = platform.total_format == "brazilian"

    def recognises(self, sent: Sent) -> bool:
        """Whether what came is this platform's, by its own marks."""
        return self.recogniser is not None and self.recogniser.recognises(sent)

    def says_what(self, sent: Sent) -> bool:
        """Whether there is a type."""
        return self._type(sent) is not None

    def map(
        self,
        payload: bytes,
        sent: Sent,
        document: payloads.Document,
        aside: SetAside,
        quarantine_id: uuid.UUID | None,
    ) -> Mapped:
        """Finds the fields; `payload` is what is to be stored, `aside` what it is otherwise."""
        own_type = text_of(self._type(sent))
        if own_type is None or len(own_type) > TYPE_CHARACTERS or not own_type.isprintable():
            message = f"there is no type, or it is no text of at most {TYPE_CHARACTERS} printable characters"
            raise _NotUnderstoodError(Reason.TYPE_MISSING, message)
        event_type = self._types.get(own_type, own_type)
        total, currency = self._money(sent)
        digest = payloads.digest(payload, document)
        return Mapped(
            source=aside.source,
            platform=self.platform.name,
            type=event_type,
            platform_type=None if event_type == own_type else own_type,
            dedup_key=self._key(sent) or "sha256:" + digest.hex(),
            customer_name=values.name_of(self._customer_name(sent)),
            product_name=values.name_of(self._product_name(sent)),
            total=total,
            currency=currency,
            occurred_time=self._time(sent),
            payload=payload,
            payload_sha256=digest,
            aside=aside,
            quarantine_id=quarantine_id,
        )

    def _money(self, sent: Sent) -> tuple[str | None, str | None]:
        value = self._total(sent)
        if value is None:
            return None, None
        # A currency that is none (too long, not letters) is not worth a quarantine: the payload still holds it.
        currency = values.currency_of(self._currency(sent)) or self.platform.currency
        is_minor = self.platform.total_unit == "minor"
        try:
            number = values.decimal_of(value, is_brazilian=self._is_brazilian)
            digits = values.minor_digits(currency, self.platform.minor_digits) if is_minor else 0
            return values.amount_text(number, digits), currency
        except ValueError as error:
            raise _NotUnderstoodError(Reason.TOTAL_MALFORMED, str(error)) from None

    def _time(self, sent: Sent) -> datetime | None:
        value = self._occurred_time(sent)
        if value is None:
            return None
        try:
            return moment_of(value, self._zone)
        except ValueError as error:
            raise _NotUnderstoodError(Reason.TIME_MALFORMED, str(error)) from None

    def _key(self, sent: Sent) -> str | None:
        for parts in self._dedup_key:
            texts = []
            for resolve, is_optional in parts:
                text = text_of(resolve(sent))
                if text is None and not is_optional:
                    break
                texts.append(text or "")
            else:
                return values.key_of(texts)
        return None


def compile_platform(platform: Platform) -> Compiled:
    """Makes a checked file ready to be applied."""
    return Compiled(platform)
