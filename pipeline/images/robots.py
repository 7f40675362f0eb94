"""What a host asks of robots: its robots.txt (RFC 9309) and the X-Robots-Tag of a reply."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from protego import Protego

AGENT = "heritage-enrichment"  # the name by which robots.txt can address us
MOST_BYTES = 512_000  # RFC 9309 §2.5: at least 500 KiB have to be read, and no more need be
_UNWANTED = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})

# Reads a robots.txt: (status, text), or raises what the network raises.
Reader = Callable[[str], Awaitable[tuple[int, str]]]


@dataclass(frozen=True)
class HostRules:
    """What one host's robots.txt says; `file` is the word for the report: allowed, closed in part, none, unreachable."""

    file: str
    rules: Protego | None = None

    def allows(self, url: str) -> bool:
        """May this address be visited?"""
        return self.rules is None or bool(self.rules.can_fetch(url, AGENT))

    @property
    def crawl_delay_s(self) -> float:
        """Seconds that the host wants between two visits; 0 when it does not say."""
        return float(self.rules.crawl_delay(AGENT) or 0) if self.rules else 0.0


class UnreachableRulesError(Exception):
    """robots.txt answers with a server's error: the host counts as closed until it can be read (RFC 9309 §2.3.1.4)."""


async def read_rules(url: str, read: Reader) -> HostRules:
    """The rules of the host of `url`. Raises UnreachableRulesError, and whatever `read` raises."""
    parts = urlsplit(url)
    status, text = await read(f"{parts.scheme}://{parts.netloc}/robots.txt")
    if status >= 500 or status == 429:
        raise UnreachableRulesError(f"robots.txt: HTTP {status}")
    if status != 200:
        return HostRules("none")
    rules = Protego.parse(text)
    return HostRules("read", rules)


def unwanted(tags: Iterable[str]) -> str | None:
    """The word of an X-Robots-Tag that asks machines to leave the picture alone; None when there is none for us.

    `otherbot: noai` is for that robot alone; each header line speaks for itself.
    """
    for line in tags:
        agent, colon, rest = line.partition(":")
        name = agent.strip().lower()
        if colon and re.fullmatch(r"\*|[\w.-]+", name) and name not in _WITH_VALUE:
            if name not in (AGENT, "*"):
                continue
            line = rest
        words = {word.strip() for word in line.lower().split(",")}
        if found := sorted(_UNWANTED & words):
            return found[0]
    return None
