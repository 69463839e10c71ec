"""JSON that is none, and JSON that PostgreSQL could not hold."""

import pytest

from services.ingest.mapping import Incoming, Mapped, Mapper, Reason, SetAside
from services.ingest.payload import MAX_DEPTH
from shared.platforms import platforms

MAPPER = Mapper(platforms(), 1024 * 1024)


def reason(value: bytes) -> Reason | None:
    """Why an event with such a member is set aside; None when it is not."""
    event = MAPPER.map(Incoming("", "", b'{"type":"a","x":' + value + b"}"))
    assert isinstance(event, Mapped | SetAside)
    return event.reason if isinstance(event, SetAside) else None


@pytest.mark.parametrize(
    "value",
    [b"NaN", b"-Infinity", b"01", b"1.", b".5", b"+1", b"1e", b"'a'", b"\"a", b"tru", b"[1,]", b"{,}", b"/* */ 1",
     b"\xff", b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d x"', b'"\\x41"',
     b'"\n"', b'"\0"'],
)  # fmt: skip
def test_what_is_no_json(value: bytes) -> None:
    assert reason(value) == Reason.JSON_MALFORMED


@pytest.mark.parametrize("payload", [b"[1]", b'"a"', b"1", b"null", b"true", b" [] "])
def test_json_that_is_no_object(payload: bytes) -> None:
    event = MAPPER.map(Incoming("", "", payload))
    assert isinstance(event, SetAside)
    assert event.reason == Reason.JSON_NOT_OBJECT


@pytest.mark.parametrize(
    "value",
    [b'"\\u0000"', b'"a\\u0000b"', b'{"\\u0000":1}', b'"\\\\\\u0000"', b'["\\u0000"]', b'"\\\\\\\\\\u0000"'],
)
def test_the_character_nul_is_not_storable(value: bytes) -> None:
    assert reason(value) == Reason.JSON_UNSTORABLE


@pytest.mark.parametrize(
    "value", [b'"\\\\u0000"', b'"\\\\\\\\u0000"', b'"u0000"', b'"\\u0001"', b'"\\\\\\\\u0000 \\\\u0000"']
)
def test_what_only_looks_like_nul_is_fine(value: bytes) -> None:
    assert reason(value) is None


@pytest.mark.parametrize(
    "value",
    [
        b"1e1001",
        b"-1E+100000",
        b"1e-100000",
        b"1e99999999999",
        b"1e9999999999999999999999",
        b"1" * 5000,
        b"[[1e5000]]",
        b'{"a":{"b":1e5000 }}',
    ],
)
def test_numbers_that_are_too_large_or_too_long(value: bytes) -> None:
    assert reason(value) == Reason.JSON_UNSTORABLE


@pytest.mark.parametrize(
    "value",
    [b"1e1000", b"1e-1000", b"1" * 1000, b"0." + b"1" * 4000, b"18446744073709551616", b'"7e4512"', b'"1e99999,"',
     b'"7e4512]"', b'"' + b"1" * 5000 + b'"', b'["a1e5000}"]', b'{"1e5000":1}'],
)  # fmt: skip
def test_numbers_and_texts_that_are_fine(value: bytes) -> None:
    assert reason(value) is None


def test_nesting_has_a_limit() -> None:
    # The object itself is one level.
    fine = MAX_DEPTH - 1
    assert reason(b"[" * fine + b"]" * fine) is None
    assert reason(b"[" * (fine + 1) + b"]" * (fine + 1)) == Reason.JSON_UNSTORABLE
    assert reason(b'{"a":' * (fine + 1) + b"1" + b"}" * (fine + 1)) == Reason.JSON_UNSTORABLE
    # Many brackets, side by side.
    assert reason(b"[" + b"[]," * 5000 + b"[]]") is None
    assert reason(b'"' + b"[{" * 5000 + b'"') is None
    assert reason(b"[" * 100_000 + b"]" * 100_000) == Reason.JSON_UNSTORABLE


def test_messages_quote_nothing_of_the_payload() -> None:
    for value in (b'"Ana Secret', b"Secret", b'"Secret\\u0000"', b"[Secret]", b'"Secret\xff"'):
        event = MAPPER.map(Incoming("", "", b'{"type":"a","x":' + value + b"}"))
        assert isinstance(event, SetAside)
        assert "ecret" not in event.message
