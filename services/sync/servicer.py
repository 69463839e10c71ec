"""SyncService: converts requests, calls, converts back."""

import asyncio

from hookline.client import AsyncClient
from hookline.sync.v1 import sync_service_pb2_grpc
from services.sync.connectors.http import Http
from services.sync.doorbell import Doorbell
from services.sync.run_servicer import RunServicer
from services.sync.schedule_servicer import ScheduleServicer
from services.sync.source_servicer import SourceServicer
from shared import db
from shared.vault import Vault


class SyncServicer(SourceServicer, ScheduleServicer, RunServicer, sync_service_pb2_grpc.SyncServiceServicer):
    """See protos/hookline/sync/v1/sync_service.proto."""

    def __init__(
        self,
        pool: db.Pool,
        doorbell: Doorbell,
        vault: Vault,
        http: Http,
        ingest: AsyncClient,
        stopping: asyncio.Event,
    ) -> None:
        self._pool = pool
        self._doorbell = doorbell
        self._vault = vault
        self._http = http
        self._ingest = ingest
        self._stopping = stopping
