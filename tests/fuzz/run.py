"""A run: so many malformed deliveries, and what must hold whatever comes."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from hookline.ingest.v1 import endpoint_service_pb2 as pb
from shared import db
from shared.platforms import platforms
from tests.fuzz import frames, garbage, json_tree, over_grpc, over_http, spoiling
from tests.fuzz.books import COMPANY, Books
from tests.fuzz.cases import CANARY, Case, case, secrets, signed_source
from tests.hooks import open_endpoint
from tests.ingest_process import IngestProcess
from tests.ledger import check_ledger
from tests.samples import grapfy

CHUNK = 1000
"""Cases that are under way at once, and are then looked for in the database."""
BODY_SECONDS = 1
"""HOOKLINE_HTTP_BODY_SECONDS that the service must run with: what is never whole is waited for so long."""
_PATIENCE = 20
_WARM = 0.2
# Where bodies of up to a megabyte meet, the heap ends up 10 to 35 MiB larger, after 5,000 of them as after 20,000.
_ROOM_BYTES = 64 * 1024 * 1024


@dataclass
class Report:
    """What a run came to. Memory is that of the service, in bytes: at its most while it warms up, and afterwards."""

    cases: int = 0
    frames: int = 0
    garbage: int = 0
    warm_bytes: int = 0
    most_bytes: int = 0
    books: Books = field(default_factory=Books)

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count:,} {what}" for what, count in self.books.outcomes.most_common())
        statuses = ", ".join(f"{count:,} {what}" for what, count in sorted(self.books.statuses.items()))
        return (
            f"{self.cases:,} bodies, {self.frames:,} odd messages, {self.garbage:,} odd requests;"
            f" {self.books.found:,} acknowledged and found; memory {self.warm_bytes >> 20} MiB when warm,"
            f" {self.most_bytes >> 20} MiB at most after; {outcomes}; {statuses}"
        )


async def fuzz(ingest: IngestProcess, pool: db.Pool, seed: str, count: int) -> Report:
    """Sends `count` bodies, 30 % of them by HTTP, and a few messages and requests that are none. Raises AssertionError
    when an answer is none that a sender of nonsense should get, something acknowledged is not stored as it came, the
    process has died or grown, or its log holds an error or what bodies hold."""
    report, pid = Report(), ingest.pid
    paths = await _open(ingest)
    await _warm_up(ingest, paths, report)
    while report.cases < count:
        rng = random.Random(f"{seed}/{report.cases}")
        size = min(CHUNK, count - report.cases)
        await _send(ingest, paths, seed, range(report.cases, report.cases + size), rng, report)
        async with pool.acquire() as connection:
            await report.books.check_stored(connection)
        report.cases += size
        if report.cases <= max(CHUNK, count * _WARM):
            report.warm_bytes = max(report.warm_bytes, ingest.resident_bytes())
        else:
            report.most_bytes = max(report.most_bytes, ingest.resident_bytes())
    problems = report.books.problems
    assert not problems, f"seed {seed}: {len(problems)} problems, such as:\n" + "\n".join(problems[:20])
    assert ingest.pid == pid, f"seed {seed}: the process is another one"
    assert report.most_bytes < report.warm_bytes + _ROOM_BYTES, f"seed {seed}: memory grows: {report}"
    async with pool.acquire() as connection:
        await check_ledger(connection)
    complaints = ingest.complaints()
    assert not complaints, "\n".join([f"seed {seed}: the log complains:", *complaints[:20]])
    assert CANARY not in ingest.log(), f"seed {seed}: a name from a body is in the log"
    return report


async def _open(ingest: IngestProcess) -> over_http.Paths:
    """Endpoints for each platform: one whose deliveries are signed, and one whose are not."""
    for source, secret in secrets().items():
        request = pb.PutSigningSecretRequest(company_id=COMPANY, source=source, secret=secret)
        await ingest.endpoints.PutSigningSecret(request)
    wanted = [(platform, source) for platform in ("", *platforms()) for source in ("", signed_source(platform))]
    return {
        (platform, source): await open_endpoint(ingest.endpoints, COMPANY, source or "loja", platform)
        for platform, source in wanted
    }


async def _warm_up(ingest: IngestProcess, paths: over_http.Paths, report: Report) -> None:
    """As much at once as ever will be: what grows after that is a leak."""
    bodies = [spoiling.near_the_limit(json_tree.parse(grapfy(number)), random.Random(number)) for number in range(24)]
    large = [Case(number, "warm-up", body) for number, body in enumerate(bodies)]
    for _ in range(2):
        await asyncio.gather(
            *(over_grpc.send(ingest, large[lane::2], random.Random(lane), report.books) for lane in range(2)),
            over_http.send(ingest.http_address, paths, large, report.books),
        )
        report.warm_bytes = max(report.warm_bytes, ingest.resident_bytes())


async def _send(
    ingest: IngestProcess, paths: over_http.Paths, seed: str, numbers: Sequence[int], rng: random.Random, report: Report
) -> None:
    by_http: list[Case] = []
    by_grpc: list[Case] = []
    for number in numbers:
        (by_http if rng.random() < 0.3 else by_grpc).append(case(seed, number))
    odd = max(1, len(numbers) // 25)
    report.frames += odd
    report.garbage += odd
    rngs = [random.Random(rng.getrandbits(64)) for _ in range(odd)]
    await asyncio.gather(
        over_grpc.send(ingest, by_grpc[::2], random.Random(rng.getrandbits(64)), report.books),
        over_grpc.send(ingest, by_grpc[1::2], random.Random(rng.getrandbits(64)), report.books),
        over_http.send(ingest.http_address, paths, by_http, report.books),
        frames.send(ingest, odd, random.Random(rng.getrandbits(64)), report.books),
        garbage.send(ingest.http_address, paths["", ""], _PATIENCE, rngs, report.books),
    )
