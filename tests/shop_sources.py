"""The sandbox shop as a source, in each of its forms: what to create the source with, and what its sales become."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from services.sandbox.forms.hotmart import CLIENT_ID, TOKEN_PATH
from services.sandbox.forms.plain import USER
from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID

_FIELDS = """
name = "{name}"
title = "A plain shop"

[recognise]
present = ["reference", "what", "buyer"]

[fields]
type = ["what"]
dedup_key = [["reference"]]
customer_name = ["buyer.name"]
product_name = ["product"]
total = ["amount"]
currency = ["currency"]
"""
_PAGES = """
[history]
path = "/plain/pages"
items = "data"
payload = "sale"
id = "id"
time = "at"
order = "descending"
limit = "per_page"
said = "total"

[history.auth]
scheme = "header"
name = "X-Api-Key"

[history.filter]
from = "from"
until = "to"

[history.pagination]
kind = "page"
parameter = "page"
"""
_OFFSETS = """
occurred_time = ["at"]

[history]
path = "/plain/offsets"
items = "results"
id = "id"
time = "at"
order = "ascending"
limit = "limit"
said = "meta.total"

[history.auth]
scheme = "basic"

[history.filter]
from = "from"
until = "to"
format = "epoch_seconds"

[history.pagination]
kind = "offset"
parameter = "offset"
"""


@dataclass(frozen=True)
class ShopSource:
    """One form."""

    platform: str
    credential: str = TOKEN
    parameters: Mapping[str, str] = field(default_factory=dict)
    mapping: str | None = None
    """The company's own, which the source needs."""
    number: Callable[[Any], int] | None = None
    """Which of the shop's events a payload is of. None: it lists payloads as it was given them."""
    lists_copies: bool = False
    """Whether what the shop lists twice has two ids."""


def _changed(name: str, **changes: str) -> str:
    """A platform's file with other values for keys that are about the platform's own servers."""
    lines = files("shared.platforms").joinpath(f"{name}.toml").read_text(encoding="utf-8").splitlines()
    for key, value in changes.items():
        [at] = [number for number, line in enumerate(lines) if line.startswith(f"{key} = ")]
        lines[at] = f"{key} = {value}"
    return "\n".join(lines)


def _of_sale(payload: Any) -> int:
    return int(payload["reference"].removeprefix("sale-"))


SHOP_SOURCES = {
    "grapfy": ShopSource("grapfy", parameters={"webhookSettingId": WEBHOOK_SETTING_ID}, lists_copies=True),
    "stripe": ShopSource(
        "stripe", mapping=_changed("stripe", requests="1000"), number=lambda payload: int(payload["id"][4:])
    ),
    "shopify": ShopSource(
        "shopify",
        mapping=_changed("shopify", requests="1000"),
        number=lambda payload: int(payload["order_number"]) - 1001,
    ),
    "hotmart": ShopSource(
        "hotmart_sales",
        f"{CLIENT_ID}:{TOKEN}",
        mapping=_changed("hotmart_sales", token_url=f'"{TOKEN_PATH}"', requests="10000"),
        number=lambda payload: int(payload["purchase"]["transaction"][2:]),
    ),
    "pages": ShopSource("pages", mapping=_FIELDS.format(name="pages") + _PAGES, number=_of_sale, lists_copies=True),
    "offsets": ShopSource(
        "offsets",
        f"{USER}:{TOKEN}",
        mapping=_FIELDS.format(name="offsets") + _OFFSETS,
        number=_of_sale,
        lists_copies=True,
    ),
}
"""By form. Where the platform allows few requests, or has its tokens from elsewhere, a mapping of the same name says
otherwise: it goes before the built-in one."""
