"""`python -m services admin token`: made, shown once, listed, revoked, written down."""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from services.__main__ import main
from shared import audit, token_store
from shared.auth import Scope, token_digest
from shared.db import Connection

Run = Callable[..., Any]


@pytest.fixture
def admin(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; gives its status, and what it said on stdout and stderr."""
    monkeypatch.setenv("HOOKLINE_DATABASE_URL", database_url)

    async def run(*arguments: str) -> tuple[int, str, str]:
        status = await asyncio.to_thread(_ended, ["admin", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def _ended(arguments: Sequence[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


CREATE = ("token", "create", "--company", "acme", "--name", "the shop's importer")


async def test_a_token_is_shown_once_and_kept_as_a_digest(admin: Run, connection: Connection) -> None:
    status, out, err = await admin(*CREATE, "--scope", "ingest,export", "--expires", "90d")
    token = out.strip()
    assert status == 0
    assert re.fullmatch(r"hk_acme\.[A-Za-z0-9_-]{43}", token)
    assert re.fullmatch(r"Good until 20\S+Z\. This token is shown only now; its id is [0-9a-f-]{36}\.\n", err)
    found = await token_store.find_token(connection, "acme", token_digest(token))
    assert found is not None
    assert found.scopes == [Scope.INGEST, Scope.EXPORT]
    assert 89.9 < (found.seconds_left or 0) / 86400 <= 90
    [row] = await connection.fetch("SELECT * FROM hookline.api_tokens")
    assert token[8:] not in str(dict(row))
    for text in (await admin("token", "list", "--company", "acme"))[1:]:
        assert token[:-4] not in text


async def test_they_are_listed_and_revoked(admin: Run) -> None:
    made = json.loads((await admin(*CREATE, "--scope", "admin", "--expires", "never", "--json"))[1])
    await admin("token", "create", "--company", "bolt", "--name", "another's", "--scope", "sync")
    assert made["expire_time"] is None
    status, out, _ = await admin("token", "list", "--company", "acme")
    titles, row = out.splitlines()
    assert titles.split("\t") == ["TOKEN", "NAME", "SCOPES", "SINCE", "EXPIRES", "LAST USED", "STATE", "TOKEN ID"]
    assert row.split("\t") == [
        f"…{made['token'][-4:]}",
        "the shop's importer",
        "admin",
        made["create_time"],
        "never",
        "never",
        "active",
        made["token_id"],
    ]
    status, out, _ = await admin("token", "revoke", made["token_id"], "--company", "acme")
    assert (status, out) == (
        0,
        'The token "the shop\'s importer" is revoked: every process refuses it within seconds.\n',
    )
    [listed] = (await admin("token", "list", "--company", "acme", "--json"))[1].splitlines()
    assert json.loads(listed)["revoke_time"]
    # Once more changes nothing; another company's is none.
    assert (await admin("token", "revoke", made["token_id"], "--company", "acme", "--json"))[0] == 0
    [again] = (await admin("token", "list", "--company", "acme", "--json"))[1].splitlines()
    assert again == listed
    status, _, err = await admin("token", "revoke", made["token_id"], "--company", "bolt")
    assert (status, err) == (1, "The company has no token of that id; `admin token list` shows them.\n")


async def test_it_is_all_written_down(admin: Run, connection: Connection) -> None:
    made = json.loads((await admin(*CREATE, "--scope", "export,ingest", "--json"))[1])
    await admin("token", "revoke", made["token_id"], "--company", "acme")
    revoked, created = await audit.list_entries(connection, "acme", None, None, 10)
    assert (created.actor, created.action, created.subject) == ("operator", "TOKEN_CREATED", made["token_id"])
    assert json.loads(created.details) == {"name": "the shop's importer", "scopes": ["ingest", "export"]}
    assert (revoked.actor, revoked.action, revoked.subject) == ("operator", "TOKEN_REVOKED", made["token_id"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--scope", "everything"),
        ("--scope", ""),
        ("--scope", "ingest", "--expires", "soon"),
        ("--scope", "ingest", "--expires", "0s"),
        ("--scope", "ingest", "--expires", "999999d"),
        ("--scope", "ingest", "--name", " "),
        ("--scope", "ingest", "--name", "x" * 101),
        ("--scope", "ingest", "--company", "a/b"),
        (),
    ],
)
async def test_what_makes_no_sense_is_refused(admin: Run, connection: Connection, arguments: tuple[str, ...]) -> None:
    status, out, err = await admin(*CREATE, *arguments)
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    assert not await connection.fetchval("SELECT count(*) FROM hookline.api_tokens")


async def test_without_a_database_it_is_one_sentence(admin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOKLINE_DATABASE_URL")
    status, _, err = await admin("token", "list", "--company", "acme")
    assert status == 1
    assert err.startswith("HOOKLINE_DATABASE_URL is not set")
