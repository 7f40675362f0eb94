"""What the Annotation API accepts as an annotation: reading, checking and rebuilding a document.

Annotation contract sections 5 (shapes), 6.3 (rights) and 7.3 (texts). Members that the server does not know are
dropped without a word; an odd text or order here is the real server's.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pipeline.sandbox.catalogue import fold

CONTEXT = "http://www.w3.org/ns/anno.jsonld"
ITEM = "http://data.europeana.eu/item"

_SUPPORTED = ("tagging", "linking", "describing", "transcribing", "translating", "subtitling", "captioning")
_SUPPORTED_MIXED_CASE = {"linkforcontributing": "linkForContributing"}
_KNOWN = (
    "bookmarking",
    "classifying",
    "commenting",
    "editing",
    "identifying",
    "moderating",
    "questioning",
    "replying",
    "highlighting",
)
_CONTEXTS = (
    CONTEXT,
    "http://www.europeana.eu/schemas/context/edm.jsonld",
    "http://www.europeana.eu/schemas/context/entity.jsonld",
)
_WHITELIST = ("data.europeana.eu", "wikidata.org", "dbpedia.org")
_LICENCES = (
    "http://creativecommons.org/publicdomain/zero/",
    "http://creativecommons.org/publicdomain/mark/",
    "http://creativecommons.org/licenses/by/",
    "http://creativecommons.org/licenses/by-sa/",
    "http://creativecommons.org/licenses/by-nd/",
    "http://creativecommons.org/licenses/by-nc-sa/",
    "http://creativecommons.org/licenses/by-nc-nd/",
    "http://rightsstatements.org/vocab/NoC-NC/",
)
_FULL_TEXT_FORMATS = (
    "text/plain",
    "text/html",
    "application/alto+xml",
    'application/alto+xml;version="4.3"',
    "application/vnd.prima.page+xml",
    'application/vnd.prima.page+xml;version="2019-07-15"',
)
_SUBTITLE_FORMATS = ("application/x-subrip", "text/vtt", "application/ttml+xml")
_TEXT_MEMBERS = ("type", "language", "value", "format", "edmRights", "purpose")
_RESOURCE_MEMBERS = ("type", "id", "source", "scope", "purpose", "language", "format", "value", "edmRights")
_TARGET_MEMBERS = ("id", "source", "scope", "purpose", "language", "format", "edmRights")
_AGENT_MEMBERS = ("type", "id", "prefLabel", "placeOfBirth", "placeOfDeath", "dateOfBirth", "dateOfDeath")
_ADDRESS_MEMBERS = ("type", "streetAddress", "postalCode", "postOfficeBox", "locality", "region", "countryName")
_MAX_TAG = 64
_PARSE = "Cannot parse body to annotation!"


class AnnotationRefusal(Exception):
    """The document is not accepted: status and the `error` text of the answer."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class AnnotationDocument:
    """An accepted document: what is kept, and what is found by search.

    `kind` is the plain motivation; `motivation` is stored as it was written, prefix and all.
    """

    kind: str
    motivation: str
    created: int | None
    body: Any
    target: Any
    extras: Mapping[str, Any]
    terms: tuple[tuple[str, str], ...] = field(default=())

    def values(self, name: str) -> list[str]:
        """All values under which the annotation is found in a field."""
        return [value for field_name, value in self.terms if field_name == name]


def read_annotation(content: bytes, *, path_type: str | None = None, role: str = "user") -> AnnotationDocument:
    """Read and check the body of a create or update request.

    `path_type` is the motivation that the path stands for, used when the document has none.
    """
    document = _object(content)
    if not str(document.get("type", "Annotation")).endswith("Annotation"):
        raise AnnotationRefusal(f"{_PARSE} Annotation type not supported! {document['type']}")
    written = document.get("motivation", path_type)
    kind = _kind(written, document)
    target = _target(document.get("target"))
    body = _body(kind, document)
    annotation = AnnotationDocument(
        kind=kind,
        motivation=str(written),
        created=_instant(document.get("created")),
        body=body,
        target=target,
        extras={name: document[name] for name in ("canonical", "via", "equivalentTo") if document.get(name) is not None},
        terms=_terms(kind, body, target),
    )
    _check_agents(document)
    _check_identifier(document)
    _check_extras(annotation.extras)
    _validate(annotation, role)
    return annotation


def _object(content: bytes) -> dict[str, Any]:
    if not content.strip():
        raise AnnotationRefusal(" Required request body is missing")
    try:
        document = json.loads(content)
    except ValueError as error:
        raise AnnotationRefusal(f"{_PARSE} {error}") from error
    if not isinstance(document, dict):
        raise AnnotationRefusal(f"{_PARSE} A JSON object is expected")
    return document


def _kind(written: object, document: Mapping[str, Any]) -> str:
    """The motivation without a prefix; required, known, and one that the server can instantiate."""
    word = written.rpartition(":")[2].lower() if isinstance(written, str) else ""
    if word in _SUPPORTED:
        return word
    if word in _SUPPORTED_MIXED_CASE:
        return _SUPPORTED_MIXED_CASE[word]
    prefix = f"{_PARSE} cannot instantiate Annotation!"
    if word in _KNOWN:
        raise AnnotationRefusal(f"{prefix} Unsupported Annotation/Motivation Type:{word.upper()}:{word}:null")
    raise AnnotationRefusal(
        f"{prefix} Annotation Motivation not provided or invalid!\nmotivation type:null\n"
        f"parsed object: {json.dumps(document, ensure_ascii=False)}"
    )


def _check_identifier(document: Mapping[str, Any]) -> None:
    if document.get("id") is None:
        return
    last = str(document["id"]).rpartition("/")[2]
    if not last.isdigit():
        raise AnnotationRefusal(f'An unexpected server exception occurred! For input string: "{last}"', 500)
    if int(last):
        raise AnnotationRefusal("An error occurred during annotation validation! identifier")


def _check_agents(document: Mapping[str, Any]) -> None:
    """Creator and generator are replaced from the token, and yet read."""
    for name in ("creator", "generator"):
        agent = document.get(name)
        identifier = agent.get("id") if isinstance(agent, dict) else None
        if identifier is not None and not is_url(identifier):
            raise AnnotationRefusal(f"{_PARSE} Invalid {name} id: {identifier}")


def _check_extras(extras: Mapping[str, Any]) -> None:
    canonical = extras.get("canonical")
    if canonical is not None and not (isinstance(canonical, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*:.", canonical)):
        raise AnnotationRefusal("An error occurred during annotation validation! canonical")
    via = extras.get("via", [])
    if not all(is_url(value) for value in (via if isinstance(via, list) else [via])):
        raise AnnotationRefusal("An error occurred during annotation validation! via")


def _instant(text: object) -> int | None:
    """Milliseconds of a written date, whose zone is ignored; None when it cannot be read."""
    try:
        return int(datetime.fromisoformat(str(text)[:19]).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None


def is_url(value: object, schemes: tuple[str, ...] = ("http", "https")) -> bool:
    """Whether a value is an absolute URL of one of the schemes, with a host."""
    if not isinstance(value, str) or value != value.strip() or " " in value:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.netloc)


# Targets


def _target(target: object) -> Any:
    if not target:
        raise AnnotationRefusal(f"{_PARSE} Annotation Target must not be null")
    if isinstance(target, str):
        return target
    if isinstance(target, list) and all(isinstance(value, str) for value in target):
        return target
    if not isinstance(target, dict):
        raise AnnotationRefusal(f"{_PARSE} Cannot instantiate annotation attribute for type: target")
    if "source" in target and not isinstance(target["source"], str):
        raise AnnotationRefusal(f"{_PARSE} Invalid annotation target source")
    return _kept(target, _TARGET_MEMBERS)


def _addresses(resource: Any, members: tuple[str, ...]) -> list[str]:
    """All URIs that a body or target stands for."""
    if isinstance(resource, str):
        return [resource]
    if isinstance(resource, list):
        return [value for value in resource if isinstance(value, str)]
    if isinstance(resource, dict):
        return [resource[name] for name in members if isinstance(resource.get(name), str)]
    return []


def _record_ids(addresses: list[str]) -> list[str]:
    """Everything after `/item` or `/record`, with its slash."""
    found = (re.search(r"^http://data\.europeana\.eu/(?:item|record)(/[^/]+/[^/]+)$", uri) for uri in addresses)
    return [match[1] for match in found if match]


# Bodies


def _body(kind: str, document: Mapping[str, Any]) -> Any:
    # The server walks the members in order, so of two forms of body the later one stays.
    names = [name for name in document if name in ("body", "bodyValue")]
    if not names:
        return None
    body = document[names[-1]]
    if names[-1] == "bodyValue":
        return {"value": str(body), "format": "text/plain"}
    if body is None:
        return None
    if isinstance(body, (str, list)):
        return _uri_body(kind, body)
    if not isinstance(body, dict):
        raise AnnotationRefusal(f"{_PARSE} Invalid representation body={body}")
    if "@context" in body and body["@context"] not in _CONTEXTS:
        raise AnnotationRefusal(f"{_PARSE} Unsupported context: {body['@context']}")
    return _tag_body(body) if kind == "tagging" else _kept(body, ("@graph", *_RESOURCE_MEMBERS))


def _uri_body(kind: str, body: str | list[Any]) -> Any:
    """A body of plain URIs. A list of texts breaks the server, a list of objects is refused."""
    if isinstance(body, list):
        if all(is_url(value, ("http", "https", "ftp", "file")) for value in body):
            return body
        status = 500 if all(isinstance(value, str) for value in body) else 400
        raise AnnotationRefusal(f"{_PARSE} Invalid representation body={json.dumps(body)}", status)
    if not is_url(body, ("http", "https", "ftp", "file")) or kind == "describing":
        raise AnnotationRefusal(
            f'{_PARSE} Invalid representation body="{body}". Text bodies must be formated using TextualBody types!body'
        )
    return body


def _tag_body(body: dict[str, Any]) -> dict[str, Any]:
    """The kinds of tag bodies, told apart in the server's own order (5.3)."""
    if "@graph" in body:
        return _kept(body, ("@graph",))
    match body.get("type"):
        case "Place":
            return _kept(body, ("type", "lat", "long"))
        case "Agent":
            return _kept(body, _AGENT_MEMBERS)
        case "Address":
            return _kept(body, _ADDRESS_MEMBERS)
    if "id" in body or "source" in body:
        return _kept(body, _RESOURCE_MEMBERS)
    if "value" in body:
        return {**_kept(body, _TEXT_MEMBERS), "format": body.get("format", "text/plain")}
    if body.get("type") == "SpecificResource":
        raise AnnotationRefusal("Missing mandatory field! body.source")
    raise AnnotationRefusal(
        f"{_PARSE} Cannot instantiate annotation attribute for type: "
        "Cannot find appropriate body type with MotivationType: TAGGING:tagging:tag"
    )


def _kept(members: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: members[name] for name in names if members.get(name) is not None}


# What search finds


def _terms(kind: str, body: Any, target: Any) -> tuple[tuple[str, str], ...]:
    addresses = _addresses(target, ("scope", "source", "id"))
    terms = [("target_uri", uri) for uri in addresses]
    terms += [("target_record_id", record_id) for record_id in _record_ids(addresses)]
    if kind == "tagging" and body is not None:
        terms += [("body_uri", uri) for uri in _addresses(body, ("id", "source", "scope"))]
    if isinstance(body, dict) and isinstance(body.get("value"), str):
        terms += [("body_value", fold(body["value"])), ("body_language", str(body.get("language", "")))]
    terms += [("scenario", _scenario(kind, body))]
    return tuple(dict.fromkeys(terms))


def _scenario(kind: str, body: Any) -> str:
    if kind == "tagging":
        if isinstance(body, dict) and body.get("type") == "Place":
            return "geoTag"
        if isinstance(body, dict) and body.get("type") in ("Agent", "Address"):
            return "objectLink"
        is_text = isinstance(body, dict) and "value" in body and not {"id", "source"} & set(body)
        return "simpleTag" if is_text else "semanticTag"
    names = {
        "transcribing": "transcription",
        "translating": "translation",
        "subtitling": "subtitle",
        "captioning": "caption",
        "linkForContributing": "contributeLink",
    }
    return names.get(kind, "objectLink")


# Validation


def _validate(annotation: AnnotationDocument, role: str) -> None:
    if annotation.body is None and annotation.kind != "linking":
        raise _missing("body")
    match annotation.kind:
        case "tagging":
            _validate_tag(annotation.body)
        case "linking":
            _validate_target(annotation.target)
            _validate_link(annotation.target)
        case "describing":
            _validate_target(annotation.target)
            _validate_description(annotation.body)
        case "linkForContributing":
            _validate_target(annotation.target)
            _validate_contribution(annotation)
        case _:
            _validate_target(annotation.target)
            _validate_full_text(annotation, role)


def _missing(name: str) -> AnnotationRefusal:
    return AnnotationRefusal(f"Missing mandatory field! {name}")


def _validate_tag(body: Any) -> None:
    if not isinstance(body, dict) or "@graph" in body:
        return
    match body.get("type"):
        case "Place":
            _validate_place(body)
        case "Agent":
            if not body.get("prefLabel"):
                raise _missing("agent.body.prefLabel")
            _check_resource_id(body)
        case "Address":
            for name in ("streetAddress", "locality", "countryName"):
                if not body.get(name):
                    raise _missing(f"tag.body.address.{name}")
        case _ if {"id", "source"} & set(body):
            _validate_resource(body)
        case _:
            _validate_tag_text(body)


def _validate_place(body: dict[str, Any]) -> None:
    for name, label, limit in (("lat", "latitude", 90), ("long", "longitude", 180)):
        if name not in body:
            raise _missing(f"tag.body.{label}")
        try:
            is_valid = abs(float(body[name])) <= limit
        except (TypeError, ValueError):
            is_valid = False
        if not is_valid:
            raise AnnotationRefusal(f"{_PARSE} Invalid values in annotation body! {name}:{body[name]}")


def _validate_resource(body: dict[str, Any]) -> None:
    _check_resource_id(body)
    if body.get("type") == "SpecificResource" and "source" not in body:
        raise _missing("body.source")
    for name in ("source", "scope"):
        if name in body and not is_url(body[name]):
            raise AnnotationRefusal(f"Invalid tag format The source of a SpecificResource must be an URL! body.{name}")


def _check_resource_id(body: dict[str, Any]) -> None:
    if "id" in body and not is_url(body["id"]):
        raise AnnotationRefusal("Invalid tag format The internal id must be an URL! body.httpUri")


def _validate_tag_text(body: dict[str, Any]) -> None:
    """Normalises the text in place: trimmed, without one quotation mark at each end."""
    text = str(body["value"]).strip().removeprefix('"').removesuffix('"').strip()
    body["value"] = text
    if is_url(text):
        raise AnnotationRefusal("Invalid tag format. A tag cant contain URLs! tag.format: {0}")
    size = len(text.encode("utf-16-le")) // 2
    if size > _MAX_TAG:
        raise AnnotationRefusal(f"Invalid tag size. Must be shorter then 64 characters! tag.size: {size}")


def _validate_target(target: Any) -> None:
    if isinstance(target, dict):
        scope = target.get("scope", target.get("source", target.get("id", "")))
        checked = [scope if isinstance(scope, str) else ""]
        if "source" in target and not is_url(target["source"]):
            raise AnnotationRefusal("Invalid annotation target source (must be a url)!")
    else:
        checked = _addresses(target, ())
    if not all(ITEM in uri for uri in checked):
        raise AnnotationRefusal(f"Invalid annotation target base url, which should contain: {ITEM}.")


def _validate_link(target: Any) -> None:
    for uri in _addresses(target, ()):
        host = urlsplit(uri).hostname or ""
        if not any(host == allowed or host.endswith(f".{allowed}") for allowed in _WHITELIST):
            text = "Invalid request. Parameter value not supported or not allowed! target.value:"
            raise AnnotationRefusal(text + uri)


def _validate_description(body: Any) -> None:
    kind = body.get("type") if isinstance(body, dict) else None
    if kind is None or kind == "Text":
        return
    if kind != "TextualBody":
        raise AnnotationRefusal("Missing mandatory field! body.type")
    for name in ("value", "language"):
        if not body.get(name):
            raise _missing(f"tag.body.{name}")


def _validate_contribution(annotation: AnnotationDocument) -> None:
    link = annotation.body.get("id") if isinstance(annotation.body, dict) else annotation.body
    if not is_url(link, ("https",)):
        raise AnnotationRefusal("Invalid request. Parameter value not supported or not allowed! body:" + str(link))
    if isinstance(annotation.target, dict) and {"scope", "source"} & set(annotation.target):
        raise AnnotationRefusal("Invalid request. Parameter value not supported or not allowed! target")


def _validate_full_text(annotation: AnnotationDocument, role: str) -> None:
    """Transcriptions, translations, subtitles and captions; their text itself is not parsed here."""
    body = annotation.body if isinstance(annotation.body, dict) else {}
    for name in ("language", "value", "format"):
        if not body.get(name):
            raise _missing(f"transcription.body.{name}")
    if not body.get("edmRights"):
        raise _missing("body.edmRights")
    if isinstance(annotation.target, dict):
        for name in ("scope", "source"):
            if name not in annotation.target:
                raise _missing(f"transcription.target.{name}")
    is_spoken = annotation.kind in ("subtitling", "captioning")
    if body["format"] not in (_SUBTITLE_FORMATS if is_spoken else _FULL_TEXT_FORMATS):
        text = f"Validation error occurred when validating transcription content: {body['format']}."
        raise AnnotationRefusal(text, 415)
    rights = str(body["edmRights"])
    if role != "publisher" and not (rights.startswith(_LICENCES) and rights.endswith("/")):
        text = "Invalid request. Parameter value not supported or not allowed! body.edmRights:"
        raise AnnotationRefusal(text + rights)
