"""A record as harvested: the fields that later stages and people need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class MediaFile:
    """One file of a record. What was measured at ingestion is None where nobody measured: unknown, often broken."""

    url: str
    rights: str = ""
    rights_category: str = "unknown"
    mime: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    size_bytes: int | None = None
    iiif_service: str | None = None


@dataclass(frozen=True)
class Record:
    """One record. The maps keep every language; `title` is the one to show.

    `rights` is the statement about `image_url`: the file's own where there is one, else the record's (`record_rights`).
    `image_urls` begins with `image_url`; `media` has an entry for each of them, in the same order.
    """

    record_id: str
    dataset_id: str
    title: str
    titles: Mapping[str, list[str]] = field(default_factory=dict)
    descriptions: Mapping[str, list[str]] = field(default_factory=dict)
    creators: tuple[str, ...] = ()
    creator_names: Mapping[str, list[str]] = field(default_factory=dict)
    subjects: Mapping[str, list[str]] = field(default_factory=dict)
    types: Mapping[str, list[str]] = field(default_factory=dict)
    year: int | None = None
    media_type: str = ""
    concept_uris: tuple[str, ...] = ()
    concept_labels: Mapping[str, list[str]] = field(default_factory=dict)
    provider: str = ""
    data_provider: str = ""
    dataset_name: str = ""
    country: str = ""
    languages: tuple[str, ...] = ()
    rights: str = ""
    rights_category: str = "unknown"
    record_rights: str = ""
    image_url: str | None = None
    image_urls: tuple[str, ...] = ()
    media: tuple[MediaFile, ...] = ()
    thumbnail_url: str | None = None
    landing_url: str | None = None
    updated_at: datetime | None = None
