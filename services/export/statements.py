"""The export service's SQL: the statements in `sql/`, and their order."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.db import Connection
from shared.statements import Statements

sql = Statements("services.export")
# The one thing about a statement that no parameter can say, to the letter as it stands there.
ASCENDING, DESCENDING = "ORDER BY e.sequence ASC", "ORDER BY e.sequence DESC"


def ordered(query: str, newest_first: bool) -> str:
    """A statement in that order. Its text must hold nothing that was asked for."""
    return query.replace(ASCENDING, DESCENDING) if newest_first else query


async def fetch_ordered(
    connection: Connection, name: str, newest_first: bool, parameters: Mapping[str, Any]
) -> Sequence[Mapping[str, Any]]:
    """Runs a statement in that order; gives its rows."""
    rows: Sequence[Mapping[str, Any]] = await connection.fetch(
        ordered(sql.texts[name], newest_first), *sql.arguments(name, parameters)
    )
    return rows
