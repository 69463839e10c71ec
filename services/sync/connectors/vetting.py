"""Where requests may lead: to the public internet, and nowhere inside the network that Hookline runs in.

What is vetted is each address that is connected to, not the name that led there: a name may lead elsewhere the next
time that it is asked for.
"""

import asyncio
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from shared.settings import is_loopback

MAX_URL = 2_000

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NEVER = (
    # The host's own agent on Azure: public by its number, private by its nature.
    ipaddress.ip_network("168.63.129.16/32"),
    # Protocols' own, and the agent of another host. Python knows only a part of it.
    ipaddress.ip_network("192.0.0.0/24"),
    # Relays from IPv4 to IPv6, which are no more.
    ipaddress.ip_network("192.88.99.0/24"),
    # Of special use, Teredo among it, whose addresses hold another one.
    ipaddress.ip_network("2001::/23"),
    ipaddress.ip_network("2001:db8::/32"),
    # 6to4: holds an IPv4 address.
    ipaddress.ip_network("2002::/16"),
    ipaddress.ip_network("3fff::/20"),
)
_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotPublic(OSError):
    """An address may not be connected to. Its text names the host as it was given, and no address."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} leads to an address that is not public")


def may_connect(address: Address, *, allow_loopback: bool) -> bool:
    """Whether an address is public; or of this machine, where that is allowed."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return may_connect(address.ipv4_mapped, allow_loopback=allow_loopback)
        if address in _NAT64:
            return may_connect(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), allow_loopback=False)
    if address.is_loopback:
        return allow_loopback
    if any(address in network for network in _NEVER if network.version == address.version):
        return False
    if isinstance(address, ipaddress.IPv6Address) and (address not in _UNICAST or address.scope_id):
        return False
    return address.is_global and not address.is_multicast


def may_connect_to(host: str, *, allow_loopback: bool) -> bool:
    """The same for an address as text; False for what is none."""
    try:
        return may_connect(ipaddress.ip_address(host), allow_loopback=allow_loopback)
    except ValueError:
        return False


def check_url(url: str, *, allow_loopback: bool, allow_query: bool = False) -> str | None:
    """What is wrong with an address that requests are to go to; None when nothing is. Where it leads is not looked at:
    that is done when it is used."""
    if len(url) > MAX_URL or not (url.isascii() and url.isprintable()) or " " in url:
        return f"must be printable ASCII without spaces, at most {MAX_URL:,} characters"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        # As the resolver will: a label may be too long, or empty.
        (host or "").encode("idna")
    except ValueError:
        return "is no URL"
    if not host or port == 0 or parts.username is not None or parts.fragment or (parts.query and not allow_query):
        without = "user or fragment" if allow_query else "user, query or fragment"
        return f"must be a URL of a host and perhaps a path, without a {without}"
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_loopback and is_loopback(host)):
        return "must be https"
    return None


def is_numeric(host: str) -> bool:
    """Whether it is an address rather than a name, also one in a form that only old resolvers take."""
    return ":" in host or host.replace(".", "").isdigit()


class VettingResolver(AbstractResolver):
    """Gives those addresses of a name that may be connected to. Raises NotPublic when all others were left out."""

    def __init__(self, resolver: AbstractResolver, *, allow_loopback: bool) -> None:
        self._resolver = resolver
        self._allow_loopback = allow_loopback

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        vetted = [one for one in found if may_connect_to(one["host"], allow_loopback=self._allow_loopback)]
        if found and not vetted:
            raise NotPublic(host)
        return vetted

    async def close(self) -> None:
        await self._resolver.close()


class VettedSockets:
    """Makes the sockets of a client: the last to see each address before it is connected to, also one that no resolver
    was asked for. To be given to aiohttp as its `socket_factory`."""

    def __init__(self, *, allow_loopback: bool) -> None:
        self._allow_loopback = allow_loopback

    def __call__(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if not may_connect_to(address[0], allow_loopback=self._allow_loopback):
            raise NotPublic("The URL")
        return socket.socket(family, kind, protocol)


async def vetted_addresses(host: str, port: int, *, allow_loopback: bool) -> list[str]:
    """The addresses of a host that may be connected to. Raises NotPublic when it has only others, and OSError when it
    can't be resolved."""
    if is_numeric(host):
        if not may_connect_to(host, allow_loopback=allow_loopback):
            raise NotPublic(host)
        return [host]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    vetted = [one for one in addresses if may_connect_to(one, allow_loopback=allow_loopback)]
    if not vetted:
        raise NotPublic(host)
    return vetted
