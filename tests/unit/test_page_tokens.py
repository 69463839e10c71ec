"""Page tokens: theirs come back as they were, others are refused."""

import base64
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidPageToken, OperatorError
from shared.page_tokens import configure, decode, encode


class Position(msgspec.Struct, frozen=True, array_like=True):
    after: int
    upto: int


AT = Position(5, 2**62)
TIE = ("ListEvents", "acme", {"types": ["a"]}, True)
configure("a key")
TOKEN = encode(AT, *TIE)


@pytest.fixture(autouse=True)
def _key() -> None:
    """Ours, whatever another test has set meanwhile."""
    configure("a key")


def test_a_token_comes_back_as_it_was() -> None:
    assert decode(TOKEN, Position, *TIE) == AT
    one = uuid.uuid4()
    assert decode(encode(one, "a"), uuid.UUID, "a") == one
    assert TOKEN.isascii()
    assert not set(TOKEN) & set("+/= ")


def test_one_of_an_old_key_is_taken_while_the_setting_has_it() -> None:
    configure("new,a key")
    assert decode(TOKEN, Position, *TIE) == AT
    changed = encode(AT, *TIE)
    configure("a key")
    with pytest.raises(InvalidPageToken):
        decode(changed, Position, *TIE)
    configure("a key,new")
    assert decode(changed, Position, *TIE) == AT
    configure("new")
    with pytest.raises(InvalidPageToken):
        decode(TOKEN, Position, *TIE)


@pytest.mark.parametrize("setting", ["a key,", ",a key", "a key,,another", "a key, "])
def test_nobody_signs_with_a_key_that_is_missing(setting: str) -> None:
    with pytest.raises(OperatorError, match="a comma with no key"):
        configure(setting)


def test_no_token_is_no_position() -> None:
    assert decode("", Position, *TIE) is None


@pytest.mark.parametrize(
    "other",
    [
        ("ListOthers", "acme", {"types": ["a"]}, True),
        ("ListEvents", "bolt", {"types": ["a"]}, True),
        ("ListEvents", "acme", {"types": ["b"]}, True),
        ("ListEvents", "acme", {"types": ["a"]}, False),
        ("ListEvents", "acme", {"types": ["a"]}),
        (),
    ],
)
def test_a_token_of_another_request_is_refused(other: tuple[object, ...]) -> None:
    with pytest.raises(InvalidPageToken):
        decode(TOKEN, Position, *other)


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="utf-8"))
def test_a_token_with_another_character_in_it_is_refused(place: int, character: str) -> None:
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    if changed != TOKEN:
        with pytest.raises(InvalidPageToken):
            decode(changed, Position, *TIE)


def test_a_token_that_was_signed_with_another_key_is_refused() -> None:
    configure("another key")
    with pytest.raises(InvalidPageToken):
        decode(TOKEN, Position, *TIE)


@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidPageToken):
        decode(token, Position, *TIE)


def test_a_position_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidPageToken):
        decode(encode("text", *TIE), Position, *TIE)
