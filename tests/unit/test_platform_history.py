"""The `[history]` table of a platform's file: what may be in it, and what is wrong is told in a sentence."""

import re
from pathlib import Path

import msgspec
import pytest

from shared.platforms import Platform, PlatformMalformed, parse_platform, platforms, with_history
from shared.platforms.history import (
    Basic,
    ByCursor,
    ByLink,
    ByOffset,
    ByPage,
    ClientCredentials,
    Count,
    Filter,
    History,
    InHeader,
    Rate,
    check_values,
)

HEAD = """
name = "shop"
title = "Shop"
[fields]
type = ["type"]
dedup_key = [["id"]]
occurred_time = ["time", "created"]
"""
TABLE = """
[history]
path = "/v2/{tenant}/events"
query = { status = "any", kind = ["a", "b"] }
headers = { Shop-Version = "2026-01" }
parameters = ["tenant"]
optional_parameters = { region = "eu", branch = "" }
items = "data.list"
id = "id"
time = "time"
order = "ascending"
limit = "limit"
page_size = 50
page_size_max = 200
has_more = "paging.more"
errors = ["error", "fault.code"]
window_hours = 12
item_headers = { x-shop-topic = "event" }
"""
CURSOR = '[history.pagination]\nkind = "cursor"\nparameter = "after"\nnext = "paging.next"\n'
FILTER = '[history.filter]\nfrom = "from"\nuntil = "to"\nuntil_included = true\nformat = "epoch_seconds"\n'
RATE = "[history.rate]\nrequests = 10\nseconds = 2\n"
OAUTH = '[history.auth]\nscheme = "oauth2"\ntoken_url = "/oauth/token"\nclient = "body"\nscope = "read"\n'
COUNT = '[history.count]\npath = "/v2/{tenant}/count"\nsaid = "count"\n'
GOOD = HEAD + TABLE + CURSOR + FILTER + RATE + OAUTH + COUNT
BY_TIME = '[history.pagination]\nkind = "time"\n'


def parse(toml: str) -> Platform:
    return parse_platform(toml.encode(), "shop.toml", own=True)


def history(toml: str) -> History:
    found = parse(toml).history
    assert found
    return found


def changed(old: str, new: str) -> str:
    assert old in GOOD, old
    return GOOD.replace(old, new)


def test_everything_that_there_is() -> None:
    assert history(GOOD) == History(
        path="/v2/{tenant}/events",
        query={"status": "any", "kind": ("a", "b")},
        headers={"Shop-Version": "2026-01"},
        parameters=("tenant",),
        optional_parameters={"region": "eu", "branch": ""},
        auth=ClientCredentials("/oauth/token", "body", "read"),
        pagination=ByCursor("after", "paging.next"),
        filter=Filter("from", "to", True, "epoch_seconds"),
        order="ascending",
        limit="limit",
        page_size=50,
        page_size_max=200,
        items="data.list",
        id="id",
        time="time",
        has_more="paging.more",
        count=Count("/v2/{tenant}/count", "count"),
        errors=("error", "fault.code"),
        rate=Rate(10, 2),
        window_hours=12,
        item_headers={"x-shop-topic": "event"},
    )


def test_the_other_ways() -> None:
    def of(lines: str) -> History:
        return history(HEAD + '[history]\npath = "/e"\nid = "id"\n' + lines)

    assert of('[history.pagination]\nkind = "page"\nparameter = "p"\nfirst = 0').pagination == ByPage("p", 0)
    assert of('[history.pagination]\nkind = "offset"\nparameter = "o"').pagination == ByOffset("o")
    assert of('[history.pagination]\nkind = "link"').pagination == ByLink()
    link = '[history.pagination]\nkind = "link"\n'
    assert of(link + '[history.auth]\nscheme = "basic"').auth == Basic()
    own = '[history.auth]\nscheme = "header"\nname = "Authorization"\nprefix = "Token "'
    assert of(link + own).auth == InHeader("Authorization", "Token ")
    other = '[history.auth]\nscheme = "oauth2"\ntoken_url = "https://id.example:8443/oauth/token"'
    assert of(link + other).auth == ClientCredentials("https://id.example:8443/oauth/token", "basic")


MALFORMED = {
    "unknown setting": (changed("window_hours", "window_days"), "unknown field `window_days`"),
    "unknown kind": (changed('kind = "cursor"', 'kind = "luck"'), "`$.history.pagination.kind`"),
    "unknown scheme": (changed('scheme = "oauth2"', 'scheme = "digest"'), "`$.history.auth.scheme`"),
    "unknown format": (changed("epoch_seconds", "stardate"), "`$.history.filter.format`"),
    "a page of nothing": (changed("page_size = 50", "page_size = 0"), "`$.history.page_size`"),
    "a page too large": (changed("page_size_max = 200", "page_size_max = 10001"), "`$.history.page_size_max`"),
    "windows of nothing": (changed("window_hours = 12", "window_hours = 0"), "`$.history.window_hours`"),
    "a rate of nothing": (changed("requests = 10", "requests = 0"), "`$.history.rate.requests`"),
    "no path": (changed('path = "/v2/{tenant}/events"', ""), "history.path: "),
    "a path that begins with no slash": (changed('"/v2/{tenant}/events"', '"v2/{tenant}"'), "history.path: "),
    "a path with a query": (changed("/events", "/events?a=b"), "history.path: "),
    "a path of another host": (changed("/v2/{tenant}/events", "//evil.example/{tenant}#"), "history.path: "),
    "a path that climbs": (changed("/events", "/../events"), "history.path: a path without . and .."),
    "a path of many lines": (changed("/events", "/e\\nvents"), "history.path: "),
    "an endless path": (changed("/events", "/" + "a" * 500), "history.path: "),
    "a placeholder of nothing": (changed("/events", "/{shop}"), "history.path: {shop} is none of the parameters"),
    "an empty placeholder": (changed("/events", "/{}"), "history.path: {} is none of the parameters"),
    "a lone brace": (changed("/events", "/ev}ents"), "history.path: a brace stands alone"),
    "a placeholder that may be empty": (changed("/events", "/{branch}"), "'branch' is in the path, and can't be ''"),
    "a placeholder that may climb": (
        changed("/events", "/{region}").replace('"eu"', '".."'),
        "'region' is in the path, and can't be '..'",
    ),
    "a placeholder in the query": (
        changed('"any"', '"{tenant}"'),
        "history.query.status: parameters stand in the path",
    ),
    "a placeholder in a default": (changed('"eu"', '"{tenant}"'), "parameters stand in the path only"),
    "a placeholder in a name": (changed('limit = "limit"', 'limit = "{tenant}"'), "parameters stand in the path only"),
    "a placeholder in the token's URL": (changed("/oauth/token", "/{tenant}/token"), "history.auth.token_url: "),
    "a count's path that is none": (changed("/v2/{tenant}/count", "count"), "history.count.path: "),
    "a count without its number": (changed('said = "count"', 'said = ""'), "history.count.said: "),
    "two counts": (changed('has_more = "paging.more"', 'said = "total"'), "history.count: the number is either"),
    "a name that is no parameter's": (changed('["tenant"]', '["te nant"]'), "history.parameters: 'te nant' can't be"),
    "a parameter twice": (changed('branch = ""', 'tenant = "x"'), "history.parameters: 'tenant' is there twice"),
    "too many parameters": (changed('["tenant"]', str([f"p{n}" for n in range(19)])), "history.parameters: at most 20"),
    "no id": (changed('id = "id"', ""), "history.id: "),
    "a reference with a list": (changed('"data.list"', '"data[].list"'), "history.items: 'data[].list' is no path"),
    "a reference with a gap": (changed('"data.list"', '"data..list"'), "history.items: "),
    "a reference to a header": (changed('time = "time"', 'time = "header:date"'), "history.time: "),
    "an endless reference": (changed('"data.list"', f'"{"a" * 501}"'), "history.items: "),
    "a reference of many parts": (changed('"data.list"', f'"{"a." * 11}a"'), "history.items: "),
    "an empty error": (changed('"fault.code"', '""'), "history.errors: "),
    "no cursor": (changed('next = "paging.next"', 'next = ""'), "history.pagination.next: "),
    "no parameter for it": (changed('parameter = "after"', 'parameter = ""'), "history.pagination.parameter: "),
    "too many fixed parameters": (
        changed("kind = [", ", ".join(f'q{n} = "1"' for n in range(20)) + ", kind = ["),
        "history.query: at most 20",
    ),
    "no values": (changed('["a", "b"]', "[]"), "history.query.kind: from one to 20 values"),
    "an endless value": (changed('"any"', f'"{"a" * 501}"'), "history.query.status: at most 500"),
    "a parameter said twice": (changed('parameter = "after"', 'parameter = "limit"'), "'limit' would be said twice"),
    "a time without a parameter": (changed('from = "from"', ""), "history.filter.from: "),
    "an end that is included in nothing": (changed('until = "to"\n', ""), "history.filter.until_included: "),
    "a header that is none": (changed("Shop-Version", '"Shop Version"'), "history.headers: 'Shop Version' can't be"),
    "a header's value of two lines": (changed('"2026-01"', '"a\\r\\nHost: b"'), "history.headers: Shop-Version: "),
    "a header twice": (changed("Shop-Version =", 'shop-version = "1", Shop-Version ='), "history.headers: a header is"),
    "a header of the credential's": (
        changed(OAUTH, '[history.auth]\nscheme = "header"\nname = "shop-version"\n'),
        "history.headers: shop-version is the credential's",
    ),
    "capitals in what is handed on": (changed("x-shop-topic", "X-Shop-Topic"), "history.item_headers: names in lower"),
    "a scope of two lines": (changed('"read"', '"a\\nb"'), "history.auth.scope: "),
    "a credential's header that is none": (
        changed(OAUTH, '[history.auth]\nscheme = "header"\nname = "a b"\n'),
        "history.auth.name: 'a b' can't be a header's name",
    ),
    "a credential in Host": (
        changed(OAUTH, '[history.auth]\nscheme = "header"\nname = "host"\n'),
        "history.auth.name: host can't hold a credential",
    ),
    "a prefix of two lines": (
        changed(OAUTH, '[history.auth]\nscheme = "header"\nname = "x-key"\nprefix = "a\\r\\nb"\n'),
        "history.auth.prefix: ",
    ),
    "order without time": (changed('time = "time"', ""), "history.order: without time there is none"),
    "a largest page below the usual one": (changed("page_size_max = 200", "page_size_max = 49"), "less than page_size"),
    "sizes that can't be asked for": (changed('limit = "limit"', ""), "history.page_size_max: without limit"),
    "by time without a filter": (changed(CURSOR, BY_TIME).replace(FILTER, ""), "by time it needs a filter"),
    "by time in no order": (changed(CURSOR, BY_TIME).replace('"ascending"', '"none"'), "by time it needs a filter"),
    "by time without a size": (
        changed(CURSOR, BY_TIME).replace('limit = "limit"', "").replace("page_size_max = 200", ""),
        "history.pagination: by time it needs limit",
    ),
    "a signature that would be asked for": (
        GOOD + '[signature]\nscheme = "stripe"\n',
        "history.item_headers: ingest would ask for the platform's signature",
    ),
    "more than a Hookline needs": (
        HEAD + '[history]\nprotocol = "hookline"\npath = "/x"\n',
        "takes no settings beside",
    ),
    "less than a Hookline needs": (HEAD + '[history]\nprotocol = "hookline"\n', 'needs "company_id"'),
}


@pytest.mark.parametrize(("toml", "says"), MALFORMED.values(), ids=list(MALFORMED))
def test_what_is_malformed_is_told(toml: str, says: str) -> None:
    with pytest.raises(PlatformMalformed) as caught:
        parse(toml)
    reason = caught.value.reason
    assert says in reason
    assert re.fullmatch(r"[^\n]{1,400}[^\n.]", reason), reason
    assert reason.isprintable()


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Content-Length", "transfer-encoding", "Connection", "upgrade", "te", "Authorization", "cookie"),
        *("Accept-Encoding", "proxy-authorization", "x-forwarded-for", "Expect"),
    ],
)
def test_headers_that_are_not_for_a_mapping_to_say(name: str) -> None:
    for old in ("Shop-Version", "x-shop-topic"):
        with pytest.raises(PlatformMalformed, match=f"{name} can't be fixed"):
            parse(changed(old, name))


@pytest.mark.parametrize(
    "url",
    [
        *("http://id.example/token", "https://", "https:///token", "https://user:key@id.example/token"),
        *("https://id.example/token?a=b", "https://id.example/token#a", "https://id.example/../token", "token"),
        *("//id.example/token", "ftp://id.example/", "https://id.example:port/", "https://[::1/", "/a b", "/a/../b"),
        *("https://" + "a" * 70 + ".example/token", "https://id.example/" + "a" * 500, "HTTPS://id.example/", "/a?b=c"),
    ],
)
def test_where_no_token_is_to_be_had(url: str) -> None:
    with pytest.raises(PlatformMalformed, match=r"history\.auth\.token_url: "):
        parse(changed("/oauth/token", url))


def test_what_a_source_gives_for_the_parameters() -> None:
    made = history(GOOD)
    assert check_values(made, {"tenant": "acme"}) == []
    assert check_values(made, {"tenant": "a/b", "region": "", "branch": "x"}) == []
    assert check_values(made, {"tenant": "", "colour": "red"}) == [
        ("tenant", "is required"),
        ("colour", "is not known"),
    ]
    for value in ("a\0b", "a\nb", "x" * 2_001):
        [(name, problem)] = check_values(made, {"tenant": value})
        assert (name, problem) == ("tenant", "must be at most 2,000 printable characters")
    assert check_values(made, {"tenant": ".."}) == [("tenant", "can't be a part of a path")]
    assert check_values(made, {"tenant": "acme", "region": ".."}) == [], "it is in the query"


def test_when_an_items_time_is_its_events() -> None:
    assert parse(GOOD).times_match
    assert not parse(changed('["time", "created"]', '["created", "time"]')).times_match, "another would count first"
    assert not parse(changed('["time", "created"]', '["header:x-time", "time"]')).times_match
    assert not parse(changed('id = "id"', 'id = "id"\npayload = "payload"')).times_match, "the payload has its own"
    assert not parse(HEAD).times_match
    assert {name for name, platform in platforms().items() if platform.times_match} == {"stripe"}


def test_the_built_in_histories() -> None:
    found = {name: platform.history for name, platform in platforms().items() if platform.history}
    assert list(found) == ["grapfy", "hookline", "hotmart_sales", "shopify", "stripe"]
    assert {name for name, made in found.items() if made.protocol == "hookline"} == {"hookline"}
    assert found["hookline"].parameters == ("company_id",)


def test_a_companys_own_mapping_without_a_history_has_the_built_in_ones() -> None:
    own = parse(HEAD.replace('"shop"', '"grapfy"'))
    assert with_history(own).history == platforms()["grapfy"].history
    assert with_history(own).title == "Shop"
    its_own = parse(GOOD.replace('"shop"', '"grapfy"'))
    assert with_history(its_own) is its_own
    for other in (parse(HEAD), msgspec.structs.replace(own, name="kiwify")):
        assert with_history(other).history is None


def test_the_documentation_tells_of_every_setting_and_its_connector_is_one() -> None:
    text = Path("docs/platforms.md").read_text()
    everything, *_, own = re.findall(r"(?s)```toml\n(.*?)```", text[text.index("## History") :])
    for field in msgspec.structs.fields(History):
        assert re.search(rf"(?m)^(\[history\.)?{field.name}( =|\])", everything) or field.name == "protocol", field.name
    for kind in (*("time", "page", "offset", "cursor", "link", "last_id"), *("bearer", "basic", "header", "oauth2")):
        assert f"| `{kind}` | " in text
    found = parse(own).history
    assert found
    assert (found.path, found.pagination) == ("/v1/lojas/{loja}/eventos", ByPage("pagina"))
