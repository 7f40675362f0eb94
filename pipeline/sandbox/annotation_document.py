"""What the Annotation API accepts as an annotation: reading a document, and the order of its checks.

Annotation contract sections 5.1 (members), 6.1 (order) and 7.3 (texts). Members that the server does not know are
dropped without a word; an odd text or order here is the real server's.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pipeline.sandbox.annotation_address import is_url
from pipeline.sandbox.annotation_body import CONTEXT, read_body
from pipeline.sandbox.annotation_refusal import AnnotationRefusal, MalformedAnnotation, unexpected
from pipeline.sandbox.annotation_rules import DEFAULT_RULES, Rules, validate
from pipeline.sandbox.annotation_target import read_target
from pipeline.sandbox.annotation_terms import search_terms

__all__ = ["CONTEXT", "AnnotationDocument", "AnnotationRefusal", "parse_annotation", "read_annotation", "read_json"]

_MOTIVATIONS = {
    name.lower(): name
    for name in (
        "tagging",
        "linking",
        "describing",
        "transcribing",
        "translating",
        "subtitling",
        "captioning",
        "linkForContributing",
        "highlighting",
    )
}
_KNOWN = ("bookmarking", "classifying", "commenting", "editing", "identifying", "moderating", "questioning", "replying")
_EXTRAS = ("via", "canonical", "equivalentTo")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_LONG = 2**63


@dataclass(frozen=True)
class AnnotationDocument:
    """An accepted document: what is kept, and what is found by search.

    `kind` is the plain motivation; `motivation` is stored as it was written, prefix and all. Creator and generator
    are only used by a batch; alone, they come from the token.
    """

    kind: str
    motivation: str
    created: int | None
    body: Any
    target: Any
    extras: Mapping[str, Any]
    creator: Any = None
    generator: Any = None

    @cached_property
    def terms(self) -> tuple[tuple[str, str], ...]:
        """Pairs of index field and value; ask after validation, which normalises the text of a tag."""
        return search_terms(self.kind, self.body, self.target)

    def values(self, name: str) -> list[str]:
        """All values under which the annotation is found in a field."""
        return [value for field_name, value in self.terms if field_name == name]


def read_annotation(
    content: bytes, *, path_type: str | None = None, rules: Rules = DEFAULT_RULES, is_new: bool = True
) -> AnnotationDocument:
    """Read and check the body of a create or update request.

    `path_type` is the motivation that the path stands for, used when the document has none. On an update an id in
    the document is read and ignored.
    """
    document = read_json(content)
    annotation = parse_annotation(document, path_type)
    if read_identifier(document) and is_new:
        raise AnnotationRefusal("An error occurred during annotation validation! identifier")
    validate(annotation.kind, annotation.body, annotation.target, annotation.extras, rules)
    return annotation


def parse_annotation(document: dict[str, Any], path_type: str | None = None) -> AnnotationDocument:
    """Read a document without validating it."""
    _check_type(document.get("type"))
    written = document.get("motivation")
    if written is None:
        written = path_type
    kind = _kind(written, document)
    for name in ("creator", "generator"):
        _check_agent(name, document.get(name))
    return AnnotationDocument(
        kind=kind,
        motivation=str(written),
        created=_instant(document.get("created")),
        body=read_body(kind, document),
        target=read_target(kind, document.get("target")),
        extras={name: document[name] for name in _EXTRAS if document.get(name) is not None},
        creator=document.get("creator"),
        generator=document.get("generator"),
    )


def read_json(content: bytes) -> dict[str, Any]:
    """The object in a request body."""
    if not content.strip():
        raise AnnotationRefusal(" Required request body is missing")
    try:
        document = json.loads(content, parse_constant=_no_constant)
        if b"\\u" in content:
            # Half a surrogate pair is no text that could be stored or sent; Java writes a question mark for it.
            document = json.loads(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError as error:
        raise MalformedAnnotation("Document nesting depth exceeds the maximum allowed") from error
    except ValueError as error:
        raise MalformedAnnotation(str(error)) from error
    if not isinstance(document, dict):
        raise MalformedAnnotation("A JSON object is expected")
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"Non-standard token '{name}'")


def _check_type(written: object) -> None:
    if isinstance(written, list):
        raise unexpected("class java.util.ArrayList cannot be cast to class java.lang.String")
    if written is not None and not (isinstance(written, str) and written.endswith("Annotation")):
        raise MalformedAnnotation(f"Annotation type not supported! {written}")


def _kind(written: object, document: Mapping[str, Any]) -> str:
    """The motivation without a prefix; required, known, and one that the server can instantiate."""
    head, colon, tail = written.partition(":") if isinstance(written, str) else ("", "", "")
    word = (tail if colon else head).lower()
    if word in _MOTIVATIONS:
        return _MOTIVATIONS[word]
    if word in _KNOWN:
        text = f"cannot instantiate Annotation! Unsupported Annotation/Motivation Type:{word.upper()}:{word}:null"
        raise MalformedAnnotation(text)
    raise MalformedAnnotation(
        "cannot instantiate Annotation! Annotation Motivation not provided or invalid!\nmotivation type:null\n"
        f"parsed object: {json.dumps(document, ensure_ascii=False)}"
    )


def read_identifier(document: Mapping[str, Any]) -> int:
    """The number that an id ends in; 0 when there is none. Anything else breaks the server (5.1)."""
    written = document.get("id")
    if written is None:
        return 0
    if not isinstance(written, (str, int)) or isinstance(written, bool):
        raise MalformedAnnotation("Cannot instantiate annotation attribute for type: id")
    last = str(written).rpartition("/")[2]
    number = int(last) if re.fullmatch(r"[+-]?[0-9]{1,19}", last) else _LONG
    if not -_LONG <= number < _LONG:
        raise unexpected(f'For input string: "{last}"')
    return number


def _check_agent(name: str, agent: object) -> None:
    """Creator and generator are replaced from the token, and yet read."""
    identifier = agent.get("id") if isinstance(agent, dict) else None
    if identifier is not None and not is_url(identifier):
        raise MalformedAnnotation(f"Invalid {name} id: {identifier}")


def _instant(text: object) -> int | None:
    """Milliseconds of a written date, whose zone is ignored; None when it cannot be read."""
    match = _DATE.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    try:
        return int(datetime.fromisoformat(match[0]).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None
