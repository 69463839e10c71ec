"""Calls that need no more than a name or an id, for `tests.two_companies`."""

import random
from collections.abc import Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from hookline.ingest.v1 import endpoint_service_pb2 as endpoints
from hookline.ingest.v1 import ingest_service_pb2 as ingest
from hookline.ingest.v1 import privacy_service_pb2 as privacy
from hookline.ingest.v1.privacy_service_pb2_grpc import PrivacyServiceStub
from hookline.sync.v1 import alert_service_pb2 as alert
from hookline.sync.v1 import sync_service_pb2 as sync
from hookline.sync.v1.alert_service_pb2_grpc import AlertServiceStub
from shared.auth import Scope
from tests.in_process import Ingesting
from tests.padoca import mapping
from tests.samples import grapfy, incoming
from tests.sync_in_process import Syncing

REASONS = {
    "SOURCE_EXISTS",
    "SOURCE_NOT_FOUND",
    "SCHEDULE_NOT_FOUND",
    "SYNC_RUN_ACTIVE",
    "SYNC_RUN_NOT_FOUND",
    "ALERT_CHANNEL_EXISTS",
    "ALERT_CHANNEL_NOT_FOUND",
    "ALERT_CHANNELS_FULL",
    "LIMIT_REACHED",
    "PLATFORM_MAPPING_NOT_FOUND",
    "QUARANTINED_EVENT_NOT_FOUND",
    "SIGNING_SECRET_NOT_FOUND",
    "ENDPOINT_NOT_FOUND",
}
"""Why they may be refused, all being well."""
_NOBODY_LISTENS = "http://127.0.0.1:9"


def plain_calls(
    rng: random.Random, word: str, found: Any, services: tuple[Ingesting, Syncing]
) -> Sequence[tuple[Scope, Any, Any]]:
    """One of each: the scope that it takes, the method, the request. Names are the same in both companies, ids are
    anybody's; what is stored holds the word."""
    door, pulling = services
    alerts, persons = AlertServiceStub(pulling.channel), PrivacyServiceStub(door.channel)
    source, channel = f"loja-{rng.randrange(2)}", f"canal-{rng.randrange(2)}"

    def any_of(ids: Sequence[str]) -> str:
        return rng.choice(ids) if ids else "00000000-0000-7000-8000-000000000001"

    created = sync.CreateSourceRequest(
        source=source,
        platform="grapfy",
        base_url=f"{_NOBODY_LISTENS}/{word}",
        credential=word,
        parameters={"webhookSettingId": word},
    )
    updated = sync.UpdateSourceRequest(source=source, credential=word)
    updated.update_mask.paths.append("credential")
    run_id = any_of(found.runs)
    return [
        (Scope.SYNC, pulling.stub.CreateSource, created),
        (Scope.SYNC, pulling.stub.UpdateSource, updated),
        (Scope.SYNC, pulling.stub.GetSource, sync.GetSourceRequest(source=source)),
        (Scope.SYNC, pulling.stub.ListSources, sync.ListSourcesRequest()),
        (Scope.SYNC, pulling.stub.DeleteSource, sync.DeleteSourceRequest(source=source)),
        (Scope.SYNC, pulling.stub.CheckSource, sync.CheckSourceRequest(source=source)),
        (
            Scope.SYNC,
            pulling.stub.StartSchedule,
            sync.StartScheduleRequest(source=source, interval=Duration(seconds=3600)),
        ),
        (Scope.SYNC, pulling.stub.PauseSchedule, sync.PauseScheduleRequest(source=source)),
        (Scope.SYNC, pulling.stub.ResumeSchedule, sync.ResumeScheduleRequest(source=source)),
        (Scope.SYNC, pulling.stub.StopSchedule, sync.StopScheduleRequest(source=source)),
        (Scope.SYNC, pulling.stub.GetSyncStatus, sync.GetSyncStatusRequest()),
        (Scope.SYNC, pulling.stub.WatchSyncRun, sync.WatchSyncRunRequest(run_id=run_id)),
        (Scope.SYNC, pulling.stub.ListSyncRunLog, sync.ListSyncRunLogRequest(run_id=run_id)),
        (Scope.SYNC, pulling.stub.ListSyncDifferences, sync.ListSyncDifferencesRequest(run_id=run_id)),
        (Scope.SYNC, alerts.ListAlerts, alert.ListAlertsRequest()),
        (
            Scope.SYNC,
            alerts.CreateAlertChannel,
            alert.CreateAlertChannelRequest(channel=channel, webhook_url=f"{_NOBODY_LISTENS}/{word}"),
        ),
        (Scope.SYNC, alerts.ListAlertChannels, alert.ListAlertChannelsRequest()),
        (Scope.SYNC, alerts.DeleteAlertChannel, alert.DeleteAlertChannelRequest(channel=channel)),
        (Scope.SYNC, alerts.TestAlert, alert.TestAlertRequest(channel=channel)),
        (
            Scope.INGEST,
            door.stub.PreviewMapping,
            ingest.PreviewMappingRequest(
                mapping=mapping(f"own-{word}"), event=incoming(grapfy(1, customer={"name": word}))
            ),
        ),
        (
            Scope.INGEST,
            door.stub.DiscardQuarantinedEvents,
            ingest.DiscardQuarantinedEventsRequest(quarantine_ids=[any_of(found.quarantined)], reason=word),
        ),
        (
            Scope.ADMIN,
            door.stub.DeletePlatformMapping,
            ingest.DeletePlatformMappingRequest(name=f"own-{word}"),
        ),
        (
            Scope.ADMIN,
            door.endpoints.RotateEndpoint,
            endpoints.RotateEndpointRequest(endpoint_id=any_of(found.endpoints)),
        ),
        (
            Scope.ADMIN,
            door.endpoints.DeleteSigningSecret,
            endpoints.DeleteSigningSecretRequest(source=f"door-{word}"),
        ),
        # Only counted: what is erased could not be found in the other's answers any more.
        (Scope.ADMIN, persons.EraseSubject, privacy.EraseSubjectRequest(email=f"{word}@example.com", dry_run=True)),
    ]
