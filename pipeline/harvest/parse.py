"""A Search API item → a `Record`, or an outcome row that says why not (search contract §1.8)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pipeline.domain.identifiers import dataset_id
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.record import Record
from pipeline.domain.rights import rights_category

RECORD_ID = re.compile(r"/[^/\s]+/[^/\s]+")
# Keys travel in parameters, also percent-encoded ones, and in the path of the old portal's redirects.
_KEY_PARAMETER = re.compile(
    r"(?i)((?:[?&;#]|%3F|%26|%3B|%23)(?:wskey|apikey|api_key|utm_campaign)(?:=|%3D))(?:(?!%26|%23)[^&;#])*"
)
_KEY_IN_PATH = re.compile(r"(?i)(europeana\.eu/api/)[^/?#]+(?=/redirect)")
_SURROGATES = re.compile("[\ud800-\udfff]")


def parse_item(item: Any) -> Record | OutcomeRow:
    """One search hit as a record. Never raises: what cannot be read becomes an outcome row."""
    record_id = item.get("id") if isinstance(item, dict) else None
    if not isinstance(record_id, str) or not RECORD_ID.fullmatch(record_id):
        return _rejected(record_id, Reason.MISSING_FIELD, "the item has no id of the form /dataset/local")
    try:
        return _record(record_id, item)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        return _rejected(record_id, Reason.UNPARSEABLE, f"{type(error).__name__}: {error}")


def _record(record_id: str, item: Mapping[str, Any]) -> Record:
    titles, descriptions = _by_language(item, "dcTitle"), _by_language(item, "dcDescription")
    shown_title = _texts(item, "title") or [text for texts in titles.values() for text in texts]
    rights = _first(item, "rights") or ""
    image_urls = tuple(dict.fromkeys(_url(url) for url in _texts(item, "edmIsShownBy")))
    return Record(
        record_id=record_id,
        dataset_id=dataset_id(record_id),
        title=shown_title[0] if shown_title else "",
        titles=titles,
        descriptions=descriptions,
        creators=tuple(_texts(item, "dcCreator")),
        year=_year(_texts(item, "year")),
        media_type=_text(item.get("type") or ""),
        concept_uris=tuple(_texts(item, "edmConcept")),
        provider=_first(item, "provider") or "",
        data_provider=_first(item, "dataProvider") or "",
        country=_first(item, "country") or "",
        languages=tuple(_texts(item, "language")),
        rights=rights,
        rights_category=rights_category(rights),
        image_url=image_urls[0] if image_urls else None,
        image_urls=image_urls,
        thumbnail_url=_stored_url(_first(item, "edmPreview")),
        landing_url=_url(landing) if (landing := _first(item, "edmIsShownAt")) else None,
        updated_at=_time(item.get("timestamp_update")),
    )


def _texts(item: Mapping[str, Any], name: str) -> list[str]:
    value = item.get(name)
    if value is None:
        return []
    if isinstance(value, str):  # old replies have bare strings where new ones have lists
        value = [value]
    if not isinstance(value, list):
        raise TypeError(f"{name} is a {type(value).__name__}, not a list")
    if any(isinstance(text, dict | list) for text in value):
        raise TypeError(f"{name} holds objects where texts should be")
    return [cleaned for text in value if text is not None and (cleaned := _text(text))]


def _text(value: Any) -> str:
    """Trimmed, and without half characters, which JSON can hold but UTF-8 cannot."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", str(value)).strip()


def _first(item: Mapping[str, Any], name: str) -> str | None:
    return next(iter(_texts(item, name)), None)


def _by_language(item: Mapping[str, Any], name: str) -> dict[str, list[str]]:
    """`<name>LangAware`, every language kept; a record without it keeps the plain texts under `def`."""
    value = item.get(f"{name}LangAware")
    if isinstance(value, dict):
        return {language: _texts(value, language) for language in sorted(value)}
    plain = _texts(item, "title" if name == "dcTitle" else name)
    return {"def": plain} if plain else {}


def _year(values: list[str]) -> int | None:
    return next((int(value) for value in values if re.fullmatch(r"-?\d{1,4}", value.strip())), None)


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(UTC) if isinstance(value, str) else None


def _url(url: str) -> str:
    """The URL without any API key: landing pages of old records carry one."""
    return _KEY_IN_PATH.sub(r"\1-", _KEY_PARAMETER.sub(r"\1", url.strip()))


def _stored_url(preview: str | None) -> str | None:
    """The media URL inside an `edmPreview` address: thumbnails are stored under it, not under isShownBy (§3.1)."""
    if not preview:
        return None
    return _url(parse_qs(urlsplit(preview).query).get("uri", [preview])[0])


def _rejected(record_id: Any, reason: Reason, detail: str) -> OutcomeRow:
    known = record_id if isinstance(record_id, str) else None
    return OutcomeRow(
        stage="harvest", input_id=known or "unknown", record_id=known, outcome=Outcome.REJECTED, reason=reason, detail=detail
    )
