"""How a model's scores are spread, by provider and concept: small tables that drift, plots and gates are read from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.datasets.schemas import SCORE_HISTOGRAMS
from pipeline.labels.tables import filled_table
from pipeline.model.bundle import Floats

# Narrow where most scores lie: a concept is absent from most pictures.
EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)


def histogram_table(
    images: Sequence[Mapping[str, Any]], labels: Sequence[str], scores: Floats, columns: Mapping[str, Any]
) -> pa.Table:
    """`score_histograms` of calibrated scores (n images, c concepts); `columns` have the same value in every row."""
    providers = list(dict.fromkeys(image["provider"] for image in images))
    places = {provider: place for place, provider in enumerate(providers)}
    provider = np.array([places[image["provider"]] for image in images], np.intp).reshape(-1, 1)
    bins = np.searchsorted(EDGES[1:-1], scores, side="right")
    shape = (len(providers), len(labels), len(EDGES) - 1)
    concept = np.broadcast_to(np.arange(len(labels)), scores.shape)
    cell = np.ravel_multi_index((np.broadcast_to(provider, scores.shape), concept, bins), shape).ravel()
    count = np.bincount(cell, minlength=int(np.prod(shape)))
    lowest, highest = np.full(count.shape, np.inf, np.float32), np.full(count.shape, -np.inf, np.float32)
    np.minimum.at(lowest, cell, scores.ravel())
    np.maximum.at(highest, cell, scores.ravel())
    filled = np.flatnonzero(count)
    one, label, place = np.unravel_index(filled, shape)
    edges = pa.array(EDGES, pa.float32())
    arrays = {
        "provider": pa.array(providers, pa.string()).take(pa.array(one)),
        "label": pa.array(list(labels), pa.string()).take(pa.array(label)),
        "score_from": edges.take(pa.array(place)),
        "score_to": edges.take(pa.array(place + 1)),
        "images": pa.array(count[filled]),
        "lowest": pa.array(lowest[filled]),
        "highest": pa.array(highest[filled]),
    }
    return filled_table(SCORE_HISTOGRAMS, arrays, columns)
