"""A Record API object → a `Record`: all its images with their own rights and technical metadata (contract §2.3, §2.4)."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.domain.identifiers import RECORD_ID, dataset_id
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.record import MediaFile, Record
from pipeline.domain.rights import rights_category
from pipeline.harvest.parse import STAGE, guarded
from pipeline.harvest.texts import all_texts, clean, first, kind, language_map, merged, stored_url, texts, time, url, year

Json = Mapping[str, Any]


def parse_object(value: Any) -> Record | OutcomeRow:
    """The `object` of a Record API reply as a record; a tombstone, or what cannot be read, is an outcome row."""
    record_id = value.get("about") if isinstance(value, dict) else None
    if isinstance(record_id, str) and RECORD_ID.fullmatch(record_id) and _is_tombstone(value):
        return gone(clean(record_id), "the record was taken down (tombstone)")
    return guarded(value, record_id, _record)


def gone(record_id: str, detail: str) -> OutcomeRow:
    """A record that was there once, or that was asked for and is not there."""
    return OutcomeRow(STAGE, record_id, record_id, Outcome.GONE, Reason.GONE, detail)


def _is_tombstone(value: Json) -> bool:
    """A depublished record has a change log that ends with its deletion; the rest may look like a record's (§2.2)."""
    aggregation = value.get("europeanaAggregation")
    log = aggregation.get("changeLog") if isinstance(aggregation, dict) else None
    last = log[-1] if isinstance(log, list) and log else None
    return isinstance(last, dict) and last.get("type") == "Delete"


def _record(record_id: str, value: Json) -> Record:
    aggregation = _provider_aggregation(value)
    ours = _object(value.get("europeanaAggregation"))
    proxy, europeana_proxy = _proxies(value)
    record_rights = next(iter(all_texts(_map(aggregation, "edmRights"))), "")
    addresses = [*texts(aggregation, "edmIsShownBy"), *texts(aggregation, "hasView")]
    media = _media(aggregation, dict.fromkeys(url(address) for address in addresses), record_rights)
    titles, descriptions = _map(proxy, "dcTitle"), _map(proxy, "dcDescription")
    shown_title = texts(value, "title") or all_texts(titles) or all_texts(descriptions)
    creator_names = _map(proxy, "dcCreator")
    concepts = list(_objects(value, "concepts"))
    years = [*texts(value, "year"), *all_texts(_map(europeana_proxy, "year")), *all_texts(_map(proxy, "year"))]
    preview = stored_url(first(ours, "edmPreview"))
    return Record(
        record_id=record_id,
        dataset_id=dataset_id(record_id),
        title=shown_title[0] if shown_title else "",
        titles=titles,
        descriptions=descriptions,
        creators=tuple(all_texts(creator_names)),
        creator_names=creator_names,
        subjects=_map(proxy, "dcSubject"),
        types=_map(proxy, "dcType"),
        year=year(years),
        media_type=kind(value.get("type") or proxy.get("edmType")),
        concept_uris=tuple(dict.fromkeys(url(about) for concept in concepts if (about := first(concept, "about")))),
        concept_labels=merged(_map(concept, "prefLabel") for concept in concepts),
        provider=_organization(value, aggregation, "edmProvider", first(value, "provider")),
        data_provider=_organization(value, aggregation, "edmDataProvider"),
        dataset_name=first(value, "edmDatasetName") or first(value, "europeanaCollectionName"),
        country=first(value, "country") or next(iter(all_texts(_map(ours, "edmCountry"))), ""),
        languages=tuple(texts(value, "language") or all_texts(_map(ours, "edmLanguage"))),
        rights=media[0].rights if media else record_rights,
        rights_category=rights_category(media[0].rights if media else record_rights),
        record_rights=record_rights,
        image_url=media[0].url if media else None,
        image_urls=tuple(file.url for file in media),
        media=media,
        thumbnail_url=preview or (url(shown) if (shown := first(aggregation, "edmObject")) else None),
        landing_url=url(landing) if (landing := first(aggregation, "edmIsShownAt")) else None,
        updated_at=time(value.get("timestamp_update")),
    )


def _media(aggregation: Json, addresses: Mapping[str, None], record_rights: str) -> tuple[MediaFile, ...]:
    """A file for each image address; its web resource is found by the address, never by its place in the list."""
    resources = {url(about): one for one in _objects(aggregation, "webResources") if (about := first(one, "about"))}
    files = []
    for address in addresses:
        resource = resources.get(address, {})
        rights = next(iter(all_texts(_map(resource, "webResourceEdmRights"))), "") or record_rights
        files.append(
            MediaFile(
                url=address,
                rights=rights,
                rights_category=rights_category(rights),
                mime=first(resource, "ebucoreHasMimeType") or None,
                width_px=_number(resource.get("ebucoreWidth")),
                height_px=_number(resource.get("ebucoreHeight")),
                size_bytes=_number(resource.get("ebucoreFileByteSize"), most=2**53),
                iiif_service=_service(resource),
            )
        )
    return tuple(files)


def _service(resource: Json) -> str | None:
    """The IIIF image service; old records have objects where new ones have addresses."""
    value = resource.get("svcsHasService")
    one = value[0] if isinstance(value, list) and value else value
    address = one.get("about") if isinstance(one, dict) else one
    return url(address) if isinstance(address, str) and address.strip() else None


def _number(value: Any, most: int = 2**31 - 1) -> int | None:
    """A positive whole number; 0 stands for unknown."""
    if isinstance(value, str) and value.strip().isdecimal() and value.isascii():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most else None


def _provider_aggregation(value: Json) -> Json:
    """The data provider's: the one that says where the object is shown."""
    found = list(_objects(value, "aggregations"))
    return next((one for one in found if one.get("edmIsShownBy") or one.get("edmIsShownAt")), found[0] if found else {})


def _proxies(value: Json) -> tuple[Json, Json]:
    """The data provider's own proxy and Europeana's. Their order differs by age; an aggregator's has a lineage (§2.3)."""
    found = list(_objects(value, "proxies"))
    ours = next((one for one in found if one.get("europeanaProxy") is True), {})
    others = [one for one in found if one.get("europeanaProxy") is not True]
    candidates = [one for one in others if not one.get("lineage")] or others or [ours]
    return next((one for one in candidates if one.get("edmType")), candidates[0]), ours


def _organization(value: Json, aggregation: Json, name: str, known: str = "") -> str:
    """A provider's name; since 2023 the aggregation has its URI, and the name stands among the organizations."""
    named = next(iter(all_texts(_map(aggregation, name))), "")
    if not named.startswith(("http://", "https://")):
        return named or known
    for organization in _objects(value, "organizations"):
        if first(organization, "about") == named:
            labels = _map(organization, "prefLabel")
            return next(iter(labels.get("en", []) or all_texts(labels)), known or named)
    return known or named


def _map(item: Json, name: str) -> dict[str, list[str]]:
    """A language map; a bare text or list counts as one without a language."""
    value = item.get(name)
    if value is None or isinstance(value, dict):
        return language_map(item, name)
    found = texts(item, name)
    return {"def": found} if found else {}


def _objects(value: Json, name: str) -> Iterator[Json]:
    found = value.get(name)
    yield from (one for one in (found if isinstance(found, list) else []) if isinstance(one, dict))


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
