"""What spoils a webhook's body: values that fit nowhere, changes of its structure and of its bytes, and bodies that are
something else altogether."""

import gzip
import json
import random
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

from tests.fuzz import json_tree
from tests.fuzz.json_tree import Members, Raw, Tree

MIB = 1024 * 1024

NUMBERS = (
    "0", "-0", "-0.0", "0.0", "-1", "1e2", "1E+2", "1e-2", "0.1e1", "9007199254740993", "9223372036854775808",
    "18446744073709551616", "-9223372036854775809", "1e18", "999999999999999999.99", "1e308", "1e309", "1e1000",
    "1e1001", "-1e1001", "1e-1000", "1e-1001", "1e100000", "1e999999999999999999999", "1E-999999999999999999999",
    "0e999999999", "0.0e-999999999", "1.10", "1.000000000000000000000000000000000000000000001", "1" * 60, "1" * 400,
    "1" * 4300, "1" * 4301, "-" + "1" * 5000, "0." + "3" * 400, "0." + "1" * 16383, "0." + "1" * 16384,
    "1" + "0" * 131071,
    "1." + "0" * 20000, "253402300799", "253402300800", "-1", "1700000000000", "1e11", "99999999999",
    "100000000000000000",
    # No numbers in JSON.
    "+1", ".5", "1.", "1.e1", "01", "00", "-", "1e", "0x10", "1_000", "NaN", "Infinity", "-Infinity", "1,5",
    "1d", "--1",
)  # fmt: skip
TEXTS = (
    "", " ", "\t\n", "0", "1", "-1", "197.90", "null", "true", "NaN", "Infinity", "1e5", "1e999999", "0x10", "1_000",
    "٣٤", "１２３", "²", "Ⅷ", "R$ 1.169,80", "R$ -1,00", "-R$ 1,00", "R$", "R$ R$ 1", "1.169,80,00",
    "1,169.80", "1.2.3",
    "R$\u00a01.169,80", "1 169,80", ",", ".", "1,", ",5", "9" * 61, "-0", "--1", "+5",
    "2026-10-01T12:00:00Z", "2026-10-01", "2026-13-01", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z",
    "2026-01-01T25:00:00Z", "2026-01-01T23:59:60Z", "0000-00-00", "0000-00-00 00:00:00", "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59", "10000-01-01T00:00:00Z", "1969-12-31T23:59:59Z",
    "2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00+99:99", "2026-01-01T00:00:00 -0300", "20260101",
    "2026-W01-1", "2026-W53-7T00:00", "01/10/2026 12:00:00", "2026-10-01T12:00:00[America/Sao_Paulo]",
    "２０２６-１０-０１", "1700000000", "1e11", "99999999999999999999", "2026-03-08T02:30:00", "2018-11-04T00:00:00",
    "a" * 127, "a" * 128, "a" * 129, "é" * 128, "a" * 255, "a" * 256, "é" * 128, "x" * 2705, "x" * 60_000, "🦩" * 250,
    "🦩" * 501, "a\nb", "a\0b", "\0", "\x07", "\x1b[31m", "\x7f", "\u0085", "\u2028", "\u202e", "\ufeff", "\ufffe",
    "\uffff", "\U0010ffff", "\ue000", "e\u0301" * 40, "\u0301" * 300, "👩‍👩‍👧‍👦", "\u200b", "İ", "ß", "ﬃ", "Ω≈ç",
    "田中さん",
    "\ud800", "\udfff", "\ud83e\udda9"[:1], "a\udc00b", "'", '"', "\\", "\\u0000", "%00", "%", ":", "::", ":a",
    "sha256:x",
    "'; DROP TABLE events; --", "{}", "[]", "${jndi:x}", "{{7*7}}", "../../etc/passwd", "<script>", "$1",
    "NULL", "\\x00",
    "=1+1", "@SUM(1)", "BRL", "brl", "BR", "BRLX", "ÉÉÉ", "XXX", "JPY", "KWD", "123", "usd ",
)  # fmt: skip


def value(rng: random.Random) -> Tree:
    """One that fits nowhere, or just about."""
    match rng.randrange(12):
        case 0 | 1 | 2:
            return rng.choice(TEXTS)
        case 3 | 4 | 5:
            return Raw(rng.choice(NUMBERS).encode())
        case 6:
            return rng.choice((None, True, False, [], Members(), [None], [[]], [Members()], Members([("", None)])))
        case 7:
            return rng.choice(([1, 2], ["a", "b"], Members([("name", "x")]), Members([("value", 1)]), [True, "a", {}]))
        case 8:
            return rng.choice((rng.randrange(-(2**70), 2**70), rng.uniform(-1e6, 1e6), rng.randrange(10**12)))
        case 9:
            return "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(40)))
        case 10:
            return rng.choice(TEXTS) + rng.choice(TEXTS)
        case _:
            return nested(rng, rng.choice((3, 50, 198, 199, 200, 201, 1000)))


def nested(rng: random.Random, depth: int) -> Raw:
    """Lists in lists, or objects in objects."""
    if rng.random() < 0.5:
        return Raw(b"[" * depth + b"1" + b"]" * depth)
    return Raw(b'{"a":' * depth + b"1" + b"}" * depth)


def _put_anywhere(tree: Tree, rng: random.Random) -> None:
    if where := list(json_tree.places(tree)):
        json_tree.put(rng.choice(where), value(rng))


def _drop(tree: Tree, rng: random.Random) -> None:
    if where := list(json_tree.places(tree)):
        container, position = rng.choice(where)
        del container[position]


def _double(tree: Tree, rng: random.Random) -> None:
    """A member twice, with the same or with another value."""
    if where := list(json_tree.places(tree)):
        container, position = rng.choice(where)
        item = container[position]
        if isinstance(container, Members) and rng.random() < 0.7:
            item = (item[0], value(rng))
        container.insert(rng.randrange(len(container) + 1), item)


def _rename(tree: Tree, rng: random.Random) -> None:
    objects = [place for place in json_tree.places(tree) if isinstance(place[0], Members)]
    if objects:
        container, position = rng.choice(objects)
        container[position] = (rng.choice((*TEXTS, "k" * 10_000)), container[position][1])


def _swap(tree: Tree, rng: random.Random) -> None:
    """Two values change places; where one holds the other, it then holds a copy of itself."""
    where = list(json_tree.places(tree))
    if len(where) > 1:
        one, other = rng.sample(where, 2)
        first, second = Raw(json_tree.dump(json_tree.get(one))), Raw(json_tree.dump(json_tree.get(other)))
        json_tree.put(one, second)
        json_tree.put(other, first)


def _wrap(tree: Tree, rng: random.Random) -> None:
    if where := list(json_tree.places(tree)):
        place = rng.choice(where)
        inside = json_tree.get(place)
        json_tree.put(place, rng.choice(([inside], Members([("data", inside)]), [inside, inside])))


def _as_text(tree: Tree, rng: random.Random) -> None:
    """JSON inside of a text, as some senders do."""
    if where := list(json_tree.places(tree)):
        place = rng.choice(where)
        json_tree.put(place, json_tree.dump(json_tree.get(place)).decode(errors="replace"))


def _grow(tree: Tree, rng: random.Random) -> None:
    if isinstance(tree, Members):
        tree.extend((f"member{number}", value(rng)) for number in range(rng.choice((10, 300))))


_STRUCTURE: tuple[Callable[[Tree, random.Random], None], ...] = (
    _put_anywhere, _put_anywhere, _put_anywhere, _drop, _double, _rename, _swap, _wrap, _as_text, _grow
)  # fmt: skip


def structure(tree: Tree, rng: random.Random) -> bytes:
    """The tree with a few changes."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(_STRUCTURE)(tree, rng)
    return json_tree.dump(tree)


_BYTES = (
    b"\0", b"\xff", b"\xc3", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe2\x28\xa1",
    b"\xef\xbb\xbf",
    b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b"\\x41", b"\\", b'"', b"'", b",", b",,", b":", b"{", b"}",
    b"[", b"]", b"//x",
    b"/* */", b"\n", b"\r\n", b"\x0c", b"\xa0", b"\xc2\xa0", b"\x85", b"1", b"e", b"-", b"+", b".", b"null",
    b"undefined", b"NaN",
)  # fmt: skip


def text(body: bytes, other: bytes, rng: random.Random) -> bytes:
    """The body with its bytes spoilt; `other` is one to splice with."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(body) + 1)
        to = min(len(body), at + rng.choice((1, 1, 2, 8, 64)))
        match rng.randrange(8):
            case 0:
                body = body[:at]
            case 1:
                body = body[at:]
            case 2:
                body = body[:at] + body[to:]
            case 3:
                body = body[:at] + body[at:to] * 2 + body[to:]
            case 4:
                body = body[:at] + rng.randbytes(to - at) + body[to:]
            case 5 | 6:
                body = body[:at] + rng.choice(_BYTES) + body[at:]
            case 7:
                body = body[:at] + other[rng.randrange(len(other) + 1) :]
    return body


def no_json(body: bytes, rng: random.Random) -> bytes:
    """A body that is something else altogether."""
    sample = body.decode(errors="replace")
    makers: tuple[Callable[[], Any], ...] = (
        lambda: b"",
        lambda: rng.choice(
            (b" ", b"\n\n", b"\0", b"null", b"true", b"0", b'""', b"[]", b"{}", b"[{}]", b"{", b"}", b'"', b"-")
        ),
        lambda: rng.randbytes(rng.choice((1, 2, 16, 300, 5000))),
        lambda: b"payload=" + quote_plus(sample).encode(),
        lambda: b"&".join(quote_plus(f"{name}").encode() + b"=" + b"1" for name in sample.split('"')[:20]),
        lambda: b"a=1&a=2&a[]=3&a[b]=4&%=%zz&=&&",
        lambda: gzip.compress(body, mtime=0),
        lambda: gzip.compress(body, mtime=0)[: rng.randrange(1, 30)] + rng.randbytes(20),
        lambda: zlib.compress(body),
        lambda: b"\x1f\x8b" + rng.randbytes(100),
        lambda: body.decode(errors="replace").encode("utf-16"),
        lambda: body.decode(errors="replace").encode("utf-32-le"),
        lambda: body.decode(errors="replace").encode("latin-1", errors="replace"),
        lambda: b"\xef\xbb\xbf" + body,
        lambda: body + body,
        lambda: body + b"\n" + body,
        lambda: b"[" + body + b"]",
        lambda: json.dumps(sample).encode(),
        lambda: b"<?xml version='1.0'?><event><id>1</id></event>",
        lambda: b"--b\r\nContent-Disposition: form-data; name=payload\r\n\r\n" + body + b"\r\n--b--",
        lambda: nested(rng, rng.choice((199, 200, 201, 1000, 100_000))).text,
        lambda: b"[" * rng.choice((10, 1000, 300_000)),
        lambda: b'{"a":' * rng.choice((10, 1000, 100_000)),
        lambda: b"[" + b"[]," * 5000 + b"[]]",
        lambda: b"{" + b",".join(b'"%d":%d' % (number, number) for number in range(3000)) + b"}",
        lambda: b'{"type":"x","id":"%d","x":"' % rng.randrange(10**9) + b"\\" * rng.choice((1, 2, 1000, 1001)) + b'"}',
        lambda: b'{"type":"x","id":"1","x":' + rng.choice(NUMBERS).encode() + b"}",
    )
    made = rng.choice(makers)()
    assert isinstance(made, bytes)
    return made


def near_the_limit(tree: Tree, rng: random.Random) -> bytes:
    """About as large as a body may be, and no larger than a message may."""
    body = json_tree.dump(tree)
    size = MIB + rng.choice((-1000, -1, 0, 1, 1000, MIB))
    room = size - len(body) - len(b',"filler":""')
    filling = rng.choice((b"x", b"\\\\", b"\\u00e9", "🦩".encode(), b"\xff", b" "))
    return body[:-1] + b',"filler":"' + filling * (room // len(filling)) + b"x" * (room % len(filling)) + b'"}'
