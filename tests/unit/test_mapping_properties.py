"""Whatever comes in: the rules answer, and equal content has one digest."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.mapping import Incoming, Mapped, Mapper, Rejected, Rules, Secret, SetAside, compile_platform
from shared.platforms import parse_platform, platforms
from tests.form_bodies import form_bytes
from tests.json_values import any_text, canonical, objects, storable_text, values, written
from tests.platform_samples import Sample, samples

MAPPER = Mapper(platforms(), 1024 * 1024, lambda: 1_790_000_000.0)
names = st.sampled_from(["", *platforms(), "own", "nope", "a b", "\0"])
OWN = b"""
name = "own"
title = "Own"
total_format = "brazilian"
secrets = ["data.id", "id"]
[recognise]
present = ["header:x-own total"]
[fields]
type = ["type header:x-own", "header:x-own", "type"]
dedup_key = [["id", "header:webhook-id?"], ["data[!id].name"]]
customer_name = ["customer.name name", "data[].name"]
total = ["header:x-own", "total"]
occurred_time = ["header:webhook-timestamp", "createdAt"]
[types]
"a a" = "order_approved"
[signature]
scheme = "token"
in = "data.id"
"""
header_names = st.sampled_from(
    ["X-Own", "x-own", "webhook-id", "webhook-timestamp", "Webhook-Signature", "stripe-signature", "x-shopify-topic",
     "x-shopify-hmac-sha256", "x-yampi-hmac-sha256", "x-signature", "authorization", "ce-type", "ce-id", "ce-source",
     "content-type"]
)  # fmt: skip
header_texts = st.one_of(any_text, st.sampled_from(["t=1790000000,v1=ab", "v1,AAAA", "1790000000", "10,00", "a"]))
form = st.sampled_from([{}, {}, {"Content-Type": "application/x-www-form-urlencoded"}])
headers = st.builds(dict.__or__, st.dictionaries(st.one_of(header_names, any_text), header_texts, max_size=6), form)
queries = st.one_of(any_text, st.sampled_from(["signature=a", "signature=%00", "signature=%ff&=&&", "signature=1e5"]))
moments = st.sampled_from([None, datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)])
secrets = st.lists(st.builds(Secret, any_text, moments), max_size=2).map(tuple)
rules = st.builds(
    Rules,
    platforms=st.sampled_from([{}, {"own": compile_platform(parse_platform(OWN, "own.toml", own=True))}]),
    secrets=st.dictionaries(names, secrets, max_size=3),
)


@st.composite
def deliveries(draw: st.DrawFn, payloads: st.SearchStrategy[bytes]) -> Incoming:
    """Whatever might come."""
    return Incoming(
        draw(names),
        draw(names),
        draw(payloads),
        draw(headers),
        draw(queries),
        at_door=draw(st.booleans()),
        trusted=draw(st.booleans()),
    )


@st.composite
def json_bytes(draw: st.DrawFn) -> bytes:
    return written(draw(st.one_of(values(any_text), objects(any_text))), draw).encode(errors="surrogatepass")


@st.composite
def changed_samples(draw: st.DrawFn) -> bytes:
    """What platforms send, with a few bytes changed or a member replaced."""
    sample: Sample = draw(st.sampled_from(samples()))
    if draw(st.booleans()):
        content = json.loads(sample.body)
        member = draw(st.sampled_from(sorted(content)))
        return json.dumps(content).encode()[:-1] + f', "{member}": {written(draw(values(any_text)), draw)}}}'.encode(
            errors="surrogatepass"
        )
    place = draw(st.integers(0, len(sample.body)))
    return sample.body[:place] + draw(st.binary(max_size=3)) + sample.body[place + draw(st.integers(0, 3)) :]


payloads = st.one_of(st.binary(), json_bytes(), changed_samples(), form_bytes())


@given(deliveries(payloads), rules)
def test_whatever_comes_gets_an_answer_and_the_same_one_again(incoming: Incoming, own: Rules) -> None:
    answer = MAPPER.map(incoming, own)
    assert MAPPER.map(incoming, own) == answer
    match answer:
        case Mapped():
            assert 0 < len(answer.type) <= 128
            assert answer.platform_type != answer.type
            assert type(json.loads(answer.payload)) is dict
            assert 0 < len(answer.dedup_key.encode()) <= 255
            texts = (answer.platform_type, answer.customer_name, answer.product_name, answer.total, answer.currency)
            for text in texts:
                assert text is None or is_storable(text)
        case SetAside():
            assert all(map(is_storable, (*answer.headers, *answer.headers.values(), answer.message)))
            assert not {"webhook-signature", "stripe-signature", "authorization", "x-signature"} & set(answer.headers)
        case Rejected():
            assert is_storable(answer.message)


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold it."""
    text.encode()
    return "\0" not in text


def digest(text: str) -> bytes:
    event = MAPPER.map(Incoming("generic", "", text.encode()))
    assert isinstance(event, Mapped), event
    return event.payload_sha256


@given(st.data(), values(storable_text))
def test_the_same_content_has_the_same_digest_however_it_is_written(data: st.DataObject, value: Any) -> None:
    event = {"type": "a", "x": value}
    assert digest(written(event, data.draw)) == digest(written(event, data.draw))


@given(st.data(), values(storable_text), values(storable_text))
def test_another_content_has_another_digest(data: st.DataObject, one: Any, other: Any) -> None:
    digests = [digest(written({"type": "a", "x": value}, data.draw)) for value in (one, other)]
    assert (digests[0] == digests[1]) == (canonical(one) == canonical(other))


def test_contents_that_are_easily_mixed_up_have_digests_of_their_own() -> None:
    alike = ["1", '"1"', "true", '"true"', "[1]", "null", "0", "false", '""', "[]", "{}", "1.1", '"1.1"', "-1", "10"]
    alike += ["9007199254740992", "9007199254740993", "0.1", "0.10000000000000001", "1e300", "1e301", '"1e300"']
    assert len({digest(f'{{"type":"a","x":{one}}}') for one in alike}) == len(alike)


def test_numbers_of_many_digits_are_not_rounded_for_the_digest() -> None:
    for length in (100, 1999, 2001, 4000):
        one, other = (f"0.{'3' * length}{last}0" for last in "12")
        assert digest(f'{{"type":"a","x":{one}}}') != digest(f'{{"type":"a","x":{other}}}'), length
        assert digest(f'{{"type":"a","x":{one}}}') == digest(f'{{"type":"a","x":{one[:-1]}}}'), length
