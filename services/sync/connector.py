"""Fetches a platform's history over HTTP: one page a call, tried again as long as that may help."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
import msgspec
import tenacity

from services.sync.history import Cursor, HistoryPage, Refused, Unreadable, read_page
from shared.platforms import History

TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_URL = 2_000
ATTEMPTS = 6
LONGEST_WAIT = 60
"""In units of the first wait."""


class TryLater(Exception):
    """The platform fails, or says "not now". Its text is for a person."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the platform asks to wait."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where a source's history is, and what to show there."""

    base_url: str
    credential: str
    parameters: dict[str, str]
    history: History


def check_base_url(url: str, *, allow_loopback: bool) -> str | None:
    """What is wrong with a source's address; None when nothing is."""
    if len(url) > MAX_URL or not (url.isascii() and url.isprintable()) or " " in url:
        return f"must be printable ASCII without spaces, at most {MAX_URL:,} characters"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        # As the resolver will: a label may be too long, or empty.
        (host or "").encode("idna")
    except ValueError:
        return "is no URL"
    if not host or parts.username is not None or parts.query or parts.fragment:
        return "must be a URL of a host and perhaps a path, without a user, query or fragment"
    if parts.scheme == "https" or (
        parts.scheme == "http" and allow_loopback and host in ("127.0.0.1", "::1", "localhost")
    ):
        return None
    return "must be https"


class Connector:
    """Fetches pages of one source, one after the other. `first_wait` is that of the first retry, in seconds."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint, first_wait: float) -> None:
        self._session = session
        self._endpoint = endpoint
        self._first_wait = first_wait
        self.retries = 0
        """Requests that were made again, so far."""

    async def page(self, cursor: Cursor, attempts: int = ATTEMPTS) -> HistoryPage:
        """The page that begins at the cursor. Raises Refused, or TryLater when no attempt has helped."""

        def count(_: tenacity.RetryCallState) -> None:
            self.retries += 1

        patient = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(TryLater),
            wait=wait_as_told(self._first_wait),
            stop=tenacity.stop_after_attempt(attempts),
            before_sleep=count,
            reraise=True,
        )
        return await patient(self._fetch, cursor)

    async def _fetch(self, cursor: Cursor) -> HistoryPage:
        history = self._endpoint.history
        query = {**self._endpoint.parameters, history.since: cursor.since, history.limit: str(history.page_size)}
        try:
            async with self._session.get(
                self._endpoint.base_url.rstrip("/") + history.path,
                params=query,
                headers={"Authorization": f"Bearer {self._endpoint.credential}"},
                timeout=TIMEOUT,
                # A redirect could lead anywhere, with the credential.
                allow_redirects=False,
            ) as response:
                _check_status(response)
                body = await _read_capped(response)
        except TimeoutError:
            raise TryLater("The platform did not answer in time.") from None
        except aiohttp.ClientError as error:
            raise TryLater(f"The platform can't be reached, or broke off ({type(error).__name__}).") from None
        try:
            return read_page(history, body, cursor)
        except Unreadable as error:
            raise TryLater(str(error)) from None


def wait_as_told(first: float) -> Callable[[tenacity.RetryCallState], float]:
    """Exponential: 1, 2, 4 … times the first, up to 60; each between half of it and all. Longer if so told."""

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        told = error.retry_after if isinstance(error, TryLater) and error.retry_after else 0.0
        return max(backoff(first, state.attempt_number), told)

    return wait


def backoff(first: float, attempt: int) -> float:
    """The wait after the attempt of that number, 1 being the first."""
    longest: float = first * min(2 ** min(attempt - 1, 30), LONGEST_WAIT)
    return longest * random.uniform(0.5, 1)  # noqa: S311  # jitter, nothing secret


def _check_status(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status == 200:
        return
    if status == 429 or status >= 500:
        raise TryLater(f"The platform answers {status}.", _retry_after(response.headers.get("Retry-After")))
    if status in (401, 403):
        raise Refused(f"The platform refuses the credential ({status}).")
    raise Refused(f"The platform answers {status}.")


def _retry_after(header: str | None) -> float | None:
    if not header:
        return None
    try:
        if header.strip().isdigit():
            seconds = float(header)
        else:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    # Half a day of waiting is better waited by the run than within a request.
    return min(max(seconds, 0.0), 600.0)


async def _read_capped(response: aiohttp.ClientResponse) -> bytes:
    pieces, size = [], 0
    async for piece in response.content.iter_chunked(256 * 1024):
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise Refused(f"The platform's answer is larger than {MAX_BODY_BYTES >> 20} MiB.")
        pieces.append(piece)
        await asyncio.sleep(0)
    return b"".join(pieces)
