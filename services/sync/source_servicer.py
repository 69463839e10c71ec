"""The part of SyncService that deals with sources."""

from hookline.client import AsyncClient
from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import source_conversion, source_store
from services.sync.connectors import Refused
from services.sync.connectors.http import Http
from services.sync.connectors.opening import opening
from services.sync.source_check import check_source
from shared import audit, db, requests
from shared.audit import Action
from shared.errors import OperatorError, SourceExists, SourceNotFound, SyncRunActive
from shared.interceptors import Context
from shared.vault import Vault

_RUNS_AT_ONCE = 100
"""Deleted with one statement: each may have 10,000 entries in its log, and as many differences."""


class SourceServicer:
    """See protos/hookline/sync/v1/sync_service.proto."""

    _pool: db.Pool
    _vault: Vault
    _http: Http
    _ingest: AsyncClient

    async def CreateSource(self, request: pb.CreateSourceRequest, context: Context) -> pb.CreateSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection, connection.transaction():
            platforms = await source_store.platforms_of(connection, company_id)
            allow_loopback = self._http.allow_loopback
            platform = source_conversion.check_new(request, platforms, allow_loopback=allow_loopback)
            look_back, run_deadline = source_conversion.to_periods(request)
            source = await source_store.create_source(
                connection,
                company_id,
                name,
                platform=platform.name,
                base_url=request.base_url,
                credential=self._vault.encrypt(request.credential),
                parameters=dict(request.parameters),
                look_back=look_back,
                run_deadline=run_deadline,
            )
            if source is None:
                raise SourceExists(name)
            await audit.record(connection, company_id, Action.SOURCE_CREATED, name, platform=platform.name)
        return pb.CreateSourceResponse(source=source_conversion.from_source(source))

    async def UpdateSource(self, request: pb.UpdateSourceRequest, context: Context) -> pb.UpdateSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection, connection.transaction():
            source = await source_store.get_source(connection, company_id, name)
            if source is None:
                raise SourceNotFound(name)
            platform = await source_store.platform_of(connection, company_id, source.platform)
            fields = source_conversion.to_changes(request, source, platform, allow_loopback=self._http.allow_loopback)
            changes = self._columns(fields)
            source = await source_store.update_source(connection, company_id, name, changes)
            if source is None:
                raise SourceNotFound(name)
            await audit.record(connection, company_id, Action.SOURCE_UPDATED, name)
        return pb.UpdateSourceResponse(source=source_conversion.from_source(source))

    async def GetSource(self, request: pb.GetSourceRequest, context: Context) -> pb.GetSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection:
            source = await source_store.get_source(connection, company_id, name)
        if source is None:
            raise SourceNotFound(name)
        return pb.GetSourceResponse(source=source_conversion.from_source(source))

    async def ListSources(self, request: pb.ListSourcesRequest, context: Context) -> pb.ListSourcesResponse:
        company_id = requests.company(request.company_id)
        async with db.acquired(self._pool) as connection:
            sources = await source_store.list_sources(connection, company_id)
        return pb.ListSourcesResponse(sources=[source_conversion.from_source(source) for source in sources])

    async def DeleteSource(self, request: pb.DeleteSourceRequest, context: Context) -> pb.DeleteSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection:
            if await source_store.is_active(connection, company_id, name):
                raise SyncRunActive(name)
            # A batch a transaction: there may be more than one statement has time for.
            while await source_store.delete_runs(connection, company_id, name, _RUNS_AT_ONCE) == _RUNS_AT_ONCE:
                pass
            async with connection.transaction():
                if not await source_store.delete_source(connection, company_id, name):
                    exists = await source_store.get_source(connection, company_id, name) is not None
                    raise SyncRunActive(name) if exists else SourceNotFound(name)
                await audit.record(connection, company_id, Action.SOURCE_DELETED, name)
        return pb.DeleteSourceResponse()

    async def CheckSource(self, request: pb.CheckSourceRequest, context: Context) -> pb.CheckSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection:
            secret = await source_store.source_secret(connection, company_id, name)
            if secret is None:
                raise SourceNotFound(name)
            platform = await source_store.platform_of(connection, company_id, secret.platform)
        if platform is None or platform.history is None:
            return pb.CheckSourceResponse(problem=f"There is no history of {secret.platform} any more.")
        try:
            credential = self._vault.decrypt(secret.credential)
            # What fails is told rather than tried again: someone waits for the answer.
            connector = opening(secret, platform, self._http, credential, first_wait=0.5, attempts=1)
        except (OperatorError, Refused) as error:
            return pb.CheckSourceResponse(problem=str(error))
        return await check_source(connector, self._ingest, company_id, name, secret.platform)

    def _columns(self, fields: source_conversion.Fields) -> source_store.Columns:
        """The fields as they are stored: the credential encrypted."""
        encrypted = None if fields.credential is None else self._vault.encrypt(fields.credential)
        return source_store.Columns(
            base_url=fields.base_url,
            credential=encrypted,
            parameters=fields.parameters,
            look_back=fields.look_back,
            run_deadline=fields.run_deadline,
        )
