"""SyncService, call by call, over real sockets; no worker runs, and Redis is away, which no caller notices."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.sync.v1 import sync_service_pb2 as pb
from shared.db import Connection
from shared.timestamps import timestamp
from tests.proxy import proxied
from tests.refusals import refused
from tests.sync_in_process import COMPANY, SOURCE, change_run, create_source, run_now, runs_of, syncing, trigger

KEY: dict[str, Any] = {"company_id": COMPANY, "source": SOURCE}
MISSING: dict[str, Any] = {"company_id": COMPANY, "source": "other"}


def moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


async def test_a_source_is_made_listed_scheduled_and_deleted(database_url: str) -> None:
    async with syncing(database_url) as sync:
        made = await create_source(sync.stub, "https://api.example.com/v1")
        assert made == pb.Source(
            company_id=COMPANY,
            source=SOURCE,
            platform="grapfy",
            base_url="https://api.example.com/v1",
            parameters={"webhookSettingId": "shop-1"},
            create_time=made.create_time,
            look_back=Duration(seconds=3600),
            run_deadline=Duration(seconds=86400),
        )
        assert abs(moment(made.create_time) - datetime.now(UTC)) < timedelta(minutes=1)
        second = await create_source(sync.stub, source="a-second")
        await create_source(sync.stub, company="bolt")
        listed = (await sync.stub.ListSources(pb.ListSourcesRequest(company_id=COMPANY))).sources
        assert list(listed) == [second, made]
        assert not (await sync.stub.ListSources(pb.ListSourcesRequest(company_id="nobody"))).sources

        exists = await refused(create_source(sync.stub, "https://elsewhere.example.com"))
        assert (exists.code, exists.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SOURCE_EXISTS")
        assert exists.metadata == {"source": SOURCE}

        started = (await sync.stub.StartSchedule(pb.StartScheduleRequest(**KEY))).source
        assert started.HasField("schedule")
        assert (await sync.stub.ListSources(pb.ListSourcesRequest(company_id=COMPANY))).sources[1] == started
        for _ in range(2):
            assert (await sync.stub.StopSchedule(pb.StopScheduleRequest(**KEY))).source == made

        run = await trigger(sync.stub)
        active = await refused(sync.stub.DeleteSource(pb.DeleteSourceRequest(**KEY)))
        assert (active.code, active.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SYNC_RUN_ACTIVE")
        await sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(company_id=COMPANY, run_id=run.run_id))
        await sync.stub.DeleteSource(pb.DeleteSourceRequest(**KEY))
        assert await runs_of(sync.stub) == []
        gone = await refused(sync.stub.DeleteSource(pb.DeleteSourceRequest(**KEY)))
        assert (gone.code, gone.reason) == (grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND")


async def test_what_is_not_there_is_not_found(database_url: str) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        theirs = await trigger(sync.stub)
        calls: list[Any] = [
            sync.stub.DeleteSource(pb.DeleteSourceRequest(**MISSING)),
            sync.stub.CheckSource(pb.CheckSourceRequest(**MISSING)),
            sync.stub.StartSchedule(pb.StartScheduleRequest(**MISSING)),
            sync.stub.StopSchedule(pb.StopScheduleRequest(**MISSING)),
            sync.stub.TriggerSync(pb.TriggerSyncRequest(**MISSING)),
        ]
        for call in calls:
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND")
            assert refusal.metadata == {"source": "other"}
        for company, run_id in ((COMPANY, str(uuid.uuid4())), ("bolt", theirs.run_id)):
            run: dict[str, Any] = {"company_id": company, "run_id": run_id}
            calls = [
                sync.stub.GetSyncRun(pb.GetSyncRunRequest(**run)),
                sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(**run)),
                sync.stub.WatchSyncRun(pb.WatchSyncRunRequest(**run)),
                sync.stub.ListSyncRunLog(pb.ListSyncRunLogRequest(**run)),
                sync.stub.ListSyncDifferences(pb.ListSyncDifferencesRequest(**run)),
            ]
            for call in calls:
                refusal = await refused(call)
                assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "SYNC_RUN_NOT_FOUND")
                assert refusal.metadata == {"run_id": run_id}
        assert (await run_now(sync.stub, theirs)).state == pb.SYNC_RUN_STATE_QUEUED


def source(**fields: Any) -> pb.CreateSourceRequest:
    return pb.CreateSourceRequest(
        **{
            **KEY,
            "platform": "grapfy",
            "base_url": "https://api.example.com",
            "credential": "secret",
            "parameters": {"webhookSettingId": "1"},
            **fields,
        }
    )


async def test_every_wrong_field_is_named(database_url: str) -> None:
    async with syncing(database_url, allow_loopback_sources=False) as sync:
        create, schedule, start = sync.stub.CreateSource, sync.stub.StartSchedule, sync.stub.TriggerSync
        cases: list[tuple[Any, set[str]]] = [
            (create(source(company_id="")), {"company_id"}),
            (create(source(company_id="a b")), {"company_id"}),
            (create(source(source="")), {"source"}),
            (create(source(source="é")), {"source"}),
            (create(source(platform="")), {"platform"}),
            (create(source(platform="generic", parameters={})), {"platform"}),
            (create(source(base_url="http://127.0.0.1:8090")), {"base_url"}),
            (create(source(base_url="https://example.com/\0")), {"base_url"}),
            (create(source(base_url="https://:x@example.com")), {"base_url"}),
            (create(source(credential="")), {"credential"}),
            (create(source(credential="a\nb")), {"credential"}),
            (create(source(credential="ç")), {"credential"}),
            (create(source(credential="x" * 2001)), {"credential"}),
            (create(source(parameters={})), {"parameters.webhookSettingId"}),
            (create(source(parameters={"webhookSettingId": "\0"})), {"parameters.webhookSettingId"}),
            (create(source(parameters={"webhookSettingId": "1", "x": "1"})), {"parameters.x"}),
            (
                create(source(base_url="x", credential="", parameters={})),
                {"base_url", "credential", "parameters.webhookSettingId"},
            ),
            *((schedule(pb.StartScheduleRequest(**KEY, interval=Duration(seconds=seconds))), {"interval"})
              for seconds in (-60, 0, 59, 30 * 86400 + 1, 10**14)),
            (start(pb.TriggerSyncRequest(**KEY, days_back=-1)), {"days_back"}),
            (start(pb.TriggerSyncRequest(**KEY, days_back=3651)), {"days_back"}),
            (start(pb.TriggerSyncRequest(**KEY, request_id="x" * 65)), {"request_id"}),
            (start(pb.TriggerSyncRequest(**KEY, request_id="a\0")), {"request_id"}),
            (start(pb.TriggerSyncRequest(company_id=COMPANY)), {"source"}),
            (start(pb.TriggerSyncRequest(company_id=COMPANY, source="a/b")), {"source"}),
            (sync.stub.GetSyncRun(pb.GetSyncRunRequest(company_id=COMPANY)), {"run_id"}),
            (sync.stub.GetSyncRun(pb.GetSyncRunRequest(company_id=COMPANY, run_id="1")), {"run_id"}),
            (sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(company_id=COMPANY, run_id="1")), {"run_id"}),
            (sync.stub.WatchSyncRun(pb.WatchSyncRunRequest(company_id=COMPANY, run_id="1")), {"run_id"}),
            (sync.stub.ListSyncRuns(pb.ListSyncRunsRequest(company_id=COMPANY, page_size=-1)), {"page_size"}),
            (sync.stub.ListSyncRuns(pb.ListSyncRunsRequest(company_id=COMPANY, source="é")), {"source"}),
            (sync.stub.GetSyncStatus(pb.GetSyncStatusRequest()), {"company_id"}),
            (sync.stub.ListSources(pb.ListSourcesRequest()), {"company_id"}),
            (sync.stub.DeleteSource(pb.DeleteSourceRequest(company_id=COMPANY)), {"source"}),
            (sync.stub.CheckSource(pb.CheckSourceRequest(company_id=COMPANY)), {"source"}),
            (sync.stub.StopSchedule(pb.StopScheduleRequest(company_id=COMPANY)), {"source"}),
        ]  # fmt: skip
        for number, (call, fields) in enumerate(cases):
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), number
            assert refusal.violations.keys() == fields, number
        assert not (await sync.stub.ListSources(pb.ListSourcesRequest(company_id=COMPANY))).sources


async def test_a_second_trigger_joins_and_a_request_is_made_once(database_url: str, connection: Connection) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        request = pb.TriggerSyncRequest(company_id=COMPANY, days_back=7, request_id="one")
        first = await sync.stub.TriggerSync(request)
        assert first.created
        assert (first.run.state, first.run.trigger) == (pb.SYNC_RUN_STATE_QUEUED, pb.SYNC_TRIGGER_REQUEST)
        assert abs(moment(first.run.start_time) - datetime.now(UTC) + timedelta(days=7)) < timedelta(minutes=1)
        for again in (request, pb.TriggerSyncRequest(**KEY, days_back=30)):
            joined = await sync.stub.TriggerSync(again)
            assert (joined.run, joined.created) == (first.run, False)
        # One that joins has an answer too, and keeps it.
        joining = pb.TriggerSyncRequest(**KEY, request_id="joins")
        assert (await sync.stub.TriggerSync(joining)).run == first.run

        ended = {"state": "succeeded", "attempt": 1, "ended_time": ["clock_timestamp()"]}
        await change_run(connection, uuid.UUID(first.run.run_id), ended)
        again_after = await sync.stub.TriggerSync(request)
        assert (again_after.run.run_id, again_after.created) == (first.run.run_id, False)
        assert again_after.run.state == pb.SYNC_RUN_STATE_SUCCEEDED
        assert await sync.stub.TriggerSync(joining) == again_after
        # Another request is another run, from what was read last on, less the look-back.
        read = datetime(2026, 10, 7, 12, tzinfo=UTC)
        await connection.execute("UPDATE hookline.sources SET synced_time = $1, look_back = interval '2 hours'", read)
        another = await sync.stub.TriggerSync(pb.TriggerSyncRequest(**KEY, request_id="two"))
        assert another.created
        assert moment(another.run.start_time) == read - timedelta(hours=2)
        # A request's id is one of its company's.
        await create_source(sync.stub, company="bolt")
        assert (await sync.stub.TriggerSync(pb.TriggerSyncRequest(company_id="bolt", request_id="one"))).created


async def test_twenty_triggers_at_the_same_moment_are_one_run(database_url: str) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        for ids in (["same"] * 20, [str(number) for number in range(20)], [""] * 20):
            answers = await asyncio.gather(
                *(sync.stub.TriggerSync(pb.TriggerSyncRequest(**KEY, request_id=request_id)) for request_id in ids)
            )
            assert len({answer.run.run_id for answer in answers}) == 1
            assert [answer.created for answer in answers].count(True) == 1
            run_id = answers[0].run.run_id
            cancelled = await sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(company_id=COMPANY, run_id=run_id))
            assert cancelled.run.state == pb.SYNC_RUN_STATE_CANCELLED
        assert len(await runs_of(sync.stub)) == 3


async def test_runs_are_listed_page_by_page_newest_first(database_url: str) -> None:
    async with syncing(database_url) as sync:
        for name in ("one", "two"):
            await create_source(sync.stub, source=name)
        made = []
        for number in range(7):
            made.append(await trigger(sync.stub, source=("one", "two")[number % 2]))
            await sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(company_id=COMPANY, run_id=made[-1].run_id))
        ids = [run.run_id for run in reversed(made)]

        async def listed(page_size: int, **fields: str) -> list[list[str]]:
            pages, token = [], ""
            while True:
                page = await sync.stub.ListSyncRuns(
                    pb.ListSyncRunsRequest(company_id=COMPANY, page_size=page_size, page_token=token, **fields)
                )
                pages.append([run.run_id for run in page.runs])
                token = page.next_page_token
                if not token:
                    return pages

        assert await listed(3) == [ids[:3], ids[3:6], ids[6:]]
        assert await listed(7) == [ids]
        assert await listed(0) == [ids]
        assert await listed(2, source="one") == [ids[0:4:2], ids[4:8:2]]
        first = await sync.stub.ListSyncRuns(pb.ListSyncRunsRequest(company_id=COMPANY, page_size=1))
        for other in ({"source": "one"}, {"company_id": "bolt"}):
            fields = {"company_id": COMPANY, "page_token": first.next_page_token, **other}
            refusal = await refused(sync.stub.ListSyncRuns(pb.ListSyncRunsRequest(**fields)))  # type: ignore[arg-type]
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_the_status_says_how_each_source_stands(database_url: str, connection: Connection) -> None:
    async with syncing(database_url) as sync:

        async def status() -> list[pb.SourceStatus]:
            return list((await sync.stub.GetSyncStatus(pb.GetSyncStatusRequest(company_id=COMPANY))).sources)

        assert await status() == []
        idle = await create_source(sync.stub, source="idle")
        busy = await create_source(sync.stub, source="busy")
        ended = {"attempt": 1, "ended_time": ["clock_timestamp()"]}
        runs = []
        ends = (("failed", "x"), ("succeeded", None), ("failed", "x"), ("cancelled", None), ("incomplete", "y"))
        for state, error in ends:
            runs.append(await trigger(sync.stub, source="busy"))
            columns = {**ended, "state": state, "error": error, "cancel_requested": state == "cancelled"}
            await change_run(connection, uuid.UUID(runs[-1].run_id), columns)
        complete = datetime(2026, 10, 1, tzinfo=UTC)
        await connection.execute("UPDATE hookline.sources SET complete_until_time = $1 WHERE source = 'busy'", complete)
        active = await trigger(sync.stub, source="busy")
        for _ in range(2):
            await trigger(sync.stub, source="busy", when_active=pb.WHEN_ACTIVE_QUEUE)
        await connection.execute(
            "INSERT INTO hookline.alerts (company_id, alert_id, kind, source, message, resolve_time)"
            " SELECT $1, gen_random_uuid(), kind, 'busy', 'x', resolved"
            " FROM (VALUES ('schedule_overdue', NULL), ('run_failed', now())) AS a (kind, resolved)",
            COMPANY,
        )
        assert await status() == [
            pb.SourceStatus(
                source=busy,
                active_run=active,
                last_run=await run_now(sync.stub, runs[-1]),
                consecutive_failures=2,
                complete_until_time=timestamp(complete),
                queued_runs=2,
                open_alerts=1,
            ),
            pb.SourceStatus(source=idle),
        ]


async def test_a_watch_shows_each_change_until_the_run_has_ended(database_url: str) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        run = await trigger(sync.stub)
        watch = sync.stub.WatchSyncRun(pb.WatchSyncRunRequest(company_id=COMPANY, run_id=run.run_id))
        shown = aiter(watch)
        assert (await anext(shown)).run == run
        await sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(company_id=COMPANY, run_id=run.run_id))
        rest = [answer.run async for answer in shown]
        assert [now.state for now in rest] == [pb.SYNC_RUN_STATE_CANCELLED]
        # One that has ended is shown once.
        ended = sync.stub.WatchSyncRun(pb.WatchSyncRunRequest(company_id=COMPANY, run_id=run.run_id))
        assert [answer.run async for answer in ended] == rest

        await create_source(sync.stub, source="another")
        other = await trigger(sync.stub, source="another")
        stream = sync.stub.WatchSyncRun(pb.WatchSyncRunRequest(company_id=COMPANY, run_id=other.run_id))
        answers = aiter(stream)
        await anext(answers)
        sync.stopping.set()
        refusal = await refused(answers)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")


async def test_without_a_database_every_call_says_so(database_url: str) -> None:
    async with proxied(database_url) as proxy, syncing(proxy.url) as sync:
        await create_source(sync.stub)
        run: dict[str, Any] = {"company_id": COMPANY, "run_id": str(uuid.uuid4())}
        proxy.cut()
        calls = (
            sync.stub.CreateSource(source()),
            sync.stub.ListSources(pb.ListSourcesRequest(company_id=COMPANY)),
            sync.stub.DeleteSource(pb.DeleteSourceRequest(**KEY)),
            sync.stub.CheckSource(pb.CheckSourceRequest(**KEY)),
            sync.stub.StartSchedule(pb.StartScheduleRequest(**KEY)),
            sync.stub.StopSchedule(pb.StopScheduleRequest(**KEY)),
            sync.stub.TriggerSync(pb.TriggerSyncRequest(**KEY)),
            sync.stub.GetSyncStatus(pb.GetSyncStatusRequest(company_id=COMPANY)),
            sync.stub.GetSyncRun(pb.GetSyncRunRequest(**run)),
            sync.stub.ListSyncRuns(pb.ListSyncRunsRequest(company_id=COMPANY)),
            sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(**run)),
            sync.stub.WatchSyncRun(pb.WatchSyncRunRequest(**run)),
            sync.stub.ListSyncRunLog(pb.ListSyncRunLogRequest(**run)),
            sync.stub.ListSyncDifferences(pb.ListSyncDifferencesRequest(**run)),
        )
        for refusal in await asyncio.gather(*(refused(call) for call in calls)):
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        await proxy.mend()
        assert await trigger(sync.stub)
