"""What every platform sends, through the door: stored as it should be understood, and only where it is signed right."""

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from hookline.ingest.v1 import endpoint_service_pb2 as endpoints
from shared.db import Connection
from shared.platforms import platforms
from tests.door import Said, make_endpoint, post
from tests.in_process import Ingesting
from tests.ledger import check_ledger
from tests.platform_samples import Sample, samples_of
from tests.platform_signing import Delivery, is_in_body, is_timed, secret_for, sign, unsigned

SIGNING = [name for name, platform in platforms().items() if platform.signature]


async def deliver(ingest: Ingesting, path: str, delivery: Delivery) -> Said:
    query = f"?{delivery.query}" if delivery.query else ""
    return await post(ingest.http, path + query, delivery.body, {"Content-Type": "text/plain", **delivery.headers})


@pytest.mark.parametrize("platform", platforms())
async def test_it_is_stored_as_it_should_be_understood(
    ingest: Ingesting, connection: Connection, platform: str
) -> None:
    for sample in samples_of(platform):
        # Each in a source of its own: some are one event in different words.
        path = await make_endpoint(ingest, platform=sample.named_platform, source=sample.case)
        delivery = Delivery(sample.body, sample.headers, sample.query)
        said = await deliver(ingest, path, delivery)
        assert said.outcome == "200 accepted", (sample, said)
        assert (await deliver(ingest, path, delivery)).outcome == "200 duplicate", sample
        row = await connection.fetchrow("SELECT * FROM hookline.events WHERE source = $1", sample.case)
        assert str(row["event_id"]) == said.content["event_id"]
        check_stored(sample, dict(row))
    await check_ledger(connection, {"acme": len(samples_of(platform))})


def check_stored(sample: Sample, row: Mapping[str, Any]) -> None:
    expected = sample.expected
    assert (row["platform"], row["type"]) == (sample.platform, expected.type), sample
    for field in ("platform_type", "dedup_key", "customer_name", "product_name", "currency"):
        assert row[field] == getattr(expected, field), (sample, field)
    assert row["total"] == (None if expected.total is None else Decimal(expected.total)), sample
    if expected.moment is not None:
        assert row["occurred_time"] == expected.moment, sample
    stored = json.loads(row["payload"], parse_float=Decimal)
    for path in expected.stripped:
        holder: Any = stored
        *outer, member = path.split(".")
        for step in outer:
            holder = holder[int(step)] if isinstance(holder, list) else holder[step]
        assert member not in holder, (sample, path)


async def put_secret(ingest: Ingesting, source: str, secret: str, keep_old: timedelta) -> None:
    request = endpoints.PutSigningSecretRequest(company_id="acme", source=source, secret=secret)
    request.keep_old.FromTimedelta(keep_old)
    await ingest.endpoints.PutSigningSecret(request)


@pytest.mark.parametrize("platform", SIGNING)
async def test_it_is_taken_only_when_it_is_signed_right(
    ingest: Ingesting, connection: Connection, platform: str
) -> None:
    how = platforms()[platform]
    hour, nothing = timedelta(hours=1), timedelta()
    for sample in samples_of(platform):
        source = sample.case
        secret, other, third = (secret_for(how, sample, name) for name in ("one", "two", "three"))
        path = await make_endpoint(ingest, platform=sample.named_platform, source=source)
        signed = sign(how, sample, secret, time.time())

        await put_secret(ingest, source, other, nothing)
        assert (await deliver(ingest, path, signed)).outcome == "401 rejected signature_wrong", sample
        if not is_in_body(how):
            said = await deliver(ingest, path, unsigned(how, sample))
            assert said.outcome == "401 rejected signature_missing", sample
            assert said.headers["www-authenticate"]
        await put_secret(ingest, source, secret, nothing)
        if is_timed(how):
            old = sign(how, sample, secret, time.time() - 400)
            assert (await deliver(ingest, path, old)).outcome == "401 rejected signature_too_old", sample
        assert (await deliver(ingest, path, signed)).outcome == "200 accepted", sample
        # Rotated: the secret before is good for a while, and the one before that never.
        await put_secret(ingest, source, other, hour)
        assert (await deliver(ingest, path, signed)).outcome == "200 duplicate", sample
        await put_secret(ingest, source, third, hour)
        assert (await deliver(ingest, path, signed)).outcome == "401 rejected signature_wrong", sample
    await check_ledger(connection, {"acme": len(samples_of(platform))})
    assert await connection.fetchval("SELECT count(*) FROM hookline.quarantine") == 0
