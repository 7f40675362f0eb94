"""Values of API replies, cleaned: trimmed texts, language maps, addresses without keys."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

# Keys travel in parameters, also percent-encoded ones, and in the path of the old portal's redirects.
_KEY_PARAMETER = re.compile(
    r"(?i)((?:[?&;#]|%(?:25)*(?:3F|26|3B|23))(?:wskey|apikey|api_key|utm_campaign)(?:=|%(?:25)*3D))(?:(?!%(?:25)*(?:26|23))[^&;#/])*"
)
_KEY_IN_PATH = re.compile(r"(?i)(/api/)[^/?#]+(?=/redirect)")  # the portal's own, whatever its host was called
_MAY_HOLD_KEY = re.compile(r"[kK][eE][yY]|[cC][aA][mM][pP][aA]|/redirect")  # quick to see that there is none
_URI_PARAMETER = re.compile(r"[?&]uri=([^&#]*)")
_SURROGATES = re.compile("[\ud800-\udfff]")
_KEY_FIELDS = frozenset({"apikey", "api_key", "wskey", "guid", "link"})


def clean(value: Any) -> str:
    """Trimmed, and without half characters, which JSON can hold but UTF-8 cannot."""
    text = value if isinstance(value, str) else str(value)
    return (text if text.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)).strip()


def kind(value: Any) -> str:
    """A field that is one text; TypeError for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not a {type(value).__name__}")
    return clean(value)


def without_keys(text: str) -> str:
    """A message without the value of any key parameter in it."""
    return url(clean(text))


def texts(item: Mapping[str, Any], name: str) -> list[str]:
    """A field as a list of texts; TypeError when it holds something else."""
    value = item.get(name)
    if value is None:
        return []
    if type(value) is list and len(value) == 1 and type(value[0]) is str:  # what nearly all fields are
        return [cleaned] if (cleaned := clean(value[0])) else []
    if isinstance(value, str):  # old replies have bare strings where new ones have lists
        value = [value]
    if not isinstance(value, list):
        raise TypeError(f"{name} is a {type(value).__name__}, not a list")
    found = []
    for text in value:
        if isinstance(text, dict | list):
            raise TypeError(f"{name} holds objects where texts should be")
        if text is not None and (cleaned := clean(text)):
            found.append(cleaned)
    return found


def first(item: Mapping[str, Any], name: str) -> str:
    """The first text of a field, or an empty one."""
    return next(iter(texts(item, name)), "")


def language_map(item: Mapping[str, Any], name: str) -> dict[str, list[str]]:
    """A field that holds a language map, every language kept, in stable order; empty where it is absent."""
    value = item.get(name)
    if not isinstance(value, dict):
        return {}
    return {url(clean(language)): found for language in sorted(value) if (found := texts(value, language))}


def all_texts(by_language: Mapping[str, list[str]]) -> list[str]:
    """The texts of all languages, each once."""
    return list(dict.fromkeys(text for found in by_language.values() for text in found))


def merged(maps: Iterable[Mapping[str, list[str]]]) -> dict[str, list[str]]:
    """Language maps as one, each text once a language."""
    together: dict[str, dict[str, None]] = {}
    for one in maps:
        for language, found in one.items():
            together.setdefault(language, {}).update(dict.fromkeys(found))
    return {language: list(together[language]) for language in sorted(together)}


def year(values: Iterable[str]) -> int | None:
    """The first value that is a whole number of at most four digits."""
    return next((int(value) for value in values if re.fullmatch(r"-?\d{1,4}", value)), None)


def time(value: Any) -> datetime | None:
    """An ISO time in UTC; ValueError for a text that is none."""
    return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(UTC) if isinstance(value, str) else None


def url(address: str) -> str:
    """The address without any API key: landing pages of old records carry one."""
    address = clean(address)
    if not _MAY_HOLD_KEY.search(address):
        return address
    return _KEY_IN_PATH.sub(r"\1-", _KEY_PARAMETER.sub(r"\1", address))


def stored_url(preview: str) -> str | None:
    """The media address inside an `edmPreview`: thumbnails are stored under it, not under isShownBy (contract §3.1)."""
    if not preview:
        return None
    found = _URI_PARAMETER.search(preview)
    return url(unquote_plus(found.group(1), errors="replace")) if found and found.group(1) else url(preview)


def raw_json(value: Any) -> str:
    """A value as JSON to be kept, without the fields and parameters that carry a key."""
    return json.dumps(_without_keys(value), ensure_ascii=False)


def _without_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {url(clean(name)): _without_keys(inner) for name, inner in value.items() if name.lower() not in _KEY_FIELDS}
    if isinstance(value, list):
        return [_without_keys(inner) for inner in value]
    return url(clean(value)) if isinstance(value, str) else value
