"""SummarizeEvents: its messages, and what they mean to the rules."""

from datetime import UTC, datetime
from itertools import groupby

from hookline.events.v1 import events_pb2
from hookline.export.v1 import event_query_service_pb2 as pb
from services.export import conversion
from services.export.event_store import SummaryRow
from services.export.summaries import Grouping, Question, Summary
from shared import requests
from shared.errors import InvalidField, Violation

MAX_GROUPINGS = 3
_GROUPINGS = {pb.Grouping.Value(f"GROUPING_{grouping.name}"): grouping for grouping in Grouping}


def read(request: pb.SummarizeEventsRequest) -> tuple[str, Question]:
    """The company and the question. Raises InvalidField."""
    company_id = requests.company(request.company_id)
    which = conversion.to_filter(request.filter)
    if which.statuses is not None:
        raise InvalidField(
            Violation("filter.statuses", "can't be summarized by: they change, and these sums only grow")
        )
    if len(request.group_by) > MAX_GROUPINGS:
        raise InvalidField(Violation("group_by", f"at most {MAX_GROUPINGS}"))
    chosen = []
    for position, number in enumerate(request.group_by):
        grouping = _GROUPINGS.get(number)
        if grouping is None or grouping in chosen:
            raise InvalidField(Violation(f"group_by[{position}]", "is none, or is there twice"))
        chosen.append(grouping)
    if Grouping.HOUR in chosen and Grouping.DAY in chosen:
        raise InvalidField(Violation("group_by", "HOUR and DAY don't go together"))
    return company_id, Question(which, sorted(chosen, key=list(Grouping).index), conversion.zone(request.time_zone))


def answer(summary: Summary) -> pb.SummarizeEventsResponse:
    """The groups in their order, each with its totals by currency."""
    response = pb.SummarizeEventsResponse(last_sequence=summary.last_sequence)
    for _, rows in groupby(sorted(summary.rows, key=_order), key=_group):
        response.groups.append(_message(list(rows)))
    return response


def _group(row: SummaryRow) -> tuple[int, str, str, str, str]:
    return row.start or 0, row.type or "", row.source or "", row.product_name or "", row.platform or ""


def _order(row: SummaryRow) -> tuple[tuple[int, str, str, str, str], str]:
    return _group(row), row.currency or ""


def _message(rows: list[SummaryRow]) -> pb.SummarizeEventsResponse.Group:
    first = rows[0]
    message = pb.SummarizeEventsResponse.Group(
        type=first.type or "",
        source=first.source or "",
        product_name=first.product_name or "",
        platform=first.platform or "",
        count=sum(row.count for row in rows),
        totals=[
            events_pb2.Money(amount=row.total, currency=row.currency or "") for row in rows if row.total is not None
        ],
    )
    if first.start is not None:
        message.start_time.FromDatetime(datetime.fromtimestamp(first.start, UTC))
    return message
