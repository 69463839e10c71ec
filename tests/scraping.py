"""What a process has counted, as Prometheus asks for it."""

import asyncio


async def scraped(address: str) -> str:
    """The metrics at an address, without TLS. Raises OSError where nobody answers."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        return (await reader.read()).decode()
    finally:
        writer.close()
