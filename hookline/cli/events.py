"""`hookline list`, `get` and `mark`."""

from itertools import islice
from typing import Any

import click

from hookline.cli import exact_json
from hookline.cli.errors import NOT_FOUND
from hookline.cli.messages import cell, enum_name, money, time_of
from hookline.cli.options import Session, filter_options, order_options, session_options
from hookline.client import Event, Filter, Mark, MarkOutcome, Order, ProcessingStatus

_MAX_PAGE = 1000
EVENT_TITLES = ("NUMBER", "OCCURRED", "TYPE", "SOURCE", "CUSTOMER", "PRODUCT", "TOTAL", "STATUS", "EVENT ID")


@click.command("list")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, metavar="N", help="0: no limit.")
@click.option("--payload", is_flag=True, help="With the payloads; only with --json.")
@order_options
@session_options
@filter_options
def list_events(session: Session, limit: int, payload: bool, order: Order | None, where: Filter | None) -> None:
    """List events, newest first by default.

    \b
    Examples:
      hookline list --company acme
      hookline list --company acme --type order_approved --since 2026-01-31T12:00:00Z --limit 10
      hookline list --company acme --customer "silva mar" --min-total 100 --currency BRL
      hookline list --company acme --contains '{"utm": {"source": "instagram"}}' --limit 0
      hookline list --company acme --json --payload --limit 0 | jq .payload
    """
    if payload and not session.output.as_json:
        raise click.UsageError("--payload goes with --json: a table has no room for payloads.")
    page_size = min(limit or _MAX_PAGE, _MAX_PAGE)
    with session.client() as client:
        every = client.list(session.company, where, page_size=page_size, order=order, full=payload)
        events = islice(every, limit or None)
        if session.output.as_json:
            for event in events:
                session.output.record(event_fields(event, exact_json.verbatim(event.payload) if payload else None))
        else:
            session.output.table(EVENT_TITLES, (event_row(event) for event in events))


@click.command()
@click.argument("event_id")
@session_options
def get(session: Session, event_id: str) -> None:
    """Show one event as JSON, with its payload.

    \b
    Examples:
      hookline get 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
      hookline get 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme --json | jq .payload
    """
    with session.client() as client:
        event = client.get(session.company, event_id)
    if session.output.as_json:
        session.output.record(event_fields(event, exact_json.verbatim(event.payload)))
    else:
        session.output.record(event_fields(event, exact_json.loads(event.payload)), indent=2)


@click.command()
@click.argument("event_ids", nargs=-1, required=True, metavar="EVENT_ID...")
@click.option("--processed", "status", flag_value="processed", help="Your systems have dealt with them.")
@click.option("--failed", "status", flag_value="failed", help="Your systems tried and failed.")
@click.option("--error", default="", metavar="TEXT", help="Why they failed; only with --failed.")
@session_options
def mark(session: Session, event_ids: tuple[str, ...], status: str | None, error: str) -> int:
    """Note what your systems have done with events.

    \b
    Examples:
      hookline mark 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --processed --company acme
      hookline mark 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --failed --error "no such product" --company acme
    """
    if status is None:
        raise click.UsageError("Marked as what? Give --processed or --failed.")
    if error and status != "failed":
        raise click.UsageError("--error goes with --failed only.")
    wanted = ProcessingStatus.PROCESSING_STATUS_PROCESSED
    if status == "failed":
        wanted = ProcessingStatus.PROCESSING_STATUS_FAILED
    marks = [Mark(event_id=event_id, status=wanted, error=error) for event_id in event_ids]
    with session.client() as client:
        outcomes = client.mark(session.company, marks)
    for event_id, outcome in zip(event_ids, outcomes, strict=True):
        name = enum_name(MarkOutcome, outcome, "MARK_OUTCOME_")
        session.output.summary({"event_id": event_id, "outcome": name}, f"{event_id} {name.replace('_', ' ')}")
    return NOT_FOUND if MarkOutcome.MARK_OUTCOME_NOT_FOUND in outcomes else 0


def event_fields(event: Event, payload: Any) -> dict[str, Any]:
    """The event as JSON, with the payload unless that is None. Names and order are those of an export as JSON; there is
    an `erase_time` only where a person's data was erased."""
    has_total = event.HasField("total")
    fields: dict[str, Any] = {
        "event_id": event.event_id,
        "sequence": event.sequence,
        "type": event.type,
        "platform_type": event.platform_type,
        "platform": event.platform,
        "source": event.source,
        "dedup_key": event.dedup_key,
        "customer_name": event.customer_name or None,
        "product_name": event.product_name or None,
        "total": event.total.amount if has_total else None,
        "currency": (event.total.currency or None) if has_total else None,
        "status": _status(event),
        "status_error": event.status_error or None,
        "occurred_time": time_of(event, "occurred_time"),
        "received_time": time_of(event, "received_time"),
    }
    if event.HasField("erase_time"):
        fields["erase_time"] = time_of(event, "erase_time")
    if payload is not None:
        fields["payload"] = payload
    return fields


def event_row(event: Event) -> tuple[str, ...]:
    """The event as cells, in the order of EVENT_TITLES."""
    return (
        str(event.sequence),
        cell(event, "occurred_time"),
        event.type,
        event.source,
        event.customer_name,
        event.product_name,
        money(event.total),
        _status(event),
        event.event_id,
    )


def _status(event: Event) -> str:
    return enum_name(ProcessingStatus, event.status, "PROCESSING_STATUS_")
