"""Who sent it: right, wrong, missing and old proofs by each scheme, and garbage in place of one."""

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.references import Sent, by_lower_name, parameters
from services.ingest.signatures import Verdict, proof_of
from shared.platforms import Hmac, Signature, StandardWebhooks, Stripe, Token

BODY = '{"type":"paid","customer":"Zoé"}'.encode()
NOW = 1_790_000_000.5
HEX = Hmac(at="header:x-proof", algorithm="sha256", encoding="hex")
BASE64 = Hmac(at="header:x-proof", algorithm="sha256", encoding="base64")
QUERY = Hmac(at="query:signature", algorithm="sha1", encoding="hex")
PREFIXED = Hmac(at="header:x-proof", algorithm="sha256", encoding="hex", prefix="sha256=")
KEY = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, made.").decode()
OTHER_KEY = "whsec_" + base64.b64encode(b"another one, as long, also made.").decode()


def verdict(
    signature: Signature,
    *secrets: str,
    headers: dict[str, str] | None = None,
    query: str = "",
    content: dict[str, Any] | None = None,
    body: bytes = BODY,
    now: float = NOW,
) -> Verdict:
    sent = Sent(content or {}, by_lower_name(headers or {}), parameters(query))
    return proof_of(signature).verify(body, sent, secrets, now)


def mac(secret: str, signed: bytes = BODY, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret.encode(), signed, algorithm).digest()


def text_of_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def proof(signature: Signature, secret: str, time: int = int(NOW), body: bytes = BODY) -> dict[str, Any]:
    """What a platform would send along."""
    match signature:
        case Hmac(at="query:signature"):
            return {"query": urlencode({"signature": mac(secret, body, "sha1").hex()})}
        case Hmac(encoding="base64"):
            return {"headers": {"X-Proof": text_of_base64(mac(secret, body))}}
        case Hmac():
            return {"headers": {"X-Proof": signature.prefix + mac(secret, body).hex()}}
        case Token():
            return {"headers": {"X-Token": secret}}
        case Stripe():
            return {"headers": {"Stripe-Signature": f"t={time},v1={mac(secret, f'{time}.'.encode() + body).hex()}"}}
        case StandardWebhooks():
            key = base64.b64decode(secret.removeprefix("whsec_") + "==")
            signed = hmac.new(key, f"msg_1.{time}.".encode() + body, hashlib.sha256).digest()
            return {
                "headers": {
                    "Webhook-Id": "msg_1",
                    "Webhook-Timestamp": str(time),
                    "Webhook-Signature": "v1," + text_of_base64(signed),
                }
            }


SCHEMES: dict[str, tuple[Signature, str, str]] = {
    "hex": (HEX, "one", "other"),
    "base64": (BASE64, "one", "other"),
    "query": (QUERY, "one", "other"),
    "prefixed": (PREFIXED, "one", "other"),
    "token": (Token(at="header:x-token"), "one", "other"),
    "stripe": (Stripe(), "whsec_one", "whsec_other"),
    "standard": (StandardWebhooks(), KEY, OTHER_KEY),
}
every_scheme = pytest.mark.parametrize(("signature", "secret", "other"), SCHEMES.values(), ids=SCHEMES)


@every_scheme
def test_a_proof_is_right_by_any_of_the_secrets_and_by_no_other(signature: Signature, secret: str, other: str) -> None:
    sent = proof(signature, secret)
    assert verdict(signature, secret, **sent) is Verdict.RIGHT
    assert verdict(signature, other, secret, **sent) is Verdict.RIGHT
    assert verdict(signature, secret, other, **sent) is Verdict.RIGHT
    assert verdict(signature, other, **sent) is Verdict.WRONG
    assert verdict(signature, other, other, **sent) is Verdict.WRONG
    assert verdict(signature, secret.upper(), **sent) is Verdict.WRONG
    assert verdict(signature, **sent) is Verdict.WRONG, "when all have expired"
    assert verdict(signature, secret) is Verdict.MISSING


@every_scheme
def test_an_empty_proof_is_none(signature: Signature, secret: str, other: str) -> None:
    headers = {"X-Proof": " ", "X-Token": "", "Stripe-Signature": "", "Webhook-Signature": "", "Webhook-Id": "a"}
    assert verdict(signature, secret, headers=headers, query="signature=") is Verdict.MISSING


@pytest.mark.parametrize("case", sorted(set(SCHEMES) - {"token"}))
@given(st.data(), st.binary(min_size=1, max_size=200))
def test_another_body_is_not_what_was_signed(case: str, data: st.DataObject, body: bytes) -> None:
    signature, secret, _ = SCHEMES[case]
    body = body if case != "standard" else body.hex().encode()
    sent = proof(signature, secret, body=body)
    assert verdict(signature, secret, body=body, **sent) is Verdict.RIGHT
    place = data.draw(st.integers(0, len(body) * 8 - 1))
    changed = bytearray(body)
    changed[place // 8] ^= 1 << place % 8
    assert verdict(signature, secret, body=bytes(changed), **sent) is Verdict.WRONG
    assert verdict(signature, secret, body=body + b"\n", **sent) is Verdict.WRONG


@pytest.mark.parametrize("case", SCHEMES)
@given(st.data())
def test_a_changed_proof_is_wrong(case: str, data: st.DataObject) -> None:
    signature, secret, _ = SCHEMES[case]
    sent = proof(signature, secret)
    name = (
        "X-Proof"
        if isinstance(signature, Hmac)
        else {"token": "X-Token", "stripe": "Stripe-Signature"}.get(case, "Webhook-Signature")
    )
    text: str = sent["query"] if case == "query" else sent["headers"][name]
    # Of what says how it is signed a change may make it another proof, or none.
    start = text.rfind("=", 0, -2) + 1 if case in ("query", "prefixed", "stripe") else 3 if case == "standard" else 0
    place = data.draw(st.integers(start, len(text.rstrip("=")) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdefXYZ+/é").filter(lambda letter: letter != text[place]))
    changed = text[:place] + letter + text[place + 1 :]
    sent = {"query": changed} if case == "query" else {"headers": {**sent["headers"], name: changed}}
    assert verdict(signature, secret, **sent) is Verdict.WRONG


def test_an_hmac_is_read_in_any_case_only_where_it_is_hex() -> None:
    shout = {"X-Proof": mac("one").hex().upper()}
    assert verdict(HEX, "one", headers=shout) is Verdict.RIGHT
    assert verdict(BASE64, "one", headers={"X-Proof": text_of_base64(mac("one")).swapcase()}) is Verdict.WRONG
    assert verdict(BASE64, "one", headers={"X-Proof": mac("one").hex()}) is Verdict.WRONG
    assert verdict(HEX, "one", headers={"X-Proof": text_of_base64(mac("one"))}) is Verdict.WRONG


def test_a_prefix_must_be_there() -> None:
    bare = mac("one").hex()
    assert verdict(PREFIXED, "one", headers={"X-Proof": bare}) is Verdict.WRONG
    assert verdict(PREFIXED, "one", headers={"X-Proof": "sha1=" + bare}) is Verdict.WRONG
    assert verdict(PREFIXED, "one", headers={"X-Proof": "SHA256=" + bare}) is Verdict.WRONG
    assert verdict(PREFIXED, "one", headers={"X-Proof": "sha256=" + bare.upper()}) is Verdict.RIGHT
    assert verdict(HEX, "one", headers={"X-Proof": "sha256=" + bare}) is Verdict.WRONG


@pytest.mark.parametrize(
    ("at", "sent"),
    [
        ("header:x-token", {"headers": {"X-TOKEN": "s3cret"}}),
        ("query:token", {"query": "a=1&token=s3cret"}),
        ("auth.token", {"content": {"auth": {"token": "s3cret"}}}),
    ],
)
def test_a_token_may_come_in_a_header_a_query_or_the_body(at: str, sent: dict[str, Any]) -> None:
    assert verdict(Token(at=at), "s3cret", **sent) is Verdict.RIGHT
    assert verdict(Token(at=at), " s3cret\n", **sent) is Verdict.RIGHT, "as somebody has pasted it"
    for other in ("S3cret", "s3cre", "s3crett", "", " ", "sécret"):
        assert verdict(Token(at=at), other, **sent) is Verdict.WRONG
    assert verdict(Token(at=at), "s3cret") is Verdict.MISSING


@pytest.mark.parametrize("value", [None, "", True, 1.5, ["s3cret"], {"a": "s3cret"}])
def test_a_token_in_the_body_is_a_text_or_a_number(value: Any) -> None:
    assert verdict(Token(at="token"), "s3cret", content={"token": value}) is Verdict.MISSING
    assert verdict(Token(at="token"), "1234", content={"token": 1234}) is Verdict.RIGHT


def test_where_a_proof_is() -> None:
    assert [(proof_of(one).in_body, proof_of(one).header) for one, _, _ in SCHEMES.values()] == [
        (False, "x-proof"),
        (False, "x-proof"),
        (False, ""),
        (False, "x-proof"),
        (False, "x-token"),
        (False, "stripe-signature"),
        (False, "webhook-signature"),
    ]
    assert (proof_of(Token(at="auth.token")).in_body, proof_of(Token(at="auth.token")).header) == (True, "")


@pytest.mark.parametrize("case", ["stripe", "standard"])
@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, Verdict.RIGHT),
        (-299, Verdict.RIGHT),
        (300, Verdict.RIGHT),
        (301, Verdict.TOO_OLD),
        (-301, Verdict.TOO_OLD),
        (10**6, Verdict.TOO_OLD),
    ],
)
def test_a_time_may_be_a_little_from_now(case: str, seconds: int, expected: Verdict) -> None:
    signature, secret, other = SCHEMES[case]
    sent = proof(signature, secret, int(NOW) + seconds)
    assert verdict(signature, secret, **sent) is expected
    assert verdict(signature, other, secret, **sent) is expected
    assert verdict(signature, other, **sent) is Verdict.WRONG, "wrong comes before old"


def test_the_tolerance_is_the_platforms() -> None:
    for signature, secret in ((Stripe(tolerance_seconds=10), "whsec_x"), (StandardWebhooks(tolerance_seconds=10), KEY)):
        assert verdict(signature, secret, **proof(signature, secret, int(NOW) - 9)) is Verdict.RIGHT
        assert verdict(signature, secret, **proof(signature, secret, int(NOW) - 11)) is Verdict.TOO_OLD


TIME = int(NOW)
STRIPES = mac("whsec_one", f"{TIME}.".encode() + BODY).hex()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"t={TIME},v1={STRIPES}", Verdict.RIGHT),
        (f"v1={STRIPES},t={TIME}", Verdict.RIGHT),
        (f"t={TIME}, v1={STRIPES} ", Verdict.RIGHT),
        (f"t={TIME},v0=ab,v1={'0' * 64},v1={STRIPES},v2=x", Verdict.RIGHT),
        (f"t={TIME},v1={STRIPES},,=,junk", Verdict.RIGHT),
        (f"t={TIME},v0={STRIPES}", Verdict.WRONG),
        (f"t={TIME},v1={STRIPES.upper()}", Verdict.WRONG),
        (f"t={TIME},v1={STRIPES}0", Verdict.WRONG),
        (f"t={TIME}", Verdict.WRONG),
        (f"t={TIME},v1=", Verdict.WRONG),
        (f"v1={STRIPES}", Verdict.WRONG),
        (f"t={TIME},t={TIME},v1={STRIPES}", Verdict.WRONG),
        (f"t={TIME + 1},v1={STRIPES}", Verdict.WRONG),
        (f"t=0{TIME},v1={STRIPES}", Verdict.WRONG),
        (f"t={TIME}.0,v1={STRIPES}", Verdict.WRONG),
        (f"t=NaN,v1={STRIPES}", Verdict.WRONG),
        (f"t=,v1={STRIPES}", Verdict.WRONG),
        (f"t=-{TIME},v1={STRIPES}", Verdict.WRONG),
        (f"t={'9' * 5000},v1={STRIPES}", Verdict.WRONG),
        (f"t=١٢,v1={STRIPES}", Verdict.WRONG),
        (f"T={TIME},V1={STRIPES}", Verdict.WRONG),
        (STRIPES, Verdict.WRONG),
        ("é" * 100, Verdict.WRONG),
        ("v1=" + "," * 16_000, Verdict.WRONG),
    ],
)
def test_stripes_header(header: str, expected: Verdict) -> None:
    assert verdict(Stripe(), "whsec_one", headers={"Stripe-Signature": header}) is expected


@pytest.mark.parametrize("time", ["NaN", "inf", "-1", "1e9", "", "999999999999", "9" * 5000, "١٢", "0x10", "10 "])
def test_what_stripe_could_sign_only_by_mistake_is_wrong(time: str) -> None:
    signed = mac("whsec_one", f"{time}.".encode() + BODY).hex()
    expected = Verdict.TOO_OLD if time == "999999999999" else Verdict.WRONG
    assert verdict(Stripe(), "whsec_one", headers={"Stripe-Signature": f"t={time},v1={signed}"}) is expected


STANDARD = proof(StandardWebhooks(), KEY)["headers"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Verdict.RIGHT),
        ({"Webhook-Signature": "v1,AAAA " + STANDARD["Webhook-Signature"]}, Verdict.RIGHT),
        ({"Webhook-Signature": STANDARD["Webhook-Signature"] + "  v1a,AAAA v2 ,"}, Verdict.RIGHT),
        ({"Webhook-Signature": STANDARD["Webhook-Signature"].replace("v1,", "v2,")}, Verdict.WRONG),
        ({"Webhook-Signature": STANDARD["Webhook-Signature"].replace("v1,", "v1a,")}, Verdict.WRONG),
        ({"Webhook-Signature": STANDARD["Webhook-Signature"].removeprefix("v1,")}, Verdict.WRONG),
        ({"Webhook-Signature": STANDARD["Webhook-Signature"].rstrip("=")}, Verdict.WRONG),
        ({"Webhook-Signature": "v1,not base64!"}, Verdict.WRONG),
        ({"Webhook-Signature": "v1,é"}, Verdict.WRONG),
        ({"Webhook-Signature": "v1"}, Verdict.WRONG),
        ({"Webhook-Signature": " ".join(["v1,AAAA"] * 1500)}, Verdict.WRONG),
        ({"Webhook-Id": ""}, Verdict.WRONG),
        ({"Webhook-Id": "msg_2"}, Verdict.WRONG),
        ({"Webhook-Id": "é"}, Verdict.WRONG),
        ({"Webhook-Timestamp": ""}, Verdict.WRONG),
        ({"Webhook-Timestamp": "NaN"}, Verdict.WRONG),
        ({"Webhook-Timestamp": f"{TIME}.0"}, Verdict.WRONG),
        ({"Webhook-Timestamp": "999999999999"}, Verdict.WRONG),
        ({"Webhook-Timestamp": "9" * 400}, Verdict.WRONG),
    ],
)
def test_the_headers_of_standard_webhooks(headers: dict[str, str], expected: Verdict) -> None:
    assert verdict(StandardWebhooks(), KEY, headers=STANDARD | headers) is expected


def test_headers_of_standard_webhooks_that_are_not_there() -> None:
    for name, expected in (
        ("Webhook-Id", Verdict.WRONG),
        ("Webhook-Timestamp", Verdict.WRONG),
        ("Webhook-Signature", Verdict.MISSING),
    ):
        headers = {other: text for other, text in STANDARD.items() if other != name}
        assert verdict(StandardWebhooks(), KEY, headers=headers) is expected


def test_secrets_of_standard_webhooks_as_people_paste_them() -> None:
    for secret in (KEY, KEY.removeprefix("whsec_"), KEY.rstrip("="), f" {KEY}\n"):
        assert verdict(StandardWebhooks(), secret, headers=STANDARD) is Verdict.RIGHT


@pytest.mark.parametrize("secret", ["", "whsec_", "a", "no base64: é", "!!!!", "whsec_x", "\ud800"])
def test_a_secret_that_standard_webhooks_can_not_sign_with_is_wrong(secret: str) -> None:
    assert verdict(StandardWebhooks(), secret, headers=STANDARD) is Verdict.WRONG
    assert verdict(StandardWebhooks(), secret, KEY, headers=STANDARD) is Verdict.RIGHT


def test_a_body_that_is_no_text_can_not_be_signed_by_standard_webhooks() -> None:
    sent = proof(StandardWebhooks(), KEY, body=b"\xff")
    assert verdict(StandardWebhooks(), KEY, body=b"\xff", **sent) is Verdict.WRONG


garbage = st.one_of(
    st.text(), st.text().map(lambda text: f"t={TIME},v1={text}"), st.text().map(lambda text: "v1," + text)
)


@pytest.mark.parametrize("case", SCHEMES)
@given(garbage, st.text(), garbage, st.text(max_size=20), st.binary(), st.floats(0, 1e12))
def test_garbage_is_wrong_or_missing(
    case: str, given_text: str, secret: str, message_id: str, time: str, body: bytes, now: float
) -> None:
    signature = SCHEMES[case][0]
    names = ("X-Proof", "X-Token", "Stripe-Signature", "Webhook-Signature")
    headers = {**dict.fromkeys(names, given_text), "Webhook-Id": message_id, "Webhook-Timestamp": time}
    answer = verdict(signature, secret, headers=headers, query="signature=" + given_text, body=body, now=now)
    if given_text.strip() != secret.strip():
        assert answer in (Verdict.WRONG, Verdict.MISSING)
