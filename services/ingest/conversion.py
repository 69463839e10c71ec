"""Between the contract's messages and what the rules and the stores work with."""

from hookline.events.v1 import events_pb2
from hookline.ingest.v1 import endpoint_service_pb2, ingest_service_pb2
from services.ingest.committer import Outcome, Result
from services.ingest.control_store import Endpoint, SigningSecret
from services.ingest.mapping import Incoming, Mapped, Reason
from services.ingest.quarantine_store import Conflict, Quarantined, Which, Whole
from shared.errors import InvalidField, Violation
from shared.names import NAME_RULE, is_name
from shared.timestamps import timestamp

_OUTCOMES = {outcome: ingest_service_pb2.Outcome.Value(f"OUTCOME_{outcome.name}") for outcome in Outcome}
_REASONS: dict[Reason | None, ingest_service_pb2.OutcomeReason.ValueType] = {
    None: ingest_service_pb2.OUTCOME_REASON_UNSPECIFIED,
    **{reason: ingest_service_pb2.OutcomeReason.Value(f"OUTCOME_REASON_{reason}") for reason in Reason},
}
_REASON_NAMES = {number: reason for reason, number in _REASONS.items()}


def to_incoming(event: ingest_service_pb2.IncomingEvent) -> Incoming:
    """The event as the rules take it."""
    headers, query = event.headers, event.query
    if not (headers or query):
        return Incoming(event.platform, event.source, event.payload)
    return Incoming(event.platform, event.source, event.payload, dict(headers), query)


def to_which(message: ingest_service_pb2.QuarantineFilter) -> Which:
    """Raises InvalidField for a filter that can't hold."""
    for name in ("source", "platform"):
        value = getattr(message, name)
        if value and not is_name(value):
            raise InvalidField(Violation(f"filter.{name}", NAME_RULE))
    if message.reason not in _REASON_NAMES:
        raise InvalidField(Violation("filter.reason", "is none of the reasons"))
    return Which(message.source or None, message.platform or None, _REASON_NAMES[message.reason])


def from_result(result: Result) -> ingest_service_pb2.IngestResult:
    """What became of an event, as a message."""
    return ingest_service_pb2.IngestResult(
        outcome=_OUTCOMES[result.outcome],
        event_id=result.event_id,
        sequence=result.sequence,
        payload_differs=result.payload_differs,
        quarantine_id=result.quarantine_id,
        reason=_REASONS[result.reason],
        message=result.message,
    )


def from_mapped(company_id: str, event: Mapped) -> events_pb2.Event:
    """The event as it would be stored: without what only storing gives it."""
    message = events_pb2.Event(
        company_id=company_id,
        source=event.source,
        platform=event.platform,
        type=event.type,
        platform_type=event.platform_type or event.type,
        dedup_key=event.dedup_key,
        customer_name=event.customer_name or "",
        product_name=event.product_name or "",
        occurred_time=timestamp(event.occurred_time),
        payload=event.payload,
    )
    if event.total is not None:
        message.total.amount = event.total
        message.total.currency = event.currency or ""
    return message


def from_quarantined(row: Quarantined) -> ingest_service_pb2.QuarantinedEvent:
    """What lies in quarantine, as a message; with payload and headers if they are there."""
    message = ingest_service_pb2.QuarantinedEvent(
        quarantine_id=str(row.quarantine_id),
        source=row.source,
        platform=row.platform,
        reason=_REASONS[Reason(row.reason)],
        message=row.message,
        payload_prefix=row.payload_prefix,
        payload_size=row.payload_size,
        quarantined_time=timestamp(row.quarantined_time),
        times_received=row.times_received,
        discarded_time=timestamp(row.discarded_time),
        discard_reason=row.discard_reason or "",
    )
    if isinstance(row, Whole):
        message.payload = row.payload
        message.headers.update(row.headers)
    return message


def from_conflict(conflict: Conflict) -> ingest_service_pb2.EventConflict:
    """The conflict as a message."""
    return ingest_service_pb2.EventConflict(
        event_id=str(conflict.event_id),
        source=conflict.source,
        dedup_key=conflict.dedup_key,
        payload=conflict.payload,
        first_received_time=timestamp(conflict.first_received_time),
        times_received=conflict.times_received,
    )


def from_endpoint(endpoint: Endpoint) -> endpoint_service_pb2.Endpoint:
    """The endpoint as a message."""
    return endpoint_service_pb2.Endpoint(
        endpoint_id=str(endpoint.endpoint_id),
        source=endpoint.source,
        platform=endpoint.platform,
        token_hint=endpoint.token_hint,
        create_time=timestamp(endpoint.create_time),
        token_time=timestamp(endpoint.token_time),
        old_token_expire_time=timestamp(endpoint.old_token_expire_time),
        revoke_time=timestamp(endpoint.revoke_time),
    )


def from_signing_secret(secret: SigningSecret) -> endpoint_service_pb2.SigningSecret:
    """That there is a secret, as a message."""
    return endpoint_service_pb2.SigningSecret(
        source=secret.source,
        update_time=timestamp(secret.update_time),
        old_secret_expire_time=timestamp(secret.old_secret_expire_time),
    )
