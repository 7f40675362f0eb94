"""Which addresses may be visited for a picture: only http(s), only public hosts, checked when the connection is made.

A name is resolved by the guard itself, and the connection goes to the very addresses that were checked, so a name
that changes its address in between gains nothing. Exempt are the `host:port` pairs of the settings (the sandbox).
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

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
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise RefusedAddressError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RefusedAddressError(f"only http and https addresses are visited, not {url[:100]!r}")
    if f"{parts.hostname}:{port}" in exempt:
        return
    try:
        ipaddress.ip_address(parts.hostname)
    except ValueError:
        return
    _check_public(parts.hostname, parts.hostname)


def _check_public(address: str, host: str) -> None:
    ip = ipaddress.ip_address(address)
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    if not ip.is_global or ip.is_multicast:
        raise RefusedAddressError(f"{host} leads to {address}, which is not a public address")
