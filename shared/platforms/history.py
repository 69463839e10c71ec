"""The `[history]` table of a platform's file: how a platform's API for its own history is read, declaratively.

`docs/platforms.md` explains it. What is here says what the settings are and checks them; `services.sync.connectors`
does as they say.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

MAX_TEXT = 500
"""Characters of a path, a reference, a fixed value."""
MAX_SETTINGS = 20
"""Parameters, fixed parameters of the query, headers: of each."""
MAX_PARAMETER = 2_000
"""Characters of what a source gives for a parameter."""
UNSENT_HEADERS = frozenset(
    {
        *(
            "accept-encoding",
            "content-encoding",
            "content-length",
            "content-type",
            "transfer-encoding",
            "te",
            "trailer",
        ),
        *("authorization", "connection", "cookie", "expect", "host", "keep-alive", "upgrade", "via"),
        *("forwarded", "x-forwarded-for", "x-forwarded-host"),
    }
)
"""Headers that the connection or `auth` decides: none of them can be fixed."""
HOOKLINE_PARAMETERS = (("company_id",), {"source": ""})
"""What another Hookline must be told, and may be."""

_is_header = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}").fullmatch
_is_header_value = re.compile(r"[!-~]([ -~]{0,498}[!-~])?").fullmatch
_is_prefix = re.compile(r"[ -~]{0,100}").fullmatch
_is_reference = re.compile(r"[^\s.\[\]:]+(\.[^\s.\[\]:]+){0,9}").fullmatch
_is_parameter = re.compile(r"[!-~]{1,100}").fullmatch
_is_placeholder = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}").fullmatch
_is_path = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%{}-]*)+").fullmatch
placeholders = re.compile(r"\{([^{}]*)\}").findall
"""The names of the parameters that a path holds."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a platform's file: a setting that nobody knows is a mistake."""


class Bearer(_Table, frozen=True, tag_field="scheme", tag="bearer"):
    """The credential in `Authorization: Bearer …`."""


class Basic(_Table, frozen=True, tag_field="scheme", tag="basic"):
    """The credential, which is "user:password", in `Authorization: Basic …`."""


class InHeader(_Table, frozen=True, tag_field="scheme", tag="header"):
    """The credential in a header of the platform's own."""

    name: str
    prefix: str = ""
    """What stands before it, such as "Token "."""


class ClientCredentials(_Table, frozen=True, tag_field="scheme", tag="oauth2"):
    """OAuth 2.0's client credentials: the credential, which is "id:secret", is changed for a token that is then sent
    as `Authorization: Bearer …`."""

    token_url: str
    """Where: an https URL, or a path after the source's base URL."""
    client: Literal["basic", "body"] = "basic"
    """How the client says who it is: by HTTP's basic authentication, or by `client_id` and `client_secret` in the
    form."""
    scope: str = ""
    """What is asked for. Empty: nothing is said."""


Auth = Bearer | Basic | InHeader | ClientCredentials


class ByTime(_Table, frozen=True, tag_field="kind", tag="time"):
    """The next page begins at the time of the last item, that time included; the filter's `from` says so."""


class ByPage(_Table, frozen=True, tag_field="kind", tag="page"):
    """Pages are numbered."""

    parameter: str
    first: Annotated[int, msgspec.Meta(ge=0, le=1)] = 1


class ByOffset(_Table, frozen=True, tag_field="kind", tag="offset"):
    """Pages begin after so many items."""

    parameter: str


class ByCursor(_Table, frozen=True, tag_field="kind", tag="cursor"):
    """Each answer says in its body what to ask for next."""

    parameter: str
    next: str
    """The reference to it. Missing, null or empty: there is no more."""


class ByLink(_Table, frozen=True, tag_field="kind", tag="link"):
    """Each answer holds the URL of the next page."""

    next: str = ""
    """The reference to it in the body. Empty: it is in the header `Link`, with rel="next"."""


class ByLastId(_Table, frozen=True, tag_field="kind", tag="last_id"):
    """The next page begins after the last item, by its id."""

    parameter: str


Pagination = ByTime | ByPage | ByOffset | ByCursor | ByLink | ByLastId
TimeFormat = Literal["rfc3339", "date", "epoch_seconds", "epoch_milliseconds"]


class Filter(_Table, frozen=True):
    """How a stretch of time is asked for."""

    start: str = msgspec.field(name="from", default="")
    """The query parameter for the time from which on items are given, that time included."""
    until: str = ""
    """The query parameter for the time until which they are. Empty: there is none, and no windows are cut."""
    until_included: bool = False
    """Whether that time is included."""
    format: TimeFormat = "rfc3339"


class Rate(_Table, frozen=True):
    """How much the platform allows."""

    requests: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 1.0


class Count(_Table, frozen=True):
    """Another address, asked with the same filter, that says how many items there are."""

    path: str
    said: str
    """The reference to the number."""


class History(_Table, frozen=True):
    """The platform's API for its own history."""

    protocol: Literal["http", "hookline"] = "http"
    """`hookline`: another Hookline, over gRPC. It needs no other settings, and takes none."""
    path: str = ""
    """Of the URL, after the source's base URL; `{name}` stands for the parameter of that name."""
    query: Mapping[str, str | tuple[str, ...]] = {}
    """Fixed parameters of the query; several values are said several times."""
    headers: Mapping[str, str] = {}
    """Fixed headers of each request."""
    parameters: tuple[str, ...] = ()
    """What each source must give: parameters of the query, unless they are in the path."""
    optional_parameters: Mapping[str, str] = {}
    """What a source may give, each with what counts otherwise. Empty: it is left out."""
    auth: Auth = Bearer()
    pagination: Pagination = ByTime()
    filter: Filter | None = None
    """None: only the whole history can be asked for."""
    order: Literal["ascending", "descending", "none"] = "none"
    """The order of the items by their time."""
    limit: str = ""
    """The query parameter for the size of a page. Empty: it can't be asked for."""
    page_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    """The size to ask for."""
    page_size_max: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    """The largest that the platform gives; asked for only where more items share one time than a page holds. 0: the
    same."""
    items: str = ""
    """The reference to the list of items. Empty: the body is the list."""
    payload: str = ""
    """The reference, in an item, to what its webhook carried. Empty: the whole item."""
    id: str = ""
    """The reference, in an item, to what identifies it in the history."""
    time: str = ""
    """The reference, in an item, to its time. Empty: there is none."""
    has_more: str = ""
    """The reference to whether there is more: true or false."""
    said: str = ""
    """The reference to how many items the filter finds."""
    count: Count | None = None
    errors: tuple[str, ...] = ("error", "errors")
    """References to what is only there, and neither null, false nor empty, when the answer is a failure."""
    rate: Rate | None = None
    """None: as fast as it goes."""
    window_hours: Annotated[int, msgspec.Meta(ge=1, le=8_784)] = 24
    """How much time is read before the next stretch is begun."""
    item_headers: Mapping[str, str] = {}
    """Headers under which the items are handed to ingest, as if a webhook had carried them."""

    @property
    def largest_page(self) -> int:
        return max(self.page_size, self.page_size_max)


def check_history(history: History) -> None:
    """Raises ValueError with what is wrong."""
    _check_parameters(history)
    if history.protocol == "hookline":
        if history != History(
            protocol="hookline", parameters=history.parameters, optional_parameters=history.optional_parameters
        ):
            raise ValueError("history: another Hookline takes no settings beside its parameters")
        if (history.parameters, history.optional_parameters) != HOOKLINE_PARAMETERS:
            raise ValueError('history.parameters: another Hookline needs "company_id", and may be told "source"')
        return
    _check_path("history.path", history.path, history)
    _check_references(history)
    _check_query(history)
    _check_headers(history)
    _check_auth(history.auth)
    _check_order(history)
    if history.count:
        _check_path("history.count.path", history.count.path, history)
    if history.count and history.said:
        raise ValueError("history.count: the number is either in each answer (said) or at an address of its own")
    if history.page_size_max and history.page_size_max < history.page_size:
        raise ValueError("history.page_size_max: it is less than page_size")
    if history.page_size_max and not history.limit:
        raise ValueError("history.page_size_max: without limit no size can be asked for")


def check_values(history: History, given: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """What is wrong with what a source gives for the parameters: the name of each, and a phrase."""
    wrong = [(name, "is required") for name in history.parameters if not given.get(name)]
    in_path = _in_paths(history)
    for name, value in given.items():
        if name not in history.parameters and name not in history.optional_parameters:
            wrong.append((name, "is not known"))
        elif len(value) > MAX_PARAMETER or not value.isprintable():
            wrong.append((name, f"must be at most {MAX_PARAMETER:,} printable characters"))
        elif name in in_path and value in (".", ".."):
            wrong.append((name, "can't be a part of a path"))
    return wrong


def _in_paths(history: History) -> frozenset[str]:
    return frozenset(placeholders(history.path) + (placeholders(history.count.path) if history.count else []))


def _check_parameters(history: History) -> None:
    in_path = _in_paths(history)
    names = [*history.parameters, *history.optional_parameters]
    if len(names) > MAX_SETTINGS:
        raise ValueError(f"history.parameters: at most {MAX_SETTINGS} are taken")
    for name in names:
        if not _is_parameter(name):
            raise ValueError(f"history.parameters: {name!r} can't be a parameter's name")
        if names.count(name) > 1:
            raise ValueError(f"history.parameters: {name!r} is there twice")
    for name, value in history.optional_parameters.items():
        _check_text(f"history.optional_parameters.{name}", value)
        if name in in_path and value in ("", ".", ".."):
            raise ValueError(f"history.optional_parameters: {name!r} is in the path, and can't be {value!r} there")


def _check_path(place: str, path: str, history: History) -> None:
    if len(path) > MAX_TEXT or not _is_path(path):
        raise ValueError(f"{place}: a path that begins with / is needed, without query, spaces or other alphabets")
    if any(part in (".", "..") for part in path.split("/")):
        raise ValueError(f"{place}: a path without . and .. is needed")
    rest = path
    for name in placeholders(path):
        if not _is_placeholder(name) or (name not in history.parameters and name not in history.optional_parameters):
            raise ValueError(f"{place}: {{{name}}} is none of the parameters")
        rest = rest.replace(f"{{{name}}}", "")
    if "{" in rest or "}" in rest:
        raise ValueError(f"{place}: a brace stands alone")


def _check_references(history: History) -> None:
    if not history.id:
        raise ValueError("history.id: what identifies an item is needed")
    given = {name: getattr(history, name) for name in ("items", "payload", "id", "time", "has_more", "said")}
    if history.count:
        given["count.said"] = history.count.said
    if isinstance(history.pagination, ByCursor):
        given["pagination.next"] = history.pagination.next
        if not history.pagination.next:
            raise ValueError("history.pagination.next: where the cursor is, is needed")
    elif isinstance(history.pagination, ByLink):
        given["pagination.next"] = history.pagination.next
    if len(history.errors) > MAX_SETTINGS:
        raise ValueError(f"history.errors: at most {MAX_SETTINGS} are taken")
    for name, reference in [*given.items(), *(("errors", one) for one in history.errors)]:
        if (reference or name in ("errors", "count.said")) and (
            len(reference) > MAX_TEXT or not _is_reference(reference)
        ):
            raise ValueError(f"history.{name}: {reference!r} is no path of members, such as page.next")


def _check_query(history: History) -> None:
    pagination, its_filter = history.pagination, history.filter
    if len(history.query) > MAX_SETTINGS:
        raise ValueError(f"history.query: at most {MAX_SETTINGS} are taken")
    for name, values in history.query.items():
        if isinstance(values, tuple) and not 0 < len(values) <= MAX_SETTINGS:
            raise ValueError(f"history.query.{name}: from one to {MAX_SETTINGS} values are taken")
        for value in [values] if isinstance(values, str) else values:
            _check_text(f"history.query.{name}", value)
    used = [*history.query, history.limit]
    used += [name for name in (*history.parameters, *history.optional_parameters) if name not in _in_paths(history)]
    if its_filter:
        if not its_filter.start:
            raise ValueError("history.filter.from: the parameter for the time to begin at is needed")
        if its_filter.until_included and not its_filter.until:
            raise ValueError("history.filter.until_included: there is no until")
        used += [its_filter.start, its_filter.until]
    if isinstance(pagination, ByPage | ByOffset | ByCursor | ByLastId):
        if not pagination.parameter:
            raise ValueError("history.pagination.parameter: the query parameter is needed")
        used.append(pagination.parameter)
    used = [name for name in used if name]
    for name in used:
        if not _is_parameter(name):
            raise ValueError(f"history: {name!r} can't be a parameter of the query")
        if "{" in name or "}" in name:
            raise ValueError(f"history: {name!r}: parameters stand in the path only")
        if used.count(name) > 1:
            raise ValueError(f"history: the query's parameter {name!r} would be said twice")


def _check_text(place: str, value: str) -> None:
    if len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"{place}: at most {MAX_TEXT} printable characters are taken")
    if "{" in value or "}" in value:
        raise ValueError(f"{place}: parameters stand in the path only")


def _check_headers(history: History) -> None:
    for place, headers in (("headers", history.headers), ("item_headers", history.item_headers)):
        if len(headers) > MAX_SETTINGS:
            raise ValueError(f"history.{place}: at most {MAX_SETTINGS} are taken")
        for name, value in headers.items():
            _check_header(f"history.{place}", name)
            if name.lower() in UNSENT_HEADERS or name.lower().startswith("proxy-"):
                raise ValueError(f"history.{place}: {name} can't be fixed")
            if not _is_header_value(value):
                raise ValueError(f"history.{place}: {name}: a value in printable ASCII is needed")
        lower = [name.lower() for name in headers]
        if len(set(lower)) < len(lower):
            raise ValueError(f"history.{place}: a header is there twice")
    if isinstance(history.auth, InHeader) and history.auth.name.lower() in {name.lower() for name in history.headers}:
        raise ValueError(f"history.headers: {history.auth.name} is the credential's")
    if any(name != name.lower() for name in history.item_headers):
        raise ValueError("history.item_headers: names in lower case are needed")


def _check_header(place: str, name: str) -> None:
    if not _is_header(name):
        raise ValueError(f"{place}: {name!r} can't be a header's name")


def _check_auth(auth: Auth) -> None:
    if isinstance(auth, InHeader):
        _check_header("history.auth.name", auth.name)
        if (auth.name.lower() in UNSENT_HEADERS or auth.name.lower().startswith("proxy-")) and (
            auth.name.lower() != "authorization"
        ):
            raise ValueError(f"history.auth.name: {auth.name} can't hold a credential")
        if not _is_prefix(auth.prefix):
            raise ValueError("history.auth.prefix: at most 100 characters of printable ASCII are taken")
    elif isinstance(auth, ClientCredentials):
        if not _is_token_url(auth.token_url):
            raise ValueError(
                "history.auth.token_url: an https URL of a host and a path, or a path that begins with /, is needed"
            )
        if not _is_prefix(auth.scope):
            raise ValueError("history.auth.scope: at most 100 characters of printable ASCII are taken")


def _is_token_url(url: str) -> bool:
    if len(url) > MAX_TEXT or "{" in url or "}" in url:
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        return False
    if "@" in parts.netloc or parts.query or parts.fragment or "?" in url or "#" in url:
        return False
    if any(part in (".", "..") for part in parts.path.split("/")):
        return False
    if url.startswith("https://"):
        return bool(host) and (not parts.path or bool(_is_path(parts.path)))
    return not parts.netloc and not parts.scheme and bool(_is_path(url))


def _check_order(history: History) -> None:
    if history.order != "none" and not history.time:
        raise ValueError("history.order: without time there is none")
    if isinstance(history.pagination, ByTime):
        if history.filter is None or history.order != "ascending":
            raise ValueError('history.pagination: by time it needs a filter, and order = "ascending"')
        if not history.limit:
            raise ValueError("history.pagination: by time it needs limit: how many items to ask for")
