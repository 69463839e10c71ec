"""Structured logs: one JSON object a line on stderr.

Logs hold no payloads and no personal data. Hence an exception is logged as its type and the places it passed through,
never with its text: that may quote a row, a name, a document.
"""

import logging
import sys
import traceback
from typing import Any

import asyncpg
import structlog

LEVELS = ("debug", "info", "warning", "error")


def configure(service: str, level: str) -> None:
    """Sets logging up for this process. Every line carries the service's name and, within a call, its request id."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
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
