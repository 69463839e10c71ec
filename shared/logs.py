"""Structured logs: one JSON object a line on stderr.

Logs hold no payloads and no personal data. Hence an exception is logged as its type and the places it passed through,
never with its text: that may quote a row, a name, a document.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Protocol

import asyncpg
import structlog

LEVELS = ("debug", "info", "warning", "error")


class Call(Protocol):
    """A call under way, as far as logs are concerned."""

    @property
    def request_id(self) -> str: ...


CURRENT_CALL: ContextVar[Call] = ContextVar("current_call")
"""The call that this task works for. Asked for its request id only when there is something to log."""


def configure(service: str, level: str) -> None:
    """Sets logging up for this process. Every line carries the service's name and, within a call, its request id."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    # grpc and asyncio speak up through stdlib logging, and only when something is wrong.
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)


def _add_request_id(logger: object, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (call := CURRENT_CALL.get(None)) is not None:
        event["request_id"] = call.request_id
    return event


def describe(error: BaseException) -> dict[str, Any]:
    """An exception without its text: type, SQLSTATE and constraint of a database error, places, and its cause."""
    described: dict[str, Any] = {
        "error": type(error).__name__,
        "places": [
            f"{frame.filename.rpartition('/site-packages/')[2]}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ],
    }
    if isinstance(error, asyncpg.PostgresError):
        described |= {"sqlstate": error.sqlstate, "constraint": getattr(error, "constraint_name", None)}
    if error.__cause__ is not None:
        described["cause"] = describe(error.__cause__)
    return described
