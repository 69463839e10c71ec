"""`hookline audit`: who did what."""

from itertools import islice
from typing import Any

import click
from google.protobuf import json_format

from hookline.cli import exact_json
from hookline.cli.messages import cell, time_of
from hookline.cli.options import Session, session_options
from hookline.client import AuditEntry

_MAX_PAGE = 1000
_TITLES = ("TIME", "WHO", "ACTION", "SUBJECT", "DETAILS")


@click.command()
@click.option("--action", default="", metavar="NAME", help="Only entries with this action, such as EVENTS_EXPORTED.")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, metavar="N", help="0: no limit.")
@session_options
def audit(session: Session, action: str, limit: int) -> None:
    """Show who did what, newest first: exports, erasures, and changes to tokens, endpoints, secrets, mappings, sources,
    schedules, alert channels and limits. The trail is only added to.

    \b
    Examples:
      hookline audit --company acme
      hookline audit --action EVENTS_EXPORTED --limit 20 --company acme
      hookline audit --limit 0 --company acme --json | jq -r .actor | sort | uniq -c
    """
    with session.client() as client:
        entries = client.list_audit_entries(session.company, action, page_size=min(limit or _MAX_PAGE, _MAX_PAGE))
        shown = islice(entries, limit or None)
        if session.output.as_json:
            for each in shown:
                session.output.record(_fields(each))
        else:
            session.output.table(_TITLES, (_row(each) for each in shown))


def _fields(each: AuditEntry) -> dict[str, Any]:
    return {
        "log_time": time_of(each, "log_time"),
        "actor": each.actor,
        "action": each.action,
        "subject": each.subject or None,
        "details": _details(each),
    }


def _row(each: AuditEntry) -> tuple[str, ...]:
    details = _details(each)
    return (
        cell(each, "log_time"),
        each.actor,
        each.action,
        each.subject,
        ", ".join(f"{name}: {exact_json.dumps(value)}" for name, value in sorted(details.items())),
    )


def _details(each: AuditEntry) -> dict[str, Any]:
    return {name: _whole(value) for name, value in json_format.MessageToDict(each.details).items()}


def _whole(value: Any) -> Any:
    # A Struct knows no integers.
    return int(value) if isinstance(value, float) and value.is_integer() else value
