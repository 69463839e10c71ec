"""What a caller programs against: `Client`, and `AsyncClient` for asyncio.

    from hookline.client import Client

    with Client() as hookline:
        hookline.ingest("acme", b'{"event": "order_approved"}')
        for event in hookline.list("acme"):
            print(event.sequence, event.type)

What fails raises a HooklineError. Events and results are the messages of the contract, given here for convenience.
"""

from hookline.client.aio import AsyncClient
from hookline.client.blocking import Client
from hookline.client.errors import (
    HooklineError,
    IncompleteExport,
    InvalidRequest,
    MissingPackage,
    NotFound,
    PermissionDenied,
    ServerDefect,
    TlsFailed,
    Unavailable,
    Unreachable,
    Violation,
)
from hookline.client.export import ExportProgress, ExportSummary
from hookline.client.export_request import Dialect, ExportOptions, FileFormat, Format, Language, Packing
from hookline.client.ingest import IngestSummary, Problem
from hookline.client.quarantine import QuarantineFilter
from hookline.client.requests import Filter, Group, Order, Status
from hookline.events.v1.events_pb2 import Event, Money, ProcessingStatus
from hookline.export.v1.audit_service_pb2 import AuditEntry
from hookline.export.v1.event_query_service_pb2 import ListEventsResponse, SummarizeEventsResponse
from hookline.ingest.v1.endpoint_service_pb2 import (
    CreateEndpointResponse,
    Endpoint,
    RotateEndpointResponse,
    SigningSecret,
)
from hookline.ingest.v1.ingest_service_pb2 import (
    EventConflict,
    IncomingEvent,
    IngestResult,
    MarkEventsRequest,
    MarkEventsResponse,
    Outcome,
    OutcomeReason,
    Platform,
    PreviewMappingResponse,
    QuarantinedEvent,
    RetryQuarantinedEventsResponse,
)
from hookline.ingest.v1.privacy_service_pb2 import EraseSubjectResponse
from hookline.sync.v1.alert_service_pb2 import (
    Alert,
    AlertChannel,
    AlertDelivery,
    AlertKind,
    AlertNews,
    CreateAlertChannelResponse,
)
from hookline.sync.v1.sync_service_pb2 import (
    CheckSourceResponse,
    DifferenceKind,
    LogLevel,
    Reconciliation,
    Schedule,
    Source,
    SourceSample,
    SourceStatus,
    SyncCounts,
    SyncDifference,
    SyncProgress,
    SyncRun,
    SyncRunLogEntry,
    SyncRunState,
    SyncTrigger,
    TriggerSyncResponse,
)

Mark = MarkEventsRequest.Mark
MarkOutcome = MarkEventsResponse.MarkOutcome
Retried = RetryQuarantinedEventsResponse.Retried

__all__ = [
    "Alert",
    "AlertChannel",
    "AlertDelivery",
    "AlertKind",
    "AlertNews",
    "AsyncClient",
    "AuditEntry",
    "CheckSourceResponse",
    "Client",
    "CreateAlertChannelResponse",
    "CreateEndpointResponse",
    "Dialect",
    "DifferenceKind",
    "Endpoint",
    "EraseSubjectResponse",
    "Event",
    "EventConflict",
    "ExportOptions",
    "ExportProgress",
    "ExportSummary",
    "FileFormat",
    "Filter",
    "Format",
    "Group",
    "HooklineError",
    "IncomingEvent",
    "IncompleteExport",
    "IngestResult",
    "IngestSummary",
    "InvalidRequest",
    "Language",
    "ListEventsResponse",
    "LogLevel",
    "Mark",
    "MarkOutcome",
    "MissingPackage",
    "Money",
    "NotFound",
    "Order",
    "Outcome",
    "OutcomeReason",
    "Packing",
    "PermissionDenied",
    "Platform",
    "PreviewMappingResponse",
    "Problem",
    "ProcessingStatus",
    "QuarantineFilter",
    "QuarantinedEvent",
    "Reconciliation",
    "Retried",
    "RotateEndpointResponse",
    "Schedule",
    "ServerDefect",
    "SigningSecret",
    "Source",
    "SourceSample",
    "SourceStatus",
    "Status",
    "SummarizeEventsResponse",
    "SyncCounts",
    "SyncDifference",
    "SyncProgress",
    "SyncRun",
    "SyncRunLogEntry",
    "SyncRunState",
    "SyncTrigger",
    "TlsFailed",
    "TriggerSyncResponse",
    "Unavailable",
    "Unreachable",
    "Violation",
]
