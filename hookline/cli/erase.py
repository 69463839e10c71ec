"""`hookline erase`: persons who want to be forgotten."""

from typing import Any

import click

from hookline.cli.agreeing import is_agreed
from hookline.cli.errors import LOCAL
from hookline.cli.options import Session, session_options
from hookline.cli.output import counted, events
from hookline.client import EraseSubjectResponse


@click.command()
@click.option("--email", default="", metavar="ADDRESS", help="The person's e-mail address, in any case.")
@click.option(
    "--document", default="", metavar="NUMBER", help="The person's document (CPF, CNPJ …), with or without full stops."
)
@click.option("--dry-run", is_flag=True, help="Only count, remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
@session_options
def erase(session: Session, email: str, document: str, dry_run: bool, yes: bool) -> int:
    """Remove a person's data for good: of each event that holds the e-mail address or the document anywhere, the
    payload, the customer's name and errors; and what of the person is in quarantine or among the conflicts.

    The events keep their place, type, product, total and times, so nothing that was counted changes, and the same
    webhook again is a duplicate. Exports under way can't be resumed. What comes later is not looked at. Without a
    terminal it takes --yes.

    \b
    Examples:
      hookline erase --email ana@example.com --dry-run --company acme
      hookline erase --email ana@example.com --document 123.456.789-09 --company acme
      hookline erase --document 12345678909 --yes --company acme --json
    """
    if not (email or document):
        raise click.UsageError("Whom? Give --email, --document or both.")
    output = session.output
    if not is_agreed("This removes the person's data for good. Go on?", yes=dry_run or yes):
        return LOCAL
    last = EraseSubjectResponse()
    with session.client() as client, output.progress("Looking through") as advance:
        for last in client.erase_subject(session.company, email=email, document=document, dry_run=dry_run):
            advance(None, last.looked_through)
    output.summary(_fields(last, dry_run), _sentence(last, dry_run))
    return 0


def _fields(last: EraseSubjectResponse, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "looked_through": last.looked_through,
        "events": last.events,
        "quarantined": last.quarantined,
        "conflicts": last.conflicts,
    }


def _sentence(last: EraseSubjectResponse, dry_run: bool) -> str:
    conflicts = counted(last.conflicts, "conflict", "conflicts")
    found = f"{events(last.events)}, {last.quarantined:,} in quarantine and {conflicts}"
    return (
        f"Of {events(last.looked_through)} and the quarantine, the person's are: {found}. Nothing was removed."
        if dry_run
        else f"Erased the person from {found}."
    )
