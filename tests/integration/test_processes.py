"""A service as several processes that share its ports: they share the load, and none of them is needed."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import psutil
import pytest

from hookline.ingest.v1 import endpoint_service_pb2 as endpoints
from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from services.suite.ports import free_address, free_addresses
from shared.db import Connection
from shared.settings import counted_up
from shared.sockets import listening
from tests.door import Pouring, line, request
from tests.ingest_process import SECRET_KEY, IngestProcess
from tests.load import Load
from tests.samples import grapfy
from tests.scraping import scraped
from tests.waiting import eventually

COMPANY = "door"


class Several(IngestProcess):
    """Two processes of ingest, with their parent."""

    def __init__(self, database_url: str, folder: Path, **settings: object) -> None:
        self.metrics_address = free_addresses(2)
        super().__init__(database_url, folder, processes=2, metrics_address=self.metrics_address, **settings)

    @property
    def http(self) -> str:
        return f"http://{self.http_address}"

    async def children(self) -> list[psutil.Process]:
        """Both, once both serve."""

        async def serving() -> list[psutil.Process]:
            found = psutil.Process(self.pid).children()
            texts = [await self.metrics(number) for number in range(2)]
            return found if len(found) == 2 and all(texts) else []

        return await eventually(serving, what="both processes serve")

    async def metrics(self, number: int) -> str:
        """What one of them has counted; empty while it doesn't answer."""
        with suppress(OSError):
            return await scraped(counted_up(self.metrics_address, number))
        return ""

    async def make_endpoint(self) -> tuple[str, endpoints.Endpoint]:
        """A path at the door, and the endpoint that it belongs to."""
        asked = endpoints.CreateEndpointRequest(company_id=COMPANY, platform="grapfy")
        made = await EndpointServiceStub(self.channel).CreateEndpoint(asked)
        return f"/v1/hooks/{made.token}", made.endpoint


@pytest.fixture
async def several(database_url: str, tmp_path: Path) -> AsyncIterator[Several]:
    running = Several(database_url, tmp_path)
    async with running:
        await running.children()
        yield running


async def verify(load: Load, pouring: Pouring, connection: Connection) -> None:
    """What was acknowledged, by either way, is stored as said, and once."""
    assert load.problems == []
    await pouring.verify(connection)
    rows = await connection.fetch("SELECT company_id, dedup_key, event_id::text, sequence FROM hookline.events")
    assert load.acknowledged.items() <= {(row[0], row[1]): (row[2], row[3]) for row in rows}.items()


async def test_they_share_the_load_and_store_each_event_once(several: Several, connection: Connection) -> None:
    path, _ = await several.make_endpoint()
    load, pouring = Load("several"), Pouring(several.http, path)
    async with load.running(several.address), pouring.running():
        await asyncio.gather(load.answered(), pouring.goes_on())
    for number in range(2):
        text = await several.metrics(number)
        assert re.search(r'hookline_hooks_total{outcome="accepted",status="200"} [1-9]', text), number
        assert re.search(r'hookline_grpc_calls_total{code="OK",method="[a-zA-Z0-9.]+/IngestEvents"} [1-9]', text)
    assert pouring.answers.keys() == {"200 accepted", "200 duplicate"}
    assert load.refusals == {}
    await verify(load, pouring, connection)


async def test_one_that_is_killed_comes_back_and_nothing_acknowledged_is_lost(
    several: Several, connection: Connection
) -> None:
    path, _ = await several.make_endpoint()
    load, pouring = Load("killed"), Pouring(several.http, path)
    async with load.running(several.address), pouring.running():
        for _ in range(2):
            await asyncio.gather(load.answered(), pouring.goes_on())
            victim, other = await several.children()
            victim.kill()
            await asyncio.gather(load.answered(), pouring.goes_on())
            assert other in await several.children()
    # Senders have noticed.
    assert pouring.answers.total() > sum(pouring.answers[said] for said in ("200 accepted", "200 duplicate"))
    await verify(load, pouring, connection)
    assert '"event": "process_ended"' in several.log()


async def test_when_the_parent_is_killed_they_go_too(several: Several) -> None:
    children = await several.children()
    several.send_signal(signal.SIGKILL)
    await several.ended()
    await eventually(lambda: not any(child.is_running() for child in children), what="the processes are gone")


@pytest.mark.parametrize(("drain_seconds", "is_frozen"), [(25, False), (1, True)])
async def test_they_stop_in_time(
    database_url: str, tmp_path: Path, connection: Connection, drain_seconds: float, is_frozen: bool
) -> None:
    several = Several(database_url, tmp_path, drain_seconds=drain_seconds)
    async with several:
        path, _ = await several.make_endpoint()
        children = await several.children()
        pouring = Pouring(several.http, path)
        async with pouring.running():
            await pouring.goes_on()
            if is_frozen:
                children[0].suspend()
            several.send_signal(signal.SIGTERM)
            # Neither for as long as calls might take, nor for one that never will.
            async with asyncio.timeout(20):
                await several.ended()
        assert not any(child.is_running() for child in children)
    await pouring.verify(connection)


async def test_what_one_changes_the_other_knows_within_seconds(several: Several) -> None:
    path, endpoint = await several.make_endpoint()
    new_path, _ = await several.make_endpoint()
    named = {"company_id": COMPANY, "endpoint_id": endpoint.endpoint_id}
    async with AsyncExitStack() as stack:
        # Enough of them that both processes have some.
        lines = [await stack.enter_async_context(line(several.http)) for _ in range(20)]

        async def answers(path: str) -> set[str]:
            data = request(path, grapfy())
            return {said.outcome for said in await asyncio.gather(*(one.ask(data) for one in lines))}

        await answers(path)
        assert await answers(path) == {"200 duplicate"}
        await EndpointServiceStub(several.channel).RevokeEndpoint(endpoints.RevokeEndpointRequest(**named))

        async def is_gone() -> bool:
            return await answers(path) == {"410 rejected endpoint_revoked"}

        await eventually(is_gone, timeout=5, what="all of them know")
        assert await answers(new_path) == {"200 duplicate"}


async def start(**settings: str) -> asyncio.subprocess.Process:
    """Starts ingest as two processes, which is to fail."""
    told = {
        "INGEST_ADDRESS": free_address(),
        "HTTP_ADDRESS": free_address(),
        "SECRET_KEY": SECRET_KEY,
        "PROCESSES": "2",
        **settings,
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.ingest"),
        env=os.environ | {f"HOOKLINE_{name}": value for name, value in told.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def refused(process: asyncio.subprocess.Process) -> str:
    """All that it says, once it has ended."""
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    assert process.returncode == 1
    return said.decode()


@pytest.mark.parametrize("name", ["INGEST_ADDRESS", "HTTP_ADDRESS"])
async def test_a_port_that_another_listens_on_is_told(database_url: str, name: str) -> None:
    address = free_address()
    with listening(address, shared=True):
        said = await refused(await start(DATABASE_URL=database_url, **{name: address}))
    assert said == f"ingest: {address} can't be listened on: the port is taken or the host is not ours.\n"


async def test_what_keeps_them_from_serving_is_told_once(empty_database_url: str) -> None:
    said = await refused(await start(DATABASE_URL=empty_database_url))
    assert said.startswith("ingest: ")
    assert said.endswith("`python -m services migrate` brings it up to date.\n")
    assert said.count("\n") == 1


async def test_a_database_that_cant_be_used_is_told(database_url: str, connection: Connection) -> None:
    async def start_alone() -> str:
        return await refused(await start(DATABASE_URL=f"{database_url}&lock_timeout=100ms", PROCESSES="1"))

    async with connection.transaction():
        await connection.execute("LOCK TABLE hookline.company_limits")
        assert await start_alone() == "ingest: the database can't be reached just now; try again.\n"
    await connection.execute("ALTER TABLE hookline.company_limits RENAME TO elsewhere")
    said = await start_alone()
    assert said == 'ingest: PostgreSQL can\'t be used: relation "hookline.company_limits" does not exist.\n'


async def test_one_that_is_killed_before_it_has_ever_served_ends_them(tmp_path: Path) -> None:
    # It waits for a server that is not there, and is killed meanwhile.
    process = await start(DATABASE_URL=f"postgresql://hookline@/hookline?host={tmp_path}")
    [first] = await eventually(psutil.Process(process.pid).children, what="the first is started")
    first.kill()
    assert await refused(process) == "ingest: Process 0 ended before it was serving (signal 9).\n"
