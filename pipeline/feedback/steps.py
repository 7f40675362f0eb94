"""Import an export: its tags become rows of the lake's dataset `feedback`. The same export twice changes nothing.

An import is a run of its own, whose name follows from the file and from what it is read with.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.crowd.labels import Labels, read_meanings
from pipeline.crowd.verdicts import DATASET
from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import FEEDBACK
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError
from pipeline.feedback.rules import SIDE_BY_SIDE, Rule, parse_rule, side_by_side, verdict
from pipeline.feedback.sources import Said, Tally, read_said, usual_votes
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary

_SHOWN = 100  # problems and unknown words that the report keeps
_VERSIONED = re.compile(r"(.+?)[@ ]v?(\d[\w.-]*)")  # `museum@3`, `fifties-tagger 1.2`


@dataclass(frozen=True)
class Wish:
    """What is to be read, and how: `kind` of export, accept rule, the campaign it is of (exports of one campaign follow
    each other, those of several stand beside each other), a CSV of meanings, how many votes decide (None: the usual)."""

    path: Path
    kind: str
    accept: str = "majority"
    campaign: str = ""
    meanings: Path | None = None
    fewest: int | None = None

    @property
    def rule(self) -> Rule:
        """CriticalError when there is no such rule, or it does not go with the kind."""
        rule = parse_rule(self.accept)
        if rule.name == "dawid-skene" and self.kind == "crowdheritage":
            raise CriticalError("--accept dawid-skene needs to know who answered what, which an export of WITH does not say")
        return rule

    @property
    def least(self) -> int:
        """So many votes decide; CriticalError when there is no such kind of export."""
        return usual_votes(self.kind) if self.fewest is None else self.fewest


@dataclass(frozen=True)
class Imported:
    """The run, whether it was new, and its report: figures, verdicts, what was passed over."""

    run_key: str
    is_new: bool
    report: Mapping[str, Any]


def look_at(wish: Wish, *, settings: Settings) -> tuple[Said, dict[str, Any]]:
    """Read an export and write nothing: what it says, and the rules side by side (`rules.side_by_side`).

    Raises CriticalError when the file cannot be read as an export of its kind.
    """
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    meanings = read_meanings(wish.meanings, vocabulary) if wish.meanings else {}
    rule = wish.rule
    said = read_said(wish.kind, wish.path, Labels(vocabulary, meanings), fewest=wish.least, settings=settings)
    rules = dict.fromkeys([*SIDE_BY_SIDE, *([rule.name] if rule.name != "dawid-skene" else [])])
    return said, side_by_side(said.votes, rules, errors=len(said.problems))


def import_feedback(wish: Wish, *, settings: Settings, now: datetime) -> Imported:
    """Write what an export says into the lake, unless that very export is there already, read in the same way."""
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    lake = open_lake(settings)
    run = Run(f"feedback-{_digest(wish, vocabulary)}", "feedback", Selection("feedback", wish.kind), Scope("full"), now)
    report_key = f"{run.folder}/{DATASET}.json"
    if lake.store.exists(run.key) and lake.is_published(lake.run(run.key), DATASET) and lake.store.exists(report_key):
        return Imported(run.key, False, lake.read_json(report_key))
    said, figures = look_at(wish, settings=settings)
    run = lake.save_run(run)
    rows = [_row(tally, wish, vocabulary) | run.columns() for tally in said.tallies]
    report = {
        "run_id": run.run_id,
        "platform": wish.kind,
        "campaign": wish.campaign,
        "rule": wish.accept,
        "figures": figures,
        "rows": len(rows),
        "verdicts": dict(sorted(Counter(row["verdict"] for row in rows).items())),
        "problems": list(said.problems[:_SHOWN]),
        "notes": list(said.notes),
        "unknown_labels": dict(Counter(said.unknown).most_common(_SHOWN)),
        "annotators": asdict(said.annotators) if said.annotators else None,
    }
    lake.write_json(report_key, report)
    _publish(lake, run, rows)  # at last: an import that shows is a whole one
    return Imported(run.key, True, report)


def _digest(wish: Wish, vocabulary: Vocabulary) -> str:
    if not wish.path.is_file():
        raise CriticalError(f"{wish.path}: not found; name the file of an export")
    with wish.path.open("rb") as handle:
        content = hashlib.file_digest(handle, "sha256").hexdigest()
    meanings = hashlib.sha256(wish.meanings.read_bytes()).hexdigest() if wish.meanings and wish.meanings.is_file() else ""
    how = [content, wish.kind, wish.accept, wish.campaign, meanings, wish.least, vocabulary.version]
    return hashlib.sha256(json.dumps(how).encode()).hexdigest()[:16]


def _publish(lake: Lake, run: Run, rows: Sequence[dict[str, Any]]) -> None:
    rows = sorted(rows, key=lambda row: (row["record_id"], row["label"], row["proposed_by"], row["model_name"]))
    lake.publish(run, DATASET, [lake.write_part(run, DATASET, 0, [as_table(DATASET, rows)], FEEDBACK)])


def _row(tally: Tally, wish: Wish, vocabulary: Vocabulary) -> dict[str, Any]:
    versioned = _VERSIONED.fullmatch(tally.maker or "")
    name, version = versioned.groups() if versioned else (tally.maker or "", "")
    return {
        "record_id": tally.record_id,
        "concept_uri": vocabulary.by_slug[tally.slug].concept_uri if tally.slug else None,
        "label": tally.slug or tally.word,
        "proposed_by": "human" if tally.maker is None else "machine",
        "model_name": name,
        "model_version": version,
        "score": tally.score,
        "up": tally.up,
        "down": tally.down,
        "certainty": tally.certainty,
        "verdict": verdict(
            wish.rule,
            up=tally.up,
            down=tally.down,
            fewest=wish.least,
            majority=tally.majority,
            certainty=tally.certainty,
        ),
        "rule": wish.accept,
        "platform": wish.kind,
        "campaign": wish.campaign,
        "stated_at": tally.stated_at,
    }
