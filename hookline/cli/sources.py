"""`hookline sync source`: where a company's events come from."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, BinaryIO, TypeVar

import click

from hookline.cli.credentials import text_of
from hookline.cli.errors import SOURCE_FAULTY
from hookline.cli.options import Session, duration, session_options
from hookline.cli.output import events
from hookline.cli.standings import SAMPLE_TITLES, SOURCE_TITLES, check_fields, sample_row, source_fields, source_row

_CREDENTIAL = "HOOKLINE_CREDENTIAL"

_Command = TypeVar("_Command", bound=Callable[..., object])


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


def _limit_options(command: _Command) -> _Command:
    look_back = click.option(
        "--look-back",
        type=duration,
        metavar="TIME",
        help="How far a run reaches back before the last event read, to catch late listings; at most 30d. Default: 1h.",
    )
    run_deadline = click.option(
        "--run-deadline",
        type=duration,
        metavar="TIME",
        help="How long a run may take before it fails, from 1m to 30d. Default: 24h.",
    )
    return look_back(run_deadline(command))


@click.group()
def source() -> None:
    """Add, change, list, check and remove sources: the places that events come from.

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
    help=f'The file with the credential for the API; "-" is standard input. Default: what {_CREDENTIAL} holds.',
)
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    callback=_parameters,
    metavar="KEY=VALUE",
    help="What else the platform's history needs to know; may be repeated.",
)
@_limit_options
@session_options
def add(
    session: Session,
    name: str,
    platform: str,
    base_url: str,
    credential_file: BinaryIO | None,
    parameters: dict[str, str],
    look_back: timedelta | None,
    run_deadline: timedelta | None,
) -> None:
    """Add the source NAME, which should be the source of its events that come by webhook.

    Other users of a machine can see a command's arguments, so the credential is no argument. It is a token; or
    "user:password" for platforms with basic authentication, or "client_id:client_secret" for those with OAuth 2. It is
    kept encrypted, and never given back. Nothing is pulled yet.

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
            session.company,
            name,
            platform=platform,
            base_url=base_url,
            credential=credential,
            parameters=parameters,
            look_back=look_back,
            run_deadline=run_deadline,
        )
    session.output.summary(source_fields(made), f"{name} added; `hookline sync source check {name}` tries it.")


@source.command()
@click.argument("name")
@click.option(
    "--base-url", metavar="URL", help="Where the platform's API is. Of another server: with the credential for it."
)
@click.option(
    "--credential-file",
    type=click.File("rb"),
    metavar="FILE",
    help='The file with the new credential; "-" is standard input.',
)
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    callback=_parameters,
    metavar="KEY=VALUE",
    help="All of them: those that are not repeated here are removed.",
)
@click.option("--no-parameters", is_flag=True, help="Remove all of them.")
@_limit_options
@session_options
def update(
    session: Session,
    name: str,
    base_url: str | None,
    credential_file: BinaryIO | None,
    parameters: dict[str, str],
    no_parameters: bool,
    look_back: timedelta | None,
    run_deadline: timedelta | None,
) -> None:
    """Change what is given of the source NAME, and leave the rest.

    A change holds for runs that begin afterwards, and from the next attempt on for runs under way.

    \b
    Examples:
      hookline sync source update shop-1 --credential-file token.txt --company acme
      hookline sync source update shop-1 --look-back 6h --run-deadline 2h --company acme
    """
    if parameters and no_parameters:
        raise click.UsageError("Which parameters? Give --parameter or --no-parameters.")
    changed: dict[str, Any] = {
        "base_url": base_url,
        "credential": _read(credential_file) if credential_file else None,
        "parameters": parameters if parameters or no_parameters else None,
        "look_back": look_back,
        "run_deadline": run_deadline,
    }
    if all(value is None for value in changed.values()):
        raise click.UsageError("What is to be changed? Give at least one option.")
    with session.client() as client:
        made = client.update_source(session.company, name, **changed)
    session.output.summary(source_fields(made), f"{name} changed; `hookline sync source check {name}` tries it.")


@source.command()
@click.argument("name")
@session_options
def show(session: Session, name: str) -> None:
    """Show the source NAME as JSON, without its credential.

    \b
    Examples:
      hookline sync source show shop-1 --company acme
      hookline sync source show shop-1 --company acme --json | jq .schedule
    """
    with session.client() as client:
        found = client.get_source(session.company, name)
    session.output.record(source_fields(found), indent=0 if session.output.as_json else 2)


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
    """Remove the source NAME with its schedule, its runs' history and its alerts. Its events stay.

    Not while a run of it is active or waits behind one: cancel them all first.

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
    """Try the source NAME: fetch a page of its newest days, show what would be made of it, and store nothing.

    Exit status 12: it does not work.

    \b
    Examples:
      hookline sync source check shop-1 --company acme
      hookline sync source check shop-1 --company acme --json | jq '.samples[].problem'
    """
    with session.client() as client:
        found = client.check_source(session.company, name)
    if found.samples and not session.output.as_json:
        session.output.table(SAMPLE_TITLES, map(sample_row, found.samples))
    works = f"{name} works: {events(found.events)} on the first page of its newest days."
    session.output.summary(check_fields(name, found), works if found.ok else f"{name} does not work: {found.problem}")
    return 0 if found.ok else SOURCE_FAULTY


def _credential(file: BinaryIO | None) -> str:
    if file:
        return _read(file)
    credential = text_of(os.fsencode(os.environ.get(_CREDENTIAL, "")), "credential")
    if not credential:
        raise click.UsageError(f"Which credential? Give --credential-file, not empty, or set {_CREDENTIAL}.")
    return credential


def _read(file: BinaryIO) -> str:
    credential = text_of(file.read(), "credential")
    if not credential:
        raise click.UsageError("The credential is empty.")
    return credential
