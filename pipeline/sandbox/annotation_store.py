"""The stored annotations: made, changed, hidden and indexed (annotation contract 5.4, 6.1 and 6.4 to 6.6)."""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.sandbox.annotation_address import ANNOTATION_URI
from pipeline.sandbox.annotation_body import CONTEXT
from pipeline.sandbox.annotation_document import AnnotationDocument
from pipeline.sandbox.annotation_refusal import AnnotationRefusal
from pipeline.sandbox.annotation_terms import search_terms
from pipeline.sandbox.state import State, now_ms

_ETAG_SALT = zlib.crc32(b"jsonld sandbox")
_encode = json.JSONEncoder(ensure_ascii=False).encode
_HAS_RECORD = "EXISTS (SELECT 1 FROM annotation_term WHERE annotation_id = annotation.id AND field = 'target_record_id')"


@dataclass(frozen=True)
class Stored:
    """One annotation as it lies in the state."""

    id: int
    document: dict[str, Any]
    motivation: str
    creator_uri: str
    created: int
    generated: int
    disabled: int | None

    @property
    def etag(self) -> str:
        """Changes with every write."""
        return f'"{self.generated + _ETAG_SALT:x}"'


class AnnotationStore:
    """All annotations of one state; every write is committed when its method returns."""

    def __init__(self, state: State, lag_ms: int) -> None:
        self.state = state
        self.lag_ms = lag_ms
        highest = (state.one("SELECT max(id) FROM annotation") or (None,))[0] or 0
        self._last_number: int = max(highest, int(self.setting("last_number", "0")))
        self._is_locked = self.setting("lock", "") == "on"

    # Settings

    def setting(self, name: str, default: str) -> str:
        """A value that outlives a restart."""
        row = self.state.one("SELECT value FROM annotation_setting WHERE name = ?", (name,))
        return default if row is None else str(row[0])

    def set_setting(self, name: str, value: str) -> None:
        """Keep a value."""
        self.state.execute("INSERT OR REPLACE INTO annotation_setting (name, value) VALUES (?, ?)", (name, value))

    @property
    def is_locked(self) -> bool:
        """Whether the maintenance lock is on (4.4)."""
        return self._is_locked

    def lock(self, *, on: bool) -> None:
        """Switch the maintenance lock."""
        self.set_setting("lock", "on" if on else "off")
        self._is_locked = on

    # Reading

    def get(self, number: int, *, disabled_too: bool = False) -> Stored:
        """One annotation; refuses unknown (404) and deleted ones (410)."""
        row = self.state.one(
            "SELECT id, document, motivation, creator_uri, created, generated, disabled FROM annotation WHERE id = ?",
            (number,),
        )
        if row is None:
            raise AnnotationRefusal(f"No annotation found with the given identifier! {ANNOTATION_URI}{number}", 404)
        if row[6] is not None and not disabled_too:
            text = (
                "The user is not allowed to access the annotation in the current state! null "
                "Annotation is not accessible! DISABLED"
            )
            raise AnnotationRefusal(text, 410)
        return Stored(row[0], json.loads(row[1]), *row[2:])

    # Writing

    def insert(self, annotation: AnnotationDocument, creator: Any, generator: Any, *, indexed: bool) -> Stored:
        """Store a new annotation; `indexed` is false for batches and `indexOnCreate=false`."""
        with self.state.transaction():
            return self.add(annotation, creator, generator, indexed=indexed)

    def add(
        self, annotation: AnnotationDocument, creator: Any, generator: Any, *, indexed: bool, created: int | None = None
    ) -> Stored:
        """`insert` inside a transaction that is open already."""
        now = now_ms()
        created = created or now if annotation.created is None or created else annotation.created
        number = self._last_number = self._last_number + 1
        document = _document(number, annotation, creator, generator, created, now)
        terms = [*annotation.terms, *_names(creator, "creator_name"), *_names(generator, "generator_name")]
        creator_uri = _uri(creator)
        self.state.execute(
            "INSERT INTO annotation (id, document, motivation, creator_uri, generator_uri, created, generated,"
            " searchable_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                _encode(document),
                annotation.motivation,
                creator_uri,
                _uri(generator),
                created,
                now,
                self._searchable_at(annotation, now) if indexed else None,
            ),
        )
        self._index(number, terms)
        self._log("create", number, annotation.terms, annotation.body)
        return Stored(number, document, annotation.motivation, creator_uri, created, now, None)

    def update(self, old: Stored, annotation: AnnotationDocument) -> Stored:
        """Replace what an update replaces (6.4)."""
        with self.state.transaction():
            return self.change(old, annotation, indexed=True)

    def change(self, old: Stored, annotation: AnnotationDocument, *, indexed: bool) -> Stored:
        """Body, target and the extras are replaced; a canonical once set, creator and motivation stay (6.4)."""
        now = max(now_ms(), old.generated + 1)
        extras = {**annotation.extras}
        if "canonical" in old.document:
            extras["canonical"] = old.document["canonical"]
        document = {**old.document, "target": annotation.target, **extras, "generated": zoneless(now)}
        if annotation.body is not None:
            document["body"] = annotation.body
        searchable_at = self._searchable_at(annotation, now) if indexed else None
        self.state.execute(
            "UPDATE annotation SET document = ?, generated = ?, searchable_at = ? WHERE id = ?",
            (_encode(document), now, searchable_at, old.id),
        )
        self.state.execute("DELETE FROM annotation_term WHERE annotation_id = ?", (old.id,))
        self._index(old.id, annotation.terms)
        self._log("update", old.id, annotation.terms, annotation.body)
        return Stored(old.id, document, old.motivation, old.creator_uri, old.created, now, None)

    def set_disabled(self, stored: Stored, *, disabled: bool) -> None:
        """Delete softly, or bring back (6.6)."""
        with self.state.transaction():
            moment = now_ms() if disabled else None
            self.state.execute("UPDATE annotation SET disabled = ? WHERE id = ?", (moment, stored.id))
            self._log("delete" if disabled else "enable", stored.id, self._terms(stored.id), stored.document.get("body"))

    def erase(self, numbers: Iterable[int]) -> list[int]:
        """Delete for good; gives the numbers that were there. Their numbers are not used again."""
        erased = []
        with self.state.transaction():
            self.set_setting("last_number", str(self._last_number))
            for number in numbers:
                row = self.state.one("SELECT document FROM annotation WHERE id = ?", (number,))
                if row is None:
                    continue
                self._log("erase", number, self._terms(number), json.loads(row[0]).get("body"))
                for table in ("annotation_term", "annotation_report"):
                    self.state.execute(f"DELETE FROM {table} WHERE annotation_id = ?", (number,))
                self.state.execute("DELETE FROM annotation WHERE id = ?", (number,))
                erased.append(number)
        return erased

    def report(self, number: int, user: str) -> bool:
        """Note that a user finds an annotation inappropriate; false when that user said so before."""
        sql = "INSERT OR IGNORE INTO annotation_report (annotation_id, user_uri, at) VALUES (?, ?, ?)"
        with self.state.transaction():
            is_new = self.state.execute(sql, (number, user, now_ms())).rowcount == 1
            if is_new:
                self.state.log("annotation", "report", f"{ANNOTATION_URI}{number}", None, user)
        return is_new

    def reports(self, number: int) -> int:
        """How many users reported an annotation."""
        row = self.state.one("SELECT count(*) FROM annotation_report WHERE annotation_id = ?", (number,))
        return int((row or (0,))[0])

    # The index

    def reindex(self, numbers: Iterable[int] | None = None, *, since: int = 0, until: int | None = None) -> int:
        """Make searchable what is not: the given ones, or all that changed in a time; gives how many."""
        where = f"searchable_at IS NULL AND disabled IS NULL AND {_HAS_RECORD}"
        if numbers is None:
            sql = f"UPDATE annotation SET searchable_at = ? WHERE {where} AND generated >= ? AND generated <= ?"
            return self.state.execute(sql, (now_ms() + self.lag_ms, since, until or now_ms())).rowcount
        return sum(
            self.state.execute(
                f"UPDATE annotation SET searchable_at = ? WHERE {where} AND id = ?", (now_ms() + self.lag_ms, number)
            ).rowcount
            for number in numbers
        )

    def rename_record(self, old: str, new: str) -> int:
        """Rewrite a record id in targets and index (admin/annotation/updateRecordId); gives how many."""
        before, after = f"http://data.europeana.eu/item{old}", f"http://data.europeana.eu/item{new}"
        with self.state.transaction():
            rows = self.state.all(
                "SELECT id, document, motivation FROM annotation WHERE id IN"
                " (SELECT annotation_id FROM annotation_term WHERE field = 'target_record_id' AND value = ?)",
                (old,),
            )
            for number, text, motivation in rows:
                document = json.loads(text)
                document["target"] = _replaced(document["target"], before, after)
                self.state.execute("UPDATE annotation SET document = ? WHERE id = ?", (_encode(document), number))
                self.state.execute(
                    "DELETE FROM annotation_term WHERE annotation_id = ? AND field IN ('target_uri', 'target_record_id')",
                    (number,),
                )
                terms = search_terms(motivation.rpartition(":")[2].lower(), None, document["target"])
                self._index(number, [term for term in terms if term[0].startswith("target_")])
                self.state.log("annotation", "rename", f"{ANNOTATION_URI}{number}", new, document.get("body"))
        return len(rows)

    def _searchable_at(self, annotation: AnnotationDocument, now: int) -> int | None:
        """An annotation without a record id is stored, but the index refuses it (5.2)."""
        return now + self.lag_ms if any(name == "target_record_id" for name, _ in annotation.terms) else None

    def _index(self, number: int, terms: Iterable[tuple[str, str]]) -> None:
        self.state.executemany(
            "INSERT OR IGNORE INTO annotation_term (field, value, annotation_id) VALUES (?, ?, ?)",
            [(name, value, number) for name, value in terms],
        )

    def _terms(self, number: int) -> list[tuple[str, str]]:
        return [
            (row[0], row[1])
            for row in self.state.all("SELECT field, value FROM annotation_term WHERE annotation_id = ?", (number,))
        ]

    def _log(self, operation: str, number: int, terms: Iterable[tuple[str, str]], body: Any) -> None:
        records = [value for name, value in terms if name == "target_record_id"]
        uris = [value for name, value in terms if name == "body_uri"]
        content = uris[0] if len(uris) == 1 else body
        self.state.log("annotation", operation, f"{ANNOTATION_URI}{number}", records[0] if records else None, content)


def _document(
    number: int, annotation: AnnotationDocument, creator: Any, generator: Any, created: int, generated: int
) -> dict[str, Any]:
    """The document as it is given back: the members in the server's order, dates without a zone (5.4)."""
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "id": f"{ANNOTATION_URI}{number}",
        "type": "Annotation",
        "motivation": annotation.motivation,
        "created": zoneless(created),
        "creator": creator,
        "generated": zoneless(generated),
        "generator": generator,
    }
    if annotation.body is not None:
        document["body"] = annotation.body
    return {**document, "target": annotation.target, **annotation.extras}


def zoneless(milliseconds: int) -> str:
    """A time as the API writes it, without a zone."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(tzinfo=None).isoformat()


def _uri(agent: Any) -> str:
    uri = agent.get("id", "") if isinstance(agent, Mapping) else agent
    return uri if isinstance(uri, str) else ""


def _names(agent: Any, field: str) -> list[tuple[str, str]]:
    name = agent.get("name") if isinstance(agent, Mapping) else None
    return [(field, name)] if isinstance(name, str) else []


def _replaced(target: Any, before: str, after: str) -> Any:
    """A target with one address in the place of another."""
    if isinstance(target, list):
        return [_replaced(value, before, after) for value in target]
    if isinstance(target, dict):
        return {name: _replaced(value, before, after) for name, value in target.items()}
    return after if target == before else target
