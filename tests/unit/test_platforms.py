"""The platforms' files: those that there are hold, and a malformed one is told in a sentence."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import OperatorError
from shared.platforms import (
    MAX_OWN_BYTES,
    Hmac,
    Platform,
    PlatformMalformed,
    StandardWebhooks,
    Stripe,
    Token,
    parse_platform,
    platforms,
)
from shared.platforms.vocabulary import VOCABULARY

GOOD = """
name = "shop"
title = "Shop"
time_zone = "America/Sao_Paulo"
total_unit = "minor"
currency = "BRL"
secrets = ["token"]
[minor_digits]
ISK = 2
[recognise]
present = ["kind", "header:x-shop-topic"]
equal = { "shop.version" = "2", major = 2 }
prefix = { kind = "shop." }
[fields]
type = ["kind status"]
dedup_key = [["id"], ["order", "status?"]]
product_name = ["lines[!is_bump].items[].name", "header:x-product"]
[types]
"shop.paid" = "order_approved"
[signature]
scheme = "token"
in = "token"
"""
WITHOUT_MARKS = re.sub(r"(?s)\[recognise\].*\[fields\]", "[fields]", GOOD)
HMAC = 'scheme = "hmac"\nin = "header:x-proof"\nalgorithm = "sha256"\nencoding = "hex"\n'


def parse(toml: str, *, own: bool = False) -> Platform:
    return parse_platform(toml.encode(errors="surrogateescape"), "shop.toml", own=own)


def with_signature(lines: str) -> str:
    return GOOD.partition("[signature]")[0] + "[signature]\n" + lines


def reason(toml: str, *, own: bool = False) -> str:
    """Why the file is malformed: one sentence."""
    with pytest.raises(PlatformMalformed) as caught:
        parse(toml, own=own)
    text = caught.value.reason
    assert re.fullmatch(r"[^\n]{1,400}[^\n.]", text), text
    assert text.isprintable()
    assert str(caught.value) == f"The platform file shop.toml is malformed: {text}."
    return text


def test_the_platforms_that_there_are() -> None:
    found = platforms()
    assert list(found)[-1] == "generic", "the fallback is tried last"
    assert list(found)[:-1] == sorted(set(found) - {"generic"})
    assert [platform.name for platform in found.values() if platform.fallback] == ["generic"]
    # Another Hookline's events are each their own platform's.
    assert [name for name, platform in found.items() if not platform.recognise] == ["hookline", "generic"]


def test_a_good_file() -> None:
    platform = parse(GOOD)
    assert (platform.name, platform.total_unit, platform.currency) == ("shop", "minor", "BRL")
    assert platform.fields.dedup_key == (("id",), ("order", "status?"))
    assert platform.recognise is not None
    assert platform.recognise.equal == {"shop.version": "2", "major": 2}
    assert platform.types == {"shop.paid": "order_approved"}
    assert not platform.fallback
    assert parse(GOOD, own=True) == platform


def test_the_schemes_of_signatures() -> None:
    assert (parse(GOOD).signature, parse(GOOD).scheme) == (Token(at="token"), "token")
    signed = parse(with_signature(HMAC + 'prefix = "sha256="\n'))
    assert signed.signature == Hmac(at="header:x-proof", algorithm="sha256", encoding="hex", prefix="sha256=")
    assert signed.scheme == "hmac"
    stripe = parse(with_signature('scheme = "stripe"\ntolerance_seconds = 60'))
    assert (stripe.signature, stripe.scheme) == (Stripe(tolerance_seconds=60), "stripe")
    standard = parse(with_signature('scheme = "standard_webhooks"'))
    assert (standard.signature, standard.scheme) == (StandardWebhooks(tolerance_seconds=300), "standard_webhooks")
    assert parse(GOOD.partition("[signature]")[0]).scheme == ""
    in_query = Token(at="query:key")
    assert parse(with_signature('scheme = "token"\nin = "query:key"')).signature == in_query, "where it may be"


MALFORMED = {
    "no TOML": ("name = ", "Invalid value"),
    "empty": ("", "missing required field `name`"),
    "bad UTF-8": (GOOD.replace('"Shop"', '"caf\udce9"'), "it is not UTF-8"),
    "a number without end": ("name = " + "1" * 5000, "a number in it has too many digits"),
    "a setting without end": ("a" * 1000 + " = 1" + GOOD, "unknown field `aaa"),
    "a setting of many lines": ('"a\\nb" = 1' + GOOD, "unknown field `a\ufffdb`"),
    "nested without end": ("name = " + "[" * 100_000, "it is nested too deeply"),
    "no title": (GOOD.replace('title = "Shop"', ""), "missing required field `title`"),
    "an empty title": (GOOD.replace('"Shop"', '""'), "title: "),
    "a title of many lines": (GOOD.replace('"Shop"', '"a\\nb"'), "title: "),
    "an endless title": (GOOD.replace('"Shop"', f'"{"a" * 101}"'), "title: "),
    "unknown setting": ("colour = 1" + GOOD, "unknown field `colour`"),
    "unknown field": (GOOD.replace("product_name", "coupon"), "unknown field `coupon`"),
    "unknown mark": (GOOD.replace("prefix =", "suffix ="), "unknown field `suffix`"),
    "wrong type of a field": (GOOD.replace('type = ["kind status"]', 'type = "kind"'), "`$.fields.type`"),
    "no type": (GOOD.replace('type = ["kind status"]', "type = []"), "a type"),
    "a key without parts": (GOOD.replace('["id"], ', "[], "), "parts in each dedup key"),
    "a key that may be empty": (GOOD.replace('["id"], ', '["id?", "no?"], '), "would be every event's"),
    "unknown unit": (GOOD.replace('"minor"', '"cents"'), "`$.total_unit`"),
    "unknown format": ('total_format = "german"' + GOOD, "`$.total_format`"),
    "a format that is in no cents": ('total_format = "brazilian"' + GOOD, "total_format: "),
    "digits without minor units": (GOOD.replace('"minor"', '"major"'), "minor_digits: "),
    "digits of no currency": (GOOD.replace("ISK", "isk"), "minor_digits: 'isk' is no currency's code"),
    "too many digits": (GOOD.replace("ISK = 2", "ISK = 7"), "`$.minor_digits[...]`"),
    "a currency that is none": (GOOD.replace('"BRL"', '"R$"'), "currency: 'R$' is no currency's code"),
    "a currency and a line": (GOOD.replace('"BRL"', '"BRL\\n"'), "is no currency's code"),
    "unknown time zone": (GOOD.replace("America/Sao_Paulo", "America/Atlantis"), "no zone named 'America/Atlantis'"),
    "a time zone that leads elsewhere": (GOOD.replace("America/Sao_Paulo", "../../etc/passwd"), "no zone named"),
    "a folder of time zones": (GOOD.replace("America/Sao_Paulo", "America"), "no zone named 'America'"),
    "a file that is no time zone": (GOOD.replace("America/Sao_Paulo", "tzdata.zi"), "no zone named"),
    "an endless time zone": (GOOD.replace("America/Sao_Paulo", "a" * 5000), "no zone named"),
    "a time zone of many lines": (GOOD.replace("America/Sao_Paulo", "a\\nb"), "no zone named"),
    "a name that is none": (GOOD.replace('"shop"', '"sh op"'), "name: 'sh op' can't be a name"),
    "an empty name": (GOOD.replace('name = "shop"', 'name = ""'), "name: '' can't be a name"),
    "a word that is none": (
        GOOD.replace("order_approved", "order_paid"),
        "types: 'order_paid', for 'shop.paid', is no word of the vocabulary",
    ),
    "a name of what happened that can't be": (GOOD.replace("shop.paid", " shop.paid"), "no payload can say"),
    "an empty name of what happened": (GOOD.replace('"shop.paid"', '""'), "no payload can say"),
    "a mark that is none": (GOOD.replace('"2", major = 2', "true"), "`$.recognise.equal[...]`"),
    "no marks": (WITHOUT_MARKS.replace("[fields]", "[recognise]\n[fields]"), "recognise: nothing is given"),
    "a fallback with marks": ("fallback = true" + GOOD, "recognise: the fallback"),
    "a secret in a header": (GOOD.replace('secrets = ["token"]', 'secrets = ["token", "query:a"]'), "secrets: "),
    "a secret in a list": (GOOD.replace('secrets = ["token"]', 'secrets = ["token", "a.0"]'), "secrets: "),
    "a list of secrets": (GOOD.replace('secrets = ["token"]', 'secrets = ["token", "a[]"]'), "secrets: "),
    "secrets that are joined": (GOOD.replace('secrets = ["token"]', 'secrets = ["token", "a b"]'), "only one can"),
    "a token that would be stored": (GOOD.replace('secrets = ["token"]', "secrets = []"), "among the secrets"),
    "a list of tokens": (
        GOOD.replace('["token"]', '["all[].token"]').replace('in = "token"', 'in = "all[].token"'),
        "secrets: each must lead to one member of the payload",
    ),
    "no scheme": (with_signature('in = "header:a"'), "missing required field `scheme`"),
    "unknown scheme": (with_signature('scheme = "rsa"'), "Invalid value 'rsa' - at `$.signature.scheme`"),
    "an hmac that is nowhere": (with_signature(HMAC.replace("in = ", "# ")), "missing required field `in`"),
    "an hmac in two places": (with_signature(HMAC.replace("x-proof", "a header:b")), "signature.in: "),
    "an hmac in the body": (with_signature(HMAC.replace("header:x-proof", "proof")), "can't be in the body"),
    "unknown algorithm": (with_signature(HMAC.replace("sha256", "md5")), "'md5' - at `$.signature.algorithm`"),
    "no algorithm": (with_signature(HMAC.replace("algorithm", "# ")), "missing required field `algorithm`"),
    "unknown encoding": (with_signature(HMAC.replace("hex", "base32")), "'base32' - at `$.signature.encoding`"),
    "a token with an algorithm": (GOOD + 'algorithm = "sha1"', "unknown field `algorithm`"),
    "no tolerance": (with_signature('scheme = "stripe"\ntolerance_seconds = 0'), "`$.signature.tolerance_seconds`"),
    "a proof that is read": (
        with_signature(HMAC.replace("x-proof", "x-shop-topic")),
        "recognise.present: header:x-shop-topic proves the sender; only [signature] may read it",
    ),
    "a credential that is read": (GOOD.replace("header:x-product", "header:authorization"), "proves the sender"),
    "a query that is read": (
        GOOD.replace("header:x-product", "query:product"),
        "fields.product_name: query:product is not kept for a retry; only [signature] may read it",
    ),
    "a query that is joined": (GOOD.replace("kind status", "kind query:v"), "fields.type: query:v is not kept"),
    "a query that is a mark": (GOOD.replace("major = 2", '"query:v" = 2'), "recognise.equal: query:v is not kept"),
    "too many lists": (GOOD.replace(".items[].name", ".a[].b[].c[].name"), "at most 3 lists"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_told_in_one_sentence(case: str) -> None:
    toml, said = MALFORMED[case]
    assert said in reason(toml)


@pytest.mark.parametrize(
    "reference",
    ["", " ", "a ", " a", "a  b", ".", "a.", ".a", "a..b", "a[", "a]", "a[0]", "a[]b", "a[!]", "a[!b!c]", "[]", "[!a]",
     "a[][]", "a[x]", "header:", "header:X-Shop", "header:a b.", "header:é", "query:", "query:é", "heder:a", "body:a",
     "a:b", "1234567", "a." + "b" * 500],
)  # fmt: skip
@pytest.mark.parametrize(
    ("place", "inside"),
    [
        ("fields.type", 'type = ["kind status"]'),
        ("fields.dedup_key", '["order", "status?"]'),
        ("fields.product_name", 'product_name = ["'),
        ("recognise.present", 'present = ["kind"'),
        ("recognise.equal", "major = 2"),
        ("recognise.prefix", 'prefix = { kind ='),
    ],
)  # fmt: skip
def test_a_reference_that_is_none_is_told_with_its_place(reference: str, place: str, inside: str) -> None:
    quoted = '"' + reference + '"'
    wrong = {
        "fields.type": f"type = [{quoted}]",
        "fields.dedup_key": f'["order", {quoted[:-1]}?"]',
        "fields.product_name": f'product_name = [{quoted}, "',
        "recognise.present": f"present = [{quoted}",
        "recognise.equal": f"{quoted} = 2",
        "recognise.prefix": f"prefix = {{ {quoted} =",
    }[place]
    assert inside in GOOD
    assert reason(GOOD.replace(inside, wrong)).startswith(f"{place}: ")


def test_a_companys_own_mapping_has_limits() -> None:
    fallback = "fallback = true" + WITHOUT_MARKS
    assert parse(fallback).fallback
    assert reason(fallback, own=True) == "fallback: a company's own mapping can't be the fallback"
    large = GOOD + "#" * (MAX_OWN_BYTES - len(GOOD))
    assert parse(large, own=True)
    assert reason(large + "#", own=True) == "it has 65537 bytes; at most 65536 are taken"
    assert parse(GOOD + "#" + "." * 100, own=True)
    assert reason("a." * 30_000 + "b = 1\n" + GOOD, own=True) == "a line of it has more than 100 dots"
    # The file has 13 of them.
    many = [f'"m{number}"' for number in range(200 - 13)]
    fits = GOOD.replace('"header:x-product"', ", ".join(['"header:x-product"', *many]))
    assert parse(fits, own=True)
    over = fits.replace('"m0"', '"m0 again"')
    assert parse(over)
    assert reason(over, own=True) == "it has 201 references; at most 200 are taken"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.toml": GOOD}, "The platform file a.toml names its platform 'shop'."),
        (
            {"shop.toml": "name = 1"},
            "The platform file shop.toml is malformed: Expected `str`, got `int` - at `$.name`.",
        ),
        ({"shop.toml": GOOD}, "Exactly one platform file must say `fallback = true`."),
    ],
)
def test_a_service_does_not_start_on_files_that_do_not_hold(
    files: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, toml in files.items():
        (tmp_path / name).write_text(toml)
    monkeypatch.setattr("shared.platforms.files", lambda package: tmp_path)
    with pytest.raises(OperatorError) as caught:
        platforms.__wrapped__()
    assert str(caught.value) == said


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes_are_a_platform_or_malformed(toml: bytes) -> None:
    with suppress(PlatformMalformed):
        parse_platform(toml, "shop.toml", own=True)


@given(st.data())
def test_a_file_with_a_few_characters_changed_is_a_platform_or_malformed(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(GOOD)))
    toml = GOOD[:place] + data.draw(st.text(max_size=3)) + GOOD[place + data.draw(st.integers(0, 3)) :]
    with suppress(PlatformMalformed):
        parse_platform(toml.encode(), "shop.toml", own=True)


def test_the_vocabulary_is_sorted_and_its_words_are_of_one_form() -> None:
    assert list(VOCABULARY) == sorted(VOCABULARY)
    for word, meaning in VOCABULARY.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", word), word
        assert re.fullmatch(r"[A-Z][^.\n]+\.", meaning), word


def test_platforms_say_the_same_word_for_what_they_call_the_same() -> None:
    used = {word for platform in platforms().values() for word in platform.types.values()}
    assert used <= set(VOCABULARY)


def test_the_documentation_lists_every_word_and_every_platform() -> None:
    text = Path("docs/platforms.md").read_text()
    for word, meaning in VOCABULARY.items():
        assert f"| `{word}` | {meaning} |" in text
    for platform in platforms().values():
        assert f"| `{platform.name}` | {platform.title} | {platform.scheme or '—'} |" in text
