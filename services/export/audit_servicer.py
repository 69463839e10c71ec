"""AuditService: who did what."""

import msgspec
from google.protobuf.struct_pb2 import Struct

from hookline.export.v1 import audit_service_pb2 as pb
from hookline.export.v1 import audit_service_pb2_grpc
from shared import audit, db, page_tokens, requests
from shared.errors import InvalidField, Violation
from shared.interceptors import Context

MAX_ACTION_CHARACTERS = 64


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """See protos/hookline/export/v1/audit_service.proto."""

    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool

    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, context: Context
    ) -> pb.ListAuditEntriesResponse:
        company_id = requests.company(request.company_id)
        page_size = requests.page_size(request.page_size, default=100, most=1000)
        # Any name will do: an older Hookline wrote entries that this one knows no more.
        if len(request.action) > MAX_ACTION_CHARACTERS or "\0" in request.action:
            raise InvalidField(Violation("action", f"at most {MAX_ACTION_CHARACTERS} characters, none of them NUL"))
        tie = ("ListAuditEntries", company_id, request.action)
        before = page_tokens.decode(request.page_token, int, *tie)
        async with db.acquired(self._pool) as connection:
            rows = await audit.list_entries(connection, company_id, request.action or None, before, page_size + 1)
        page = rows[:page_size]
        return pb.ListAuditEntriesResponse(
            entries=[_from_entry(entry) for entry in page],
            next_page_token=page_tokens.encode(page[-1].entry, *tie) if len(rows) > page_size else "",
        )


def _from_entry(entry: audit.Entry) -> pb.AuditEntry:
    details = Struct()
    details.update(msgspec.json.decode(entry.details))
    message = pb.AuditEntry(actor=entry.actor, action=entry.action, subject=entry.subject, details=details)
    message.log_time.FromDatetime(entry.log_time)
    return message
