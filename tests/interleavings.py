"""Calls in any order, together, and cut short by the death of the process, against a plain model: what hypothesis makes
up, for the tests and for the soak."""

import asyncio
import io
import itertools
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
import grpc
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from hookline.events.v1 import events_pb2
from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared import db
from tests.blocking import blocked, is_waiting_for_a_lock
from tests.company_model import (
    LATE,
    MAPPING,
    ODD,
    PLATFORM,
    Attempt,
    Good,
    Late,
    MarkAttempt,
    Model,
    Odd,
    Place,
    Sent,
    Status,
    Wrong,
)
from tests.hooks import open_endpoint, post
from tests.ingest_process import IngestProcess
from tests.ledger import check_ledger
from tests.load import is_passing
from tests.refusals import refused
from tests.samples import DUPLICATE, grapfy, incoming
from tests.waiting import eventually
from tests.wrong_calls import REFUSED, REFUSED_POSTS, WrongPost

Mark = pb.MarkEventsRequest.Mark
_STATUSES = {"processed": events_pb2.PROCESSING_STATUS_PROCESSED, "failed": events_pb2.PROCESSING_STATUS_FAILED}


@dataclass(frozen=True)
class Call:
    """Events on their way in: one by itself, by gRPC or by HTTP, a batch, or batches on a stream."""

    way: Literal["unary", "post", "batch", "stream"]
    batches: tuple[tuple[Sent, ...], ...]


@dataclass(frozen=True)
class Marks:
    """Marks in one call. Where nothing lies yet, an id that no event has is marked."""

    marks: tuple[tuple[Place, Status], ...]


@dataclass(frozen=True)
class Retry:
    """All of the late platform's is tried again, page by page."""


Operation = Call | Marks | Retry


@dataclass(frozen=True)
class Crash:
    """What ends the process, and when: a moment after so many calls have been answered, or ("held") while the database
    works for one and nobody will hear what comes of it."""

    how: signal.Signals
    when: int | Literal["held"]
    milliseconds: int = 0


SOURCES = ("loja", "shop")
_sources = st.sampled_from(SOURCES)
_goods = st.builds(Good, _sources, st.sampled_from(["k1", "k2", "K1", "k:1", "k%1"]), st.integers(0, 2))
_odds = st.builds(Odd, _sources, st.sampled_from(list(ODD)))
_wrongs = st.sampled_from([Wrong("loja", b""), Wrong("a/b", b"{}")])
_lates = st.builds(Late, _sources, st.sampled_from(["l1", "l2"]), st.integers(0, 2))
_sent = st.one_of(_goods, _goods, _goods, _odds, _lates, _wrongs)
_batches = st.lists(_sent, min_size=1, max_size=8).map(tuple)
_posted = st.one_of(_goods, _goods, _odds, st.just(Wrong("loja", b"")))
_calls = st.one_of(
    st.builds(Call, st.just("unary"), st.tuples(st.tuples(_sent))),
    st.builds(Call, st.just("post"), st.tuples(st.tuples(_posted))),
    st.builds(Call, st.just("batch"), st.tuples(_batches)),
    st.builds(Call, st.just("stream"), st.lists(_batches, min_size=1, max_size=4).map(tuple)),
)
_marks = st.dictionaries(
    _goods.map(lambda event: event.place),
    st.sampled_from([("processed", None), ("failed", None), ("failed", "no stock")]),
    min_size=1,
    max_size=4,
).map(lambda chosen: Marks(tuple(chosen.items())))
_together = st.lists(st.one_of(_calls, _calls, _calls, _marks, st.just(Retry())), min_size=2, max_size=6)
_signals = st.sampled_from([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
_crashes = st.one_of(
    st.builds(Crash, _signals, st.just("held")),
    st.builds(Crash, _signals, st.integers(0, 3), st.sampled_from([0, 0, 0, 1, 2, 3, 5, 8])),
)


class Service:
    """The service and its database, for all examples; each has a company of its own."""

    def __init__(self, ingest: IngestProcess, session: aiohttp.ClientSession, pool: db.Pool) -> None:
        self._ingest = ingest
        self._session = session
        self._pool = pool
        self._requests = itertools.count()
        self._endpoints: dict[tuple[str, str], str] = {}

    async def begin(self, company: str) -> Model:
        """A new company, with an endpoint for each source."""
        for source in SOURCES:
            path = await open_endpoint(self._ingest.endpoints, company, source, PLATFORM)
            self._endpoints[company, source] = f"http://{self._ingest.http_address}{path}"
        return Model(company)

    async def step(self, model: Model, operations: Sequence[Operation], crash: Crash | None = None) -> None:
        """Makes the calls together, perhaps ends the process meanwhile, makes again what was not answered, and holds
        everything against the model."""
        alone = len(operations) == 1 and crash is None
        waiting = [one for _, one in model.waiting]
        sent: list[Attempt] = []
        marked: list[MarkAttempt] = []
        calls = [asyncio.create_task(self._make(model, one, sent, marked)) for one in operations]
        if crash is not None:
            await self._end(crash, model.company, calls)
        for failure in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(failure, BaseException) and not (crash and is_passing(failure)):
                raise failure
        if crash is not None:
            await self._ingest.ended()
            await self._ingest.start()
        assert not alone or all(one.result for one in sent), f"left out: {sent}"
        await self._repeat(model, sent, marked)
        in_order = alone and not (isinstance(operations[0], Call) and operations[0].way == "stream")
        model.check(sent, alone=in_order)
        model.check_marks(marked, alone=alone)
        if model.knows_late and Retry() in operations:
            model.leave(waiting)
        await self.verify(model)

    async def verify(self, model: Model) -> None:
        """Looks into the database."""
        async with self._pool.acquire() as connection:
            # The sessions of a process that was killed finish what they are at.
            await eventually(lambda: _is_at_rest(connection), what="nothing is under way")
            await model.check_stored(connection)
            await check_ledger(connection, company=model.company)

    async def refuse(self, model: Model, wrong: Callable[[IngestProcess, str], Any]) -> None:
        """Makes a call that must be refused, and leave no trace."""
        refusal = await refused(wrong(self._ingest, model.company))
        assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT, refusal
        await self.verify(model)

    async def refuse_post(self, model: Model, wrong: WrongPost) -> None:
        """The same by HTTP."""
        url = self._endpoints[model.company, SOURCES[0]][: wrong.cut]
        payload = io.BytesIO(grapfy("stray", x="x" * wrong.filler))
        async with self._session.request(wrong.method, url, data=payload, headers=wrong.headers) as response:
            assert response.status == wrong.status, (wrong, await response.text())
            assert (await response.json())["outcome"] == "rejected"
        await self.verify(model)

    async def teach(self, model: Model) -> None:
        """From now on the late platform is known."""
        request = pb.PutPlatformMappingRequest(company_id=model.company, mapping=MAPPING)
        await self._ingest.stub.PutPlatformMapping(request, timeout=30)
        model.knows_late = True
        await self.verify(model)

    async def forget(self, model: Model) -> None:
        """From now on it is not; what is stored stays."""
        request = pb.DeletePlatformMappingRequest(company_id=model.company, name=LATE)
        call = self._ingest.stub.DeletePlatformMapping(request, timeout=30)
        if model.knows_late:
            await call
        else:
            assert (await refused(call)).code == grpc.StatusCode.NOT_FOUND
        model.knows_late = False
        await self.verify(model)

    async def _make(self, model: Model, operation: Operation, sent: list[Attempt], marked: list[MarkAttempt]) -> None:
        match operation:
            case Call():
                await self._send(model, operation, sent)
            case Marks():
                await self._mark(model, operation, marked)
            case Retry():
                await self._retry(model, sent)

    async def _send(self, model: Model, call: Call, attempts: list[Attempt]) -> None:
        results: list[Sequence[pb.IngestResult | None]] = [[None] * len(events) for events in call.batches]
        batches = [[_event(one) for one in events] for events in call.batches]
        company, stub = model.company, self._ingest.stub
        try:
            match call.way:
                case "unary":
                    one = pb.IngestEventRequest(company_id=company, event=batches[0][0])
                    results[0] = [(await stub.IngestEvent(one, timeout=30)).result]
                case "post":
                    url = self._endpoints[company, call.batches[0][0].source]
                    results[0] = [await post(self._session, url, batches[0][0].payload)]
                case "batch":
                    batch = pb.IngestEventsRequest(company_id=company, events=batches[0])
                    results[0] = (await stub.IngestEvents(batch, timeout=30)).results
                case "stream":
                    requests = [
                        pb.IngestEventStreamRequest(company_id=company, batch_number=number, events=events)
                        for number, events in enumerate(batches)
                    ]
                    async for ack in stub.IngestEventStream(iter(requests), timeout=30):
                        results[ack.batch_number] = ack.results
        finally:
            # Also of a call that has failed: some of it may be stored, and some even have been answered.
            for events, answers in zip(call.batches, results, strict=True):
                request = next(self._requests)
                attempts += [
                    Attempt(event, request, result, tells_differs=call.way != "post")
                    for event, result in zip(events, answers, strict=True)
                ]

    async def _mark(self, model: Model, call: Marks, attempts: list[MarkAttempt]) -> None:
        ids = [model.id_of(place) or str(uuid.uuid4()) for place, _ in call.marks]
        outcomes: Sequence[Any] = [None] * len(ids)
        marks = [
            Mark(event_id=event_id, status=_STATUSES[status], error=error or "")
            for event_id, (_, (status, error)) in zip(ids, call.marks, strict=True)
        ]
        try:
            request = pb.MarkEventsRequest(company_id=model.company, marks=marks)
            outcomes = (await self._ingest.stub.MarkEvents(request, timeout=30)).outcomes
        finally:
            attempts += [
                MarkAttempt(place, event_id, status, outcome)
                for (place, status), event_id, outcome in zip(call.marks, ids, outcomes, strict=True)
            ]

    async def _retry(self, model: Model, attempts: list[Attempt]) -> None:
        waiting = model.waiting
        results: dict[str, pb.IngestResult] = {}
        which = pb.QuarantineFilter(platform=LATE)
        request = pb.RetryQuarantinedEventsRequest(company_id=model.company, filter=which, page_size=2)
        try:
            while True:
                answer = await self._ingest.stub.RetryQuarantinedEvents(request, timeout=30)
                results |= {one.quarantine_id: one.result for one in answer.retried}
                if not answer.next_page_token:
                    break
                request.page_token = answer.next_page_token
        finally:
            number = next(self._requests)
            attempts += [Attempt(one, number, results.get(its_id), is_retry=True) for its_id, one in waiting]

    async def _repeat(self, model: Model, sent: list[Attempt], marked: list[MarkAttempt]) -> None:
        """What every caller does who got no answer."""
        if again := tuple(one.sent for one in sent if one.result is None and not one.is_retry):
            await self._send(model, Call("batch", (again,)), sent)
        if any(one.result is None for one in sent if one.is_retry):
            await self._retry(model, sent)
        answered = {one.sent for one in sent if one.is_retry and one.result}
        if gone := tuple({one.sent: None for one in sent if one.is_retry and one.sent not in answered}):
            # No longer in quarantine: then they are stored, and nobody heard of it.
            await self._send(model, Call("batch", (gone,)), sent)
            assert all(one.result and one.result.outcome == DUPLICATE for one in sent[-len(gone) :]), sent
        for one in [one for one in marked if one.outcome is None]:
            await self._mark(model, Marks(((one.place, one.status),)), marked)

    async def _end(self, crash: Crash, company: str, calls: "Sequence[asyncio.Task[None]]") -> None:
        """Sends the signal when the moment has come."""
        if crash.when != "held":
            while sum(call.done() for call in calls) < min(crash.when, len(calls)):
                await asyncio.wait([call for call in calls if not call.done()], return_when=asyncio.FIRST_COMPLETED)
            if crash.milliseconds or not crash.when:
                # Not to wait for anything: any moment will do.
                await asyncio.sleep(crash.milliseconds / 1000)
            self._ingest.send_signal(crash.how)
            return
        async with self._pool.acquire() as holder, self._pool.acquire() as watcher, blocked(holder, company):
            # Calls that need no number are answered all the same.
            async def is_held() -> bool:
                return all(call.done() for call in calls) or await is_waiting_for_a_lock(watcher)

            await eventually(is_held, what="the database works for a call")
            self._ingest.send_signal(crash.how)


def _event(sent: Sent) -> pb.IncomingEvent:
    return incoming(sent.payload, LATE if isinstance(sent, Late) else PLATFORM, sent.source)


async def _is_at_rest(connection: db.Connection) -> bool:
    return not await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hookline' AND state <> 'idle'"
        " AND datname = current_database()"
    )


class Interleavings(RuleBasedStateMachine):
    """One example: a company, and what happens to it. `crashes`: how often at most the process ends."""

    def __init__(self, runner: asyncio.Runner, service: Service, company: str, crashes: int) -> None:
        super().__init__()
        self._run = runner.run
        self._service = service
        self._model = self._run(service.begin(company))
        self._crashes_left = crashes

    @rule(call=_calls)
    def call(self, call: Call) -> None:
        self._run(self._service.step(self._model, [call]))

    @rule(marks=_marks)
    def mark(self, marks: Marks) -> None:
        self._run(self._service.step(self._model, [marks]))

    @rule()
    def retry(self) -> None:
        self._run(self._service.step(self._model, [Retry()]))

    @rule(is_known=st.booleans())
    def teach(self, is_known: bool) -> None:
        self._run((self._service.teach if is_known else self._service.forget)(self._model))

    @rule(operations=_together)
    def call_together(self, operations: list[Operation]) -> None:
        self._run(self._service.step(self._model, operations))

    @precondition(lambda self: self._crashes_left > 0)
    @rule(operations=_together, crash=_crashes)
    def crash(self, operations: list[Operation], crash: Crash) -> None:
        self._crashes_left -= 1
        self._run(self._service.step(self._model, operations, crash))

    @precondition(lambda self: self._crashes_left > 0)
    @rule(
        lates=st.lists(_lates, min_size=1, max_size=6),
        crash=st.builds(Crash, _signals, st.just(0), st.integers(1, 15)),
    )
    def crash_while_retrying(self, lates: list[Late], crash: Crash) -> None:
        self._crashes_left -= 1
        self._run(self._service.forget(self._model))
        self._run(self._service.step(self._model, [Call("batch", (tuple(lates),))]))
        self._run(self._service.teach(self._model))
        self._run(self._service.step(self._model, [Retry()], crash))

    @rule(which=st.sampled_from(list(REFUSED)))
    def call_wrongly(self, which: str) -> None:
        self._run(self._service.refuse(self._model, REFUSED[which]))

    @rule(wrong=st.sampled_from(REFUSED_POSTS))
    def post_wrongly(self, wrong: WrongPost) -> None:
        self._run(self._service.refuse_post(self._model, wrong))


def check_interleavings(
    database_url: str, folder: Path, *, examples: int, steps: int, crashes: int, chosen_by: str | None = None
) -> None:
    """Runs the machine on a service of its own. `chosen_by` is what examples are chosen from; without it they are the
    same each time. Raises what an example finds, with its steps."""
    numbers = itertools.count()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        service = runner.run(stack.enter_async_context(_serving(database_url, folder)))

        def machine() -> Interleavings:
            return Interleavings(runner, service, f"company_{next(numbers)}", crashes)

        # A function will do; hypothesis says so, if not in its types.
        factory: Any = machine if chosen_by is None else seed(chosen_by)(machine)
        try:
            run_state_machine_as_test(
                factory,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=steps,
                    derandomize=chosen_by is None,
                    database=None,
                    deadline=None,
                    # What is found is told as it was found: with real processes, making it smaller takes too long.
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                    print_blob=False,
                ),
            )
        finally:
            runner.run(stack.aclose())


@asynccontextmanager
async def _serving(database_url: str, folder: Path) -> AsyncIterator[Service]:
    async with (
        await db.open_pool(database_url, 3, application_name="test") as pool,
        IngestProcess(database_url, folder) as ingest,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session,
    ):
        yield Service(ingest, session, pool)
    complaints = ingest.complaints()
    assert not complaints, "\n".join(complaints[:20])
