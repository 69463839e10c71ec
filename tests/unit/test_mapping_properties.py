"""Whatever comes in: the rules answer, and equal content has one digest."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.mapping import Incoming, Mapped, Mapper, Rejected, SetAside
from shared.platforms import platforms
from tests.json_values import any_text, canonical, objects, storable_text, values, written

MAPPER = Mapper(platforms(), 1024 * 1024)
names = st.sampled_from(["", "grapfy", "generic", "nope", "a b", "\0"])


@given(names, names, st.binary())
def test_any_bytes_get_an_answer(platform: str, source: str, payload: bytes) -> None:
    assert isinstance(MAPPER.map(Incoming(platform, source, payload)), Mapped | SetAside | Rejected)


@given(st.data(), names, values(any_text))
def test_any_json_gets_an_answer(data: st.DataObject, platform: str, value: Any) -> None:
    payload = written(value, data.draw).encode(errors="surrogatepass")
    answer = MAPPER.map(Incoming(platform, "", payload))
    assert isinstance(answer, Mapped | SetAside | Rejected)
    if isinstance(answer, Mapped):
        assert answer.payload == payload
        assert 0 < len(answer.type) <= 128
        assert 0 < len(answer.dedup_key.encode()) <= 255


@given(st.data(), objects(any_text), st.integers(0, 10**6), st.binary(max_size=3))
def test_json_with_a_few_bytes_changed_gets_an_answer(
    data: st.DataObject, value: Any, place: int, other: bytes
) -> None:
    payload = written({"type": "a"} | value, data.draw).encode(errors="surrogatepass")
    place %= len(payload)
    changed = payload[:place] + other + payload[place + data.draw(st.integers(0, 3)) :]
    assert isinstance(MAPPER.map(Incoming("", "", changed)), Mapped | SetAside | Rejected)


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
