"""Valkey brought along: for its user alone, and with nothing of what it holds on disk."""

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import redis.asyncio
from redis.asyncio.connection import parse_url

from services.suite.embedded_valkey import EmbeddedValkey

SECRET = b"Ana Souza"


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    """A folder of which a client's URL must not be misread."""
    folder = tmp_path / "50% of #1, ok?"
    yield folder
    await EmbeddedValkey(folder).destroy()


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def socket_of(url: str) -> Path:
    """Not always in the data folder: its path may be too long."""
    return Path(parse_url(url)["path"])


async def test_only_its_user_reaches_it(data_dir: Path) -> None:
    valkey = EmbeddedValkey(data_dir)
    await valkey.start()
    assert valkey.process
    assert psutil.Process(valkey.process.pid).net_connections("inet") == []
    socket = socket_of(valkey.url)
    assert socket.is_socket()
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    await valkey.stop()


async def test_nothing_of_what_it_holds_is_on_disk(data_dir: Path) -> None:
    kept = data_dir / "valkey" / "appendonlydir"
    kept.mkdir(parents=True)
    (kept / "appendonly.aof.1.incr.aof").write_bytes(SECRET)
    valkey = EmbeddedValkey(data_dir)
    await valkey.start()
    assert SECRET not in on_disk(data_dir), "left by a version that kept its data"
    async with redis.asyncio.from_url(valkey.url) as client:
        await client.set("key", SECRET, ex=3600)
        assert SECRET not in on_disk(data_dir)
    await valkey.stop()
    assert SECRET not in on_disk(data_dir)


async def test_replaces_the_server_of_a_killed_parent(data_dir: Path) -> None:
    orphan, valkey = EmbeddedValkey(data_dir), EmbeddedValkey(data_dir)
    await orphan.start()
    await valkey.start()
    assert orphan.url == valkey.url
    assert await orphan.wait() != 0
    async with redis.asyncio.from_url(orphan.url) as client:
        assert await client.ping()
    await valkey.stop()


async def test_works_where_the_path_is_too_long_for_a_socket(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 30)
    valkey = EmbeddedValkey(data_dir)
    try:
        await valkey.start()
        async with redis.asyncio.from_url(valkey.url) as client:
            assert await client.ping()
    finally:
        await valkey.destroy()
    assert list(data_dir.iterdir()) == []
