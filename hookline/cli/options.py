"""The options that commands share, and what they come to."""

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from hookline.cli.credentials import text_of
from hookline.cli.output import Output
from hookline.client import Client, Filter, Status
from hookline.client.authorization import company_of

CONNECT_PATIENCE = 2.0
"""Seconds after which an address where nothing has ever answered is taken to be wrong."""

_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Session:
    """Who is asking, where, and how it is told."""

    company: str
    output: Output
    ingest_address: str | None
    export_address: str | None
    sync_address: str | None
    patience: float
    token: str | None = None
    tls: bool | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def client(self) -> Client:
        """A client; the caller closes it."""
        return Client(
            self.ingest_address,
            self.export_address,
            self.sync_address,
            patience=self.patience,
            connect_patience=min(self.patience, CONNECT_PATIENCE),
            token=self.token,
            tls=self.tls,
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
        )


def _token(_context: click.Context, _option: click.Parameter, file: Path | None) -> str | None:
    """The token in a file: other users of a machine can see a command's arguments, so that it is none."""
    if file is None:
        return None
    token = text_of(file.read_bytes(), "token")
    if not (token.isascii() and token.isprintable() and token) or " " in token:
        raise click.BadParameter("the file holds no token.")
    return token


def _token_s_company(token: str | None) -> str:
    """The company that the token names. Raises UsageError when none does."""
    token = token or os.environ.get("HOOKLINE_TOKEN", "").strip()
    company = company_of(token)
    if company is None:
        raise click.UsageError("Whose? Give --company, or a token, which names its company.")
    return company


def _file_option(name: str, argument: str, variable: str, what: str) -> Callable[[_Command], _Command]:
    return click.option(
        name,
        argument,
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        envvar=variable,
        show_envvar=True,
        help=what,
    )


def session_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of every command, given to it as its first argument, a Session."""

    @click.option(
        "--company",
        metavar="ID",
        envvar="HOOKLINE_COMPANY",
        show_envvar=True,
        help="The company. Default: the one the token names.",
    )
    @click.option(
        "--ingest-address",
        metavar="HOST:PORT",
        envvar="HOOKLINE_INGEST_ADDRESS",
        show_envvar=True,
        help="Where the ingest service is. Default: 127.0.0.1:50051.",
    )
    @click.option(
        "--export-address",
        metavar="HOST:PORT",
        envvar="HOOKLINE_EXPORT_ADDRESS",
        show_envvar=True,
        help="Where the export service is. Default: 127.0.0.1:50053.",
    )
    @click.option(
        "--sync-address",
        metavar="HOST:PORT",
        envvar="HOOKLINE_SYNC_ADDRESS",
        show_envvar=True,
        help="Where the sync service is. Default: 127.0.0.1:50052.",
    )
    @click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        envvar="HOOKLINE_TOKEN_FILE",
        show_envvar=True,
        callback=_token,
        help="A file with the token, which HOOKLINE_TOKEN may hold instead.",
    )
    @click.option(
        "--tls/--no-tls",
        default=None,
        envvar="HOOKLINE_TLS",
        show_envvar=True,
        help="Connect by TLS, or not. Default: where one of the following files is given.",
    )
    @_file_option("--ca-file", "ca", "HOOKLINE_TLS_CA", "CAs to trust (PEM), in place of public ones.")
    @_file_option(
        "--certificate-file",
        "certificate",
        "HOOKLINE_TLS_CERTIFICATE",
        "Client certificate (PEM), for servers that require one.",
    )
    @_file_option("--key-file", "key", "HOOKLINE_TLS_KEY", "Private key of the client certificate (PEM).")
    @click.option(
        "--patience",
        type=click.FloatRange(min=0),
        default=10,
        show_default=True,
        metavar="SECONDS",
        help="How long to keep trying when a service goes away.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Results and errors as JSON, one object a line.")
    @click.option("--quiet", "-q", is_flag=True, help="No progress, notes or summaries.")
    @functools.wraps(command)
    def with_session(
        company: str | None,
        ingest_address: str | None,
        export_address: str | None,
        sync_address: str | None,
        token_file: str | None,
        tls: bool | None,
        ca: Path | None,
        certificate: Path | None,
        key: Path | None,
        patience: float,
        as_json: bool,
        quiet: bool,
        **others: Any,
    ) -> Any:
        output = Output(as_json=as_json, quiet=quiet)
        company = company or _token_s_company(token_file)
        session = Session(
            company,
            output,
            ingest_address,
            export_address,
            sync_address,
            patience,
            token=token_file,
            tls=tls,
            ca=ca,
            certificate=certificate,
            key=key,
        )
        return command(session, **others)

    return with_session


def moment(value: str) -> datetime:
    """Reads a time of RFC 3339, or a date, which means its first moment in UTC."""
    try:
        read = datetime.fromisoformat(value)
        return read.astimezone(UTC) if read.tzinfo else datetime.combine(date.fromisoformat(value), time(), UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is neither a date like 2026-01-31 nor a time like 2026-01-31T12:00:00Z."
        ) from None


def duration(value: str) -> timedelta:
    """Reads a duration: numbers of days, hours, minutes and seconds, the largest first."""
    read = _DURATION.fullmatch(value)
    if not value or not read:
        raise click.BadParameter(f"{value!r} is no duration like 90m, 6h, 1d or 1h30m.")
    days, hours, minutes, seconds = (int(part or 0) for part in read.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that choose events, given to the command as `where`, a Filter or None for all."""

    @click.option(
        "--status",
        "statuses",
        multiple=True,
        type=click.Choice(get_args(Status)),
        help="With this status; may be repeated.",
    )
    @lasting_filter_options
    @functools.wraps(command)
    def with_filter(session: Session, statuses: tuple[Status, ...], where: Filter | None, **others: Any) -> Any:
        if statuses:
            where = replace(where or Filter(), statuses=statuses)
        return command(session, where=where, **others)

    return with_filter


def lasting_filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same without statuses: what of an event never changes."""

    @click.option("--type", "types", multiple=True, metavar="TYPE", help="Of this type; may be repeated.")
    @click.option("--source", "sources", multiple=True, metavar="NAME", help="From this source; may be repeated.")
    @click.option("--platform", "platforms", multiple=True, metavar="NAME", help="Of this platform; may be repeated.")
    @click.option("--since", type=moment, metavar="TIME", help="Occurred then or later: RFC 3339, or a date (UTC).")
    @click.option("--until", type=moment, metavar="TIME", help="Occurred before then.")
    @click.option("--received-since", type=moment, metavar="TIME", help="Stored then or later.")
    @click.option("--received-until", type=moment, metavar="TIME", help="Stored before then.")
    @click.option("--customer", default="", metavar="WORDS", help="In the customer's name; the last one may be begun.")
    @click.option(
        "--text",
        default="",
        metavar="WORDS",
        help="In the names of customer or product; or an event id, or a platform's own.",
    )
    @click.option("--contains", default="", metavar="JSON", help="The payload contains this JSON object.")
    @click.option("--min-total", default="", metavar="AMOUNT", help="The total is at least this; see --currency.")
    @click.option("--max-total", default="", metavar="AMOUNT", help="The total is at most this.")
    @click.option("--currency", default="", metavar="CODE", help="The total's currency, such as BRL.")
    @functools.wraps(command)
    def with_filter(
        session: Session,
        types: tuple[str, ...],
        sources: tuple[str, ...],
        platforms: tuple[str, ...],
        since: datetime | None,
        until: datetime | None,
        received_since: datetime | None,
        received_until: datetime | None,
        customer: str,
        text: str,
        contains: str,
        min_total: str,
        max_total: str,
        currency: str,
        **others: Any,
    ) -> Any:
        where = Filter(
            types=types,
            sources=sources,
            platforms=platforms,
            occurred_since=since,
            occurred_until=until,
            received_since=received_since,
            received_until=received_until,
            customer=customer,
            text=text,
            payload_contains=contains,
            min_total=min_total,
            max_total=max_total,
            currency=currency,
        )
        return command(session, where=None if where == Filter() else where, **others)

    return with_filter


def time_zone_option(what: str) -> Callable[[_Command], _Command]:
    """Adds the option for a time zone, given to the command as `time_zone`, empty by default."""
    return click.option(
        "--time-zone", default="", metavar="ZONE", help=f"{what} Such as America/Sao_Paulo. Default: UTC."
    )


def order_options(command: _Command) -> _Command:
    """Adds the flags for the order, given to the command as `order`."""
    oldest = click.option("--oldest-first", "order", flag_value="oldest_first", help="In the order of storing.")
    newest = click.option("--newest-first", "order", flag_value="newest_first", help="The event stored last first.")
    return oldest(newest(command))


def request_options(command: _Command) -> _Command:
    """Adds the options for what came with a payload by HTTP, given to the command as `headers` and `query`."""
    header = click.option(
        "--header",
        "headers",
        multiple=True,
        callback=_headers,
        metavar="NAME:VALUE",
        help="An HTTP header that came with it; may be repeated.",
    )
    query = click.option("--query", default="", metavar="TEXT", help='The query of the URL it came to, without "?".')
    return header(query(command))


def _headers(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    read: dict[str, str] = {}
    for each in values:
        name, colon, value = (part.strip() for part in each.partition(":"))
        if not name or not colon:
            raise click.BadParameter(f"{each!r} is not NAME:VALUE.")
        if name.lower() in read:
            raise click.BadParameter(f"{name!r} is given twice.")
        read[name.lower()] = value
    return read


def keep_old_option(what: str) -> Callable[[_Command], _Command]:
    """Adds the option for how long what is replaced works on, given to the command as `keep_old`; None by default."""
    return click.option(
        "--keep-old",
        type=duration,
        metavar="TIME",
        help=f"How long the old {what} works on, such as 30m, 24h or 7d, at most 30d; 0s ends it. Default: 24h.",
    )
