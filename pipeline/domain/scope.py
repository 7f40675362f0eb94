"""What a run is about: a `Selection` (which records of a source) and a `Scope` (which part of them now)."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pipeline.errors import CriticalError

SELECTION_KINDS = ("query", "concept", "dataset", "gallery", "with_collection", "folder", "links", "feedback")
SCOPE_MODES = ("pending", "ids", "window", "full")


@dataclass(frozen=True)
class ConceptQuery:
    """Records that carry all of these concepts: one, a pair, a triple; at most `cap` of them."""

    all_of: tuple[str, ...]
    cap: int | None = None

    def __post_init__(self) -> None:
        if not self.all_of:
            raise CriticalError("a concept query needs at least one concept URI")
        for uri in self.all_of:
            if not re.match(r"https?://", uri):
                raise CriticalError(f"{uri!r} is not the URI of a concept; one looks like http://data.europeana.eu/concept/47")


@dataclass(frozen=True)
class Selection:
    """Which records of a source: a query in the source's own language, or a named set of records.

    A selection of kind `concept` may be written as a text, `value`: URIs with blanks between them must all hold. Its
    `concepts` may also be several, each with a cap of its own.
    """

    kind: str
    value: str
    filters: tuple[str, ...] = ()
    reusability: str = ""
    concepts: tuple[ConceptQuery, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in SELECTION_KINDS:
            raise CriticalError(f"selection kind {self.kind!r} is not one of {', '.join(SELECTION_KINDS)}")
        if not self.value:
            raise CriticalError(f"a selection of kind {self.kind} needs a value; to take everything say *:*")
        if self.kind == "concept" and not self.concepts:
            object.__setattr__(self, "concepts", (ConceptQuery(tuple(self.value.split())),))
        if self.kind != "concept" and self.concepts:
            raise CriticalError(f"a selection of kind {self.kind} takes no concepts")


@dataclass(frozen=True)
class Scope:
    """Exactly one of: pending, ids, window (half-open, UTC), full.

    A long list of ids lies beside the run's manifest and not in it; `ids_sha256` names it.
    """

    mode: str
    ids: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    ids_sha256: str = ""

    def __post_init__(self) -> None:
        if self.mode not in SCOPE_MODES:
            raise CriticalError(f"scope {self.mode!r} is not one of {', '.join(SCOPE_MODES)}; no scope is an error")
        if (self.mode == "ids") != bool(self.ids or self.ids_sha256):
            raise CriticalError("a scope of ids needs at least one id, and only it takes ids")
        if self.mode == "window":
            if not (self.start and self.end and self.start.tzinfo and self.end.tzinfo and self.start < self.end):
                raise CriticalError(f"a window needs start < end with time zones, not {self.start} to {self.end}")
        elif self.start or self.end:
            raise CriticalError(f"scope {self.mode} takes no start and no end")


def scope_hash(selection: Selection, scope: Scope) -> str:
    """The path segment that both together give: same selection and scope, same place."""
    text = json.dumps([asdict(selection), scope_to_json(scope)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def scope_to_json(scope: Scope) -> dict[str, Any]:
    """The scope as JSON values."""
    return {
        "mode": scope.mode,
        "ids": list(scope.ids),
        "start": scope.start.isoformat() if scope.start else None,
        "end": scope.end.isoformat() if scope.end else None,
        "ids_sha256": scope.ids_sha256,
    }


def scope_from_json(value: Mapping[str, Any]) -> Scope:
    """Read back what `scope_to_json` wrote."""
    start, end = (datetime.fromisoformat(value[name]) if value[name] else None for name in ("start", "end"))
    return Scope(mode=value["mode"], ids=tuple(value["ids"]), start=start, end=end, ids_sha256=value["ids_sha256"])


def selection_from_json(value: Mapping[str, Any]) -> Selection:
    """Read back a selection written with `dataclasses.asdict`."""
    return Selection(
        kind=value["kind"],
        value=value["value"],
        filters=tuple(value["filters"]),
        reusability=value["reusability"],
        concepts=tuple(ConceptQuery(tuple(one["all_of"]), one["cap"]) for one in value["concepts"]),
    )
