"""What alerts are to be opened, resolved and told, in PostgreSQL. Across companies."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

import msgspec
from uuid_utils.compat import uuid7

from services.sync.alert_store import Alert, Channel, News, to_alert
from services.sync.statements import sql
from shared.db import Connection

AlertKey = tuple[str, uuid.UUID]
"""A company and an alert of it."""
_NOT_BEGUN = "a run was made by the schedule, and no worker has begun it"
_NOT_MADE = "a run is due by the schedule, and no scheduler has made it"
_ALERT_FIELDS = msgspec.structs.fields(Alert)
_CHANNEL_FIELDS = msgspec.structs.fields(Channel)


class Delivery(msgspec.Struct, frozen=True):
    """What is to be told now, by whoever has taken it."""

    delivery_id: uuid.UUID
    news: News
    attempts: int
    """With this one."""
    channel: Channel
    alert: Alert


async def open_overdue(connection: Connection, overdue: timedelta, most: int) -> list[AlertKey]:
    """Opens alerts for schedules that are overdue; gives those that are new."""
    rows = await sql.fetch(
        connection,
        "open_overdue",
        alert_ids=[uuid7() for _ in range(most)],
        overdue=overdue,
        not_made=_NOT_MADE,
        not_begun=_NOT_BEGUN,
    )
    return [(row["company_id"], row["alert_id"]) for row in rows]


async def resolve_overdue(connection: Connection, most: int) -> list[AlertKey]:
    """Resolves the alerts of schedules that are overdue no more."""
    rows = await sql.fetch(connection, "resolve_overdue", max_rows=most)
    return [(row["company_id"], row["alert_id"]) for row in rows]


async def take_deliveries(
    connection: Connection, lease: timedelta, most: int, most_each: int, under_way: Mapping[str, int]
) -> list[Delivery]:
    """Takes deliveries that are due, for as long as the lease; of a company as many that `most_each` are under way with
    those that are now."""
    return [
        Delivery(
            delivery_id=row["delivery_id"],
            news=News(row["news"]),
            attempts=row["attempts"],
            channel=Channel(**{field.name: row[field.name] for field in _CHANNEL_FIELDS}),
            alert=to_alert({field.name: row[field.name] for field in _ALERT_FIELDS}),
        )
        for row in await sql.fetch(
            connection,
            "take_deliveries",
            lease=lease,
            max_rows=most,
            most_each=most_each,
            companies=list(under_way),
            counts=list(under_way.values()),
        )
    ]
