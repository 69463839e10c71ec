"""Totals, currencies and times: exact, or set aside with a reason."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.ingest.mapping import Mapper, Reason
from tests.unit.test_mapping import mapped, platform_of, set_aside

FIELDS = {
    "type": ["type"],
    "dedup_key": [["id"]],
    "total": ["total"],
    "currency": ["currency"],
    "occurred_time": ["time"],
}


def total(text: str, **platform: Any) -> tuple[str | None, str | None]:
    event = mapped(b'{"type":"a","total":' + text.encode() + b"}", "shop", mapper=shop(**platform))
    return event.total, event.currency


def shop(**settings: Any) -> Mapper:
    return platform_of(FIELDS, **settings)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1169.80", "1169.80"),
        ("197.9", "197.9"),
        ("10", "10"),
        ("-12.50", "-12.50"),
        ("0", "0"),
        ("0.00", "0.00"),
        ("1e3", "1000"),
        ("1.5E-3", "0.0015"),
        ("9007199254740993", "9007199254740993"),
        ("999999999999999999.99", "999999999999999999.99"),
        ('"1169.80"', "1169.80"),
        ('" 7.50 "', "7.50"),
        ('"-3"', "-3"),
        ('"+3"', "3"),
        ("null", None),
        ('""', None),
    ],
)
def test_totals_keep_their_digits(text: str, amount: str | None) -> None:
    assert total(text)[0] == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("19790", "197.90"), ("5", "0.05"), ("-1", "-0.01"), ('"116980"', "1169.80"), ("0", "0.00"), ("1050.5", "10.505")],
)
def test_totals_in_hundredths(text: str, amount: str) -> None:
    assert total(text, total_unit="minor")[0] == amount


@pytest.mark.parametrize(
    "text",
    [
        '"R$ 1.169,80"',
        '"1,50"',
        '"1e3"',
        '"NaN"',
        '"Infinity"',
        '"1_000"',
        '"١٢"',
        '"ten"',
        '"-"',
        '"."',
        "true",
        "[1]",
        '{"value":1}',
        "1e18",
        "1000000000000000000",
        "-1e18",
        "1e-60",
        "0." + "1" * 60,
        '" "',
    ],
)
def test_a_total_that_is_no_amount_is_set_aside(text: str) -> None:
    body = b'{"type":"a","total":' + text.encode() + b"}"
    assert set_aside(body, "shop", shop()).reason == Reason.TOTAL_MALFORMED


@pytest.mark.parametrize(
    ("currency", "expected"),
    [("usd", "USD"), (" EUR ", "EUR"), ("R$", "BRL"), ("DOLLAR", "BRL"), (7, "BRL"), (None, "BRL"), ("ÉÉÉ", "BRL")],
)
def test_a_currency_is_a_code_or_the_platforms(currency: Any, expected: str) -> None:
    event = mapped({"type": "a", "total": 1, "currency": currency}, "shop", mapper=shop(currency="BRL"))
    assert event.currency == expected


def test_there_is_no_currency_without_a_total_or_without_a_code() -> None:
    assert mapped({"type": "a", "currency": "USD"}, "shop", mapper=shop(currency="BRL")).currency is None
    assert total("1") == ("1", None)


def time(value: Any, zone: str = "America/Sao_Paulo") -> datetime | None:
    return mapped({"type": "a", "time": value}, "shop", mapper=shop(time_zone=zone)).occurred_time


NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
MILLIS = 1_790_856_000_123


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-10-01T12:00:00Z", NOON),
        ("2026-10-01T12:00:00.000+00:00", NOON),
        ("2026-10-01T09:00:00-03:00", NOON),
        ("2026-10-01 09:00:00", NOON),
        ("2026-10-01T09:00", NOON),
        (" 2026-10-01T12:00:00Z ", NOON),
        ("20261001T120000Z", NOON),
        ("2026-10-01", datetime(2026, 10, 1, 3, tzinfo=UTC)),
        # Summer time was given up in 2019.
        ("2018-12-01T10:00:00", datetime(2018, 12, 1, 12, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (MILLIS // 1000, datetime(2026, 10, 1, 12, tzinfo=UTC)),
        (MILLIS, datetime(2026, 10, 1, 12, 0, 0, 123000, tzinfo=UTC)),
        (1790856000.123, datetime(2026, 10, 1, 12, 0, 0, 123000, tzinfo=UTC)),
        (99_999_999_999, datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
        (None, None),
        ("", None),
    ],
)
def test_times(value: Any, moment: datetime | None) -> None:
    assert time(value) == moment


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2026-13-01",
        "10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "2026-10-01T25:00:00Z",
        "1790856000",
        -1,
        10**15,
        10**30,
        1e300,
        True,
        ["2026-10-01"],
        {"seconds": 1},
        " ",
    ],
)
def test_a_time_that_is_none_is_set_aside(value: Any) -> None:
    assert set_aside({"type": "a", "time": value}, "shop", shop(time_zone="America/Sao_Paulo")).reason == (
        Reason.TIME_MALFORMED
    )
