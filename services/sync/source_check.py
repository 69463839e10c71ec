"""Tries a source: one page of its newest days, and what would be made of it. Stores nothing."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from hookline.client import AsyncClient, HooklineError, Unavailable
from hookline.ingest.v1.ingest_service_pb2 import Outcome
from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync.connectors import Connector, Item, Page, Refused, TryLater, Window
from shared.timestamps import timestamp

CHECK_SECONDS = 25.0
"""For the platform's part. Shorter than any caller's patience."""
SAMPLE_SECONDS = 15.0
"""For ingest's part, beyond which no further sample is asked for."""
SAMPLES = 10
NEWEST = (timedelta(days=1), timedelta(days=30))
"""How far back the page is looked for, one after the other until it holds something."""


async def check_source(
    connector: Connector, ingest: AsyncClient, company_id: str, source: str, platform: str
) -> pb.CheckSourceResponse:
    """What the platform answers, as the response says it: a failure of the platform is none of this call. Closes the
    connector."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            page = await _newest(connector)
    except (Refused, TryLater) as error:
        return pb.CheckSourceResponse(ok=False, problem=str(error))
    except TimeoutError:
        return pb.CheckSourceResponse(ok=False, problem="The platform did not answer in time.")
    finally:
        await connector.close()
    newest = sorted(page.items, key=lambda item: item.moment or datetime.min.replace(tzinfo=UTC), reverse=True)
    samples = await _samples(newest[:SAMPLES], connector.item_headers, ingest, company_id, source, platform)
    return pb.CheckSourceResponse(ok=True, events=len(page.items), samples=samples)


async def _newest(connector: Connector) -> Page:
    now = datetime.now(UTC)
    for days in NEWEST:
        page = await connector.page(Window(now - days, None), None)
        if page.items:
            break
    return page


async def _samples(
    items: Sequence[Item],
    headers: Mapping[str, str],
    ingest: AsyncClient,
    company_id: str,
    source: str,
    platform: str,
) -> list[pb.SourceSample]:
    samples = []
    away = ""
    until = asyncio.get_running_loop().time() + SAMPLE_SECONDS
    for item in items:
        if asyncio.get_running_loop().time() > until:
            away = away or "Ingest took too long to say what would be made of it."
        sample = pb.SourceSample(item_id=item.id, item_time=timestamp(item.moment), problem=away)
        samples.append(sample)
        if away:
            continue
        try:
            preview = await ingest.preview_mapping(
                company_id, item.payload, item.platform or platform, source, headers=headers
            )
        except HooklineError as error:
            # The platform's part went well. Where ingest is, is nobody's business.
            away = "Ingest can't say what would be made of it now." if isinstance(error, Unavailable) else str(error)
            sample.problem = away
            continue
        if preview.result.outcome == Outcome.OUTCOME_ACCEPTED:
            sample.event.CopyFrom(preview.event)
            sample.event.ClearField("payload")
        else:
            sample.problem = preview.result.message
    return samples
