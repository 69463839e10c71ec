"""What is sent: bodies made from samples of every platform and spoilt; names, headers and queries that fit or don't."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import msgspec

from shared.platforms import Platform, platforms, references
from shared.platforms.references import Body, parse_references
from tests import platform_samples
from tests.fuzz import json_tree, spoiling
from tests.platform_signing import secret_for, sign

CANARY = "Canarinho"
"""A name that is in most bodies, and may turn up nowhere but where bodies are stored. In ASCII: nothing escapes it."""
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Case:
    """One delivery. `kind` says how it was made."""

    number: int
    kind: str
    body: bytes
    platform: str = ""
    source: str = ""
    headers: Headers = ()
    query: str = ""


@dataclass(frozen=True)
class _Sample:
    """A good delivery, and all that the platform's mapping reads of its payload."""

    platform: Platform
    sent: platform_samples.Sample
    paths: Sequence[Body] = field(default=(), compare=False)


@cache
def _samples() -> Sequence[_Sample]:
    found = []
    for platform in platforms().values():
        secrets = [one for text in platform.secrets for one in parse_references(text)]
        paths = [one for one in (*(one for _, one in references(platform)), *secrets) if isinstance(one, Body)]
        of_platform = platform_samples.samples_of(platform.name)
        assert of_platform, f"there are no samples of {platform.name}"
        found += [_Sample(platform, sent, paths) for sent in of_platform]
    return found


@cache
def secrets() -> Mapping[str, str]:
    """The signing secrets of those sources that have one: for each platform that signs there is one."""
    return {
        signed_source(name): secret_for(platform, platform_samples.samples_of(name)[0])
        for name, platform in platforms().items()
        if platform.signature
    }


def signed_source(platform: str) -> str:
    """The source whose deliveries must be signed, if the platform can."""
    return f"signed-{platform}"


def case(seed: str, number: int) -> Case:
    """The case of that number: the same for the same seed, but for times that are signed."""
    rng = random.Random(f"{seed}/{number}")
    sample = rng.choice(_samples())
    name = sample.platform.name
    kind, body = _body(sample, number, rng)
    if rng.random() < 0.1:
        source = signed_source(name)
        # What is behind a signature is looked at only where it is right.
        delivery = sign(
            sample.platform, msgspec.structs.replace(sample.sent, body=body), secrets().get(source, ""), time.time()
        )
        headers = tuple(delivery.headers.items()) if rng.random() < 0.8 else _headers(sample, rng)
        return Case(number, f"signed {kind}", body, name, source, headers, delivery.query)
    return Case(number, kind, body, _name(name, rng), _name("", rng), _headers(sample, rng), _query(sample, rng))


def _body(sample: _Sample, number: int, rng: random.Random) -> tuple[str, bytes]:
    draw = rng.random()
    if draw < 0.002:
        return "near the limit", spoiling.near_the_limit(json_tree.parse(sample.sent.body), rng)
    tree = _with_canary(json_tree.parse(sample.sent.body), number, rng)
    if draw < 0.35 and sample.paths:
        for path in rng.sample(sample.paths, rng.choice((1, 1, 1, min(3, len(sample.paths))))):
            tree = json_tree.put_at(tree, path, spoiling.value(rng), rng)
        return "mapped field", json_tree.dump(tree)
    if draw < 0.6:
        return "structure", spoiling.structure(tree, rng)
    body = json_tree.dump(tree)
    if draw < 0.85:
        return "bytes", spoiling.text(body, rng.choice(_samples()).sent.body, rng)
    if draw < 0.95:
        return "no JSON", spoiling.no_json(body, rng)
    return "good", body


def _with_canary(tree: json_tree.Tree, number: int, rng: random.Random) -> json_tree.Tree:
    """Texts of the sample made this case's own, so that not all are duplicates of each other."""
    for place in list(json_tree.places(tree)):
        if isinstance(json_tree.get(place), str) and rng.random() < 0.3:
            json_tree.put(place, f"{CANARY} {number}")
    return tree


def _name(right: str, rng: random.Random) -> str:
    """A platform's or a source's."""
    return right if rng.random() < 0.8 else rng.choice(("", "", "loja", "shop-2", *platforms(), *_NO_NAMES))


_NO_NAMES = ("nope", "a" * 64, "a" * 65, "a b", "a/b", "ä", ".", "a\0", "🦩", "x" * 5000)
_WEIRD_NAMES = (
    "", "x", "X-A", "content-type", "Content-Type", "x" * 500, "a b", "ä", "🦩", "\0", "a\r\nb", ":", "cookie",
)  # fmt: skip
_WEIRD_VALUES = (
    "", " ", "x" * 9000, "x" * 17_000, "é", "🦩", "\x7f", "a\tb", "\0", "a\r\nX-B: c", "%00", "0", "{}", "a,b;c=d",
)  # fmt: skip


def _headers(sample: _Sample, rng: random.Random) -> Headers:
    headers = tuple(sample.sent.headers.items())
    draw = rng.random()
    if draw < 0.5:
        return headers
    if draw < 0.6:
        return ()
    if draw < 0.8 and headers:
        # One of the sample's own with another value.
        name = rng.choice(headers)[0]
        value = rng.choice(_WEIRD_VALUES + tuple(text for text in spoiling.TEXTS if _is_text(text)))
        return tuple((one, value if one == name else its) for one, its in headers)
    if draw < 0.9:
        return (*headers, *((rng.choice(_WEIRD_NAMES), rng.choice(_WEIRD_VALUES)) for _ in range(3)))
    return (
        *headers,
        *((f"x-{number}", "y" * rng.choice((0, 10, 200))) for number in range(rng.choice((90, 101, 1000)))),
    )


def _query(sample: _Sample, rng: random.Random) -> str:
    if rng.random() < 0.7:
        return sample.sent.query
    return rng.choice(
        ("", "?", "&", "=", "a", "a=b&a=c", "signature=", "signature=x&signature=y", "token=%zz", "%", "%00=%ff",
         "a=%F0%9F", "a=é", "🦩=🦩", "a;b", "+=+", "a=" + "b" * 4094, "a=" + "b" * 4095, "&" * 4000, "a=1&" * 1000,
         "signature=" + "f" * 40)
    )  # fmt: skip


def _is_text(text: str) -> bool:
    """Whether it can be sent as text at all: lone surrogates can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
