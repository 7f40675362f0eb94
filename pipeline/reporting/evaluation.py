"""How good were the labels? Compares a run with the truth of a collection folder; a real run has none and skips this."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.collection import CollectionRow, read_collection
from pipeline.datasets.lake import Lake
from pipeline.datasets.run import Run
from pipeline.domain.label import Decision
from pipeline.reporting.metrics import evaluate
from pipeline.reporting.truth import known_labels, label_row
from pipeline.vocabulary import Vocabulary

TYPE = "type"  # the kind of concept that says what a picture is of; it has one at least


def evaluate_run(lake: Lake, run: Run, folder: Path, vocabulary: Vocabulary) -> dict[str, Any] | None:
    """Figures on the held-out `test` split, and how many suggestions share a true main type; None if the run has none of it."""
    rows = {row.record_id: row for row in read_collection(folder).rows}
    held_out = {record_id: row for record_id, row in rows.items() if row.split == "test"}
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    published: dict[str, set[str]] = defaultdict(set)
    slugs: dict[str, None] = {}
    for batch in lake.rows(run, "record_labels", ("record_id", "label", "max_score", "decision")):
        for label in batch.to_pylist():
            slugs.setdefault(label["label"])
            if label["record_id"] in held_out:
                scores[label["record_id"]][label["label"]] = label["max_score"]
                if label["decision"] == Decision.PUBLISH:
                    published[label["record_id"]].add(label["label"])
    columns, ids = sorted(slugs), sorted(scores)
    if not ids:
        return None
    shape = (len(ids), len(columns))
    figures = evaluate(
        columns,
        np.array([[scores[i].get(slug, 0.0) for slug in columns] for i in ids], dtype=np.float64).reshape(shape),
        np.array([label_row(held_out[i], vocabulary, columns) for i in ids], dtype=np.int8).reshape(shape),
        np.array([[slug in published[i] for slug in columns] for i in ids], dtype=bool).reshape(shape),
    )
    return {"split": "test", **figures, "suggestions": _matching_suggestions(lake, run, rows, vocabulary)}


def _matching_suggestions(lake: Lake, run: Run, rows: dict[str, CollectionRow], vocabulary: Vocabulary) -> dict[str, Any]:
    """Share of suggested pairs that share at least one true main type."""
    types = {
        record_id: {slug for slug in known_labels(row, vocabulary)[0] if vocabulary.by_slug[slug].kind == TYPE}
        for record_id, row in rows.items()
    }
    judged = matching = 0
    for batch in lake.rows(run, "suggestions", ("record_id", "related_record_id")):
        for pair in batch.to_pylist():
            one, other = types.get(pair["record_id"]), types.get(pair["related_record_id"])
            if one and other:
                judged += 1
                matching += bool(one & other)
    return {"judged": judged, "matching": matching, "matching_share": round(matching / judged, 4) if judged else None}
