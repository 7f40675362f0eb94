"""The dry run of a publication: exactly what would be sent, changed and taken back, and what is held back and why."""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.database import connect
from pipeline.database.ledger import Statement
from pipeline.datasets.lake import open_lake
from pipeline.domain.annotation import as_request
from pipeline.publish import europeana, with_hidden
from pipeline.publish.proposals import Action, Planner, Proposal, planners
from pipeline.settings import Settings

SAMPLES = 20


@dataclass
class Preview:
    """Statements by (target, concept, institution, action, why in a word), the first documents, and how many there are."""

    counts: Counter[tuple[str, str, str, str, str]] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    documents: int = 0


def preview_publication(
    run_key: str, *, now: datetime, settings: Settings, every_document: Path | None = None, samples: int = SAMPLES
) -> Preview:
    """What publishing the run now would do. Nothing leaves, and nothing changes in the ledger.

    `every_document`: a file for all documents that would be posted, one JSON object a line.
    """
    lake, engine = open_lake(settings), connect(settings)
    found = Preview()
    lines = every_document.open("w", encoding="utf-8") if every_document else None
    try:
        for planner in planners(lake, lake.run(run_key), engine, settings):
            for one in planner.proposals():
                found.counts[_row_of(planner, one)] += 1
                if one.action in (Action.SEND, Action.UPDATE):
                    document = _document(planner, one, settings, now)
                    found.documents += 1
                    if len(found.samples) < samples:
                        found.samples.append(document)
                    if lines:
                        lines.write(json.dumps(document, ensure_ascii=False) + "\n")
    finally:
        if lines:
            lines.close()
    return found


def _row_of(planner: Planner, one: Proposal) -> tuple[str, str, str, str, str]:
    concept = planner.gate.vocabulary.resolve(one.statement.concept_uri)
    word = one.why.partition(":")[0] if one.action is Action.HOLD else ""
    provider = one.statement.data_provider or one.statement.provider
    return planner.target, concept.slug if concept else one.statement.concept_uri, provider, str(one.action), word


def _document(planner: Planner, one: Proposal, settings: Settings, now: datetime) -> dict[str, Any]:
    """What is posted. A statement that the ledger knows keeps the time at which it was first made."""
    statement: Statement = one.statement
    row = {**statement.__dict__, "created_at": one.row["created_at"] if one.row else now}
    if planner.kind == europeana.KIND:
        return as_request(europeana.document(row, settings))
    return with_hidden.document(row, settings, planner.gate.vocabulary)
