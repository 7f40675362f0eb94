"""The Annotation API's search index: its fields and its query language (annotation contract 8.1 and 8.2).

A query becomes one SQL condition on the stored annotations; an annotation is in the index from `searchable_at`
until it is disabled.
"""

import re
from datetime import UTC, datetime

from pipeline.sandbox.annotation_address import ANNOTATION_URI
from pipeline.sandbox.annotation_terms import TEXT
from pipeline.sandbox.annotation_words import words
from pipeline.sandbox.query import And, Everything, Node, Not, Or, QuerySyntaxError, Range, Term, parse_query
from pipeline.sandbox.state import now_ms

__all__ = ["ANNOTATION_URI", "COLUMNS", "INDEXED", "TERMS", "condition"]

INDEXED = "disabled IS NULL AND searchable_at <= ?"
_SCORE = "(SELECT -count(*) FROM annotation_report WHERE annotation_id = annotation.id HAVING count(*) > 0)"
COLUMNS = {"motivation": "motivation", "creator_uri": "creator_uri", "generator_uri": "generator_uri"}
NUMBERS = {"anno_id": "id", "moderation_score": _SCORE}
DATES = {"created": "created", "generated": "generated", "modified": "generated"}
TERMS = (
    "target_uri",
    "target_record_id",
    "body_uri",
    "scenario",
    "link_resource_uri",
    "link_relation",
    "generator_name",
    "creator_name",
)
_MAX_CLAUSES = 1024
_UNITS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400, "MONTH": 30 * 86400, "YEAR": 365 * 86400}
_NOW = re.compile(r"NOW(?:([+-]\d{1,6})(SECOND|MINUTE|HOUR|DAY|MONTH|YEAR)S?)?")

Condition = tuple[str, list[object]]


def condition(query: str, filters: list[str]) -> Condition:
    """The SQL condition for a query with its filters; raises QuerySyntaxError."""
    try:
        return _joined([_condition(parse_query(text)) for text in (query, *filters)], "AND")
    except RecursionError as error:
        raise QuerySyntaxError("Cannot parse the query: it is nested too deeply.") from error


def _joined(parts: list[Condition], operator: str) -> Condition:
    """Joined in halves: SQLite limits the depth of an expression, not its length."""
    if len(parts) > _MAX_CLAUSES:
        raise QuerySyntaxError(f"too many boolean clauses: maxClauseCount is set to {_MAX_CLAUSES}")
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    (left, first), (right, second) = _joined(parts[:half], operator), _joined(parts[half:], operator)
    return f"({left} {operator} {right})", [*first, *second]


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
    if name in ("text", "body_value") or name.startswith(TEXT):
        return _text(name, term)
    test, value = ("GLOB", term.glob) if term.glob is not None else ("=", term.text)
    if name in TERMS:
        return _having(name, test, value)
    if name in COLUMNS:
        return f"{COLUMNS[name]} {test} ?", [value]
    if name == "anno_uri":
        return f"('{ANNOTATION_URI}' || id) {test} ?" if test == "GLOB" else "id = ?", [
            value if test == "GLOB" else _annotation_number(term.text)
        ]
    column = _column(name)
    if term.glob is not None:
        if term.glob != "*":
            raise QuerySyntaxError(f"Invalid value for the field {name}: {term.text}")
        return f"{column} IS NOT NULL", []
    return f"{column} = ?", [_bound(name, term.text)]


def _annotation_number(uri: str) -> int:
    """The number in an annotation's address; -1, which nothing has, for any other text."""
    match = re.fullmatch(re.escape(ANNOTATION_URI) + r"(\d{1,18})", uri)
    return int(match[1]) if match else -1


def _having(name: str, test: str, value: object) -> Condition:
    if test == "=":
        return "id IN (SELECT annotation_id FROM annotation_term WHERE field = ? AND value = ?)", [name, value]
    # A pattern cannot use the index on values, so it is tried on the annotations that the other conditions leave.
    terms = "SELECT 1 FROM annotation_term WHERE annotation_id = annotation.id AND field = ?"
    return f"EXISTS ({terms} AND value {test} ?)", [name, value]


def _text(name: str, term: Term) -> Condition:
    """A phrase in one language or in any."""
    if name.startswith(TEXT):
        where, values = "field = ?", [name]
    else:
        where, values = "field >= 'body_value.' AND field < 'body_value/'", []
    terms = f"SELECT 1 FROM annotation_term WHERE annotation_id = annotation.id AND {where}"
    if term.glob is not None:
        pattern = "*" if term.glob == "*" else f"* {term.glob.lower()} *"
        return f"EXISTS ({terms} AND value GLOB ?)", [*values, pattern]
    phrase = words(term.text)
    if not phrase:
        return "0", []
    return f"EXISTS ({terms} AND instr(value, ?) > 0)", [*values, phrase]


def _range(node: Range) -> Condition:
    name = node.field or "text"
    if name in ("text", "body_value") or name.startswith(TEXT):
        if node.low is None and node.high is None:
            return _text(name, Term(name, "*", glob="*"))
        raise QuerySyntaxError(f"no range over the field {name}")
    tests = [
        (">=" if node.includes_low else ">", node.low),
        ("<=" if node.includes_high else "<", node.high),
    ]
    bounds = [(test, _bound(name, text)) for test, text in tests if text is not None]
    if name in TERMS:
        having = "".join(f" AND value {test} ?" for test, _ in bounds)
        terms = "SELECT 1 FROM annotation_term WHERE annotation_id = annotation.id AND field = ?"
        return f"EXISTS ({terms}{having})", [name, *(value for _, value in bounds)]
    column = _column(name)
    return _joined([(f"{column} IS NOT NULL", []), *((f"{column} {test} ?", [value]) for test, value in bounds)], "AND")


def _column(name: str) -> str:
    for columns in (COLUMNS, NUMBERS, DATES, {"anno_uri": "id"}):
        if name in columns:
            return columns[name]
    raise QuerySyntaxError(f"undefined field {name}")


def _bound(name: str, text: str) -> object:
    """A value in the type of its field."""
    if name in DATES:
        return _instant(text)
    if name in NUMBERS:
        if not re.fullmatch(r"-?\d{1,18}", text):
            raise QuerySyntaxError(f"Invalid Number: {text}")
        return int(text)
    return _annotation_number(text) if name == "anno_uri" else text


def _instant(text: str) -> int:
    """Milliseconds of `NOW`, `NOW-1DAY`, or of an ISO instant that ends in Z."""
    if match := _NOW.fullmatch(text):
        return now_ms() + (int(match[1]) * _UNITS[match[2]] * 1000 if match[1] else 0)
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text):
        raise QuerySyntaxError(f"Invalid Date String:'{text}'")
    try:
        return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)
    except ValueError as error:
        raise QuerySyntaxError(f"Invalid Date String:'{text}'") from error
