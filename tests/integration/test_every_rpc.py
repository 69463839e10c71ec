"""Every RPC of every service, found by reflection: nobody gets past its rule."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import hookline
from shared import db
from shared.auth import RULES, Rule, Scope, new_token
from shared.internal import InternalTokens
from tests.in_process import SECRET_KEY, Running, exporting, ingesting
from tests.refusals import Refusal, refused
from tests.sync_in_process import syncing
from tests.tokens import bearer, revoke, token_of

MODULE = pytest.mark.asyncio(loop_scope="module")
Metadata = list[tuple[str, str]]
COMPANY, OTHER = "acme", "bolt"
OPEN = "grpc.health.v1.Health"


@dataclass(frozen=True)
class Rpc:
    """An RPC, as reflection tells of it, and where it is served."""

    channel: grpc.aio.Channel
    descriptor: MethodDescriptor

    @property
    def name(self) -> str:
        return f"{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def rule(self) -> Scope | Rule:
        return RULES[self.name]

    def request(self, company: str) -> bytes:
        message: Any = message_factory.GetMessageClass(self.descriptor.input_type)()
        if company:
            message.company_id = company
        data: bytes = message.SerializeToString()
        return data

    def call(self, data: bytes, metadata: Metadata) -> Any:
        asks, answers = (
            "stream" if streaming else "unary"
            for streaming in (self.descriptor.client_streaming, self.descriptor.server_streaming)
        )
        method = getattr(self.channel, f"{asks}_{answers}")(f"/{self.name}")
        return method(_once(data) if asks == "stream" else data, metadata=metadata, timeout=20)

    async def refusal(self, metadata: Metadata, data: bytes | None = None) -> Refusal:
        """What is said to that caller; by default to a request that names the company."""
        return await refused(self.call(self.request(COMPANY) if data is None else data, metadata))


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


@dataclass(frozen=True)
class Callers:
    """Everybody that may stand at the door."""

    strangers: dict[str, Metadata]
    everything: str
    without: dict[Scope, str]
    others: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(module_database_url: str) -> AsyncIterator[list[Running]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(serving(module_database_url, require_tokens=True))
            for serving in (ingesting, exporting, syncing)
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(module_database_url: str) -> AsyncIterator[Callers]:
    async with await db.open_pool(module_database_url, 1) as pool, pool.acquire() as connection:
        good = await token_of(connection, COMPANY)
        expired = await token_of(connection, COMPANY, lasts=timedelta(seconds=-1))
        revoked = await token_of(connection, COMPANY)
        await revoke(connection, COMPANY, revoked)
        long_ago = InternalTokens(SECRET_KEY, clock=lambda: 1_000_000_000.0).source("sync-worker")
        elsewhere = InternalTokens("another key").source("sync-worker")
        yield Callers(
            strangers={
                "no token": [],
                "an empty one": [("authorization", "")],
                "no bearer": [("authorization", f"Basic {good}")],
                "two tokens": bearer(good) + bearer(good),
                "nobody's": bearer(new_token(COMPANY)),
                "too short": bearer(good[:-1]),
                "one character changed": bearer(good[:-1] + ("A" if good[-1] != "A" else "B")),
                "named to another company": bearer(good.replace(COMPANY, OTHER)),
                "its digest": bearer("hk_acme." + "0" * 43),
                "not a token": bearer("' OR true --"),
                "expired": bearer(expired),
                "revoked": bearer(revoked),
                "a service's, too old": bearer(long_ago()),
                "a service's, of another key": bearer(elsewhere()),
            },
            everything=good,
            without={
                scope: await token_of(connection, COMPANY, *(one for one in Scope if one is not scope))
                for scope in Scope
            },
            others=await token_of(connection, OTHER),
        )


async def reflected(service: Running, token: str) -> list[Rpc]:
    """All that a service serves, with its own descriptors."""
    stub = reflection_pb2_grpc.ServerReflectionStub(service.channel)
    pool = descriptor_pool.DescriptorPool()

    async def ask(**question: str) -> reflection_pb2.ServerReflectionResponse:
        request = reflection_pb2.ServerReflectionRequest(**question)
        async for answer in stub.ServerReflectionInfo(iter([request]), metadata=bearer(token)):
            return answer
        raise AssertionError("no answer")

    names = [one.name for one in (await ask(list_services="")).list_services_response.service]
    rpcs = []
    for name in names:
        files = (await ask(file_containing_symbol=name)).file_descriptor_response.file_descriptor_proto
        there = [descriptor_pb2.FileDescriptorProto.FromString(data) for data in files]
        _add(pool, {file.name: file for file in there}, *(file.name for file in there))
        rpcs += [Rpc(service.channel, method) for method in pool.FindServiceByName(name).methods]
    return rpcs


def _add(
    pool: descriptor_pool.DescriptorPool, files: dict[str, descriptor_pb2.FileDescriptorProto], *names: str
) -> None:
    """Adds files to the pool, each after those that it needs; one that comes a second time is the same."""
    for name in names:
        _add(pool, files, *files[name].dependency)
        pool.Add(files[name])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rpcs(services: list[Running], callers: Callers) -> list[Rpc]:
    return [rpc for service in services for rpc in await reflected(service, callers.everything)]


@pytest.fixture
def guarded(rpcs: list[Rpc]) -> list[Rpc]:
    """All but health, which whoever reaches the port may ask."""
    return [rpc for rpc in rpcs if not rpc.name.startswith(OPEN)]


@pytest.fixture
def scoped(guarded: list[Rpc]) -> list[Rpc]:
    """Those that are about a company."""
    return [rpc for rpc in guarded if isinstance(rpc.rule, Scope)]


@MODULE
async def test_every_rpc_that_is_served_has_a_rule(rpcs: list[Rpc]) -> None:
    assert len({rpc.name for rpc in rpcs}) > 40
    assert [rpc.name for rpc in rpcs if rpc.name not in RULES] == []
    assert {rpc.name for rpc in rpcs if rpc.rule is Rule.NOTHING} == {f"{OPEN}/{m}" for m in ("Check", "List", "Watch")}
    assert {rpc.name for rpc in rpcs if rpc.rule is Rule.ANY_TOKEN} == {
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    }


@MODULE
async def test_strangers_get_nowhere(guarded: list[Rpc], callers: Callers) -> None:
    async def check(rpc: Rpc, who: str, metadata: Metadata) -> None:
        for data in (None, b"\xff", rpc.request("") if isinstance(rpc.rule, Scope) else b""):
            refusal = await rpc.refusal(metadata, b"" if data is None and rpc.rule is Rule.ANY_TOKEN else data)
            said = (refusal.code, refusal.reason, refusal.metadata)
            assert said == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", {}), f"{rpc.name}, {who}"

    for rpc in guarded:
        await asyncio.gather(*(check(rpc, who, metadata) for who, metadata in callers.strangers.items()))


@MODULE
async def test_a_token_of_all_other_scopes_is_refused(scoped: list[Rpc], callers: Callers) -> None:
    async def check(rpc: Rpc) -> None:
        assert isinstance(rpc.rule, Scope)
        refusal = await rpc.refusal(bearer(callers.without[rpc.rule]))
        said = (refusal.code, refusal.reason, refusal.metadata)
        assert said == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING", {"scope": rpc.rule}), rpc.name

    await asyncio.gather(*map(check, scoped))


@MODULE
async def test_a_service_s_token_is_good_for_ingest_only(scoped: list[Rpc]) -> None:
    token = InternalTokens(SECRET_KEY).source("sync-worker")()
    for rpc in scoped:
        refusal = await rpc.refusal(bearer(token), b"\xff")
        assert refusal.reason == ("MALFORMED_MESSAGE" if rpc.rule is Scope.INGEST else "SCOPE_MISSING"), rpc.name


@MODULE
async def test_another_company_s_token_is_refused(scoped: list[Rpc], callers: Callers) -> None:
    async def check(rpc: Rpc) -> None:
        refusal = await rpc.refusal(bearer(callers.others))
        said = (refusal.code, refusal.reason, refusal.metadata)
        assert said == (grpc.StatusCode.PERMISSION_DENIED, "WRONG_COMPANY", {}), rpc.name
        assert COMPANY not in refusal.message
        # Nor by a name that only looks like it, or that is none.
        for named in (OTHER.upper(), f"{OTHER}.", f"{OTHER} ", "*", f"{OTHER}/../{COMPANY}"):
            assert (await rpc.refusal(bearer(callers.others), rpc.request(named))).reason == "WRONG_COMPANY", rpc.name

    await asyncio.gather(*map(check, scoped))


@MODULE
async def test_a_good_token_gets_past_the_rule(scoped: list[Rpc], callers: Callers) -> None:
    for rpc in scoped:
        # Its bytes are looked at, and nothing is done.
        assert (await rpc.refusal(bearer(callers.everything), b"\xff")).reason == "MALFORMED_MESSAGE", rpc.name


@MODULE
async def test_health_needs_no_token(rpcs: list[Rpc]) -> None:
    checks = [rpc for rpc in rpcs if rpc.name == f"{OPEN}/Check"]
    assert len(checks) == 3
    for rpc in checks:
        assert await rpc.call(b"", [])
        assert await rpc.call(b"", bearer("nonsense"))


def contract() -> Iterator[MethodDescriptor]:
    """Every RPC of the contract, served by now or not."""
    for path in sorted(Path(next(iter(hookline.__path__))).glob("*/v1/*_pb2.py")):
        module = import_module(f"hookline.{path.parent.parent.name}.v1.{path.stem}")
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def test_every_rpc_of_the_contract_has_a_rule_and_names_its_company() -> None:
    seen = set()
    for method in contract():
        name = f"{method.containing_service.full_name}/{method.name}"
        seen.add(name)
        assert isinstance(RULES.get(name), Scope), f"{name} has no rule in shared/auth.py"
        company = method.input_type.fields_by_name.get("company_id")
        assert company is not None, f"{name}: its request names no company"
        assert company.type == company.TYPE_STRING
    assert {name for name in RULES if name.startswith("hookline.")} == seen, "a rule without an RPC"
