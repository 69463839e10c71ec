"""The platforms that Hookline understands: one TOML file each, in this folder. A new platform is a file, not code.

`docs/platforms.md` explains the files. This module loads and checks them, `references` is the grammar of where things
are, `vocabulary` the words for what happened, `history` how a platform's history is pulled; `services.ingest.mapping`
and `services.sync.connectors` apply it all.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from shared.errors import OperatorError
from shared.names import is_name
from shared.platforms.history import History as History
from shared.platforms.history import check_history
from shared.platforms.references import Body, Each, Header, Query, Reference, parse_references
from shared.platforms.vocabulary import VOCABULARY

MAX_OWN_BYTES = 64 * 1024
"""Of a mapping of a company's own."""
MAX_OWN_REFERENCES = 200
MAX_OWN_DOTS = 100
"""In a line."""
MAX_LISTS = 3
"""A reference goes through so many lists, one in the other."""
MAX_TITLE_CHARACTERS = 100
TYPE_CHARACTERS = 128
"""A longer text is no type."""
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})
"""Only a signature may be read from these: what a mapping reads is kept with what is quarantined."""
_REASON_CHARACTERS = 400
_is_currency = re.compile(r"[A-Z]{3}").fullmatch

Tolerance = Annotated[int, msgspec.Meta(ge=1, le=24 * 60 * 60)]
Digits = Annotated[int, msgspec.Meta(ge=0, le=6)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a platform's file: a setting that nobody knows is a mistake."""


class Recognise(_Table, frozen=True):
    """What a delivery must have to be taken for this platform's when no platform is named: all that is given."""

    present: tuple[str, ...] = ()
    """References to what must be there and not null."""
    equal: Mapping[str, str | int] = {}
    """References to what must be this text, or this number."""
    prefix: Mapping[str, str] = {}
    """References to texts that must begin so."""


class Fields(_Table, frozen=True):
    """References to where the fields are. Of several, the first one that holds a value counts."""

    type: tuple[str, ...]
    """Several references joined count only when all hold a value, and what they say together is among the `types`."""
    dedup_key: tuple[tuple[str, ...], ...]
    """Alternatives, of which the first whose parts are all there is joined by ":". A part ending in "?" may be missing.
    None of them there: the SHA-256 of the payload."""
    customer_name: tuple[str, ...] = ()
    product_name: tuple[str, ...] = ()
    total: tuple[str, ...] = ()
    currency: tuple[str, ...] = ()
    occurred_time: tuple[str, ...] = ()


class Hmac(_Table, frozen=True, tag_field="scheme", tag="hmac"):
    """The HMAC of the body, keyed with the secret."""

    at: str = msgspec.field(name="in")
    """The reference to the signature: a header or a parameter of the query."""
    algorithm: Literal["sha1", "sha256"]
    encoding: Literal["hex", "base64"]
    prefix: str = ""
    """What stands before the signature."""


class Token(_Table, frozen=True, tag_field="scheme", tag="token"):
    """The secret itself, sent along."""

    at: str = msgspec.field(name="in")
    """The reference to it."""


class Stripe(_Table, frozen=True, tag_field="scheme", tag="stripe"):
    """Stripe's: a header with a time and the HMAC of time and body."""

    at: ClassVar[str] = "header:stripe-signature"
    tolerance_seconds: Tolerance = 300
    """How far from now the time may be."""


class StandardWebhooks(_Table, frozen=True, tag_field="scheme", tag="standard_webhooks"):
    """That of standardwebhooks.com: three headers, the HMAC of id, time and body."""

    at: ClassVar[str] = "header:webhook-signature"
    tolerance_seconds: Tolerance = 300
    """How far from now the time may be."""


Signature = Hmac | Token | Stripe | StandardWebhooks


class Platform(_Table, frozen=True):
    """One platform's file."""

    name: str
    title: str
    fields: Fields
    recognise: Recognise | None = None
    """None: only when named, or as the fallback."""
    types: Mapping[str, str] = {}
    """The platform's own names for what happened, and the vocabulary's word for each."""
    signature: Signature | None = None
    """How the platform proves that it is the sender. None: it does not."""
    secrets: tuple[str, ...] = ()
    """Where in the body there are secrets: removed before anything is stored."""
    history: History | None = None
    """None: the platform keeps none that can be pulled."""
    fallback: bool = False
    """Tried last, on what no other platform recognises. One platform only."""
    total_unit: Literal["major", "minor"] = "major"
    """Whether totals are in the currency's unit (197.90) or in its minor unit (19790)."""
    total_format: Literal["plain", "brazilian"] = "plain"
    """How totals that are texts are written: "1169.80", or "R$ 1.169,80"."""
    minor_digits: Mapping[str, Digits] = {}
    """How many digits the minor unit of a currency has, where the platform differs from ISO 4217."""
    currency: str | None = None
    """The currency where the payload names none."""
    time_zone: str = "UTC"
    """The zone of times that name none."""

    @property
    def scheme(self) -> str:
        """The name of the signature's scheme; empty when there is none."""
        return "" if self.signature is None else str(self.signature.__struct_config__.tag)

    @property
    def times_match(self) -> bool:
        """Whether an item's time in the history is also the time at which its event occurred, so that what is stored of
        a stretch of time can be held against what the history lists of it. So it is where ingest reads the time first
        where the history has it: the payload is the item itself, and the first reference is the same. Where the payload
        is only a part of the item its times are its own, and where another reference comes first, such as a header that
        only webhooks have, the same event would be dated one way when pushed and another when pulled."""
        history, times = self.history, self.fields.occurred_time
        if history is None:
            return False
        return not history.payload and bool(history.time) and times[:1] == (history.time,)


class PlatformMalformed(ValueError):
    """A platform's file is malformed. `reason` says what is wrong with it: a sentence without the full stop."""

    def __init__(self, file: str, reason: str) -> None:
        # The file may be anybody's, and what it holds be quoted.
        printable = "".join(character if character.isprintable() else "\ufffd" for character in reason)
        self.reason = printable if len(printable) <= _REASON_CHARACTERS else printable[:_REASON_CHARACTERS] + "…"
        super().__init__(f"The platform file {file} is malformed: {self.reason}.")


@cache
def platforms() -> Mapping[str, Platform]:
    """All platforms by name, the fallback last. Raises OperatorError when a file is malformed."""
    found: dict[str, Platform] = {}
    for file in sorted(files("shared.platforms").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            try:
                platform = parse_platform(file.read_bytes(), file.name)
            except PlatformMalformed as error:
                raise OperatorError(str(error)) from None
            if file.name != f"{platform.name}.toml":
                raise OperatorError(f"The platform file {file.name} names its platform {platform.name!r}.")
            found[platform.name] = platform
    fallbacks = [platform for platform in found.values() if platform.fallback]
    if len(fallbacks) != 1:
        raise OperatorError("Exactly one platform file must say `fallback = true`.")
    found[fallbacks[0].name] = found.pop(fallbacks[0].name)
    return found


def parse_platform(toml: bytes, file: str, *, own: bool = False) -> Platform:
    """Reads one platform's file; `own`: a company's own, which has limits. Raises PlatformMalformed. Whether another
    platform has the same name, or recognises the same payloads, is not looked at."""
    try:
        if own:
            _check_size(toml)
        platform = _decoded(toml)
        _check(platform)
        if own:
            _check_own(platform)
    except ValueError as error:
        raise PlatformMalformed(file, str(error)) from None
    return platform


def with_history(own: Platform) -> Platform:
    """A company's own mapping as a sync uses it: without a `[history]` it has that of the built-in one of its name."""
    built_in = platforms().get(own.name)
    if own.history is not None or built_in is None or built_in.history is None:
        return own
    return msgspec.structs.replace(own, history=built_in.history)


def _decoded(toml: bytes) -> Platform:
    try:
        return msgspec.toml.decode(toml, type=Platform)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError("it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)) from None
    except ValueError:
        # All that is left: more digits than an int may have.
        raise ValueError("a number in it has too many digits") from None


def _check_size(toml: bytes) -> None:
    """Raises ValueError with what would keep the parser busy: a key of many thousand parts takes it a minute."""
    if len(toml) > MAX_OWN_BYTES:
        raise ValueError(f"it has {len(toml)} bytes; at most {MAX_OWN_BYTES} are taken")
    if any(line.count(b".") > MAX_OWN_DOTS for line in toml.splitlines()):
        raise ValueError(f"a line of it has more than {MAX_OWN_DOTS} dots")


def _check(platform: Platform) -> None:
    """Raises ValueError with what is wrong."""
    if not is_name(platform.name):
        raise ValueError(f"name: {platform.name!r} can't be a name")
    if not platform.title.isprintable() or not 0 < len(platform.title) <= MAX_TITLE_CHARACTERS:
        raise ValueError(f"title: at most {MAX_TITLE_CHARACTERS} printable characters are needed")
    try:
        ZoneInfo(platform.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"time_zone: there is no zone named {platform.time_zone!r}") from None
    for place, code in [("currency", platform.currency), *(("minor_digits", code) for code in platform.minor_digits)]:
        if code is not None and not _is_currency(code):
            raise ValueError(f"{place}: {code!r} is no currency's code, three capital letters")
    if platform.minor_digits and platform.total_unit != "minor":
        raise ValueError('minor_digits: they count only with total_unit = "minor"')
    if platform.total_format == "brazilian" and platform.total_unit == "minor":
        raise ValueError('total_format: "brazilian" texts are in the currency\'s unit, not in its minor unit')
    if not platform.fields.type or not all(platform.fields.dedup_key):
        raise ValueError("a type, and parts in each dedup key, are needed")
    for parts in platform.fields.dedup_key:
        if all(part.endswith("?") for part in parts):
            raise ValueError("fields.dedup_key: a key whose parts may all be missing would be every event's")
    for own_name, word in platform.types.items():
        if word not in VOCABULARY:
            raise ValueError(f"types: {word!r}, for {own_name!r}, is no word of the vocabulary")
        if not own_name.isprintable() or not 0 < len(own_name.strip()) == len(own_name) <= TYPE_CHARACTERS:
            raise ValueError(f"types: no payload can say {own_name!r}")
    if platform.fallback and platform.recognise:
        raise ValueError("recognise: the fallback is tried on whatever no other platform recognises")
    if platform.recognise and not any(msgspec.structs.astuple(platform.recognise)):
        raise ValueError("recognise: nothing is given, so every payload would be this platform's")
    secrets = [_single("secrets", text) for text in platform.secrets]
    if not all(isinstance(one, Body) and one.is_plain and isinstance(one.steps[-1], str) for one in secrets):
        raise ValueError("secrets: each must lead to one member of the payload")
    proof = _single("signature.in", platform.signature.at) if platform.signature else None
    if isinstance(proof, Body) and isinstance(platform.signature, Hmac):
        raise ValueError("signature.in: the HMAC of the body can't be in the body")
    if isinstance(proof, Body) and proof not in secrets:
        raise ValueError("signature.in: a token in the body must be among the secrets")
    for place, reference in references(platform):
        if isinstance(reference, Body) and sum(isinstance(step, Each) for step in reference.steps) > MAX_LISTS:
            raise ValueError(f"{place}: a reference goes through at most {MAX_LISTS} lists, one in the other")
        if isinstance(reference, Header) and (reference == proof or reference.name in SECRET_HEADERS):
            raise ValueError(f"{place}: header:{reference.name} proves the sender; only [signature] may read it")
        if isinstance(reference, Query):
            raise ValueError(f"{place}: query:{reference.name} is not kept for a retry; only [signature] may read it")
    if platform.history:
        check_history(platform.history)
        if platform.history.item_headers and platform.signature:
            # Over gRPC, too, what comes with headers to a source that has a secret must be signed.
            raise ValueError("history.item_headers: ingest would ask for the platform's signature beside them")
        if secret := next((name for name in platform.history.item_headers if name in SECRET_HEADERS), None):
            raise ValueError(f"history.item_headers: {secret} is nothing to hand on")


def _check_own(platform: Platform) -> None:
    """Raises ValueError with what only a file of this folder may have."""
    if platform.fallback:
        raise ValueError("fallback: a company's own mapping can't be the fallback")
    count = len(references(platform)) + len(platform.secrets)
    if count > MAX_OWN_REFERENCES:
        raise ValueError(f"it has {count} references; at most {MAX_OWN_REFERENCES} are taken")


def references(platform: Platform) -> list[tuple[str, Reference]]:
    """What the mapping reads apart from signature and secrets, each with its place in the file."""
    texts: list[tuple[str, str]] = []
    for name, given in msgspec.structs.asdict(platform.fields).items():
        if name == "dedup_key":
            texts += [("fields.dedup_key", part.removesuffix("?")) for parts in given for part in parts]
        else:
            texts += [(f"fields.{name}", text) for text in given]
    if platform.recognise:
        for name, given in msgspec.structs.asdict(platform.recognise).items():
            texts += [(f"recognise.{name}", text) for text in given]
    return [(place, reference) for place, text in texts for reference in _placed(place, text)]


def _placed(place: str, text: str) -> Sequence[Reference]:
    try:
        return parse_references(text)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _single(place: str, text: str) -> Reference:
    first, *others = _placed(place, text)
    if others:
        raise ValueError(f"{place}: {text!r} joins several references; only one can stand here")
    return first
