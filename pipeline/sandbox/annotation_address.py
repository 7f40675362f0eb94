"""Addresses in annotations: what counts as a URL, as an item, as a record id (annotation contract 1, 5.2 and 8.2)."""

import re
from typing import Any
from urllib.parse import urlsplit

ITEM = "http://data.europeana.eu/item"
ANNOTATION_URI = "http://data.europeana.eu/annotation/"
_JAVA_SCHEMES = ("http", "https", "ftp", "file")
_RECORD = re.compile(r"http://data\.europeana\.eu/(?:item|record)(/.+)", re.DOTALL)


def is_url(value: object, schemes: tuple[str, ...] = ("http", "https")) -> bool:
    """Whether a value is an absolute URL of one of the schemes, with a host."""
    if not isinstance(value, str) or value != value.strip() or " " in value:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.netloc or parts.scheme == "file")


def is_java_url(value: object) -> bool:
    """What `java.net.URL` would read: the server's test of a body that is a string (5.3)."""
    return is_url(value, _JAVA_SCHEMES)


def addresses(resource: Any, members: tuple[str, ...]) -> list[str]:
    """All URIs that a body or target stands for."""
    if isinstance(resource, str):
        return [resource]
    if isinstance(resource, list):
        return [uri for value in resource for uri in addresses(value, members)]
    if isinstance(resource, dict):
        return [resource[name] for name in members if isinstance(resource.get(name), str)]
    return []


def record_ids(uris: list[str]) -> list[str]:
    """Everything after `/item` or `/record`, with its slash (8.2)."""
    found = (_RECORD.fullmatch(uri) for uri in uris)
    return [match[1] for match in found if match]
