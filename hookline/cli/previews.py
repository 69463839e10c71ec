"""What a mapping makes of an event, shown and not stored."""

import tomllib
from typing import BinaryIO

import click

from hookline.cli import exact_json
from hookline.cli.errors import SET_ASIDE
from hookline.cli.events import event_fields
from hookline.cli.messages import enum_name
from hookline.cli.options import Session
from hookline.client import Event, Outcome, OutcomeReason, PreviewMappingResponse
from hookline.client.quarantine import reason_name

_NO_PLATFORM = (
    OutcomeReason.OUTCOME_REASON_PLATFORM_UNKNOWN,
    OutcomeReason.OUTCOME_REASON_PLATFORM_UNRECOGNISED,
)
_NOT_YET_KNOWN = ("event_id", "sequence", "status", "status_error", "received_time")

mapping_option = click.option(
    "--mapping",
    type=click.File("rb"),
    metavar="FILE",
    help='A mapping to try, as TOML; "-" is standard input. Default: those in force.',
)


def mapping_text(file: BinaryIO | None) -> str:
    """The mapping in the file, empty where there is none."""
    try:
        return file.read().decode() if file else ""
    except UnicodeDecodeError:
        raise click.UsageError("The mapping is not UTF-8 text.") from None


def tell(session: Session, preview: PreviewMappingResponse, mapping: str) -> int:
    """Shows it; gives the exit status that says whether the event would be stored. `mapping` is the one to try."""
    result, event = preview.result, preview.event
    understood = result.outcome == Outcome.OUTCOME_ACCEPTED
    if mapping and _was_passed_over(preview, mapping):
        session.output.note(
            "The mapping was not tried: that takes the event to name its platform, or what its [recognise] asks for."
        )
    if understood and not session.output.as_json:
        session.output.record(extracted(event, exact_json.loads(event.payload)), indent=2)
        return 0
    outcome = enum_name(Outcome, result.outcome, "OUTCOME_")
    reason = reason_name(result.reason) if result.reason else None
    fields = {
        "outcome": outcome,
        "reason": reason,
        "message": result.message or None,
        "event": extracted(event, exact_json.verbatim(event.payload)) if understood else None,
    }
    session.output.summary(fields, f"It would be {outcome}: {reason}: {result.message}")
    return 0 if understood else SET_ASIDE


def _was_passed_over(preview: PreviewMappingResponse, mapping: str) -> bool:
    if preview.result.outcome == Outcome.OUTCOME_ACCEPTED:
        return bool(preview.event.platform != tomllib.loads(mapping).get("name"))
    return preview.result.reason in _NO_PLATFORM


def extracted(event: Event, payload: object) -> dict[str, object]:
    """The event as JSON, without what it would get only by being stored."""
    return {name: value for name, value in event_fields(event, payload).items() if name not in _NOT_YET_KNOWN}
