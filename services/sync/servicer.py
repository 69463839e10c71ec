"""SyncService: converts requests, calls, converts back."""

import asyncio

import aiohttp

from hookline.sync.v1 import sync_service_pb2_grpc
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
        session: aiohttp.ClientSession,
        stopping: asyncio.Event,
        *,
        allow_loopback: bool,
    ) -> None:
        self._pool = pool
        self._doorbell = doorbell
        self._vault = vault
        self._session = session
        self._stopping = stopping
        self._allow_loopback = allow_loopback
