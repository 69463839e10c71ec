"""Every SQL statement of the services: it runs on the schema as it is, keeps to one company, and says why it is so."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

import services
import shared
from shared.db import Connection
from shared.statements import Statements
from tests.company_binding import parameters, problems

SERVICES = Path(str(files(services)))
SHARED = Path(str(files(shared)))
PACKAGES = [*sorted(f"services.{folder.parent.name}" for folder in SERVICES.glob("*/sql")), "shared"]


CONTROL_TABLES = {"company_limits", "sources", "sync_runs", "sync_log", "alerts", "alert_channels", "alert_deliveries"}
# What is due is due whoever's it is: the reaper's, and nobody else's.
ACROSS_COMPANIES = {
    f"services.sync.{name}"
    for file in ("reaper.sql", "alerting.sql")
    for name in re.findall(
        r"^-- name: (\w+).*\n-- Across companies: the reaper's\.",
        (SERVICES / "sync/sql" / file).read_text(),
        flags=re.MULTILINE,
    )
} | {
    # Few rows, read before the first call.
    "shared.load_limits"
}


class Echo(dict[str, str]):
    """Gives each name as its own value."""

    def __missing__(self, name: str) -> str:
        return name


def statements() -> Iterator[tuple[str, Statements, str]]:
    for package in PACKAGES:
        of_package = Statements(package)
        for name in of_package.texts:
            yield f"{package}.{name}", of_package, name


ALL = {full_name: (of_package, name) for full_name, of_package, name in statements()}


async def company_tables(connection: Connection) -> set[str]:
    """The tables of company data: all that have a company_id, whoever made them."""
    rows = await connection.fetch(
        """
        SELECT c.relname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE n.nspname = 'hookline' AND a.attname = 'company_id' AND c.relkind IN ('r', 'p')
        """
    )
    return {row["relname"] for row in rows}


def test_there_are_statements_of_every_service() -> None:
    assert PACKAGES == ["services.export", "services.ingest", "services.sync", "shared"]
    assert len(ALL) >= 10


async def test_every_statement_can_be_prepared(connection: Connection) -> None:
    for full_name, (of_package, name) in ALL.items():
        prepared = await connection.prepare(of_package.texts[name])
        count = len(of_package.arguments(name, Echo()))
        assert len(prepared.get_parameters()) == count, full_name


async def test_every_statement_keeps_to_one_company(connection: Connection) -> None:
    tables = await company_tables(connection)
    assert tables >= CONTROL_TABLES
    assert {"companies", "events", "event_keys", "event_status", "unprocessed", "quarantine"} <= tables
    bound = set()
    for full_name, (of_package, name) in ALL.items():
        sql = of_package.texts[name]
        if full_name in ACROSS_COMPANIES:
            # Those tables stay in one place when the others are distributed; none of the others is touched.
            assert problems(sql, tables - CONTROL_TABLES) == [], full_name
            continue
        assert problems(sql, tables) == [], full_name
        names = {of_package.arguments(name, Echo())[number - 1] for number in parameters(sql, tables)}
        assert names <= {"company_id"}, full_name
        if names:
            bound.add(full_name)
    assert set(ALL) - bound == {
        "services.ingest.create_partitions",
        "services.ingest.merge_pending",
        # Read no table: their locks are of the company and what is done with it, or the request.
        "services.ingest.lock_erasure",
        "services.ingest.lock_mappings",
        # Read no table: a clock, and what another statement reads.
        "services.export.clock_in_zone",
        "services.export.json_rows",
        "services.sync.lock_request",
        "shared.allow_writing",
        *ACROSS_COMPANIES,
    }


FILES = [
    path
    for path in (*sorted(SERVICES.glob("*/sql/*.sql")), *sorted(SHARED.glob("sql/*.sql")))
    if not path.name.endswith(".part.sql")
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_statement_says_why(path: Path) -> None:
    blocks = re.split(r"^-- name: ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert blocks
    for block in blocks:
        title, first, *_ = block.splitlines()
        assert re.fullmatch(r"-- [A-Z].{20,}", first), f"{title} has no comment that says what it is for"


def test_there_is_no_sql_outside_of_the_sql_files() -> None:
    keyword = re.compile(r'"""?\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH)\s+\w')
    found = [
        f"{path.relative_to(SERVICES)}"
        for path in SERVICES.rglob("*.py")
        if path.parent.name != "suite" and keyword.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
