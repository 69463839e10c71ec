"""What alerts tell of, made to happen straight in the tables: sources, channels, runs that end, schedules."""

import uuid

from uuid_utils.compat import uuid7

from services.sync import alert_store
from services.sync.alert_store import Alert, Kind, Told
from services.sync.run_store import State
from shared.db import Connection
from shared.vault import Vault
from tests.in_process import SECRET_KEY

COMPANY, SOURCE = "acme", "loja"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOWHERE = "http://127.0.0.1:1/hooks"
VAULT = Vault(SECRET_KEY)
SOON, LATELY, LONG_AGO = "interval '-1 hour'", "interval '280 s'", "interval '301 s'"


async def make_source(connection: Connection, company: str = COMPANY, source: str = SOURCE) -> None:
    await connection.execute(
        "INSERT INTO hookline.sources (company_id, source, platform, base_url, credential)"
        " VALUES ($1, $2, 'grapfy', 'https://api.example.com', 'x')",
        company,
        source,
    )


async def make_webhook(
    connection: Connection, url: str = NOWHERE, channel: str = "ops", company: str = COMPANY
) -> None:
    encrypted = VAULT.encrypt(SECRET)
    assert await alert_store.create_channel(connection, company, channel, webhook_url=url, secret=encrypted)


async def end_run(
    connection: Connection,
    state: State,
    gap: str | None = None,
    company: str = COMPANY,
    source: str = SOURCE,
    *,
    hours: tuple[int, int | None] = (24, None),
) -> uuid.UUID:
    """A run that ends so, in one transaction with what is told of it. It has read all of the last day, or from so many
    hours ago to so many."""
    start, until = hours
    run_id = uuid7()
    error = f"away ({run_id})" if state in (State.FAILED, State.INCOMPLETE) else None
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO hookline.sync_runs (company_id, run_id, source, state, trigger, start_time, until_time,"
            " ended_time, attempt, error, cancel_requested)"
            " VALUES ($1, $2, $3, $4, 'request', date_trunc('day', now()) - make_interval(hours => $6),"
            " date_trunc('day', now()) - make_interval(hours => $7), clock_timestamp(), 1, $5, true)",
            company,
            run_id,
            source,
            state.value,
            error,
            start,
            until,
        )
        await alert_store.run_ended(connection, company, source, run_id, state, error, gap)
    return run_id


async def alerts(connection: Connection, company: str = COMPANY) -> dict[Kind, Alert]:
    """The newest of each kind."""
    found = await alert_store.list_alerts(connection, company, None, None, 100, open_only=False)
    return {alert.kind: alert for alert in reversed(found)}


async def told(connection: Connection, company: str = COMPANY) -> list[Told]:
    ids = [row["alert_id"] for row in await connection.fetch("SELECT alert_id FROM hookline.alerts")]
    return await alert_store.list_deliveries(connection, company, ids)


async def schedule(connection: Connection, ago: str, company: str = COMPANY) -> None:
    await connection.execute(
        "UPDATE hookline.sources SET schedule_interval = interval '1 hour', schedule_start_time = clock_timestamp(),"
        f" next_run_time = clock_timestamp() - {ago} WHERE company_id = $1",
        company,
    )
