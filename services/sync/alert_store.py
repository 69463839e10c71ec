"""Alerts and their channels in PostgreSQL. Every function names its company; across companies is `alerting_store`."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from uuid_utils.compat import uuid7

from services.sync.run_store import State
from services.sync.statements import sql
from shared.db import Connection

FAILURES_ALERT = 3
"""How many runs of a source fail in a row before that is an alert of its own, unless told."""


MOST_CHANNELS = 20
"""Of a company: each is told of every alert."""


class Kind(StrEnum):
    """What an alert tells of. The values are those of the database."""

    RUN_FAILED = "run_failed"
    FAILURES_IN_A_ROW = "failures_in_a_row"
    SCHEDULE_OVERDUE = "schedule_overdue"
    GAP_FOUND = "gap_found"


class News(StrEnum):
    """What a channel is told of an alert. The values are those of the database."""

    OPENED = "opened"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True):
    """An alert, as its row is."""

    company_id: str
    alert_id: uuid.UUID
    kind: Kind
    source: str
    run_id: uuid.UUID | None
    message: str
    open_time: datetime
    last_time: datetime
    times: int
    resolve_time: datetime | None


class Told(msgspec.Struct, frozen=True):
    """How far one channel has been told of an alert."""

    alert_id: uuid.UUID
    channel: str
    news: News
    attempts: int
    delivered_time: datetime | None
    next_attempt_time: datetime | None
    error: str | None


class Channel(msgspec.Struct, frozen=True):
    """Where alerts go: a webhook, whose secret is encrypted, or an e-mail address."""

    company_id: str
    channel: str
    webhook_url: str | None
    email: str | None
    secret: bytes | None
    create_time: datetime


async def run_ended(
    connection: Connection,
    company_id: str,
    source: str,
    run_id: uuid.UUID,
    state: State,
    error: str | None,
    gap: str | None,
    *,
    gap_start: datetime | None = None,
    failures_alert: int = FAILURES_ALERT,
) -> None:
    """Opens, counts and resolves what a run's end tells of. To be called in the transaction that ends the run, after
    its row is written: of failures in a row, this one is counted. `gap` says what the reconciliation found missing, for
    a person to read; None: nothing. `gap_start`: from where on; None: it may be anywhere in what the run has read."""
    if state is State.FAILED:
        message = error or "the run failed"
        await _open(connection, company_id, Kind.RUN_FAILED, source, run_id, message)
        [row] = await sql.fetch(connection, "failures_in_a_row", company_id=company_id, source=source)
        if row["failures"] >= failures_alert:
            message = f"{row['failures']} runs have failed in a row; the last: {message}"
            await _open(connection, company_id, Kind.FAILURES_IN_A_ROW, source, run_id, message)
    if gap is not None:
        if gap_start is None:
            [row] = await sql.fetch(connection, "run_start", company_id=company_id, run_id=run_id)
            gap_start = row["start_time"]
        await _open(connection, company_id, Kind.GAP_FOUND, source, run_id, gap, gap_start)
    if state is State.SUCCEEDED:
        over = [Kind.RUN_FAILED, Kind.FAILURES_IN_A_ROW]
        resolved = await sql.fetch(connection, "resolve_alerts", company_id=company_id, source=source, kinds=over)
        if gap is None:
            key = {"company_id": company_id, "source": source, "run_id": run_id}
            resolved = [*resolved, *await sql.fetch(connection, "close_gap", **key)]
        for row in resolved:
            await queue_resolved(connection, company_id, row["alert_id"])


async def _open(
    connection: Connection,
    company_id: str,
    kind: Kind,
    source: str,
    run_id: uuid.UUID,
    message: str,
    gap_start: datetime | None = None,
) -> None:
    alert_id = uuid7()
    [row] = await sql.fetch(
        connection,
        "open_alert",
        company_id=company_id,
        alert_id=alert_id,
        kind=kind,
        source=source,
        run_id=run_id,
        message=message,
        gap_start_time=gap_start,
    )
    if row["alert_id"] == alert_id:
        await queue_opened(connection, company_id, alert_id)


async def queue_opened(connection: Connection, company_id: str, alert_id: uuid.UUID) -> None:
    """Has every channel told that the alert is open."""
    channels = await sql.fetch(connection, "channels_to_tell", company_id=company_id)
    await _queue(connection, company_id, alert_id, News.OPENED, channels)


async def queue_resolved(connection: Connection, company_id: str, alert_id: uuid.UUID) -> None:
    """Has every channel that was to be told of the alert told that it is over."""
    channels = await sql.fetch(connection, "channels_told", company_id=company_id, alert_id=alert_id)
    await _queue(connection, company_id, alert_id, News.RESOLVED, channels)


async def _queue(
    connection: Connection, company_id: str, alert_id: uuid.UUID, news: News, channels: Sequence[Mapping[str, Any]]
) -> None:
    if not channels:
        return
    await sql.fetch(
        connection,
        "queue_deliveries",
        company_id=company_id,
        alert_id=alert_id,
        news=news,
        channels=[row["channel"] for row in channels],
        delivery_ids=[uuid7() for _ in channels],
    )


async def list_alerts(
    connection: Connection,
    company_id: str,
    source: str | None,
    before: uuid.UUID | None,
    most: int,
    *,
    open_only: bool,
) -> list[Alert]:
    """Alerts, newest first; those before the one named."""
    rows = await sql.fetch(
        connection,
        "list_alerts",
        company_id=company_id,
        source=source,
        open_only=open_only,
        before_id=before,
        max_rows=most,
    )
    return [to_alert(row) for row in rows]


async def list_deliveries(connection: Connection, company_id: str, alert_ids: Sequence[uuid.UUID]) -> list[Told]:
    """How far the channels have been told of the alerts."""
    rows = await sql.fetch(connection, "list_deliveries", company_id=company_id, alert_ids=alert_ids)
    return [Told(**{**row, "news": News(row["news"])}) for row in rows]


async def create_channel(
    connection: Connection,
    company_id: str,
    channel: str,
    *,
    webhook_url: str | None = None,
    email: str | None = None,
    secret: bytes | None = None,
) -> Channel | None:
    """The new channel, or None when there is one of that name, or MOST_CHANNELS of others."""
    rows = await sql.fetch(
        connection,
        "create_channel",
        company_id=company_id,
        channel=channel,
        webhook_url=webhook_url,
        email=email,
        secret=secret,
        most=MOST_CHANNELS,
    )
    return Channel(**rows[0]) if rows else None


async def list_channels(connection: Connection, company_id: str) -> list[Channel]:
    """All of a company's, by name."""
    return [Channel(**row) for row in await sql.fetch(connection, "list_channels", company_id=company_id)]


async def get_channel(connection: Connection, company_id: str, channel: str) -> Channel | None:
    """The channel, or None when there is none of that name."""
    rows = await sql.fetch(connection, "get_channel", company_id=company_id, channel=channel)
    return Channel(**rows[0]) if rows else None


async def delete_channel(connection: Connection, company_id: str, channel: str) -> bool:
    """Whether it is gone by this."""
    return bool(await sql.fetch(connection, "delete_channel", company_id=company_id, channel=channel))


async def end_delivery(
    connection: Connection,
    company_id: str,
    delivery_id: uuid.UUID,
    attempts: int,
    *,
    error: str | None = None,
    retry_in: timedelta | None = None,
) -> bool:
    """Notes how a try went: without an error the channel was told; with one and no `retry_in` it is given up. False:
    it is no longer this process's, or the channel is gone."""
    return bool(
        await sql.fetch(
            connection,
            "end_delivery",
            company_id=company_id,
            delivery_id=delivery_id,
            attempts=attempts,
            delivered=error is None,
            retry_in=retry_in,
            error=error,
        )
    )


def to_alert(row: Mapping[str, Any]) -> Alert:
    return Alert(**{**row, "kind": Kind(row["kind"])})
