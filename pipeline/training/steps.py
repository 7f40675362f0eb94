"""Train by a recipe on a collection's `train` split, measure on its `test` split, register and release."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from sqlalchemy import Engine

from pipeline.collection import read_collection
from pipeline.database import connect, models
from pipeline.datasets.lake import open_lake
from pipeline.model.bundle import Bundle, ConceptHead, bundle_folder, load_bundle, save_bundle, save_network
from pipeline.model.predictor import Predictor
from pipeline.model.preprocessing import PREPROCESSING_VERSION
from pipeline.reporting.truth import unknown_concepts
from pipeline.settings import Settings
from pipeline.storage import ObjectStore
from pipeline.training.dataset import LabelledImages, load_images
from pipeline.training.evaluate import basic_figures, predict
from pipeline.training.fit import Fitted, fit
from pipeline.training.recipes import Recipe, load_recipe
from pipeline.training.thresholds import choose_thresholds, logit, platt
from pipeline.vocabulary import load_vocabulary

log = structlog.get_logger()

# Settings that change what training gives: with other values another version is trained.
_SETTINGS = (
    "target_precision",
    "review_precision",
    "precision_confidence",
    "derivative_side_px",
    "derivative_quality",
    "image_min_side_px",
    "image_max_aspect",
)


def train(
    collection_dir: Path, recipe_name: str, name: str, *, settings: Settings, now: datetime, again: bool = False
) -> Bundle:
    """Train, register and release a version of model `name`.

    A released version that was trained on the same data by the same recipe is returned as it is, unless `again`.
    Raises CriticalError when the collection or the recipe cannot be used.
    """
    recipe = load_recipe(settings.recipes_dir, recipe_name)
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
    if not again and (known := _released(engine, store, name, dataset_id)):
        log.info("model_known", name=name, version=known.version)
        return known
    images = load_images(collection, vocabulary, side_px=recipe.side_px, settings=settings)
    fitted = fit(images.split("train"), recipe, settings)
    bundle = _register(engine, store, images, fitted, recipe, name, dataset_id, vocabulary.version, settings, now)
    models.release(engine, name, bundle.version)
    return bundle


def _released(engine: Engine, store: ObjectStore, name: str, dataset_id: str) -> Bundle | None:
    row = models.find(engine, name)
    if row is None or row["dataset_id"] != dataset_id or not store.exists(row["bundle_key"]):
        return None
    bundle = load_bundle(store, row["bundle_key"])
    return bundle if bundle.preprocessing_version == PREPROCESSING_VERSION else None


def _weights_mark(settings: Settings, recipe: Recipe) -> str:
    if recipe.kind == "scratch":
        return "none"
    if settings.model_weights_file is None or not settings.model_weights_file.is_file():
        return "imagenet"
    with settings.model_weights_file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:12]


def _heads(train_split: LabelledImages, fitted: Fitted, settings: Settings) -> tuple[ConceptHead, ...]:
    heads = []
    for column, slug in enumerate(train_split.slugs):
        raw, truth = fitted.out_of_fold[:, column], train_split.truth[:, column]
        slope, shift = platt(raw, truth)
        scores = 1 / (1 + np.exp(-(slope * logit(raw) + shift)))
        thresholds = choose_thresholds(
            scores,
            truth,
            target_precision=settings.target_precision,
            review_precision=settings.review_precision,
            confidence=settings.precision_confidence,
        )
        heads.append(ConceptHead(slug, (slope, shift), thresholds))
    return tuple(heads)


def _register(
    engine: Engine,
    store: ObjectStore,
    images: LabelledImages,
    fitted: Fitted,
    recipe: Recipe,
    name: str,
    dataset_id: str,
    vocabulary_version: str,
    settings: Settings,
    now: datetime,
) -> Bundle:
    version = models.next_version(engine, name)
    digest = save_network(store, bundle_folder(name, version), fitted.network)
    unmeasured = Bundle(
        name=name,
        version=version,
        sha256=digest,
        heads=_heads(images.split("train"), fitted, settings),
        side_px=recipe.side_px,
        embedding_width=int(fitted.network.output["embedding"].shape[-1]),
        preprocessing_version=PREPROCESSING_VERSION,
        vocabulary_version=vocabulary_version,
        recipe=recipe.name,
        dataset_id=dataset_id,
        metrics={},
    )
    metrics = _measure(Predictor(store, unmeasured), images.split("test"))
    bundle = Bundle(**{**unmeasured.__dict__, "metrics": metrics})
    key = save_bundle(store, bundle)
    summary = {figure: value for figure, value in metrics.items() if figure != "per_concept"}
    models.register(
        engine, name=name, version=version, bundle_key=key, sha256=digest, dataset_id=dataset_id, metrics=summary, now=now
    )
    log.info("model_registered", name=name, version=version, **summary)
    return bundle


def _measure(predictor: Predictor, test: LabelledImages) -> Mapping[str, Any]:
    """The registered file itself, loaded again, on the held-out split."""
    if not len(test.pixels):
        return {"n_images": 0}
    return basic_figures(predictor.bundle, predict(predictor, test), test.truth)
