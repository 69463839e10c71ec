"""The `Link` header of RFC 8288, as far as the next page needs it, and where such a URL may lead. Pure."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urljoin, urlsplit

from services.sync.connectors import Refused

MAX_URL = 8_000
# Possessive: a header that is no link is found to be none in one go.
_parameter = r'\s*+;\s*+([^\s=;,"]++)(?:\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s";,]*+)))?+'
_link = re.compile(rf"\s*+<([^<>]*+)>((?:{_parameter})*+)\s*+(?:,|$)").match
_parameters = re.compile(_parameter).findall
_PORTS = {"https": 443, "http": 80}


def next_link(headers: Mapping[str, str]) -> str | None:
    """The URL whose relation is "next"; None when there is none."""
    for value in _values(headers):
        if len(value) > 4 * MAX_URL:
            raise Refused("The platform's Link header is too long.")
        position = 0
        while position < len(value):
            found = _link(value, position)
            if found is None:
                # Better said than taken for the end.
                raise Refused("The platform's Link header can't be read.")
            position = found.end()
            relations = [
                (quoted or plain).lower().split()
                for name, quoted, plain in _parameters(found[2])
                if name.lower() == "rel"
            ]
            if relations and "next" in relations[0]:
                return found[1]
    return None


def _values(headers: Mapping[str, str]) -> Iterable[str]:
    # One header may be there several times.
    return (value.strip() for name, value in headers.items() if name.lower() == "link")


def after_host(url: str, asked: str, base_url: str) -> str:
    """What the URL, which may be relative to the one that was asked, has after the host. Raises Refused when it leads
    to another host than the source's: the credential would go there."""
    try:
        whole = urljoin(asked, url)
        parts, base = urlsplit(whole), urlsplit(base_url)
        is_same = (parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)) == (
            *(base.scheme, base.hostname, base.port or _PORTS.get(base.scheme)),
        )
        has_user = "@" in parts.netloc
    except ValueError:
        raise Refused("The platform's URL of the next page is no URL.") from None
    if len(whole) > MAX_URL or not whole.isascii() or not whole.isprintable() or " " in whole:
        raise Refused("The platform's URL of the next page is no URL, or too long.")
    if not is_same or has_user:
        raise Refused("The platform's URL of the next page leads to another host than the source's.")
    return (parts.path or "/") + ("?" + parts.query if parts.query else "")
