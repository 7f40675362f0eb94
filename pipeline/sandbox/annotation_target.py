"""Targets of annotations: their shapes, and which of them are checked (annotation contract 5.2 and 5.3, HI and LC)."""

from typing import Any
from urllib.parse import urlsplit

from pipeline.sandbox.annotation_address import ITEM, addresses, is_url
from pipeline.sandbox.annotation_refusal import UNSUPPORTED, AnnotationRefusal, MalformedAnnotation, missing, unsupported

_MEMBERS = ("id", "source", "scope", "purpose", "language", "format", "edmRights")
_SELECTOR = "RDFStatementSelector"
_SELECTOR_MEMBERS = ("type", "hasSubject", "hasPredicate")
_QUOTE_MEMBERS = ("type", "exact", "prefix", "suffix")


def read_target(kind: str, target: object) -> Any:
    """The target as it is kept: strings, or objects rebuilt from the members that the server knows."""
    if not target:
        raise AnnotationRefusal("Cannot parse body to annotation! Annotation Target must not be null")
    if isinstance(target, str):
        return target
    if isinstance(target, list) and all(isinstance(value, str) for value in target):
        return target
    if isinstance(target, dict):
        return _resource(target)
    if isinstance(target, list) and kind == "highlighting" and all(isinstance(value, dict) for value in target):
        return [_resource(value) for value in target]
    raise MalformedAnnotation("Cannot instantiate annotation attribute for type: target")


def _resource(target: dict[str, Any]) -> dict[str, Any]:
    for name in ("id", "source", "scope"):
        if target.get(name) is not None and not isinstance(target[name], str):
            raise MalformedAnnotation(f"Invalid annotation target {name}")
    kept = {name: target[name] for name in _MEMBERS if target.get(name) is not None}
    selector = _selector(target.get("selector"))
    return kept if selector is None else {**kept, "selector": selector}


def _selector(selector: object) -> dict[str, Any] | None:
    """A373 knows one type and refuses all others; a selector without a type is dropped as an unknown member."""
    if not isinstance(selector, dict) or selector.get("type") is None:
        return None
    if selector["type"] != _SELECTOR:
        raise MalformedAnnotation(f"Unsupported selector type: {selector['type']}")
    kept = {name: selector[name] for name in _SELECTOR_MEMBERS if selector.get(name) is not None}
    refined = selector.get("refinedBy")
    if isinstance(refined, dict):
        kept["refinedBy"] = {name: refined[name] for name in _QUOTE_MEMBERS if refined.get(name) is not None}
    return kept


def check_target(target: Any) -> None:
    """Every string, or the scope of an object, is a Europeana item; for tagging this is never called (5.2)."""
    if isinstance(target, dict):
        if "source" in target and not is_url(target["source"]):
            raise AnnotationRefusal("Invalid annotation target source (must be a url)!")
        checked = addresses(target, ("scope", "source", "id"))[:1]
    else:
        checked = addresses(target, ("source",))
    if not checked or not all(ITEM in uri for uri in checked):
        raise AnnotationRefusal(f"Invalid annotation target base url, which should contain: {ITEM}.")


def check_link(target: Any, whitelist: tuple[str, ...]) -> None:
    """The hosts of plain link targets are whitelisted, themselves or as part of a domain (7.3)."""
    for uri in addresses(target, ()):
        try:
            host = urlsplit(uri).hostname or ""
        except ValueError:
            host = ""
        if not any(host == allowed or host.endswith(f".{allowed}") for allowed in whitelist):
            raise unsupported("target.value", uri)


def check_contribution(body: Any, target: Any) -> None:
    """An https link for an item itself, not for one of its pictures (5.3, LC)."""
    link = body.get("id") if isinstance(body, dict) else body
    if not is_url(link, ("https",)):
        raise unsupported("body", link)
    if isinstance(target, dict) and {"scope", "source"} & set(target):
        raise AnnotationRefusal(f"{UNSUPPORTED} target")


def check_highlight(target: Any) -> None:
    """Every part names an item, a predicate and the exact words (5.3, HI)."""
    for part in target if isinstance(target, list) else [target]:
        if not isinstance(part, dict) or "source" not in part:
            raise missing("target.source")
        selector = part.get("selector")
        if selector is None:
            raise missing("target.selector")
        if not selector.get("hasPredicate"):
            raise missing("target.selector.hasPredicate")
        if not selector.get("refinedBy", {}).get("exact"):
            raise missing("target.selector.refinedBy.exact")
        if "hasSubject" in selector and not is_url(selector["hasSubject"]):
            raise unsupported("target.selector.hasSubject", selector["hasSubject"])
        check_target(part)
