"""What counts as a person's: e-mail addresses and documents in payloads, keys and whatever else was stored."""

import json
import re
from typing import Any

import pytest

from services.ingest.erased_keys import ErasedKeys
from services.ingest.erasing import Person

ANA = Person("Ana.Souza@example.com", "012.345.678-90")


def is_anas(value: Any) -> bool:
    return ANA.is_in_json(json.dumps(value).encode())


HERS = [
    "ana.souza@example.com",
    "ANA.SOUZA@EXAMPLE.COM",
    "Ana Souza <ana.souza@example.com>",
    "mailto:ana.souza@example.com?subject=x",
    "Write to ana.souza@example.com.",
    "https://pay.example/p?email=ana.souza%40example.com&x=1",
    "https://pay.example/p?to=%20ana.souza%40example.com",
    '{"email":"ana.souza@example.com"}',
    r'{"note":"\nana.souza\u0040example.com"}',
    "01234567890",
    "012.345.678-90",
    "CPF: 012 345 678/90, Ana",
    "cpf01234567890",
    "doc=012.345.678%2D90&x",
    "012\u00a0345\u00a0678\u00a090",
    "012\t345\n678_90",
]


@pytest.mark.parametrize("text", HERS)
def test_a_text_is_the_persons(text: str) -> None:
    assert ANA.is_in_text(text)
    assert is_anas({"a": [{"b": text}]})
    assert is_anas({text: 1})
    assert ANA.is_in_body(json.dumps([text]).encode())
    assert ANA.is_in_body(b'{"broken": "' + text.encode() + b'"')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mariana.souza@example.com",
        "x+ana.souza@example.com",
        "ana.souza@example.com.br",
        "ana.souza@example.community",
        "ana.souza@example-com",
        "anaXsouza@example.com",
        "ana.souza at example.com",
        "1234567890",
        "001234567890",
        "012345678901",
        "012.345.678----90",
    ],
)
def test_a_text_is_another_persons(text: str) -> None:
    assert not ANA.is_in_text(text)
    assert not is_anas({"a": [text, None, True, 1.5]})
    # What can't be read may be a form, where a plus is a space.
    assert not ANA.is_in_body(b"\xff" + text.replace("+", "-").encode())


@pytest.mark.parametrize("number", ["1234567890", "1234567890.0", "1.23456789e9"])
def test_a_document_may_be_a_number_without_the_zeros_it_begins_with(number: str) -> None:
    assert ANA.is_in_json(b'{"document": %s}' % number.encode())
    assert not ANA.is_in_json(b'{"document": 1%s}' % number.encode())


def test_a_number_that_is_short_without_its_zeros_is_no_document() -> None:
    assert not Person("", "0000012").is_in_json(b'{"quantity": 12}')
    assert Person("", "0000012").is_in_json(b'{"document": "0000012"}')


def test_documents_may_have_letters() -> None:
    company = Person("", "12.abc.345/01de-35")
    assert company.is_in_text("CNPJ 12ABC34501DE35")
    assert not company.is_in_text("912ABC34501DE35")
    passport = Person("", "FX123456")
    assert passport.is_in_text("passport: fx-123456.")
    assert not passport.is_in_text("AFX123456")


def test_texts_apart_are_not_one_document() -> None:
    assert not is_anas({"ids": ["012", "345", "678", "90"]})


def test_bytes_that_nobody_can_read_are_looked_through() -> None:
    assert ANA.is_in_body(b"\xff\xfe ana.souza@example.com \x00")
    assert ANA.is_in_body(b"email=ana.souza%40example.com&total=1%2C0")
    assert ANA.is_in_body(b"cpf=012.345.678-90&x=%FF")


@pytest.mark.parametrize(
    ("email", "document", "field"),
    [
        ("", "", "email"),
        ("ana", "", "email"),
        ("ana@", "", "email"),
        ("a b@c", "", "email"),
        ("a@b@c", "", "email"),
        (f"{'a' * 320}@b", "", "email"),
        ("", "12345", "document"),
        ("", "ééééééé", "document"),
        ("", "000.000-00", "document"),
        ("ana@example.com", "---", "document"),
        ("", "1" * 41, "document"),
    ],
)
def test_who_is_nobody_is_refused(email: str, document: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        Person(email, document)


def test_an_erased_key_is_nobodys() -> None:
    keys = ErasedKeys("key")
    erased = keys.erased("acme", "shop", "ana.souza@example.com")
    assert re.fullmatch(r"erased:[0-9a-f]{64}", erased)
    assert not ANA.is_in_key(erased)
    assert ANA.is_in_key("erased:ana.souza@example.com"), "nothing that we made"
    assert ANA.is_in_key(":lead:ana.souza@example.com")
    others = {keys.erased(*place) for place in (("acme", "shop", "b"), ("acme", "bolt", "b"), ("b", "shop", "b"))} | {
        ErasedKeys("other").erased("acme", "shop", "b")
    }
    assert len(others) == 4


def test_keys_are_looked_for_under_their_digest_only_where_something_was_erased() -> None:
    keys = ErasedKeys("key")
    assert keys.look_up("acme", [("shop", "k")]) == {}
    keys.note("acme", 2)
    assert keys.look_up("acme", [("shop", "k")]) == {("shop", keys.erased("acme", "shop", "k")): ("shop", "k")}
    assert keys.look_up("bolt", [("shop", "k")]) == {}


def test_what_was_erased_under_an_old_secret_key_is_still_looked_for() -> None:
    changed = ErasedKeys("new,key")
    changed.note("acme", 1)
    old, new = (ErasedKeys(one).erased("acme", "shop", "k") for one in ("key", "new"))
    assert changed.erased("acme", "shop", "k") == new
    assert changed.look_up("acme", [("shop", "k")]) == {("shop", one): ("shop", "k") for one in (new, old)}
