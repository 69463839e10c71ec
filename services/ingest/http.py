"""The door: webhooks as platforms send them, by HTTP. From a request to a delivery, and back to an answer.

What a platform is told, and when, is in docs/endpoints.md. 2xx only once the event is committed.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping
from functools import cached_property

import structlog
from prometheus_client import Counter, Histogram

from services.ingest import answers
from services.ingest.answers import Answer
from services.ingest.committer import Committer
from services.ingest.http_connection import Receive, Scope
from services.ingest.mapping import Incoming, Mapper
from services.ingest.registry import Door, Registry
from shared import logs
from shared.errors import DeadlineExceeded, HooklineError, InternalError, ServerStopping
from shared.interceptors import REQUEST_ID
from shared.limits import Limiter
from shared.settings import Settings

PATH = "/v1/hooks/"
_HEALTH = "/healthz"
_AS_IT_IS = ("", "identity")

HOOKS = Counter("hookline_hooks", "Requests to the door that were answered.", ["outcome", "status"])
SECONDS = Histogram(
    "hookline_hook_seconds",
    "Time of requests to the door, from the end of their headers until they are answered.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60),
)
_log = structlog.get_logger()


class _Call:
    """A request under way. Its request id is made out only when someone asks; `door` is known once its token is."""

    def __init__(self, scope: Scope) -> None:
        self.headers = _joined(scope["headers"])
        self.began = time.perf_counter()
        self.door: Door | None = None

    @cached_property
    def request_id(self) -> str:
        """The sender's, if it sent a sensible one; else one of ours."""
        sent = self.headers.get(REQUEST_ID, "")
        return sent if 0 < len(sent) <= 128 and sent.isascii() and sent.isprintable() else uuid.uuid4().hex


class Hooks:
    """What is behind the door. Raises nothing, whatever comes."""

    def __init__(
        self,
        mapper: Mapper,
        committer: Committer,
        registry: Registry,
        settings: Settings,
        stopping: asyncio.Event,
        limiter: Limiter,
    ) -> None:
        self._limiter = limiter
        self._mapper = mapper
        self._committer = committer
        self._registry = registry
        self._stopping = stopping
        self._max_body_bytes = settings.max_event_bytes
        self._max_call_seconds = settings.max_call_seconds
        # Asked once: an answer that is not logged should not cost the asking.
        self._log_all = settings.log_level == "debug"
        self._counters: dict[tuple[str, int], Counter] = {}

    async def __call__(self, scope: Scope, receive: Receive) -> Answer | None:
        """Answers a request, given as by ASGI. None: the sender is gone before its request was there whole."""
        if scope["path"] == _HEALTH:
            return self._health(scope["method"])
        call = _Call(scope)
        logs.CURRENT_CALL.set(call)
        answer = await self._safe(call, scope, receive)
        if answer is None:
            return None
        SECONDS.observe(time.perf_counter() - call.began)
        self.count(answer)
        self._note(call, answer)
        return answer

    def count(self, answer: Answer) -> None:
        """Counts an answer, one that was given without this application too."""
        key = (answer.outcome, answer.status)
        if (counter := self._counters.get(key)) is None:
            counter = self._counters[key] = HOOKS.labels(answer.outcome, str(answer.status))
        counter.inc()

    def _note(self, call: _Call, answer: Answer) -> None:
        """Logs an answer. What comes from anywhere, without an endpoint's token, is worth no line."""
        if answer.status < 300 and not self._log_all:
            return
        door = call.door
        whose = {"company_id": door.company_id, "endpoint_id": door.endpoint_id} if door else {}
        # A company beyond its limit is counted: a flood shall not flood the log.
        log = _log.info if answer.status != 429 and (door or answer.status >= 500) else _log.debug
        log("hook", status=answer.status, outcome=answer.outcome, reason=answer.reason, **whose)

    def _health(self, method: str) -> Answer:
        if method not in ("GET", "HEAD"):
            return answers.not_allowed(b"GET, HEAD")
        return answers.NOT_SERVING if self._stopping.is_set() else answers.SERVING

    async def _safe(self, call: _Call, scope: Scope, receive: Receive) -> Answer | None:
        failure: HooklineError
        try:
            return await self._answer(call, scope, receive)
        except HooklineError as error:
            failure = error
        except asyncio.CancelledError:
            # The server has waited as long as it may: for this request, or for the last of all.
            late = DeadlineExceeded(f"not done within {self._max_call_seconds:.3g} s")
            failure = ServerStopping() if self._stopping.is_set() else late
        except Exception as error:
            failure = InternalError(call.request_id)
            _log.error("hook_failed", **logs.describe(error))
        return answers.of_error(failure, call.request_id)

    async def _answer(self, call: _Call, scope: Scope, receive: Receive) -> Answer | None:
        path = scope["raw_path"].decode("ascii")
        if not path.startswith(PATH):
            return answers.NOT_FOUND
        if scope["method"] != "POST":
            return answers.not_allowed(b"POST")
        door = call.door = await self._registry.endpoint(path[len(PATH) :])
        if door is None:
            return answers.UNKNOWN
        if door.revoked:
            return answers.REVOKED
        self._limiter.hook(door.company_id)
        headers = call.headers
        if headers.get("content-encoding", "").lower() not in _AS_IT_IS:
            return answers.ENCODED
        if int(headers.get("content-length", 0)) > self._max_body_bytes:
            return answers.too_large(self._max_body_bytes)
        body = await self._body(receive)
        if body is None:
            return None
        if len(body) > self._max_body_bytes:
            return answers.too_large(self._max_body_bytes)
        self._limiter.body(door.company_id, len(body))
        return await self._taken(door, body, headers, scope["query_string"].decode("latin-1"))

    async def _body(self, receive: Receive) -> bytes | None:
        """The whole body, or as much of it as shows that it is too large. None: the sender is gone. The connection sees
        to it that it comes in time."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message["body"])
            size += len(parts[-1])
            if not message["more_body"] or size > self._max_body_bytes:
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _taken(self, door: Door, body: bytes, headers: Mapping[str, str], query: str) -> Answer:
        rules = self._registry.cached(door.company_id) or await self._registry.rules(door.company_id)
        incoming = Incoming(door.platform, door.source, body, headers, query, at_door=True)
        mapped = self._mapper.map(incoming, rules)
        [result] = await (await self._committer.submit(door.company_id, [mapped], wait=False))
        return answers.of_result(result)


def _joined(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by their names, which come in lower case; those of one name joined."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
