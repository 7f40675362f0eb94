"""A registered model on any labelled collection: figures with their intervals, and nothing fitted on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.collection import Collection, CollectionRow, read_collection
from pipeline.database import connect
from pipeline.datasets.lake import open_lake
from pipeline.errors import CriticalError
from pipeline.model.bundle import Bundle
from pipeline.model.engines.kinds import KERAS
from pipeline.model.predictor import Predictor
from pipeline.model.registry import bundle_in_force
from pipeline.reporting.bootstrap import Weights, average_precisions, draws, interval, macro_average_precisions
from pipeline.reporting.calibration import calibration_figures
from pipeline.reporting.confusion import SAID, co_occurrence, main_type_confusion
from pipeline.reporting.evaluation import TYPE
from pipeline.reporting.metrics import FEWEST_POSITIVES, average_precision, decision_samples, evaluate
from pipeline.reporting.ranking import ranking_figures, top1_accuracy, top_k_accuracy
from pipeline.settings import Settings
from pipeline.storage import ObjectStore
from pipeline.training.compare import Judged, compared
from pipeline.training.dataset import LabelledImages, load_rows
from pipeline.training.failures import worst_failures
from pipeline.training.providers import Part, by_provider, drop_to_unseen
from pipeline.training.splits import HELD_OUT
from pipeline.vocabulary import Vocabulary, load_vocabulary

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Evaluated:
    """A version's figures on a collection, the pictures that they are of, and their calibrated scores (n, concepts).

    `beside` are pictures of the other held-out split, with scores, where there is one; `store` is where the version lies.
    """

    bundle: Bundle
    figures: dict[str, Any]
    images: LabelledImages
    scores: Floats
    predictor: Predictor
    beside: tuple[LabelledImages, Floats] | None = None
    store: ObjectStore | None = None


def evaluate_model(
    name: str,
    version: int | None,
    collection_dir: Path,
    *,
    split: str | None,
    settings: Settings,
    against: tuple[str, int | None] | None = None,
    engine: str = KERAS,
) -> dict[str, Any]:
    """All figures of a version (None: the released one) on a collection.

    `split` chooses rows; None means `test` where the CSV has such rows, else all. `against`: another model and version; how
    much better the first is than it comes along. `engine` runs the first, as `open_engine` has it. Raises CriticalError for
    an unknown model or an engine that cannot run it, and when no picture can be judged.
    """
    return evaluated_model(
        name, version, collection_dir, split=split, settings=settings, against=against, engine=engine
    ).figures


def evaluated_model(
    name: str,
    version: int | None,
    collection_dir: Path,
    *,
    split: str | None,
    settings: Settings,
    against: tuple[str, int | None] | None = None,
    engine: str = KERAS,
) -> Evaluated:
    """As `evaluate_model`, together with the pictures."""
    database, store = connect(settings), open_lake(settings).store
    bundle = bundle_in_force(database, store, name, version)
    collection = read_collection(collection_dir)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    chosen, rows = _rows(collection, split)
    slugs = tuple(head.slug for head in bundle.heads)

    def load(wanted: Sequence[CollectionRow], of: Bundle = bundle) -> LabelledImages | None:
        """Only the pictures that can be read."""
        concepts = tuple(head.slug for head in of.heads)
        return load_rows(collection, wanted, concepts, vocabulary, side_px=of.side_px, settings=settings)

    other = bundle_in_force(database, store, *against) if against else None  # told before the work when it is not there
    images = load(rows)
    if images is None:
        raise CriticalError(f"{collection_dir}: no readable picture among its rows of split {chosen!r}")
    predictor = Predictor(store, bundle, engine=engine, to_measure=True)
    raw, scores = predict_both(predictor, images)
    part = _part(bundle, scores, images.truth)
    sides = _sides(images.splits, part)
    others = _rows_to_compare(collection, chosen)
    beside = None
    if others and (more := load(others)) is not None:
        beside = more, predict(predictor, more)
        sides |= _sides(more.splits, _part(bundle, beside[1], more.truth))
    by_id = {row.record_id: row for row in rows}
    kept = [by_id[record_id] for record_id in images.record_ids]
    figures = {
        "model": f"{bundle.name}@{bundle.version}",
        "engine": predictor.engine,
        "collection": str(collection_dir),
        "split": chosen,
        **judge(bundle, scores, images.truth, vocabulary, raw=raw),
        "per_provider": by_provider([row.owner for row in kept], part),
        "unseen": drop_to_unseen(slugs, sides["test"], sides["unseen"]) if set(sides) == set(HELD_OUT) else None,
        "failures": worst_failures(slugs, part, kept),
    }
    if other is not None and (same := load(rows, other)) is not None:
        theirs = Judged(other, predict(Predictor(store, other), same), same.truth)
        found = compared(Judged(bundle, scores, images.truth), theirs)
        figures["against"] = {"model": f"{other.name}@{other.version}", **found}
    return Evaluated(bundle, figures, images, scores, predictor, beside, store)


def predict(predictor: Predictor, images: LabelledImages) -> Floats:
    """Calibrated scores (n, concepts)."""
    return predict_both(predictor, images)[1]


def predict_both(predictor: Predictor, images: LabelledImages) -> tuple[Floats, Floats]:
    """Scores as they leave the network, and calibrated, each (n, concepts)."""
    found = predictor.predict(images.pixels)
    return found.raw, found.scores


def basic_figures(bundle: Bundle, scores: Floats, truth: Truth) -> dict[str, Any]:
    """What is registered with a model: `metrics.evaluate` at the thresholds of its bundle."""
    return evaluate([head.slug for head in bundle.heads], scores.astype(np.float64), truth, published(bundle, scores))


def published(bundle: Bundle, scores: npt.NDArray[np.floating[Any]]) -> Flags:
    """Which of the calibrated scores (n, concepts) reach the threshold of their concept; none of one that abstains."""
    limits = [head.thresholds.publish for head in bundle.heads]
    return np.asarray(scores >= np.array([np.inf if limit is None else limit for limit in limits]))


def judge(bundle: Bundle, scores: Floats, truth: Truth, vocabulary: Vocabulary, *, raw: Floats | None = None) -> dict[str, Any]:
    """The figures of n pictures × the model's concepts, from calibrated scores; `raw` ones for the calibration before."""
    figures, doubles = basic_figures(bundle, scores, truth), scores.astype(np.float64)
    slugs = [head.slug for head in bundle.heads]
    weights = draws(len(scores))
    judged = np.array([(truth[:, column] == 1).sum() >= FEWEST_POSITIVES for column in range(len(slugs))], dtype=bool)
    main = np.array([slug in vocabulary.by_slug and vocabulary.by_slug[slug].kind == TYPE for slug in slugs], dtype=bool)
    macro = interval(macro_average_precisions(doubles[:, judged], truth[:, judged], weights)) if judged.any() else None
    said = doubles >= SAID
    decisions = _decisions(figures, said, truth, judged, weights)
    together = _add_to_concepts(figures["per_concept"], bundle, doubles, truth, weights)
    return {
        **decisions,
        **figures,
        "macro_ap_interval": macro,
        "published_precision_interval": together["precision"],
        "published_recall_interval": together["recall"],
        "micro_ap": _rounded(average_precision(doubles.ravel(), truth.ravel())),
        "top1_accuracy": top1_accuracy(doubles[:, main], truth[:, main]) if main.any() else None,
        "abstaining": [head.slug for head in bundle.heads if head.thresholds.publish is None],
        **ranking_figures(doubles, truth),
        "main_type": _main_type(slugs, doubles, truth, main, vocabulary) if main.any() else None,
        "co_occurrence": co_occurrence(slugs, said, truth),
        "calibration": {
            "before": None if raw is None else calibration_figures(raw, truth),
            "after": calibration_figures(doubles, truth),
        },
        "abstention": _abstention(bundle, scores, truth),
    }


def _decisions(
    figures: dict[str, Any], said: Flags, truth: Truth, judged: Flags, weights: Weights
) -> dict[str, float | tuple[float, float] | None]:
    """Precision, recall and F1 at a score of 0.5: of each concept their intervals (added), macro and micro figures."""
    from sklearn.metrics import precision_recall_fscore_support

    each, together = decision_samples(said, truth, weights)
    concepts = list(figures["per_concept"].values())
    known = truth >= 0
    micro: dict[str, float | None] = dict.fromkeys(each)
    if known.any():
        found = precision_recall_fscore_support(truth[known] == 1, said[known], average="binary", zero_division=0.0)
        micro = dict(zip(("precision", "recall", "f1"), found, strict=False))
    result: dict[str, float | tuple[float, float] | None] = {}
    for name, samples in each.items():
        for column, own in enumerate(concepts):
            own[f"{name}_interval"] = interval(samples[:, column])
        points = [own[name] for own, counts in zip(concepts, judged, strict=True) if counts]
        # A concept of which nothing is said has precision 0 in the macro figure, and so it has in its samples.
        macro = np.nan_to_num(samples[:, judged]).mean(axis=1) if points else np.zeros(0)
        result[f"macro_{name}"] = _rounded(float(np.mean(points))) if points else None
        result[f"macro_{name}_interval"] = interval(macro)
        result[f"micro_{name}"] = _rounded(micro[name])
        result[f"micro_{name}_interval"] = interval(together[name])
    return result


def _add_to_concepts(
    per_concept: dict[str, dict[str, Any]], bundle: Bundle, scores: Doubles, truth: Truth, weights: Weights
) -> dict[str, tuple[float, float] | None]:
    """Thresholds, and the intervals of what does not depend on the score of 0.5; returned: those of all published labels."""
    at_limits = published(bundle, scores)
    samples, together = decision_samples(at_limits, truth, weights)
    for column, head in enumerate(bundle.heads):
        own, review = per_concept[head.slug], head.thresholds.review
        own["threshold"] = head.thresholds.publish
        own["review_threshold"] = review
        waiting = (scores[:, column] >= (np.inf if review is None else review)) & ~at_limits[:, column]
        own["for_review"] = int((waiting & (truth[:, column] >= 0)).sum())
        own["ap_interval"] = interval(average_precisions(scores[:, column], truth[:, column], weights))
        own["published_precision_interval"] = interval(samples["precision"][:, column])
        own["published_recall_interval"] = interval(samples["recall"][:, column])
    return {name: interval(of_all) for name, of_all in together.items()}


def _main_type(slugs: Sequence[str], scores: Doubles, truth: Truth, main: Flags, vocabulary: Vocabulary) -> dict[str, Any]:
    own = [slug for slug, there in zip(slugs, main, strict=True) if there]
    scores, truth = scores[:, main], truth[:, main]
    broader = [(own.index(slug), own.index(broad)) for slug in own for broad in vocabulary.broader_of(slug) if broad in own]
    return {
        "slugs": own,
        "n_images": int((truth == 1).any(axis=1).sum()),
        "top_k": top_k_accuracy(scores, truth),
        "confusion": main_type_confusion(scores, truth, broader).tolist(),
    }


def _abstention(bundle: Bundle, scores: Floats, truth: Truth) -> dict[str, Any]:
    """Concepts that are never published, true labels that are lost by it, and pictures of which nothing is published."""
    never = np.array([head.thresholds.publish is None for head in bundle.heads], dtype=bool)
    silent = np.asarray(~published(bundle, scores).any(axis=1))
    return {
        "concepts": [head.slug for head in bundle.heads if head.thresholds.publish is None],
        "true_labels": int((truth[:, never] == 1).sum()),
        "images_without_published": int(silent.sum()),
        "share_of_images": round(float(silent.mean()), 4) if len(silent) else None,
    }


def _part(bundle: Bundle, scores: Floats, truth: Truth) -> Part:
    return Part(scores.astype(np.float64), truth, published(bundle, scores))


def _sides(splits: npt.NDArray[np.str_], part: Part) -> dict[str, Part]:
    """The held-out pictures by split, where there are any."""
    return {name: part.of(splits == name) for name in HELD_OUT if (splits == name).any()}


def _rows_to_compare(collection: Collection, chosen: str) -> list[CollectionRow]:
    """The held-out rows that are still needed for the drop to unseen providers: none where they were chosen anyway."""
    splits = {row.split for row in collection.rows if row.image_file}
    if chosen not in HELD_OUT or not splits.issuperset(HELD_OUT):
        return []
    return [row for row in collection.rows if row.image_file and row.split in HELD_OUT and row.split != chosen]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def _rows(collection: Collection, split: str | None) -> tuple[str, list[CollectionRow]]:
    """The rows to judge, and the name of their split (`all`: whatever it is)."""
    with_picture = [row for row in collection.rows if row.image_file]
    if split is None:
        split = "test" if any(row.split == "test" for row in with_picture) and not collection.split_drawn else "all"
    return split, with_picture if split == "all" else [row for row in with_picture if row.split == split]
