"""Identifiers: how records, images, runs and annotations are named, and how the names turn into each other."""

import hashlib
import re
import uuid

from pipeline.errors import PermanentError

ITEM_BASE = "http://data.europeana.eu/item"
RECORD_ID = re.compile(r"/[^/\s]+/[^/\s]+")  # of any source
RECORD_OF_EUROPEANA = re.compile(r"/[A-Za-z0-9_]+/[A-Za-z0-9_.~%-]+")
_RECORD_OF_URI = re.compile(
    r"https?://(?:data|www)\.europeana\.eu/(?:[a-z]{2}/)?(?:item|portal/record|portal/[a-z]{2}/record)(/[^/\s?#]+/[^/\s?#]+)"
)
ANNOTATION_BASE = "http://data.europeana.eu/annotation"
_CANONICAL_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:heritage-enrichment:annotation")


def image_id(content: bytes) -> str:
    """SHA-256 of the bytes as received, in hex: the identity of an image."""
    return hashlib.sha256(content).hexdigest()


def dataset_id(record_id: str) -> str:
    """The dataset of a record: `2021650` of `/2021650/abc`."""
    return record_id.split("/")[1]


def item_uri(record_id: str) -> str:
    """The record's URI as an annotation target.

    Raises PermanentError for an id that cannot be one: the platform stores wrong targets without a word and never
    finds them again (annotation contract §5.2), so they are refused here.
    """
    if not is_item(record_id):
        raise PermanentError(f"{record_id!r} is not a Europeana record id, so it cannot be an annotation target")
    return f"{ITEM_BASE}{record_id}"


def record_of(text: str) -> str:
    """`/dataset/local` of a record id or of any URI of the record at Europeana; empty when it is neither."""
    text = text.strip()
    found = _RECORD_OF_URI.match(text)
    if found:
        return found[1].removesuffix(".html")
    return text if RECORD_ID.fullmatch(text) else ""


def is_item(record_id: str) -> bool:
    """Can the record be the target of an annotation on Europeana?"""
    return not record_id.startswith("/with/") and RECORD_OF_EUROPEANA.fullmatch(record_id) is not None


def run_key(run_id: str) -> str:
    """A run id as it may stand in a storage key."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", run_id).strip("-")


def annotation_canonical(record_id: str, concept_uri: str, target: str) -> str:
    """The permanent name of our statement about a record; the same in every run and at every target version."""
    return f"urn:uuid:{uuid.uuid5(_CANONICAL_NAMESPACE, f'{record_id}|{concept_uri}|{target}')}"


def annotation_number(uri: str) -> str:
    """`123` of `http://data.europeana.eu/annotation/123`: what the API's paths want."""
    return uri.rstrip("/").rsplit("/", 1)[-1]
