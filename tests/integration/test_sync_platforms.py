"""The built-in platforms' files, and two of a company's own, against the shop that answers as those platforms do."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
import pytest

from services.ingest.mapping import Incoming, Mapped, Mapper
from services.sandbox.faults import Faults, Lie
from services.sandbox.forms.hotmart import CLIENT_ID, TOKEN_PATH
from services.sandbox.forms.plain import USER
from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID, SandboxShop
from services.sync.connectors import Connector, Page, Refused, Window
from services.sync.connectors.http import Http, open_http
from services.sync.connectors.opening import opening
from services.sync.source_store import Secret
from shared.platforms import Platform, parse_platform, platforms
from shared.platforms.history import ClientCredentials
from tests.shop_visits import END, made_up

EVENTS = 420
START = END - timedelta(days=21)
NOW = END + timedelta(days=1)
OWN = """
name = "{name}"
title = "Plain"
[fields]
type = ["{sale}what"]
dedup_key = [["{sale}reference"]]
customer_name = ["{sale}buyer.name"]
total = ["{sale}amount"]
currency = ["{sale}currency"]
occurred_time = ["at"]
[history]
path = "/plain/{name}"
id = "id"
time = "at"
window_hours = 168
"""
PAGES = """
items = "data"
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
OFFSETS = """
items = "results"
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


class Case(NamedTuple):
    platform: Platform
    credential: str
    parameters: dict[str, str]
    copies: bool
    """Whether the second ones of an event are listed, too."""


def own(name: str, sale: str, lines: str) -> Platform:
    return parse_platform((OWN.format(name=name, sale=sale) + lines).encode(), f"{name}.toml", own=True)


def here(name: str) -> Platform:
    """The built-in one, as fast as this machine, and with tokens of the shop's own."""
    built_in = platforms()[name]
    assert built_in.history
    changed = msgspec.structs.replace(built_in.history, rate=None)
    if isinstance(changed.auth, ClientCredentials):
        changed = msgspec.structs.replace(changed, auth=msgspec.structs.replace(changed.auth, token_url=TOKEN_PATH))
    return msgspec.structs.replace(built_in, history=changed)


CASES = {
    "grapfy": Case(here("grapfy"), TOKEN, {"webhookSettingId": WEBHOOK_SETTING_ID}, True),
    "stripe": Case(here("stripe"), TOKEN, {}, False),
    "shopify": Case(here("shopify"), TOKEN, {}, False),
    "hotmart_sales": Case(here("hotmart_sales"), f"{CLIENT_ID}:{TOKEN}", {}, False),
    "pages": Case(own("pages", "sale.", PAGES), TOKEN, {}, True),
    "offsets": Case(own("offsets", "", OFFSETS), f"{USER}:{TOKEN}", {}, True),
}
every_platform = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with open_http(allow_loopback=True) as client:
        yield client


def connector_of(case: Case, shop: SandboxShop, http: Http) -> Connector:
    secret = Secret(
        source="shop", platform=case.platform.name, base_url=shop.url, credential=b"", parameters=case.parameters
    )
    return opening(secret, case.platform, http, case.credential, first_wait=0.001)


async def read(connector: Connector, window: Window) -> Sequence[Page]:
    pages: list[Page] = []
    position: str | None = None
    while len(pages) < 500:
        pages.append(await connector.page(window, position))
        position = pages[-1].position
        if position is None:
            return pages
    raise AssertionError("it does not end")


@every_platform
async def test_everything_is_read_window_by_window_and_understood(case: Case, http: Http) -> None:
    told: list[str] = []
    async with made_up(events=EVENTS, duplicates=0.05) as shop:
        connector = connector_of(case, shop, http)
        connector.on_retry = told.append
        windows = connector.windows(START, None, NOW)
        assert len(windows) == {"grapfy": 1, "pages": 4, "offsets": 4}.get(case.platform.name, 22)
        found: dict[str, bytes] = {}
        for window in windows:
            pages = await read(connector, window)
            items = [item for page in pages for item in page.items]
            said = next((page.said for page in pages if page.said is not None), None)
            assert said is None or said == len({item.id for item in items})
            found |= {item.id: item.payload for item in items}
            moments = [item.moment for item in items if item.moment]
            assert len(moments) == len(items)
            second = timedelta(seconds=1)
            assert all(window.start - second <= moment for moment in moments)
            assert window.until is None or all(moment <= window.until for moment in moments)
        assert shop.served.events == EVENTS
        assert shop.served.items == len(found) == (EVENTS * 1.05 if case.copies else EVENTS)
        assert told == []
    mapper = Mapper({case.platform.name: case.platform}, 1 << 20)
    for payload in found.values():
        event = mapper.map(Incoming(case.platform.name, "shop", payload))
        assert isinstance(event, Mapped), event
        assert event.occurred_time
    await connector.close()


@every_platform
async def test_a_part_of_the_time_is_read_alone(case: Case, http: Http) -> None:
    start, until = END - timedelta(days=9), END - timedelta(days=4)
    async with made_up(events=EVENTS) as shop:
        connector = connector_of(case, shop, http)
        windows = connector.windows(start, until, NOW)
        assert (windows[0].start, windows[-1].until) == (start, until)
        moments = [item.moment for window in windows for page in await read(connector, window) for item in page.items]
    assert len(moments) > EVENTS / 5
    assert all(moment and start <= moment <= until for moment in moments)


async def attempted(connector: Connector, window: Window) -> tuple[Sequence[Page], str]:
    """The pages, or why they can't be read."""
    try:
        return await read(connector, window), ""
    except Refused as error:
        return [], str(error)


@every_platform
@pytest.mark.parametrize("lie", Lie)
async def test_whoever_is_led_astray_notices(case: Case, lie: Lie, http: Http) -> None:
    window = Window(START, datetime(2026, 12, 1, tzinfo=UTC))
    async with made_up(events=EVENTS, faults=Faults(lie=lie)) as shop:
        connector = connector_of(case, shop, http)
        pages, refused = await attempted(connector, window)
    if refused:
        assert lie in (Lie.CIRCLE, Lie.SAME)
        assert any(sign in refused for sign in ("in a circle", "anything new", "time asked for", "order of time"))
        return
    listed = {item.id for page in pages for item in page.items}
    said = next((page.said for page in pages if page.said is not None), None)
    told = (said is not None and said > len(listed)) or pages[-1].more
    assert told or len(listed) == EVENTS, "all of it was there all the same"
    assert not (lie is Lie.SAYS_MORE and said is not None) or said == EVENTS + 10
