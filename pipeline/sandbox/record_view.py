"""The Record API's object tree, its tombstones and its caching rules (Europeana contract 2.2 to 2.4)."""

import hashlib
import html
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from starlette.requests import Request

from pipeline.sandbox.catalogue import Catalogue
from pipeline.sandbox.fields import content_tier, orientation
from pipeline.sandbox.items import ItemView, lang, organization, some, timestamps, without_empty
from pipeline.sandbox.records import Kind, Record, iso


class RecordView:
    """Objects with the addresses of one sandbox."""

    def __init__(self, catalogue: Catalogue, items: ItemView) -> None:
        self._catalogue = catalogue
        self._items = items

    def object(self, record: Record) -> dict[str, Any]:
        """The object tree (contract 2.3)."""
        row = record.row
        year = "" if row.year is None else str(row.year)
        return without_empty(
            {
                "about": record.id,
                "type": "IMAGE",
                "title": some(row.title),
                "year": some(year),
                "provider": some(row.provider),
                "country": ["Europe"],
                "language": ["mul"],
                "edmDatasetName": [record.dataset_name],
                "europeanaCollectionName": [record.dataset_name],
                "europeanaCompleteness": 0,
                **timestamps(record),
                "aggregations": [self._aggregation(record)],
                "europeanaAggregation": self._europeana_aggregation(record),
                "proxies": _proxies(record, year),
                "providedCHOs": [{"about": f"/item{record.id}"}],
                "organizations": _organizations(record),
                "qualityAnnotations": _quality(record),
                "services": self._services(record),
            }
        )

    def _europeana_aggregation(self, record: Record) -> dict[str, Any]:
        return without_empty(
            {
                "about": f"/aggregation/europeana{record.id}",
                "aggregatedCHO": f"/item{record.id}",
                "edmCountry": lang("Europe"),
                "edmLanguage": lang("mul"),
                "edmLandingPage": self._items.landing_page(record),
                "edmPreview": self._items.preview(record),
                "dqvHasQualityAnnotation": [annotation["about"] for annotation in _quality(record)],
            }
        )

    def _aggregation(self, record: Record) -> dict[str, Any]:
        return without_empty(
            {
                "about": f"/aggregation/provider{record.id}",
                "aggregatedCHO": f"/item{record.id}",
                "edmDataProvider": lang(record.row.data_provider),
                "edmProvider": lang(record.row.provider),
                "edmIsShownBy": record.shown_by,
                "edmIsShownAt": record.shown_at,
                "edmObject": record.shown_by,
                "hasView": list(self._catalogue.other_views(record)),
                "edmRights": lang(record.row.rights),
                "edmUgc": "false",
                "edmPreviewNoDistribute": False,
                "webResources": self._web_resources(record),
            }
        )

    def _web_resources(self, record: Record) -> list[dict[str, Any]]:
        """The landing page, then the picture; some records have them the other way round, many pictures, or nothing.

        The technical fields are missing as a block if the file could not be read, or was never processed (2.4).
        """
        page = {"about": record.shown_at, "ebucoreHasMimeType": "text/html", "ebucoreFileByteSize": 0}
        found = [page, *([self._media(record, record.shown_by, record)] if record.shown_by else [])]
        if record.kind is Kind.NO_WEB_RESOURCES:
            return []
        if record.kind is Kind.PICTURE_FIRST:
            found.reverse()
        if record.kind is Kind.MANY_VIEWS:
            views = self._catalogue.other_views(record)
            others = [self._media(record, view, self._catalogue.by_address.get(view)) for view in views]
            found = [found[1], *others]
        snippets = self._attribution(record)
        return [{**resource, **snippets} for resource in found]

    def _services(self, record: Record) -> list[dict[str, Any]]:
        """The IIIF image service of a record that has one; samples S-REC18 have these three fields."""
        if record.kind is not Kind.IMAGE_SERVICE:
            return []
        level = "http://iiif.io/api/image/2/level1.json"
        about = self._items.image_service(record)
        return [{"about": about, "dctermsConformsTo": ["http://iiif.io/api/image"], "doapImplements": [level]}]

    def _media(self, record: Record, address: str, shown: Record | None) -> dict[str, Any]:
        media: dict[str, Any] = {"about": address, "webResourceEdmRights": lang(record.row.rights)}
        if shown and record.kind is not Kind.NOT_PROCESSED and (picture := shown.picture):
            media |= {
                "ebucoreHasMimeType": picture.mime_type,
                "ebucoreFileByteSize": picture.byte_size,
                "ebucoreWidth": picture.width,
                "ebucoreHeight": picture.height,
                "ebucoreOrientation": orientation(picture),
                "edmHasColorSpace": "grayscale" if picture.is_grey else "sRGB",
            }
        if record.kind is Kind.IMAGE_SERVICE:
            media["svcsHasService"] = [self._items.image_service(record)]
        return without_empty(media)

    def _attribution(self, record: Record) -> dict[str, str]:
        row = record.row
        title, holder = (f"{row.title} - {self._items.landing_page(record)}", f"{row.data_provider} - {record.shown_at}")
        terms = (("Title", row.title), ("Creator", row.creator), ("Institution", row.data_provider), ("Rights", row.rights))
        listed = "".join(f"<dt>{name}</dt><dd lang=''>{html.escape(value)}</dd>" for name, value in terms if value)
        return {
            "textAttributionSnippet": ". ".join(filter(None, (title, row.creator, holder, row.rights))),
            "htmlAttributionSnippet": f"<dl class='europeana-attribution' lang='en'>{listed}</dl>",
        }


def tombstone(record: Record, record_id: str) -> dict[str, Any]:
    """What is left of a record that was taken down (contract 2.2)."""
    deleted = record.updated + timedelta(days=1)
    change = {"type": "Delete", "context": "http://data.europeana.eu/vocabulary/depublicationReason/brokenMediaLinks"}
    return {
        "about": record_id,
        "europeanaAggregation": {
            "about": f"/aggregation/europeana{record_id}",
            "aggregatedCHO": f"/item{record_id}",
            "changeLog": [{**change, "endTime": iso(deleted)}],
        },
    }


def cache_headers(record: Record) -> dict[str, str]:
    """A weak ETag over what is published, and the time of the last change (contract 2.2)."""
    row = record.row
    published = (record.id, record.shown_by, row.title, row.creator, row.year, row.provider, row.data_provider, row.rights)
    digest = hashlib.sha256(f"{published!r}{record.updated}".encode()).hexdigest()
    return {
        "ETag": f'W/"{digest}"',
        "Last-Modified": record.updated.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "Cache-Control": "public, max-age=86400",
    }


def is_unchanged(request: Request, record: Record, etag: str) -> bool:
    """Whether the client has this state already; an ETag goes before a date."""
    known = request.headers.get("if-none-match")
    if known is not None:
        return _names(known, etag)
    try:
        since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
        since = since.astimezone(UTC) if since.tzinfo else since.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return False
    return record.updated.replace(microsecond=0) <= since


def is_another(request: Request, etag: str) -> bool:
    """Whether the client asks for a state that this is not."""
    wanted = request.headers.get("if-match")
    return wanted is not None and not _names(wanted, etag)


def _names(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag.removeprefix("W/") in [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _quality(record: Record) -> list[dict[str, Any]]:
    """Tiers as the records of 2023 have them (sample S-REC23)."""
    tiers = {"contentTier": content_tier(record), "metadataTier": "A"}
    return [
        {
            "about": f"/item{record.id}#{name}",
            "created": iso(record.updated),
            "target": [f"/aggregation/provider{record.id}"],
            "body": f"http://www.europeana.eu/schemas/epf/{name}{tier}",
        }
        for name, tier in tiers.items()
    ]


def _organizations(record: Record) -> list[dict[str, Any]]:
    names = dict.fromkeys(name for name in (record.row.data_provider, record.row.provider) if name)
    return [{"about": organization(name), "prefLabel": lang(name, "en")} for name in names]


def _proxies(record: Record, year: str) -> list[dict[str, Any]]:
    """Europeana's own proxy first, then the provider's; only the latter says what the provider said."""
    common = {"proxyFor": f"/item{record.id}", "edmType": "IMAGE"}
    europeana = {
        "about": f"/proxy/europeana{record.id}",
        "proxyIn": [f"/aggregation/europeana{record.id}"],
        "lineage": [f"/proxy/provider{record.id}"],
        "europeanaProxy": True,
        "year": lang(year),
        **common,
    }
    provider = {
        "about": f"/proxy/provider{record.id}",
        "proxyIn": [f"/aggregation/provider{record.id}"],
        "europeanaProxy": False,
        "dcTitle": lang(record.row.title),
        "dcCreator": lang(record.row.creator),
        "dcDate": lang(year),
        "dcLanguage": lang("mul"),
        "dctermsIsPartOf": lang(record.dataset_name),
        "dcIdentifier": lang(record.id.rpartition("/")[2]),
        **common,
    }
    return [without_empty(europeana), without_empty(provider)]
