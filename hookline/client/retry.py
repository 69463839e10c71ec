"""When to try again, and when to give up. Pure but for the clock: the clients do the waiting."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from hookline.client.errors import HooklineError, TlsFailed, Unavailable, from_grpc

FIRST_DELAY = 0.1
MAX_DELAY = 5.0


@dataclass
class Service:
    """A service's address, how long to bear with it, and whether it has ever answered.

    `patience` is how long to go on trying, in seconds since things were last well; `connect_patience` takes its place
    for as long as nothing has ever answered.
    """

    address: str
    patience: float
    connect_patience: float
    reached: bool = False

    def ended_early(self, missing: str = "it had acknowledged everything") -> HooklineError:
        """The error of a stream that ended well, but too early: before what was still to come."""
        return Unavailable(f"{self.address} ended the stream before {missing}.", code=grpc.StatusCode.UNAVAILABLE)

    def silent(self, seconds: float) -> HooklineError:
        """The error of a stream on which nothing has come for so long."""
        return Unavailable(
            f"{self.address} has acknowledged nothing for {seconds:g} s.", code=grpc.StatusCode.DEADLINE_EXCEEDED
        )

    def error(self, cause: grpc.RpcError) -> HooklineError:
        """The error of what gRPC raised for a call to this address."""
        error = from_grpc(cause, self.address, reached=self.reached)
        # A reason can only come from Hookline itself.
        self.reached = self.reached or bool(error.reason)
        return error


class BrokenStream(Exception):
    """Between a client's own parts: its stream broke, and not the code of the caller that ran meanwhile."""

    def __init__(self, error: HooklineError) -> None:
        super().__init__(error)
        self.error = error


class Retry:
    """The attempts of one piece of work that is safe to repeat. Only what can get better by itself is sent again:
    UNAVAILABLE, a call broken off, a stream that its reader left standing, and RESOURCE_EXHAUSTED where the server says
    when to come back (without that, a message is too large, and stays so)."""

    def __init__(
        self,
        service: Service,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._service = service
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._failing_since = 0.0

    def progressed(self) -> None:
        """Notes that something went well: patience starts anew."""
        self._service.reached = True
        self._failures = 0

    def delay_after(self, cause: grpc.RpcError | HooklineError, *, may_pass: bool = False) -> float:
        """Gives the seconds to wait before the next attempt, or raises the error that ends the work. `may_pass`: the
        caller knows of more than is known here that it can get better by itself.

        Waits grow twofold from 0.1 s to 5 s, each cut by up to half at random so that many callers don't come back at
        once; what the server asks for is honoured, and given up on at once when it is longer than patience lasts.
        """
        now = self._clock()
        error = cause if isinstance(cause, HooklineError) else self._service.error(cause)
        if self._failures == 0:
            self._failing_since = now
        patience = self._service.patience if self._service.reached else self._service.connect_patience
        left = self._failing_since + patience - now
        # Certificates are renewed while it runs; one that never was any good will not be soon.
        hopeless = isinstance(error, TlsFailed) and not self._service.reached
        if hopeless or not (may_pass or _may_pass(error)) or left <= 0 or (error.retry_delay or 0) > left:
            raise error
        # The exponent is bounded, too: a float can't hold what an hour of patience comes to.
        backoff = min(FIRST_DELAY * 2.0 ** min(self._failures, 10), MAX_DELAY) * (1 - self._jitter() / 2)
        self._failures += 1
        return min(max(backoff, error.retry_delay or 0), left)


def _may_pass(error: HooklineError) -> bool:
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_delay is not None
    # The reader was slow, and is here again.
    return error.reason == "READER_STALLED" or error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
