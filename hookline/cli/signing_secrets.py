"""`hookline secret`: what platforms sign their webhooks with."""

import sys
from datetime import timedelta
from typing import Any, BinaryIO

import click

from hookline.cli.credentials import text_of
from hookline.cli.messages import cell, time_of
from hookline.cli.options import Session, keep_old_option, session_options
from hookline.client import SigningSecret

_TITLES = ("SOURCE", "SINCE", "OLD SECRET UNTIL")


@click.group()
def secret() -> None:
    """Store the secrets that platforms sign their webhooks with, so that nobody else's are taken in.

    \b
    Examples:
      hookline secret put shop-1 --company acme
      hookline secret list --company acme
    """


@secret.command()
@click.argument("source")
@click.option(
    "--from-file",
    "file",
    type=click.File("rb"),
    metavar="FILE",
    help='The file with the secret; "-" is standard input. Default: asked for on a terminal, else standard input.',
)
@keep_old_option("secret")
@session_options
def put(session: Session, source: str, file: BinaryIO | None, keep_old: timedelta | None) -> None:
    """Store the secret that webhooks of SOURCE are signed with, as the platform shows it.

    From now on what comes to an endpoint of SOURCE must be signed by it, where the platform's mapping says how. The
    secret before stays valid for a while. Other users of a machine can see a command's arguments, so the secret is no
    argument. It is kept encrypted, and never given back.

    \b
    Examples:
      hookline secret put shop-1 --company acme
      pass show acme/shop-1 | hookline secret put shop-1 --company acme
      hookline secret put shop-1 --from-file secret.txt --keep-old 7d --company acme
    """
    text = _secret(file)
    with session.client() as client:
        stored = client.put_signing_secret(session.company, source, text, keep_old=keep_old)
    until = cell(stored, "old_secret_expire_time")
    old = f" The one before is good until {until}." if until else ""
    session.output.summary(
        _fields(stored),
        f"{source}: webhooks must be signed by this secret from now on, where their platform signs.{old}",
    )


@secret.command("list")
@session_options
def list_secrets(session: Session) -> None:
    """List the sources that have a secret, by name. The secrets are never shown.

    \b
    Examples:
      hookline secret list --company acme
    """
    with session.client() as client:
        secrets = client.list_signing_secrets(session.company)
        if session.output.as_json:
            for each in secrets:
                session.output.record(_fields(each))
        else:
            session.output.table(_TITLES, (_row(each) for each in secrets))


@secret.command()
@click.argument("source")
@session_options
def delete(session: Session, source: str) -> None:
    """Delete the secrets of SOURCE: its webhooks need no signature any more.

    \b
    Examples:
      hookline secret delete shop-1 --company acme
    """
    with session.client() as client:
        client.delete_signing_secret(session.company, source)
    session.output.summary({"source": source, "deleted": True}, f"{source}: webhooks need no signature any more.")


def _secret(file: BinaryIO | None) -> str:
    if file is None and sys.stdin.isatty():
        text = str(click.prompt("Secret", hide_input=True, err=True)).strip()
    else:
        text = text_of((file or sys.stdin.buffer).read(), "secret")
    if not text:
        raise click.UsageError("Which secret? Give it on standard input, or in a file by --from-file.")
    return text


def _fields(each: SigningSecret) -> dict[str, Any]:
    return {
        "source": each.source,
        "update_time": time_of(each, "update_time"),
        "old_secret_expire_time": time_of(each, "old_secret_expire_time"),
    }


def _row(each: SigningSecret) -> tuple[str, ...]:
    return (each.source, cell(each, "update_time"), cell(each, "old_secret_expire_time"))
