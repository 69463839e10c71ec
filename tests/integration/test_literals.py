"""Parameters written into statements mean just what they mean as parameters."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.db import Connection
from shared.literals import inline

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
tricky = st.text(st.sampled_from("'\\\"$1E;-/*n\nu{}é"), max_size=20)


@settings(max_examples=200)
@given(text=texts | tricky)
@example(text="'; DROP TABLE hookline.events; --")
@example(text="\\' OR true --")
@example(text="$1 $2 $10")
async def test_texts_are_quoted_as_the_server_does(connection: Connection, text: str) -> None:
    literal = inline("$1", [text], {})
    assert literal.strip() == (await connection.fetchval("SELECT quote_literal($1::text)", text)).strip()
    assert await connection.fetchval(f"SELECT {literal}::text") == text


@settings(max_examples=50)
@given(
    text=tricky,
    items=st.lists(tricky, max_size=4),
    number=st.integers(-(2**63), 2**63 - 1),
    flag=st.booleans(),
    moment=st.datetimes(
        datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3))])
    ),
)
async def test_every_type_comes_back_as_it_went_in(
    connection: Connection, text: str, items: list[str], number: int, flag: bool, moment: datetime
) -> None:
    values: list[Any] = [text, items, number, flag, moment, None]
    sql = "SELECT $1::text, $2::text[], $3::numeric, $4::boolean, $5::timestamptz, $6::bigint"
    for standard in ("on", "off"):
        await connection.execute(f"SET standard_conforming_strings = {standard}")
        row = await connection.fetchrow(inline(sql, values, {}))
        assert row is not None
        assert list(row) == values
    await connection.execute("RESET standard_conforming_strings")


def test_parameters_beyond_nine_and_texts_with_dollars_are_not_mixed_up() -> None:
    values = [f"${number}" for number in range(1, 12)]
    assert inline("$1 $10 $11", values, {}) == "'$1' '$10' '$11'"


@pytest.mark.parametrize("value", [1.5, b"a", datetime(2026, 1, 1), object(), {"a": 1}])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="no literal for"):
        inline("$1", [value], {})


@pytest.mark.parametrize("value", ["a\0", ["a", "\0"]])
def test_nul_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="NUL"):
        inline("$1", [value], {})
