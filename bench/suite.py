"""The servers that are measured: the real suite with its own PostgreSQL, on free ports, in a temporary folder."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import asyncpg
import grpc

from bench.measure import InexactError
from hookline.client import AsyncClient
from hookline.client.requests import CHANNEL_OPTIONS
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from services.suite.embedded_postgres import SMALL_MACHINE, EmbeddedPostgres
from services.suite.ports import free_address
from services.suite.supervisor import Suite
from shared.db import Connection
from shared.settings import Settings

if TYPE_CHECKING:
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub


@dataclass(frozen=True)
class Bench:
    """A running suite, and the ways into it."""

    suite: Suite
    client: AsyncClient
    ingest: "IngestServiceAsyncStub"
    database: Connection
    database_url: str
    psql: Path

    async def check_log(self, company: str, events: int) -> None:
        """Raises InexactError unless the company's log holds exactly so many events, each once, numbered from 1."""
        row = await self.database.fetchrow(_COUNTS, company)
        if any(count != events for count in row):
            raise InexactError(f"{company} was to hold {events} events, and there are {dict(row)}")


_COUNTS = """
    SELECT count(*) AS events, count(DISTINCT (source, dedup_key)) AS distinct_keys,
           count(DISTINCT event_id) AS distinct_ids, coalesce(max(sequence), 0) AS last_number,
           (SELECT count(*) FROM hookline.event_keys WHERE company_id = $1) AS keys
    FROM hookline.events WHERE company_id = $1
"""


@asynccontextmanager
async def running(postgres: Mapping[str, str] = SMALL_MACHINE) -> AsyncIterator[Bench]:
    """Runs the suite, with these settings of PostgreSQL; afterwards nothing is left of it."""
    with TemporaryDirectory(prefix="hookline-bench-") as folder:
        settings = Settings(
            database_url=None,
            data_dir=Path(folder),
            ingest_address=free_address(),
            sync_address=free_address(),
            export_address=free_address(),
            http_address=free_address(),
            allow_loopback_sources=True,
            metrics_address=None,
            log_level="warning",
        )
        try:
            async with Suite(settings, embedded=True, postgres_settings=postgres) as suite:
                assert suite.postgres is not None
                addresses = suite.addresses
                database = await asyncpg.connect(suite.database_url)
                async with (
                    AsyncClient(addresses["ingest"], addresses["export"], addresses["sync"]) as client,
                    grpc.aio.insecure_channel(addresses["ingest"], CHANNEL_OPTIONS) as channel,
                ):
                    stub, psql = IngestServiceStub(channel), suite.postgres.psql
                    yield Bench(suite, client, stub, database, suite.database_url, psql)
                await database.close()
        finally:
            await EmbeddedPostgres(Path(folder)).destroy()
