"""Mappings of a company's own, with a history and without."""

from shared.db import Connection

_OWN = """
name = "{name}"
title = "Our own"
[fields]
type = ["kind"]
dedup_key = [["id"]]
{history}
"""
_HISTORY = """
[history]
path = "/log"
items = "rows"
id = "id"
pagination = {{ kind = "page", parameter = "p" }}
auth = {{ scheme = "{scheme}" }}
parameters = ["shop"]
optional_parameters = {{ lang = "" }}
"""


def own(name: str = "own", *, history: bool = True, scheme: str = "bearer") -> str:
    """A mapping; its history is at /log, in numbered pages, and asks for the parameter `shop`."""
    return _OWN.format(name=name, history=_HISTORY.format(scheme=scheme) if history else "")


async def put(connection: Connection, mapping: str, name: str = "own", company: str = "acme") -> None:
    """Stores a mapping, as PutPlatformMapping does."""
    await connection.execute(
        "INSERT INTO hookline.platform_mappings (company_id, name, mapping) VALUES ($1, $2, $3)"
        " ON CONFLICT (company_id, name) DO UPDATE SET mapping = excluded.mapping",
        company,
        name,
        mapping,
    )
