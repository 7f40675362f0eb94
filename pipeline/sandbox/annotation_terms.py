"""Under which fields and values the search index finds an annotation (annotation contract 8.2)."""

from typing import Any

from pipeline.sandbox.annotation_address import addresses, record_ids
from pipeline.sandbox.annotation_body import is_text_tag
from pipeline.sandbox.annotation_words import words

TEXT = "body_value."
_SCENARIOS = {
    "transcribing": "transcription",
    "translating": "translation",
    "subtitling": "subtitle",
    "captioning": "caption",
    "linkForContributing": "contributeLink",
    "highlighting": "debias",
}

Terms = tuple[tuple[str, str], ...]


def search_terms(kind: str, body: Any, target: Any) -> Terms:
    """Pairs of field and value. Text stands as stemmed words in `body_value.<language>`."""
    uris = addresses(target, ("scope", "source", "id"))
    terms = [("target_uri", uri) for uri in uris]
    terms += [("target_record_id", record_id) for record_id in record_ids(uris)]
    scenario = _scenario(kind, body)
    terms.append(("scenario", scenario))
    if scenario in ("semanticTag", "debias"):
        terms += [("body_uri", uri) for uri in addresses(body, ("id", "source", "scope"))]
    if isinstance(body, dict):
        if isinstance(body.get("value"), str):
            terms.append((f"{TEXT}{body.get('language', '')}", words(body["value"])))
        terms += _link_terms(body.get("@graph"))
    return tuple(dict.fromkeys(terms))


def _link_terms(graph: object) -> list[tuple[str, str]]:
    """The relation of a typed link, and what it leads to (5.3, L2)."""
    terms: list[tuple[str, str]] = []
    for name, value in graph.items() if isinstance(graph, dict) else ():
        if name in ("@context", "id"):
            continue
        terms.append(("link_relation", name))
        terms += [("link_resource_uri", uri) for uri in addresses(value, ("id",))]
    return terms


def _scenario(kind: str, body: Any) -> str:
    if kind != "tagging":
        return _SCENARIOS.get(kind, "objectLink")
    if isinstance(body, dict):
        if body.get("type") == "Place":
            return "geoTag"
        if body.get("type") in ("Agent", "Address") or "@graph" in body:
            return "objectLink"
    return "simpleTag" if is_text_tag(body) else "semanticTag"
