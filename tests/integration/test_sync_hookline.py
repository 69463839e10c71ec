"""The connector for another Hookline, against a real one: all of its log, once, in order, from wherever it left off."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.events.v1.events_pb2 import Event
from hookline.export.v1.event_query_service_pb2 import (
    GetEventResponse,
    ListEventsResponse,
    SummarizeEventsResponse,
    WatchEventsResponse,
)
from hookline.export.v1.event_query_service_pb2_grpc import (
    EventQueryServiceServicer,
    add_EventQueryServiceServicer_to_server,
)
from hookline.ingest.v1 import ingest_service_pb2 as ingest_pb
from hookline.sync.v1 import sync_service_pb2 as pb
from services.suite.samples import grapfy_payloads
from services.sync.connectors import Item, Larger, Page, Refused, TryLater, Window
from services.sync.connectors import hookline as subject
from services.sync.connectors.hookline import HooklineConnector
from shared.db import Connection
from tests.in_process import exporting, ingesting
from tests.sync_in_process import create_source, shop, syncing, whole
from tests.web_servers import certificate_of

COMPANY = "acme"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ALL = Window(LONG_AGO, None)


@asynccontextmanager
async def connected(base_url: str, **arguments: Any) -> AsyncIterator[HooklineConnector]:
    connector = HooklineConnector(
        base_url,
        "the-token",
        arguments.pop("parameters", {"company_id": COMPANY}),
        **{"first_wait": 0.001, "attempts": 2, "allow_loopback": True, **arguments},
    )
    try:
        yield connector
    finally:
        await connector.close()


async def pages(connector: HooklineConnector, window: Window = ALL, position: str | None = None) -> list[Page]:
    read = [await connector.page(window, position)]
    while read[-1].position is not None:
        read.append(await connector.page(window, read[-1].position))
    return read


def items(read: Sequence[Page]) -> list[Item]:
    return [item for page in read for item in page.items]


async def test_reads_a_log_whole_and_goes_on_from_any_page(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "PAGE_SIZE", 20)
    payloads, told = grapfy_payloads(50), list[str]()
    events = [ingest_pb.IncomingEvent(payload=payload, platform="grapfy", source="a") for payload in payloads]
    other = ingest_pb.IncomingEvent(payload=b'{"id":"1","type":"t"}', platform="generic", source="b")
    async with ingesting(database_url) as ingest, exporting(database_url) as there:
        request = ingest_pb.IngestEventsRequest(company_id=COMPANY, events=[*events, other])
        stored = (await ingest.stub.IngestEvents(request)).results
        async with connected(f"http://{there.address}") as connector:
            connector.on_retry = told.append
            assert not connector.times_match
            assert connector.windows(LONG_AGO, None, datetime.now(UTC)) == [ALL]
            read = await pages(connector)
            assert [len(page.items) for page in read] == [20, 20, 11]
            assert [page.more for page in read] == [True, True, False]
            assert [page.said for page in read] == [51, None, None]
            got = items(read)
            assert [item.id for item in got] == [result.event_id for result in stored]
            assert [item.platform for item in got] == ["grapfy"] * 50 + ["generic"]
            assert all(page.read_until == page.items[-1].moment for page in read)
            assert items(await pages(connector, ALL, read[0].position)) == got[20:]
            assert told == []
            moments = [item.moment for item in got if item.moment]
            assert moments == sorted(moments)
            # What is sent on is the same event there as here.
            request = ingest_pb.IngestEventsRequest(
                company_id="bolt",
                events=[
                    ingest_pb.IncomingEvent(payload=item.payload, platform=item.platform, source="a") for item in got
                ],
            )
            await ingest.stub.IngestEvents(request)
            request.events.extend(events)
            again = (await ingest.stub.IngestEvents(request)).results
            assert {result.outcome for result in again} == {ingest_pb.OUTCOME_DUPLICATE}
            assert not any(result.payload_differs for result in again)

            late = moments[-1] + timedelta(microseconds=1)
            assert items(await pages(connector, Window(late, None))) == []
            assert (await connector.page(Window(late, None), None)).said == 0
            assert items(await pages(connector, Window(LONG_AGO, late))) == got
        only = {"company_id": COMPANY, "source": "b"}
        async with connected(f"http://{there.address}", parameters=only) as connector:
            assert [item.platform for item in items(await pages(connector))] == ["generic"]
        async with connected(f"http://{there.address}", parameters={"company_id": "nobody"}) as connector:
            assert (await connector.page(ALL, None)) == Page((), None, 0, None, more=False)


class Scripted(EventQueryServiceServicer):
    """Another Hookline that answers as it is told; counting takes it too long."""

    def __init__(self, *answers: ListEventsResponse | grpc.StatusCode | None) -> None:
        self.answers = list(answers)
        self.tokens: list[str] = []
        self.metadata: list[dict[str, Any]] = []

    async def GetEvent(self, request: Any, context: Any) -> GetEventResponse:
        raise NotImplementedError

    def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[WatchEventsResponse]:
        raise NotImplementedError

    async def SummarizeEvents(self, request: Any, context: Any) -> SummarizeEventsResponse:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "")
        raise AssertionError

    async def ListEvents(self, request: Any, context: Any) -> ListEventsResponse:
        self.tokens.append(request.page_token)
        self.metadata.append(dict(context.invocation_metadata()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "Maria Silva, the-token")
        assert isinstance(answer, ListEventsResponse)
        return answer


@asynccontextmanager
async def serving(scripted: Scripted, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[int]:
    server = grpc.aio.server()
    add_EventQueryServiceServicer_to_server(scripted, server)
    port = (
        server.add_secure_port("127.0.0.1:0", credentials) if credentials else server.add_insecure_port("127.0.0.1:0")
    )
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def answer(*ids: str, following: str = "") -> ListEventsResponse:
    return ListEventsResponse(events=[Event(event_id=each) for each in ids], next_page_token=following)


async def test_pages_without_a_match_are_gone_over() -> None:
    scripted = Scripted(answer(following="x"), answer(following="y"), answer("1", following="z"), answer(following="z"))
    async with serving(scripted) as port, connected(f"http://127.0.0.1:{port}") as connector:
        page = await connector.page(ALL, None)
        assert ([item.id for item in page.items], page.position, page.said) == (["1"], "z", None)
        assert scripted.tokens == ["", "x", "y"]
        assert scripted.metadata[0]["authorization"] == "Bearer the-token"
        with pytest.raises(Refused, match="the same page again and again"):
            await connector.page(ALL, "z")


async def test_however_many_pages_are_empty_it_is_noted_how_far_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "EMPTY_PAGES", 3)
    scripted = Scripted(*(answer(following=token) for token in "abcde"), answer("1"))
    async with serving(scripted) as port, connected(f"http://127.0.0.1:{port}") as connector:
        read = await pages(connector)
        assert [(len(page.items), page.position, page.more) for page in read] == [(0, "c", True), (1, None, False)]


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (ListEventsResponse(events=[Event(event_id="1", received_time=Timestamp(seconds=2**62))]), "of a time that is"),
        (ListEventsResponse(events=[Event(event_id="1", received_time=Timestamp(nanos=-1))]), "of a time that is none"),
        (answer(""), "an event without an id"),
        (answer("x" * 501), "an event without an id"),
        (answer("1", following="x" * 8001), r"a page token of more than 8,000 characters"),
        (answer("1", following="p"), "the same page again and again"),
    ],
    ids=["year", "nanos", "no id", "long id", "long token", "circle"],
)
async def test_what_no_hookline_says_is_refused(lie: ListEventsResponse, says: str) -> None:
    scripted = Scripted(lie)
    async with serving(scripted) as port, connected(f"http://127.0.0.1:{port}") as connector:
        with pytest.raises(Refused, match=says):
            await connector.page(ALL, "p")
    assert len(scripted.tokens) == 1


async def test_a_page_is_not_asked_for_where_there_is_too_little_room() -> None:
    scripted = Scripted(answer("1"))
    async with serving(scripted) as port, connected(f"http://127.0.0.1:{port}") as connector:
        with pytest.raises(Larger) as caught:
            await connector.page(ALL, "p", 1_000_000)
        assert scripted.tokens == []
        page = await connector.page(ALL, "p", caught.value.size)
        assert page.size == answer("1").ByteSize()


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (grpc.StatusCode.UNAVAILABLE, TryLater, "can't be reached, or broke off"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, TryLater, "can't be reached, or broke off"),
        (grpc.StatusCode.INTERNAL, TryLater, "answers INTERNAL"),
        (grpc.StatusCode.UNAUTHENTICATED, Refused, "refuses the credential"),
        (grpc.StatusCode.PERMISSION_DENIED, Refused, "refuses the credential"),
        (grpc.StatusCode.INVALID_ARGUMENT, Refused, "answers INVALID_ARGUMENT"),
        (grpc.StatusCode.UNIMPLEMENTED, Refused, "answers UNIMPLEMENTED"),
    ],
)
async def test_failures_are_told_in_words_of_our_own(code: grpc.StatusCode, kind: type[Exception], says: str) -> None:
    scripted, told = Scripted(code), list[str]()
    async with serving(scripted) as port, connected(f"http://127.0.0.1:{port}") as connector:
        connector.on_retry = told.append
        with pytest.raises(kind, match=says) as caught:
            await connector.page(ALL, "p")
        assert "Maria" not in str(caught.value)
        assert "the-token" not in str(caught.value)
        retries = 1 if kind is TryLater else 0
        assert len(told) == len(scripted.tokens) - 1 == retries


async def test_what_gets_better_is_asked_again() -> None:
    scripted = Scripted(grpc.StatusCode.UNAVAILABLE, answer("1"))
    async with serving(scripted) as port, connected(f"http://127.0.0.1:{port}") as connector:
        page = await connector.page(ALL, "p")
        assert ([item.id for item in page.items], page.position, page.more) == (["1"], None, False)


async def test_one_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "CALL_SECONDS", 0.1)
    async with serving(Scripted(None)) as port, connected(f"http://127.0.0.1:{port}", attempts=1) as connector:
        with pytest.raises(TryLater, match=r"did not answer in time\.$"):
            await connector.page(ALL, "p")


async def test_a_certificate_must_be_of_the_name_in_the_url(tmp_path: Path) -> None:
    for name, is_right in (("localhost", True), ("other.example", False)):
        (tmp_path / name).mkdir()
        certificate = certificate_of(tmp_path / name, name)
        shown = grpc.ssl_server_credentials([(certificate.key.read_bytes(), certificate.shown.read_bytes())])
        scripted, roots = Scripted(answer("1")), certificate.shown.read_bytes()
        async with (
            serving(scripted, shown) as port,
            connected(f"https://localhost:{port}", roots=roots, attempts=1) as connector,
        ):
            if is_right:
                assert len((await connector.page(ALL, "p")).items) == 1
            else:
                with pytest.raises(TryLater, match="can't be reached"):
                    await connector.page(ALL, "p")
                assert scripted.tokens == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "127.1"])
async def test_an_address_that_is_not_public_is_refused(host: str) -> None:
    async with connected(f"https://{host}:1", allow_loopback=False) as connector:
        with pytest.raises(Refused, match=r"^The other Hookline can't be asked: .* an address that is not public\.$"):
            await connector.page(ALL, "p")


async def test_only_this_machine_is_asked_without_encryption() -> None:
    for url, allowed in (("http://127.0.0.1:1", False), ("http://example.com:1", True), ("http://10.0.0.1:1", True)):
        async with connected(url, allow_loopback=allowed) as connector:
            with pytest.raises(Refused, match="must be asked over https"):
                await connector.page(ALL, "p")


async def test_a_run_brings_another_companys_log_here(database_url: str, connection: Connection) -> None:
    """From one end to the other, and again: nothing twice."""
    async with whole(database_url, shop(0)) as here, exporting(database_url) as there:
        events = [ingest_pb.IncomingEvent(payload=payload, platform="grapfy") for payload in grapfy_payloads(250)]
        sent = ingest_pb.IngestEventsRequest(company_id="there", events=events)
        await here.ingest.stub.IngestEvents(sent)
        about: dict[str, Any] = {"platform": "hookline", "parameters": {"company_id": "there"}}
        await create_source(here.sync.stub, f"http://{there.address}", source="there", **about)
        run = await here.ended(await here.trigger(source="there", days_back=0))
        assert (run.state, run.error) == (pb.SYNC_RUN_STATE_SUCCEEDED, "")
        assert (run.counts.fetched, run.counts.accepted, run.counts.late) == (250, 250, 0)
        assert (run.reconciliation.said, run.reconciliation.stored, run.reconciliation.missing) == (250, 250, 0)
        assert not run.reconciliation.HasField("unlisted")
        again = await here.ended(await here.trigger(source="there", days_back=0))
        assert (again.counts.accepted, again.counts.duplicates) == (0, 250)
    keys = "SELECT array_agg(dedup_key ORDER BY dedup_key) FROM hookline.events WHERE company_id = $1"
    assert await connection.fetchval(keys, COMPANY) == await connection.fetchval(keys, "there")


async def test_one_that_lies_is_told_of_when_it_is_tried(database_url: str) -> None:
    lie = ListEventsResponse(events=[Event(event_id="1", received_time=Timestamp(seconds=2**62))])
    async with syncing(database_url) as sync, serving(Scripted(lie)) as port:
        about: dict[str, Any] = {"platform": "hookline", "parameters": {"company_id": "there"}}
        await create_source(sync.stub, f"http://127.0.0.1:{port}", source="there", **about)
        tried = await sync.stub.CheckSource(pb.CheckSourceRequest(company_id=COMPANY, source="there"))
        assert (tried.ok, tried.events) == (False, 0)
        assert tried.problem == "The other Hookline gives an event without an id, or of a time that is none."
