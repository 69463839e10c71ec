"""The one HTTP client of a process: polite to whom it asks, and safe from whom it asks.

It reuses connections, takes gzip, keeps no cookies, follows no redirects, trusts no proxy of the environment, and reads
only so much and for so long. It connects to public addresses only; see `vetting`.
"""

import asyncio
import importlib.metadata
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from yarl import URL

from services.sync.connectors import Larger, Refused, TryLater
from services.sync.connectors.tokens import TokenCache
from services.sync.connectors.vetting import NotPublic, VettedSockets, VettingResolver, is_numeric, may_connect_to
from shared.settings import is_loopback

MAX_BODY_BYTES = 32 * 1024 * 1024
"""Of an answer, unpacked."""
LONGEST_RETRY_AFTER = 600.0
"""Half a day of waiting is better waited by the run than within a request."""
_SMALL_BODY = 64 * 1024
_PIECE = 256 * 1024


class Limits(msgspec.Struct, frozen=True):
    """How long to wait, in seconds, and how much to take."""

    connect: float = 10
    read: float = 30
    """For the next bytes of an answer."""
    total: float = 120
    body: int = MAX_BODY_BYTES


class Answer(msgspec.Struct, frozen=True):
    """What a server has answered, whole."""

    status: int
    headers: Mapping[str, str]
    """By their names, in any case."""
    body: bytes


class Http:
    """Made by `open_http`. Its errors are sentences for a person; in them the server is called `who`. They hold neither
    URLs nor what was sent."""

    def __init__(
        self, session: aiohttp.ClientSession, limits: Limits, *, allow_loopback: bool, roots: bytes | None
    ) -> None:
        self._session = session
        self._limits = limits
        self.allow_loopback = allow_loopback
        self.roots = roots
        """Certificates that are trusted instead of the usual ones, for clients of other protocols."""
        self.tokens = TokenCache()

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        most: int | None = None,
        who: str = "The platform",
    ) -> Answer:
        """Asks, and gives the answer, whatever its status; but redirects are refused. The URL is whole, and encoded as
        it is to be sent. Raises Refused for what needs a person, TryLater for what may get better, Larger for an answer
        of more than `most` bytes."""
        target = self._target(url, who)
        try:
            async with self._session.request(
                method, target, headers=headers, data=body, allow_redirects=False
            ) as response:
                _check_redirect(response.status, who)
                return Answer(response.status, response.headers, await self._read(response, most, who))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _explained(error, who) from None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, who: str = "The server") -> Answer:
        """Posts, and gives the answer without its body, which is not looked at. Raises as `ask`."""
        target = self._target(url, who)
        try:
            async with self._session.post(target, headers=headers, data=body, allow_redirects=False) as response:
                _check_redirect(response.status, who)
                # A connection is used again when its answer was read to the end.
                if not response.content.at_eof():
                    rest = await response.content.read(_SMALL_BODY)
                    if rest and not response.content.at_eof():
                        response.close()
                return Answer(response.status, response.headers, b"")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _explained(error, who) from None

    def _target(self, url: str, who: str) -> URL:
        try:
            if not (url.isascii() and url.isprintable()) or " " in url:
                raise ValueError
            # Byte for byte as it is given: what quotes more would ask for something else.
            target = URL(url, encoded=True)
            host = target.host or ""
        except (ValueError, TypeError):
            raise Refused(f"{who} has an address that is no URL.") from None
        if target.scheme != "https" and not (target.scheme == "http" and self.allow_loopback and is_loopback(host)):
            raise Refused(f"{who} must be asked over https.")
        if is_numeric(host) and not may_connect_to(host, allow_loopback=self.allow_loopback):
            raise Refused(f"{who} can't be asked: {NotPublic(host)}.")
        return target

    async def _read(self, response: aiohttp.ClientResponse, most: int | None, who: str) -> bytes:
        pieces, size = [], 0
        async for piece in response.content.iter_chunked(_PIECE):
            size += len(piece)
            if size > self._limits.body:
                response.close()
                raise Refused(f"{who} gives an answer larger than {self._limits.body >> 20} MiB.")
            if most is not None and size > most:
                response.close()
                raise Larger(self._limits.body)
            pieces.append(piece)
            # Whoever sends without a pause is not to have this process for itself.
            await asyncio.sleep(0)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@asynccontextmanager
async def open_http(
    *,
    allow_loopback: bool,
    connections: int = 100,
    limits: Limits | None = None,
    resolver: AbstractResolver | None = None,
    roots: Path | None = None,
) -> AsyncIterator[Http]:
    """The client, until the block ends. `resolver` takes the place of the system's, the certificates in the file
    `roots` that of those that everyone trusts; addresses are vetted all the same."""
    limits = limits or Limits()
    trusted = _read(roots) if roots else None
    vetting = VettingResolver(resolver or aiohttp.ThreadedResolver(), allow_loopback=allow_loopback)
    connector = aiohttp.TCPConnector(
        limit=connections,
        resolver=vetting,
        socket_factory=VettedSockets(allow_loopback=allow_loopback),
        ssl=ssl.create_default_context(cadata=trusted.decode()) if trusted else True,
    )
    timeout = aiohttp.ClientTimeout(
        total=limits.total, connect=limits.connect * 2, sock_connect=limits.connect, sock_read=limits.read
    )
    try:
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"hookline/{_version()}"},
            timeout=timeout,
            trust_env=False,
        ) as session:
            yield Http(session, limits, allow_loopback=allow_loopback, roots=trusted)
    finally:
        await vetting.close()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that an answer asks to wait, at most ten minutes; None when it says nothing of it."""
    header = headers.get("Retry-After")
    if not header:
        return None
    try:
        if header.strip().isdigit():
            seconds = float(header)
        else:
            moment = parsedate_to_datetime(header)
            # One that names its zone as "-0000" means UTC.
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _check_redirect(status: int, who: str) -> None:
    if 300 <= status < 400:
        raise Refused(f"{who} answers with a redirect ({status}), and redirects are not followed.")


def _explained(error: Exception, who: str) -> Refused | TryLater:
    """The sentence for what went wrong on the way to an answer."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, NotPublic):
        return Refused(f"{who} can't be asked: {cause}.")
    if isinstance(error, TimeoutError):
        return TryLater(f"{who} did not answer in time.")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Refused(f"{who} shows a certificate that is not valid for it.")
    if isinstance(error, aiohttp.InvalidURL):
        return Refused(f"{who} has an address that is no URL.")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return TryLater(f"{who} can't be reached: its name is not known.")
    if isinstance(error, aiohttp.ClientPayloadError):
        return TryLater(f"{who} broke off its answer, or packed it wrongly.")
    if isinstance(error, aiohttp.ClientError | OSError):
        return TryLater(f"{who} can't be reached, or broke off ({type(error).__name__}).")
    return Refused(f"{who} can't be asked with what is set for it.")


def _read(file: Path) -> bytes:
    return file.read_bytes()


def _version() -> str:
    try:
        return importlib.metadata.version("hookline")
    except importlib.metadata.PackageNotFoundError:
        return "0"
