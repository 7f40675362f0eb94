"""`POST /annotations/`: many annotations in one request, with the surprises that this has (annotation contract 6.5).

No check on duplicates, no indexing, no check on ownership; `creator` and `generator` of the client are kept.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pipeline.sandbox.annotation_access import Writer
from pipeline.sandbox.annotation_address import ANNOTATION_URI, is_url
from pipeline.sandbox.annotation_body import CONTEXT
from pipeline.sandbox.annotation_document import AnnotationDocument, parse_annotation, read_identifier, read_json
from pipeline.sandbox.annotation_refusal import AnnotationRefusal, MalformedAnnotation, unexpected
from pipeline.sandbox.annotation_rules import Rules, validate
from pipeline.sandbox.annotation_store import AnnotationStore, Stored
from pipeline.sandbox.state import now_ms

_MEMBERS = ("@context", "id", "type", "items", "prev", "next", "isPartOf", "total", "facets")


@dataclass
class _Report:
    """What went wrong, by annotation id. All inserts have the id 0, so that the last of them hides the others."""

    count: int
    errors: dict[str, str] = field(default_factory=dict)
    failures: int = 0

    def add(self, number: int, error: AnnotationRefusal) -> None:
        self.failures += 1
        self.errors[str(number)] = str(error)

    def check(self, status: int) -> None:
        """Refuse the whole batch when anything failed."""
        if not self.failures:
            return
        report = {"successCount": self.count - self.failures, "failureCount": self.failures, "errors": self.errors}
        raise AnnotationRefusal("Batch upload failed!", status, report=report)


def store_batch(store: AnnotationStore, content: bytes, writer: Writer, rules: Rules) -> dict[str, Any]:
    """Store all annotations of a page, or none; gives the page of the answer."""
    items = [_read(item) for item in _items(read_json(content))]
    report = _Report(len(items))
    for number, annotation in items:
        try:
            validate(annotation.kind, annotation.body, annotation.target, annotation.extras, rules)
        except AnnotationRefusal as error:
            report.add(number, error)
    report.check(400)
    old = _existing(store, [number for number, _ in items if number], report)
    with store.state.transaction():
        now = now_ms()
        stored = [_store(store, annotation, old.get(number), writer, now) for number, annotation in items]
    documents = [one.document for one in stored]
    return {"@context": CONTEXT, "type": "AnnotationPage", "total": len(documents), "items": documents}


def _items(page: dict[str, Any]) -> list[Any]:
    """The members of the page; one that the server does not know breaks it."""
    for name in page:
        if name not in _MEMBERS:
            raise unexpected(f"Unexpected member in annotation page: {name}")
    address = page.get("id")
    if address is not None and not (is_url(address) and re.search(r"(^|&)page=", urlsplit(address).query)):
        raise MalformedAnnotation(f"Invalid page id: {address}")
    if page.get("type", "AnnotationPage") != "AnnotationPage":
        raise MalformedAnnotation(f"Annotation page type not supported! {page['type']}")
    items = page.get("items", [])
    if not isinstance(items, list):
        raise MalformedAnnotation("Cannot instantiate annotation page: items")
    return items


def _read(item: object) -> tuple[int, AnnotationDocument]:
    """A member and its number; one that cannot be read breaks the server."""
    if not isinstance(item, dict):
        raise unexpected("Cannot parse annotation page item")
    try:
        return read_identifier(item), parse_annotation(item)
    except AnnotationRefusal as error:
        raise unexpected(str(error)) from error


def _existing(store: AnnotationStore, numbers: list[int], report: _Report) -> dict[int, Stored]:
    found = {}
    for number in numbers:
        try:
            found[number] = store.get(number)
        except AnnotationRefusal:
            text = f"No annotation found with the given identifier! {ANNOTATION_URI}{number}"
            report.add(number, AnnotationRefusal(text))
    report.check(404)
    return found


def _store(store: AnnotationStore, annotation: AnnotationDocument, old: Stored | None, writer: Writer, now: int) -> Stored:
    if old is not None:
        return store.change(old, annotation, indexed=False)
    creator, generator = annotation.creator or writer.creator, annotation.generator or writer.generator
    return store.add(annotation, creator, generator, indexed=False, created=now)
