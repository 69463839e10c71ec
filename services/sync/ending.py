"""What goes with the end of a run, whoever ends it: its source is read as far as the run came, its pages are dropped,
the log says how it ended, and alerts are opened and resolved. All in the transaction that ends the run."""

import uuid
from datetime import datetime

from services.sync import alert_store, metrics
from services.sync.run_store import State
from services.sync.statements import sql
from shared.db import Connection

_LEVELS = {State.SUCCEEDED: "info", State.CANCELLED: "info", State.INCOMPLETE: "error", State.FAILED: "error"}
_MESSAGES = {
    State.SUCCEEDED: "It has succeeded: everything in its span was read and stored.",
    State.INCOMPLETE: "It has ended incomplete.",
    State.FAILED: "It has failed.",
    State.CANCELLED: "It was cancelled. What it had stored by then stays.",
}


async def lock_source(connection: Connection, company_id: str, run_id: uuid.UUID) -> None:
    """To be called first in a transaction that ends a run: the source is locked before the run, as everywhere."""
    await sql.fetch(connection, "lock_source_of_run", company_id=company_id, run_id=run_id)


async def finish(
    connection: Connection,
    company_id: str,
    source: str,
    run_id: uuid.UUID,
    state: State,
    *,
    error: str | None = None,
    gap: str | None = None,
    gap_start: datetime | None = None,
    failures_alert: int = alert_store.FAILURES_ALERT,
) -> None:
    """To be called after the run's row is written. `gap`: what the reconciliation has found missing, and `gap_start`
    from where on; `failures_alert`: how many failures in a row are an alert."""
    message = _MESSAGES[state] if error is None else f"{_MESSAGES[state]} {error}"
    key = {"company_id": company_id, "run_id": run_id}
    await sql.fetch(connection, "settle_run", **key)
    await sql.fetch(connection, "log_end", level=_LEVELS[state], message=message, **key)
    await alert_store.run_ended(
        connection, company_id, source, run_id, state, error, gap, gap_start=gap_start, failures_alert=failures_alert
    )


async def cancel_run(connection: Connection, company_id: str, run_id: uuid.UUID) -> bool:
    """Cancels a run that no worker is at; has the worker that is at it do so. False: it has ended already, or there is
    none."""
    async with connection.transaction():
        await lock_source(connection, company_id, run_id)
        rows = await sql.fetch(connection, "cancel_run", company_id=company_id, run_id=run_id)
        has_ended = bool(rows) and State(rows[0]["state"]) is State.CANCELLED
        if has_ended:
            await finish(connection, company_id, rows[0]["source"], run_id, State.CANCELLED)
    if has_ended:
        metrics.RUNS_ENDED.labels(State.CANCELLED.value).inc()
    return bool(rows)
