"""A connection to the door: uvicorn's, with limits to what a sender may do.

One that is slow, idle, or one too many costs little and ends; nothing that it sends is ever logged.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Any, Protocol, TypeAlias

import uvicorn
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from services.ingest import answers
from services.ingest.answers import Answer
from shared.settings import Settings
from shared.sockets import BACKLOG

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]

MAX_HEAD_BYTES = 32 * 1024
"""Of the request line and the headers. The contract's limits are stricter, and told more kindly."""
IDLE_SECONDS = 75
"""Longer than proxies keep an idle connection, or they would send into one that is being closed."""
SPARE_CONNECTIONS = 64
"""Connections beyond the limit that are answered; any more are cut."""


class Application(Protocol):
    """What is served. Raises nothing."""

    async def __call__(self, scope: Scope, receive: Receive) -> Answer | None:
        """Answers a request, given as by ASGI; is cancelled when that takes too long, and still answers. None: the
        sender is gone before its request was there whole."""

    def count(self, answer: Answer) -> None:
        """Hears of an answer that was given without the application."""


class Config(uvicorn.Config):
    """uvicorn's, with what our connections need beside it."""

    def __init__(self, app: Application, settings: Settings, stopping: asyncio.Event) -> None:
        super().__init__(
            _no_asgi,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            # What it has to say is about callers; what matters is in our answers and metrics.
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            backlog=BACKLOG,
        )
        self.application = app
        self.stopping = stopping
        self.most_connections = settings.http_connections
        self.whole_seconds = settings.http_body_seconds
        self.answer_seconds = settings.max_call_seconds
        self.head = b""
        """The headers that all answers have, as lines."""

    def tell_the_time(self) -> None:
        """Makes the Date that answers carry."""
        date = formatdate(usegmt=True).encode()
        self.head = b"date: %b\r\ncontent-type: application/json\r\ncache-control: no-store\r\n" % date


class Connection(HttpToolsProtocol):
    """A connection, with limits: to the size of a request's head, to the time until a request is there whole, and to
    how many connections there are."""

    def __init__(self, config: Config, *args: Any, **named: Any) -> None:
        super().__init__(config, *args, **named)
        self._server = config
        self._application = config.application
        self._made = 0.0
        # When the request that is not there whole yet began to come. None: there is none.
        self._began: float | None = None
        self._is_in_head = False
        self._head_bytes = 0
        self._asks_for_upgrade = False
        self._plain_head = b""
        # The request that is being dealt with, and since when.
        self._task: asyncio.Task[None] | None = None
        self._task_began = 0.0
        # One more than there may be: its first request is its last.
        self._is_surplus = False
        # Since when it has been seen to rest between two requests.
        self._rests_since: float | None = None
        # Refused for good, and since when: what still comes is read, so that the sender gets to read too, and thrown
        # away.
        self._is_deaf = False
        self._deaf_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._began = self._made = self.loop.time()
        surplus = len(self.connections) - self._server.most_connections
        if surplus > SPARE_CONNECTIONS:
            transport.abort()
        elif surplus > 0 and not self._displace_an_idle_one():
            self._is_surplus = True

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self._began is None:
            self._began = self.loop.time()
        was_in_head = self._is_in_head
        try:
            self._feed(data)
        except HttpParserError:
            self.send_400_response("")
        # The first piece may hold the end of another request. It is no larger than the loop reads at once.
        if was_in_head and self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(answers.HEAD_TOO_LARGE)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                # No upgrade is made here, and where one is asked for the parser skips the body: again, without the
                # asking. What follows may ask again.
                self.parser = HttpRequestParser(self)
                data = self._plain_head + data[upgrade.args[0] :]
            else:
                return

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._began = self.loop.time()
        self._is_in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._asks_for_upgrade = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._asks_for_upgrade:
            kept = [line for line in self.headers if line[0] not in (b"connection", b"upgrade")]
            lines = b"".join(b"%b: %b\r\n" % line for line in kept)
            self._plain_head = b"%b %b HTTP/1.1\r\n%b\r\n" % (self.parser.get_method(), self.url, lines)
            return
        # For the next one: of this one nothing is to be read again.
        self._plain_head = b""
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._asks_for_upgrade:
            return
        self._began = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(answers.MALFORMED)

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer for idle connections."""
        if self.transport.is_closing():
            return
        # Also where no more is heard: then what is read is thrown away.
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def look_after(self, now: float) -> None:
        """Ends what takes too long: a request that does not become whole, or is not answered, or does not come at all.
        Looking from time to time is cheaper than timers for each request."""
        if self._task is not None and now - self._task_began > self._server.answer_seconds:
            self._task.cancel()
        if self._is_deaf:
            if self._task is None and now - self._deaf_since > self._server.whole_seconds:
                self.transport.close()
        elif self.pipeline or self._is_working:
            self._rests_since = None
        elif self._began is None:
            self._rests_since = self._rests_since or now
            if now - self._rests_since > IDLE_SECONDS:
                self.transport.close()
        elif now - self._began > self._server.whole_seconds:
            is_answered = self.cycle is None or self.cycle.response_complete
            if is_answered and not self._is_in_head:
                # Nothing came, or it is what has been answered already.
                self.transport.close()
            else:
                self._refuse(answers.TOO_SLOW)

    @property
    def _is_working(self) -> bool:
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    @property
    def _is_idle(self) -> bool:
        return self._began is None and not (self._is_working or self.pipeline or self.transport.is_closing())

    def _displace_an_idle_one(self) -> bool:
        # The oldest: uvicorn's set has no order.
        idle = [other for other in self.connections if isinstance(other, Connection) and other._is_idle]
        if not idle:
            return False
        min(idle, key=lambda other: other._made).transport.close()
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """What uvicorn calls to have a request dealt with. Not by ASGI to the end: an answer as a whole is one write
        where ASGI's two messages are two, and these are what sending costs."""
        task = self.loop.create_task(self._deal_with(cycle))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._task, self._task_began = task, self.loop.time()

    async def _deal_with(self, cycle: RequestResponseCycle) -> None:
        if self._is_surplus:
            answer: Answer | None = answers.TOO_MANY
            self._application.count(answers.TOO_MANY)
        else:
            answer = await self._application(cycle.scope, cycle.receive)
        self._task = None
        if answer is None or cycle.disconnected:
            if self._is_deaf:
                # It never became whole, and what came in its place was refused.
                self._end(is_whole=False)
            return
        cycle.response_started = cycle.response_complete = True
        # A body that was announced, and was not asked for, may still come or not.
        may_go_on = cycle.keep_alive and not cycle.waiting_for_100_continue
        is_refused = self._is_deaf and not self.pipeline
        is_last = self._is_surplus or not may_go_on or is_refused or self._server.stopping.is_set()
        self._write(answer, is_last, has_body=cycle.scope["method"] != "HEAD")
        if is_last:
            self._end(is_whole=not cycle.more_body)
        self.on_response_complete()

    def _refuse(self, answer: Answer) -> None:
        """Answers what does not become a request, and ends the connection."""
        is_behind = bool(self.pipeline) or self._is_working
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if is_behind:
            # It follows some that are being dealt with: the answer to the last of them is the last.
            self._hear_no_more()
            return
        self._application.count(answer)
        self._write(answer, is_last=True)
        self._end(is_whole=False)

    def _write(self, answer: Answer, is_last: bool, *, has_body: bool = True) -> None:
        if self.transport.is_closing():
            # The sender is gone.
            return
        last = b"connection: close\r\n\r\n" if is_last else b"\r\n"
        body = answer.body if has_body else b""
        self.transport.write(b"".join((STATUS_LINE[answer.status], self._server.head, answer.head, last, body)))

    def _end(self, *, is_whole: bool) -> None:
        """Ends the connection; where the sender may be sending still, when it does or its time is up. Closed at once,
        it might not get to read its answer."""
        self.pipeline.clear()
        if is_whole:
            self.transport.close()
        elif not self.transport.is_closing():
            # TLS has no half-closed connections.
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self._hear_no_more()

    def _hear_no_more(self) -> None:
        self._is_deaf = True
        self._deaf_since = self.loop.time()


async def _no_asgi(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("requests are dealt with by the connection")
