"""Hotmart: `GET /payments/api/v1/sales/history`, newest first, with cursors and totals; for tokens that are asked for
with OAuth 2 client credentials."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from multidict import MultiMapping
from yarl import URL

from services.sandbox.faults import Lie
from services.sandbox.forms import Answer, Asked, Form, Wrong, json, listing, number, optional, tokens
from services.sandbox.forms.sale import sale
from services.sandbox.history import History, Item

CLIENT_ID = "sandbox-client"
TOKEN_PATH = "/security/oauth/token"  # noqa: S105  # a path
TOKEN_SECONDS = 172_799
DEFAULT_LIMIT, LARGEST_LIMIT = 50, 500

_STATUSES = {
    "order_approved": "APPROVED",
    "order_refunded": "REFUNDED",
    "pix_created": "WAITING_PAYMENT",
    "cart_abandoned": "CANCELLED",
}
_METHODS = {"pix": "PIX", "card": "CREDIT_CARD", "boleto": "BILLET"}


class Hotmart(Form):
    path = "/payments/api/v1/sales/history"

    def __init__(self, history: History, secret: str) -> None:
        self._history = history
        self._basic = base64.b64encode(f"{CLIENT_ID}:{secret}".encode()).decode()
        self.issued = 0
        """Tokens that were given out. The last one holds."""
        self._access_token: str | None = None
        self._statuses: dict[int, str] = {}

    def issue(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Any:
        """A new token, as JSON. Raises Wrong."""
        if headers.get("Authorization") != f"Basic {self._basic}":
            raise Wrong(401, "invalid_client")
        if query.get("grant_type") != "client_credentials":
            raise Wrong(400, "unsupported_grant_type")
        self.issued += 1
        self._access_token = f"sandbox-access-{self.issued}"
        return {
            "access_token": self._access_token,
            "token_type": "bearer",
            "expires_in": TOKEN_SECONDS,
            "scope": "read write",
        }

    def revoke(self) -> None:
        """Takes no token any more, until a new one is asked for."""
        self._access_token = None

    def authorize(self, headers: Mapping[str, str]) -> None:
        if self._access_token is None or headers.get("Authorization") != f"Bearer {self._access_token}":
            raise Wrong(401, "invalid_token")

    def read(self, query: MultiMapping[str]) -> Asked:
        limit = number(query, "max_results", DEFAULT_LIMIT, LARGEST_LIMIT)
        asked = Asked(
            limit,
            start=optional(query, "start_date", int),
            until=optional(query, "end_date", _end),
            newest_first=True,
            kinds=frozenset(query.getall("transaction_status", ["APPROVED", "COMPLETE"])),
        )
        if token := query.get("page_token"):
            place = tokens.decode(token)
            return replace(asked, after=place.after, skip=place.skip, count=place.count)
        return asked

    def page(self, asked: Asked, url: URL, lie: Lie | None) -> Answer:
        page = listing(self._history, asked, lie, self._status)
        info: dict[str, Any] = {"total_results": page.total, "results_per_page": asked.limit}
        if page.more:
            after = page.items[-1].order if page.items else asked.after
            count = asked.count + 1 if lie is Lie.SAME else 0
            info["next_page_token"] = tokens.encode(Asked(asked.limit, after=after, count=count))
        items = [self._sale(item) for item in page.items]
        return Answer(page.items, json({"items": items, "page_info": info}), {})

    def error(self, problem: str) -> Any:
        return {"error": problem, "error_description": f"The request was refused: {problem}"}

    def _status(self, item: Item) -> str:
        if item.event not in self._statuses:
            kind = sale(self._history.payload(item.event)).event_type
            self._statuses[item.event] = _STATUSES.get(kind, "COMPLETE")
        return self._statuses[item.event]

    def _sale(self, item: Item) -> dict[str, Any]:
        sold = sale(self._history.payload(item.event))
        status = self._status(item)
        method = _METHODS.get(sold.payment.method, "CREDIT_CARD")
        purchase = {
            "transaction": f"HP{item.event:014}",
            "order_date": item.created,
            "status": status,
            "recurrency_number": 1,
            "is_subscription": False,
            "commission_as": "PRODUCER",
            "price": {"value": sold.cents / 100, "currency_code": "BRL"},
            "payment": {"method": method, "installments_number": sold.payment.installments, "type": method},
            "tracking": {"source": "organic"},
            "offer": {"payment_mode": "INVOICE", "code": "ofr1"},
            "hotmart_fee": {"total": 1.0, "fixed": 1.0, "currency_code": "BRL", "base": 0, "percentage": 9.9},
        }
        if status in ("APPROVED", "REFUNDED", "COMPLETE"):
            purchase["approved_date"] = item.created
        return {
            "product": {"name": sold.product.name, "id": 4110},
            "buyer": {"name": sold.customer.name, "ucode": f"buyer-{item.event}", "email": sold.customer.email},
            "producer": {"name": "Ateliê Exemplo", "ucode": "producer-1"},
            "purchase": purchase,
        }


def _end(milliseconds: str) -> int:
    """The last one is included."""
    return int(milliseconds) + 1
