"""Annotations of the WITH stand-in as they are stored: one document each, with exact dates (WITH contract 3.1, 3.2)."""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.sandbox.state import State
from pipeline.sandbox.with_common import day, object_id

_VOTES = ("approvedBy", "rejectedBy", "ratedBy")
_DATES = ("created", "generated", "lastModified")


def campaign_generator(campaign: str) -> str:
    """The generator that the portal and the bulk import use for a campaign."""
    return f"CrowdHeritage {campaign}"


def shown(stored: dict[str, Any]) -> dict[str, Any]:
    """The annotation as plain JSON, in which its dates lose their time of day (3.2)."""
    body = {**stored, "annotators": [_with_days(other) for other in stored["annotators"]]}
    if "score" in stored:
        body["score"] = {name: [_with_days(vote) for vote in votes] for name, votes in stored["score"].items()}
    return body


def _with_days(admin: dict[str, Any]) -> dict[str, Any]:
    return {**admin, **{name: day(admin[name]) for name in _DATES if name in admin}}


class AnnotationStore:
    """Reads and writes annotations; a write belongs into a transaction of its caller."""

    def __init__(self, state: State) -> None:
        self._state = state

    def get(self, identifier: str) -> dict[str, Any] | None:
        """One annotation."""
        row = self._state.one("SELECT document FROM with_annotation WHERE id = ?", (identifier,))
        document: dict[str, Any] | None = json.loads(row[0]) if row else None
        return document

    def of_record(self, db_id: str) -> list[dict[str, Any]]:
        """All annotations of a record, oldest first."""
        sql = "SELECT document FROM with_annotation WHERE record_db_id = ? ORDER BY rowid"
        return [json.loads(row[0]) for row in self._state.all(sql, (db_id,))]

    def everything(self) -> Iterator[dict[str, Any]]:
        """All annotations of the platform, one at a time."""
        for row in self._state.execute("SELECT document FROM with_annotation ORDER BY rowid"):
            yield json.loads(row[0])

    def of_campaign(self, campaign: str) -> list[dict[str, Any]]:
        """Those with a generator that ends with the campaign's name: `art` also gets what is of `folk-art` (contract 0, 7)."""
        sql = (
            "SELECT a.document FROM with_annotation a WHERE EXISTS (SELECT 1 FROM json_each(a.document, '$.annotators') o"
            " WHERE substr(json_extract(o.value, '$.generator'), -length(?1)) = ?1 OR ?1 = '') ORDER BY a.rowid"
        )
        return [json.loads(row[0]) for row in self._state.all(sql, (campaign,))]

    def is_of(self, stored: dict[str, Any], generators: Iterable[str]) -> bool:
        """Whether an annotator has one of these generators exactly; no generators means all."""
        wanted = set(generators)
        return not wanted or any(other["generator"] in wanted for other in stored["annotators"])

    def same(self, db_id: str, same_as: str) -> dict[str, Any] | None:
        """The oldest annotation of a record that says the same, imported or not (3.3)."""
        row = self._state.one(
            "SELECT document FROM with_annotation WHERE record_db_id = ?1"
            " AND (same_as = ?2 OR substr(same_as, 1, length(?2) + 1) = ?2 || '#') ORDER BY rowid LIMIT 1",
            (db_id, same_as),
        )
        document: dict[str, Any] | None = json.loads(row[0]) if row else None
        return document

    def add(self, stored: dict[str, Any], *, repeatable: bool = False) -> dict[str, Any]:
        """Store a new annotation under an id of its own; `repeatable` ones may say what is said already (3.6)."""
        target, body = stored["target"], stored["body"]
        db_id, same_as = target["recordId"], same_key(body, target.get("selector"))
        row = self._state.one("SELECT coalesce(max(rowid), 0) FROM with_annotation")
        identifier = object_id("annotation", f"{db_id} {same_as} {time.time_ns()} {row}")
        stored = {"dbId": identifier, "annotationWithURI": f"/annotation/{identifier}", **stored}
        self._state.execute(
            "INSERT INTO with_annotation (id, record_db_id, same_as, document) VALUES (?, ?, ?, ?)",
            (identifier, db_id, f"{same_as}#{identifier}" if repeatable else same_as, _text(stored)),
        )
        self.log("create", stored)
        return stored

    def keep(self, stored: dict[str, Any]) -> None:
        """Store a changed annotation."""
        self._state.execute("UPDATE with_annotation SET document = ? WHERE id = ?", (_text(stored), stored["dbId"]))

    def drop(self, stored: dict[str, Any]) -> None:
        """Remove an annotation with everything it has."""
        self._state.execute("DELETE FROM with_annotation WHERE id = ?", (stored["dbId"],))

    def log(self, operation: str, stored: dict[str, Any]) -> None:
        """One line of the journal about an annotation."""
        body = stored["body"]
        self._state.log("with", operation, stored["dbId"], stored["target"]["externalId"], body.get("uri") or body)


def same_key(body: dict[str, Any], selector: object) -> str:
    """What makes two annotations of a record the same: the URI (or label) and the place (3.3)."""
    return json.dumps([body.get("uri") or body.get("label"), selector], sort_keys=True)


def votes_of(stored: dict[str, Any], kind: str, generator: str | None = None) -> list[dict[str, Any]]:
    """The votes of one kind, of all campaigns or of the one with this generator."""
    assert kind in _VOTES
    votes: list[dict[str, Any]] = stored.get("score", {}).get(kind, [])
    return [vote for vote in votes if generator is None or vote["generator"] == generator]


def _text(stored: dict[str, Any]) -> str:
    return json.dumps(stored, ensure_ascii=False)
