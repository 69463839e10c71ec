"""`hookline quarantine`: what could not be understood."""

from collections import Counter
from itertools import islice
from typing import BinaryIO

import click

from hookline.cli import previews
from hookline.cli.agreeing import is_agreed
from hookline.cli.errors import LOCAL, SET_ASIDE
from hookline.cli.options import Session, session_options
from hookline.cli.output import events
from hookline.cli.quarantined import (
    CONFLICT_TITLES,
    conflict_fields,
    conflict_row,
    fields,
    retried_fields,
    row,
    titles,
    whole_fields,
)
from hookline.cli.selection import Selection, filter_options, selection_options
from hookline.client import HooklineError, QuarantineFilter

_MAX_PAGE = 500


class _ListByDefault(click.Group):
    """Without the name of a subcommand it is `list`, and takes its options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListByDefault)
def quarantine() -> None:
    """Work through what could not be understood and was set aside. By default: list it.

    \b
    Examples:
      hookline quarantine --company acme
      hookline quarantine show 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
      hookline quarantine retry --platform kirvano --company acme
      hookline quarantine discard --source shop-1 --why "test traffic" --company acme
    """


@quarantine.command("list")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, metavar="N", help="0: no limit.")
@click.option("--discarded", is_flag=True, help="Include discarded ones.")
@session_options
@filter_options
def list_quarantined(session: Session, where: QuarantineFilter, limit: int, discarded: bool) -> None:
    """List what lies in quarantine, newest first.

    With --json each has the first 4 KiB of what came, in Base64: it may be anything.

    \b
    Examples:
      hookline quarantine list --company acme
      hookline quarantine list --reason TYPE_MISSING --source shop-1 --company acme
      hookline quarantine list --company acme --json | jq -r '.payload_prefix_base64 | @base64d'
    """
    page_size = min(limit or _MAX_PAGE, _MAX_PAGE)
    with session.client() as client:
        every = client.list_quarantined(session.company, where, with_discarded=discarded, page_size=page_size)
        items = islice(every, limit or None)
        if session.output.as_json:
            for item in items:
                session.output.record(fields(item))
        else:
            session.output.table(titles(discarded), (row(item, discarded) for item in items))


@quarantine.command()
@click.argument("quarantine_id")
@session_options
def show(session: Session, quarantine_id: str) -> None:
    """Show what lies there whole, as JSON. With --json the payload is in Base64: it may be anything.

    \b
    Examples:
      hookline quarantine show 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
      hookline quarantine show 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme --json \\
        | jq -r .payload_base64 | base64 -d > payload
    """
    with session.client() as client:
        item = client.get_quarantined(session.company, quarantine_id)
    as_json = session.output.as_json
    session.output.record(whole_fields(item, as_base64=as_json), indent=0 if as_json else 2)


@quarantine.command()
@click.argument("quarantine_id")
@previews.mapping_option
@session_options
def preview(session: Session, quarantine_id: str, mapping: BinaryIO | None) -> int:
    """Show what would become of it if it were retried, and store nothing. Exit status 6: it would stay where it is.

    \b
    Examples:
      hookline quarantine preview 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
      hookline quarantine preview 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --mapping shop.toml --company acme
    """
    text = previews.mapping_text(mapping)
    with session.client() as client:
        shown = client.preview_quarantined(session.company, quarantine_id, mapping=text)
    return previews.tell(session, shown, text)


@quarantine.command()
@session_options
@selection_options
def retry(session: Session, selection: Selection) -> int:
    """Try again what lies in quarantine, by the current mappings: what IDS name, or what a filter means, or --all.

    What is understood is stored, once, and leaves the quarantine. With ids, discarded ones are tried too. Doing it
    again is safe. Without ids and without a terminal it takes --yes. With --json, one object for each. Exit status 6:
    some are still quarantined.

    \b
    Examples:
      hookline quarantine retry 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
      hookline quarantine retry --platform kirvano --company acme
      hookline quarantine retry --all --yes --company acme --json | jq -r 'select(.outcome == "quarantined").reason'
    """
    if not is_agreed(f"Retry {selection.words}?", yes=selection.is_agreed):
        return LOCAL
    outcomes, reasons, named = Counter[str](), Counter[str](), list[str]()
    with session.client() as client, session.output.progress("Retrying") as advance:
        try:
            for each in client.retry_quarantined(session.company, selection.which):
                told = retried_fields(each)
                outcomes[told["outcome"]] += 1
                if reason := told["reason"]:
                    reasons[reason] += 1
                    if selection.is_by_id:
                        named.append("{quarantine_id}: {reason}: {message}".format(**told))
                if session.output.as_json:
                    session.output.record(told)
                advance(selection.part(outcomes.total()), outcomes.total())
        except HooklineError:
            session.output.note(f"{events(outcomes.total())} tried before this; it is safe to do it again.")
            raise
    # Of what a filter meant, which ones they are is in the list.
    for line in named or [f"{count:,} for {reason}" for reason, count in reasons.most_common()]:
        session.output.note(line)
    if not session.output.as_json:
        tried = (
            f"{events(outcomes.total())} tried: {outcomes['accepted']:,} accepted, {outcomes['duplicate']:,} duplicate"
        )
        session.output.summary({}, f"{tried}, {reasons.total():,} still quarantined.")
    return SET_ASIDE if reasons else 0


@quarantine.command()
@click.option("--why", required=True, metavar="TEXT", help="Why, for whoever looks later; at most 500 characters.")
@session_options
@selection_options
def discard(session: Session, selection: Selection, why: str) -> int:
    """Put what lies in quarantine out of sight: what IDS name, or what a filter means, or --all.

    Nothing is deleted: `hookline quarantine list --discarded` shows it, and it can be retried by its id. With --json,
    one object for each that was not out of sight before. Without ids and without a terminal it takes --yes.

    \b
    Examples:
      hookline quarantine discard 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --why "not ours" --company acme
      hookline quarantine discard --source shop-1 --reason JSON_MALFORMED --why "a scanner" --yes --company acme
    """
    if not is_agreed(f"Discard {selection.words}?", yes=selection.is_agreed):
        return LOCAL
    done = 0
    with session.client() as client, session.output.progress("Discarding") as advance:
        try:
            for quarantine_id in client.discard_quarantined(session.company, selection.which, why):
                done += 1
                advance(selection.part(done), done)
                if session.output.as_json:
                    session.output.record({"quarantine_id": quarantine_id, "discarded": True})
        except HooklineError:
            session.output.note(f"{events(done)} discarded before this; it is safe to do it again.")
            raise
    if not session.output.as_json:
        session.output.summary({}, f"{events(done)} discarded.")
    return 0


@quarantine.command()
@click.argument("event_id", default="", metavar="[EVENT_ID]")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, metavar="N", help="0: no limit.")
@session_options
def conflicts(session: Session, event_id: str, limit: int) -> None:
    """List the payloads that came under the key of an event, or of one event, with another content.

    The event stays what came first. With --json each has the payload that came later.

    \b
    Examples:
      hookline quarantine conflicts --company acme
      hookline quarantine conflicts 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme --json | jq .payload
    """
    page_size = min(limit or _MAX_PAGE, _MAX_PAGE)
    with session.client() as client:
        listed = islice(client.list_conflicts(session.company, event_id, page_size=page_size), limit or None)
        if session.output.as_json:
            for each in listed:
                session.output.record(conflict_fields(each))
        else:
            session.output.table(CONFLICT_TITLES, (conflict_row(each) for each in listed))
