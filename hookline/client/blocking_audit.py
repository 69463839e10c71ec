"""The part of the client for ordinary code that reads the audit trail."""

from collections.abc import Iterator

from hookline.client.blocking_calls import Calls
from hookline.client.retry import Service
from hookline.export.v1.audit_service_pb2 import AuditEntry, ListAuditEntriesRequest
from hookline.export.v1.audit_service_pb2_grpc import AuditServiceStub


class AuditCalls(Calls):
    """What `Client` asks about the audit trail."""

    _export_service: Service
    _audit_stub: AuditServiceStub

    def list_audit_entries(self, company: str, action: str = "", *, page_size: int = 0) -> Iterator[AuditEntry]:
        """Goes through who did what, the newest first; with `action`, such as "EVENTS_EXPORTED", only through that."""
        request = ListAuditEntriesRequest(company_id=company, action=action, page_size=page_size)
        return self._items(self._export_service, self._audit_stub.ListAuditEntries, request, lambda page: page.entries)
