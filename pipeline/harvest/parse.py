"""A Search API item → a `Record`, or an outcome row that says why not (search contract §1.8)."""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.domain.identifiers import RECORD_ID, dataset_id
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.record import MediaFile, Record
from pipeline.domain.rights import rights_category
from pipeline.harvest.texts import (
    all_texts,
    clean,
    first,
    kind,
    language_map,
    raw_json,
    stored_url,
    texts,
    time,
    url,
    without_keys,
    year,
)

STAGE = "harvest"
_UNREADABLE = (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError)


def parse_item(item: Any) -> Record | OutcomeRow:
    """One search hit as a record. Never raises: what cannot be read becomes an outcome row that keeps it."""
    return guarded(item, item.get("id") if isinstance(item, dict) else None, _record)


def guarded(value: Any, record_id: Any, read: Callable[[str, Any], Record]) -> Record | OutcomeRow:
    """What `read` makes of a value, or the row that says why it could not."""
    if not isinstance(record_id, str) or not RECORD_ID.fullmatch(record_id) or clean(record_id) != record_id:
        return unreadable(value, record_id, Reason.MISSING_FIELD, "there is no id of the form /dataset/local")
    try:
        return read(record_id, value)
    except _UNREADABLE as error:
        # The type alone may be enough to find it in `raw`; the message may quote the reply.
        return unreadable(value, record_id, Reason.UNPARSEABLE, without_keys(f"{type(error).__name__}: {error}"))


def unreadable(value: Any, record_id: Any, reason: Reason, detail: str) -> OutcomeRow:
    """A row for something that is no record; the thing itself is kept as JSON, without keys."""
    known = url(clean(record_id)) if isinstance(record_id, str) else None
    try:
        raw = raw_json(value)
    except RecursionError:
        raw = None
    return OutcomeRow(STAGE, known or "unknown", known, Outcome.REJECTED, reason, detail, raw=raw)


def media_files(addresses: Mapping[str, None], rights: str) -> tuple[MediaFile, ...]:
    """Files about which no more is known than their address: the record's rights hold for them."""
    category = rights_category(rights)
    return tuple(MediaFile(address, rights, category) for address in addresses)


def _record(record_id: str, item: Mapping[str, Any]) -> Record:
    titles = _by_language(item, "dcTitle", "title")
    descriptions = _by_language(item, "dcDescription", "dcDescription")
    shown_title = texts(item, "title") or all_texts(titles)
    rights = first(item, "rights")
    addresses = dict.fromkeys(url(address) for address in texts(item, "edmIsShownBy"))
    return Record(
        record_id=record_id,
        dataset_id=dataset_id(record_id),
        title=shown_title[0] if shown_title else "",
        titles=titles,
        descriptions=descriptions,
        creators=tuple(dict.fromkeys(texts(item, "dcCreator"))),
        creator_names=_by_language(item, "dcCreator", "dcCreator"),
        subjects=language_map(item, "dcSubjectLangAware"),
        types=language_map(item, "dcTypeLangAware"),
        year=year(texts(item, "year")),
        media_type=kind(item.get("type")),
        concept_uris=tuple(dict.fromkeys(map(url, texts(item, "edmConcept")))),
        concept_labels=language_map(item, "edmConceptPrefLabelLangAware"),
        provider=first(item, "provider"),
        data_provider=first(item, "dataProvider"),
        dataset_name=first(item, "edmDatasetName") or first(item, "europeanaCollectionName"),
        country=first(item, "country"),
        languages=tuple(texts(item, "language")),
        rights=rights,
        rights_category=rights_category(rights),
        record_rights=rights,
        image_url=next(iter(addresses), None),
        image_urls=tuple(addresses),
        media=media_files(addresses, rights),
        thumbnail_url=stored_url(first(item, "edmPreview")),
        landing_url=url(landing) if (landing := first(item, "edmIsShownAt")) else None,
        updated_at=time(item.get("timestamp_update")),
    )


def _by_language(item: Mapping[str, Any], name: str, plain: str) -> dict[str, list[str]]:
    """`<name>LangAware`, every language kept; a record without it keeps the plain texts under `def`."""
    value = item.get(f"{name}LangAware")
    if isinstance(value, dict):
        return language_map(item, f"{name}LangAware")
    found = texts(item, plain)
    if plain == "title" and found == texts(item, "dcDescription"):
        return {}  # a record without a title is shown under its description (§1.8)
    return {"def": found} if found else {}
