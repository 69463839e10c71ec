"""Forms: what they are as JSON, what can't be made into it, and that they are events like all others."""

import json
import time
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.forms import MAX_BYTES, MAX_DEPTH, MAX_FIELDS, FormMalformed, is_form, to_json
from services.ingest.mapping import (
    NO_RULES,
    Incoming,
    Mapped,
    Mapper,
    Reason,
    Rejected,
    Rules,
    Secret,
    SetAside,
    compile_platform,
)
from shared.platforms import platforms
from tests.form_bodies import FORM, as_form, form_bytes
from tests.json_values import storable_text
from tests.platform_samples import Sample, samples
from tests.unit.test_mapping import platform
from tests.unit.test_mapping_proofs import proof

MAPPER = Mapper(platforms(), 1024 * 1024)
HEADERS = {"Content-Type": FORM}
LIMIT = 10**6


def content(body: str | bytes) -> Any:
    return json.loads(to_json(body if isinstance(body, bytes) else body.encode(), LIMIT))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("type=a&id=7", {"type": "a", "id": "7"}),
        ("name=Ana+Concei%C3%A7%C3%A3o&sum=1%2B1%26%3D", {"name": "Ana Conceição", "sum": "1+1&="}),
        ("name=Zé", {"name": "Zé"}),
        ("a=b=c&flag&empty=&=x&&", {"a": "b=c", "flag": "", "empty": "", "": "x"}),
        ("half=100%&odd=%zz", {"half": "100%", "odd": "%zz"}),
        ("", {}),
        # Several of one name.
        ("a=1&b=2&a=3", {"a": ["1", "3"], "b": "2"}),
        ("a[]=1", {"a": ["1"]}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("a[b]=1&a[b]=2", {"a": {"b": ["1", "2"]}}),
        # Nested.
        ("data[customer][name]=Ana&data[id]=7", {"data": {"customer": {"name": "Ana"}, "id": "7"}}),
        ("data%5Bcustomer%5D%5Bname%5D=Ana", {"data": {"customer": {"name": "Ana"}}}),
        ("a[b c]=1&a[d.e]=2", {"a": {"b c": "1", "d.e": "2"}}),
        # Numbers are positions only when they are all there.
        ("a[0][n]=x&a[1][n]=y", {"a": [{"n": "x"}, {"n": "y"}]}),
        ("a[1]=y&a[2]=z&a[0]=x", {"a": ["x", "y", "z"]}),
        ("a[0]=x", {"a": ["x"]}),
        ("a[1]=x&a[2]=y", {"a": {"1": "x", "2": "y"}}),
        ("a[0]=x&a[2]=y", {"a": {"0": "x", "2": "y"}}),
        ("a[0]=x&a[01]=y", {"a": {"0": "x", "01": "y"}}),
        ("a[0]=x&a[b]=y", {"a": {"0": "x", "b": "y"}}),
        ("a[-1]=x&a[0]=y", {"a": {"-1": "x", "0": "y"}}),
        ("0=a&1=b", {"0": "a", "1": "b"}),
        ("a[0][0]=x&a[0][1]=y", {"a": [["x", "y"]]}),
        # An item has each member once.
        ("i[][n]=x&i[][n]=y", {"i": [{"n": "x"}, {"n": "y"}]}),
        ("i[][n]=x&i[][p]=1&i[][n]=y&i[][p]=2", {"i": [{"n": "x", "p": "1"}, {"n": "y", "p": "2"}]}),
        ("i[][n][f]=x&i[][n][l]=y&i[][n][f]=z", {"i": [{"n": {"f": "x", "l": "y"}}, {"n": {"f": "z"}}]}),
        ("i[][t][]=x&i[][t][]=y", {"i": [{"t": ["x"]}, {"t": ["y"]}]}),
        ("i[]=x&i[][n]=y", {"i": ["x", {"n": "y"}]}),
        ("i[][]=x&i[][]=y", {"i": [["x"], ["y"]]}),
        # Named and not, both are kept.
        ("i[n]=x&i[]=y", {"i": {"n": "x", "": "y"}}),
        # What is no nesting is a name.
        ("a[b=1&a]=2&[c]=3&a[b]c=4&[]=5&a[[b]]=6", {"a[b": "1", "a]": "2", "[c]": "3", "a[b]c": "4", "[]": "5",
                                                    "a[[b]]": "6"}),
        ("a.b=1", {"a.b": "1"}),
    ],
)  # fmt: skip
def test_what_a_form_is_as_json(body: str, expected: Any) -> None:
    assert content(body) == expected


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"a=\xff", "the form is not UTF-8"),
        (b"a=%ff", "the form is not UTF-8"),
        (b"%c3=a", "the form is not UTF-8"),
        (b"a=%ed%a0%80", "the form is not UTF-8"),
        (b"a=1&a[b]=2", "a name in the form stands for a text and for an object"),
        (b"a[b]=1&a=2", "a name in the form stands for a text and for an object"),
        (b"a=1&a[]=2", "a name in the form stands for a text and for an object"),
        (b"a[b]=1&a[b][c]=2", "a name in the form stands for a text and for an object"),
        (b"i[][n]=1&i[][n][c]=2", "a name in the form stands for a text and for an object"),
        (b"a" + b"[b]" * MAX_DEPTH + b"=1", "the form is nested too deeply"),
        (b"a" + b"[]" * MAX_DEPTH + b"=1", "the form is nested too deeply"),
        (b"&".join([b"a=1"] * (MAX_FIELDS + 1)), "the form has more than 1000 fields"),
        (b"a=" + b"x" * (MAX_BYTES - 1), "the form has 262145 bytes; at most 262144 are taken"),
        (b"a=" + b"\x01" * 200_000, "the form has 1200008 bytes as JSON; at most 1000000 are taken"),
    ],
)
def test_a_form_that_can_not_be_json(body: bytes, said: str) -> None:
    with pytest.raises(FormMalformed) as caught:
        to_json(body, LIMIT)
    assert str(caught.value) == said


def test_the_limits_of_a_form() -> None:
    assert len(content(b"&".join(b"n%d=1" % number for number in range(MAX_FIELDS)))) == MAX_FIELDS
    assert len(content(b"a=" + b"x" * (MAX_BYTES - 2))["a"]) == MAX_BYTES - 2
    deep = content("a" + "[b]" * (MAX_DEPTH - 1) + "=1")
    for name in ["a", *["b"] * (MAX_DEPTH - 1)]:
        deep = deep[name]
    assert deep == "1"


@pytest.mark.parametrize(
    "body",
    [b"a=" + b"%41" * 87_000, b"a" + b"[]" * 130_000 + b"=", b"a" + b"[x" * 130_000, b"a" + b"]" * 260_000,
     b"&".join(b"a[%d]=x" % number for number in range(MAX_FIELDS)), b"&".join([b"a[][b]=x"] * MAX_FIELDS),
     b"&".join(b"a" + b"[]" * 18 + b"[x]=%d" % number for number in range(MAX_FIELDS)),
     b"&".join([b"a" + b"[b][]" * 9 + b"=x"] * MAX_FIELDS), b"&" * 260_000],
)  # fmt: skip
def test_no_form_holds_the_others_up(body: bytes) -> None:
    begin = time.perf_counter()
    with suppress(FormMalformed):
        to_json(body, LIMIT)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize("body", [b'{"a": 1}', b' \r\n\t{"a=b&c', b"[1]", b"\n["])
def test_what_begins_as_json_does_is_no_form(body: bytes) -> None:
    assert to_json(body, LIMIT) is body


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [(FORM, True), (f"{FORM}; charset=ISO-8859-1", True), (f" {FORM.upper()} ;", True), (f"{FORM};boundary=a", True),
     ("application/json", False), ("text/plain", False), ("", False), (f"x{FORM}", False), (f"{FORM}x", False),
     (f"{FORM}, {FORM}", False), ("multipart/form-data; boundary=a", False)],
)  # fmt: skip
def test_the_headers_say_whether_it_is_a_form(given_type: str, expected: bool) -> None:
    assert is_form({"content-type": given_type}) == expected
    assert not is_form({"x-content-type": given_type})


@given(st.one_of(form_bytes(), st.binary()), st.integers(0, 200))
def test_any_form_is_an_object_or_malformed(body: bytes, limit: int) -> None:
    written = body
    with suppress(FormMalformed):
        written = to_json(body, limit)
    if written is not body:
        assert type(json.loads(written)) is dict
        assert len(written) <= limit


nested = st.recursive(
    storable_text,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4),
        st.dictionaries(st.text("abcé 1.", min_size=1, max_size=5), inner, min_size=1, max_size=4),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abcé 1.", min_size=1, max_size=5), nested, max_size=5))
def test_what_php_writes_is_read_back(sent: dict[str, Any]) -> None:
    assert content(as_form(sent)) == {name: numbered(value) for name, value in sent.items()}


def numbered(value: Any) -> Any:
    """An object whose members are called as positions are can't be told from a list."""
    if isinstance(value, str):
        return value
    inner = value if isinstance(value, dict) else dict(enumerate(value))
    members = {str(name): numbered(one) for name, one in inner.items()}
    positions = [str(number) for number in range(len(members))]
    return [members[one] for one in positions] if set(positions) == set(members) else members


@given(st.lists(st.tuples(st.text("ab[é", min_size=1, max_size=3), storable_text), max_size=6))
def test_no_text_is_lost(fields: list[tuple[str, str]]) -> None:
    found = content(urlencode(fields))
    texts = [text for value in found.values() for text in (value if isinstance(value, list) else [value])]
    assert sorted(texts) == sorted(text for _, text in fields)
    assert set(found) == {name for name, _ in fields}


# As events.


def event_of(body: bytes, named: str = "", rules: Rules = NO_RULES, **sent: Any) -> Mapped | SetAside | Rejected:
    return MAPPER.map(Incoming(named, "", body, **{"headers": HEADERS, **sent}), rules)


@pytest.mark.parametrize("sample", [one for one in samples() if one.platform in ("braip", "perfectpay")], ids=str)
def test_a_sample_sent_as_a_form_is_the_same_event(sample: Sample) -> None:
    event = event_of(as_form(json.loads(sample.body, parse_float=Decimal)))
    assert isinstance(event, Mapped), event
    expected = sample.expected
    assert (event.platform, event.type, event.platform_type) == (
        sample.platform,
        expected.type,
        expected.platform_type,
    )
    assert event.dedup_key == expected.dedup_key
    assert (event.customer_name, event.product_name) == (expected.customer_name, expected.product_name)
    assert (event.total, event.currency) == (expected.total, expected.currency)
    assert event.occurred_time == expected.moment
    stored = json.loads(event.payload)
    assert not set(expected.stripped) & set(stored)


def test_what_is_stored_is_the_form_as_json() -> None:
    body = b"type=a&id=7&customer[name]=Ana&items[0][name]=Livro&items[1][name]=Capa"
    event = event_of(body, "generic")
    assert isinstance(event, Mapped)
    assert (event.dedup_key, event.customer_name, event.product_name) == (":a:7:::", "Ana", "Livro, Capa")
    as_json = b'{"type":"a","id":"7","customer":{"name":"Ana"},"items":[{"name":"Livro"},{"name":"Capa"}]}'
    assert event.payload == as_json
    same = event_of(as_json, "generic", headers={})
    assert isinstance(same, Mapped)
    assert event == msgspec.structs.replace(same, aside=event.aside), "the same content is the same event"
    assert (event.aside.payload, event.aside.headers) == (body, {"content-type": FORM}), "set aside, it is a form"
    # Nobody said that it is a form.
    assert isinstance(event_of(b"type=a", "generic", headers={}), SetAside)
    assert isinstance(event_of(b"type=a", "generic", headers={"content-type": "text/plain"}), SetAside)


def test_a_form_is_signed_as_it_came() -> None:
    fields = {"type": ["type"], "dedup_key": [["id"]]}
    hmac = {"scheme": "hmac", "in": "header:x-proof", "algorithm": "sha256", "encoding": "hex"}
    signed = compile_platform(platform("signed", fields, recognise={"present": ["signed"]}, signature=hmac))
    rules = Rules(platforms={"signed": signed}, secrets={"signed": (Secret("s3cret"),)})
    body = b"signed=1&type=a&name=An%C3%A1"
    for named in ("", "signed"):
        good = event_of(body, named, rules, headers=HEADERS | proof(body))
        assert isinstance(good, Mapped)
        for other in (to_json(body, LIMIT), b"signed=1&type=a&name=An%c3%a1"):
            bad = event_of(body, named, rules, headers=HEADERS | proof(other))
            assert isinstance(bad, Rejected)
            assert bad.reason == Reason.SIGNATURE_WRONG


def test_a_token_in_a_form_is_verified_and_not_stored() -> None:
    body = b"basic_authentication=made-up&type=ABANDONO&abandonment_key=1"
    for secret, reason in (("made-up", None), ("other", Reason.SIGNATURE_WRONG)):
        event = event_of(body, rules=Rules(secrets={"braip": (Secret(secret),)}), at_door=True)
        assert (event.reason if isinstance(event, Rejected) else None) == reason
        assert isinstance(event, Rejected) or event.payload == b'{"type":"ABANDONO","abandonment_key":"1"}'


def again(aside: SetAside, mapper: Mapper = MAPPER) -> Mapped | SetAside | Rejected:
    """What is set aside, tried again."""
    return mapper.map(Incoming(aside.named_platform, aside.named_source, aside.payload, aside.headers, trusted=True))


def test_a_form_that_is_set_aside_is_a_form_when_it_is_tried_again() -> None:
    body = b"kind=sale&name=An%C3%A1"
    aside = event_of(body, headers={"CONTENT-TYPE": f"{FORM}; charset=utf-8", "Accept": "*/*"})
    assert isinstance(aside, SetAside)
    assert (aside.reason, aside.payload) == (Reason.PLATFORM_UNRECOGNISED, body)
    assert aside.headers == {"content-type": f"{FORM}; charset=utf-8"}
    assert again(aside) == aside
    better = platform("generic", {"type": ["kind"], "dedup_key": [["id"]]}, fallback=True)
    event = again(aside, Mapper({"generic": better}, LIMIT))
    assert isinstance(event, Mapped)
    assert (event.type, event.payload) == ("sale", '{"kind":"sale","name":"Aná"}'.encode())
    # JSON's own type is not kept.
    other = event_of(b'{"kind":"sale"}', headers={"content-type": "application/json"})
    assert isinstance(other, SetAside)
    assert other.headers == {}


def test_a_form_with_a_secret_is_set_aside_as_json_without_it() -> None:
    aside = event_of(b"basic_authentication=made-up&trans_key=1", "braip")
    assert isinstance(aside, SetAside)
    assert (aside.reason, aside.payload) == (Reason.TYPE_MISSING, b'{"trans_key":"1"}')
    assert again(aside) == aside, "it is JSON by now, whatever the header says"


@pytest.mark.parametrize("body", [b"type=%ff", b"a=1&a[b]=SECRETIVE", b"a=1&" * 2000])
def test_a_form_that_can_not_be_read_is_set_aside_as_it_came(body: bytes) -> None:
    for named in ("", "braip"):
        aside = event_of(body, named)
        assert isinstance(aside, SetAside)
        assert (aside.reason, aside.payload, aside.platform) == (Reason.JSON_MALFORMED, body, named)
        assert "form" in aside.message
        assert "SECRETIVE" not in aside.message
        assert again(aside) == aside


def test_what_postgresql_can_not_hold_is_unstorable_in_a_form_too() -> None:
    aside = event_of(b"type=a&x=" + quote("\0").encode(), "generic")
    assert isinstance(aside, SetAside)
    assert aside.reason == Reason.JSON_UNSTORABLE
