"""Which headers are kept with what is set aside, and which of them tell one event from another. Pure."""

import re
from collections.abc import Iterable, Mapping

import msgspec

from services.ingest import forms
from shared.platforms import Platform, references
from shared.platforms.references import Header

# What any two HTTP servers say to each other, and what stands between them: nothing of an event, but whose address.
_is_transport = re.compile(
    r"(?:accept|cdn|cf|content|proxy|sec|x-amzn|x-b3|x-envoy|x-forwarded)(?:-.*)?|"
    r"baggage|cache-control|connection|date|dnt|expect|forwarded|from|host|keep-alive|max-forwards|origin|pragma|priority|"
    r"referer|te|traceparent|tracestate|trailer|transfer-encoding|true-client-ip|upgrade(?:-insecure-requests)?|via|"
    r"x-client-ip|x-correlation-id|x-real-ip|x-request-id"
).fullmatch
# No list of these is complete: what nobody knows the meaning of, and may be a secret, is not kept.
_may_be_secret = re.compile(
    r"auth|cookie|credential|hmac|hottok|jwt|passw|secret|session|sign|token|(?<!event-)(?<!idempotency-)key"
).search
_can_be_read = re.compile(r"[!-~]+").fullmatch
_may_say_what_happened = re.compile(r"action|event|topic|type").search


class Read(msgspec.Struct, frozen=True):
    """The headers that mappings have to do with, their names in lower case."""

    names: frozenset[str]
    """Those that are read. None of the proofs."""
    telling: frozenset[str]
    """Those of them whose value counts, not only that they are there."""
    proofs: frozenset[str]
    """Those that prove the sender."""


def read_by(platform: Platform, proof: str) -> Read:
    """What a platform's mapping reads; `proof`: the header that its signature is in, empty if there is none."""
    places = [(place, one.name) for place, one in references(platform) if isinstance(one, Header)]
    return Read(
        frozenset(name for _, name in places),
        frozenset(name for place, name in places if place != "recognise.present"),
        frozenset([proof] if proof else []),
    )


def read_by_all(every: Iterable[Read]) -> Read:
    """What several mappings read: what proves one platform's sender is kept for none."""
    names, telling, proofs = set[str](), set[str](), set[str]()
    for one in every:
        names |= one.names
        telling |= one.telling
        proofs |= one.proofs
    return Read(frozenset(names - proofs), frozenset(telling - proofs), frozenset(proofs))


def kept(headers: Mapping[str, str], read: Read, *, is_unknown: bool, keeps_all: bool) -> Mapping[str, str]:
    """The headers that trying again will need: those that are read, and a form's content-type. `is_unknown`, of no
    platform that is known: whatever a mapping to come may read. `keeps_all`: they were chosen so before. Never one that
    proves the sender."""
    found = {name: value for name, value in headers.items() if name in read.names}
    if is_unknown or keeps_all:
        more = (name for name in headers if name not in read.proofs and (keeps_all or _may_be_read(name)))
        found |= {name: headers[name] for name in more}
    if forms.is_form(headers):
        found[forms.HEADER] = headers[forms.HEADER]
    return found


def telling(kept: Mapping[str, str], read: Read, *, is_unknown: bool) -> frozenset[str]:
    """Which of the headers kept make another event of the same body. Of a meaning that nobody knows, few do: others may
    be another on each attempt."""
    names = read.telling.intersection(kept)
    if forms.HEADER in kept:
        names |= {forms.HEADER}
    return names | set(filter(_may_say_what_happened, kept)) if is_unknown else names


def _may_be_read(name: str) -> bool:
    return bool(_can_be_read(name)) and not _is_transport(name) and not _may_be_secret(name)
