"""The dry run of a publication: exactly what would be sent, changed and taken back, and what is held back and why.

A person who is asked to approve a publication is shown the same.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.database import connect
from pipeline.database.ledger import Statement
from pipeline.datasets.lake import open_lake
from pipeline.domain.annotation import as_request
from pipeline.domain.identifiers import run_key
from pipeline.errors import CriticalError
from pipeline.publish import europeana, with_hidden
from pipeline.publish.proposals import Action, Planner, Proposal, planners, updates_leave
from pipeline.settings import Settings

SAMPLES = 20


@dataclass
class Preview:
    """Statements by (target, concept, institution, action, why in a word), some documents, and how many there are."""

    counts: Counter[tuple[str, str, str, str, str]] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    documents: int = 0


def preview_publication(
    key: str,
    *,
    now: datetime,
    settings: Settings,
    every_document: Path | None = None,
    samples: int = SAMPLES,
    approved: bool = False,
) -> Preview:
    """What publishing the run now would do. Nothing leaves, and nothing changes in the ledger.

    `every_document`: a file for all documents that would be posted, one JSON object a line. The samples are drawn from all
    of them, the same ones each time. `approved`: as if a person had agreed to it.
    """
    draw = random.Random(key)
    lake, engine = open_lake(settings), connect(settings)
    found = Preview()
    lines = every_document.open("w", encoding="utf-8") if every_document else None
    try:
        for planner in planners(lake, lake.run(key), engine, settings, approved=approved):
            for one in planner.proposals():
                found.counts[_row_of(planner, one)] += 1
                if one.action == Action.SEND or (one.action == Action.UPDATE and updates_leave(planner.kind, settings)):
                    document = _document(planner, one, settings, now)
                    found.documents += 1
                    if len(found.samples) < samples:
                        found.samples.append(document)
                    elif (place := draw.randrange(found.documents)) < samples:
                        found.samples[place] = document  # so that each document is among them with the same chance
                    if lines:
                        lines.write(json.dumps(document, ensure_ascii=False) + "\n")
    finally:
        if lines:
            lines.close()
    return found


def key_of(*, form: Mapping[str, Any], settings: Settings) -> str:
    """The key of the run that a form names by its id; CriticalError when there is no such run."""
    key = f"runs/run={run_key(form['run'])}/run.json"
    if not open_lake(settings).store.exists(key):
        raise CriticalError(f"there is no run {form['run']!r}; its id stands in its report and in the ledger")
    return key


def ask_for_approval(*, form: Mapping[str, Any], now: datetime, settings: Settings) -> dict[str, Any]:
    """{documents, text}: what the run of the form would send if a person agreed, as Markdown for that person."""
    key = key_of(form=form, settings=settings)
    found = preview_publication(key, now=now, settings=settings, samples=form["samples"], approved=True)
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for (target, concept, provider, action, why), count in found.counts.items():
        counts[target, action, f"{concept} ({why})" if why else concept, provider] += count
    lines = [f"| {' | '.join(key)} | {count:,} |" for key, count in sorted(counts.items())]
    shown = [
        f"- {sample.get('target', '')} — {json.dumps(sample.get('body', ''), ensure_ascii=False)}" for sample in found.samples
    ]
    table = ["| platform | what | concept | institution | statements |", "|---|---|---|---|--:|", *lines]
    return {"documents": found.documents, "text": "\n".join([*table, "", f"{len(shown)} of them:", "", *shown])}


def _row_of(planner: Planner, one: Proposal) -> tuple[str, str, str, str, str]:
    concept = planner.gate.vocabulary.resolve(one.statement.concept_uri)
    word = one.why.partition(":")[0] if one.action is Action.HOLD else ""
    provider = one.statement.data_provider or one.statement.provider
    return planner.target, concept.slug if concept else one.statement.concept_uri, provider, str(one.action), word


def _document(planner: Planner, one: Proposal, settings: Settings, now: datetime) -> dict[str, Any]:
    """What is posted. A statement that the ledger knows keeps the time at which it was first made."""
    statement: Statement = one.statement
    row = {**statement.__dict__, "created_at": one.row["created_at"] if one.row else now}
    if planner.kind == with_hidden.KIND:
        return with_hidden.document(row, settings, planner.gate.vocabulary)
    return as_request(europeana.document(row, settings))
