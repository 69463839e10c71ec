"""Which events a request means: the filter and the order, free of protobuf."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec


class Status(StrEnum):
    """How far the company's systems have got with an event. The values are those of the database's enum."""

    PENDING = "pending"
    PROCESSED = "processed"
    FAILED = "failed"


class Filter(msgspec.Struct, frozen=True):
    """None, or an empty list turned into None, lets everything through. Times: from start on, before end."""

    types: Sequence[str] | None = None
    sources: Sequence[str] | None = None
    statuses: Sequence[Status] | None = None
    occurred_start: datetime | None = None
    occurred_end: datetime | None = None
    received_start: datetime | None = None
    received_end: datetime | None = None

    @property
    def is_indexed(self) -> bool:
        """Whether an index leads to the events that match, in the log's order."""
        return self.types is not None or self.sources is not None
