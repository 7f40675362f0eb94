"""The fields of the search index, and queries as tests of one record (Europeana contract 1.5).

Of a record only what an institution would have published is in the index: the concept fields exist and are empty.
"""

import fnmatch
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from pipeline.sandbox.pictures import Picture
from pipeline.sandbox.query import And, Everything, Node, Not, Or, QuerySyntaxError, Range, Term
from pipeline.sandbox.records import Kind, Record, fold

Values = Callable[[Record], tuple[str, ...]]
Bound = TypeVar("Bound", str, datetime)


def _some(*values: str) -> tuple[str, ...]:
    return tuple(value for value in values if value)


def _flag(value: bool) -> tuple[str, ...]:
    return ("true" if value else "false",)


# Exact-match fields of the index (contract 1.5). The concept fields exist and are empty: no record has concepts yet.
EXACT: dict[str, Values] = {
    "europeana_id": lambda r: (r.id,),
    "TYPE": lambda r: ("IMAGE",),
    "DATA_PROVIDER": lambda r: _some(r.row.data_provider),
    "PROVIDER": lambda r: _some(r.row.provider),
    "COUNTRY": lambda r: ("Europe",),
    "LANGUAGE": lambda r: ("mul",),
    "YEAR": lambda r: _some("" if r.row.year is None else str(r.row.year)),
    "RIGHTS": lambda r: _some(r.row.rights),
    "UGC": lambda r: ("false",),
    "edm_datasetName": lambda r: (r.dataset_name,),
    "europeana_collectionName": lambda r: (r.dataset_name,),
    "provider_aggregation_edm_isShownBy": lambda r: _some(r.shown_by),
    "provider_aggregation_edm_isShownAt": lambda r: (r.shown_at,),
    "provider_aggregation_edm_hasView": lambda r: _some("views" if r.kind is Kind.MANY_VIEWS else ""),
    "has_media": lambda r: _flag(r.picture is not None),
    "has_thumbnails": lambda r: _flag(r.picture is not None),
    "has_landingpage": lambda r: ("true",),
    "is_fulltext": lambda r: ("false",),
    "contentTier": lambda r: (content_tier(r),),
    "metadataTier": lambda r: ("A",),
    "skos_concept": lambda r: (),
    "edm_agent": lambda r: (),
    "edm_place": lambda r: (),
    "edm_timespan": lambda r: (),
    "foaf_organization": lambda r: (),
    "proxy_dc_type": lambda r: (),
    "pid": lambda r: (),
    "collection": lambda r: (theme(r),),
    "COMPLETENESS": lambda r: ("0",),
}
DATES: dict[str, Callable[[Record], datetime]] = {
    "timestamp_update": lambda r: r.updated,
    "timestamp_created": lambda r: r.created,
    "timestamp": lambda r: r.updated,
}
TEXTS: dict[str, Callable[[Record], str]] = {
    "text": lambda r: r.words,
    "title": lambda r: fold(r.row.title),
    "proxy_dc_title": lambda r: fold(r.row.title),
    "who": lambda r: fold(r.row.creator),
    "proxy_dc_creator": lambda r: fold(r.row.creator),
    "what": lambda r: fold(r.row.title),
    "subject": lambda r: fold(""),
    "where": lambda r: fold(""),
    "when": lambda r: fold("" if r.row.year is None else str(r.row.year)),
}
# Pseudo fields: values in any case, never quoted; a value not understood matches nothing (contract 1.5).
TECHNICAL: dict[str, Values] = {
    "MIME_TYPE": lambda r: _some(r.picture.mime_type if r.picture else ""),
    "IMAGE_SIZE": lambda r: _some(*_size_classes(r.picture)),
    "IMAGE_COLOUR": lambda r: _flag(not r.picture.is_grey) if r.picture else (),
    "IMAGE_COLOR": lambda r: _flag(not r.picture.is_grey) if r.picture else (),
    "IMAGE_ASPECTRATIO": lambda r: (orientation(r.picture),) if r.picture else (),
    "MEDIA": lambda r: _flag(r.picture is not None),
    "THUMBNAIL": lambda r: _flag(r.picture is not None),
    "LANDINGPAGE": lambda r: ("true",),
    "TEXT_FULLTEXT": lambda r: ("false",),
    "REUSABILITY": lambda r: (r.reusability,),
    # Known names of which no record here has a value.
    **{
        name: lambda r: ()
        for name in ("COLOURPALETTE", "IMAGE_GREYSCALE", "SOUND_HQ", "SOUND_DURATION", "VIDEO_HD", "VIDEO_DURATION")
    },
}
THEMES = (
    *("archaeology", "art", "audiovisual", "ccsearch", "fashion", "industrial", "manuscript", "map", "migration"),
    *("music", "nature", "newspaper", "photography", "sport", "ww1"),
)


def theme(record: Record) -> str:
    """The thematic collection of a record. Its place in the collection decides: nothing of what it shows."""
    return THEMES[record.number % len(THEMES)]


def orientation(picture: Picture) -> str:
    """`portrait` or `landscape`."""
    return "portrait" if picture.height > picture.width else "landscape"


def _size_classes(picture: Picture | None) -> tuple[str, ...]:
    area = picture.megapixels if picture else 0.0
    if area < 0.1:
        return ()
    if area < 0.42:
        return ("small",)
    if area < 0.95:
        return ("medium",)
    return ("large",) if area < 4 else ("extra_large", "huge")


def content_tier(record: Record) -> str:
    """0 to 4 from the picture's area, capped by the licence (contract 1.5)."""
    area = record.picture.megapixels if record.picture else 0.0
    tier = 4 if area >= 0.95 else 2 if area >= 0.42 else 1 if area >= 0.1 else 0
    return str(min(tier, {"open": 4, "restricted": 3}.get(record.reusability, 2)))


Predicate = Callable[[Record], bool]


def predicate(node: Node) -> Predicate:
    """A query tree as a test of one record; raises QuerySyntaxError for fields that the index does not have."""
    match node:
        case Everything():
            return lambda record: True
        case Not(inner):
            test = predicate(inner)
            return lambda record: not test(record)
        case And(nodes):
            tests = [predicate(inner) for inner in nodes]
            return lambda record: all(test(record) for test in tests)
        case Or(nodes):
            tests = [predicate(inner) for inner in nodes]
            return lambda record: any(test(record) for test in tests)
        case Term():
            return _term(node)
        case Range():
            return _range(node)


def _term(term: Term) -> Predicate:
    field = term.field or "text"
    if field in EXACT:
        values = EXACT[field]
        test = value_test(term)
        return lambda record: any(test(value) for value in values(record))
    if field in TECHNICAL:
        technical, wanted = TECHNICAL[field], term.text.lower()
        return lambda record: not term.quoted and wanted in technical(record)
    if field in TEXTS:
        text = TEXTS[field]
        if term.glob == "*":
            return lambda record: bool(text(record).strip())
        if term.glob:
            pattern = re.compile(fnmatch.translate(term.glob.lower()))
            return lambda record: any(pattern.match(word) for word in text(record).split())
        phrase = fold(term.text)
        return lambda record: phrase in text(record)
    if field in DATES:
        if term.glob == "*":
            return lambda record: True
        date, wanted_moment = DATES[field], moment(term.text)
        return lambda record: date(record) == wanted_moment
    raise QuerySyntaxError(f"undefined field {field}")


def value_test(term: Term) -> Callable[[str], bool]:
    if term.glob is None:
        return lambda value: value == term.text
    pattern = re.compile(fnmatch.translate(term.glob))
    return lambda value: pattern.match(value) is not None


def _range(node: Range) -> Predicate:
    field = node.field or "text"
    if field in DATES:
        date = DATES[field]
        low = moment(node.low) if node.low else None
        high = moment(node.high) if node.high else None
        return lambda record: within(date(record), low, high, node)
    if field in EXACT:
        values = EXACT[field]
        return lambda record: any(within(value, node.low, node.high, node) for value in values(record))
    raise QuerySyntaxError(f"no range over the field {field}")


def within(value: Bound, low: Bound | None, high: Bound | None, node: Range) -> bool:
    if low is not None and not (value > low or (node.includes_low and value == low)):
        return False
    return high is None or value < high or (node.includes_high and value == high)


def moment(text: str) -> datetime:
    if text == "NOW":
        return datetime.now(UTC)
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", text):
        raise QuerySyntaxError(f"Invalid Date String:'{text}'")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise QuerySyntaxError(f"Invalid Date String:'{text}'") from error
