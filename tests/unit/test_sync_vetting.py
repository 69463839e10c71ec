"""Which addresses requests may be sent to."""

import ipaddress
import socket

import pytest

from services.sync.connectors.vetting import (
    NotPublic,
    VettedSockets,
    VettingResolver,
    check_url,
    may_connect,
    may_connect_to,
    vetted_addresses,
)
from tests.web_servers import Names

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.1.1",
    "100.63.0.1",
    "100.128.0.1",
    "2606:4700::1",
]
NOT_PUBLIC = {
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "fd00::1", "fc00::1"],
    "link_local": ["169.254.0.1", "fe80::1", "fe80::1%eth0", "febf::1"],
    "metadata": ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"],
    "shared": ["100.64.0.1", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "reserved": [
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "192.88.99.1",
    ],
    "of_no_use": ["2001:db8::1", "3fff::1", "fec0::1", "100::1", "5f00::1", "4000::1", "2001:20::1", "64:ff9b:1::1"],
    "embedded": [
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001::a00:1",
        "::ffff:0:10.0.0.1",
    ],
}
LOOPBACK = ["127.0.0.1", "127.1.2.3", "::1"]


@pytest.mark.parametrize("address", [*PUBLIC, "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_public_addresses_may_be_connected_to(address: str) -> None:
    for allowed in (True, False):
        assert may_connect_to(address, allow_loopback=allowed)


@pytest.mark.parametrize("address", [address for addresses in NOT_PUBLIC.values() for address in addresses])
def test_no_other_address_may_even_where_this_machine_is_allowed(address: str) -> None:
    for allowed in (True, False):
        assert not may_connect(ipaddress.ip_address(address), allow_loopback=allowed)


@pytest.mark.parametrize("address", LOOPBACK)
def test_this_machine_may_where_it_is_allowed(address: str) -> None:
    assert may_connect_to(address, allow_loopback=True)
    assert not may_connect_to(address, allow_loopback=False)


@pytest.mark.parametrize(
    "text", ["", "127.1", "0x7f000001", "2130706433", "017700000001", "localhost", "8.8.8.8 ", "1"]
)
def test_what_is_no_address_may_not(text: str) -> None:
    assert not may_connect_to(text, allow_loopback=True)


def test_a_socket_is_made_for_vetted_addresses_only() -> None:
    make = VettedSockets(allow_loopback=False)
    make((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("8.8.8.8", 443))).close()
    with pytest.raises(NotPublic):
        make((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("10.0.0.1", 443)))


async def test_a_name_gives_only_those_of_its_addresses_that_may() -> None:
    names = Names(
        mixed_example=[["10.0.0.1", "8.8.8.8", "fe80::1"]], inside_example=[["10.0.0.1", "::1"]], empty_example=[[]]
    )
    resolver = VettingResolver(names, allow_loopback=False)
    assert [one["host"] for one in await resolver.resolve("mixed.example")] == ["8.8.8.8"]
    assert await resolver.resolve("empty.example") == []
    with pytest.raises(NotPublic, match=r"^inside\.example leads to an address that is not public$"):
        await resolver.resolve("inside.example")
    allowing = VettingResolver(names, allow_loopback=True)
    assert [one["host"] for one in await allowing.resolve("inside.example")] == ["::1"]


async def test_hosts_for_other_protocols_are_vetted_alike() -> None:
    assert await vetted_addresses("8.8.8.8", 443, allow_loopback=False) == ["8.8.8.8"]
    for host in ("10.0.0.1", "127.0.0.1", "127.1", "localhost", "::1"):
        with pytest.raises(NotPublic):
            await vetted_addresses(host, 443, allow_loopback=False)
    assert "127.0.0.1" in await vetted_addresses("localhost", 443, allow_loopback=True)


@pytest.mark.parametrize(
    "url", ["https://api.example.com", "https://api.example.com:8443/v1/", "https://[2001:db8::1]/"]
)
def test_takes_https(url: str) -> None:
    assert check_url(url, allow_loopback=False) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8090", "http://localhost/x", "http://[::1]:80"])
def test_takes_plain_http_on_this_machine_where_that_is_allowed(url: str) -> None:
    assert check_url(url, allow_loopback=True) is None
    assert check_url(url, allow_loopback=False) == "must be https"


def test_takes_a_query_only_where_that_is_allowed() -> None:
    assert check_url("https://example.com/hook?x=1", allow_loopback=False, allow_query=True) is None
    assert check_url("https://u@example.com/hook?x=1", allow_loopback=False, allow_query=True) is not None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "http://api.example.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "http://localhost@example.com",
        "ftp://localhost",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@example.com",
        "https://user:secret@example.com",
        "https://:secret@example.com",
        "https://example.com?x=1",
        "https://example.com/#x",
        "https://example.com:99999",
        "https://example.com:0",
        "https://example.com:port",
        "https://[::1",
        "https://.",
        "https://example..com",
        "https://" + "x" * 64 + ".example.com",
        "https://example.com/\0",
        "https://exa mple.com",
        "https://example.com/a\nb",
        " https://example.com",
        "https://example.com/" + "x" * 2_000,
    ],
)
def test_refuses_every_other_address(url: str) -> None:
    for allowed in (True, False):
        assert check_url(url, allow_loopback=allowed) is not None
