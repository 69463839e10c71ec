"""From what went wrong to one sentence and an exit status. The only place that knows either."""

import traceback
from dataclasses import dataclass, field
from typing import Any

import click

from hookline.client import (
    HooklineError,
    IncompleteExport,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServerDefect,
    TlsFailed,
    Unavailable,
    Unreachable,
)

LOCAL, USAGE, NOT_FOUND, SET_ASIDE, INTERRUPTED, PIPE_CLOSED = 1, 2, 4, 6, 130, 141
RUN_FAILED, RUN_CANCELLED, SOURCE_FAULTY, RUN_INCOMPLETE, NOT_DELIVERED = 10, 11, 12, 13, 14

EXIT_STATUSES = """\b
Exit status:
  0    fine
  1    something here failed, such as a file; or you said no
  2    the command was not used as it should be
  3    the request was refused as invalid
  4    there is nothing of that id or name
  5    not permitted
  6    some events were, or are still, quarantined or rejected
  7    Hookline does not answer, or can't just now
  8    a defect of the server
  9    the export is incomplete
  10   sync: the run has failed
  11   sync: the run was cancelled
  12   sync: the source does not work
  13   sync: the run is incomplete: the source gave less than it says it has
  14   alerts: the test was not delivered
  130  interrupted by Ctrl-C
  141  the reader of our output went away
  143  ended by SIGTERM"""

_KINDS: dict[type[HooklineError], tuple[str, int]] = {
    HooklineError: ("failed", LOCAL),
    InvalidRequest: ("invalid_request", 3),
    NotFound: ("not_found", NOT_FOUND),
    PermissionDenied: ("permission_denied", 5),
    Unavailable: ("unavailable", 7),
    Unreachable: ("unreachable", 7),
    TlsFailed: ("tls_failed", 7),
    ServerDefect: ("server_defect", 8),
    IncompleteExport: ("incomplete_export", 9),
}


@dataclass(frozen=True)
class Failure:
    """What to tell: the kind for machines, a sentence for people, the exit status, and more for machines."""

    kind: str
    message: str
    exit_status: int
    details: dict[str, Any] = field(default_factory=dict)


def explain(error: BaseException) -> Failure:
    """Explains any error; the most specific explanation wins."""
    match error:
        case HooklineError():
            kind, status = next(_KINDS[each] for each in type(error).__mro__ if each in _KINDS)
            message = error.message
            if isinstance(error, Unreachable):
                message = f"Nothing answers at {error.address}; is Hookline running? `make run` starts it."
            elif isinstance(error, TlsFailed) and error.untrusted:
                message = f"{error.message} --ca-file or HOOKLINE_TLS_CA names what to trust."
            elif error.reason == "UNAUTHENTICATED":
                message = f"{error.message}. HOOKLINE_TOKEN or --token-file gives one."
            return Failure(kind, message, status, _details(error))
        case click.Abort() | KeyboardInterrupt():
            return Failure("interrupted", "Interrupted.", INTERRUPTED)
        case click.ClickException():
            return Failure("usage", error.format_message(), USAGE)
        case OSError():
            about = f"{error.filename}: " if error.filename else ""
            return Failure("local", f"{about}{error.strerror or error}", LOCAL)
    return Failure(
        "defect", f"A defect of this command: {error!r}", LOCAL, {"trace": traceback.format_exception(error)}
    )


def _details(error: HooklineError) -> dict[str, Any]:
    return {
        "code": error.code.name if error.code else None,
        "reason": error.reason or None,
        "violations": [violation._asdict() for violation in error.violations],
        "retry_delay": error.retry_delay,
        "metadata": error.metadata,
    }
