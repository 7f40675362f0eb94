"""Train by a recipe on a collection's `train` split, measure on its `test` split, register and release."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from sqlalchemy import Engine

from pipeline.collection import Collection, read_collection
from pipeline.database import connect, models
from pipeline.datasets.lake import open_lake
from pipeline.errors import CriticalError
from pipeline.model.bundle import (
    Bundle,
    ConceptHead,
    bundle_folder,
    load_bundle,
    save_bundle,
    save_network,
    with_broader_scores,
)
from pipeline.model.examples import keep_examples
from pipeline.model.networks import with_narrow_embedding
from pipeline.model.predictor import Predictor
from pipeline.model.preprocessing import PREPROCESSING_VERSION
from pipeline.model.runtime import keras
from pipeline.model.soundness import check_sound
from pipeline.reporting.thresholds import choose_thresholds
from pipeline.reporting.truth import unknown_concepts
from pipeline.settings import Settings
from pipeline.storage import ObjectStore
from pipeline.training.alike import nothing_held_out_is_learned
from pipeline.training.calibration import logit, platt
from pipeline.training.card import model_card
from pipeline.training.compare import Judged
from pipeline.training.curves import curves_svg
from pipeline.training.dataset import LabelledImages, labelled_rows, load_images, load_rows
from pipeline.training.evaluate import basic_figures, predict
from pipeline.training.fit import Fitted, fit
from pipeline.training.gate import Verdict, hold_against
from pipeline.training.recipes import Recipe, load_recipe, on_backbone
from pipeline.training.splits import HELD_OUT
from pipeline.vocabulary import Vocabulary, load_vocabulary

log = structlog.get_logger()

# Settings that change what training gives: with other values another version is trained.
_SETTINGS = (
    "target_precision",
    "review_precision",
    "precision_confidence",
    "features_width",
    "near_duplicate_bits",
    "derivative_side_px",
    "derivative_quality",
    "image_min_side_px",
    "image_max_aspect",
)


@dataclass(frozen=True)
class Trained:
    """A registered version; `verdict` is the release gate's, None where nothing was in force to be held against.

    `known`: it was there already, nothing was trained.
    """

    bundle: Bundle
    verdict: Verdict | None = None
    known: bool = False

    @property
    def released(self) -> bool:
        """Is it in force now?"""
        return self.verdict is None or self.verdict.allowed


def train(
    collection_dir: Path,
    recipe_name: str,
    name: str,
    *,
    settings: Settings,
    now: datetime,
    again: bool = False,
    backbone: str | None = None,
) -> Trained:
    """Train and register a version of model `name`, and release it if the gate lets it pass.

    A released version that was trained on the same data by the same recipe is returned as it is, unless `again`.
    `backbone`: another one than the recipe's.
    Raises CriticalError when the collection or the recipe cannot be used.
    """
    recipe = load_recipe(settings.recipes_dir, recipe_name)
    recipe = on_backbone(recipe, backbone) if backbone else recipe
    collection = read_collection(collection_dir)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    for problem in (*collection.problems, *unknown_concepts(collection, vocabulary)):
        log.warning("collection_problem", problem=problem)
    engine, store = connect(settings), open_lake(settings).store
    dataset_id = "-".join(
        (
            collection.fingerprint()[:16],
            recipe.fingerprint(),
            _weights_mark(settings, recipe),
            vocabulary.version,
            settings.fingerprint(*_SETTINGS)[:8],
        )
    )
    # Another start of the same training goes on where this one is cut off.
    made_by = f"{name}|{dataset_id}|{PREPROCESSING_VERSION}|{keras().__version__}"
    unfinished = settings.var_dir / "training" / hashlib.sha256(made_by.encode()).hexdigest()[:16]
    if not again and (known := _released(engine, store, name, dataset_id)):
        log.info("model_known", name=name, version=known.version)
        shutil.rmtree(unfinished, ignore_errors=True)
        return Trained(known, known=True)
    images = _learnable(collection, vocabulary, recipe, settings)
    learned_from = images.split("train")
    fitted = _narrowed(fit(learned_from, recipe, settings, resumed_in=unfinished), learned_from, recipe, settings)
    check_sound(fitted.network, concepts=len(images.slugs), side_px=recipe.side_px, preprocessing_version=PREPROCESSING_VERSION)
    version = models.reserve(engine, name, now)
    bundle = _stored(store, learned_from, fitted, recipe, name, version, dataset_id, vocabulary, settings)
    trained = _made_version(engine, store, bundle, images, fitted, collection, vocabulary, settings, now)
    if trained.released:
        models.release(engine, name, version)
    shutil.rmtree(unfinished, ignore_errors=True)
    return trained


def _learnable(collection: Collection, vocabulary: Vocabulary, recipe: Recipe, settings: Settings) -> LabelledImages:
    """The collection's pictures; of those that would leak what is held out the labels are unknown."""
    images = load_images(collection, vocabulary, side_px=recipe.side_px, settings=settings)
    if (width := settings.features_width) and width > (count := int((images.splits == "train").sum())):
        raise CriticalError(f"FEATURES_WIDTH={width}: {count} training pictures give no more components")
    images, leaks = nothing_held_out_is_learned(images, settings.near_duplicate_bits)
    if leaks:
        problem = "training pictures that belong to, or look like, held-out ones: nothing is learned from them"
        log.warning("leaks", count=len(leaks), examples=leaks[:3], problem=problem)
    return images


def _made_version(
    engine: Engine,
    store: ObjectStore,
    bundle: Bundle,
    images: LabelledImages,
    fitted: Fitted,
    collection: Collection,
    vocabulary: Vocabulary,
    settings: Settings,
    now: datetime,
) -> Trained:
    """Measure what is stored, hold it against the version in force, and make it a version."""
    learned_from, predictor = images.split("train"), Predictor(store, bundle)
    files = {row.record_id: row.image_file for row in collection.rows}
    embeddings = fitted.embeddings if fitted.embeddings is not None else predictor.predict(learned_from.pixels).embeddings
    keep_examples(store, bundle, embeddings, learned_from.record_ids, learned_from.truth, files)
    scored = scores_by_split(predictor, images)
    bundle = replace(bundle, metrics=_figures(scored) | {"cross_validated": _cross_validated(bundle, learned_from, fitted)})
    old = _in_force(engine, store, bundle.name)
    verdict = _verdict(scored, Predictor(store, old), collection, vocabulary, settings) if old is not None else None
    told = {slug: int((learned_from.truth[:, place] == 1).sum()) for place, slug in enumerate(learned_from.slugs)}
    card = model_card(bundle, verdict, vocabulary, learned_from=told, data=_card_of(collection.folder))
    _put_on_record(engine, store, bundle, card, verdict, now)
    return Trained(bundle, verdict)


def _verdict(
    scored: Mapping[str, Judged], old: Predictor, collection: Collection, vocabulary: Vocabulary, settings: Settings
) -> Verdict:
    """The new version against the one in force, on the very same held-out pictures."""
    slugs = tuple(head.slug for head in old.bundle.heads)
    held_out = [row for row in labelled_rows(collection) if row.split in HELD_OUT]
    same = load_rows(collection, held_out, slugs, vocabulary, side_px=old.bundle.side_px, settings=settings)
    return hold_against(scored, scores_by_split(old, same), unseen_margin=settings.unseen_margin)


def _released(engine: Engine, store: ObjectStore, name: str, dataset_id: str) -> Bundle | None:
    row = models.find(engine, name)
    return _in_force(engine, store, name) if row is not None and row["dataset_id"] == dataset_id else None


def _in_force(engine: Engine, store: ObjectStore, name: str) -> Bundle | None:
    """The released version, if this code can still run it."""
    row = models.find(engine, name)
    if row is None or not store.exists(row["bundle_key"]):
        return None
    try:
        return load_bundle(store, row["bundle_key"])
    except CriticalError as problem:  # made for other preprocessing
        log.warning("model_unusable", name=name, version=row["version"], problem=str(problem))
        return None


def _weights_mark(settings: Settings, recipe: Recipe) -> str:
    if recipe.kind == "scratch" or recipe.weights == "none":
        return "none"
    if settings.model_weights_file is None or not settings.model_weights_file.is_file():
        return "imagenet"
    with settings.model_weights_file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:12]


def _heads(
    train_split: LabelledImages, fitted: Fitted, implied: Sequence[tuple[int, int]], settings: Settings
) -> tuple[ConceptHead, ...]:
    """Calibration and thresholds of each concept, from scores of networks that had not seen the picture's group."""
    raw, truth = fitted.judged(train_split.truth)
    columns = range(len(train_split.slugs))
    calibrations = [platt(raw[:, column], truth[:, column]) for column in columns]
    slopes, shifts = np.array(calibrations).T
    scores = with_broader_scores(1 / (1 + np.exp(-(slopes * logit(raw) + shifts))), implied)
    thresholds = [
        choose_thresholds(
            scores[:, column],
            truth[:, column],
            target_precision=settings.target_precision,
            review_precision=settings.review_precision,
            confidence=settings.precision_confidence,
        )
        for column in columns
    ]
    return tuple(ConceptHead(slug, calibrations[column], thresholds[column]) for column, slug in enumerate(train_split.slugs))


def _implied(slugs: Sequence[str], vocabulary: Vocabulary) -> tuple[tuple[int, int], ...]:
    """(place of a concept, place of a broader one) among the trained concepts."""
    places = {slug: place for place, slug in enumerate(slugs)}
    return tuple(
        (places[slug], places[broad]) for slug in slugs for broad in sorted(vocabulary.broader_of(slug)) if broad in places
    )


def _narrowed(fitted: Fitted, learned_from: LabelledImages, recipe: Recipe, settings: Settings) -> Fitted:
    """With the embedding as narrow as FEATURES_WIDTH asks for; as it is where it is no wider."""
    width, whole = settings.features_width, int(fitted.network.output["embedding"].shape[-1])
    if width is None or width >= whole:
        return fitted
    embeddings = fitted.embeddings
    if embeddings is None:
        size = recipe.batch_size
        batches = (learned_from.pixels[at : at + size] for at in range(0, len(learned_from.pixels), size))
        embeddings = np.concatenate([np.asarray(fitted.network.predict_on_batch(one)["embedding"]) for one in batches])
    network, narrow = with_narrow_embedding(fitted.network, embeddings, width)
    return replace(fitted, network=network, embeddings=narrow)


def _card_of(folder: Path) -> str:
    """What `enrich dataset build` wrote of the data; nothing of other collections."""
    path = folder / "card.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _stored(
    store: ObjectStore,
    train_split: LabelledImages,
    fitted: Fitted,
    recipe: Recipe,
    name: str,
    version: int,
    dataset_id: str,
    vocabulary: Vocabulary,
    settings: Settings,
) -> Bundle:
    """The network in the store, and the bundle that describes it, as yet without figures."""
    digest = save_network(store, bundle_folder(name, version), fitted.network)
    if fitted.epochs:
        store.put_bytes(f"{bundle_folder(name, version)}/curves.svg", curves_svg(fitted.epochs).encode())
    implied = _implied(train_split.slugs, vocabulary)
    return Bundle(
        name=name,
        version=version,
        sha256=digest,
        heads=_heads(train_split, fitted, implied, settings),
        side_px=recipe.side_px,
        embedding_width=int(fitted.network.output["embedding"].shape[-1]),
        preprocessing_version=PREPROCESSING_VERSION,
        vocabulary_version=vocabulary.version,
        recipe=recipe.name,
        dataset_id=dataset_id,
        metrics={},
        implied=implied,
    )


def scores_by_split(predictor: Predictor, images: LabelledImages | None) -> dict[str, Judged]:
    """The registered file itself, loaded again, on the splits that it was not trained on; `test` is always there."""
    nothing = np.zeros((0, len(predictor.bundle.heads)))
    found = {"test": Judged(predictor.bundle, nothing, nothing.astype(np.int8))}
    for name in HELD_OUT:
        split = images.split(name) if images is not None else None
        if split is not None and len(split.pixels):
            found[name] = Judged(predictor.bundle, predict(predictor, split), split.truth)
    return found


def _figures(scored: Mapping[str, Judged]) -> dict[str, Any]:
    """Of the test split, and in `unseen` those of providers that no training picture came from."""
    test, unseen = scored["test"], scored.get("unseen")
    figures: dict[str, Any] = {"n_images": 0}
    if len(test.scores):
        figures = basic_figures(test.bundle, test.scores, test.truth)
    if unseen is not None:
        figures["unseen"] = basic_figures(unseen.bundle, unseen.scores, unseen.truth)
    return figures


def _cross_validated(bundle: Bundle, train_split: LabelledImages, fitted: Fitted) -> dict[str, Any]:
    """Of the training pictures, each scored by a network that did not see its group (thresholds were chosen on them).

    `folds` are the same figures of each fold by itself: how much they differ says how much chance there is in them.
    """
    raw, truth = fitted.judged(train_split.truth)
    scores = bundle.calibrated(raw.astype(np.float32))
    folds = []
    for number in range(int(fitted.folds.max()) + 1):
        own = (fitted.folds == number) & (truth >= 0).any(axis=1)
        if own.any():
            folds.append(_without_concepts(basic_figures(bundle, scores[own], truth[own])))
    return basic_figures(bundle, scores, truth) | {"folds": folds}


def _put_on_record(
    engine: Engine, store: ObjectStore, bundle: Bundle, card: str, verdict: Verdict | None, now: datetime
) -> None:
    store.put_bytes(f"{bundle.folder}/card.md", card.encode())
    key = save_bundle(store, bundle)
    summary = _without_concepts(bundle.metrics)
    models.register(
        engine,
        name=bundle.name,
        version=bundle.version,
        bundle_key=key,
        sha256=bundle.sha256,
        dataset_id=bundle.dataset_id,
        metrics=summary,
        now=now,
        gate=verdict.to_json() if verdict is not None else None,
    )
    log.info("model_registered", name=bundle.name, version=bundle.version, **summary)


def _without_concepts(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of the whole; those of each concept stand in the bundle."""
    return {
        name: _without_concepts(value) if isinstance(value, Mapping) else value
        for name, value in figures.items()
        if name not in ("per_concept", "folds")
    }
