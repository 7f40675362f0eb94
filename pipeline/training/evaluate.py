"""A registered model on any labelled collection: figures with their intervals, and nothing fitted on it."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.collection import Collection, CollectionRow, read_collection
from pipeline.database import connect
from pipeline.datasets.lake import open_lake
from pipeline.errors import CriticalError
from pipeline.model.bundle import Bundle
from pipeline.model.predictor import Predictor
from pipeline.model.registry import bundle_in_force
from pipeline.reporting.bootstrap import average_precisions, draws, interval, macro_average_precisions
from pipeline.reporting.evaluation import TYPE
from pipeline.reporting.metrics import FEWEST_POSITIVES, evaluate
from pipeline.reporting.ranking import ranking_figures, top1_accuracy
from pipeline.settings import Settings
from pipeline.training.dataset import LabelledImages, load_rows
from pipeline.vocabulary import Vocabulary, load_vocabulary

BATCH = 32


def evaluate_model(
    name: str, version: int | None, collection_dir: Path, *, split: str | None, settings: Settings
) -> dict[str, Any]:
    """All figures of a version (None: the released one) on a collection.

    `split` chooses rows; None means `test` where the CSV has such rows, else all. Raises CriticalError for an
    unknown model, or when no picture can be judged.
    """
    engine, store = connect(settings), open_lake(settings).store
    bundle = bundle_in_force(engine, store, name, version)
    collection = read_collection(collection_dir)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    chosen, rows = _rows(collection, split)
    slugs = tuple(head.slug for head in bundle.heads)
    images = load_rows(collection, rows, slugs, vocabulary, side_px=bundle.side_px, settings=settings)
    if images is None:
        raise CriticalError(f"{collection_dir}: no readable picture among its rows of split {chosen!r}")
    scores = predict(Predictor(store, bundle), images)
    figures = judge(bundle, scores, images.truth, vocabulary)
    return {"model": f"{bundle.name}@{bundle.version}", "collection": str(collection_dir), "split": chosen, **figures}


def predict(predictor: Predictor, images: LabelledImages) -> npt.NDArray[np.float32]:
    """Calibrated scores (n, concepts)."""
    pixels = images.pixels
    return np.concatenate([predictor.predict(pixels[at : at + BATCH]).scores for at in range(0, len(pixels), BATCH)])


def basic_figures(bundle: Bundle, scores: npt.NDArray[np.float32], truth: npt.NDArray[np.int8]) -> dict[str, Any]:
    """What is registered with a model: `metrics.evaluate` at the thresholds of its bundle."""
    limits = [head.thresholds.publish for head in bundle.heads]
    published = scores >= np.array([np.inf if limit is None else limit for limit in limits])
    return evaluate([head.slug for head in bundle.heads], scores.astype(np.float64), truth, published)


def judge(
    bundle: Bundle, scores: npt.NDArray[np.float32], truth: npt.NDArray[np.int8], vocabulary: Vocabulary
) -> dict[str, Any]:
    """The figures of n pictures × the model's concepts."""
    figures, doubles = basic_figures(bundle, scores, truth), scores.astype(np.float64)
    slugs = [head.slug for head in bundle.heads]
    limits = [head.thresholds.publish for head in bundle.heads]
    weights = draws(len(scores))
    for column, slug in enumerate(slugs):
        own = figures["per_concept"][slug]
        own["threshold"] = limits[column]
        own["ap_interval"] = interval(average_precisions(doubles[:, column], truth[:, column], weights))
    judged = [(truth[:, column] == 1).sum() >= FEWEST_POSITIVES for column in range(len(slugs))]
    main = [slug in vocabulary.by_slug and vocabulary.by_slug[slug].kind == TYPE for slug in slugs]
    macro = interval(macro_average_precisions(doubles[:, judged], truth[:, judged], weights)) if any(judged) else None
    return {
        **figures,
        "macro_ap_interval": macro,
        "top1_accuracy": top1_accuracy(doubles[:, main], truth[:, main]) if any(main) else None,
        "abstaining": [slug for slug, limit in zip(slugs, limits, strict=True) if limit is None],
        **ranking_figures(doubles, truth),
    }


def _rows(collection: Collection, split: str | None) -> tuple[str, list[CollectionRow]]:
    """The rows to judge, and the name of their split (`all`: whatever it is)."""
    with_picture = [row for row in collection.rows if row.image_file]
    if split is None:
        split = "test" if any(row.split == "test" for row in with_picture) and not collection.split_drawn else "all"
    return split, with_picture if split == "all" else [row for row in with_picture if row.split == split]
