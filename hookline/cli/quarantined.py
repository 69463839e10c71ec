"""What lies in quarantine, what became of it, and conflicts, as commands show them: as JSON and as cells of a table."""

import base64
from typing import Any

from hookline.cli import exact_json
from hookline.cli.messages import cell, enum_name, time_of
from hookline.client import EventConflict, Outcome, QuarantinedEvent, Retried
from hookline.client.quarantine import reason_name

_TITLES = ("SINCE", "TIMES", "SOURCE", "REASON", "MESSAGE", "BYTES", "QUARANTINE ID")
_DISCARDED_TITLES = ("DISCARDED", "WHY")
CONFLICT_TITLES = ("SINCE", "TIMES", "SOURCE", "KEY", "BYTES", "EVENT ID")


def titles(with_discarded: bool) -> tuple[str, ...]:
    """The titles of what lies in quarantine."""
    return _TITLES + _DISCARDED_TITLES if with_discarded else _TITLES


def row(item: QuarantinedEvent, with_discarded: bool) -> tuple[str, ...]:
    """It as cells under the titles."""
    known = (
        cell(item, "quarantined_time"),
        str(item.times_received),
        item.source,
        reason_name(item.reason),
        item.message,
        str(item.payload_size),
        item.quarantine_id,
    )
    return (*known, cell(item, "discarded_time"), item.discard_reason) if with_discarded else known


def fields(item: QuarantinedEvent) -> dict[str, Any]:
    """It as JSON, with the beginning of its payload."""
    return _known_fields(item) | {"payload_prefix_base64": base64.b64encode(item.payload_prefix).decode()}


def whole_fields(item: QuarantinedEvent, *, as_base64: bool) -> dict[str, Any]:
    """It as JSON, with its headers and all of its payload: in Base64 if asked for or if it is no text; else as JSON if
    it is that, or as the text that it is."""
    known = _known_fields(item) | {"headers": dict(sorted(item.headers.items()))}
    if not as_base64:
        try:
            return known | {"payload": exact_json.loads(item.payload)}
        except ValueError:
            pass
        try:
            return known | {"payload": item.payload.decode()}
        except UnicodeDecodeError:
            pass
    return known | {"payload_base64": base64.b64encode(item.payload).decode()}


def retried_fields(each: Retried) -> dict[str, Any]:
    """What became of one that was tried again, as JSON."""
    result = each.result
    return {
        "quarantine_id": each.quarantine_id,
        "outcome": enum_name(Outcome, result.outcome, "OUTCOME_"),
        "event_id": result.event_id or None,
        "sequence": result.sequence or None,
        "payload_differs": result.payload_differs,
        "reason": reason_name(result.reason) if result.reason else None,
        "message": result.message or None,
    }


def conflict_fields(each: EventConflict) -> dict[str, Any]:
    """A conflict as JSON, with its payload."""
    return {
        "event_id": each.event_id,
        "source": each.source,
        "dedup_key": each.dedup_key,
        "first_received_time": time_of(each, "first_received_time"),
        "times_received": each.times_received,
        "payload": exact_json.verbatim(each.payload),
    }


def conflict_row(each: EventConflict) -> tuple[str, ...]:
    """A conflict as cells under CONFLICT_TITLES."""
    return (
        cell(each, "first_received_time"),
        str(each.times_received),
        each.source,
        each.dedup_key,
        str(len(each.payload)),
        each.event_id,
    )


def _known_fields(item: QuarantinedEvent) -> dict[str, Any]:
    return {
        "quarantine_id": item.quarantine_id,
        "source": item.source,
        "platform": item.platform or None,
        "reason": reason_name(item.reason),
        "message": item.message,
        "payload_size": item.payload_size,
        "quarantined_time": time_of(item, "quarantined_time"),
        "times_received": item.times_received,
        "discarded_time": time_of(item, "discarded_time"),
        "discard_reason": item.discard_reason or None,
    }
