"""What every call passes through, outermost: request id, who calls and whether they may, time limit, errors into
google.rpc.Status, logs, metrics.

One layer and not five, because each costs every call. Nothing that a handler raises gets past it: a HooklineError
goes out as it is, anything else as INTERNAL with the request id, its cause into the log.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, nullcontext
from functools import cached_property, partial
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import Message
from prometheus_client import Counter, Gauge, Histogram

from shared import logs
from shared.auth import ANONYMOUS, CALLER, RULES, Caller, Rule, Scope, check_company
from shared.errors import (
    DeadlineExceeded,
    HooklineError,
    InternalError,
    LimitReached,
    MalformedMessage,
    MethodNotFound,
    ReaderStalled,
)
from shared.gate import Gate
from shared.limits import Limiter, patiently

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

CALLS = Counter("hookline_grpc_calls", "Calls ended.", ["method", "code"])
SECONDS = Histogram(
    "hookline_grpc_call_seconds",
    "Time of unary calls, and of streams from their start to their end.",
    ["method"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60),
)
RUNNING = Gauge("hookline_grpc_calls_running", "Calls under way.", ["method"])

REQUEST_ID = "x-request-id"
_log = structlog.get_logger()


class _Malformed:
    """Stands for a request whose bytes are not its message: gRPC itself would answer UNKNOWN or INTERNAL."""


_MALFORMED = _Malformed()


class _Call:
    """A call under way. Its request id is made out only when someone asks."""

    _refusal: HooklineError | None = None

    def __init__(self, context: Context) -> None:
        self._context = context
        self._task = asyncio.current_task()

    @cached_property
    def request_id(self) -> str:
        """The caller's, if it sent a sensible one; else one of ours."""
        for key, value in self._context.invocation_metadata() or ():
            if key == REQUEST_ID and isinstance(value, str) and 0 < len(value) <= 128:
                return value
        return uuid.uuid4().hex

    def end(self, error: HooklineError) -> None:
        """Ends it with an error, wherever it is."""
        if self._refusal is None and self._task is not None:
            self._refusal = error
            self._task.cancel()

    def ended(self) -> HooklineError | None:
        """What it was ended with from outside, if it was. From here on it can wait again."""
        if self._refusal is not None and self._task is not None:
            self._task.uncancel()
        return self._refusal


class CallInterceptor(grpc.GenericRpcHandler):
    """Every method of a server, wrapped. Takes the server's place where services are added, and is then added to it.

    Methods are wrapped once and looked up by name. grpc.aio's own ways cost each call more: interceptors are run for
    it, and of the methods that are registered with the server every single one is looked at.

    Unary calls are cut off after `max_call_seconds`, or the caller's deadline if sooner; streams when their caller
    takes nothing for `stall_seconds`. `log_all`: calls that succeed are logged too.

    A method without a rule in `shared.auth` is not served. `gate`: knows who calls; without one anybody may do all.
    `limiter`: holds companies to their limits; each message of a stream counts as a request, and waits for its turn.
    """

    def __init__(
        self,
        max_call_seconds: float,
        stall_seconds: float,
        *,
        gate: Gate | None = None,
        limiter: Limiter | None = None,
        log_all: bool = False,
    ) -> None:
        self._gate = gate
        self._limiter = limiter or Limiter()
        self._max_call_seconds = max_call_seconds
        self._stall_seconds = stall_seconds
        # Asked once: a call that is not logged should not cost the asking.
        self._log_all = log_all
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        # One for them all: a caller can make up any number of names.
        unknown: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(_method_not_found)
        self._unknown = self._wrap("unknown", unknown, Rule.NOTHING)

    def add_registered_method_handlers(
        self, service: str, methods: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """Takes the methods of a service. Generated code calls this."""
        for name, handler in methods.items():
            method = f"{service}/{name}"
            rule = RULES.get(method)
            if rule is None:
                _log.error("method_without_rule", method=method)
                continue
            self._methods[f"/{method}"] = self._wrap(method, handler, rule)

    def add_generic_rpc_handlers(self, handlers: "Iterable[grpc.GenericRpcHandler]") -> None:
        """Does nothing: generated code names the same methods to the other one."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """The method that is called; one that says so where there is none."""
        return self._methods.get(handler_call_details.method, self._unknown)

    def _wrap(
        self, method: str, handler: "grpc.RpcMethodHandler[Any, Any]", rule: Scope | Rule
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        seconds, ok = SECONDS.labels(method), CALLS.labels(method, "OK")
        running: set[_Call] = set()
        RUNNING.labels(method).set_function(lambda: len(running))
        # One of the four is set. `Any`: what it returns depends on the kind, and on how it is written.
        behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        async def handle(request: Any, context: Context) -> Any:
            call = _Call(context)
            logs.CURRENT_CALL.set(call)
            started = time.perf_counter()
            running.add(call)
            code, log = "OK", _log.info
            try:
                return await run(request, context, call)
            except HooklineError as error:
                failure = call.ended() or error
                code = failure.code.name
                if isinstance(error, LimitReached):
                    # It is counted; a flood shall not flood the log.
                    log = _log.debug
            except asyncio.CancelledError:
                refusal = call.ended()
                if refusal is None:
                    code = "CANCELLED"
                    raise
                # Ended by us, not by the caller, who is still to be told.
                failure = refusal
                code = failure.code.name
            except grpc.aio.AbortError:
                # Of gRPC's own services (health, reflection), which say what they mean themselves.
                code = "ABORTED_BY_SERVICE"
                raise
            except Exception as error:
                failure = call.ended() or InternalError(call.request_id)
                code = failure.code.name
                _log.error("call_failed", method=method, **logs.describe(error))
            finally:
                running.remove(call)
                took = time.perf_counter() - started
                seconds.observe(took)
                if code != "OK":
                    CALLS.labels(method, code).inc()
                    # UNIMPLEMENTED: tools that look for a newer reflection first.
                    log = _log.debug if code in ("CANCELLED", "UNIMPLEMENTED") else log
                    log("call", method=method, code=code, seconds=round(took, 6))
                else:
                    ok.inc()
                    if self._log_all:
                        _log.debug("call", method=method, code=code, seconds=round(took, 6))
            await _abort(context, failure, call.request_id)
            raise AssertionError("abort always raises")

        gate = None if rule is Rule.NOTHING else self._gate
        limiter = self._limiter
        names_company = isinstance(rule, Scope)

        def passed(request: Any, caller: Caller) -> Any:
            """Every request passes here, each one of a stream too, before anything is done or looked up for it."""
            if request is _MALFORMED:
                raise MalformedMessage("the bytes received are not a message of the request's type")
            if names_company:
                check_company(caller, request)
                if not handler.request_streaming:
                    limiter.request(request.company_id, request)
            return request

        async def admitted(gate: Gate, context: Context) -> Caller:
            caller = await gate.admit(context.invocation_metadata(), rule)
            CALLER.set(caller)
            return caller

        async def run_unary(request: Any, context: Context, call: _Call) -> Any:
            limit = min(self._max_call_seconds, context.time_remaining() or self._max_call_seconds)
            try:
                async with asyncio.timeout(limit):
                    caller = ANONYMOUS if gate is None else await admitted(gate, context)
                    return await behaviour(passed(request, caller), context)
            except TimeoutError as error:
                raise DeadlineExceeded(f"not done within {limit:.3g} s") from error

        async def run_streaming(request: Any, context: Context, call: _Call) -> Any:
            caller = ANONYMOUS if gate is None else await admitted(gate, context)
            if handler.request_streaming:
                request = _each(request, lambda one: passed(one, caller), limiter if names_company else Limiter())
            else:
                passed(request, caller)
            with nullcontext() if gate is None else gate.streaming(caller, call):
                return await stream(request, context)

        async def stream(request: Any, context: Context) -> Any:
            responses = behaviour(request, context)
            if not hasattr(responses, "__aiter__"):
                return await responses
            # Closed here and now, not when collected: what the handler holds is released with the call.
            async with aclosing(responses):
                async for response in responses:
                    try:
                        async with asyncio.timeout(self._stall_seconds):
                            await context.write(response)
                    except TimeoutError:
                        raise ReaderStalled(self._stall_seconds) from None
                    except Exception:
                        if context.cancelled():
                            # gRPC's own way to say that the caller has gone away meanwhile.
                            raise asyncio.CancelledError from None
                        raise
            return None

        is_unary = not (handler.request_streaming or handler.response_streaming)
        run = run_unary if is_unary else run_streaming
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        return make(handle, _checked(handler.request_deserializer), handler.response_serializer)


def _checked(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserialize is None:
        return None

    def checked(data: bytes) -> Any:
        try:
            return deserialize(data)
        except Exception:
            return _MALFORMED

    return checked


async def _each(requests: AsyncIterator[Any], passed: Callable[[Any], Any], limiter: Limiter) -> AsyncIterator[Any]:
    company_id = ""
    async for request in requests:
        passed(request)
        if not limiter.is_idle:
            # Only the first one need name it.
            company_id = request.company_id or company_id
            await patiently(partial(limiter.request, company_id, request))
        yield request


async def _method_not_found(request: Any, context: Context) -> Message:
    raise MethodNotFound("this server has no such method")


async def _abort(context: Context, error: HooklineError, request_id: str) -> None:
    trailing = ((REQUEST_ID, request_id), ("grpc-status-details-bin", error.to_status().SerializeToString()))
    await context.abort(error.code, error.message, trailing)
