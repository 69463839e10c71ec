"""SQL statements: named, in .sql files beside the code that runs them, each with its why.

What several statements have in common stands in a file of its own, *.part.sql; a line `-- include: <file>` puts it in.
"""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiosql

from shared.db import Connection
from shared.literals import inline

_PART = ".part.sql"


def _whole(path: Path) -> str:
    return re.sub(
        r"^ *-- include: (\S+)$",
        lambda match: path.with_name(match[1] + _PART).read_text("utf-8").rstrip(),
        path.read_text("utf-8"),
        flags=re.MULTILINE,
    )


class Statements:
    """The statements in the folder `sql` of a package. They take their parameters by name."""

    def __init__(self, package: str) -> None:
        folder = Path(str(files(package))) / "sql"
        sources = [path for path in sorted(folder.glob("*.sql")) if not path.name.endswith(_PART)]
        queries = aiosql.from_str("\n".join(_whole(path) for path in sources), "asyncpg")
        names = [name for name in queries.available_queries if not name.endswith("_cursor")]
        self._texts: dict[str, str] = {name: getattr(queries, name).sql.rstrip().removesuffix(";") for name in names}
        self._orders: dict[str, list[str]] = {name: queries.driver_adapter.var_sorted[name] for name in names}

    @property
    def texts(self) -> Mapping[str, str]:
        """Each statement's text, with $1, $2 … for its parameters."""
        return self._texts

    def arguments(self, name: str, parameters: Mapping[str, Any]) -> list[Any]:
        """A statement's parameters in the order of its $1, $2 …"""
        return [parameters[parameter] for parameter in self._orders[name]]

    async def fetch(self, connection: Connection, name: str, **parameters: Any) -> Sequence[Mapping[str, Any]]:
        """Runs a statement; gives its rows."""
        rows: Sequence[Mapping[str, Any]] = await connection.fetch(self._texts[name], *self.arguments(name, parameters))
        return rows

    def inlined(self, name: str, fragments: Mapping[str, str], **parameters: Any) -> str:
        """A statement's text with its parameters written in as literals, and fragments of SQL in the places of what
        stands for them, for COPY. See `shared.literals`."""
        return inline(self._texts[name], self.arguments(name, parameters), fragments)
