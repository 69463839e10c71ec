"""Sources, call by call, over real sockets: made, changed, deleted. No worker runs, and Redis is away."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from hookline.sync.v1 import sync_service_pb2 as pb
from shared.db import Connection
from tests.own_mappings import own, put
from tests.refusals import refused
from tests.sync_in_process import COMPANY, SOURCE, create_source, runs_of, syncing, trigger

if TYPE_CHECKING:
    from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceAsyncStub

KEY: dict[str, Any] = {"company_id": COMPANY, "source": SOURCE}
MISSING: dict[str, Any] = {"company_id": COMPANY, "source": "other"}


async def got(stub: "SyncServiceAsyncStub", source: str = SOURCE) -> pb.Source:
    return (await stub.GetSource(pb.GetSourceRequest(company_id=COMPANY, source=source))).source


async def test_a_source_is_made_listed_and_deleted(database_url: str) -> None:
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
        assert abs(made.create_time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=1)
        bounds: dict[str, Any] = {"look_back": Duration(), "run_deadline": Duration(seconds=60)}
        second = await create_source(sync.stub, source="a-second", **bounds)
        assert (second.look_back, second.run_deadline) == (Duration(), Duration(seconds=60))
        await create_source(sync.stub, company="bolt")
        listed = (await sync.stub.ListSources(pb.ListSourcesRequest(company_id=COMPANY))).sources
        assert list(listed) == [second, made]
        assert await got(sync.stub) == made
        assert not (await sync.stub.ListSources(pb.ListSourcesRequest(company_id="nobody"))).sources

        exists = await refused(create_source(sync.stub, "https://elsewhere.example.com"))
        assert (exists.code, exists.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SOURCE_EXISTS")
        assert exists.metadata == {"source": SOURCE}

        run = await trigger(sync.stub)
        behind = await trigger(sync.stub, when_active=pb.WHEN_ACTIVE_QUEUE)
        for each in (run, behind):
            active = await refused(sync.stub.DeleteSource(pb.DeleteSourceRequest(**KEY)))
            assert (active.code, active.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SYNC_RUN_ACTIVE")
            await sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(company_id=COMPANY, run_id=each.run_id))
        await sync.stub.DeleteSource(pb.DeleteSourceRequest(**KEY))
        assert await runs_of(sync.stub) == []
        gone = await refused(sync.stub.DeleteSource(pb.DeleteSourceRequest(**KEY)))
        assert (gone.code, gone.reason) == (grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND")


async def test_what_is_not_there_is_not_found(database_url: str) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        await create_source(sync.stub, company="bolt", source="other")
        mask = FieldMask(paths=["look_back"])
        calls: list[Any] = [
            sync.stub.GetSource(pb.GetSourceRequest(**MISSING)),
            sync.stub.UpdateSource(pb.UpdateSourceRequest(**MISSING, update_mask=mask)),
            sync.stub.DeleteSource(pb.DeleteSourceRequest(**MISSING)),
            sync.stub.CheckSource(pb.CheckSourceRequest(**MISSING)),
        ]
        for call in calls:
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND")
            assert refusal.metadata == {"source": "other"}


def new(**fields: Any) -> pb.CreateSourceRequest:
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


def change(*paths: str, **fields: Any) -> pb.UpdateSourceRequest:
    return pb.UpdateSourceRequest(**{**KEY, "update_mask": FieldMask(paths=paths), **fields})


async def test_every_wrong_field_is_named(database_url: str, connection: Connection) -> None:
    hookline: dict[str, Any] = {"platform": "hookline", "parameters": {"company_id": "acme"}}
    plain: dict[str, Any] = {"platform": "own", "parameters": {"shop": "1"}}
    await put(connection, own(scheme="basic"))
    await put(connection, own("dumb", history=False), "dumb")
    async with syncing(database_url, allow_loopback_sources=False) as sync:
        create, update = sync.stub.CreateSource, sync.stub.UpdateSource
        await create_source(sync.stub)
        await create(new(source="own", **plain, credential="a:b"))
        await create(new(source="there", **hookline))
        cases: list[tuple[Any, set[str]]] = [
            (create(new(company_id="")), {"company_id"}),
            (create(new(company_id="a b")), {"company_id"}),
            (create(new(source="")), {"source"}),
            (create(new(source="é")), {"source"}),
            (create(new(platform="")), {"platform"}),
            (create(new(platform="generic", parameters={})), {"platform"}),
            (create(new(platform="dumb", parameters={})), {"platform"}),
            (create(new(company_id="bolt", **plain)), {"platform"}),
            (create(new(base_url="http://127.0.0.1:8090")), {"base_url"}),
            (create(new(base_url="https://example.com/\0")), {"base_url"}),
            (create(new(base_url="https://:x@example.com")), {"base_url"}),
            (create(new(base_url="https://example.com/v1", **hookline)), {"base_url"}),
            (create(new(credential="")), {"credential"}),
            (create(new(credential="a\nb")), {"credential"}),
            (create(new(credential="ç")), {"credential"}),
            (create(new(credential="x" * 2001)), {"credential"}),
            (create(new(credential="no-password", **plain)), {"credential"}),
            (create(new(parameters={})), {"parameters.webhookSettingId"}),
            (create(new(parameters={"webhookSettingId": "\0"})), {"parameters.webhookSettingId"}),
            (create(new(parameters={"webhookSettingId": "1", "x": "1"})), {"parameters.x"}),
            (create(new(look_back=Duration(seconds=-1))), {"look_back"}),
            (create(new(look_back=Duration(seconds=30 * 86400 + 1))), {"look_back"}),
            (create(new(look_back=Duration(seconds=10**14))), {"look_back"}),
            (create(new(run_deadline=Duration(seconds=59))), {"run_deadline"}),
            (create(new(run_deadline=Duration(seconds=30 * 86400, nanos=1000))), {"run_deadline"}),
            (
                create(new(base_url="x", credential="", parameters={}, look_back=Duration(seconds=-1))),
                {"base_url", "credential", "parameters.webhookSettingId", "look_back"},
            ),
            (create(new(platform="x", base_url="x", credential="")), {"platform", "base_url", "credential"}),
            (update(pb.UpdateSourceRequest(**KEY)), {"update_mask"}),
            (update(change("platform")), {"update_mask"}),
            (update(change("source", "base_url", base_url="x")), {"update_mask", "base_url"}),
            (update(change("base_url")), {"base_url"}),
            (update(change("credential")), {"credential"}),
            (update(change("parameters")), {"parameters.webhookSettingId"}),
            (update(change("parameters", source="own", parameters={"x": "1"})), {"parameters.shop", "parameters.x"}),
            (update(change("credential", source="own", credential="no-password")), {"credential"}),
            (update(change("base_url", source="there", base_url="https://a.example/x")), {"base_url"}),
            (
                update(change("look_back", "run_deadline", look_back=Duration(seconds=-1), run_deadline=Duration())),
                {"look_back", "run_deadline"},
            ),
            (update(change("look_back", company_id="")), {"company_id"}),
            (sync.stub.GetSource(pb.GetSourceRequest(company_id=COMPANY)), {"source"}),
            (sync.stub.ListSources(pb.ListSourcesRequest()), {"company_id"}),
            (sync.stub.DeleteSource(pb.DeleteSourceRequest(company_id=COMPANY)), {"source"}),
            (sync.stub.CheckSource(pb.CheckSourceRequest(company_id=COMPANY)), {"source"}),
        ]
        before = await sync.stub.ListSources(pb.ListSourcesRequest(company_id=COMPANY))
        for number, (call, fields) in enumerate(cases):
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), number
            assert refusal.violations.keys() == fields, number
        assert await sync.stub.ListSources(pb.ListSourcesRequest(company_id=COMPANY)) == before


async def test_what_the_mask_names_is_changed(database_url: str, connection: Connection) -> None:
    async with syncing(database_url) as sync:
        made = await create_source(sync.stub, look_back=Duration(seconds=7), run_deadline=Duration(seconds=70))

        async def changed(request: pb.UpdateSourceRequest) -> pb.Source:
            answer = (await sync.stub.UpdateSource(request)).source
            assert await got(sync.stub) == answer
            return answer

        unmasked: dict[str, Any] = {"base_url": "x", "credential": "", "parameters": {"y": "z"}}
        made.look_back.seconds = 8
        assert await changed(change("look_back", **unmasked, look_back=Duration(seconds=8))) == made
        # A run under way goes on with what it began with.
        await trigger(sync.stub)
        credential = await connection.fetchval("SELECT credential FROM hookline.sources")
        assert await changed(change("credential", credential="another")) == made
        assert await connection.fetchval("SELECT credential FROM hookline.sources") != credential
        made.base_url = "http://127.0.0.1:99"
        made.parameters["webhookSettingId"] = "2"
        made.look_back.seconds, made.run_deadline.seconds = 3600, 86400
        assert (
            await changed(
                change(
                    *("base_url", "credential", "parameters", "look_back", "run_deadline", "look_back"),
                    base_url=made.base_url,
                    credential="another",
                    parameters=made.parameters,
                )
            )
            == made
        )


async def test_a_credential_goes_to_no_other_server_than_it_was_given_for(
    database_url: str, connection: Connection
) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub, "https://api.example.com")
        stored = await connection.fetchval("SELECT credential FROM hookline.sources")
        for other in ("https://other.example", "https://api.example.com:8443", "http://127.0.0.1:443"):
            refusal = await refused(sync.stub.UpdateSource(change("base_url", base_url=other)))
            assert (refusal.reason, set(refusal.violations)) == ("INVALID_FIELD", {"credential"}), other
        assert (await got(sync.stub)).base_url == "https://api.example.com"
        # The same server, in other words.
        await sync.stub.UpdateSource(change("base_url", base_url="https://API.example.com:443/v2"))
        assert await connection.fetchval("SELECT credential FROM hookline.sources") == stored
        moved = change("base_url", "credential", base_url="https://other.example", credential="another")
        assert (await sync.stub.UpdateSource(moved)).source.base_url == "https://other.example"


async def test_credentials_are_kept_encrypted_and_never_given_back(
    database_url: str, connection: Connection, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "token-that-nobody-may-see"
    async with syncing(database_url) as sync:
        made = await create_source(sync.stub, credential=secret)
        answers = [
            made,
            await sync.stub.ListSources(pb.ListSourcesRequest(company_id=COMPANY)),
            await sync.stub.GetSource(pb.GetSourceRequest(**KEY)),
            await sync.stub.UpdateSource(change("credential", credential=secret)),
            await sync.stub.StartSchedule(pb.StartScheduleRequest(**KEY)),
            await sync.stub.TriggerSync(pb.TriggerSyncRequest(**KEY)),
            await sync.stub.GetSyncStatus(pb.GetSyncStatusRequest(company_id=COMPANY)),
            await sync.stub.CheckSource(pb.CheckSourceRequest(**KEY)),
        ]
        assert not any(secret in str(answer) for answer in answers)
        refusal = await refused(create_source(sync.stub, credential=secret))
        assert secret not in str(refusal)
        for call in (
            create_source(sync.stub, credential=secret + "\n"),
            sync.stub.UpdateSource(change("credential", credential=secret + "\n")),
        ):
            assert secret not in str(await refused(call))
        await create_source(sync.stub, source="same-credential", credential=secret)
    stored = await connection.fetch("SELECT s::text AS text, credential FROM hookline.sources s")
    assert len({row["credential"] for row in stored}) == 2
    assert not any(secret in row["text"] or secret.encode() in row["credential"] for row in stored)
    output = capfd.readouterr()
    assert secret not in output.out + output.err
