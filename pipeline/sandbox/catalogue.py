"""The collection's rows as records of Europeana: search index fields and picture links.

Of a row only what an institution would have published is used; its concepts, its groups and its split are what the
pipeline is to be measured by, and never enter a record.
"""

import fnmatch
import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pipeline.collection import Collection, CollectionRow
from pipeline.errors import CriticalError
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.pictures import Picture, measure
from pipeline.sandbox.query import And, Everything, Node, Not, Or, QuerySyntaxError, Range, Term

_DAY_MS = 86_400_000
_YEAR = timedelta(days=365)

_OPEN = (
    "creativecommons.org/publicdomain/mark/",
    "creativecommons.org/publicdomain/zero/",
    "creativecommons.org/licenses/by/",
    "creativecommons.org/licenses/by-sa/",
)
_RESTRICTED = (
    "creativecommons.org/licenses/by-nc",
    "creativecommons.org/licenses/by-nd",
    "rightsstatements.org/vocab/NoC-NC/",
    "rightsstatements.org/vocab/NoC-OKLR/",
    "rightsstatements.org/vocab/InC-EDU/",
    "www.europeana.eu/rights/out-of-copyright-non-commercial/",
)
_PERMISSION = (
    "rightsstatements.org/vocab/InC/",
    "rightsstatements.org/vocab/InC-OW-EU/",
    "rightsstatements.org/vocab/CNE/",
    "www.europeana.eu/rights/",
)
REUSABILITY = {"open": _OPEN, "restricted": _RESTRICTED, "permission": _PERMISSION}


@dataclass(frozen=True)
class Record:
    """One record. `shown_by` is the picture's address, empty for a record without a picture."""

    row: CollectionRow
    path: Path | None
    shown_by: str
    shown_at: str
    updated: datetime

    @property
    def id(self) -> str:
        """`/dataset/local`."""
        return self.row.record_id

    @property
    def created(self) -> datetime:
        """First publication: some time before the last change."""
        return self.updated - _YEAR

    @property
    def dataset_name(self) -> str:
        """`edmDatasetName`: the dataset number with a name behind it."""
        return f"{self.id.split('/')[1]}_sandbox"

    @cached_property
    def picture(self) -> Picture | None:
        """What the ingestion measured; None when the file could not be processed."""
        return measure(self.path) if self.path else None

    @property
    def reusability(self) -> str:
        """`open`, `restricted`, `permission` or `uncategorized` (contract section 4)."""
        address = re.sub(r"^https?://", "", self.row.rights)
        for name, prefixes in REUSABILITY.items():
            if address.startswith(prefixes):
                return name
        return "uncategorized"

    @cached_property
    def words(self) -> str:
        """Title, creator and holder as folded text, for free-text search."""
        return fold(" ".join((self.row.title, self.row.creator, self.row.provider, self.row.data_provider)))


class Catalogue:
    """All records, by id, by picture path and by the MD5 of the picture's address (thumbnail key)."""

    def __init__(self, collection: Collection, options: SandboxOptions) -> None:
        day = _day(options.date)
        self.records = {row.record_id: _record(collection, row, options, day) for row in collection.rows}
        self.by_media = {record.shown_by.partition("/media/")[2]: record for record in self._shown()}
        self.by_address = {record.shown_by: record for record in self._shown()}
        self.by_md5 = {
            hashlib.md5(record.shown_by.encode(), usedforsecurity=False).hexdigest(): record for record in self._shown()
        }

    def _shown(self) -> list[Record]:
        return [record for record in self.records.values() if record.shown_by]


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise CriticalError(f"The sandbox's date {text!r} is not of the form YYYY-MM-DD.") from error


def _record(collection: Collection, row: CollectionRow, options: SandboxOptions, day: datetime) -> Record:
    _, dataset, local = row.record_id.split("/")
    digest = int.from_bytes(hashlib.sha256(row.record_id.encode()).digest()[:8])
    shown_by = ""
    if row.image_file:
        holder = (row.data_provider or row.provider).encode()
        hosts = options.image_hosts or (options.host,)
        host = hosts[hashlib.sha256(holder).digest()[0] % len(hosts)]
        # The file's own folder may name what the picture shows, so the address is made from the record id.
        suffix = Path(row.image_file).suffix.lower() or ".jpg"
        shown_by = f"http://{host}:{options.port}/media/{quote(dataset)}/{quote(local)}{suffix}"
    return Record(
        row=row,
        path=collection.image_path(row),
        shown_by=shown_by,
        shown_at=f"{options.public_url}/landing/{quote(dataset)}/{quote(local)}",
        updated=day + timedelta(milliseconds=digest % _DAY_MS),
    )


def fold(text: str) -> str:
    """Lower case, without accents, words apart by one blank, with a blank at both ends."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    words = re.findall(r"[^\W_]+", plain.lower())
    return f" {' '.join(words)} "


def iso(moment: datetime) -> str:
    """`2026-01-01T00:00:00.000Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Values = Callable[[Record], tuple[str, ...]]
Bound = TypeVar("Bound", str, datetime)


def _some(*values: str) -> tuple[str, ...]:
    return tuple(value for value in values if value)


def _flag(value: bool) -> tuple[str, ...]:
    return ("true" if value else "false",)


# Exact-match fields of the index (contract 1.5). The concept fields exist and are empty: no record has concepts yet.
_EXACT: dict[str, Values] = {
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
    "provider_aggregation_edm_hasView": lambda r: (),
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
}
_DATES: dict[str, Callable[[Record], datetime]] = {
    "timestamp_update": lambda r: r.updated,
    "timestamp_created": lambda r: r.created,
    "timestamp": lambda r: r.updated,
}
_TEXTS: dict[str, Callable[[Record], str]] = {
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
_TECHNICAL: dict[str, Values] = {
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
}


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
    if field in _EXACT:
        values = _EXACT[field]
        test = _value_test(term)
        return lambda record: any(test(value) for value in values(record))
    if field in _TECHNICAL:
        technical, wanted = _TECHNICAL[field], term.text.lower()
        return lambda record: not term.quoted and wanted in technical(record)
    if field in _TEXTS:
        text = _TEXTS[field]
        if term.glob == "*":
            return lambda record: bool(text(record).strip())
        if term.glob:
            pattern = re.compile(fnmatch.translate(term.glob.lower()))
            return lambda record: any(pattern.match(word) for word in text(record).split())
        phrase = fold(term.text)
        return lambda record: phrase in text(record)
    if field in _DATES:
        if term.glob == "*":
            return lambda record: True
        date, moment = _DATES[field], _moment(term.text)
        return lambda record: date(record) == moment
    raise QuerySyntaxError(f"undefined field {field}")


def _value_test(term: Term) -> Callable[[str], bool]:
    if term.glob is None:
        return lambda value: value == term.text
    pattern = re.compile(fnmatch.translate(term.glob))
    return lambda value: pattern.match(value) is not None


def _range(node: Range) -> Predicate:
    field = node.field or "text"
    if field in _DATES:
        date = _DATES[field]
        low = _moment(node.low) if node.low else None
        high = _moment(node.high) if node.high else None
        return lambda record: _within(date(record), low, high, node)
    if field in _EXACT:
        values = _EXACT[field]
        return lambda record: any(_within(value, node.low, node.high, node) for value in values(record))
    raise QuerySyntaxError(f"no range over the field {field}")


def _within(value: Bound, low: Bound | None, high: Bound | None, node: Range) -> bool:
    if low is not None and not (value > low or (node.includes_low and value == low)):
        return False
    return high is None or value < high or (node.includes_high and value == high)


def _moment(text: str) -> datetime:
    if text == "NOW":
        return datetime.now(UTC)
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", text):
        raise QuerySyntaxError(f"Invalid Date String:'{text}'")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise QuerySyntaxError(f"Invalid Date String:'{text}'") from error
