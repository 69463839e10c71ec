"""No platform's: sales by the number of the page, newest first, and by an offset, oldest first; each with its total."""

import base64
from collections.abc import Mapping
from typing import Any

from multidict import MultiMapping
from yarl import URL

from services.sandbox.faults import Lie
from services.sandbox.forms import Answer, Asked, Form, Wrong, json, listing, milliseconds, number, optional, rfc3339
from services.sandbox.forms.sale import sale
from services.sandbox.history import History, Item, to_time

DEFAULT_LIMIT, LARGEST_LIMIT = 100, 500
MOST_PAGES = 10**9
USER = "sandbox"


class Pages(Form):
    """`GET /plain/pages?page=2&per_page=100&from=…&to=…`, with the token in a header."""

    path = "/plain/pages"

    def __init__(self, history: History, token: str) -> None:
        self._history = history
        self._token = token

    def authorize(self, headers: Mapping[str, str]) -> None:
        if headers.get("X-Api-Key") != self._token:
            raise Wrong(401, "the key is not known")

    def read(self, query: MultiMapping[str]) -> Asked:
        limit = number(query, "per_page", DEFAULT_LIMIT, LARGEST_LIMIT)
        return Asked(
            limit,
            start=optional(query, "from", milliseconds),
            until=optional(query, "to", milliseconds),
            skip=limit * (number(query, "page", 1, MOST_PAGES) - 1),
            newest_first=True,
            copies=True,
        )

    def page(self, asked: Asked, url: URL, lie: Lie | None) -> Answer:
        page = listing(self._history, asked, lie)
        lines = [
            {"id": item.id, "at": rfc3339(to_time(item.created)), "sale": _sale(self._history, item)}
            for item in page.items
        ]
        return Answer(page.items, json({"data": lines, "total": page.total}), {})


class Offsets(Form):
    """`GET /plain/offsets?offset=100&limit=100&from=…&to=…`, times in seconds, with a user and a password."""

    path = "/plain/offsets"

    def __init__(self, history: History, token: str) -> None:
        self._history = history
        self._basic = base64.b64encode(f"{USER}:{token}".encode()).decode()

    def authorize(self, headers: Mapping[str, str]) -> None:
        if headers.get("Authorization") != f"Basic {self._basic}":
            raise Wrong(401, "the user or the password is wrong")

    def read(self, query: MultiMapping[str]) -> Asked:
        return Asked(
            number(query, "limit", DEFAULT_LIMIT, LARGEST_LIMIT),
            start=optional(query, "from", lambda text: int(text) * 1000),
            until=optional(query, "to", lambda text: int(text) * 1000),
            skip=number(query, "offset", 0, MOST_PAGES, least=0),
            copies=True,
        )

    def page(self, asked: Asked, url: URL, lie: Lie | None) -> Answer:
        page = listing(self._history, asked, lie)
        lines = [{"id": item.id, "at": item.created // 1000, **_sale(self._history, item)} for item in page.items]
        return Answer(page.items, json({"meta": {"total": page.total}, "results": lines}), {})


def _sale(history: History, item: Item) -> dict[str, Any]:
    sold = sale(history.payload(item.event))
    return {
        "reference": f"sale-{item.event:08}",
        "what": sold.event_type,
        "buyer": {"name": sold.customer.name},
        "product": sold.product.name,
        "amount": sold.amount,
        "currency": "BRL",
    }
