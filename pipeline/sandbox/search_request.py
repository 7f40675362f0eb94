"""What a search asks for, read from a query string or from a JSON body, and checked (Europeana contract 1.4, 1.9)."""

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request

from pipeline.sandbox.access import Refusal
from pipeline.sandbox.fields import DATES, TECHNICAL, THEMES, moment
from pipeline.sandbox.listed import SORTABLE, Order
from pipeline.sandbox.query import And, Node, Or, QuerySyntaxError, Range, Term, parse_query
from pipeline.sandbox.records import REUSABILITY, iso

MAX_ROWS = 100
_REACHABLE = 1000
_STANDARD_ORDER = (("timestamp_update", True), ("europeana_id", False))
_FLAGS = {
    "media": "has_media",
    "thumbnail": "has_thumbnails",
    "landingpage": "has_landingpage",
    "text_fulltext": "is_fulltext",
}
_BOOLEANS = {
    "true": "true",
    "on": "true",
    "yes": "true",
    "1": "true",
    "false": "false",
    "off": "false",
    "no": "false",
    "0": "false",
}
_TOO_FAR = "It is not possible to paginate beyond the first 1000 search results. Please use cursor-based pagination instead"
_MOST_BUCKETS = 750


@dataclass(frozen=True)
class Buckets:
    """A range facet: a date field, and where each bucket begins; the last value is the end of the last bucket."""

    field: str
    borders: tuple[datetime, ...]


@dataclass(frozen=True)
class Search:
    """One search, checked. `profile` holds the words of the profile, `sort` the text that marks are bound to."""

    parameters: QueryParams
    node: Node
    order: Order
    sort: str
    rows: int
    start: int
    cursor: str | None
    profile: frozenset[str]
    without_language_free: bool
    buckets: Buckets | None


async def parameters_of(request: Request) -> QueryParams:
    """The parameters of a GET, or of a POST whose JSON fields are named as they are (contract 1.1)."""
    if request.method != "POST":
        return request.query_params
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "Content type not supported")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "JSON parse error") from error
    if not isinstance(body, dict):
        raise Refusal(400, "JSON parse error: an object was expected")
    return QueryParams([(_plain(name), _text(value)) for name, values in body.items() for value in _list(values)])


def _list(values: object) -> list[object]:
    return [value for value in (values if isinstance(values, list) else [values]) if value is not None]


def _text(value: object) -> str:
    if isinstance(value, dict | list):
        raise Refusal(400, "JSON parse error: a parameter is a text, a number or a list of texts")
    if isinstance(value, bool):
        return str(value).lower()
    return _plain(str(value))


def _plain(text: str) -> str:
    """JSON can hold half characters, which no answer could repeat."""
    return text.encode("utf-8", "replace").decode()


def read_search(parameters: QueryParams, *, has_token: bool) -> Search:
    """The checked search; raises Refusal with the code of the contract's table."""
    query = parameters.get("query")
    if query is None:
        raise Refusal(400, "Required parameter 'query' missing")
    if not query.strip():
        raise Refusal(400, "Empty search query parameter", code="400-SE")
    profile = frozenset(words([parameters.get("profile") or "standard"]))
    if "translate" in profile and not has_token:
        raise Refusal(403, "Translation is only available with a token")
    rows, start, cursor = _page(parameters)
    filters = (*parameters.getlist("qf"), *_flag_filters(parameters), *_theme(parameters))
    colours = [f"COLOURPALETTE:{colour.upper()}" for colour in parameters.getlist("colourpalette")]
    _check_extras(parameters, profile)
    sort = parameters.get("sort") or ""
    try:
        node = And((_tree(query, filters), *map(_filter, colours), *_reusability(parameters)))
    except QuerySyntaxError as error:
        raise invalid_query(error) from error
    return Search(
        parameters=parameters,
        node=node,
        order=_order(sort, cursor=cursor is not None),
        sort=sort,
        rows=rows,
        start=start,
        cursor=cursor,
        profile=profile,
        without_language_free=bool(parameters.get("lang")),
        buckets=_buckets(parameters),
    )


def invalid_query(error: QuerySyntaxError) -> Refusal:
    """How the search engine's own refusal is passed on."""
    return Refusal(400, "Invalid search query", code="400-SA", message=str(error))


def words(values: Iterable[str]) -> set[str]:
    """Words that blanks, commas, plus signs or a doubly encoded comma part."""
    return {word for value in values for word in re.split(r"(?:[\s,+]|%2C)+", value) if word}


def _page(parameters: QueryParams) -> tuple[int, int, str | None]:
    """Paging parameters with their limits (contract 1.4 and 1.6)."""
    rows, start = integer(parameters, "rows", 12), integer(parameters, "start", 1)
    cursor = parameters.get("cursor") or None
    if rows < 0 or start < 1:
        raise Refusal(400, "Invalid search query", code="400-SA", message="'start' and 'rows' may not be negative")
    rows = min(rows, MAX_ROWS)
    if cursor is not None and start > 1:
        raise Refusal(400, "Parameters 'start' and 'cursorMark' cannot be used together", code="400-SD")
    if cursor is None and start - 1 + rows > _REACHABLE:
        raise Refusal(400, _TOO_FAR, code="400-SL", message=_TOO_FAR)
    return rows, start, cursor


def integer(parameters: QueryParams, name: str, default: int) -> int:
    """A whole number of 32 bits; nothing given means the default."""
    text = "".join((parameters.get(name) or "").split())
    if not text:
        return default
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text) or not -(2**31) <= int(text) < 2**31:
        raise Refusal(400, f"Failed to convert value of type 'java.lang.String' to required type 'int': {name}")
    return int(text)


def _flag_filters(parameters: QueryParams) -> list[str]:
    """`media=true` and its like are filters on index fields."""
    filters = []
    for name, field in _FLAGS.items():
        text = (parameters.get(name) or "").strip().lower()
        if text and text not in _BOOLEANS:
            raise Refusal(400, f"Failed to convert value of type 'java.lang.String' to required type 'Boolean': {name}")
        if text:
            filters.append(f"{field}:{_BOOLEANS[text]}")
    return filters


def _theme(parameters: QueryParams) -> list[str]:
    themes = words(parameters.getlist("theme"))
    if len(themes) > 1:
        raise Refusal(400, "Only one theme can be used", code="400-SU")
    if unknown := themes - set(THEMES):
        raise Refusal(400, f"Theme {unknown.pop()} is not known", code="400-ST")
    return [f"collection:{theme}" for theme in themes]


def _reusability(parameters: QueryParams) -> list[Node]:
    """Unknown words do not count, and all classes together are no filter."""
    wanted = words(parameters.getlist("reusability")) & {*REUSABILITY, "uncategorized"}
    if not wanted or wanted >= set(REUSABILITY):
        return []
    return [Or(tuple(Term("REUSABILITY", name) for name in sorted(wanted)))]


def _check_extras(parameters: QueryParams, profile: frozenset[str]) -> None:
    """Parameters that are checked although nothing comes of them here: boosts and full-text hits."""
    boost = parameters.get("boost")
    if boost and not re.fullmatch(r"\{!\s*\w[^{}]*\}.*", boost, re.DOTALL):
        raise Refusal(400, "Invalid boost parameter", code="400-SB")
    if "hits" in profile:
        selectors, field = parameters.get("hit.selectors"), parameters.get("hit.fl")
        if (selectors and not re.fullmatch(r"[1-9][0-9]{0,8}", selectors)) or (field and not field.startswith("fulltext")):
            raise Refusal(400, "Invalid hit parameter", code="400-SH")


def _buckets(parameters: QueryParams) -> Buckets | None:
    """A range facet (contract 1.4); `gap` in whole hours or days."""
    field = parameters.get("facet.range")
    if not field:
        return None
    gap = re.fullmatch(r"\+?([1-9][0-9]{0,3})(HOUR|DAY)S?", parameters.get("facet.range.gap") or "+1DAY")
    try:
        begin, end = moment(parameters.get("facet.range.start") or ""), moment(parameters.get("facet.range.end") or "")
    except QuerySyntaxError as error:
        raise Refusal(400, "Invalid facet range", code="400-SR", message=str(error)) from error
    if gap is None or field not in DATES or begin >= end:
        raise Refusal(400, "Invalid facet range", code="400-SR")
    width = int(gap[1]) * (3600 if gap[2] == "HOUR" else 86_400)
    if (end - begin).total_seconds() / width > _MOST_BUCKETS:
        raise Refusal(400, "Invalid facet range", code="400-SR", message="Too many buckets")
    count = -(-int((end - begin).total_seconds()) // width) or 1
    return Buckets(field, (*(begin + number * timedelta(seconds=width) for number in range(count)), end))


def bucket_node(buckets: Buckets, number: int) -> Range:
    """The query of one bucket."""
    low, high = map(iso, buckets.borders[number : number + 2])
    return Range(buckets.field, low, high, includes_low=True, includes_high=False)


def _tree(query: str, filters: tuple[str, ...]) -> Node:
    """Query and filters as one tree: filters on one field are alternatives, different fields all hold (1.5)."""
    # The server escapes closing braces and local parameters in `query`, which breaks half-open ranges there.
    query = re.sub(r"(?<!\\)}", r"\\}", query.replace("{!", r"\{!")).replace(":https://", ":http://")
    query = re.sub(r"\bCOUNTRY:([a-z])", lambda match: f"COUNTRY:{match[1].upper()}", query)
    groups: dict[str, list[Node]] = {}
    for text in filters:
        if not text.strip():
            continue
        groups.setdefault(text.partition(":")[0], []).append(_filter(text))
    return And((parse_query(query), *(Or(tuple(nodes)) for nodes in groups.values())))


def _filter(text: str) -> Node:
    """One `qf`. What belongs to a technical name is not parsed: it is one value, in any case, never quoted (1.5)."""
    field, colon, value = text.partition(":")
    if colon and field in TECHNICAL:
        return Term(field, re.sub(r"\\(.)", r"\1", value.strip()))
    return parse_query(_prepared(text))


def _prepared(text: str) -> str:
    """A filter as the server rewrites it: RIGHTS is quoted or escaped, TYPE is upper-cased and unquoted."""
    field, _, value = text.partition(":")
    if field == "RIGHTS" and not value.startswith(("(", '"')):
        if value.endswith("*"):
            return "RIGHTS:" + re.sub(r"(?<!\\)([:/])", r"\\\1", value)
        return f'RIGHTS:"{value}"'
    if field == "TYPE" and not value.startswith(("(", "[", "{")):
        return "TYPE:" + value.strip('"').upper()
    return text


def _order(sort: str, *, cursor: bool) -> Order:
    """Sort fields with their direction (True: descending). A cursor needs the unique key in a client's sort (1.6)."""
    order = []
    for part in filter(str.strip, sort.split(",")):
        name, _, direction = part.strip().partition(" ")
        direction = direction.strip().lower() or "desc"
        if name == "distance":
            continue  # removed by the server: no filter here asks for a distance
        if direction not in ("asc", "desc") or not (name in SORTABLE or re.fullmatch(r"random(_\w+)?", name)):
            raise Refusal(400, "Invalid search query", code="400-SA", message=f"Can't determine a Sort Order: {part}")
        order.append((f"random_{time.time_ns()}" if name == "random" else name, direction == "desc"))
    if not order:
        return _STANDARD_ORDER
    if cursor and "europeana_id" not in {name for name, _ in order}:
        message = "Cursor functionality requires a sort containing a uniqueKey field tie breaker (cursorMark)"
        raise Refusal(400, "Invalid cursor", code="400-SC", message=message)
    return tuple(order)


def echo(search: Search) -> dict[str, Any]:
    """The `params` of the profile of that name; never the key (contract 1.7, sample S-RICH19)."""
    body: dict[str, Any] = {"profile": "standard", "sort": search.sort, "rows": search.rows, "start": search.start}
    for name in search.parameters:
        values = search.parameters.getlist(name)
        if name in ("wskey", "rows", "start"):
            continue
        if name.endswith((".facet.limit", ".facet.offset", "hit.selectors")):
            body[name] = integer(search.parameters, name, 0)
        elif name == "facet":
            body[name] = ",".join(values)
        else:
            body[name] = values if len(values) > 1 else values[0]
    return body
