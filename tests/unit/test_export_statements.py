"""Whatever is asked for, the statement that COPY is given, which takes no parameters, keeps its shape."""

import json
import re
from pathlib import Path
from typing import Any

import pglast
import pglast.parser
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import services.export
from hookline.events.v1.events_pb2 import EVENT_ORDER_NEWEST_FIRST, EVENT_ORDER_OLDEST_FIRST, EventFilter
from hookline.export.v1 import export_service_pb2 as pb
from services.export import export_request, page_store
from services.export.store import Span
from shared.errors import InvalidField

_SQL = [path.read_text() for path in sorted((Path(services.export.__file__).parent / "sql").glob("*.sql"))]
# What a text would have to hold to be taken for a place in a statement, or to end its literal.
FRAGMENTS = [
    *sorted({word for text in _SQL for word in re.findall(r"e\.\w+ AS \w+|SELECT 1 AS \w+|ORDER BY [\w.]+ ASC", text)}),
    *("$1", "$2", "$12", "'", '"', "\\", "--", "/*", "*/", ";", "]", "[", "(", ")", "::text", "e.", ":limit", "NULL"),
    *(" OR TRUE ", "e.company_id = 'acme'", "E'", "U&'", "{", "}", "\n", "é", "\U0001f600"),
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=6).map("".join)
FORMATS = [pb.EXPORT_FORMAT_CSV, pb.EXPORT_FORMAT_JSON]


def statement(typed: str, path: str, file_format: pb.ExportFormat.ValueType, order: Any) -> str:
    """The COPY of an export in which the one text stands in every filter, the other in a column."""
    asked = export_request.read(
        pb.ExportEventsRequest(
            company_id="acme",
            format=file_format,
            order=order,
            columns=[f"payload.{path}", "customer_name", "payload"],
            filter=EventFilter(
                types=[typed, "b"], sources=[typed], platforms=[typed], customer=typed, text=typed, currency="BRL"
            ),
        )
    )
    assert asked.filter.text == typed.strip()
    return page_store.page_query(
        asked.company_id, asked.format, Span(0, 10), 5, asked.filter, newest_first=asked.newest_first, limit=10
    ).text


@given(typed=texts, path=texts, file_format=st.sampled_from(FORMATS), newest_first=st.booleans())
@example(typed="e.event_id AS columns", path="]IS NULL)OR TRUE OR FALSE--", file_format=FORMATS[0], newest_first=False)
@example(typed="ORDER BY e.sequence ASC", path="SELECT 1 AS page", file_format=FORMATS[1], newest_first=True)
@example(typed="$1", path="$2", file_format=FORMATS[1], newest_first=False)
def test_no_text_changes_the_statement(
    typed: str, path: str, file_format: pb.ExportFormat.ValueType, newest_first: bool
) -> None:
    order = EVENT_ORDER_NEWEST_FIRST if newest_first else EVENT_ORDER_OLDEST_FIRST
    try:
        made = statement(typed, path, file_format, order)
    except InvalidField:
        return
    # The same tree, but for what its constants are.
    usual = statement("a", "a", file_format, order)
    assert shape(made) == shape(usual)
    assert {typed.strip(), *path.split(".")} <= constants(made)


def shape(sql: str) -> str:
    """What is left of a statement without its constants, aliases and the lengths of its lists."""
    return str(pglast.fingerprint(sql))


def constants(sql: str) -> set[str]:
    """The texts in a statement."""
    found: set[str] = set()

    def look(node: Any) -> None:
        match node:
            case {"A_Const": {"sval": value}}:
                found.add(value.get("sval", ""))
            case dict():
                for member in node.values():
                    look(member)
            case list():
                for item in node:
                    look(item)

    look(json.loads(pglast.parser.parse_sql_json(sql)))
    return found


@pytest.mark.parametrize("fragment", FRAGMENTS[:3])
def test_there_are_places_to_be_taken_for(fragment: str) -> None:
    assert any(fragment in text for text in _SQL)
