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
    platforms: Sequence[str] | None = None
    statuses: Sequence[Status] | None = None
    occurred_start: datetime | None = None
    occurred_end: datetime | None = None
    received_start: datetime | None = None
    received_end: datetime | None = None
    min_total: str | None = None
    """A plain decimal number, as `max_total`."""
    max_total: str | None = None
    currency: str | None = None
    customer: str | None = None
    """Words of the customer's name, the last one perhaps only begun."""
    payload_contains: str | None = None
    """A JSON object."""
    text: str | None = None
    """Words of the customer's and product's names, or an id."""

    @property
    def is_indexed(self) -> bool:
        """Whether an index leads to the events that match, in the log's order."""
        return self.types is not None or self.sources is not None

    @property
    def has_occurred(self) -> bool:
        """Whether it names a time that events occurred in: another order than the log's."""
        return self.occurred_start is not None or self.occurred_end is not None

    @property
    def is_search(self) -> bool:
        """Whether it asks for what only the indexes on payload and words lead to."""
        return self.payload_contains is not None or self.customer is not None or self.text is not None

    @property
    def is_index_alone(self) -> bool:
        """Whether the index on types, or that on sources, already says all that it asks for."""
        alone = Filter(types=self.types) if self.types is not None else Filter(sources=self.sources)
        return self.is_indexed and self == alone
