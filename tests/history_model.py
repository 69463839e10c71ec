"""A tiny platform in memory that lists its history, in every way of paging: what `Pager` asks is answered as the
platform's own file says that it would be."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import msgspec

from services.sync.connectors import Item, Page, Window
from services.sync.connectors.paging import Pager, Request
from shared.platforms import Platform, parse_platform

EPOCH = datetime(2026, 10, 1, tzinfo=UTC)
BASE = "https://shop.example/api"
HEAD = 'name = "shop"\ntitle = "Shop"\n[fields]\ntype = ["type"]\ndedup_key = [["id"]]\noccurred_time = ["time"]\n'

PAGINATIONS = {
    "time": 'kind = "time"',
    "page": 'kind = "page"\nparameter = "page"',
    "page_from_zero": 'kind = "page"\nparameter = "page"\nfirst = 0',
    "offset": 'kind = "offset"\nparameter = "skip"',
    "cursor": 'kind = "cursor"\nparameter = "after"\nnext = "paging.next"',
    "link": 'kind = "link"',
    "link_in_body": 'kind = "link"\nnext = "paging.url"',
    "last_id": 'kind = "last_id"\nparameter = "starting_after"',
}


def platform_of(
    pagination: str,
    *,
    order: str = "ascending",
    settings: str = "",
    filter_lines: str = 'from = "since"\nuntil = "until"',
    page_size: int = 3,
    fields: str = 'items = "data.list"\nid = "id"\ntime = "time"\n',
) -> Platform:
    """A platform whose history is paged that way."""
    lines = [
        HEAD,
        f'[history]\npath = "/events"\nlimit = "limit"\npage_size = {page_size}\norder = "{order}"\n',
        fields,
        settings,
        f"\n[history.pagination]\n{PAGINATIONS.get(pagination, pagination)}\n",
        f"[history.filter]\n{filter_lines}\n" if filter_lines else "",
    ]
    return parse_platform("".join(lines).encode(), "shop.toml", own=True)


class Made(msgspec.Struct, frozen=True):
    """An item of the model's history: `second` after EPOCH, listed by its time and then by its rank."""

    second: int
    rank: int
    id: str

    @property
    def moment(self) -> datetime:
        return EPOCH + timedelta(seconds=self.second)

    def json(self) -> Mapping[str, str]:
        return {"id": self.id, "time": self.moment.isoformat().replace("+00:00", "Z"), "type": "sale"}


class Model:
    """Answers requests. Each is told to `before`, which may change what is listed."""

    def __init__(
        self, platform: Platform, items: Sequence[Made], before: Callable[[int], object] | None = None
    ) -> None:
        assert platform.history
        self.history = platform.history
        self.pager = Pager(platform, BASE, {})
        self.items = list(items)
        self.requests: list[str] = []
        self._before = before

    def answer(self, request: Request) -> tuple[bytes, Mapping[str, str]]:
        parts = urlsplit(request.url)
        assert (parts.scheme, parts.netloc, parts.path) == ("https", "shop.example", "/api/events")
        self.requests.append(request.url)
        if self._before:
            self._before(len(self.requests))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        # The next page by a URL or a cursor is after an item, whatever is listed before it meanwhile.
        token = query.get("after") or query.get("token")
        since, until, limit, mark = json.loads(token) if token else (*self._asked(query), "")
        listed = [one for one in self._ordered() if self._is_asked_for(one, since, until)]
        start = self._start(query, listed, mark)
        page = listed[start : start + limit]
        following = json.dumps([since, until, limit, page[-1].id]) if page and start + limit < len(listed) else None
        url = f"{BASE}/events?token={_quoted(following)}" if following else None
        paging = {"total": len(listed), "more": start + limit < len(listed), "next": following, "url": url}
        body = {"data": {"list": [one.json() for one in page]}, "paging": paging}
        headers = {"Link": f'<{BASE}/events?x=1>; rel="previous", <{url}>; rel="next"'} if url else {}
        return json.dumps(body).encode(), headers

    def read(self, window: Window, pages: int = 2_000) -> Sequence[Page]:
        """Every page of the window, the positions taken through JSON as a checkpoint does."""
        read: list[Page] = []
        position: str | None = None
        while len(read) < pages:
            body, headers = self.answer(self.pager.request(window, position))
            page = self.pager.read(window, position, body, headers)
            read.append(page)
            position = page.position
            if position is None:
                return read
        raise AssertionError("it does not end")

    def _asked(self, query: Mapping[str, str]) -> tuple[str, str, int]:
        return query.get("since", ""), query.get("until", ""), int(query.get("limit", "1000"))

    def _ordered(self) -> list[Made]:
        ordered = sorted(self.items, key=lambda one: (one.second, one.rank))
        return ordered[::-1] if self.history.order == "descending" else ordered

    def _is_asked_for(self, one: Made, since: str, until: str) -> bool:
        return (not since or one.moment >= _parsed(since)) and (not until or one.moment < _parsed(until))

    def _start(self, query: Mapping[str, str], listed: Sequence[Made], mark: str) -> int:
        first = getattr(self.history.pagination, "first", 1)
        if "page" in query:
            return (int(query["page"]) - first) * int(query["limit"])
        if "skip" in query:
            return int(query["skip"])
        mark = mark or query.get("starting_after", "")
        return next((place + 1 for place, one in enumerate(listed) if one.id == mark), 0)


def ids(pages: Sequence[Page]) -> list[str]:
    return [item.id for page in pages for item in _items(page)]


def _items(page: Page) -> Sequence[Item]:
    return page.items


def _parsed(text: str) -> datetime:
    if text.isdigit():
        return datetime.fromtimestamp(int(text) / (1000 if len(text) > 11 else 1), UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _quoted(text: str) -> str:
    return "".join(character if character.isalnum() else f"%{ord(character):02X}" for character in text)
