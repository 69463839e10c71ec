"""`hookline platform`: how payloads are understood."""

from typing import Any, BinaryIO

import click

from hookline.cli.messages import time_of
from hookline.cli.options import Session, request_options, session_options
from hookline.cli.previews import mapping_option, mapping_text, tell
from hookline.client import NotFound, Platform

_TITLES = ("NAME", "TITLE", "OWN", "RECOGNISED", "SIGNATURE", "HISTORY")


@click.group()
def platform() -> None:
    """See which platforms are understood, and teach Hookline others: a mapping is a file of TOML.

    \b
    Examples:
      hookline platform list --company acme
      hookline platform show kirvano --company acme > kirvano.toml
      hookline platform preview sale.json --mapping kirvano.toml --company acme
      hookline platform put kirvano.toml --company acme
    """


@platform.command("list")
@session_options
def list_platforms(session: Session) -> None:
    """List the platforms in the order in which they are tried on a payload that names none: the company's own first.

    \b
    Examples:
      hookline platform list --company acme
      hookline platform list --company acme --json | jq -r 'select(.is_own).name'
    """
    with session.client() as client:
        platforms = client.list_platforms(session.company)
    if session.output.as_json:
        for each in platforms:
            session.output.record(_fields(each))
    else:
        session.output.table(_TITLES, (_row(each) for each in platforms))


@platform.command()
@click.argument("name")
@session_options
def show(session: Session, name: str) -> None:
    """Show the mapping of the platform NAME, as TOML: to look at, or to make one's own of it.

    \b
    Examples:
      hookline platform show kirvano --company acme
      hookline platform show kirvano --company acme > kirvano.toml
    """
    with session.client() as client:
        found = next((each for each in client.list_platforms(session.company) if each.name == name), None)
    if found is None:
        raise NotFound(f"There is no platform {name}; `hookline platform list` shows those that there are.")
    if session.output.as_json:
        session.output.record(_fields(found) | {"mapping": found.mapping})
    else:
        session.output.text(found.mapping)


@platform.command()
@click.argument("file", type=click.File("rb"))
@session_options
def put(session: Session, file: BinaryIO) -> None:
    """Store the mapping in FILE as the company's own; "-" is standard input. The name in it says whose mapping it is.

    It stands in for the one of that name, built-in or not. Events that are stored already stay as they are;
    `hookline quarantine retry` tries again what was not understood.

    \b
    Examples:
      hookline platform put shop.toml --company acme
    """
    with session.client() as client:
        stored = client.put_platform_mapping(session.company, mapping_text(file))
    session.output.summary(_fields(stored), f"{stored.name} is stored; within 5 seconds it is in force everywhere.")


@platform.command()
@click.argument("name")
@session_options
def delete(session: Session, name: str) -> None:
    """Delete the company's own mapping NAME. A built-in one of that name is in force again. No event is touched.

    \b
    Examples:
      hookline platform delete shop --company acme
    """
    with session.client() as client:
        client.delete_platform_mapping(session.company, name)
    session.output.summary({"name": name, "deleted": True}, f"The company's own mapping {name} is deleted.")


@platform.command()
@click.argument("file", type=click.File("rb"), metavar="PAYLOAD_FILE")
@click.option("--platform", default="", metavar="NAME", help="The platform's name. Default: recognised by the shape.")
@click.option("--source", default="", metavar="NAME", help="Where it comes from. Default: the platform's name.")
@request_options
@mapping_option
@session_options
def preview(
    session: Session,
    file: BinaryIO,
    platform: str,
    source: str,
    headers: dict[str, str],
    query: str,
    mapping: BinaryIO | None,
) -> int:
    """Show what the payload in PAYLOAD_FILE would become, and store nothing; "-" is standard input.

    Exit status 6: it would be quarantined or rejected.

    \b
    Examples:
      hookline platform preview sale.json --company acme
      hookline platform preview sale.json --mapping kirvano.toml --platform kirvano --company acme
      hookline platform preview order.json --platform shopify --header "X-Shopify-Topic: orders/paid" --company acme
    """
    text = mapping_text(mapping)
    with session.client() as client:
        shown = client.preview_mapping(
            session.company, file.read(), platform, source, headers=headers, query=query, mapping=text
        )
    return tell(session, shown, text)


def _fields(each: Platform) -> dict[str, Any]:
    return {
        "name": each.name,
        "title": each.title,
        "is_own": each.is_own,
        "is_recognised": each.is_recognised,
        "signature": each.signature or None,
        "has_history": each.has_history,
        "update_time": time_of(each, "update_time"),
    }


def _row(each: Platform) -> tuple[str, ...]:
    own, recognised, history = ("yes" if is_so else "" for is_so in (each.is_own, each.is_recognised, each.has_history))
    return (each.name, each.title, own, recognised, each.signature, history)
