"""An event that came by webhook, and comes again from the platform's history, is one event: where the platform's
mapping promises that, and in whatever form the history is read."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from hookline.ingest.v1.ingest_service_pb2 import PutPlatformMappingRequest
from hookline.sync.v1 import sync_service_pb2 as pb
from shared.db import Connection
from tests.form_visits import Lines, all_lines, offsets, pages, stripe
from tests.ledger import check_ledger
from tests.samples import incoming, outcomes, send
from tests.shop_sources import SHOP_SOURCES
from tests.shop_visits import Client, visited
from tests.sync_in_process import SOURCE, create_source, run_ended, shop, trigger, whole

EVENTS, PUSHED = 300, 50


async def grapfy(client: Client) -> AsyncIterator[Lines]:
    yield await client.everything()


# The way to read what the shop lists, and what of a line its webhook carries.
FORMS: dict[str, tuple[Callable[[Client], AsyncIterator[Lines]], Callable[[Any], Any]]] = {
    "grapfy": (grapfy, lambda line: line["payload"]),
    "stripe": (stripe, lambda line: line),
    "pages": (pages, lambda line: line["sale"]),
    "offsets": (offsets, lambda line: line),
}


@pytest.mark.parametrize("form", FORMS)
async def test_pushed_and_pulled_it_is_one_event(database_url: str, connection: Connection, form: str) -> None:
    (visit, payload), source, company = FORMS[form], SHOP_SOURCES[form], "pushed"
    async with visited(shop(EVENTS)) as (there, client), whole(database_url, shop(1)) as all_of_it:
        if source.mapping:
            request = PutPlatformMappingRequest(company_id=company, mapping=source.mapping)
            await all_of_it.ingest.stub.PutPlatformMapping(request)
        lines = (await all_lines(visit(client)))[:: EVENTS // PUSHED]
        pushed = [incoming(json.dumps(payload(line)).encode(), source.platform, SOURCE) for line in lines]
        assert outcomes(await send(all_of_it.ingest.stub, company, pushed)) == ["ACCEPTED"] * PUSHED
        stub = all_of_it.sync.stub
        await create_source(
            stub,
            there.url,
            company,
            platform=source.platform,
            credential=source.credential,
            parameters=source.parameters,
        )
        run = await run_ended(stub, await trigger(stub, company_id=company))
        assert run.state == pb.SYNC_RUN_STATE_SUCCEEDED, run
        assert (run.counts.accepted, run.counts.duplicates) == (EVENTS - PUSHED, PUSHED)
        found = run.reconciliation
        assert (found.listed, found.stored, found.missing) == (EVENTS, EVENTS, 0)
        # Where its times can be compared nothing is stored that the shop does not list.
        assert found.HasField("unlisted") == (form in ("stripe", "offsets"))
        assert found.unlisted == 0
    await check_ledger(connection, {company: EVENTS})
