"""The schema as one file: `python -m tests.schema_dump` writes shared/schema.sql, what the migrations come to.

For reading and for diffs in reviews; databases are made by the migrations alone.
"""

import asyncio
import re
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

from services.suite.embedded_postgres import EmbeddedPostgres
from shared.migrate import migrate

HEAD = "-- What the migrations come to, without the months' partitions. Written by `make schema`; do not edit.\n\n"
# What says nothing about the schema: comments, settings, owners, pg_dump's own guards, the search path.
_NOISE = re.compile(r"^(--.*|SET .*|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*|ALTER .* OWNER TO .*)$")


def schema_file() -> Path:
    """The file in the checkout."""
    return Path(str(files("shared").joinpath("schema.sql")))


def dump(pg_dump: Path, database_url: str) -> str:
    """A database's schema, in the one form in which it can be compared."""
    text = subprocess.run(
        [
            pg_dump,
            "--schema-only",
            "--schema=hookline",
            "--no-owner",
            "--no-privileges",
            "--exclude-table=hookline.events_[0-9][0-9][0-9][0-9]_[0-9][0-9]",
            database_url,
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = [line for line in text.splitlines() if not _NOISE.match(line)]
    return HEAD + re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder))
        await postgres.start()
        try:
            await migrate(postgres.dsn)
            text = await asyncio.to_thread(dump, postgres.psql.with_name("pg_dump"), postgres.dsn)
        finally:
            await postgres.destroy()
    schema_file().write_text(text, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
