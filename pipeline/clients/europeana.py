"""Europeana's Search API with cursor paging, and its Record API (search contract §1, §2)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from pipeline.clients.http import ApiSession, decoded, error_text, parsed, refusal
from pipeline.clients.metering import Metering
from pipeline.errors import CriticalError, TransientError
from pipeline.settings import Settings

ROWS = 100  # the server's cap
# The order that survives changes of the index; a cursor needs the unique key in the sort (§1.6).
BY_ID = "europeana_id asc"
START = "*"
_GONE = (404, 410)


@dataclass(frozen=True)
class Page:
    """One page of hits. `total` is what the server says now; it may change between pages.

    An item of a search is still text, and `hit` reads it: whoever fetches pages need not wait for that. `cursor` is
    where the next page begins, `at` where this one did.
    """

    items: list[Any]
    total: int
    cursor: str | None
    at: str = START


@dataclass(frozen=True)
class Query:
    """What a search asks for: a query in Lucene's syntax, `qf` filters, and classes of reusability."""

    query: str
    filters: tuple[str, ...] = ()
    reusability: str = ""

    def parameters(self) -> dict[str, Any]:
        """As parameters of a request."""
        values: dict[str, Any] = {"query": self.query, "qf": list(self.filters)}
        return values | ({"reusability": self.reusability} if self.reusability else {})


class SearchClient:
    """Speaks for one key; it goes in the header, and its echoes in replies are dropped on arrival."""

    def __init__(self, settings: Settings, *, metering: Metering | None = None) -> None:
        key = settings.europeana_api_key.get_secret_value()
        if not key:
            raise CriticalError("EUROPEANA_API_KEY is not set; a personal key comes at once with an Europeana account")
        if not key.isascii() or not key.isprintable():
            raise CriticalError("EUROPEANA_API_KEY holds characters that no key has; copy it once more")
        self.metering = metering or Metering()
        self._api = ApiSession(
            base_url=settings.europeana_api_url.rstrip("/"),
            user_agent=settings.user_agent,
            timeout_s=settings.api_timeout_s,
            attempts=settings.api_attempts,
            backoff_s=settings.api_backoff_s,
            headers=lambda: {"X-Api-Key": key, "Accept": "application/json"},
            secrets=(key,),
            metering=self.metering,
        )

    def pages(
        self, query: str, filters: Sequence[str] = (), *, reusability: str = "", cursor: str = START, sort: str = BY_ID
    ) -> Iterator[Page]:
        """All pages of a query from a cursor on.

        Raises UnusableCursorError when the server cannot read the cursor: it may have changed since (§5.4).
        """
        asked = Query(query, tuple(filters), reusability)
        at: str | None = cursor
        while at:
            page = self._page(asked, at, sort)
            if not page.items:
                return
            yield page
            # The same mark again would walk in circles; the server leaves it out at the end (§1.6).
            at = page.cursor if page.cursor != at else None

    def page(self, asked: Query) -> Page:
        """The first page alone, for a query that cannot have more hits than a page holds."""
        return self._page(asked, START, BY_ID)

    def count(self, asked: Query) -> int:
        """How many records a query has."""
        return self.facets(asked, (), rows=0).total

    def sample(self, asked: Query, rows: int, *, seed: int = 1) -> Page:
        """Some records of a query, the same ones each time."""
        reply = self._search({**asked.parameters(), "rows": rows, "profile": "rich", "sort": f"random_{seed}"})
        return Page([hit(item) for item in _items(reply)], _total(reply), None)

    def facets(self, asked: Query, names: Sequence[str], *, rows: int = 0, values: int = 50) -> "Facets":
        """How the records of a query spread over the values of some fields, largest first (§1.10)."""
        parameters: dict[str, Any] = {**asked.parameters(), "rows": rows, "profile": "minimal"}
        if names:
            parameters |= {"profile": "facets", "facet": ",".join(names)}
            parameters |= {f"f.{name}.facet.limit": values for name in names}
        reply = self._search(parameters)
        found = {
            str(facet.get("name")): {str(one.get("label")): int(one.get("count") or 0) for one in facet.get("fields") or ()}
            for facet in reply.get("facets") or ()
        }
        return Facets(_total(reply), found)

    def record(self, record_id: str) -> dict[str, Any] | None:
        """The `object` of one record, or None when it is gone (404, 410).

        The object of a moved record has another `about` than was asked for (§2.2).
        """
        path = f"/record/v2{quote(record_id, safe='/')}.json"
        reply = self._api.request("GET", path, broken=lambda reply: not isinstance((parsed(reply) or {}).get("object"), dict))
        value = parsed(reply) or {}
        if reply.status_code in _GONE and value:  # a gateway's 404 has a page and no JSON
            return None
        if reply.ok and isinstance(value.get("object"), dict):
            found: dict[str, Any] = value["object"]
            return found
        message = self._api.scrub(f"GET {path}: HTTP {reply.status_code} {error_text(reply)}")
        if reply.status_code in (401, 403) or (reply.status_code == 400 and "-SA" not in message):
            raise refusal(message, reply)
        raise TransientError(message)

    def _page(self, asked: Query, cursor: str, sort: str) -> Page:
        parameters = {**asked.parameters(), "profile": "rich", "rows": ROWS, "sort": sort, "cursor": cursor}
        try:
            reply = self._search(parameters)
        except CriticalError as error:
            if error.code == "400-SC" and cursor != START:
                raise UnusableCursorError(str(error)) from error
            raise
        return Page(_items(reply), _total(reply), reply.get("nextCursor"), cursor)

    def _search(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._api.json("GET", "/record/v2/search.json", read=_envelope, params=parameters)


@dataclass(frozen=True)
class Facets:
    """`total` hits, and for each field its values with their numbers of hits."""

    total: int
    fields: dict[str, dict[str, int]]


class UnusableCursorError(TransientError):
    """The server does not understand a cursor that it gave out: the listing begins anew."""


class _Envelope(msgspec.Struct):
    """A search reply whose items are left unread."""

    items: list[msgspec.Raw] | None = None
    success: Any = True
    totalResults: int = 0  # noqa: N815 - the protocol's name
    nextCursor: str | None = None  # noqa: N815
    facets: Any = None


def hit(item: Any) -> Any:
    """An item of a page as JSON values, without `guid` and `link`: they carry the key and can be rebuilt from the id (§1.2)."""
    if isinstance(item, msgspec.Raw):
        item = decoded(item)
    if isinstance(item, dict):
        item.pop("guid", None)
        item.pop("link", None)
    return item


_read_envelope = msgspec.json.Decoder(_Envelope).decode


def _envelope(content: bytes) -> dict[str, Any] | None:
    """The parts of a search reply that paging needs, or None for what is no search reply."""
    try:
        envelope = _read_envelope(content)
        return msgspec.structs.asdict(envelope) if envelope.items is not None else None
    except (ValueError, RecursionError):
        pass
    try:  # what the strict reader does not take, the patient one may
        value = decoded(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _items(reply: dict[str, Any]) -> list[Any]:
    items = reply.get("items")
    if not isinstance(items, list):
        raise TransientError("the search reply has no list of items")
    return items


def _total(reply: dict[str, Any]) -> int:
    total = reply.get("totalResults")
    return total if isinstance(total, int) else 0
