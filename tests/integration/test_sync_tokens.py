"""The sync where ingest asks for tokens: its worker and its service prove themselves as services."""

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync.worker import main as worker_main
from shared.db import Connection
from shared.settings import Settings
from tests.in_process import SECRET_KEY, ingesting
from tests.sync_in_process import COMPANY, SOURCE, create_source, process, run_ended, shop, syncing, trigger, valkey


async def test_what_the_worker_pulls_gets_in(database_url: str, connection: Connection) -> None:
    async with (
        shop(250) as there,
        valkey() as server,
        ingesting(database_url, require_tokens=True) as ingest,
        syncing(database_url, server.url, ingest_address=ingest.address) as sync,
        process(
            worker_main,
            Settings(
                database_url=database_url,
                redis_url=server.url,
                secret_key=SECRET_KEY,
                ingest_address=ingest.address,
                allow_loopback_sources=True,
            ),
        ),
    ):
        await create_source(sync.stub, there.url)
        checked = await sync.stub.CheckSource(pb.CheckSourceRequest(company_id=COMPANY, source=SOURCE))
        assert (checked.ok, checked.problem) == (True, "")
        run = await run_ended(sync.stub, await trigger(sync.stub))
        assert (run.state, run.counts.accepted) == (pb.SYNC_RUN_STATE_SUCCEEDED, 250)
