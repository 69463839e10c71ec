"""What payloads mean: platforms recognised, fields found, keys made."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.ingest.mapping import Incoming, Mapped, Mapper, Reason, Rejected, SetAside
from shared.platforms import Platform, parse_platform, platforms
from tests.samples import grapfy

MAPPER = Mapper(platforms(), 1024 * 1024)


def mapped(payload: bytes | dict[str, Any], platform: str = "", source: str = "", mapper: Mapper = MAPPER) -> Mapped:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    event = mapper.map(Incoming(platform, source, body))
    assert isinstance(event, Mapped), event
    return event


def set_aside(payload: bytes | dict[str, Any], platform: str = "", mapper: Mapper = MAPPER) -> SetAside:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    event = mapper.map(Incoming(platform, "", body))
    assert isinstance(event, SetAside), event
    assert event.payload == body
    return event


def platform(name: str, fields: dict[str, Any], **settings: Any) -> Platform:
    """A platform of a test's own."""
    file = {"name": name, "title": name.capitalize(), "fields": fields, **settings}
    lines = [f"{member} = {inline(value)}" for member, value in file.items()]
    return parse_platform("\n".join(lines).encode(), f"{name}.toml")


def inline(value: Any) -> str:
    """A value as TOML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {inline(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value)


def platform_of(fields: dict[str, Any], **settings: Any) -> Mapper:
    """A mapper with one platform "shop" of a test's own."""
    return Mapper({"shop": platform("shop", fields, **settings)}, 1024 * 1024)


def test_a_grapfy_event_is_recognised_and_all_its_fields_are_found() -> None:
    event = mapped(grapfy("evt_1", total=1169.8))
    assert (event.platform, event.source, event.type, event.dedup_key) == (
        "grapfy",
        "grapfy",
        "order_approved",
        "evt_1",
    )
    assert (event.customer_name, event.product_name) == ("Ana Conceição", "Curso de Violão")
    assert (event.total, event.currency) == ("1169.8", "BRL")
    assert event.occurred_time == datetime(2026, 10, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "place",
    [
        {"customer": {"name": "Zé"}, "data": {"customer": {"name": "B"}, "name": "C"}, "name": "D"},
        {"data": {"customer": {"name": "Zé"}, "name": "C"}, "payload": {"customer": {"name": "B"}}, "name": "D"},
        {"payload": {"customer": {"name": "Zé"}}, "data": {"name": "C"}, "name": "D"},
        {"data": {"name": "Zé"}, "name": "D"},
        {"name": "Zé"},
        {"customer": {"name": ""}, "name": "Zé"},
        {"customer": {"name": None}, "name": "Zé"},
        {"customer": "not an object", "name": "Zé"},
        {"customer": [{"name": "B"}], "name": "  Zé "},
    ],
)
def test_grapfys_customer_is_looked_for_in_order(place: dict[str, Any]) -> None:
    assert mapped({"eventId": "1", "eventType": "a", **place}).customer_name == "Zé"


def test_grapfys_plan_stands_in_for_a_product() -> None:
    assert mapped(grapfy(product=None, plan={"name": "Mensal"})).product_name == "Mensal"
    assert mapped(grapfy(product={"name": ""}, plan={"name": "Mensal"})).product_name == "Mensal"
    assert mapped(grapfy(product=None)).product_name is None


def test_an_event_that_no_platform_recognises_is_generic() -> None:
    event = mapped(
        {
            "event_type": "sale",
            "id": 17,
            "buyer": {"name": "Ana"},
            "items": [{"name": "Livro"}, {"name": "Capa"}],
            "data": {"amount": "10.50"},
            "currency": "usd",
            "timestamp": 1_790_000_000,
        }
    )
    assert (event.platform, event.source, event.type, event.dedup_key) == ("generic", "generic", "sale", ":sale:17:::")
    assert (event.customer_name, event.product_name, event.total) == ("Ana", "Livro, Capa", "10.50")
    assert event.currency == "USD"
    assert event.occurred_time == datetime.fromtimestamp(1_790_000_000, UTC)


def test_what_happens_to_one_order_of_any_sender_are_events_of_their_own() -> None:
    sent: list[dict[str, Any]] = [
        {"event": "order.created", "id": 77},
        {"event": "order.paid", "id": 77},
        {"event": "order.updated", "id": 77, "updated_at": 1},
        {"event": "order.updated", "id": 77, "updatedAt": 2},
        {"event": "order.updated", "id": 77, "status": "sent"},
        {"event": "order.updated", "id": 77, "data": {"status": "lost"}},
        {"event": "order.updated", "id": 78, "event_id": 12},
        {"event": "order.updated", "id": 79, "event_id": 12},
        {"event": "order.updated", "event_id": 12},
        {"event": "order.updated", "eventId": 13},
    ]
    keys = [mapped(one).dedup_key for one in sent]
    assert len(set(keys)) == len(sent)
    # Sent again, with what only an attempt has, each is the same again.
    assert [mapped(one | {"attempt": 2, "sent_at": "now"}).dedup_key for one in sent] == keys
    assert keys[-2:] == ["12", "13"]


def test_a_named_platform_need_not_recognise_the_payload() -> None:
    event = mapped({"eventType": "a", "orderId": "o"}, platform="grapfy", source="shop_1")
    assert (event.platform, event.source) == ("grapfy", "shop_1")
    assert mapped(grapfy(), platform="generic").platform == "generic"


def test_what_says_nothing_that_is_known_is_not_recognised() -> None:
    assert set_aside({"a": 1}).reason == Reason.PLATFORM_UNRECOGNISED
    assert set_aside({"type": None, "event": ""}).reason == Reason.PLATFORM_UNRECOGNISED
    unknown = set_aside(grapfy(), platform="nope")
    assert (unknown.reason, unknown.source, unknown.platform) == (Reason.PLATFORM_UNKNOWN, "nope", "nope")


def test_a_platform_without_marks_of_its_own_is_never_guessed() -> None:
    mapper = platform_of({"type": ["type"], "dedup_key": [["id"]]})
    assert set_aside({"type": "a"}, mapper=mapper).reason == Reason.PLATFORM_UNRECOGNISED
    assert mapped({"type": "a"}, platform="shop", mapper=mapper).platform == "shop"


@pytest.mark.parametrize(
    ("members", "key"),
    [
        ({"eventId": "e", "orderId": "o"}, "e"),
        ({"eventId": 12345678901234567890, "orderId": "o"}, "12345678901234567890"),
        ({"eventId": " e "}, "e"),
        ({"eventId": "a:b%"}, "a:b%"),
        ({"orderId": "o"}, ":o:a::"),
        ({"orderId": "o", "status": "paid"}, ":o:a:paid:"),
        ({"orderId": "o", "updatedAt": "2026-10-01"}, ":o:a::2026-10-01"),
        ({"orderId": "o", "status": "paid", "updatedAt": 7}, ":o:a:paid:7"),
        ({"orderId": "o:a", "status": "%"}, ":o%3Aa:a:%25:"),
        ({"eventId": "", "orderId": 9}, ":9:a::"),
        ({"eventId": 1.5, "orderId": "o"}, ":o:a::"),
        ({"eventId": True, "orderId": "o"}, ":o:a::"),
        ({"eventId": {"a": 1}, "orderId": "o"}, ":o:a::"),
        # What looks like another kind of key is none.
        ({"eventId": ":o:a::"}, "sha256:" + hashlib.sha256(b":o:a::").hexdigest()),
        ({"eventId": "sha256:00"}, "sha256:" + hashlib.sha256(b"sha256:00").hexdigest()),
        ({"eventId": "erased:a@b"}, "sha256:" + hashlib.sha256(b"erased:a@b").hexdigest()),
    ],
)
def test_grapfys_dedup_key(members: dict[str, Any], key: str) -> None:
    assert mapped({"eventType": "a", **members}, platform="grapfy").dedup_key == key


def test_parts_of_a_key_do_not_run_into_each_other() -> None:
    keys = {
        mapped({"eventType": kind, "orderId": order, "status": status}, platform="grapfy").dedup_key
        for order, kind, status in (("a:b", "c", "d"), ("a", "b:c", "d"), ("a", "b", "c:d"), ("a%3Ab", "c", "d"))
    }
    assert len(keys) == 4


def test_without_any_key_it_is_the_digest_of_the_content() -> None:
    event = mapped({"type": "a", "x": 1})
    assert event.dedup_key == "sha256:" + event.payload_sha256.hex()
    assert mapped(b'{ "x": 1.0, "type": "a" }').dedup_key == event.dedup_key


def test_a_long_key_is_replaced_by_its_digest() -> None:
    long = "é" * 5120
    key = mapped(grapfy(long)).dedup_key
    assert key == "sha256:" + hashlib.sha256(long.encode()).hexdigest()
    assert mapped(grapfy(long + "e")).dedup_key != key
    assert mapped(grapfy("x" * 255)).dedup_key == "x" * 255
    assert mapped(grapfy("x" * 256)).dedup_key.startswith("sha256:")


def test_names_are_cut_and_the_payload_is_not() -> None:
    event = mapped(grapfy(customer={"name": "é" * 501}))
    assert event.customer_name == "é" * 500
    assert event.payload == grapfy(customer={"name": "é" * 501})


@pytest.mark.parametrize("wrong", ["a\nb", "a" * 129, " ", 1.5, True, {"a": 1}, ["a"], "\u202e"])
def test_a_type_that_is_none(wrong: Any) -> None:
    assert set_aside({"eventId": "1", "eventType": wrong}, platform="grapfy").reason == Reason.TYPE_MISSING


def test_types_may_be_numbers_or_have_accents() -> None:
    assert mapped({"eventType": 2}, platform="grapfy").type == "2"
    assert mapped({"eventType": " ação aprovada "}, platform="grapfy").type == "ação aprovada"


def test_what_is_rejected() -> None:
    small = Mapper(platforms(), 1024)

    def reason(platform: str, source: str, payload: bytes) -> Reason:
        event = small.map(Incoming(platform, source, payload))
        assert isinstance(event, Rejected)
        return event.reason

    assert reason("", "", b"") == Reason.PAYLOAD_EMPTY
    assert reason("", "", b" " * 1025) == Reason.PAYLOAD_TOO_LARGE
    assert reason("a b", "", b"{}") == Reason.NAME_MALFORMED
    for source in ("a/b", "-a", "é", "a" * 65, "a\n", "a\0", " "):
        assert reason("", source, b"{}") == Reason.NAME_MALFORMED, source
    assert isinstance(small.map(Incoming("", "a" * 64, b" " * 1024)), SetAside)
