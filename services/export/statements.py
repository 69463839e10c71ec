"""The export service's SQL: the statements in `sql/`, and their order."""

from shared.statements import Statements

sql = Statements("services.export")
# The one thing about a statement that no parameter can say, to the letter as it stands there.
ASCENDING, DESCENDING = "ORDER BY e.sequence ASC", "ORDER BY e.sequence DESC"


def ordered(query: str, newest_first: bool) -> str:
    """A statement in that order. Its text must hold nothing that was asked for."""
    return query.replace(ASCENDING, DESCENDING) if newest_first else query
