"""Who sent it and what is kept of it: when a proof is asked for, and that no secret is stored."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.mapping import (
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
from services.ingest.payload import digest, read, strip
from shared.platforms.references import Body, parse_references
from tests.json_values import canonical, objects, storable_text, written
from tests.unit.test_mapping import platform

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIELDS = {"type": ["type", "header:x-topic"], "dedup_key": [["id"]], "total": ["total"]}
HMAC = {"scheme": "hmac", "in": "header:x-proof", "algorithm": "sha256", "encoding": "hex"}
SIGNED = platform("signed", FIELDS, recognise={"present": ["signed"]}, signature=HMAC)
TOKEN = platform(
    "token",
    FIELDS,
    recognise={"present": ["is_token"]},
    secrets=["auth.token", "other"],
    signature={"scheme": "token", "in": "auth.token"},
)
TIMED = platform("timed", FIELDS, signature={"scheme": "standard_webhooks"})
BARE = platform("bare", FIELDS, recognise={"present": ["bare"]}, secrets=["key"])
GENERIC = platform("generic", FIELDS, fallback=True)
MAPPER = Mapper({one.name: one for one in (SIGNED, TOKEN, TIMED, BARE, GENERIC)}, 10**6, NOW.timestamp)
RULES = Rules(secrets={"shop": (Secret("s3cret"),)})


def event_of(
    payload: bytes | dict[str, Any], named: str = "", source: str = "shop", rules: Rules = RULES, **sent: Any
) -> Mapped | SetAside | Rejected:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return MAPPER.map(Incoming(named, source, body, **sent), rules)


def outcome(*arguments: Any, **sent: Any) -> Reason | None:
    """Why it is rejected or set aside; None when it is understood."""
    event = event_of(*arguments, **sent)
    return None if isinstance(event, Mapped) else event.reason


def proof(payload: bytes | dict[str, Any], secret: str = "s3cret") -> dict[str, str]:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return {"X-Proof": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


SIGNED_EVENT = {"type": "a", "signed": 1}
TOKEN_EVENT = {"type": "a", "is_token": 1, "auth": {"token": "s3cret"}}
NO_TOKEN_EVENT = {"type": "a", "is_token": 1}
BARE_EVENT = {"type": "a", "bare": 1}
UNKNOWN_EVENT = {"x": 1}


@pytest.mark.parametrize("named", ["", "signed"])
def test_a_proof_is_asked_for_where_there_is_a_secret(named: str) -> None:
    good, bad = proof(SIGNED_EVENT), proof(SIGNED_EVENT, "other")
    for at_door in (True, False):
        assert outcome(SIGNED_EVENT, named, headers=good, at_door=at_door) is None
        assert outcome(SIGNED_EVENT, named, headers=bad, at_door=at_door) == Reason.SIGNATURE_WRONG
    assert outcome(SIGNED_EVENT, named, at_door=True) == Reason.SIGNATURE_MISSING
    assert outcome(SIGNED_EVENT, named, headers={"a": "b"}) == Reason.SIGNATURE_MISSING
    assert outcome(SIGNED_EVENT, named, query="a=b") == Reason.SIGNATURE_MISSING
    # From within, such as by a sync: nothing came along with it.
    assert outcome(SIGNED_EVENT, named) is None


@pytest.mark.parametrize("named", ["", "token"])
def test_a_token_in_the_body_is_verified_wherever_it_comes_from(named: str) -> None:
    wrong = TOKEN_EVENT | {"auth": {"token": "other"}}
    assert outcome(TOKEN_EVENT, named, at_door=True) is None
    assert outcome(TOKEN_EVENT, named) is None
    assert outcome(wrong, named, at_door=True) == Reason.SIGNATURE_WRONG
    assert outcome(wrong, named) == Reason.SIGNATURE_WRONG
    assert outcome(NO_TOKEN_EVENT, named, at_door=True) == Reason.SIGNATURE_MISSING
    assert outcome(NO_TOKEN_EVENT, named, headers={"a": "b"}) == Reason.SIGNATURE_MISSING
    assert outcome(NO_TOKEN_EVENT, named) is None


def test_nothing_is_verified_without_a_secret_or_a_scheme() -> None:
    bad = proof(SIGNED_EVENT, "other")
    assert outcome(SIGNED_EVENT, headers=bad, at_door=True, rules=Rules()) is None
    assert outcome(SIGNED_EVENT, headers=bad, at_door=True, source="elsewhere") is None
    # An endpoint that names a platform without a scheme says that nothing can be verified.
    assert outcome(BARE_EVENT, "bare", headers=bad, at_door=True) is None


def test_nobody_gets_around_a_secret_by_looking_like_a_platform_that_signs_nothing() -> None:
    for payload, name in ((BARE_EVENT, "bare"), ({"type": "a"}, "generic")):
        event = event_of(payload, at_door=True)
        assert isinstance(event, Rejected)
        assert event.reason == Reason.SIGNATURE_MISSING
        assert event.message == (
            f"the source has a signing secret, and {name} has no signatures: name the platform at the endpoint"
        )
        assert outcome(payload, at_door=True, headers=proof(payload)) == Reason.SIGNATURE_MISSING
        # Where no endpoint is asked for proof, none is missing.
        assert outcome(payload) is None
        assert outcome(payload, headers={"a": "b"}, query="a=b") is None
        assert outcome(payload, at_door=True, trusted=True) is None
        assert outcome(payload, at_door=True, source="elsewhere") is None
    # A mapping of the company's own that has no scheme is no way around either.
    own = platform("own", FIELDS, recognise={"present": ["mine"]})
    rules = Rules(platforms={"own": compile_platform(own)}, secrets=RULES.secrets)
    assert outcome({"type": "a", "mine": 1}, rules=rules, at_door=True) == Reason.SIGNATURE_MISSING
    assert outcome({"type": "a", "mine": 1}, "own", rules=rules, at_door=True) is None
    for seconds, expected in ((1, Reason.SIGNATURE_MISSING), (0, None)):
        expiring = Rules(secrets={"shop": (Secret("old", NOW + timedelta(seconds=seconds)),)})
        assert outcome(BARE_EVENT, rules=expiring, at_door=True) == expected


def test_what_has_been_verified_before_is_trusted() -> None:
    bad = proof(SIGNED_EVENT, "other")
    assert outcome(SIGNED_EVENT, headers=bad, trusted=True) is None
    assert outcome(NO_TOKEN_EVENT, at_door=True, trusted=True) is None


@pytest.mark.parametrize(
    ("named", "source", "with_secret"),
    [("signed", "", "signed"), ("", "", "signed"), ("signed", "shop", "shop"), ("", "shop", "shop")],
)
def test_the_secret_is_that_of_the_events_source(named: str, source: str, with_secret: str) -> None:
    bad = proof(SIGNED_EVENT, "other")
    for secret_of in ("shop", "signed", "other"):
        rules = Rules(secrets={secret_of: (Secret("s3cret"),)})
        expected = Reason.SIGNATURE_WRONG if secret_of == with_secret else None
        assert outcome(SIGNED_EVENT, named, source, rules, headers=bad) == expected


def test_a_secret_is_good_until_it_expires() -> None:
    good = proof(SIGNED_EVENT, "old")
    for seconds, expected in ((1, None), (0, Reason.SIGNATURE_WRONG), (-1, Reason.SIGNATURE_WRONG)):
        expires = NOW + timedelta(seconds=seconds)
        rules = Rules(secrets={"shop": (Secret("new"), Secret("old", expires))})
        assert outcome(SIGNED_EVENT, rules=rules, headers=good) == expected
        assert outcome(SIGNED_EVENT, rules=rules, headers=proof(SIGNED_EVENT, "new")) is None
        # Where all have expired nothing is right any more.
        alone = Rules(secrets={"shop": (Secret("old", expires),)})
        assert outcome(SIGNED_EVENT, rules=alone, headers=good) == expected
        assert outcome(SIGNED_EVENT, rules=alone, at_door=True) == Reason.SIGNATURE_MISSING


def test_a_time_is_judged_by_the_mappers_clock() -> None:
    key = base64.b64encode(b"a key of thirty-two bytes, made.").decode()
    rules = Rules(secrets={"shop": (Secret(key),)})
    body = b'{"type":"a"}'
    for seconds, expected in ((0, None), (-300, None), (-301, Reason.SIGNATURE_TOO_OLD), (301, "SIGNATURE_TOO_OLD")):
        time = int(NOW.timestamp()) + seconds
        mac = hmac.new(base64.b64decode(key), b"m.%d." % time + body, hashlib.sha256).digest()
        text = "v1," + base64.b64encode(mac).decode()
        headers = {"Webhook-Id": "m", "Webhook-Timestamp": str(time), "Webhook-Signature": text}
        assert outcome(body, "timed", rules=rules, headers=headers) == expected


def test_garbage_with_a_wrong_signature_is_rejected_and_with_a_right_one_set_aside() -> None:
    for garbage in (b"{", b"[1]", b'{"signed":1,"type":"\\u0000"}', b"\xff", b"[" * 100_000, b'{"signed":1}'):
        assert outcome(garbage, "signed", headers={"X-Proof": "00"}) == Reason.SIGNATURE_WRONG
        assert outcome(garbage, "signed", at_door=True) == Reason.SIGNATURE_MISSING
        assert isinstance(event_of(garbage, "signed", headers=proof(garbage)), SetAside)
        # A token in the body can't be found.
        assert outcome(garbage, "token", at_door=True) == Reason.SIGNATURE_MISSING
        assert isinstance(event_of(garbage, "token"), SetAside)


def test_sizes_and_names_are_looked_at_before_signatures() -> None:
    bad = {"X-Proof": "00"}
    assert outcome(b"", "signed", headers=bad) == Reason.PAYLOAD_EMPTY
    assert outcome(b" " * (10**6 + 1), "signed", headers=bad) == Reason.PAYLOAD_TOO_LARGE
    assert outcome(b"{}", "signed", "a b", headers=bad) == Reason.NAME_MALFORMED
    assert outcome(b"{}", "signed", headers=bad, query="x" * 5000) == Reason.HEADERS_TOO_LARGE


def test_messages_say_nothing_of_what_came() -> None:
    for headers in (proof(SIGNED_EVENT, "other"), {"X-Proof": "SECRETIVE"}, {"a": "SECRETIVE"}):
        event = event_of(SIGNED_EVENT, headers=headers)
        assert isinstance(event, Rejected)
        assert "SECRETIVE" not in event.message
        assert "s3cret" not in event.message


WHOLE = b'{ "type": "a", "is_token": 1, "auth": {"token": "s3cret", "user": "u"}, "other": [1], "n": 1.10, "e": 1e2 }'
STRIPPED = b'{"type":"a","is_token":1,"auth":{"user":"u"},"n":1.10,"e":1E+2}'


@pytest.mark.parametrize("named", ["", "token"])
def test_secrets_are_taken_out_of_an_event_and_its_digest(named: str) -> None:
    event = event_of(WHOLE, named)
    assert isinstance(event, Mapped)
    assert event.payload == STRIPPED
    bare = event_of(STRIPPED, named)
    assert isinstance(bare, Mapped)
    assert bare.payload == STRIPPED, "as it came"
    other_token = event_of(WHOLE.replace(b"s3cret", b"rotated"), named, rules=Rules())
    assert isinstance(other_token, Mapped)
    # A rotated token is no conflict.
    assert event.payload_sha256 == bare.payload_sha256 == other_token.payload_sha256
    assert event.dedup_key == other_token.dedup_key == "sha256:" + event.payload_sha256.hex()


def test_what_holds_no_secret_is_kept_as_it_came() -> None:
    payload = b'{ "type": "a",  "is_token": 1, "auth": "token", "n": 1.0 }'
    event = event_of(payload)
    assert isinstance(event, Mapped)
    assert event.payload is payload
    elsewhere = event_of(WHOLE, "generic")
    assert isinstance(elsewhere, Mapped)
    assert elsewhere.payload is WHOLE, "another platform's secret is none"


def test_secrets_are_taken_out_of_what_is_set_aside() -> None:
    for payload, reason in (
        (WHOLE.replace(b'"type"', b'"kind"'), Reason.TYPE_MISSING),
        (WHOLE.replace(b'"n"', b'"total": "ten", "n"'), Reason.TOTAL_MALFORMED),
        (WHOLE.replace(b'"u"', b'"\\u0000"'), Reason.JSON_UNSTORABLE),
        (WHOLE.replace(b"1e2", b"1e5000"), Reason.JSON_UNSTORABLE),
        (WHOLE.replace(b'"u"', b"[" * 250 + b"]" * 250), Reason.JSON_UNSTORABLE),
    ):
        for named in ("", "token"):
            event = event_of(payload, named)
            assert isinstance(event, SetAside)
            assert (event.platform, event.reason) == ("token", reason)
            assert b"s3cret" not in event.payload
            assert b'"user"' in event.payload
            assert b"other" not in event.payload
    # What can't be read is kept as it came.
    torn = event_of(WHOLE[:-3], "token")
    assert isinstance(torn, SetAside)
    assert torn.payload == WHOLE[:-3]


def test_secrets_are_taken_out_however_deep_the_payload_can_be_read() -> None:
    # Near the parser's own limit, too, where writing must not need more than reading did.
    is_stripped = []
    for depth in range(800, 1100):
        payload = b'{"is_token":1,"other":1,"x":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        event = event_of(payload, "token")
        assert isinstance(event, SetAside)
        assert event.reason == Reason.JSON_UNSTORABLE
        is_stripped.append(b"other" not in event.payload)
    assert is_stripped == sorted(is_stripped, reverse=True)
    assert is_stripped.count(True) > 100


def test_a_secret_is_no_field() -> None:
    leaky = platform(
        "leaky", {"type": ["type"], "dedup_key": [["token"]], "customer_name": ["token"]}, secrets=["token"]
    )
    event = Mapper({"leaky": leaky}, 10**6).map(Incoming("leaky", "", b'{"type":"a","token":"s3cret"}'))
    assert isinstance(event, Mapped)
    assert event.customer_name is None
    assert "s3cret" not in event.dedup_key


def test_what_is_set_aside_knows_how_it_came() -> None:
    event = event_of({"bare": 1}, "", "")
    assert isinstance(event, SetAside)
    assert (event.source, event.platform, event.named_source, event.named_platform) == ("bare", "bare", "", "")
    event = event_of({"bare": 1}, "bare", "shop")
    assert isinstance(event, SetAside)
    assert (event.source, event.platform, event.named_source, event.named_platform) == ("shop", "bare", "shop", "bare")
    event = event_of({"x": 1}, "", "")
    assert isinstance(event, SetAside)
    assert (event.source, event.platform, event.named_source, event.named_platform) == ("unknown", "", "", "")
    event = event_of({"x": 1}, "nope", "")
    assert isinstance(event, SetAside)
    assert (event.source, event.platform, event.named_source, event.named_platform) == ("nope", "nope", "", "nope")


@pytest.mark.parametrize(
    ("payload", "named", "source", "sent", "is_trusted"),
    [
        # Verified, or asked and let through.
        (SIGNED_EVENT | {"total": "ten"}, "signed", "shop", {"headers": "right", "at_door": True}, True),
        (TOKEN_EVENT | {"total": "ten"}, "", "shop", {"at_door": True}, True),
        (BARE_EVENT | {"total": "ten"}, "bare", "shop", {"at_door": True}, True),
        # Nobody knew what to verify.
        (UNKNOWN_EVENT, "", "shop", {"at_door": True}, False),
        (UNKNOWN_EVENT, "nope", "shop", {"at_door": True}, False),
        (b"nonsense", "", "shop", {"at_door": True}, False),
        (UNKNOWN_EVENT, "", "shop", {"headers": {"a": "b"}}, False),
        (UNKNOWN_EVENT, "", "shop", {"query": "a=b"}, False),
        # From within, such as by a sync.
        (UNKNOWN_EVENT, "", "shop", {}, True),
        (UNKNOWN_EVENT, "nope", "shop", {}, True),
        # A source without a secret.
        (UNKNOWN_EVENT, "", "elsewhere", {"at_door": True}, True),
        (BARE_EVENT | {"total": "ten"}, "", "elsewhere", {"at_door": True}, True),
        # Whose source is the platform's, and may turn out to be another.
        (UNKNOWN_EVENT, "", "", {"headers": {"a": "b"}}, False),
        (UNKNOWN_EVENT, "shop", "", {"headers": {"a": "b"}}, False),
        (BARE_EVENT | {"total": "ten"}, "", "", {"headers": {"a": "b"}}, False),
        (BARE_EVENT | {"total": "ten"}, "", "", {}, True),
    ],
)
def test_what_is_set_aside_is_trusted_where_a_signature_was_there_or_nothing_asked_for_one(
    payload: bytes | dict[str, Any], named: str, source: str, sent: dict[str, Any], is_trusted: bool
) -> None:
    if sent.get("headers") == "right":
        sent = sent | {"headers": proof(payload)}
    event = event_of(payload, named, source, **sent)
    assert isinstance(event, SetAside)
    assert event.trusted == is_trusted
    without_secrets = event_of(payload, named, source, Rules(), **sent)
    assert isinstance(without_secrets, SetAside)
    assert without_secrets.trusted
    again = event_of(payload, named, source, **sent | {"trusted": True, "at_door": False})
    assert isinstance(again, SetAside)
    assert again.trusted


def test_what_is_understood_knows_what_it_would_be_set_aside_as() -> None:
    headers = {"X-Topic": "t", "X-Other": "o", **proof(TOKEN_EVENT)}
    event = event_of(TOKEN_EVENT, "token", headers=headers)
    aside = event_of(TOKEN_EVENT | {"total": "ten"}, "token", headers=headers)
    assert isinstance(event, Mapped)
    assert isinstance(aside, SetAside)
    assert b"s3cret" not in event.aside.payload
    assert event.aside.headers == {"x-topic": "t"}
    assert event.aside == SetAside(
        **msgspec.structs.asdict(aside)
        | {"reason": Reason.JSON_UNSTORABLE, "message": event.aside.message, "payload": event.payload}
    )


def test_what_was_set_aside_is_understood_when_it_is_tried_again_with_better_rules() -> None:
    payload = {"is_token": 1, "auth": {"token": "s3cret"}, "kind": "sale"}
    aside = event_of(payload, at_door=True, headers={"X-Kind": "sale"})
    assert isinstance(aside, SetAside)
    better = platform("token", {"type": ["kind"], "dedup_key": [["id"]]}, recognise={"present": ["is_token"]})
    rules = Rules(platforms={"token": compile_platform(better)}, secrets=RULES.secrets)
    again = Incoming(aside.named_platform, aside.named_source, aside.payload, aside.headers, trusted=True)
    event = MAPPER.map(again, rules)
    assert isinstance(event, Mapped)
    assert (event.source, event.platform, event.type) == ("shop", "token", "sale")


@given(st.data(), objects(storable_text))
def test_taking_secrets_out_leaves_everything_else_to_the_last_digit(data: st.DataObject, content: Any) -> None:
    paths = [
        one.steps
        for text in ("id", "customer.name", "data.0.id")
        for one in parse_references(text)
        if isinstance(one, Body)
    ]
    payload = written(content, data.draw).encode()
    document = read(payload)
    before = digest(payload, document)
    kept = strip(document.content, paths)
    expected = {name: value for name, value in content.items() if name != "id"}
    if isinstance(expected.get("customer"), dict):
        expected["customer"] = {name: value for name, value in expected["customer"].items() if name != "name"}
    first = (expected.get("data") or [None])[0] if isinstance(expected.get("data"), list) else None
    if isinstance(first, dict):
        first = {name: value for name, value in first.items() if name != "id"}
        expected["data"] = [first, *expected["data"][1:]]
    if kept is None:
        assert canonical(expected) == canonical(content)
    else:
        assert canonical(expected) != canonical(content)
        assert canonical(read(kept).content) == canonical(expected)
        without = written(expected, data.draw).encode()
        assert digest(kept, document) == digest(without, read(without)) != before
