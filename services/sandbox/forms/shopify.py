"""Shopify: `GET /admin/api/2025-07/orders.json`, with the next page's address in the `Link` header; and the number of
orders, asked for on its own."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

from multidict import MultiMapping
from yarl import URL

from services.sandbox.faults import Lie
from services.sandbox.forms import Answer, Asked, Form, Wrong, json, listing, milliseconds, number, optional, tokens
from services.sandbox.forms.sale import sale
from services.sandbox.history import History, Item, to_time

DEFAULT_LIMIT, LARGEST_LIMIT = 50, 250

_BASE = "/admin/api/2025-07/orders"
_FIRST_ORDER = 5_900_000_000_000
_SHOP_TIME = timezone(timedelta(hours=-3))
_FILTERS = {"status", "updated_at_min", "updated_at_max", "order"}
_STATUSES = {"order_approved": "paid", "order_refunded": "refunded", "cart_abandoned": "voided"}


class Shopify(Form):
    path = f"{_BASE}.json"
    count_path = f"{_BASE}/count.json"

    def __init__(self, history: History, token: str) -> None:
        self._history = history
        self._token = token

    def authorize(self, headers: Mapping[str, str]) -> None:
        if headers.get("X-Shopify-Access-Token") != self._token:
            raise Wrong(401, "[API] Invalid API key or access token (unrecognized login or wrong password)")

    def read(self, query: MultiMapping[str]) -> Asked:
        limit = number(query, "limit", DEFAULT_LIMIT, LARGEST_LIMIT)
        if "page_info" in query:
            if query.keys() - {"limit", "page_info", "fields"}:
                raise Wrong(400, "page_info: no other filters may be given with it")
            return replace(tokens.decode(query["page_info"]), limit=limit)
        return replace(self._filtered(query), limit=limit)

    def page(self, asked: Asked, url: URL, lie: Lie | None) -> Answer:
        page = listing(self._history, asked, lie)
        links = []
        if page.begins:
            links.append(_link(url, replace(asked, after=None), "previous"))
        if page.more:
            after = page.items[-1].order if page.items else asked.after
            count = asked.count + 1 if lie is Lie.SAME else 0
            links.append(_link(url, replace(asked, after=after, count=count), "next"))
        body = json({"orders": [self._order(item) for item in page.items]})
        return Answer(page.items, body, {"Link": ", ".join(links)} if links else {})

    def count(self, query: MultiMapping[str], lie: Lie | None) -> Any:
        return {"count": listing(self._history, self._filtered(query), lie).total}

    def error(self, problem: str) -> Any:
        return {"errors": problem}

    def _filtered(self, query: MultiMapping[str]) -> Asked:
        if query.get("status", "open") != "any":
            raise Wrong(400, "this shop has orders of any status only")
        if (order := query.get("order", "updated_at desc")) not in ("updated_at asc", "updated_at desc"):
            raise Wrong(400, f"order {order} is not known")
        # Whole seconds: the history has milliseconds, which are not told. The maximum is included.
        latest = optional(query, "updated_at_max", lambda text: milliseconds(text) // 1000 * 1000 + 1000)
        earliest = optional(query, "updated_at_min", lambda text: -(-milliseconds(text) // 1000) * 1000)
        return Asked(1, start=earliest, until=latest, newest_first=order.endswith("desc"))

    def _order(self, item: Item) -> dict[str, Any]:
        sold = sale(self._history.payload(item.event))
        number = _FIRST_ORDER + item.event
        first_name, _, last_name = sold.customer.name.partition(" ")
        time = to_time(item.created).astimezone(_SHOP_TIME).isoformat(timespec="seconds")
        return {
            "id": number,
            "admin_graphql_api_id": f"gid://shopify/Order/{number}",
            "created_at": time,
            "currency": "BRL",
            "customer": {"first_name": first_name, "last_name": last_name, "email": sold.customer.email},
            "financial_status": _STATUSES.get(sold.event_type, "pending"),
            "line_items": [{"title": sold.product.name, "quantity": sold.product.quantity}],
            "name": f"#{1001 + item.event}",
            "order_number": 1001 + item.event,
            "processed_at": time,
            "total_price": sold.amount,
            "updated_at": time,
        }


def _link(url: URL, asked: Asked, relation: str) -> str:
    where = url.origin().with_path(Shopify.path).with_query(limit=asked.limit, page_info=tokens.encode(asked))
    return f'<{where}>; rel="{relation}"'
