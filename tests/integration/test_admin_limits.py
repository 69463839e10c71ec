"""`python -m services admin limits` and `reader`: what they change, and that it is written down."""

import json

from shared.db import Connection
from tests.integration.test_admin_tokens import Run, admin

__all__ = ["admin"]


async def test_limits_are_set_one_by_one_and_shown(admin: Run, connection: Connection) -> None:
    assert await admin("limits", "show", "--company", "acme") == (0, "The company has no limits of its own.\n", "")
    status, out, _ = await admin(
        "limits", "set", "--company", "acme", "--requests-per-second", "12.5", "--concurrent-exports", "2"
    )
    assert status == 0
    assert out.startswith("Of its own: requests per second 12.5, concurrent exports 2.")
    status, out, _ = await admin("limits", "set", "--company", "acme", "--concurrent-exports", "usual", "--json")
    expected = {
        "requests_per_second": 12.5,
        "events_per_second": None,
        "bytes_per_second": None,
        "concurrent_exports": None,
    }
    assert json.loads(out) == expected
    assert json.loads((await admin("limits", "show", "--company", "acme", "--json"))[1]) == expected
    assert (await admin("limits", "set", "--company", "acme", "--requests-per-second", "usual"))[0] == 0
    assert await connection.fetchval("SELECT count(*) FROM hookline.company_limits") == 0
    rows = await connection.fetch("SELECT company_id, actor, action, details FROM hookline.audit_log ORDER BY entry")
    assert {(row["company_id"], row["actor"], row["action"]) for row in rows} == {
        ("acme", "operator", "LIMITS_CHANGED")
    }
    assert [json.loads(row["details"])["requests_per_second"] for row in rows] == [12.5, 12.5, None]


async def test_limits_that_are_none_are_refused(admin: Run) -> None:
    for wrong in ("0", "-1", "x", "nan", "inf"):
        status, _, err = await admin("limits", "set", "--company", "acme", f"--events-per-second={wrong}")
        assert status == 2
        assert "is no number above 0" in err
    assert (await admin("limits", "set", "--company", "acme", "--concurrent-exports", "1.5"))[0] == 2


async def test_what_the_database_refuses_is_one_sentence(admin: Run, connection: Connection) -> None:
    await connection.execute("ALTER TABLE hookline.company_limits RENAME TO elsewhere")
    said = 'PostgreSQL can\'t be used: relation "hookline.company_limits" does not exist.\n'
    assert await admin("limits", "show", "--company", "acme") == (1, "", said)


async def test_readers_are_made_listed_and_dropped(admin: Run, connection: Connection) -> None:
    role = f"reader_{connection.get_server_pid()}"
    status, out, err = await admin("reader", "create", role, "--company", "acme")
    try:
        assert status == 0
        assert len(out.strip()) >= 32
        assert err == f"The password of the role {role}, which reads acme. It is shown only now.\n"
        status, out, err = await admin("reader", "create", role, "--company", "bolt")
        assert (status, out) == (0, "")
        assert "its password is what it was" in err
        [row] = (await admin("reader", "list", "--company", "bolt", "--json"))[1].splitlines()
        assert json.loads(row)["role"] == role
        assert (await admin("reader", "drop", role, "--company", "eve"))[0] == 1
    finally:
        assert (await admin("reader", "drop", role, "--company", "acme"))[0] == 0
    assert (await admin("reader", "list", "--company", "bolt"))[1] == "ROLE\tSINCE\n"
    rows = await connection.fetch("SELECT company_id, action, subject FROM hookline.audit_log ORDER BY entry")
    assert [tuple(row) for row in rows] == [
        ("acme", "READER_CREATED", role),
        ("bolt", "READER_CREATED", role),
        ("acme", "READER_DROPPED", role),
        ("bolt", "READER_DROPPED", role),
    ]
