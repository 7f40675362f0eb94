"""Which addresses of a record are visited, in which order, and as what: original, IIIF rendition, Europeana's thumbnail."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pipeline.domain.identifiers import is_item

ALTERNATIVES = 3  # further images of a record that are tried when the first one fails
IIIF_MARGIN = 2  # a rendition is asked for at twice the side that is kept, so that nothing can be seen of it


class FetchedAs(StrEnum):
    """What the bytes are, beside the provider's own file."""

    ORIGINAL = "original"
    IIIF = "iiif"  # a smaller rendition by the provider's IIIF image service
    THUMBNAIL = "thumbnail"  # Europeana's, 400 px wide (thumbnail API v3)


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a record. `url` names the image, `visited` is where its bytes come from."""

    url: str
    visited: str
    fetched_as: FetchedAs
    position: int
    rights: str
    rights_category: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def address_from_json(value: Mapping[str, Any]) -> Address:
    """Read back what `to_json` wrote; what thousands of addresses have in common is there once."""
    url, visited = value["url"], value["visited"]
    return Address(
        url,
        url if visited == url else visited,
        FetchedAs(value["fetched_as"]),
        value["position"],
        sys.intern(value["rights"]),
        sys.intern(value["rights_category"]),
    )


def addresses_of(
    record: Mapping[str, Any], *, most: int, side_px: int, rights: Sequence[str], iiif: bool, thumbnails: str
) -> list[Address]:
    """A record's addresses in the order of preference, at most `most` images of it; of `rights`, when any are named.

    The last one of a Europeana record is its thumbnail, where `thumbnails` names the API that has them. Columns: those of
    `records`.
    """
    found: list[Address] = []
    files = {file["url"]: file for file in record["media"] or ()}
    urls = list(dict.fromkeys([record["image_url"], *(record["image_urls"] or ())]))
    for position, url in enumerate(urls):
        file = files.get(url, {})
        said = file if file.get("rights") else record
        own = (said["rights"], said["rights_category"])
        if position and rights and own[1] not in rights:
            continue
        if len({address.url for address in found}) >= most:
            break
        if iiif and (rendition := _rendition(file, side_px)):
            found.append(Address(url, rendition, FetchedAs.IIIF, position, *own))
        found.append(Address(url, url, FetchedAs.ORIGINAL, position, *own))
    stored = record["thumbnail_url"] or record["image_url"]
    if thumbnails and is_item(record["record_id"]) and stored.startswith(("http://", "https://", "ftp://", "urn:")):
        thumbnail = thumbnail_v3(stored, thumbnails)
        found.append(Address(thumbnail, thumbnail, FetchedAs.THUMBNAIL, len(urls), record["rights"], record["rights_category"]))
    return found


def _rendition(file: Mapping[str, Any], side_px: int) -> str | None:
    """The file at a bounded size, where an image service is known and the file is larger (IIIF Image API, `!w,h`)."""
    side = IIIF_MARGIN * side_px
    service = (file.get("iiif_service") or "").rstrip("/")
    known = file.get("width_px") and file.get("height_px")
    if not service.startswith(("http://", "https://")) or (known and max(file["width_px"], file["height_px"]) <= side):
        return None
    return f"{service}/full/!{side},{side}/0/default.jpg"


def thumbnail_v3(stored: str, api_url: str) -> str:
    """Europeana's thumbnail of a media file, 400 px: v3 answers 404 where v2 sends an icon with 200.

    The key is the MD5 of the very address that Europeana stored (search contract §3.1); no API key is needed.
    """
    digest = hashlib.md5(stored.encode(), usedforsecurity=False).hexdigest()
    return f"{api_url.rstrip('/')}/thumbnail/v3/400/{digest}"
