"""Processes that a parent keeps: started again when they die, stopped in time, never left behind. And a service as
several of them, which share its ports."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NoReturn

import structlog

from shared.errors import OperatorError
from shared.settings import Settings, counted_up
from shared.sockets import bound, listening, taken

LIFELINE_FD = "HOOKLINE_LIFELINE_FD"
"""Names the file descriptor of a pipe that a parent holds open: at its end the process stops, so that services do not
outlive a parent that was killed."""
_SERVING_FD = "HOOKLINE_SERVING_FD"
"""Names the file descriptor of a pipe that a process writes to once it serves."""
_NUMBER = "HOOKLINE_PROCESS"
"""Tells a process which one of several it is."""

_FIRST_DELAY, _LONGEST_DELAY = 0.2, 10.0
_STEADY_SECONDS = 30
# Less than a supervisor gives, so that the parent is never killed before the processes that it waits for.
_GRACE_SECONDS = 2.5

_log = structlog.get_logger()


class ChildFailed(OperatorError):
    """A child ended before it was of any use, and has told the operator why itself."""


def why_ended(name: str, status: int, aim: str) -> OperatorError:
    """What the operator is told of a child that ended before it was `aim`."""
    text = f"{name} ended before it was {aim} ({how_ended(status)})."
    # With a status of its own choice a process has said why; a signal lets it say nothing.
    return ChildFailed(text) if status > 0 else OperatorError(text)


def how_ended(status: int) -> str:
    """An exit status, negative for a signal, in words."""
    return f"status {status}" if status >= 0 else f"signal {-status}"


async def end(process: asyncio.subprocess.Process, grace: float) -> None:
    """Ends a process if it still runs: SIGTERM, and SIGKILL when that has not helped within `grace` seconds."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def again_and_again(
    run_once: Callable[[], Awaitable[int | str]], ended: Callable[[str, float], None]
) -> NoReturn:
    """Runs something that should never end each time it has ended, after a delay that grows while it keeps ending.
    `run_once` returns an exit status or words for it; `ended` hears of each end, in words, and of the delay in seconds.
    What `run_once` raises passes."""
    delay = _FIRST_DELAY
    while True:
        began = time.monotonic()
        status = await run_once()
        if time.monotonic() - began >= _STEADY_SECONDS:
            delay = _FIRST_DELAY
        ended(status if isinstance(status, str) else how_ended(status), delay)
        await asyncio.sleep(delay)
        delay = min(delay * 2, _LONGEST_DELAY)


def one_of_several(settings: Settings) -> Settings | None:
    """The settings of this process as one of several, with a metrics address of its own. None: it is not one."""
    number = os.environ.get(_NUMBER)
    if number is None:
        return None
    if settings.metrics_address is None:
        return settings
    return settings.model_copy(update={"metrics_address": counted_up(settings.metrics_address, int(number))})


def tell_that_it_serves() -> None:
    """Tells the parent, if this process is one of several."""
    if descriptor := os.environ.pop(_SERVING_FD, None):
        # A parent that is gone need not be told; its lifeline ends this process.
        with suppress(BrokenPipeError):
            os.write(int(descriptor), b"\n")
        os.close(int(descriptor))


async def keep(settings: Settings, addresses: Sequence[str], stopping: asyncio.Event) -> None:
    """Runs this very program as `settings.processes` processes that share the addresses, until `stopping`.

    The first goes ahead, so that what is wrong is told once; the others follow when it serves. Raises OperatorError
    when an address is another's already, or (ChildFailed when it has told why) when a process ends before it has ever
    served.
    """
    with _reserved(addresses):
        parent = _Parent(settings)
        try:
            await parent.run(stopping)
        finally:
            await parent.stop()


@contextmanager
def _reserved(addresses: Sequence[str]) -> Iterator[None]:
    """Makes sure that nobody listens on the addresses, and that only who shares them can."""
    with ExitStack() as held:
        for address in addresses:
            try:
                listening(address).close()
                # It never listens, and so is given no connections.
                held.enter_context(bound(address, shared=True))
            except OSError:
                raise taken(address) from None
        yield


class _Parent:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lifeline = os.pipe()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[NoReturn]] = []

    async def run(self, stopping: asyncio.Event) -> None:
        served = asyncio.Event()
        self._keepers.append(asyncio.create_task(self._keep(0, served)))
        await self._until(served, stopping)
        if not stopping.is_set():
            others = range(1, self._settings.processes)
            self._keepers += [asyncio.create_task(self._keep(number, asyncio.Event())) for number in others]
            await self._until(stopping)

    async def stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        grace = self._settings.drain_seconds + _GRACE_SECONDS
        await asyncio.gather(*(end(process, grace) for process in self._processes.values()))
        for descriptor in self._lifeline:
            os.close(descriptor)

    async def _until(self, *events: asyncio.Event) -> None:
        """Waits for one of the events; raises what ends a keeper before."""
        waiting = [asyncio.create_task(event.wait()) for event in events]
        try:
            done, _ = await asyncio.wait([*waiting, *self._keepers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        for ended in done:
            ended.result()

    async def _keep(self, number: int, served: asyncio.Event) -> NoReturn:
        async def run_once() -> int:
            process, serving = await self._spawn(number)
            self._processes[number] = process
            # At the pipe's end without a word it has ended.
            if await serving.read(1):
                served.set()
            status = await process.wait()
            # Others serve already when a later one starts: killed from outside, it is only started again.
            was_killed = number > 0 and status < 0
            if not served.is_set() and not was_killed:
                raise why_ended(f"Process {number}", status, "serving")
            return status

        def ended(how: str, delay: float) -> None:
            _log.warning("process_ended", process=number, how=how, restart_seconds=delay)

        await again_and_again(run_once, ended)

    async def _spawn(self, number: int) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
        reading, writing = os.pipe()
        serving = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(serving), os.fdopen(reading, "rb", buffering=0)
        )
        lifeline, _ = self._lifeline
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *sys.orig_argv[1:],
                env=os.environ | {_NUMBER: str(number), LIFELINE_FD: str(lifeline), _SERVING_FD: str(writing)},
                pass_fds=(lifeline, writing),
            )
        finally:
            os.close(writing)
        return process, serving
