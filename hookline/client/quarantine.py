"""The quarantine, without the transport: which of it is meant, and how that becomes requests. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from hookline.ingest.v1 import ingest_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2 import (
    DiscardQuarantinedEventsRequest,
    ListQuarantinedEventsRequest,
    OutcomeReason,
    RetryQuarantinedEventsRequest,
)

MAX_IDS = 500
"""As many as one call takes."""
_PREFIX = "OUTCOME_REASON_"
REASONS = tuple(name.removeprefix(_PREFIX) for name, number in OutcomeReason.items() if number)
"""Every reason that this client knows, as `Problem.reason` has it."""


@dataclass(frozen=True)
class QuarantineFilter:
    """Which of what lies in quarantine: all that is given must hold, and nothing given means all of it. `reason` is a
    name of OutcomeReason without its prefix, such as "TYPE_MISSING"; another is a ValueError where it is used."""

    source: str = ""
    platform: str = ""
    reason: str = ""


Which = QuarantineFilter | Iterable[str]
"""All that a filter means, or those of these ids."""


def reason_name(reason: OutcomeReason.ValueType) -> str:
    """The reason's name without its prefix; the number of one that this client does not know yet."""
    try:
        return OutcomeReason.Name(reason).removeprefix(_PREFIX)
    except ValueError:
        return str(reason)


def list_quarantined(
    company: str, where: QuarantineFilter | None, with_discarded: bool, page_size: int
) -> ListQuarantinedEventsRequest:
    """The request for the first page."""
    return ListQuarantinedEventsRequest(
        company_id=company,
        filter=_filter(where or QuarantineFilter()),
        include_discarded=with_discarded,
        page_size=page_size,
    )


def retry_quarantined(company: str, which: Which, page_size: int) -> Iterator[RetryQuarantinedEventsRequest]:
    """The requests that try all of them: one with a filter, which goes on page by page, or as many as the ids need."""
    if isinstance(which, QuarantineFilter):
        yield RetryQuarantinedEventsRequest(company_id=company, filter=_filter(which), page_size=page_size)
        return
    for ids in _groups(which):
        yield RetryQuarantinedEventsRequest(company_id=company, quarantine_ids=ids)


def discard_quarantined(company: str, which: Which, reason: str) -> Iterator[DiscardQuarantinedEventsRequest]:
    """The requests that discard all of them: one with a filter, to be sent until there is no more, or as many as the
    ids need."""
    if isinstance(which, QuarantineFilter):
        yield DiscardQuarantinedEventsRequest(company_id=company, filter=_filter(which), reason=reason)
        return
    for ids in _groups(which):
        yield DiscardQuarantinedEventsRequest(company_id=company, quarantine_ids=ids, reason=reason)


def _filter(where: QuarantineFilter) -> pb.QuarantineFilter:
    reason = OutcomeReason.OUTCOME_REASON_UNSPECIFIED
    if where.reason:
        if where.reason not in REASONS:
            raise ValueError(f"reason is one of {', '.join(REASONS)}, not {where.reason!r}")
        reason = OutcomeReason.Value(_PREFIX + where.reason)
    return pb.QuarantineFilter(source=where.source, platform=where.platform, reason=reason)


def _groups(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while group := list(islice(rest, MAX_IDS)):
        yield group
