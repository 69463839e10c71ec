"""Signs deliveries as the platforms do: written anew from what they document, not with the code under test."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from shared.platforms import Hmac, Platform, StandardWebhooks, Stripe, Token
from tests.platform_samples import Sample


class Delivery(msgspec.Struct, frozen=True):
    """What goes over the wire."""

    body: bytes
    headers: Mapping[str, str]
    query: str


def secret_for(platform: Platform, sample: Sample, name: str = "one") -> str:
    """A secret such as the platform gives; another one for each name. A token that is in the sample's body is "one"."""
    if isinstance(platform.signature, StandardWebhooks):
        return "whsec_" + base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()
    if isinstance(platform.signature, Token) and is_in_body(platform) and name == "one":
        value: Any = json.loads(sample.body)
        for member in platform.signature.at.split("."):
            value = value[int(member)] if isinstance(value, list) else value[member]
        return str(value)
    return f"example-secret-{name}"


def is_in_body(platform: Platform) -> bool:
    """Whether the platform's token comes in the body."""
    return isinstance(platform.signature, Token) and ":" not in platform.signature.at


def is_timed(platform: Platform) -> bool:
    """Whether the platform signs a time, too."""
    return isinstance(platform.signature, Stripe | StandardWebhooks)


def unsigned(platform: Platform, sample: Sample) -> Delivery:
    """The sample without a signature, where it brings one along. A token in the body stays."""
    at = platform.signature.at if platform.signature else ""
    kind, _, place = at.partition(":")
    headers = {name: text for name, text in sample.headers.items() if (kind, place) != ("header", name.lower())}
    pairs = parse_qsl(sample.query, keep_blank_values=True)
    query = urlencode([pair for pair in pairs if (kind, place) != ("query", pair[0])])
    return Delivery(sample.body, headers, query)


def sign(platform: Platform, sample: Sample, secret: str, time: float) -> Delivery:
    """The sample as the platform would deliver it, signed at `time`. A token in the body stays as it is."""
    bare, body, seconds = unsigned(platform, sample), sample.body, int(time)
    match platform.signature:
        case Hmac() as scheme:
            mac = hmac.new(secret.encode(), body, getattr(hashlib, scheme.algorithm))
            text = mac.hexdigest() if scheme.encoding == "hex" else base64.b64encode(mac.digest()).decode()
            return _with(bare, scheme.at, scheme.prefix + text)
        case Token() as scheme:
            return _with(bare, scheme.at, secret)
        case Stripe():
            mac = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
            return _with(bare, "header:Stripe-Signature", f"t={seconds},v1={mac.hexdigest()},v0=00")
        case StandardWebhooks():
            message_id = sample.headers.get("webhook-id", "msg_of_the_test")
            key = base64.b64decode(secret.removeprefix("whsec_"))
            mac = hmac.new(key, f"{message_id}.{seconds}.".encode() + body, hashlib.sha256)
            proof = {"webhook-id": message_id, "webhook-timestamp": str(seconds)}
            proof["webhook-signature"] = "v1," + base64.b64encode(mac.digest()).decode()
            return Delivery(body, {**bare.headers, **proof}, bare.query)
        case None:
            return bare


def _with(bare: Delivery, place: str, proof: str) -> Delivery:
    kind, _, name = place.partition(":")
    if kind == "header":
        return Delivery(bare.body, {**bare.headers, name: proof}, bare.query)
    if kind == "query":
        query = "&".join(part for part in (bare.query, urlencode({name: proof})) if part)
        return Delivery(bare.body, bare.headers, query)
    return bare
