"""What every platform sends: told apart, understood, verified, and stripped of its secrets."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.ingest.mapping import Incoming, Mapped, Mapper, Reason, Rejected, Rules, Secret, compile_platform
from services.ingest.references import Sent, by_lower_name, parameters
from shared.platforms import platforms
from tests.platform_samples import SAMPLES, Sample, samples, samples_of
from tests.platform_signing import Delivery, is_in_body, is_timed, secret_for, sign, unsigned

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MAPPER = Mapper(platforms(), 1024 * 1024, NOW.timestamp)
every_sample = pytest.mark.parametrize("sample", samples(), ids=str)
signed_samples = [sample for sample in samples() if platforms()[sample.platform].signature]
every_signed_sample = pytest.mark.parametrize("sample", signed_samples, ids=str)


@pytest.mark.parametrize("platform", platforms())
def test_every_platform_has_samples(platform: str) -> None:
    assert len(samples_of(platform)) >= 3


def test_every_sample_is_a_platforms() -> None:
    assert {folder.name for folder in SAMPLES.iterdir()} == set(platforms())


@every_sample
def test_a_sample_is_understood(sample: Sample) -> None:
    event = MAPPER.map(Incoming(sample.named_platform, "", sample.body, sample.headers, sample.query))
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


@every_sample
def test_no_other_platform_takes_a_sample_for_its_own(sample: Sample) -> None:
    content = json.loads(sample.body, parse_float=Decimal)
    sent = Sent(content, by_lower_name(sample.headers), parameters(sample.query))
    takers = {name for name, platform in platforms().items() if compile_platform(platform).recognises(sent)}
    assert takers == (set() if sample.named or platforms()[sample.platform].fallback else {sample.platform})


@every_sample
def test_secrets_are_not_stored_and_all_the_rest_is(sample: Sample) -> None:
    event = MAPPER.map(Incoming(sample.platform, "", sample.body, sample.headers, sample.query))
    assert isinstance(event, Mapped), event
    stored, sent = (json.loads(body, parse_float=Decimal) for body in (event.payload, sample.body))
    for path in sample.expected.stripped:
        *outer, member = path.split(".")
        holder: Any = sent
        for step in outer:
            holder = holder[int(step)] if isinstance(holder, list) else holder[step]
        secret = holder.pop(member)
        assert secret, path
        assert str(secret).encode() not in event.payload
    assert stored == sent
    if not sample.expected.stripped:
        assert event.payload == sample.body


def outcome(sample: Sample, delivery: Delivery, *secrets: Secret) -> Reason | None:
    """Why what came to an endpoint is rejected; None when it is not."""
    incoming = Incoming(sample.platform, "shop", delivery.body, delivery.headers, delivery.query, at_door=True)
    event = MAPPER.map(incoming, Rules(secrets={"shop": secrets}))
    # Verified without the platform being named, too, where it need not be.
    if not sample.named:
        unnamed = Incoming("", "shop", delivery.body, delivery.headers, delivery.query, at_door=True)
        without = MAPPER.map(unnamed, Rules(secrets={"shop": secrets}))
        if isinstance(without, Mapped) and isinstance(event, Mapped):
            # Set aside, it would be kept with the names that came along.
            without = msgspec.structs.replace(without, aside=event.aside)
        assert without == event
    assert isinstance(event, Mapped | Rejected), event
    return event.reason if isinstance(event, Rejected) else None


@every_signed_sample
def test_a_signature_is_verified(sample: Sample) -> None:
    platform = platforms()[sample.platform]
    right, wrong = (secret_for(platform, sample, name) for name in ("one", "other"))
    delivery = sign(platform, sample, right, NOW.timestamp())
    assert outcome(sample, delivery, Secret(right)) is None
    assert outcome(sample, delivery, Secret(wrong)) == Reason.SIGNATURE_WRONG
    assert outcome(sample, delivery, Secret(wrong), Secret(wrong)) == Reason.SIGNATURE_WRONG


@every_signed_sample
def test_the_secret_before_is_good_until_it_expires(sample: Sample) -> None:
    platform = platforms()[sample.platform]
    old, new = (secret_for(platform, sample, name) for name in ("one", "other"))
    delivery = sign(platform, sample, old, NOW.timestamp())
    second = timedelta(seconds=1)
    assert outcome(sample, delivery, Secret(new), Secret(old, NOW + second)) is None
    assert outcome(sample, delivery, Secret(new), Secret(old, NOW - second)) == Reason.SIGNATURE_WRONG
    assert outcome(sample, delivery, Secret(new), Secret(old, NOW)) == Reason.SIGNATURE_WRONG


@pytest.mark.parametrize("sample", [one for one in signed_samples if is_timed(platforms()[one.platform])], ids=str)
@pytest.mark.parametrize("seconds", [-301, -300, 300, 301])
def test_a_signed_time_may_be_five_minutes_from_now(sample: Sample, seconds: int) -> None:
    platform = platforms()[sample.platform]
    secret = secret_for(platform, sample)
    delivery = sign(platform, sample, secret, NOW.timestamp() + seconds)
    assert outcome(sample, delivery, Secret(secret)) == (Reason.SIGNATURE_TOO_OLD if abs(seconds) > 300 else None)


@pytest.mark.parametrize(
    "sample", [one for one in signed_samples if not is_in_body(platforms()[one.platform])], ids=str
)
def test_without_its_signature_a_sample_is_refused_at_the_door(sample: Sample) -> None:
    delivery = unsigned(platforms()[sample.platform], sample)
    assert outcome(sample, delivery, Secret("any")) == Reason.SIGNATURE_MISSING
