"""Stripe: `GET /v1/events`, newest first; the client's cursor is the last event that it has seen."""

from collections.abc import Mapping
from typing import Any

from multidict import MultiMapping
from yarl import URL

from services.sandbox.faults import Lie
from services.sandbox.forms import Answer, Asked, Form, Wrong, bearer, json, listing, number, optional
from services.sandbox.forms.sale import Sale, sale
from services.sandbox.history import History, Item

API_VERSION = "2025-08-27.basil"
DEFAULT_LIMIT, LARGEST_LIMIT = 10, 100


class Stripe(Form):
    path = "/v1/events"

    def __init__(self, history: History, token: str) -> None:
        self._history = history
        self._token = token

    def authorize(self, headers: Mapping[str, str]) -> None:
        bearer(headers, self._token)

    def read(self, query: MultiMapping[str]) -> Asked:
        known = {"limit", "starting_after", "created[gte]", "created[gt]", "created[lt]", "created[lte]"}
        if unknown := query.keys() - known:
            raise Wrong(400, f"Received unknown parameter: {min(unknown)}")
        # Whole seconds: the history has milliseconds, which are not told.
        starts = [optional(query, "created[gte]", _milliseconds), optional(query, "created[gt]", _end)]
        ends = [optional(query, "created[lt]", _milliseconds), optional(query, "created[lte]", _end)]
        after = None
        if cursor := query.get("starting_after"):
            item = self._history.find(int(cursor[4:])) if cursor[:4] == "evt_" and cursor[4:].isdecimal() else None
            if item is None:
                raise Wrong(400, f"No such event: '{cursor}'")
            after = item.order
        return Asked(
            number(query, "limit", DEFAULT_LIMIT, LARGEST_LIMIT),
            start=max((one for one in starts if one is not None), default=None),
            until=min((one for one in ends if one is not None), default=None),
            after=after,
            newest_first=True,
        )

    def page(self, asked: Asked, url: URL, lie: Lie | None) -> Answer:
        page = listing(self._history, asked, lie)
        events = [self._event(item) for item in page.items]
        body = json({"object": "list", "data": events, "has_more": page.more, "url": self.path})
        return Answer(page.items, body, {})

    def error(self, problem: str) -> Any:
        return {"error": {"type": "invalid_request_error", "message": problem}}

    def _event(self, item: Item) -> dict[str, Any]:
        kind, data = _object(item.event, sale(self._history.payload(item.event)))
        return {
            "id": f"evt_{item.event:024}",
            "object": "event",
            "api_version": API_VERSION,
            "created": item.created // 1000,
            "data": {"object": data},
            "livemode": False,
            "pending_webhooks": 0 if item.delivered else 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }


def _object(number: int, sold: Sale) -> tuple[str, dict[str, Any]]:
    """What happened, and the resource that it happened to."""
    named = {"name": sold.customer.name, "email": sold.customer.email, "phone": None}
    match sold.event_type:
        case "lead_created":
            return "customer.created", {"id": f"cus_{number:014}", "object": "customer", **named}
        case "order_refunded":
            return "charge.refunded", {
                "id": f"ch_{number:014}",
                "object": "charge",
                "amount": sold.cents,
                "amount_refunded": sold.cents,
                "billing_details": named,
                "currency": "brl",
                "refunded": True,
                "status": "succeeded",
            }
        case "pix_created":
            return "payment_intent.processing", {
                "id": f"pi_{number:014}",
                "object": "payment_intent",
                "amount": sold.cents,
                "currency": "brl",
                "description": sold.product.name,
                "status": "processing",
            }
    paid = sold.event_type == "order_approved"
    return f"checkout.session.{'completed' if paid else 'expired'}", {
        "id": f"cs_test_{number:014}",
        "object": "checkout.session",
        "amount_total": sold.cents,
        "currency": "brl",
        "customer_details": named,
        "payment_status": "paid" if paid else "unpaid",
        "status": "complete" if paid else "expired",
    }


def _milliseconds(seconds: str) -> int:
    return int(seconds) * 1000


def _end(seconds: str) -> int:
    return (int(seconds) + 1) * 1000
