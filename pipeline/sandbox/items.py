"""One search hit with the fields of its profile (Europeana contract 1.8)."""

import hashlib
import zlib
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from pipeline.sandbox.fields import content_tier
from pipeline.sandbox.records import Record, iso

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What `lang` drops: texts without a language (contract 1.4).
_LANGUAGE_FREE = ("title", "dcCreator", "dcDescription")


class ItemView:
    """Items with the addresses of one sandbox."""

    def __init__(self, public_url: str) -> None:
        self._url = public_url

    def item(
        self, record: Record, key: str, profile: AbstractSet[str], score: float, *, without_language_free: bool
    ) -> dict[str, Any]:
        """The fields of the profile, empty ones left out, in an order that differs from record to record.

        The shape is minimal, else rich, else standard; fields of the rich shape are dropped when `minimal` or
        `standard` is among the words, so that `facets` alone has more fields than `standard` and `standard,rich` fewer
        than `rich`.
        """
        fields = {**self._fields_of_all(record, key), "score": score}
        if "minimal" not in profile:
            fields |= _standard_fields(record)
        if not profile & {"minimal", "standard"}:
            fields["organizations"] = organizations(record)
            if "rich" in profile:
                fields["edmLandingPage"] = [self.landing_page(record)]
        if "debug" in profile:
            fields |= {"contentTier": content_tier(record), "metadataTier": "A"}
        if without_language_free:
            for name in _LANGUAGE_FREE:
                fields.pop(name, None)
        return _shuffled(without_empty(fields), record)

    def _fields_of_all(self, record: Record, key: str) -> dict[str, Any]:
        row = record.row
        return {
            "id": record.id,
            "type": "IMAGE",
            "title": some(row.title),
            "dcTitleLangAware": lang(row.title),
            "dcCreator": some(row.creator),
            "dcCreatorLangAware": lang(row.creator),
            "edmIsShownBy": some(record.shown_by),
            "edmIsShownAt": [record.shown_at],
            "edmPreview": some(self.preview(record)),
            "rights": some(row.rights),
            "dataProvider": some(row.data_provider),
            "provider": some(row.provider),
            "language": ["mul"],
            "year": some("" if row.year is None else str(row.year)),
            "europeanaCompleteness": 0,
            "guid": f"{self.landing_page(record)}?utm_source=api&utm_medium=api&utm_campaign={quote(key)}",
            "link": f"{self._url}/europeana/record{record.id}.json?wskey={quote(key)}",
        }

    def landing_page(self, record: Record) -> str:
        """The record's page on the portal."""
        return f"{self._url}/item{record.id}"

    def image_service(self, record: Record) -> str:
        """The base address of the record's IIIF image service (contract 3.3)."""
        return f"{self._url}/iiif{record.id}"

    def preview(self, record: Record) -> str:
        """The thumbnail's address; empty for a record without a picture."""
        if not record.shown_by:
            return ""
        return f"{self._url}/europeana/thumbnail/v2/url.json?uri={quote(record.shown_by, safe='')}&type=IMAGE"


def relevance(record: Record) -> float:
    """A score as the real server gives outside cursor mode; it means nothing here."""
    return round(0.5 + zlib.crc32(record.id.encode()) % 256 / 512, 7)


def organizations(record: Record) -> list[str]:
    """URIs of the holder and of the aggregator."""
    names = dict.fromkeys(name for name in (record.row.data_provider, record.row.provider) if name)
    return [organization(name) for name in names]


def organization(name: str) -> str:
    """A URI that only the name decides."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])
    return f"http://data.europeana.eu/organization/{number}"


def timestamps(record: Record) -> dict[str, Any]:
    """The four fields of creation and last change."""
    return {
        "timestamp_created": iso(record.created),
        "timestamp_created_epoch": _epoch(record.created),
        "timestamp_update": iso(record.updated),
        "timestamp_update_epoch": _epoch(record.updated),
    }


def some(value: str) -> list[str]:
    """A list of one text, or none."""
    return [value] if value else []


def lang(value: str, language: str = "def") -> dict[str, list[str]]:
    """A language map."""
    return {language: [value]} if value else {}


def without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Empty texts, lists and maps are left out of every reply (contract 1.7)."""
    return {name: value for name, value in fields.items() if value not in ("", [], {}, None)}


def _standard_fields(record: Record) -> dict[str, Any]:
    return {
        "country": ["Europe"],
        "dcLanguage": ["mul"],
        "dcLanguageLangAware": lang("mul"),
        "edmDatasetName": [record.dataset_name],
        "europeanaCollectionName": [record.dataset_name],
        "ugc": [False],
        "completeness": 0,
        "previewNoDistribute": False,
        "index": 0,
        "timestamp": _epoch(record.updated),
        **timestamps(record),
    }


def _epoch(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _shuffled(fields: dict[str, Any], record: Record) -> dict[str, Any]:
    """No client may count on an order of keys (check list 7.1, point 5)."""
    names = list(fields)
    turn = zlib.crc32(record.id.encode()) % len(names)
    return {name: fields[name] for name in (*names[turn:], *names[:turn])}
