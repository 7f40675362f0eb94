"""Europeana's Search API with cursor paging (search contract §1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.clients.http import ApiSession
from pipeline.errors import CriticalError, TransientError
from pipeline.settings import Settings

ROWS = 100  # the server's cap


@dataclass(frozen=True)
class Page:
    """One page of hits. `total` is what the server says now; it may change between pages."""

    items: list[Any]
    total: int
    cursor: str | None


class SearchClient:
    """Walks result lists; credentials go in the header, and their echoes in replies are dropped on arrival."""

    def __init__(self, settings: Settings) -> None:
        key = settings.europeana_api_key.get_secret_value()
        if not key:
            raise CriticalError("EUROPEANA_API_KEY is not set; a personal key comes at once with an Europeana account")
        self._api = ApiSession(
            base_url=settings.europeana_api_url.rstrip("/"),
            user_agent=settings.user_agent,
            timeout_s=settings.api_timeout_s,
            attempts=settings.api_attempts,
            headers=lambda: {"X-Api-Key": key, "Accept": "application/json"},
            secrets=(key,),
        )

    def pages(self, query: str, filters: Sequence[str] = (), *, reusability: str = "") -> Iterator[Page]:
        """All pages of a query, by cursor, sorted by id (the order that survives changes of the index, §1.6)."""
        cursor: str | None = "*"
        while cursor:
            page = self._page(query, filters, reusability, cursor)
            if not page.items:
                return
            yield page
            # The same mark again would walk in circles; the server leaves it out at the end (§1.6).
            cursor = page.cursor if page.cursor != cursor else None

    def _page(self, query: str, filters: Sequence[str], reusability: str, cursor: str) -> Page:
        params: dict[str, Any] = {
            "query": query,
            "qf": list(filters),
            "profile": "rich",
            "rows": ROWS,
            "sort": "europeana_id",
            "cursor": cursor,
        }
        if reusability:
            params["reusability"] = reusability
        reply = self._api.json("GET", "/record/v2/search.json", params=params)
        items = reply.get("items")
        if not isinstance(items, list):
            raise TransientError("the search reply has no list of items")
        total = int(reply.get("totalResults") or 0)
        return Page([_without_key(item) for item in items], total, reply.get("nextCursor"))


def _without_key(item: Any) -> Any:
    """`guid` and `link` carry the key and can be rebuilt from the id (§1.2)."""
    return {name: value for name, value in item.items() if name not in ("guid", "link")} if isinstance(item, dict) else item
