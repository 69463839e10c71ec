"""The ingest service as a process of its own: to be killed, and started again where it was."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hookline.client.requests import CHANNEL_OPTIONS
from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from services.suite.ports import free_address
from tests.waiting import eventually

if TYPE_CHECKING:
    from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceAsyncStub
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

SECRET_KEY = "bWFkZSB1cCBmb3IgdGVzdHMsIGd1YXJkcyBub3RoaW4="
# Not the back-off meant for servers far away, and a connection of its own.
_OPTIONS = [
    *((name, value) for name, value in CHANNEL_OPTIONS if "backoff" not in name),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
]


class IngestProcess:
    """`python -m services.ingest` on free ports; `settings` are those of shared/settings.py. What it logs goes to a
    file in the folder. `channel` and the stubs reach the process of the moment."""

    def __init__(self, database_url: str, folder: Path, **settings: Any) -> None:
        self.address = free_address()
        self.http_address = free_address()
        self.channel: grpc.aio.Channel
        self.stub: IngestServiceAsyncStub
        self.endpoints: EndpointServiceAsyncStub
        self._process: asyncio.subprocess.Process
        self._log = folder / "ingest.log"
        told = {
            "database_url": database_url,
            "ingest_address": self.address,
            "http_address": self.http_address,
            "secret_key": SECRET_KEY,
            "drain_seconds": 2,
            **settings,
        }
        self._environment = os.environ | {f"HOOKLINE_{name.upper()}": str(value) for name, value in told.items()}

    async def __aenter__(self) -> "IngestProcess":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.send_signal(signal.SIGTERM)
        await self.ended()

    @property
    def pid(self) -> int:
        """The process of the moment. Fails when it has ended by itself."""
        assert self._process.returncode is None, f"ingest ended with {self._process.returncode}: {self.log()[-2000:]}"
        return self._process.pid

    def log(self) -> str:
        """What it has logged so far, over all starts."""
        return self._log.read_text(errors="backslashreplace")

    def complaints(self) -> list[str]:
        """The lines of the log that only a defect makes it write: errors, and what no logger has formed."""
        return [line for line in self.log().splitlines() if re.search(r'"level": ?"error"', line) or line[:1] != "{"]

    def resident_bytes(self) -> int:
        """The memory of the process and of those that it has started."""
        process = psutil.Process(self.pid)
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])

    def raw(self, kind: str, method: str) -> Any:
        """A method, such as "unary_unary", that sends bytes as they are."""
        return getattr(self.channel, kind)(method)

    async def start(self) -> None:
        """Starts it, and waits until it serves."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.ingest", env=self._environment, stdout=log, stderr=log
            )
        self.channel = grpc.aio.insecure_channel(self.address, _OPTIONS)
        self.stub = IngestServiceStub(self.channel)
        self.endpoints = EndpointServiceStub(self.channel)
        await eventually(self._serves, timeout=60, what="ingest serves")

    def send_signal(self, how: signal.Signals) -> None:
        self._process.send_signal(how)

    async def ended(self) -> None:
        """Waits until it is gone, which a signal must have told it to be."""
        async with asyncio.timeout(30):
            await self._process.wait()
        await self.channel.close()

    async def _serves(self) -> bool:
        assert self.pid
        try:
            answer = await health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
