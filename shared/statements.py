"""SQL statements: named, in .sql files beside the code that runs them, each with its why."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiosql

from shared.literals import inline


def load(package: str) -> Any:
    """The statements in `package`'s folder `sql`: an object with a function for each, to be called with a connection
    and the statement's parameters by name. Its text is in the function's `sql`."""
    return aiosql.from_path(Path(str(files(package))) / "sql", "asyncpg")


def ordered(statements: Any, name: str, parameters: Mapping[str, Any]) -> list[Any]:
    """A statement's parameters in the order of its $1, $2 …"""
    return [parameters[parameter] for parameter in statements.driver_adapter.var_sorted[name]]


def inlined(statements: Any, name: str, **parameters: Any) -> str:
    """A statement's text with its parameters written in as literals, for COPY. See `shared.literals`."""
    sql: str = getattr(statements, name).sql
    return inline(sql.rstrip().removesuffix(";"), ordered(statements, name, parameters))
