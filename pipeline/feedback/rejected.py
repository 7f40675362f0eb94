"""Statements of ours that people have voted down: what has to be withdrawn."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.crowd.verdicts import decided, newest_verdicts
from pipeline.database import connect, ledger
from pipeline.database.ledger import Choice, State
from pipeline.datasets.lake import open_lake
from pipeline.settings import Settings

_WAITING = (State.PLANNED, State.HELD)


@dataclass(frozen=True)
class Rejected:
    """A label that people have rejected: how many of our statements of it stand on platforms, how many wait to be sent."""

    record_id: str
    concept_uri: str
    label: str
    votes: str
    there: int
    waiting: int


def rejected_statements(*, settings: Settings) -> Iterator[Rejected]:
    """Rejected labels of which the ledger knows a statement, in order of record and concept."""
    engine, rows = connect(settings), newest_verdicts(open_lake(settings))
    uris, votes = dict[str, str](), defaultdict[tuple[str, str], Counter[str]](Counter)
    for row in rows:
        if row["concept_uri"]:
            uris[row["label"]] = row["concept_uri"]
            votes[row["record_id"], row["label"]].update(up=row["up"], down=row["down"])
    for record_id, label in sorted(key for key, right in decided(rows).items() if right is False):
        found = ledger.tally(engine, Choice(record_id=record_id, concept_uri=uris[label]))
        there, waiting = (
            sum(row["statements"] for row in found if row["state"] in states) for states in (ledger.THERE, _WAITING)
        )
        if there or waiting:
            said = votes[record_id, label]
            yield Rejected(record_id, uris[label], label, f"{said['down']} against, {said['up']} for", there, waiting)
