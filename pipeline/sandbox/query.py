"""The part of Lucene's query language that clients of Europeana use, read into a small tree.

Supported: `*:*`, `field:value`, quoted phrases, `*` and `?` in unquoted values, `[A TO B]` and `{A TO B}` with any mix
of brackets, AND, OR, NOT, `&&`, `||`, leading `+ - !`, parentheses also after a field, and `\\` escapes. Two values
side by side mean AND. Anything else (boosts, fuzzy terms, regular expressions, an unescaped colon or slash inside a
value) is refused, as a search server that does not understand it would.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<phrase>"(?:[^"\\]|\\.)*")
    | (?P<range>[\[{]\s*(?:"[^"]*"|[^\s\]}"]+)\s+TO\s+(?:"[^"]*"|[^\s\]}"]+)\s*[\]}])
    | (?P<and>&&) | (?P<or>\|\|)
    | (?P<sign>[-+!](?=[^\s]))
    | (?P<open>\() | (?P<close>\)) | (?P<colon>:)
    | (?P<word>(?:\\.|[^\s"()\[\]{}:^~/!&|\\])+)
    )""",
    re.VERBOSE,
)
_END = re.compile(r"\s*\Z")
# A search server refuses what is nested this deeply as well; here it also keeps the descent within Python's stack.
_DEEPEST = 60
_RANGE = re.compile(r'([\[{])\s*("[^"]*"|\S+?)\s+TO\s+("[^"]*"|\S+?)\s*([\]}])')


class QuerySyntaxError(Exception):
    """The text is no query that this server understands."""


@dataclass(frozen=True)
class Everything:
    """`*:*`."""


@dataclass(frozen=True)
class Term:
    """A value, in a field or in the default ones; `glob` is set when it holds wildcards (`[*]` is a literal star)."""

    field: str | None
    text: str
    quoted: bool = False
    glob: str | None = None


@dataclass(frozen=True)
class Range:
    """Values between two bounds; None is an open end."""

    field: str | None
    low: str | None
    high: str | None
    includes_low: bool
    includes_high: bool


@dataclass(frozen=True)
class Not:
    """What the inner node does not match."""

    node: "Node"


@dataclass(frozen=True)
class And:
    """Every node matches."""

    nodes: "tuple[Node, ...]"


@dataclass(frozen=True)
class Or:
    """At least one node matches."""

    nodes: "tuple[Node, ...]"


Node = Everything | Term | Range | Not | And | Or


def parse_query(text: str) -> Node:
    """Read a query; raises QuerySyntaxError with a sentence about the place."""
    parser = _Parser(text)
    node = parser.either(None)
    if parser.kind:
        raise parser.error()
    return node


class _Parser:
    """Recursive descent over the tokens, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._depth = 0
        self.kind: str | None = None
        self._value = ""
        self._advance()

    def _advance(self) -> None:
        if _END.match(self._text, self._position):
            self.kind, self._value = None, ""
            return
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            raise self.error()
        self._position = match.end()
        self.kind = match.lastgroup
        self._value = match[self.kind or 0]
        if self.kind == "word" and self._value in ("AND", "OR", "NOT"):
            self.kind = self._value.lower()

    def _take(self) -> str:
        value = self._value
        self._advance()
        return value

    def error(self) -> QuerySyntaxError:
        return QuerySyntaxError(f"Cannot parse '{self._text}': unexpected input near position {self._position}.")

    def either(self, field: str | None) -> Node:
        nodes = [self._both(field)]
        while self.kind == "or":
            self._take()
            nodes.append(self._both(field))
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def _both(self, field: str | None) -> Node:
        nodes = [self._signed(field)]
        while self.kind not in (None, "or", "close"):
            if self.kind == "and":
                self._take()
            nodes.append(self._signed(field))
        return nodes[0] if len(nodes) == 1 else And(tuple(nodes))

    def _signed(self, field: str | None) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise QuerySyntaxError("Cannot parse the query: it is nested too deeply.")
        node = self._sign(field)
        self._depth -= 1
        return node

    def _sign(self, field: str | None) -> Node:
        if self.kind == "not" or (self.kind == "sign" and self._value != "+"):
            self._take()
            return Not(self._signed(field))
        if self.kind == "sign":
            self._take()
        return self._single(field)

    def _single(self, field: str | None) -> Node:
        if self.kind == "open":
            self._take()
            node = self.either(field)
            if self.kind != "close":
                raise self.error()
            self._take()
            return node
        if self.kind == "phrase":
            return Term(field, _unescape(self._take()[1:-1]), quoted=True)
        if self.kind == "range":
            return _range(field, self._take())
        if self.kind != "word":
            raise self.error()
        word = self._take()
        if self.kind != "colon":
            return _term(field, word)
        self._take()
        if field is not None:
            raise self.error()
        if word == "*" and self.kind == "word" and self._value == "*":
            self._take()
            return Everything()
        return self._single(_unescape(word))


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _term(field: str | None, word: str) -> Term:
    parts = re.findall(r"\\.|.", word)
    glob = None
    if any(part in "*?" for part in parts):
        glob = "".join(part if part in "*?" else re.sub(r"([*?\[])", r"[\1]", part[-1]) for part in parts)
    return Term(field, _unescape(word), glob=glob)


def _range(field: str | None, text: str) -> Range:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise QuerySyntaxError(f"Cannot parse the range {text}.")
    opening, low, high, closing = match.groups()
    return Range(field, _bound(low), _bound(high), includes_low=opening == "[", includes_high=closing == "]")


def _bound(text: str) -> str | None:
    if re.search(r"(?<!\\)(\\\\)*\\$", text):
        # What is left of an escaped brace: the brace ends the range, and its escape stays behind (contract 1.5).
        raise QuerySyntaxError("Term can not end with escape character.")
    return None if text == "*" else _unescape(text.strip('"'))
