"""The validation of an annotation that could be read (annotation contract 5.3, 6.3 and 7.3)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.sandbox.annotation_address import addresses, is_url, record_ids
from pipeline.sandbox.annotation_body import is_text_tag
from pipeline.sandbox.annotation_refusal import PARSE, AnnotationRefusal, missing, unsupported
from pipeline.sandbox.annotation_target import check_contribution, check_highlight, check_link, check_target
from pipeline.sandbox.annotation_text_formats import FULL_TEXT_FORMATS, SUBTITLE_FORMATS, InvalidText

WHITELIST = ("data.europeana.eu", "wikidata.org", "dbpedia.org")
# The contract names the sixth BY-ND-NC; Creative Commons itself writes by-nc-nd. Both are taken.
_LICENCES = (
    "http://creativecommons.org/publicdomain/zero/",
    "http://creativecommons.org/publicdomain/mark/",
    "http://creativecommons.org/licenses/by/",
    "http://creativecommons.org/licenses/by-sa/",
    "http://creativecommons.org/licenses/by-nd/",
    "http://creativecommons.org/licenses/by-nc-sa/",
    "http://creativecommons.org/licenses/by-nc-nd/",
    "http://creativecommons.org/licenses/by-nd-nc/",
    "http://rightsstatements.org/vocab/NoC-NC/",
)
_MAX_TAG = 64
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")

# (affiliation, record id) -> whether that body provides the record; None when nobody can tell.
Provides = Callable[[str, str], bool | None]


@dataclass(frozen=True)
class Rules:
    """What depends on who writes, and on the server's lists.

    `is_publisher` takes any licence; so does an `affiliation` that `provides` the record (6.3).
    """

    is_publisher: bool = False
    whitelist: tuple[str, ...] = WHITELIST
    affiliation: str = ""
    provides: Provides | None = None


DEFAULT_RULES = Rules()


def validate(kind: str, body: Any, target: Any, extras: Mapping[str, Any], rules: Rules) -> None:
    """Check a document; the text of a tag is normalised in place."""
    _check_extras(extras)
    if body is None and kind != "linking":
        raise missing("body")
    match kind:
        case "tagging":
            _check_tag(body)
        case "linking":
            check_target(target)
            check_link(target, rules.whitelist)
        case "describing":
            check_target(target)
            _check_description(body)
        case "linkForContributing":
            check_target(target)
            check_contribution(body, target)
        case "highlighting":
            check_highlight(target)
        case _:
            check_target(target)
            _check_full_text(kind, body if isinstance(body, dict) else {}, target, rules)


def _check_extras(extras: Mapping[str, Any]) -> None:
    canonical = extras.get("canonical")
    if canonical is not None and not (isinstance(canonical, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*:.", canonical)):
        raise AnnotationRefusal("An error occurred during annotation validation! canonical")
    via = extras.get("via", [])
    if not all(is_url(value) for value in (via if isinstance(via, list) else [via])):
        raise AnnotationRefusal("An error occurred during annotation validation! via")


def _check_tag(body: Any) -> None:
    if not isinstance(body, dict) or "@graph" in body:
        return
    match body.get("type"):
        case "Place":
            _check_place(body)
        case "Agent":
            if not body.get("prefLabel"):
                raise missing("agent.body.prefLabel")
            _check_resource_id(body)
        case "Address":
            for name in ("streetAddress", "locality", "countryName"):
                if not body.get(name):
                    raise missing(f"tag.body.address.{name}")
        case _ if is_text_tag(body):
            _check_tag_text(body)
        case _:
            _check_resource(body)


def _check_place(body: dict[str, Any]) -> None:
    for name, label, limit in (("lat", "latitude", 90), ("long", "longitude", 180)):
        if name not in body:
            raise missing(f"tag.body.{label}")
        text = str(body[name])
        if not _NUMBER.fullmatch(text) or not abs(float(text)) <= limit:
            raise AnnotationRefusal(f"{PARSE} Invalid values in annotation body! {name}:{text}")


def _check_resource(body: dict[str, Any]) -> None:
    _check_resource_id(body)
    if body.get("type") == "SpecificResource" and "source" not in body:
        raise missing("body.source")
    for name in ("source", "scope"):
        if name in body and not is_url(body[name]):
            raise AnnotationRefusal(f"Invalid tag format The source of a SpecificResource must be an URL! body.{name}")


def _check_resource_id(body: dict[str, Any]) -> None:
    if "id" in body and not is_url(body["id"]):
        raise AnnotationRefusal("Invalid tag format The internal id must be an URL! body.httpUri")


def _check_tag_text(body: dict[str, Any]) -> None:
    """Normalises the text in place: trimmed, without one quotation mark at each end (7.3, below the table)."""
    text = str(body["value"]).strip().removeprefix('"').removesuffix('"').strip()
    body["value"] = text
    if is_url(text):
        raise AnnotationRefusal("Invalid tag format. A tag cant contain URLs! tag.format: {0}")
    size = len(text.encode("utf-16-le")) // 2
    if size > _MAX_TAG:
        raise AnnotationRefusal(f"Invalid tag size. Must be shorter then 64 characters! tag.size: {size}")


def _check_description(body: Any) -> None:
    kind = body.get("type") if isinstance(body, dict) else None
    if kind is None or kind == "Text":
        return
    if kind != "TextualBody":
        raise missing("body.type")
    for name in ("value", "language"):
        if not body.get(name):
            raise missing(f"tag.body.{name}")


def _check_full_text(kind: str, body: dict[str, Any], target: Any, rules: Rules) -> None:
    """Transcriptions, translations, subtitles and captions (5.3, TR and SU/CA)."""
    for name in ("language", "value", "format"):
        if not body.get(name):
            raise missing(f"transcription.body.{name}")
    if isinstance(target, dict):
        for name in ("scope", "source"):
            if name not in target:
                raise missing(f"transcription.target.{name}")
    _check_rights(body.get("edmRights"), target, rules)
    formats = SUBTITLE_FORMATS if kind in ("subtitling", "captioning") else FULL_TEXT_FORMATS
    check = formats.get(body["format"])
    if check is None:
        text = f"Validation error occurred when validating transcription content: {body['format']}."
        raise AnnotationRefusal(text, 415)
    try:
        check(body["value"])
    except InvalidText as error:
        raise AnnotationRefusal(f"Invalid content for the media format: {error}.") from error


def _check_rights(rights: object, target: Any, rules: Rules) -> None:
    """A listed licence, whatever its version; any other from a publisher or from the record's provider (6.3)."""
    if not isinstance(rights, str) or not rights:
        raise missing("body.edmRights")
    if rules.is_publisher or re.sub(r"/\d+(\.\d+)*/$", "/", rights) in _LICENCES:
        return
    if rules.provides and rules.affiliation:
        answers = [rules.provides(rules.affiliation, record) for record in record_ids(addresses(target, ("scope",)))]
        if None in answers:
            raise AnnotationRefusal("Unexpected error when accessing the Search API", 502)
        if answers and all(answers):
            return
    raise unsupported("body.edmRights", rights)
