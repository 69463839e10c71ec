"""The rules by which a platform's history is read page after page, as its file declares it: what to ask for, what an
answer holds, and where the next page begins. No I/O."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import msgspec

from services.sync.connectors import Page, Refused, Window, links, positions, spans
from services.sync.connectors.bodies import Answer, Items, path
from services.sync.connectors.positions import Found, Listed, Onward, Position, TimeRules, microseconds
from shared.platforms import Platform
from shared.platforms.history import (
    ByCursor,
    ByLastId,
    ByLink,
    ByOffset,
    ByPage,
    ByTime,
    History,
    placeholders,
)


class Request(msgspec.Struct, frozen=True):
    """What to ask with GET. The credential is to be added."""

    url: str
    """Whole, and encoded as it is to be sent."""
    headers: Mapping[str, str]


class Pager:
    """Knows how one source is read. Keeps nothing between pages."""

    def __init__(self, platform: Platform, base_url: str, parameters: Mapping[str, str]) -> None:
        history = platform.history
        if history is None or history.protocol != "http":
            raise ValueError(f"there is no history of {platform.name} to read over HTTP")
        self.history: History = history
        self.times_match = platform.times_match
        self._base_url = base_url.rstrip("/")
        self._zone = ZoneInfo(platform.time_zone)
        self._items = Items(history, self._zone)
        self._kind = str(history.pagination.__struct_config__.tag)
        given = {**history.optional_parameters, **{name: value for name, value in parameters.items() if value}}
        self._path = self._filled(history.path, given)
        self._count_path = self._filled(history.count.path, given) if history.count else ""
        in_path = {*placeholders(history.path), *(placeholders(history.count.path) if history.count else ())}
        self._query = [
            *_pairs(history.query),
            *((name, value) for name, value in given.items() if value and name not in in_path),
        ]
        self._list_at, self._more_at, self._said_at = path(history.items), path(history.has_more), path(history.said)
        self._errors_at = [path(error) for error in history.errors]
        self._rules = TimeRules(history.page_size, history.largest_page, self._asked)

    def windows(self, start: datetime, until: datetime | None, now: datetime) -> Sequence[Window]:
        """The span cut into windows, oldest first."""
        return spans.cut(self.history, start, until, now, self._zone)

    def request(self, window: Window, position: str | None) -> Request:
        """What to ask for the page that begins at the position."""
        history, at = self.history, self._at(window, position)
        pagination = history.pagination
        if isinstance(pagination, ByLink) and at.token:
            return Request(self._origin() + at.token, history.headers)
        query = [*self._query, *self._filtered(window, at.since)]
        if history.limit:
            query.append((history.limit, str((at.size if isinstance(pagination, ByTime) else 0) or history.page_size)))
        if isinstance(pagination, ByPage):
            query.append((pagination.parameter, str(at.number or pagination.first)))
        elif isinstance(pagination, ByOffset):
            query.append((pagination.parameter, str(at.number)))
        elif isinstance(pagination, ByCursor | ByLastId) and at.token:
            query.append((pagination.parameter, at.token))
        return self._request(self._path, query)

    def count_request(self, window: Window) -> Request | None:
        """What to ask for the source's own count of the window; None where pages say it, or nothing does."""
        if not self._count_path or not self._counts(window):
            return None
        return self._request(self._count_path, [*self._query, *self._filtered(window, "")])

    def read_count(self, body: bytes) -> int:
        """The source's own count. Raises Refused, Unreadable."""
        assert self.history.count
        number = Answer(body, self._errors_at).number(path(self.history.count.said))
        if number is None:
            raise Refused(f"The platform's answer has no number at {self.history.count.said!r}.")
        return number

    def read(self, window: Window, position: str | None, body: bytes, headers: Mapping[str, str]) -> Page:
        """Reads the answer to `request`. Raises Unreadable for what is no whole JSON, Refused for JSON that is no page,
        and for a page that leads nowhere."""
        at = self._at(window, position)
        answer = Answer(body, self._errors_at)
        listed = [Listed(*self._items.read(raw)) for raw in answer.list(self._list_at)]
        if self.history.order == "ascending":
            _check_ascending(listed)
        more = answer.flag(self._more_at) if self._more_at else None
        said = answer.number(self._said_at) if self._said_at else None
        onward = self._onward(at, Found(listed, more, said, self._next(window, position, answer, headers)))
        following, is_past = onward.position, self._is_past(window, listed)
        if is_past:
            following = None
        is_first = position is None
        return Page(
            items=[one.item for one in onward.new if self._is_within(window, one.item.moment)],
            position=following.encode() if following else None,
            # By time each page's filter is another: only the first one's is the window's.
            said=said if self._counts(window) and (is_first or self._kind != "time") else None,
            read_until=None if onward.has_hole else self._read_until(window, listed),
            more=(more is True or onward.is_promised) and not is_past,
        )

    def _at(self, window: Window, position: str | None) -> Position:
        at = Position.decode(position, self._kind)
        if self._kind == "time" and not at.since:
            since, boundary = self._asked(window.start, "")
            at = msgspec.structs.replace(at, since=since, boundary=microseconds(boundary))
        return at

    def _onward(self, at: Position, found: Found) -> Onward:
        match self.history.pagination:
            case ByTime():
                return positions.by_time(at, found, self._rules)
            case ByPage() as pagination:
                return positions.by_page(at, found, pagination)
            case ByOffset() as pagination:
                return positions.by_offset(at, found, pagination)
            case ByLastId():
                return positions.by_last_id(at, found)
            case ByCursor() | ByLink():
                return positions.by_token(at, found)

    def _next(self, window: Window, position: str | None, answer: Answer, headers: Mapping[str, str]) -> str | None:
        """What the platform says to ask for next: of a URL what comes after the host."""
        match self.history.pagination:
            case ByCursor(next=reference):
                return answer.text(path(reference))
            case ByLink(next=reference):
                url = answer.text(path(reference)) if reference else links.next_link(headers)
                if url is None:
                    return None
                asked = self.request(window, position).url
                return links.after_host(url, asked, self._base_url)
            case _:
                return None

    def _asked(self, moment: datetime, own: str) -> tuple[str, datetime]:
        """How the platform is asked for what begins at the moment, and when that is."""
        assert self.history.filter
        form = self.history.filter.format
        if own and form == "rfc3339":
            # As the platform itself wrote it: its digits and its zone.
            return own, moment
        return spans.written(moment, form, self._zone), spans.floor(moment, form, self._zone)

    def _filtered(self, window: Window, since: str) -> Sequence[tuple[str, str]]:
        its_filter = self.history.filter
        if its_filter is None:
            return ()
        query = [(its_filter.start, since or spans.written(window.start, its_filter.format, self._zone))]
        if its_filter.until and window.until is not None:
            query.append((its_filter.until, spans.written_until(window.until, its_filter, self._zone)))
        return query

    def _counts(self, window: Window) -> bool:
        """Whether what the platform counts is the window."""
        its_filter = self.history.filter
        return its_filter is not None and (bool(its_filter.until) or window.until is None)

    def _is_within(self, window: Window, moment: datetime | None) -> bool:
        """Whether an item belongs to the window, where the platform could not be asked for just those that do."""
        its_filter = self.history.filter
        if moment is None:
            return True
        if window.until is not None and moment >= window.until and not (its_filter and its_filter.until):
            return False
        return its_filter is not None or moment >= window.start

    def _is_past(self, window: Window, listed: Sequence[Listed]) -> bool:
        """Whether all that is still to come lies outside the window."""
        last = listed[-1].item.moment if listed else None
        if last is None:
            return False
        if self.history.order == "ascending":
            return window.until is not None and last >= window.until and not self._is_within(window, last)
        # Newest first, and only the whole history can be asked for.
        return self.history.order == "descending" and self.history.filter is None and last < window.start

    def _read_until(self, window: Window, listed: Sequence[Listed]) -> datetime | None:
        last = listed[-1].item.moment if listed else None
        if self.history.order != "ascending" or last is None:
            return None
        return last if window.until is None else min(last, window.until)

    def _filled(self, template: str, given: Mapping[str, str]) -> str:
        filled = template
        for name in set(placeholders(template)):
            filled = filled.replace(f"{{{name}}}", quote(given.get(name, ""), safe=""))
        return filled

    def _origin(self) -> str:
        parts = urlsplit(self._base_url)
        return f"{parts.scheme}://{parts.netloc}"

    def _request(self, its_path: str, query: Sequence[tuple[str, str]]) -> Request:
        encoded = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
        return Request(self._base_url + its_path + ("?" + encoded if encoded else ""), self.history.headers)


def _pairs(query: Mapping[str, str | tuple[str, ...]]) -> Sequence[tuple[str, str]]:
    return [(name, one) for name, value in query.items() for one in ((value,) if isinstance(value, str) else value)]


def _check_ascending(listed: Sequence[Listed]) -> None:
    """Where the order is what leads on, a list in another order would be left half unread, and look complete."""
    before: datetime | None = None
    for one in listed:
        moment = one.item.moment
        if before is not None and moment is not None and moment < before:
            raise Refused("The platform's history is not in the order of time, oldest first, as its mapping says.")
        before = moment
