"""An HTTP server that does nothing, the limit of the door: `python -m bench.empty_http_server <host:port>`.

It answers everything with an empty 200, from the uvicorn, parser and loop that the door runs on. Ends when its standard
input does."""

import asyncio
import sys
from typing import Any

import uvicorn
import uvloop

from shared.settings import split_address

_HEADERS = [(b"content-length", b"0")]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body"})


async def main(address: str) -> None:
    host, port = split_address(address)
    config = uvicorn.Config(
        answer,
        host,
        port,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    print("serving", flush=True)
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not ended.done():
        await server.on_tick(0)
        await asyncio.wait({ended}, timeout=1)
    await server.shutdown()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
