"""Facets of a search (Europeana contract 1.4 and 1.10)."""

import re
from collections.abc import Callable
from typing import Any

from starlette.datastructures import QueryParams

from pipeline.sandbox.fields import EXACT, TECHNICAL, Values
from pipeline.sandbox.listed import Hits
from pipeline.sandbox.query import QuerySyntaxError
from pipeline.sandbox.records import iso
from pipeline.sandbox.search_request import Buckets, integer

DEFAULT = (
    *("UGC", "LANGUAGE", "TYPE", "YEAR", "PROVIDER", "DATA_PROVIDER", "COUNTRY", "RIGHTS", "REUSABILITY"),
    *("COLOURPALETTE", "MIME_TYPE", "IMAGE_SIZE", "IMAGE_COLOUR", "IMAGE_ASPECTRATIO", "MEDIA", "THUMBNAIL"),
    *("TEXT_FULLTEXT", "LANDINGPAGE", "SOUND_HQ", "SOUND_DURATION", "VIDEO_HD", "VIDEO_DURATION"),
)
_LIMIT = 50
_HIGHEST = 750
_MOST = 150
# Every record has its own value, so that counting them says nothing.
_NOT_COUNTED = ("europeana_id", "provider_aggregation_edm_isShownBy", "provider_aggregation_edm_isShownAt", "IMAGE_COLOR")


def names(parameters: QueryParams) -> list[str]:
    """The facets that are asked for, each once; raises QuerySyntaxError for a field that the index does not have."""
    asked = [name for value in parameters.getlist("facet") for name in re.split(r"[\s,]+", value) if name] or ["DEFAULT"]
    wanted = [name for item in asked for name in (DEFAULT if item == "DEFAULT" else (item,))]
    for name in wanted:
        if name not in EXACT and name not in TECHNICAL:
            raise QuerySyntaxError(f"undefined field: {name}")
    return [name for name in dict.fromkeys(wanted) if name not in _NOT_COUNTED][:_MOST]


def facets(parameters: QueryParams, hits: Hits) -> list[dict[str, Any]]:
    """Values with their counts, most frequent first; no zeroes and no facet without values."""
    found = []
    for name in names(parameters):
        offset, limit = _slice(parameters, name)
        counts = hits.counts(name, _labels(name))
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[offset : offset + limit]
        if ordered:
            found.append({"name": name, "fields": [{"label": label, "count": count} for label, count in ordered]})
    return found


def ranges(buckets: Buckets, count: Callable[[int], int]) -> dict[str, Any]:
    """A range facet: buckets in their order, labelled by their beginning, none empty."""
    labels = [iso(border).replace(".000Z", "Z") for border in buckets.borders[:-1]]
    counted = [(label, count(number)) for number, label in enumerate(labels)]
    return {"name": buckets.field, "fields": [{"label": label, "count": number} for label, number in counted if number]}


def _slice(parameters: QueryParams, name: str) -> tuple[int, int]:
    values = []
    for what, default in (("offset", 0), ("limit", _LIMIT)):
        general = integer(parameters, f"f.DEFAULT.facet.{what}", default) if name in DEFAULT else default
        values.append(max(0, integer(parameters, f"f.{name}.facet.{what}", general)))
    return values[0], min(values[1], _HIGHEST)


def _labels(name: str) -> Values:
    if name == "IMAGE_ASPECTRATIO":
        return lambda record: tuple(value.capitalize() for value in TECHNICAL[name](record))
    if name == "IMAGE_SIZE":
        return lambda record: TECHNICAL[name](record)[:1]
    return EXACT.get(name) or TECHNICAL[name]
