"""Ledger and platform compared, both ways: what we believe to stand there, and what of ours stands there.

Only what search and ledger disagree about is looked at one by one. Without `repair` nothing is changed anywhere.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine

from pipeline.clients.annotations import AnnotationClient
from pipeline.database import connect, ledger
from pipeline.database.ledger import State
from pipeline.datasets.lake import open_lake
from pipeline.datasets.stage import groups_of
from pipeline.domain.identifiers import ANNOTATION_BASE, ITEM_BASE, annotation_number
from pipeline.errors import PermanentError
from pipeline.publish import europeana
from pipeline.reporting.progress import Progress
from pipeline.reporting.report import RECONCILIATION
from pipeline.settings import Settings

SAMPLES = 20


class Finding(StrEnum):
    """What ledger and platform disagree about, and what a repair does."""

    REMOVED_THERE = "removed there"  # sent, and somebody has deleted it: the row becomes gone
    NOT_INDEXED = "not in the index"  # it stands there and no search knows it: nothing can be done from here
    NOT_KNOWN_AS_SENT = "not known as sent"  # it stands there, its row is planned, sending or gone: it becomes sent
    SAID_TWICE = "said twice"  # another one of ours says the same: this one is deleted
    SHOULD_BE_GONE = "should be gone"  # held or withdrawn, and yet it stands there: it is deleted
    UNKNOWN = "unknown"  # ours, and no row is about it: left to people


@dataclass
class Reconciliation:
    """How many agree, what does not with examples, and whether it was repaired."""

    repaired: bool
    agree: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, str]] = field(default_factory=list)

    def add(self, finding: Finding, remote_id: str, about: str) -> None:
        """Count one disagreement."""
        self.findings[finding] += 1
        if len(self.samples) < SAMPLES:
            self.samples.append({"finding": finding, "annotation": remote_id, "about": about})

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.__dict__, "findings": dict(self.findings)}


def reconcile(*, repair: bool, now: datetime, settings: Settings) -> Reconciliation:
    """Compare the ledger with all annotations of our account at Europeana; with `repair` make both say the same.

    The counts are kept for the run reports that follow, without records. Raises what the client raises; another start
    begins anew.
    """
    engine, client = connect(settings), AnnotationClient(settings)
    target, found = europeana.target_name(settings), Reconciliation(repair)
    highest = max((int(annotation_number(row["remote_id"])) for row in _standing(engine, target)), default=0)
    with Progress("reconcile", "annotations", settings=settings) as progress:
        there = set(map(int, client.all_of_ours(highest)))
        for row in _standing(engine, target):
            if row["state"] == State.SENT and int(annotation_number(row["remote_id"])) not in there:
                _missing(engine, client, row, found, now)
            else:
                found.agree += row["state"] == State.SENT
            progress.advance()
        for group in groups_of(sorted(there), ledger.CHUNK):
            uris = [f"{ANNOTATION_BASE}/{number}" for number in group]
            for uri in sorted(set(uris) - ledger.of_remote(engine, target, uris)):
                _strange(engine, client, target, uri, found, now)
            progress.advance(len(group))
    counts = {name: value for name, value in found.to_json().items() if name != "samples"}
    open_lake(settings).write_json(RECONCILIATION, {"target": target, "at": now.isoformat(), **counts})
    return found


def _standing(engine: Engine, target: str) -> Iterator[dict[str, Any]]:
    """Rows that name an annotation of ours; a duplicate names somebody else's."""
    after = 0
    while rows := ledger.with_remote(engine, target, after=after):
        after = rows[-1]["id"]
        yield from (row for row in rows if row["state"] != State.DUPLICATE)


def _missing(engine: Engine, client: AnnotationClient, row: dict[str, Any], found: Reconciliation, now: datetime) -> None:
    """A row is sent, and no search finds it."""
    about = f"{row['record_id']} {row['body_uri']}"
    try:
        client.get(annotation_number(row["remote_id"]))
    except PermanentError as error:
        found.add(Finding.REMOVED_THERE, row["remote_id"], about)
        if found.repaired:
            ledger.correct(engine, row["id"], State.GONE, None, before=State.SENT, why=str(error), now=now)
        return
    found.add(Finding.NOT_INDEXED, row["remote_id"], about)


def _strange(engine: Engine, client: AnnotationClient, target: str, uri: str, found: Reconciliation, now: datetime) -> None:
    """An annotation is ours, and no row names it."""
    number = annotation_number(uri)
    try:
        document = client.get(number)
    except PermanentError:
        return  # deleted a moment ago
    record_id, body = str(document.get("target")).removeprefix(ITEM_BASE), document.get("body")
    row = next((one for one in ledger.find(engine, target, [record_id]) if one["body_uri"] == body), None)
    finding, about = _finding(row), f"{record_id} {body}"
    found.add(finding, uri, about)
    if not found.repaired or row is None:
        return
    if finding is Finding.NOT_KNOWN_AS_SENT:
        ledger.correct(engine, row["id"], State.SENT, uri, before=State(row["state"]), why="found there", now=now)
    elif finding in (Finding.SAID_TWICE, Finding.SHOULD_BE_GONE):
        client.delete(number)


def _finding(row: dict[str, Any] | None) -> Finding:
    if row is None:
        return Finding.UNKNOWN
    if row["state"] in (State.PLANNED, State.SENDING, State.GONE):
        return Finding.NOT_KNOWN_AS_SENT
    return Finding.SAID_TWICE if row["remote_id"] else Finding.SHOULD_BE_GONE
