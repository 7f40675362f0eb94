"""The errors that teach most: what was published with the highest scores and is wrong, what is true and scored lowest."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.collection import CollectionRow
from pipeline.training.providers import Part

SHOWN = 24  # of each sort


def worst_failures(slugs: Sequence[str], part: Part, rows: Sequence[CollectionRow]) -> dict[str, list[dict[str, Any]]]:
    """`wrong`: published and not true, highest score first; `missed`: true and not published, lowest score first.

    `rows` are the pictures' lines in the collection, in the order of `part`. Labels that nobody checked are neither.
    """
    wrong, missed = part.published & (part.truth == 0), ~part.published & (part.truth == 1)
    return {"wrong": _first(wrong, -part.scores, slugs, part, rows), "missed": _first(missed, part.scores, slugs, part, rows)}


def _first(
    chosen: npt.NDArray[np.bool_],
    order: npt.NDArray[np.float64],
    slugs: Sequence[str],
    part: Part,
    rows: Sequence[CollectionRow],
) -> list[dict[str, Any]]:
    pictures, concepts = np.nonzero(chosen)
    first = np.argsort(order[pictures, concepts], kind="stable")[:SHOWN]
    return [
        {
            "record_id": rows[picture].record_id,
            "title": rows[picture].title,
            "provider": rows[picture].owner,
            "concept": slugs[concept],
            "score": round(float(part.scores[picture, concept]), 4),
            "true": [slug for column, slug in enumerate(slugs) if part.truth[picture, column] == 1],
        }
        for picture, concept in zip(pictures[first], concepts[first], strict=True)
    ]
