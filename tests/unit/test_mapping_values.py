"""Totals, currencies and times: exact, or set aside with a reason."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.mapping import Mapper, Reason
from services.ingest.values import MINOR_DIGITS
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
    assert total(text, total_unit="minor", currency="BRL")[0] == amount


def minor(amount: Any, code: str | None, **settings: Any) -> str | None:
    mapper = shop(total_unit="minor", **settings)
    return mapped({"type": "a", "total": amount, "currency": code}, "shop", mapper=mapper).total


@pytest.mark.parametrize(
    ("currency", "amount"),
    [
        ("BRL", "123.45"),
        ("usd", "123.45"),
        ("JPY", "12345"),
        ("jpy", "12345"),
        ("KWD", "12.345"),
        ("CLF", "1.2345"),
        ("ISK", "12345"),
        ("ZZZ", "123.45"),
        ("XAU", "123.45"),
        ("", "123.45"),
        (None, "123.45"),
    ],
)
def test_a_minor_unit_has_as_many_digits_as_iso_4217_says(currency: str | None, amount: str) -> None:
    assert minor(12345, currency) == amount
    assert minor("12345", currency) == amount


def test_the_platforms_currency_has_its_minor_unit_too() -> None:
    assert minor(12345, None, currency="JPY") == "12345"
    assert minor(12345, "no code", currency="KWD") == "12.345"
    assert minor(12345, "BRL", currency="JPY") == "123.45"


def test_a_platform_may_have_minor_units_of_its_own() -> None:
    own = {"minor_digits": {"ISK": 2, "BRL": 0}}
    assert [minor(12345, code, **own) for code in ("ISK", "isk", "BRL", "USD", "JPY")] == [
        "123.45",
        "123.45",
        "12345",
        "123.45",
        "12345",
    ]


@given(st.integers(-(10**17), 10**17), st.sampled_from(sorted(MINOR_DIGITS)))
def test_a_total_in_minor_units_is_the_same_amount(amount: int, currency: str) -> None:
    text = minor(amount, currency)
    assert text is not None
    assert Decimal(text) * 10 ** MINOR_DIGITS[currency] == amount
    assert "E" not in text


def brazilian(value: Any) -> str | None:
    return mapped({"type": "a", "total": value}, "shop", mapper=shop(total_format="brazilian")).total


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("R$ 1.169,80", "1169.80"),
        ("R$ 1.169", "1169"),
        ("1169,80", "1169.80"),
        ("1.169,8", "1169.8"),
        ("R$1.234.567,89", "1234567.89"),
        ("R$\u00a01.169,80", "1169.80"),
        ("\u00a0R$\u202f1.169,80\u00a0", "1169.80"),
        ("0,00", "0.00"),
        ("R$ 0", "0"),
        ("007", "7"),
        ("-R$ 10,00", "-10.00"),
        ("R$ -10,00", "-10.00"),
        ("- 10", "-10"),
        ("−10,5", "-10.5"),
        ("197", "197"),
        # Numbers stay numbers.
        (1169.8, "1169.8"),
        (1169, "1169"),
        (-1, "-1"),
        (None, None),
        ("", None),
    ],
)
def test_totals_as_brazilians_write_them(value: Any, amount: str | None) -> None:
    assert brazilian(value) == amount


@pytest.mark.parametrize(
    "value",
    ["1,169.80", "1169.80", "1.1", "1.16", "1,169", "12.34.567", "1.1690", "0.169,00", "1.169,", ",50", "R$", "R$ ",
     "US$ 10,00", "R 10", "10 R$", "R$ R$ 10", "--10", "-R$ -10", "+10", "1 169,80", "1.169.80", "1,1,1", "1e3", "NaN",
     "1_000", "١٢", "10,00 reais", "ten", " ", "R$ 1.169,80\n1", "1.000.000.000.000.000.000,00", True, ["R$ 1"]],
)  # fmt: skip
def test_what_only_looks_like_a_brazilian_amount_is_set_aside(value: Any) -> None:
    aside = set_aside({"type": "a", "total": value}, "shop", shop(total_format="brazilian"))
    assert aside.reason == Reason.TOTAL_MALFORMED


@given(
    st.integers(-(10**17), 10**17),
    st.sampled_from(["", "R$", "R$ ", "R$\u00a0", " R$  "]),
    st.booleans(),
    st.booleans(),
)
def test_a_brazilian_amount_is_the_same_amount(cents: int, sign: str, has_points: bool, minus_first: bool) -> None:
    whole, rest = divmod(abs(cents), 100)
    digits = f"{whole:,}".replace(",", ".") if has_points else str(whole)
    minus = "-" if cents < 0 else ""
    text = f"{minus}{sign}{digits},{rest:02}" if minus_first else f"{sign}{minus}{digits},{rest:02}"
    found = brazilian(text)
    assert found is not None
    assert Decimal(found) * 100 == cents


def test_a_plain_total_is_not_read_as_a_brazilian_one_nor_the_other_way() -> None:
    body = json.dumps({"type": "a", "total": "1.169"}).encode()
    assert mapped(body, "shop", mapper=shop()).total == "1.169"
    assert mapped(body, "shop", mapper=shop(total_format="brazilian")).total == "1169"


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
