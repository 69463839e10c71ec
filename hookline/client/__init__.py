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
    NotFound,
    PermissionDenied,
    ServerDefect,
    Unavailable,
    Unreachable,
    Violation,
)
from hookline.client.export import ExportProgress, ExportSummary
from hookline.client.ingest import IngestSummary, Problem
from hookline.client.requests import Filter, Format, Order, Status
from hookline.events.v1.events_pb2 import Event, Money, ProcessingStatus
from hookline.export.v1.event_query_service_pb2 import ListEventsResponse
from hookline.ingest.v1.ingest_service_pb2 import (
    IngestResult,
    MarkEventsRequest,
    MarkEventsResponse,
    Outcome,
    OutcomeReason,
    QuarantinedEvent,
)
from hookline.sync.v1.sync_service_pb2 import (
    CheckSourceResponse,
    Source,
    SourceStatus,
    SyncCounts,
    SyncRun,
    SyncRunState,
    SyncTrigger,
    TriggerSyncResponse,
)

Mark = MarkEventsRequest.Mark
MarkOutcome = MarkEventsResponse.MarkOutcome

__all__ = [
    "AsyncClient",
    "CheckSourceResponse",
    "Client",
    "Event",
    "ExportProgress",
    "ExportSummary",
    "Filter",
    "Format",
    "HooklineError",
    "IncompleteExport",
    "IngestResult",
    "IngestSummary",
    "InvalidRequest",
    "ListEventsResponse",
    "Mark",
    "MarkOutcome",
    "Money",
    "NotFound",
    "Order",
    "Outcome",
    "OutcomeReason",
    "PermissionDenied",
    "Problem",
    "ProcessingStatus",
    "QuarantinedEvent",
    "ServerDefect",
    "Source",
    "SourceStatus",
    "Status",
    "SyncCounts",
    "SyncRun",
    "SyncRunState",
    "SyncTrigger",
    "TriggerSyncResponse",
    "Unavailable",
    "Unreachable",
    "Violation",
]
