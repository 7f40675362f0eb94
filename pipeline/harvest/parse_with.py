"""A record of WITH → a `Record` (WITH contract §2.4, §2.7)."""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.domain.identifiers import RECORD_ID, dataset_id
from pipeline.domain.outcome import OutcomeRow
from pipeline.domain.record import MediaFile, Record
from pipeline.domain.rights import rights_category
from pipeline.harvest.parse import guarded
from pipeline.harvest.texts import all_texts, clean, first, kind, language_map, stored_url, texts, url, year

# What a right is called there when the original statement is not given (§2.4).
_RIGHTS = {
    "Public": "http://creativecommons.org/publicdomain/mark/1.0/",
    "PublicCC0": "http://creativecommons.org/publicdomain/zero/1.0/",
    "Creative_BY": "http://creativecommons.org/licenses/by/4.0/",
    "Creative_BY_SA": "http://creativecommons.org/licenses/by-sa/4.0/",
    "Creative_BY_ND": "http://creativecommons.org/licenses/by-nd/4.0/",
    "Creative_BY_NC": "http://creativecommons.org/licenses/by-nc/4.0/",
    "Creative_BY_NC_SA": "http://creativecommons.org/licenses/by-nc-sa/4.0/",
    "Creative_BY_NC_ND": "http://creativecommons.org/licenses/by-nc-nd/4.0/",
    "InC": "http://rightsstatements.org/vocab/InC/1.0/",
    "InC_EDU": "http://rightsstatements.org/vocab/InC-EDU/1.0/",
    "NoC_NC": "http://rightsstatements.org/vocab/NoC-NC/1.0/",
    "CNE": "http://rightsstatements.org/vocab/CNE/1.0/",
}


def parse_with_record(value: Any) -> Record | OutcomeRow:
    """One record of WITH. Its id is Europeana's where it came from there, else `/with/<dbId>`."""
    return guarded(value, with_record_id(value), _record)


def with_record_id(value: Any) -> str | None:
    """`/dataset/local`, or `/with/<dbId>`, or None when there is neither."""
    if not isinstance(value, dict):
        return None
    administrative = value.get("administrative")
    external = administrative.get("externalId") if isinstance(administrative, dict) else None
    last = value["provenance"][-1] if isinstance(value.get("provenance"), list) and value["provenance"] else None
    from_europeana = isinstance(last, dict) and last.get("provider") == "Europeana"
    # Other sources have ids of their own that may look the same.
    candidates = [last.get("resourceId"), external] if isinstance(last, dict) and from_europeana else []
    candidates += [external] if last is None else []
    for one in candidates:
        if isinstance(one, str) and RECORD_ID.fullmatch(one):
            return one
    db_id = value.get("dbId")
    return f"/with/{db_id}" if isinstance(db_id, str) and re.fullmatch(r"[^/\s]+", db_id) else None


def _record(record_id: str, value: Mapping[str, Any]) -> Record:
    described = value.get("descriptiveData")
    described = described if isinstance(described, dict) else {}
    holders = [first(one, "provider") for one in value.get("provenance") or [] if isinstance(one, dict)]
    titles, creator_names = language_map(described, "label"), language_map(described, "dccreator")
    originals = [one for one in value.get("media") or [] if _address(one, "Original")]
    files = [_file(one["Original"]) for one in originals]
    media = tuple({file.url: file for file in reversed(files)}.values())[::-1]  # each address once, the first one counts
    thumbnails = [one["Thumbnail"]["url"] for one in value.get("media") or [] if _address(one, "Thumbnail")]
    keywords = described.get("keywords")
    dates = [str(one["year"]) for one in described.get("dates") or [] if isinstance(one, dict) and one.get("year") is not None]
    return Record(
        record_id=record_id,
        dataset_id=dataset_id(record_id),
        title=next(iter(titles.get("default", []) or all_texts(titles)), ""),
        titles=titles,
        descriptions=language_map(described, "description"),
        creators=tuple(all_texts(creator_names)),
        creator_names=creator_names,
        subjects={language: found for language, found in language_map(described, "keywords").items() if language != "uri"},
        types=language_map(described, "dctype"),
        year=year(dates),
        media_type=next((kind(one["Original"].get("type")) for one in originals), ""),
        # Keywords that came with an address have it under the pseudo language `uri` (§2.6).
        concept_uris=tuple(dict.fromkeys(texts(keywords, "uri"))) if isinstance(keywords, dict) else (),
        provider=holders[1] if len(holders) > 2 else "",
        data_provider=holders[0] if holders and holders != ["Europeana"] else "",
        country=next(iter(all_texts(language_map(described, "country"))), ""),
        languages=tuple(language for language in titles if len(language) == 2),
        rights=media[0].rights if media else "",
        rights_category=rights_category(media[0].rights if media else ""),
        record_rights=media[0].rights if media else "",
        image_url=media[0].url if media else None,
        image_urls=tuple(dict.fromkeys(file.url for file in media)),
        media=media,
        thumbnail_url=stored_url(thumbnails[0]) if thumbnails else None,
        landing_url=url(landing) if (landing := first(described, "isShownAt")) else None,
    )


def _address(media: Any, version: str) -> bool:
    """Does a version of an embedded medium have an address?"""
    one = media.get(version) if isinstance(media, dict) else None
    return isinstance(one, dict) and isinstance(one.get("url"), str) and bool(one["url"].strip())


def _file(original: Mapping[str, Any]) -> MediaFile:
    statement = original.get("originalRights")
    rights = first(statement, "uri") if isinstance(statement, dict) else ""
    rights = rights or _RIGHTS.get(clean(original.get("withRights") or ""), "")
    return MediaFile(
        url=url(original["url"]),
        rights=rights,
        rights_category=rights_category(rights),
        mime=first(original, "mimeType") or None,
        width_px=_pixels(original.get("width")),
        height_px=_pixels(original.get("height")),
    )


def _pixels(value: Any) -> int | None:
    """A measured side; 0 stands for unknown there."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None
