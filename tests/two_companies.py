"""Random calls of two companies, with each other's ids, cursors and company names, tampered or not; and a look at each
answer."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
from google.protobuf.message import Message

from hookline.events.v1.events_pb2 import PROCESSING_STATUS_FAILED, EventFilter
from hookline.export.v1 import audit_service_pb2, export_service_pb2
from hookline.export.v1 import event_query_service_pb2 as query
from hookline.export.v1.audit_service_pb2_grpc import AuditServiceStub
from hookline.ingest.v1 import endpoint_service_pb2 as endpoints
from hookline.ingest.v1 import ingest_service_pb2 as pb
from hookline.sync.v1 import sync_service_pb2 as sync
from shared.auth import Scope
from tests.in_process import Exporting, Ingesting
from tests.padoca import mapping
from tests.plain_calls import REASONS, plain_calls
from tests.refusals import Refusal, refusal
from tests.samples import grapfy, incoming
from tests.sync_in_process import Syncing
from tests.tokens import bearer

FORMATS = (
    export_service_pb2.EXPORT_FORMAT_CSV,
    export_service_pb2.EXPORT_FORMAT_JSON,
    export_service_pb2.EXPORT_FORMAT_NDJSON,
)


@dataclass
class Company:
    """A company, its tokens, and a word that is in all that it has and in nothing else."""

    name: str
    word: str
    token: str = ""
    without: dict[Scope, str] = field(default_factory=dict)
    answers: int = 0
    """How many of its answers had its word in them."""


@dataclass
class Found:
    """What either company was given: whoever gets hold of it may try it."""

    events: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    endpoints: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)
    resume_tokens: list[str] = field(default_factory=list)


class Load:
    """Random calls for one of the two companies, and a look at each answer."""

    enough: ClassVar[Mapping[type[Message], int]] = {query.WatchEventsResponse: 2, sync.WatchSyncRunResponse: 1}
    """How many answers are waited for of streams that go on and on."""

    def __init__(
        self,
        rng: random.Random,
        me: Company,
        other: Company,
        found: Found,
        services: tuple[Ingesting, Exporting, Syncing],
    ) -> None:
        self._rng, self._me, self._other, self._found = rng, me, other, found
        self._ingest, self._export, self._sync = services
        self._audit = AuditServiceStub(self._export.channel)
        self._number = 0
        self.said: Counter[str] = Counter()
        self.tried: set[str] = set()

    async def run(self, calls: int) -> None:
        """Makes so many calls, each of them at random."""
        tries = [
            self._send,
            self._send_stream,
            self._send_broken,
            self._conflict,
            self._mark,
            self._get,
            self._list,
            self._list,
            self._search,
            self._summarize,
            self._watch,
            self._export_events,
            self._export_events,
            self._quarantine,
            self._get_quarantined,
            self._retry,
            self._conflicts,
            self._platforms,
            self._make_endpoint,
            self._list_endpoints,
            self._revoke_endpoint,
            self._secrets,
            self._read_audit,
            self._trigger,
            self._get_run,
            self._list_runs,
            self._cancel_run,
            *[self._plain] * 12,
        ]
        for _ in range(calls):
            await self._rng.choice(tries)()

    def _payload(self, **members: Any) -> bytes:
        self._number += 1
        word = self._me.word
        number = f"{word}-{self._rng.randrange(10**9)}-{self._number}"
        return grapfy(number, customer={"name": f"Ana {word}"}, product={"name": f"Curso {word}"}, **members)

    def _event(self, payload: bytes | None = None, platform: str = "") -> pb.IncomingEvent:
        return incoming(payload or self._payload(), platform, f"loja-{self._me.word}")

    def _cursor(self, cursors: list[str]) -> str:
        """None, mine, the other's, or one that was tampered with."""
        if not cursors or self._rng.random() < 0.3:
            return ""
        cursor, other = self._rng.choice(cursors), self._rng.choice(cursors)
        match self._rng.randrange(6):
            case 0:
                place = self._rng.randrange(len(cursor))
                return cursor[:place] + self._rng.choice("AZaz09-_") + cursor[place + 1 :]
            case 1:
                return cursor[: len(cursor) // 2] + other[len(other) // 2 :]
            case 2:
                return cursor[:-1]
            case _:
                return cursor

    def _any(self, ids: list[str]) -> str:
        return self._rng.choice(ids) if ids else "00000000-0000-7000-8000-000000000001"

    async def _ask(self, scope: Scope, method: Any, request: Any) -> Any:
        """Calls, as whoever and for whomever; gives the answer, or None when it is refused as it has to be."""
        self.tried.add(type(request).__name__.removesuffix("Request"))
        expected, metadata = self._somebody(scope)
        if self._rng.random() < 0.2:
            request.company_id, expected = self._other.name, expected or "WRONG_COMPANY"
        else:
            request.company_id = self._rng.choice(["", self._me.name])
        try:
            answer = await self._answer(method(request, metadata=metadata, timeout=30))
        except grpc.aio.AioRpcError as error:
            refused = refusal(error)
            self._look(str(error.trailing_metadata()).encode(), refused.message.encode())
            self.said[refused.reason] += 1
            self._check(refused, expected)
            return None
        assert expected is None, f"{expected} was expected of {type(request).__name__}"
        self.said["OK"] += 1
        return answer

    def _somebody(self, scope: Scope) -> tuple[str | None, list[tuple[str, str]]]:
        """Why the caller is to be refused, if it is, and its metadata."""
        token = self._me.token
        match self._rng.randrange(16):
            case 0:
                return "SCOPE_MISSING", bearer(self._me.without[scope])
            case 1:
                return "UNAUTHENTICATED", bearer(token.replace(self._me.name, self._other.name))
            case 2:
                return "UNAUTHENTICATED", bearer(token[:-2] + "".join(reversed(token[-2:])) + "x")
        return None, bearer(token)

    def _check(self, refused: Refusal, expected: str | None) -> None:
        if expected is not None:
            assert refused.reason == expected
        else:
            assert refused.reason in {"INVALID_PAGE_TOKEN", "INVALID_RESUME_TOKEN", "EVENT_NOT_FOUND", *REASONS}, (
                refused
            )

    async def _answer(self, call: Any) -> Any:
        """The answer, or the answers as a list: of the live tail only those that are there by now."""
        if not hasattr(call, "__aiter__"):
            answer: Message = await call
            self._look(answer.SerializeToString())
            return answer
        answers = []
        async for part in call:
            answers.append(part)
            if len(answers) == self.enough.get(type(part), -1):
                call.cancel()
                break
        # Together: a word may lie across two chunks.
        self._look(b"".join(part.chunk.data if hasattr(part, "chunk") else b"" for part in answers))
        self._look(*(part.SerializeToString() for part in answers))
        return answers

    def _look(self, *parts: bytes) -> None:
        for part in parts:
            assert self._other.word.encode() not in part
            self._me.answers += self._me.word.encode() in part

    async def _send(self) -> None:
        events = [self._event() for _ in range(self._rng.randrange(1, 6))]
        answer = await self._ask(Scope.INGEST, self._ingest.stub.IngestEvents, pb.IngestEventsRequest(events=events))
        if answer:
            self._found.events += [result.event_id for result in answer.results]

    async def _send_stream(self) -> None:
        request = pb.IngestEventStreamRequest(events=[self._event()])

        async def once(request: Any) -> AsyncIterator[Any]:
            yield request

        await self._ask(
            Scope.INGEST,
            lambda one, **options: self._ingest.stub.IngestEventStream(once(one), **options),
            request,
        )

    async def _send_broken(self) -> None:
        event = self._event(f'{{"customer": "{self._me.word}"'.encode(), "grapfy")
        answer = await self._ask(Scope.INGEST, self._ingest.stub.IngestEvent, pb.IngestEventRequest(event=event))
        if answer:
            self._found.quarantined.append(answer.result.quarantine_id)

    async def _conflict(self) -> None:
        # The same key in both companies, and another content each time: theirs is no duplicate of ours.
        event = self._event(grapfy("the same", customer={"name": f"{self._me.word} {self._rng.random()}"}))
        event.source = "loja"
        await self._ask(Scope.INGEST, self._ingest.stub.IngestEvent, pb.IngestEventRequest(event=event))

    async def _mark(self) -> None:
        mark = pb.MarkEventsRequest.Mark(
            event_id=self._any(self._found.events), status=PROCESSING_STATUS_FAILED, error=f"no {self._me.word}"
        )
        await self._ask(Scope.INGEST, self._ingest.stub.MarkEvents, pb.MarkEventsRequest(marks=[mark]))

    async def _get(self) -> None:
        request = query.GetEventRequest(event_id=self._any(self._found.events))
        await self._ask(Scope.EXPORT, self._export.query.GetEvent, request)

    async def _list(self) -> None:
        request = query.ListEventsRequest(
            page_size=self._rng.randrange(1, 5),
            page_token=self._cursor(self._found.cursors),
            view=query.EVENT_VIEW_FULL,
        )
        answer = await self._ask(Scope.EXPORT, self._export.query.ListEvents, request)
        if answer:
            self._found.cursors += filter(None, (answer.next_page_token, answer.previous_page_token))

    async def _search(self) -> None:
        # Words of the other's as well: what is searched for must not be told by what is found.
        which = self._rng.choice(
            [
                EventFilter(customer="Ana"),
                EventFilter(text="Curso"),
                EventFilter(types=["order_approved"]),
                EventFilter(payload_contains='{"orderId": "ord_1"}'),
                EventFilter(customer=self._other.word),
                EventFilter(sources=[f"loja-{self._other.word}"]),
            ]
        )
        request = query.ListEventsRequest(
            filter=which, page_token=self._cursor(self._found.cursors), view=query.EVENT_VIEW_FULL
        )
        answer = await self._ask(Scope.EXPORT, self._export.query.ListEvents, request)
        if answer and self._other.word in str(which):
            assert not answer.events

    async def _summarize(self) -> None:
        request = query.SummarizeEventsRequest(group_by=[query.GROUPING_SOURCE, query.GROUPING_PRODUCT])
        await self._ask(Scope.EXPORT, self._export.query.SummarizeEvents, request)

    async def _watch(self) -> None:
        request = query.WatchEventsRequest(after_sequence=0, view=query.EVENT_VIEW_FULL)
        await self._ask(Scope.EXPORT, self._export.query.WatchEvents, request)

    async def _export_events(self) -> None:
        request = export_service_pb2.ExportEventsRequest(
            format=self._rng.choice(FORMATS), resume_token=self._cursor(self._found.resume_tokens)
        )
        answers = await self._ask(Scope.EXPORT, self._export.export.ExportEvents, request)
        self._found.resume_tokens += [part.chunk.resume_token for part in answers or () if part.chunk.resume_token]

    async def _quarantine(self) -> None:
        request = pb.ListQuarantinedEventsRequest(page_size=2, page_token=self._cursor(self._found.cursors))
        answer = await self._ask(Scope.INGEST, self._ingest.stub.ListQuarantinedEvents, request)
        if answer:
            self._found.cursors += filter(None, [answer.next_page_token])

    async def _get_quarantined(self) -> None:
        request = pb.GetQuarantinedEventRequest(quarantine_id=self._any(self._found.quarantined))
        await self._ask(Scope.INGEST, self._ingest.stub.GetQuarantinedEvent, request)

    async def _retry(self) -> None:
        request = pb.RetryQuarantinedEventsRequest(quarantine_ids=[self._any(self._found.quarantined)])
        await self._ask(Scope.INGEST, self._ingest.stub.RetryQuarantinedEvents, request)

    async def _conflicts(self) -> None:
        request = pb.ListEventConflictsRequest(page_size=1, page_token=self._cursor(self._found.cursors))
        answer = await self._ask(Scope.INGEST, self._ingest.stub.ListEventConflicts, request)
        if answer:
            self._found.cursors += filter(None, [answer.next_page_token])

    async def _platforms(self) -> None:
        text = mapping(f"own-{self._me.word}")
        put = pb.PutPlatformMappingRequest(mapping=text)
        await self._ask(Scope.ADMIN, self._ingest.stub.PutPlatformMapping, put)
        await self._ask(Scope.INGEST, self._ingest.stub.ListPlatforms, pb.ListPlatformsRequest())

    async def _make_endpoint(self) -> None:
        request = endpoints.CreateEndpointRequest(source=f"door-{self._me.word}")
        answer = await self._ask(Scope.ADMIN, self._ingest.endpoints.CreateEndpoint, request)
        if answer:
            self._found.endpoints.append(answer.endpoint.endpoint_id)

    async def _list_endpoints(self) -> None:
        request = endpoints.ListEndpointsRequest(page_size=2, page_token=self._cursor(self._found.cursors))
        answer = await self._ask(Scope.ADMIN, self._ingest.endpoints.ListEndpoints, request)
        if answer:
            self._found.cursors += filter(None, [answer.next_page_token])

    async def _revoke_endpoint(self) -> None:
        request = endpoints.RevokeEndpointRequest(endpoint_id=self._any(self._found.endpoints))
        await self._ask(Scope.ADMIN, self._ingest.endpoints.RevokeEndpoint, request)

    async def _secrets(self) -> None:
        put = endpoints.PutSigningSecretRequest(source=f"door-{self._me.word}", secret=self._me.word)
        await self._ask(Scope.ADMIN, self._ingest.endpoints.PutSigningSecret, put)
        request = endpoints.ListSigningSecretsRequest(page_token=self._cursor(self._found.cursors))
        await self._ask(Scope.ADMIN, self._ingest.endpoints.ListSigningSecrets, request)

    async def _read_audit(self) -> None:
        request = audit_service_pb2.ListAuditEntriesRequest(page_size=2, page_token=self._cursor(self._found.cursors))
        answer = await self._ask(Scope.ADMIN, self._audit.ListAuditEntries, request)
        if answer:
            self._found.cursors += filter(None, [answer.next_page_token])

    async def _plain(self) -> None:
        calls = plain_calls(self._rng, self._me.word, self._found, (self._ingest, self._sync))
        await self._ask(*self._rng.choice(calls))

    async def _trigger(self) -> None:
        # What makes a call repeatable is the same text in both companies.
        request = sync.TriggerSyncRequest(
            source=f"loja-{self._me.word}", request_id=f"request {self._rng.randrange(3)}", days_back=1
        )
        answer = await self._ask(Scope.SYNC, self._sync.stub.TriggerSync, request)
        if answer:
            self._found.runs.append(answer.run.run_id)

    async def _get_run(self) -> None:
        request = sync.GetSyncRunRequest(run_id=self._any(self._found.runs))
        await self._ask(Scope.SYNC, self._sync.stub.GetSyncRun, request)

    async def _list_runs(self) -> None:
        request = sync.ListSyncRunsRequest(page_size=1, page_token=self._cursor(self._found.cursors))
        answer = await self._ask(Scope.SYNC, self._sync.stub.ListSyncRuns, request)
        if answer:
            self._found.cursors += filter(None, [answer.next_page_token])

    async def _cancel_run(self) -> None:
        request = sync.CancelSyncRunRequest(run_id=self._any(self._found.runs))
        await self._ask(Scope.SYNC, self._sync.stub.CancelSyncRun, request)
