"""The part of SyncService that deals with sources."""

from datetime import UTC, datetime, timedelta

import aiohttp

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import conversion, source_store
from services.sync.connector import Connector, Endpoint, TryLater
from services.sync.history import Cursor, Refused
from shared import db, requests
from shared.errors import SourceExists, SourceNotFound, SyncRunActive
from shared.interceptors import Context
from shared.platforms import platforms
from shared.vault import Vault


class SourceServicer:
    """See protos/hookline/sync/v1/sync_service.proto."""

    _pool: db.Pool
    _vault: Vault
    _session: aiohttp.ClientSession
    _allow_loopback: bool

    async def CreateSource(self, request: pb.CreateSourceRequest, context: Context) -> pb.CreateSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        platform = conversion.check_new_source(request, allow_loopback=self._allow_loopback)
        async with db.acquired(self._pool) as connection:
            source = await source_store.create_source(
                connection,
                company_id,
                name,
                platform=platform.name,
                base_url=request.base_url,
                credential=self._vault.encrypt(request.credential),
                parameters=dict(request.parameters),
            )
        if source is None:
            raise SourceExists(name)
        return pb.CreateSourceResponse(source=conversion.from_source(source))

    async def ListSources(self, request: pb.ListSourcesRequest, context: Context) -> pb.ListSourcesResponse:
        company_id = requests.company(request.company_id)
        async with db.acquired(self._pool) as connection:
            sources = await source_store.list_sources(connection, company_id)
        return pb.ListSourcesResponse(sources=[conversion.from_source(source) for source in sources])

    async def DeleteSource(self, request: pb.DeleteSourceRequest, context: Context) -> pb.DeleteSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection:
            if not await source_store.delete_source(connection, company_id, name):
                exists = await source_store.source_secret(connection, company_id, name) is not None
                raise SyncRunActive(name) if exists else SourceNotFound(name)
        return pb.DeleteSourceResponse()

    async def CheckSource(self, request: pb.CheckSourceRequest, context: Context) -> pb.CheckSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection:
            secret = await source_store.source_secret(connection, company_id, name)
        if secret is None:
            raise SourceNotFound(name)
        history = platforms()[secret.platform].history
        assert history is not None
        endpoint = Endpoint(secret.base_url, self._vault.decrypt(secret.credential), secret.parameters, history)
        connector = Connector(self._session, endpoint, first_wait=1)
        try:
            page = await connector.page(Cursor.start(datetime.now(UTC) - timedelta(days=1)), attempts=1)
        except (Refused, TryLater) as error:
            return pb.CheckSourceResponse(ok=False, problem=str(error))
        return pb.CheckSourceResponse(ok=True, events=len(page.payloads))
