"""`hookline endpoint`: the URLs that platforms send webhooks to."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import click

from hookline.cli.messages import cell, time_of
from hookline.cli.options import Session, keep_old_option, session_options
from hookline.client import Endpoint, Unavailable, Unreachable

_TITLES = ("SOURCE", "PLATFORM", "TOKEN", "SINCE", "STATE", "ENDPOINT ID")
_CREATED = "Whether an endpoint was made is unknown; `hookline endpoint list` tells."
_ROTATED = (
    "Whether the endpoint has a new token is unknown; `hookline endpoint list` tells. If it has, make another "
    "endpoint: rotating again would end the URL that the platform uses."
)


@click.group()
def endpoint() -> None:
    """Make and manage endpoints: URLs that platforms send their webhooks to, by HTTP.

    \b
    Examples:
      hookline endpoint create --source shop-1 --platform kirvano --company acme
      hookline endpoint list --company acme
      hookline endpoint rotate 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --keep-old 24h --company acme
    """


@endpoint.command()
@click.option("--source", default="", metavar="NAME", help="What its events belong to. Default: the platform's name.")
@click.option("--platform", default="", metavar="NAME", help="The platform's name. Default: recognised by the shape.")
@session_options
def create(session: Session, source: str, platform: str) -> None:
    """Make an endpoint, and show its URL. It is shown only now: the token in it is stored as a digest only.

    Each call makes another one. `hookline secret put` has what comes to it checked for a signature.

    \b
    Examples:
      hookline endpoint create --source shop-1 --platform kirvano --company acme
      URL=$(hookline endpoint create --platform grapfy --company acme)
    """
    if not (source or platform):
        raise click.UsageError("What is it for? Give --source, --platform or both.")
    with session.client() as client, _sent_once(session, _CREATED):
        made = client.create_endpoint(session.company, source, platform)
    _show_url(session, made.endpoint, made.token, made.url)
    session.output.note("This URL is shown only now. Whoever has it can send events: give it to the platform alone.")


@endpoint.command("list")
@session_options
def list_endpoints(session: Session) -> None:
    """List the endpoints, revoked ones too, in the order of making. Only the end of a token is shown.

    \b
    Examples:
      hookline endpoint list --company acme
      hookline endpoint list --company acme --json | jq -r 'select(.revoke_time == null).endpoint_id'
    """
    with session.client() as client:
        endpoints = client.list_endpoints(session.company)
        if session.output.as_json:
            for each in endpoints:
                session.output.record(_fields(each))
        else:
            session.output.table(_TITLES, (_row(each) for each in endpoints))


@endpoint.command()
@click.argument("endpoint_id")
@keep_old_option("token")
@session_options
def rotate(session: Session, endpoint_id: str, keep_old: timedelta | None) -> None:
    """Give an endpoint a new token, and show its new URL. It is shown only now.

    The old URL works on for a while, so nothing is lost until the platform is told the new one; an older one ends
    at once.

    \b
    Examples:
      hookline endpoint rotate 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
      hookline endpoint rotate 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --keep-old 7d --company acme
    """
    with session.client() as client, _sent_once(session, _ROTATED):
        rotated = client.rotate_endpoint(session.company, endpoint_id, keep_old=keep_old)
    _show_url(session, rotated.endpoint, rotated.token, rotated.url)
    until = cell(rotated.endpoint, "old_token_expire_time")
    old = f"The old one works until {until}." if until else "The old one works no more."
    session.output.note(f"This URL is shown only now. {old}")


@endpoint.command()
@click.argument("endpoint_id")
@session_options
def revoke(session: Session, endpoint_id: str) -> None:
    """End an endpoint for good: what is sent to it is answered with 410 Gone. Its events stay.

    \b
    Examples:
      hookline endpoint revoke 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
    """
    with session.client() as client:
        revoked = client.revoke_endpoint(session.company, endpoint_id)
    session.output.summary(_fields(revoked), f"The endpoint of {revoked.source} is revoked; its events stay.")


@contextmanager
def _sent_once(session: Session, unknown: str) -> Iterator[None]:
    """Says what is unknown when the answer does not get through."""
    try:
        yield
    except Unreachable:
        raise
    except Unavailable:
        session.output.note(unknown)
        raise


def _show_url(session: Session, shown: Endpoint, token: str, url: str) -> None:
    if session.output.as_json:
        session.output.record(_fields(shown) | {"token": token, "url": url})
    else:
        session.output.text(url)


def _fields(each: Endpoint) -> dict[str, Any]:
    return {
        "endpoint_id": each.endpoint_id,
        "source": each.source,
        "platform": each.platform or None,
        "token_hint": each.token_hint,
        "create_time": time_of(each, "create_time"),
        "token_time": time_of(each, "token_time"),
        "old_token_expire_time": time_of(each, "old_token_expire_time"),
        "revoke_time": time_of(each, "revoke_time"),
    }


def _row(each: Endpoint) -> tuple[str, ...]:
    token_time = cell(each, "token_time")
    return (each.source, each.platform, f"…{each.token_hint}", token_time, _state(each), each.endpoint_id)


def _state(each: Endpoint) -> str:
    if revoked := cell(each, "revoke_time"):
        return f"revoked {revoked}"
    if until := cell(each, "old_token_expire_time"):
        return f"old token until {until}"
    return "active"
