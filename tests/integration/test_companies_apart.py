"""Two companies under random load, with each other's ids, cursors and company names, tampered or not: no byte of one
appears in the other's answers."""

import asyncio
import random
from collections import Counter

import pytest

from shared.auth import RULES, Scope
from shared.db import Connection
from tests.in_process import exporting, ingesting
from tests.sync_in_process import syncing, valkey
from tests.tokens import token_of
from tests.two_companies import Company, Found, Load

SEEDS = range(3)
CALLERS, CALLS = 8, 100
METHODS = {name.partition("/")[2] for name in RULES if name.startswith("hookline.")}


async def make_source(connection: Connection, company: Company) -> None:
    await connection.execute(
        """INSERT INTO hookline.sources (company_id, source, platform, base_url, credential)
           VALUES ($1, $2, 'grapfy', 'https://api.example.com', 'encrypted')""",
        company.name,
        f"loja-{company.word}",
    )


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_byte_of_one_appears_in_the_other_s_answers(
    database_url: str, connection: Connection, seed: int
) -> None:
    companies = [Company("acme", "quixada7f3a"), Company("bolt", "zumbi9c1e")]
    for each in companies:
        await make_source(connection, each)
        each.token = await token_of(connection, each.name, name=each.word)
        each.without = {
            scope: await token_of(connection, each.name, *(one for one in Scope if one is not scope)) for scope in Scope
        }
    async with (
        valkey() as server,
        ingesting(database_url, require_tokens=True) as ingest,
        exporting(database_url, require_tokens=True, redis_url=server.url) as export,
        syncing(database_url, server.url, require_tokens=True) as pulling,
    ):
        found = Found()
        loads = []
        for number in range(CALLERS):
            me, other = companies if number % 2 else reversed(companies)
            rng = random.Random(seed * 1000 + number)
            loads.append(Load(rng, me, other, found, (ingest, export, pulling)))
        await asyncio.gather(*(load.run(CALLS) for load in loads))
    said = sum((load.said for load in loads), Counter[str]())
    assert set().union(*(load.tried for load in loads)) == METHODS
    # It was not for nothing: each got its own, and each kind of wall was run into.
    assert all(each.answers > 20 for each in companies)
    assert said["OK"] > CALLERS * CALLS / 4
    assert said.keys() >= {
        "UNAUTHENTICATED",
        "SCOPE_MISSING",
        "WRONG_COMPANY",
        "INVALID_PAGE_TOKEN",
        "INVALID_RESUME_TOKEN",
        "EVENT_NOT_FOUND",
        "QUARANTINED_EVENT_NOT_FOUND",
        "SYNC_RUN_NOT_FOUND",
    }
    # Nor did anything of one get in under the other's name.
    for me, other in (companies, reversed(companies)):
        for statement in (
            "SELECT count(*) FROM hookline.events WHERE company_id = $1 AND payload::text LIKE $2",
            "SELECT count(*) FROM hookline.quarantine WHERE company_id = $1 AND quarantine::text LIKE $2",
            "SELECT count(*) FROM hookline.event_status WHERE company_id = $1 AND event_status::text LIKE $2",
            "SELECT count(*) FROM hookline.endpoints WHERE company_id = $1 AND endpoints::text LIKE $2",
            "SELECT count(*) FROM hookline.platform_mappings WHERE company_id = $1 AND platform_mappings::text LIKE $2",
            "SELECT count(*) FROM hookline.sync_runs WHERE company_id = $1 AND sync_runs::text LIKE $2",
            "SELECT count(*) FROM hookline.audit_log WHERE company_id = $1 AND audit_log::text LIKE $2",
        ):
            # What is kept as bytes reads as their digits.
            for word in (other.word, other.word.encode().hex()):
                assert await connection.fetchval(statement, me.name, f"%{word}%") == 0
