"""The Annotation API's search index: fields, query language and the rules of what is a duplicate.

Annotation contract sections 6.2 and 8.2. A query becomes one SQL condition on the stored annotations; an annotation
is in the index from `searchable_at` until it is disabled.
"""

import re
from datetime import UTC, datetime

from pipeline.sandbox.annotation_document import AnnotationDocument
from pipeline.sandbox.catalogue import fold
from pipeline.sandbox.query import And, Everything, Node, Not, Or, QuerySyntaxError, Range, Term, parse_query
from pipeline.sandbox.state import State, now_ms

INDEXED = "disabled IS NULL AND searchable_at <= ?"

Condition = tuple[str, list[object]]

_COLUMNS = {
    "anno_id": "id",
    "motivation": "motivation",
    "creator_uri": "creator_uri",
    "generator_uri": "generator_uri",
}
_TERMS = ("target_uri", "target_record_id", "body_uri", "scenario", "link_resource_uri", "link_relation")
_DATES = {"created": "created", "generated": "generated", "modified": "generated"}
_TEXTS = ("text", "body_value")
# Part of the schema, and always empty for annotations made with a token.
_EMPTY = ("generator_name", "creator_name", "moderation_score")
ANNOTATION_URI = "http://data.europeana.eu/annotation/"


def condition(query: str, filters: list[str]) -> Condition:
    """The SQL condition for a query with its filters; raises QuerySyntaxError."""
    parts = [_condition(parse_query(text)) for text in (query, *filters)]
    return _joined(parts, "AND")


def _joined(parts: list[Condition], operator: str) -> Condition:
    return f" {operator} ".join(f"({sql})" for sql, _ in parts), [value for _, values in parts for value in values]


def _condition(node: Node) -> Condition:
    match node:
        case Everything():
            return "1", []
        case Not(inner):
            sql, values = _condition(inner)
            return f"NOT ({sql})", values
        case And(nodes):
            return _joined([_condition(inner) for inner in nodes], "AND")
        case Or(nodes):
            return _joined([_condition(inner) for inner in nodes], "OR")
        case Term():
            return _term(node)
        case Range():
            return _range(node)


def _term(term: Term) -> Condition:
    name = term.field or "text"
    test, value = ("GLOB", term.glob) if term.glob is not None else ("=", term.text)
    if name in _TEXTS or name.startswith("body_value."):
        if term.glob is not None:
            return _having("body_value", "GLOB", "* " + term.glob.lower() + " *" if term.glob != "*" else "*")
        return _having("body_value", "LIKE", f"%{fold(term.text)}%")
    if name in _EMPTY:
        return "0", []
    if term.glob == "*" and (name in _COLUMNS or name in _DATES or name == "anno_uri"):
        return "1", []
    if name in _TERMS:
        return _having(name, test, value)
    if name == "anno_uri":
        return "id = ?", [_number(term.text.removeprefix(ANNOTATION_URI))]
    if name == "anno_id":
        return "id = ?", [_number(term.text)]
    if name in _COLUMNS:
        return f"{_COLUMNS[name]} {test} ?", [value]
    if name in _DATES:
        return f"{_DATES[name]} = ?", [_instant(term.text)]
    raise QuerySyntaxError(f"undefined field {name}")


def _having(name: str, test: str, value: object) -> Condition:
    if test == "=":
        return "id IN (SELECT annotation_id FROM annotation_term WHERE field = ? AND value = ?)", [name, value]
    # A pattern cannot use the index on values, so it is tried on the annotations that the other conditions leave.
    terms = "SELECT 1 FROM annotation_term WHERE annotation_id = annotation.id AND field = ?"
    return f"EXISTS ({terms} AND value {test} ?)", [name, value]


def _range(node: Range) -> Condition:
    name = node.field or "text"
    if name in _DATES:
        column, bound = _DATES[name], _instant
    elif name == "anno_id":
        column, bound = "id", _number
    else:
        raise QuerySyntaxError(f"no range over the field {name}")
    parts: list[Condition] = [("1", [])]
    if node.low is not None:
        parts.append((f"{column} {'>=' if node.includes_low else '>'} ?", [bound(node.low)]))
    if node.high is not None:
        parts.append((f"{column} {'<=' if node.includes_high else '<'} ?", [bound(node.high)]))
    return _joined(parts, "AND")


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text):
        raise QuerySyntaxError(f"Invalid Number: {text}")
    return int(text)


def _instant(text: str) -> int:
    """Milliseconds of `NOW` or of an ISO instant that ends in Z."""
    if text == "NOW":
        return now_ms()
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text):
        raise QuerySyntaxError(f"Invalid Date String:'{text}'")
    try:
        return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)
    except ValueError as error:
        raise QuerySyntaxError(f"Invalid Date String:'{text}'") from error


def duplicates(state: State, annotation: AnnotationDocument, *, besides: int = 0) -> list[int]:
    """The indexed annotations, of anybody, that the new one would repeat (6.2); `besides` is the updated one."""
    clauses = _duplicate_conditions(annotation)
    if clauses is None:
        return []
    sql, values = _joined(clauses, "AND")
    rows = state.all(
        f"SELECT id FROM annotation WHERE {sql} AND id <> ? AND {INDEXED} ORDER BY id", (*values, besides, now_ms())
    )
    return [row[0] for row in rows]


def _duplicate_conditions(annotation: AnnotationDocument) -> list[Condition] | None:
    """What another annotation must have to be the same; None: this kind is never checked."""
    records = [_having("target_record_id", "=", value) for value in annotation.values("target_record_id")]
    kind = annotation.kind
    if kind == "tagging" and records:
        return _tag_conditions(annotation, [("motivation = 'tagging'", []), *records])
    if kind == "linkForContributing" and records:
        return [("motivation = ?", [kind]), *records]
    source = annotation.target.get("source") if isinstance(annotation.target, dict) else None
    if kind in ("transcribing", "translating", "subtitling", "captioning") and source:
        language = _having("body_language", "=", annotation.body["language"])
        return [_text_motivation(kind, language), _having("target_uri", "=", source)]
    return None


def _tag_conditions(annotation: AnnotationDocument, common: list[Condition]) -> list[Condition] | None:
    uris = annotation.values("body_uri")
    if uris:
        return [*common, *(_having("body_uri", "=", uri) for uri in uris)]
    texts, languages = annotation.values("body_value"), annotation.values("body_language")
    if not texts or "simpleTag" not in annotation.values("scenario"):
        return None
    # A phrase inside a longer tag counts as the same tag, but not the other way round.
    same_text = _having("body_value", "LIKE", f"%{texts[0]}%")
    return [*common, _having("scenario", "=", "simpleTag"), same_text, _having("body_language", "=", languages[0])]


def _text_motivation(kind: str, language: Condition) -> Condition:
    if kind in ("transcribing", "translating"):
        return _joined([("motivation = ?", [kind]), language], "AND")
    spoken = _joined([("motivation IN ('captioning', 'subtitling')", []), language], "AND")
    if kind == "subtitling":
        return spoken
    return _joined([("motivation = 'captioning'", []), spoken], "OR")
