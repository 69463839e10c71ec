"""Which headers are kept with what is set aside, and which of them make another event of the same body."""

import uuid
from typing import Any

import pytest

from services.ingest.mapping import Incoming, Reason, Rules, SetAside, compile_platform
from tests.unit.test_mapping import platform
from tests.unit.test_mapping_proofs import FIELDS, MAPPER, UNKNOWN_EVENT, event_of


def test_of_headers_only_those_are_kept_that_a_mapping_reads() -> None:
    headers = {"X-Topic": "", "X-Proof": "p", "Webhook-Signature": "v1,w", "Authorization": "Bearer t", "X-Own": "o"}
    event = event_of({"bare": 1}, source="", headers=headers, query="token=t")
    assert isinstance(event, SetAside)
    assert event.headers == {"x-topic": ""}
    own = platform(
        "own",
        {"type": ["header:x-own"], "dedup_key": [["header:x-proof"]]},
        signature={"scheme": "token", "in": "header:x-own-proof"},
    )
    rules = Rules(platforms={"own": compile_platform(own)})
    event = event_of({"bare": 1}, source="", rules=rules, headers=headers | {"X-Own-Proof": "s3cret"})
    assert isinstance(event, SetAside)
    assert event.headers == {"x-topic": "", "x-own": "o"}, "what proves one platform's sender is kept for none"


TELLING = {"X-Shop-Topic": "order.updated", "X-Event-Key": "push", "X-Action": "", "X-Message-Type": "n"}
OTHERS = {"X-Delivery": "1", "User-Agent": "shop/1", "Idempotency-Key": "i", "X-Attempt": "2"}
LEFT_OUT = dict.fromkeys(
    [
        *["Authorization", "Cookie", "X-Shop-Token", "X-Api-Key", "X-Shop-Hmac-Sha256", "X-Hub-Signature-256"],
        *["X-Sign", "X-Client-Secret", "X-Auth-Event", "Session-Id", "Host", "Accept", "Accept-Encoding", "Via"],
        *["Content-Length", "Content-Type", "X-Forwarded-For", "CF-Connecting-IP", "X-Real-IP", "Traceparent"],
        *["X-Request-Id", "X-Proof", "Webhook-Signature", "Stripe-Signature", "X-Évent", "X-Event Of", "X-Event\0"],
    ],
    "left out",
)


@pytest.mark.parametrize(
    ("named", "payload"),
    # The last one is the fallback's.
    [("", UNKNOWN_EVENT), ("nope", UNKNOWN_EVENT), ("", b"nonsense"), ("", {"type": "a", "total": "ten"})],
)
def test_of_an_unknown_platform_the_headers_are_kept_that_a_mapping_to_come_may_read(
    named: str, payload: bytes | dict[str, Any]
) -> None:
    event = event_of(payload, named, headers={**TELLING, **OTHERS, **LEFT_OUT})
    assert isinstance(event, SetAside)
    assert event.headers == {name.lower(): value for name, value in {**TELLING, **OTHERS}.items()}
    # Those of which nobody knows whether each attempt has others make no other event.
    assert event.telling == {name.lower() for name in TELLING}


def test_what_was_kept_stays_but_for_what_turns_out_to_prove_the_sender() -> None:
    aside = event_of(UNKNOWN_EVENT, headers={"X-Shop-Topic": "t", "X-Kind": "k", "X-Stamp": "s3cret"})
    assert isinstance(aside, SetAside)
    assert set(aside.headers) == {"x-shop-topic", "x-kind", "x-stamp"}
    own = platform(
        "own",
        {"type": ["header:x-shop-topic"], "dedup_key": [["id"]], "total": ["header:x-kind"]},
        recognise={"present": ["x"]},
        signature={"scheme": "token", "in": "header:x-stamp"},
    )
    again = Incoming(
        aside.named_platform,
        aside.named_source,
        aside.payload,
        aside.headers,
        trusted=True,
        quarantine_id=uuid.UUID(int=1),
    )
    event = MAPPER.map(again, Rules(platforms={"own": compile_platform(own)}))
    assert isinstance(event, SetAside)
    assert (event.reason, event.headers) == (Reason.TOTAL_MALFORMED, {"x-shop-topic": "t", "x-kind": "k"})
    # One that a mapping reads counts, whatever it is called.
    keyed = platform("keyed", {"type": ["header:x-token-type"], "dedup_key": [["header:x-key"]]})
    read = event_of(
        UNKNOWN_EVENT, rules=Rules(platforms={"keyed": compile_platform(keyed)}), headers={"X-Key": "1", "X-Key-2": "2"}
    )
    assert isinstance(read, SetAside)
    assert (read.headers, read.telling) == ({"x-key": "1"}, frozenset({"x-key"}))


def test_a_header_that_only_has_to_be_there_makes_no_other_event() -> None:
    own = platform(
        "own", FIELDS, recognise={"present": ["header:x-time", "header:x-topic"], "equal": {"header:x-v": 2}}
    )
    event = event_of(
        {"total": "ten"},
        rules=Rules(platforms={"own": compile_platform(own)}),
        headers={"X-Time": "1", "X-Topic": "a", "X-V": "2", "X-Event": "not read, of a platform that is known"},
    )
    assert isinstance(event, SetAside)
    assert (event.platform, event.telling) == ("own", frozenset({"x-topic", "x-v"}))
    assert event.headers == {"x-time": "1", "x-topic": "a", "x-v": "2"}
