"""What is changed of sources, schedules and alert channels is in the audit trail."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from hookline.sync.v1 import alert_service_pb2 as alerts
from hookline.sync.v1 import sync_service_pb2 as pb
from hookline.sync.v1.alert_service_pb2_grpc import AlertServiceStub
from shared import audit
from shared.db import Connection
from tests.refusals import refused
from tests.sync_in_process import COMPANY, SOURCE, create_source, syncing

OF: dict[str, Any] = {"company_id": COMPANY, "source": SOURCE}


async def test_each_change_is_written_down_once(database_url: str, connection: Connection) -> None:
    async with syncing(database_url) as service:
        await create_source(service.stub)
        await service.stub.UpdateSource(
            pb.UpdateSourceRequest(**OF, update_mask=FieldMask(paths=["credential"]), credential="another")
        )
        await service.stub.StartSchedule(pb.StartScheduleRequest(**OF))
        await service.stub.PauseSchedule(pb.PauseScheduleRequest(**OF))
        await service.stub.ResumeSchedule(pb.ResumeScheduleRequest(**OF))
        await service.stub.StopSchedule(pb.StopScheduleRequest(**OF))
        await service.stub.DeleteSource(pb.DeleteSourceRequest(**OF))
        channels = AlertServiceStub(service.channel)
        await channels.CreateAlertChannel(
            alerts.CreateAlertChannelRequest(company_id=COMPANY, channel="ops", webhook_url="http://127.0.0.1:1/alerts")
        )
        await channels.DeleteAlertChannel(alerts.DeleteAlertChannelRequest(company_id=COMPANY, channel="ops"))
        # What is refused is not.
        await refused(service.stub.DeleteSource(pb.DeleteSourceRequest(**OF)))
        await refused(service.stub.PauseSchedule(pb.PauseScheduleRequest(**OF)))
    entries = await audit.list_entries(connection, COMPANY, None, None, 100)
    assert [(entry.action, entry.subject, entry.actor) for entry in reversed(entries)] == [
        *(
            (action, SOURCE, "anonymous")
            for action in (
                "SOURCE_CREATED",
                "SOURCE_UPDATED",
                "SCHEDULE_STARTED",
                "SCHEDULE_PAUSED",
                "SCHEDULE_RESUMED",
                "SCHEDULE_STOPPED",
                "SOURCE_DELETED",
            )
        ),
        ("ALERT_CHANNEL_CREATED", "ops", "anonymous"),
        ("ALERT_CHANNEL_DELETED", "ops", "anonymous"),
    ]
