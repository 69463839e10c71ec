"""`hookline sync source`: where a company's events come from."""

import os
from typing import BinaryIO

import click

from hookline.cli.credentials import text_of
from hookline.cli.errors import SOURCE_FAULTY
from hookline.cli.options import Session, session_options
from hookline.cli.output import events
from hookline.cli.runs import SOURCE_TITLES, source_fields, source_row

_CREDENTIAL = "HOOKLINE_CREDENTIAL"


def _parameters(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    read: dict[str, str] = {}
    for each in values:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{each!r} is not KEY=VALUE.")
        if key in read:
            raise click.BadParameter(f"{key!r} is given twice.")
        read[key] = value
    return read


@click.group()
def source() -> None:
    """Add, list, check and remove sources: the places that events come from.

    \b
    Examples:
      hookline sync source add shop-1 --platform grapfy --base-url https://api.example.com \\
        --credential-file token.txt --parameter webhookSettingId=123 --company acme
      hookline sync source check shop-1 --company acme
    """


@source.command()
@click.argument("name")
@click.option("--platform", required=True, metavar="NAME", help='The platform, such as "grapfy".')
@click.option("--base-url", required=True, metavar="URL", help="Where the platform's API is.")
@click.option(
    "--credential-file",
    type=click.File("rb"),
    metavar="FILE",
    help=f'The file with the token for the API; "-" is standard input. Default: what {_CREDENTIAL} holds.',
)
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    callback=_parameters,
    metavar="KEY=VALUE",
    help="What else the platform's history needs to know; may be repeated.",
)
@session_options
def add(
    session: Session,
    name: str,
    platform: str,
    base_url: str,
    credential_file: BinaryIO | None,
    parameters: dict[str, str],
) -> None:
    """Add the source NAME, which should be the source of its events that come by webhook.

    Other users of a machine can see a command's arguments, so that the token is no argument. It is kept encrypted, and
    never given back. Nothing is pulled yet.

    \b
    Examples:
      hookline sync source add shop-1 --platform grapfy --base-url https://api.example.com \\
        --credential-file token.txt --parameter webhookSettingId=123 --company acme
      pass show acme/grapfy | hookline sync source add shop-1 --platform grapfy \\
        --base-url https://api.example.com --credential-file - --parameter webhookSettingId=123 --company acme
    """
    credential = _credential(credential_file)
    with session.client() as client:
        made = client.create_source(
            session.company, name, platform=platform, base_url=base_url, credential=credential, parameters=parameters
        )
    session.output.summary(source_fields(made), f"{name} added; `hookline sync source check {name}` tries it.")


@source.command("list")
@session_options
def list_sources(session: Session) -> None:
    """List the sources by name.

    \b
    Examples:
      hookline sync source list --company acme
      hookline sync source list --company acme --json | jq -r .source
    """
    with session.client() as client:
        sources = client.list_sources(session.company)
    if session.output.as_json:
        for each in sources:
            session.output.record(source_fields(each))
    else:
        session.output.table(SOURCE_TITLES, (source_row(each) for each in sources))


@source.command()
@click.argument("name")
@session_options
def remove(session: Session, name: str) -> None:
    """Remove the source NAME with its schedule and its runs' history. Its events stay.

    \b
    Examples:
      hookline sync source remove shop-1 --company acme
    """
    with session.client() as client:
        client.delete_source(session.company, name)
    session.output.summary({"source": name, "removed": True}, f"{name} removed; its events stay.")


@source.command()
@click.argument("name")
@session_options
def check(session: Session, name: str) -> int:
    """Try the source NAME: fetch a page of its last day, and store nothing. Exit status 12: it does not work.

    \b
    Examples:
      hookline sync source check shop-1 --company acme
    """
    with session.client() as client:
        found = client.check_source(session.company, name)
    fields = {"source": name, "ok": found.ok, "problem": found.problem or None, "events": found.events}
    works = f"{name} works: {events(found.events)} on the first page of its last day."
    session.output.summary(fields, works if found.ok else f"{name} does not work: {found.problem}")
    return 0 if found.ok else SOURCE_FAULTY


def _credential(file: BinaryIO | None) -> str:
    held = file.read() if file else os.fsencode(os.environ.get(_CREDENTIAL, ""))
    credential = text_of(held, "credential")
    if not credential:
        raise click.UsageError(f"Which credential? Give --credential-file, not empty, or set {_CREDENTIAL}.")
    return credential
