"""Which addresses may be visited for a picture: only http(s), only public hosts, checked when the connection is made.

A name is resolved by the guard itself, and the connection goes to the very addresses that were checked, so a name
that changes its address in between gains nothing. Exempt are the `host:port` pairs of the settings (the sandbox).
"""

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from pipeline.errors import PermanentError


class RefusedAddressError(PermanentError):
    """The address is private, or not http(s)."""


class GuardedResolver(AbstractResolver):
    """Resolves like the system does and refuses answers that are not public."""

    def __init__(self, exempt: frozenset[str]) -> None:
        self._exempt = exempt
        self._system = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """The host's addresses; RefusedAddressError when one of them is not public."""
        found = await self._system.resolve(host, port, family)
        if f"{host}:{port}" not in self._exempt:
            for entry in found:
                _check_public(entry["host"], host)
        return found

    async def close(self) -> None:
        await self._system.close()


def check_url(url: str, exempt: frozenset[str]) -> None:
    """Raise RefusedAddressError for a URL that may not be visited as it stands.

    A literal address never reaches the resolver, so it is checked here; names are checked on connecting.
    """
    try:
        # The HTTP client's own reading of the address: it folds exotic digits into plain ones, and so must the guard.
        parsed = URL(url)
        host, port = parsed.host, parsed.port
    except ValueError as error:
        raise RefusedAddressError(f"{url[:100]!r} is not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not host:
        raise RefusedAddressError(f"only http and https addresses are visited, not {url[:100]!r}")
    if f"{host}:{port}" in exempt:
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    _check_public(host, host)


def _check_public(address: str, host: str) -> None:
    ip = ipaddress.ip_address(address)
    if any(not one.is_global or one.is_multicast or _is_reserved(one) for one in (ip, *_embedded(ip))):
        raise RefusedAddressError(f"{host} leads to {address}, which is not a public address")


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Not public, whatever this Python's tables say: IETF assignments, site-local, documentation (RFC 9637), local NAT64.
_RESERVED = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "fec0::/10", "3fff::/20", "64:ff9b:1::/48", "::ffff:0:0:0/96")))
_PUBLIC_EXCEPTIONS = frozenset(map(ipaddress.ip_address, ("192.0.0.9", "192.0.0.10")))
_COMPATIBLE = ipaddress.ip_network("::/96")


def _is_reserved(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return ip not in _PUBLIC_EXCEPTIONS and any(ip in network for network in _RESERVED)


def _embedded(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address may lead to: mapped, 6to4, Teredo, NAT64, compatible."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    found = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64 or ip in _COMPATIBLE:
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [address for address in found if address is not None]
