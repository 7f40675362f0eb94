"""Our statement about a record as a W3C Web Annotation, and the schema it is held to."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator

from pipeline.domain.identifiers import annotation_canonical, item_uri

CONTEXT = "http://www.w3.org/ns/anno.jsonld"


def tag_annotation(
    *,
    record_id: str,
    concept_uri: str,
    body_uri: str,
    target: str,
    created: datetime,
    run_page: str | None,
    remote_id: str | None = None,
) -> dict[str, Any]:
    """A semantic tag: body = plain concept URI, the form that Europeana dereferences (annotation contract §5.5).

    `id` is the platform's once known, until then our permanent `canonical` name. Raises PermanentError when
    the record cannot be a target.
    """
    canonical = annotation_canonical(record_id, concept_uri, target)
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "id": remote_id or canonical,
        "type": "Annotation",
        "motivation": "tagging",
        "created": created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "body": body_uri,
        "target": item_uri(record_id),
        "canonical": canonical,
    }
    if run_page:
        document["via"] = run_page
    return document


def run_page(public_base_url: str, run_id: str) -> str | None:
    """The page of a run in our web app, where annotations point for their provenance; None while none is public."""
    return f"{public_base_url.rstrip('/')}/runs/{run_id}" if public_base_url else None


def as_request(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as it is posted: without `id`, which the server refuses on create (annotation contract §5.1)."""
    return {name: value for name, value in document.items() if name != "id"}


def annotation_errors(document: Any) -> list[str]:
    """What keeps a document from being a W3C Web Annotation (annotation contract §12.1); empty when it is one."""
    return [f"{error.json_path}: {error.message}" for error in _validator().iter_errors(document)]


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads((resources.files("pipeline.domain") / "annotation.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
