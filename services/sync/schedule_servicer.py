"""The part of SyncService that deals with schedules."""

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import conversion, schedule_store
from shared import db, requests
from shared.errors import SourceNotFound
from shared.interceptors import Context


class ScheduleServicer:
    """See protos/hookline/sync/v1/sync_service.proto."""

    _pool: db.Pool

    async def StartSchedule(self, request: pb.StartScheduleRequest, context: Context) -> pb.StartScheduleResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        interval = conversion.to_interval(request)
        async with db.acquired(self._pool) as connection:
            source = await schedule_store.start_schedule(connection, company_id, name, interval)
        if source is None:
            raise SourceNotFound(name)
        return pb.StartScheduleResponse(source=conversion.from_source(source))

    async def StopSchedule(self, request: pb.StopScheduleRequest, context: Context) -> pb.StopScheduleResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection:
            source = await schedule_store.stop_schedule(connection, company_id, name)
        if source is None:
            raise SourceNotFound(name)
        return pb.StopScheduleResponse(source=conversion.from_source(source))
