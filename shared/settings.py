"""Every setting, its default and its meaning. Read once, from the environment (prefix `HOOKLINE_`)."""

import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import OperatorError


def split_address(address: str) -> tuple[str, int]:
    """Splits "host:port" ("[::1]:50051" for IPv6). Raises ValueError when it is not one."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f"{address!r} is not host:port")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this machine only. A name other than "localhost" counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable(address: str) -> str:
    """How this machine reaches a server that listens on `address`, which may stand for all interfaces."""
    host, port = split_address(address)
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return address
    if not ip.is_unspecified:
        return address
    return f"127.0.0.1:{port}" if ip.version == 4 else f"[::1]:{port}"


def counted_up(address: str, count: int) -> str:
    """The address whose port is `count` further: how metrics addresses follow each other. Raises OperatorError beyond
    the last port."""
    host, port = address.rsplit(":", 1)
    if int(port) + count > 65535:
        raise OperatorError(f"HOOKLINE_METRICS_ADDRESS: no {count} ports follow {port}.")
    return f"{host}:{int(port) + count}"


def _checked_address(address: str) -> str:
    split_address(address)
    return address


_base_of = re.compile(r"(https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?)/?").fullmatch


def _checked_base(url: str) -> str:
    """A URL that paths can be put after, or nothing."""
    if not url:
        return url
    base = _base_of(url)
    if base is None:
        raise ValueError(f"{url!r} is not https://host or https://host:port")
    return base[1]


def _checked_redis_url(url: str | None) -> str | None:
    # What is wrong is not quoted: it may hold a password.
    wrong = ValueError("it looks like redis://host:6379/0, rediss://host:6379/0 or unix:///path")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        # Read for its check.
        _ = parts.port
    except ValueError:
        raise wrong from None
    is_socket = parts.scheme == "unix"
    has_place = parts.path.startswith("/") or (parts.netloc and not is_socket)
    if not (has_place and (is_socket or parts.scheme in ("redis", "rediss"))):
        raise wrong
    return url


Address = Annotated[str, AfterValidator(_checked_address)]
OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: value or None)]
"""A file; an empty text is none, as where an environment can only leave it empty."""
BaseUrl = Annotated[str, AfterValidator(_checked_base)]
RedisUrl = Annotated[str | None, AfterValidator(_checked_redis_url)]
"""An empty text is none, too."""


class Settings(BaseSettings):
    """The settings of every process of the suite."""

    model_config = SettingsConfigDict(env_prefix="HOOKLINE_", extra="ignore")

    database_url: str | None = None
    """PostgreSQL (16 or later), as `postgresql://user:password@host/database`. Required unless `--embedded`."""
    redis_url: RedisUrl = None
    """Redis or Valkey, as `redis://host:6379/0` or `unix:///path`. Required by sync unless `--embedded`."""
    data_dir: Path = Path(".hookline")
    """Where the embedded servers keep their data. Relative to the working directory."""
    ingest_address: Address = "127.0.0.1:50051"
    sync_address: Address = "127.0.0.1:50052"
    export_address: Address = "127.0.0.1:50053"
    http_address: Address = "127.0.0.1:8080"
    """Where ingest takes webhooks by HTTP: the door of docs/endpoints.md."""
    public_url: BaseUrl = ""
    """How platforms reach that door: what the URLs of endpoints begin with, such as https://hooks.example.com. Empty:
    `http://`, or `https://` with TLS, and `http_address`."""
    http_body_seconds: float = Field(default=10, gt=0, le=300)
    """Seconds in which a request to the door must be there whole, from its first byte on."""
    http_connections: int = Field(default=500, ge=1, le=100_000)
    """Connections to the door that one process serves at once. One more takes the place of the oldest idle one;
    where none is idle it is answered 503."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes as which ingest and export run, each sharing the service's ports. The limits of this file are for each
    of them."""
    metrics_address: Address | None = None
    """Where a service serves Prometheus metrics, `GET /metrics`. None: nowhere. Of several `processes` each counts the
    port up by one. `run` counts it up from here for one service after the other; its default is 127.0.0.1:9464."""
    sandbox_address: Address | None = None
    """Where the sandbox shop serves its made-up history, for development. None: there is none. `run --embedded` starts
    one at 127.0.0.1:8090."""
    allow_insecure: bool = False
    """Allows listening beyond this machine without TLS or without tokens: only behind something that has both."""
    tls_certificate: OptionalPath = None
    """The certificate (PEM, with those between it and its CA after it) that every listener proves itself with. None:
    no TLS. It must name the hosts by which the services are reached, by callers and by each other. It is read again
    when it changes, and so are the following ones."""
    tls_key: OptionalPath = None
    """Its private key (PEM, unencrypted)."""
    tls_client_ca: OptionalPath = None
    """CAs (PEM) of callers: with it, gRPC and metrics ask every caller for a certificate of one of them (mTLS). The
    services show theirs to each other, so that it must be one for clients, too. The door for webhooks never asks."""
    tls_ca: OptionalPath = None
    """CAs (PEM) that the services' certificates are from, as those trust that call them: sync calls ingest. None: the
    public ones that gRPC brings along. Alone, it lets a process call by TLS that listens without it."""
    require_tokens: bool = False
    """Every call needs a token (`python -m services admin token create`), which names its company and says what it is
    for. Without it every caller may name any company. The door for webhooks has tokens of its own, always."""
    reflection: bool | None = None
    """Lets grpcurl and `buf curl` ask a service what it can do. None: where there is no TLS."""
    log_level: str = "info"
    """debug · info · warning · error. Calls that succeed are logged at debug."""
    database_connections: int = Field(default=8, ge=2, le=200)
    """Connections to PostgreSQL that one process opens at most; an export process opens `export_connections` more."""
    export_connections: int = Field(default=4, ge=1, le=200)
    """Connections that an export process reads exports over, beside those for lists and searches."""
    stall_seconds: float = Field(default=300, gt=0, le=86400)
    """A stream whose caller takes nothing for so long is ended: ABORTED."""
    drain_seconds: float = Field(default=5, ge=0, le=300)
    """How long a stopping service waits for calls under way. Streams that take longer are cut: UNAVAILABLE."""
    max_call_seconds: float = Field(default=60, gt=0)
    """A unary call's time is capped to this, whatever its own deadline."""
    max_event_bytes: int = Field(default=1024 * 1024, ge=1024, le=8 * 1024 * 1024)
    """A larger payload is rejected."""
    max_queued_bytes: int = Field(default=64 * 1024 * 1024, ge=1024 * 1024)
    """Bytes that an ingest process holds uncommitted: payloads, and 1 KiB for each event. A company has its share of
    it, at most half; beyond that its callers are told RESOURCE_EXHAUSTED, and its streams wait."""
    limit_requests_per_second: float | None = Field(default=None, gt=0)
    """Requests a second of one company, over all processes; each message of a stream is one. Beyond it calls are
    refused, RESOURCE_EXHAUSTED with the time to wait, webhooks with 429, and streams held back. None: no limit. What
    differs for single companies: `python -m services admin limits`."""
    limit_events_per_second: float | None = Field(default=None, gt=0)
    """Events a second that one company brings in; the same."""
    limit_bytes_per_second: float | None = Field(default=None, gt=0)
    """Bytes of requests a second of one company; the same."""
    limit_concurrent_exports: int | None = Field(default=None, ge=1)
    """Exports of one company at once; each process grants its share, and at least one. Beyond it they are refused."""
    replicas: int = Field(default=1, ge=1, le=1000)
    """On how many machines each service runs, with `processes` on each: what a process's share of a limit is."""
    secret_key: str | None = None
    """Encrypts the credentials of sources, the secrets that webhooks are signed with and what is cached, and signs page
    tokens, resume tokens and what the services prove themselves to each other with: the same for all of them, 32
    random bytes in URL-safe base64. While it is changed, several with commas in between: the first encrypts and signs,
    what was made with any of them is taken (docs/security.md). Required unless `--embedded`, which keeps one in the
    data directory. Without it what it encrypts is lost; PostgreSQL never sees it."""
    sync_lease: float = Field(default=30, ge=1, le=3600)
    """Seconds after which a run whose worker gives no sign of life is given to another."""
    sync_concurrency: int = Field(default=10, ge=1, le=200)
    """Runs that one worker process works on at the same time."""
    sync_retry_seconds: float = Field(default=0.5, gt=0, le=60)
    """The first wait after a platform's failure; the following ones double, with jitter, up to 60 times it."""
    sync_silence_seconds: float = Field(default=30, gt=0, le=300)
    """How long a platform may say nothing in the middle of an answer, or before it, until it is asked again."""
    sync_failures_alert: int = Field(default=3, ge=1, le=1000)
    """How many runs of a source fail in a row before that is an alert of its own."""
    sync_overdue_seconds: float = Field(default=300, gt=0, le=86400)
    """How late a run that is due by schedule may be made, and begun, before that is an alert."""
    sync_retention_days: float = Field(default=90, ge=1, le=36500)
    """How long runs that have ended are kept, with their logs, and alerts that are over. Each source's last run and its
    last that succeeded stay."""
    alert_retry_seconds: float = Field(default=10, gt=0, le=600)
    """The first wait after an alert could not be delivered; the following ones triple, with jitter. Ten tries, over
    about a day."""
    smtp_url: str = ""
    """The mail server that alerts are sent by: `smtp://user:password@host:587` (STARTTLS), or `smtps://host:465`. Plain
    SMTP is spoken only to a server on this machine. Empty: alerts can't go to e-mail addresses."""
    smtp_from: str = ""
    """The address that alerts are sent from. Required with `smtp_url`."""
    allow_loopback_sources: bool = False
    """Allows sources, and webhooks for alerts, on this machine over plain http, such as the sandbox shop. For
    development only."""

    @model_validator(mode="after")
    def _with_public_url(self) -> Self:
        if not self.public_url:
            scheme = "https" if self.tls_certificate else "http"
            self.public_url = f"{scheme}://{reachable(self.http_address)}"
        return self

    @property
    def has_tls(self) -> bool:
        """Whether the suite's services call each other by TLS."""
        return bool(self.tls_certificate or self.tls_ca)

    @property
    def reflects(self) -> bool:
        """`reflection`, decided."""
        return self.tls_certificate is None if self.reflection is None else self.reflection

    @property
    def required_redis_url(self) -> str:
        """`redis_url`. Raises OperatorError when it is not set."""
        if not self.redis_url:
            raise OperatorError(
                "HOOKLINE_REDIS_URL is not set; it names the Redis or Valkey to use, and `--embedded` brings one along."
            )
        return self.redis_url

    @property
    def required_secret_key(self) -> str:
        """`secret_key`. Raises OperatorError when it is not set."""
        if not self.secret_key:
            raise OperatorError("HOOKLINE_SECRET_KEY is not set; `python -m services secret-key` makes one.")
        return self.secret_key

    @property
    def required_database_url(self) -> str:
        """`database_url`. Raises OperatorError when it is not set."""
        if not self.database_url:
            raise OperatorError(
                "HOOKLINE_DATABASE_URL is not set; it names the PostgreSQL to use, and `--embedded` brings one along."
            )
        return self.database_url


# Names that begin like those of settings and are none: the client's, those of docs and of Compose files, and what
# processes tell each other.
_OTHERS = frozenset(
    f"HOOKLINE_{name}"
    for name in (
        *("COMPANY", "TOKEN", "TOKEN_FILE", "TLS", "CREDENTIAL", "ALERT_SECRET", "TLS_FOLDER"),
        *("LIFELINE_FD", "SERVING_FD", "PROCESS"),
    )
)
# The sandbox shop's own; and those that Kubernetes tells every container of a service by that is named "hookline-…".
_is_others = re.compile(
    r"HOOKLINE_(SANDBOX_.*|(.*_)?SERVICE_(HOST|PORT.*)|(.*_)?PORT(_\d+_(TCP|UDP|SCTP).*)?)"
).fullmatch


def _check_known(names: Iterable[str]) -> None:
    known = {f"HOOKLINE_{name}".upper() for name in Settings.model_fields} | _OTHERS
    for name in sorted(map(str.upper, names)):
        if name.startswith("HOOKLINE_") and name not in known and not _is_others(name):
            # One that is misspelt may be what was to keep others out.
            raise OperatorError(f"{name} is no setting of Hookline; shared/settings.py lists them.")


def load_settings(**overrides: Any) -> Settings:
    """Reads the settings. Raises OperatorError with one plain sentence when one of them is wrong, or is none that there
    is."""
    _check_known(os.environ)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = "HOOKLINE_" + "_".join(str(part) for part in wrong["loc"]).upper()
        raise OperatorError(f"{name} is wrong: {wrong['msg'].removeprefix('Value error, ')}.") from None
