"""The part of SyncService that deals with schedules."""

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import schedule_conversion, schedule_store
from services.sync.source_conversion import from_source
from services.sync.source_store import Source
from shared import audit, db, requests
from shared.audit import Action
from shared.errors import ScheduleNotFound, SourceNotFound
from shared.interceptors import Context


class ScheduleServicer:
    """See protos/hookline/sync/v1/sync_service.proto."""

    _pool: db.Pool

    async def StartSchedule(self, request: pb.StartScheduleRequest, context: Context) -> pb.StartScheduleResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        plan = schedule_conversion.to_plan(request)
        async with db.acquired(self._pool) as connection, connection.transaction():
            scheduled = _scheduled(await schedule_store.start_schedule(connection, company_id, name, plan), name)
            await audit.record(connection, company_id, Action.SCHEDULE_STARTED, name)
        return pb.StartScheduleResponse(source=scheduled)

    async def PauseSchedule(self, request: pb.PauseScheduleRequest, context: Context) -> pb.PauseScheduleResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection, connection.transaction():
            scheduled = _scheduled(await schedule_store.pause_schedule(connection, company_id, name), name)
            await audit.record(connection, company_id, Action.SCHEDULE_PAUSED, name)
        return pb.PauseScheduleResponse(source=scheduled)

    async def ResumeSchedule(self, request: pb.ResumeScheduleRequest, context: Context) -> pb.ResumeScheduleResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection, connection.transaction():
            scheduled = _scheduled(await schedule_store.resume_schedule(connection, company_id, name), name)
            await audit.record(connection, company_id, Action.SCHEDULE_RESUMED, name)
        return pb.ResumeScheduleResponse(source=scheduled)

    async def StopSchedule(self, request: pb.StopScheduleRequest, context: Context) -> pb.StopScheduleResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection, connection.transaction():
            source = await schedule_store.stop_schedule(connection, company_id, name)
            if source is None:
                raise SourceNotFound(name)
            await audit.record(connection, company_id, Action.SCHEDULE_STOPPED, name)
        return pb.StopScheduleResponse(source=from_source(source))


def _scheduled(source: Source | None, name: str) -> pb.Source:
    if source is None:
        raise SourceNotFound(name)
    if source.schedule_start_time is None:
        raise ScheduleNotFound(name)
    return from_source(source)
