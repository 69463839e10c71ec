"""The part of the client for asyncio that reads the audit trail. Documented in `blocking_audit`."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from hookline.client.aio_calls import Calls
from hookline.client.retry import Service
from hookline.export.v1.audit_service_pb2 import AuditEntry, ListAuditEntriesRequest

if TYPE_CHECKING:
    # The name is in the type stubs only.
    from hookline.export.v1.audit_service_pb2_grpc import AuditServiceAsyncStub


class AuditCalls(Calls):
    """What `AsyncClient` asks about the audit trail."""

    _export_service: Service
    _audit_stub: "AuditServiceAsyncStub"

    def list_audit_entries(
        self, company: str, action: str = "", *, page_size: int = 0
    ) -> AsyncGenerator[AuditEntry, None]:
        """Goes through who did what: see `Client.list_audit_entries`."""
        request = ListAuditEntriesRequest(company_id=company, action=action, page_size=page_size)
        return self._items(self._export_service, self._audit_stub.ListAuditEntries, request, lambda page: page.entries)
