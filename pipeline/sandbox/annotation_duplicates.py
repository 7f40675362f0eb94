"""Which stored annotations a new one would repeat (annotation contract 6.2)."""

from pipeline.sandbox.annotation_document import AnnotationDocument
from pipeline.sandbox.annotation_index import INDEXED
from pipeline.sandbox.annotation_refusal import AnnotationRefusal
from pipeline.sandbox.annotation_terms import TEXT
from pipeline.sandbox.query import QuerySyntaxError
from pipeline.sandbox.state import State, now_ms

Clause = tuple[str, list[object]]

_TERM = "SELECT 1 FROM annotation_term WHERE annotation_id = annotation.id AND field = ?"
_SPOKEN = "motivation IN ('captioning', 'subtitling')"


def check_unique(state: State, annotation: AnnotationDocument, *, besides: int = 0) -> None:
    """Refuse what an indexed annotation of anybody says already; `besides` is the one that is updated."""
    clauses = _clauses(annotation)
    if clauses is None:
        return
    sql = " AND ".join(clause for clause, _ in clauses)
    values = [value for _, more in clauses for value in more]
    rows = state.all(
        f"SELECT id FROM annotation WHERE {sql} AND id <> ? AND {INDEXED} ORDER BY id", (*values, besides, now_ms())
    )
    if rows:
        raise AnnotationRefusal(f"Found duplicate annotations with the ids: {','.join(str(row[0]) for row in rows)}")


def _clauses(annotation: AnnotationDocument) -> list[Clause] | None:
    """What another annotation has to be, the rarest quality first; None: this kind is never checked."""
    kind = annotation.kind
    records = annotation.values("target_record_id")
    if kind == "tagging" and records:
        return _tag(annotation, [*_all("target_record_id", records), ("motivation = 'tagging'", [])])
    if kind == "linkForContributing" and records:
        return [*_all("target_record_id", records), ("motivation = ?", [kind])]
    parts = annotation.target if isinstance(annotation.target, list) else [annotation.target]
    sources = [part["source"] for part in parts if isinstance(part, dict) and "source" in part]
    if kind == "highlighting" and sources:
        uris = annotation.values("body_uri")
        return [*_all("target_uri", sources), *map(_has_uri, uris), ("motivation = ?", [kind])]
    if kind in ("transcribing", "translating", "subtitling", "captioning") and sources:
        return [*_all("target_uri", sources), _spoken_or_written(kind, f"{TEXT}{annotation.body['language']}")]
    return None


def _all(field: str, values: list[str]) -> list[Clause]:
    """Every value, as a list of candidates: the first one leads through the index."""
    sql = "id IN (SELECT annotation_id FROM annotation_term WHERE field = ? AND value = ?)"
    first, *rest = values
    return [(sql, [field, first]), *(_has(field, value) for value in rest)]


def _has(field: str, value: str) -> Clause:
    return f"EXISTS ({_TERM} AND value = ?)", [field, value]


def _has_uri(uri: str) -> Clause:
    return _has("body_uri", uri)


def _tag(annotation: AnnotationDocument, common: list[Clause]) -> list[Clause] | None:
    """A semantic tag repeats all URIs; a text tag is a phrase in another's text of the same language."""
    if uris := annotation.values("body_uri"):
        return [*common, *map(_has_uri, uris)]
    if ("scenario", "simpleTag") not in annotation.terms:
        return None
    text = annotation.body["value"]
    if '"' in text or text.endswith("\\"):
        # The server writes the text between quotation marks as it is.
        raise QuerySyntaxError(f"Cannot parse 'body_value:\"{text}\"'")
    field, phrase = next(term for term in annotation.terms if term[0].startswith(TEXT))
    if not phrase:
        return None
    return [*common, (f"EXISTS ({_TERM} AND instr(value, ?) > 0)", [field, phrase])]


def _spoken_or_written(kind: str, text_field: str) -> Clause:
    same_language = f"EXISTS ({_TERM})"
    match kind:
        case "subtitling":
            return f"{_SPOKEN} AND {same_language}", [text_field]
        case "captioning":
            return f"(motivation = 'captioning' OR {_SPOKEN} AND {same_language})", [text_field]
        case _:
            return f"motivation = ? AND {same_language}", [kind, text_field]
