"""A record as harvested: the fields that later stages and people need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Record:
    """One record. `titles` and `descriptions` keep every language; `title` is the one to show."""

    record_id: str
    dataset_id: str
    title: str
    titles: Mapping[str, list[str]] = field(default_factory=dict)
    descriptions: Mapping[str, list[str]] = field(default_factory=dict)
    creators: tuple[str, ...] = ()
    year: int | None = None
    media_type: str = ""
    concept_uris: tuple[str, ...] = ()
    provider: str = ""
    data_provider: str = ""
    country: str = ""
    languages: tuple[str, ...] = ()
    rights: str = ""
    rights_category: str = "unknown"
    image_url: str | None = None
    image_urls: tuple[str, ...] = ()
    thumbnail_url: str | None = None
    landing_url: str | None = None
    updated_at: datetime | None = None
