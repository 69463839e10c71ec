"""How often something is tried again, and after what wait."""

import random
from collections.abc import Callable

import tenacity

from services.sync.connectors import TryLater

ATTEMPTS = 6
LONGEST_WAIT = 60
"""In units of the first wait."""


def backoff(first: float, attempt: int) -> float:
    """The wait after the attempt of that number, 1 being the first: 1, 2, 4 … times the first, up to 60; between half
    of it and all."""
    longest: float = first * min(2 ** min(attempt - 1, 30), LONGEST_WAIT)
    return longest * random.uniform(0.5, 1)  # noqa: S311  # jitter, nothing secret


def patient(
    first: float, attempts: int, before_retry: Callable[[tenacity.RetryCallState], None]
) -> tenacity.AsyncRetrying:
    """Calls a function until it does not raise TryLater, with waits in between that grow, and are longer where the
    platform asks for it. Raises the last one when no attempt has helped."""

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        told = error.retry_after if isinstance(error, TryLater) and error.retry_after else 0.0
        return max(backoff(first, state.attempt_number), told)

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(TryLater),
        wait=wait,
        stop=tenacity.stop_after_attempt(attempts),
        before_sleep=before_retry,
        reraise=True,
    )
