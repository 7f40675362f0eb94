"""Steps of the label stage: one batch per images part, prediction, the gate, publication of the datasets."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.database import connect
from pipeline.datasets.lake import Lake, Part, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import OUTCOMES, SCHEMAS, features_schema
from pipeline.datasets.stage import (
    Batch,
    Counts,
    Result,
    groups_of,
    merge_results,
    outcomes_dataset,
    plan_stage,
    publish_stage,
    run_batch,
)
from pipeline.domain.label import Decision
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.labels.decisions import Judge
from pipeline.labels.distribution import histogram_table
from pipeline.labels.held import held_back
from pipeline.labels.predictions import Seen, known_parts, publish_predictions, recall
from pipeline.labels.reader import predicted, read_batches, usable_images
from pipeline.labels.tables import filled_table, texts
from pipeline.model.bundle import Bundle, load_bundle
from pipeline.model.predictor import Predictor
from pipeline.model.registry import bundle_in_force
from pipeline.model.runtime import demand
from pipeline.quality.figures import keep_reference, label_figures, read_histograms
from pipeline.quality.gates import check_parts
from pipeline.reporting.progress import Progress
from pipeline.reporting.report import PREDICTED_BY
from pipeline.settings import Settings
from pipeline.vocabulary import load_policy, load_vocabulary

STAGE = "labels"
OUTCOMES_OF_STAGE = outcomes_dataset(STAGE)
DATASETS = ("labels", "record_labels", "features", "score_histograms", OUTCOMES_OF_STAGE)
FEATURES_TOGETHER = 1_000  # rows of a row group: a later run reads only those that hold its pictures
_SETTINGS = ("hidden_floor", "hidden_top")

Rows = Sequence[dict[str, Any]]


def plan_labels(run_key: str, *, settings: Settings) -> list[str]:
    """One batch per few thousand images; the model in force now is the model of the whole run.

    The plan says, too, where the model's earlier word on a batch's pictures lies: they are not predicted again.
    """
    lake = open_lake(settings)
    run = lake.run(run_key)
    bundle = bundle_in_force(connect(settings), lake.store, settings.model_name)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    images = lake.parts(run, "images")
    groups = list(_together(images, settings.images_per_batch))
    held = _held(lake, run, images, settings)
    batches = [
        {
            "images": [part.key for part in parts],
            "images_sha256": [part.sha256 for part in parts],
            "model": f"{bundle.folder}/bundle.json",
            "sha256": bundle.sha256,
            "known": known,
            "held": held,
        }
        for parts, known in zip(groups, _known(lake, run, bundle, groups), strict=True)
    ]
    mark = f"{settings.fingerprint(*_SETTINGS)}|{vocabulary.version}|{settings.policy_file.read_text(encoding='utf-8')}"
    return plan_stage(lake, run, STAGE, batches, fingerprint=mark, max_batches=settings.max_batches)


def _known(lake: Lake, run: Run, bundle: Bundle, groups: Sequence[Sequence[Part]]) -> list[list[str]]:
    """`known_parts`, found once an attempt: what other runs publish meanwhile must not change what a restart plans."""
    key = f"{run.folder}/{STAGE}/known-{run.attempt}.json"
    about = [bundle.sha256, [[part.sha256 for part in parts] for parts in groups]]
    if lake.store.exists(key) and (kept := lake.read_json(key))["about"] == about:
        return [list(parts) for parts in kept["known"]]
    known = known_parts(lake, run, bundle, groups)
    lake.write_json(key, {"about": about, "known": known})
    return known


def _held(lake: Lake, run: Run, images: Sequence[Part], settings: Settings) -> str:
    """The key of the list of pictures and records that are held back, named by what it holds."""
    held = held_back(lake, run, images, load_policy(settings.policy_file), bits=settings.near_duplicate_bits)
    keys = {name: [int(key) for key in found] for name, found in sorted(held.items())}
    digest = hashlib.sha256(json.dumps(keys).encode()).hexdigest()
    return lake.write_json(f"{run.folder}/{STAGE}/held-{digest[:16]}.json", keys)


def _together(parts: Sequence[Part], rows: int) -> Iterator[list[Part]]:
    """Parts in groups of about so many rows: a model is loaded once a batch."""
    group: list[Part] = []
    for part in parts:
        if group and sum(one.rows for one in group) + part.rows > rows:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def infer_batch(batch_key: str, *, settings: Settings) -> str:
    """Label the pictures of a batch; returns the key of the batch's result."""
    lake = open_lake(settings)
    return run_batch(lake, batch_key, lambda run, batch: _infer(lake, run, batch, settings))


def publish_labels(run_key: str, result_keys: list[str], *, settings: Settings) -> str:
    """The gate: check the labels and make them visible, or stop the run; returns the key of the stage's report."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    result = merge_results(lake, STAGE, result_keys)
    parts = result.parts
    histograms = read_histograms(lake, parts.get("score_histograms", []))
    figures = label_figures(lake, histograms, result.counts)
    checks = [
        check_parts(lake, run, "labels", parts.get("labels", []), settings=settings, figures=figures),
        check_parts(lake, run, "record_labels", parts.get("record_labels", []), settings=settings),
    ]
    report = publish_stage(lake, run, STAGE, result, DATASETS, checks=checks)
    publish_predictions(lake, run, parts.get("features", []))
    keep_reference(lake, run, histograms)
    return report


def _infer(lake: Lake, run: Run, batch: Batch, settings: Settings) -> Result:
    started = time.monotonic()
    demand(settings.inference_device)
    bundle = load_bundle(lake.store, batch.items["model"])
    images = list(usable_images(lake, batch.items["images"]))
    seen = recall(lake, bundle, batch.items["known"], [image["image_id"] for image in images])
    counts = Counts()
    counts.extra["pictures_recalled"] = len(seen.place)
    engine = _predict(lake, bundle, images, seen, settings)
    counts.extra["pictures_predicted"] = len(seen.place) - counts.extra["pictures_recalled"]
    if engine:
        counts.extra[f"{PREDICTED_BY}{engine}"] = counts.extra["pictures_predicted"]
    labelled = [image for image in images if image["image_id"] in seen.place]
    parts = _written(lake, run, batch, bundle, labelled, seen, counts, settings)
    unreadable = [_unreadable(image) | run.columns() for image in images if image["image_id"] not in seen.place]
    parts[OUTCOMES_OF_STAGE] = [
        lake.write_part(run, OUTCOMES_OF_STAGE, batch.number, [as_table("outcomes", unreadable)], OUTCOMES)
    ]
    for image in images:
        counts.add(None if image["image_id"] in seen.place else Reason.CORRUPT)
    return Result(counts, parts, time.monotonic() - started)


def _predict(lake: Lake, bundle: Bundle, images: Rows, seen: Seen, settings: Settings) -> str:
    """Look at the pictures that the model has never seen, each once; what cannot be read stays unseen. Returns what ran the
    network, nothing where it was not even loaded."""
    new: dict[str, dict[str, Any]] = {}
    for image in images:
        if image["image_id"] not in seen.place:
            new.setdefault(image["image_id"], image)
    if not new:
        return ""
    predictor = Predictor(
        lake.store,
        bundle,
        at_once=settings.inference_batch,
        engine=settings.inference_engine,
        device=settings.inference_device,
    )
    batches = read_batches(lake.store, new.values(), size=settings.inference_batch, side_px=bundle.side_px)
    with Progress(STAGE, "images", settings=settings, total=len(new)) as progress:
        for batch, prediction in predicted(batches, predictor):
            seen.add([image["image_id"] for image in batch.rows], prediction.raw, prediction.embeddings)
            progress.advance(len(batch.rows) + len(batch.unreadable))
    return predictor.engine


def _written(
    lake: Lake, run: Run, batch: Batch, bundle: Bundle, images: Rows, seen: Seen, counts: Counts, settings: Settings
) -> dict[str, list[Part]]:
    """Decide, and write what was found; counts decisions and records."""
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    # The vocabulary that names the concepts is today's, not that of the training.
    columns = bundle.columns() | {"vocabulary_version": vocabulary.version} | run.columns()
    held = {name: np.array(keys, np.uint64) for name, keys in lake.read_json(batch.items["held"]).items()}
    judge = Judge.of(bundle, vocabulary, load_policy(settings.policy_file), settings, held=held)
    raw = seen.raw([image["image_id"] for image in images])
    scores = bundle.calibrated(raw)
    decided = judge.decide(images, scores)
    records = judge.record_table(images, scores, decided, columns)
    counts.extra.update(judge.counts(decided))
    counts.extra["records"] = pc.count_distinct(records["record_id"]).as_py()
    counts.extra["records_publish"] = pc.sum(pc.equal(records["decision"], str(Decision.PUBLISH))).as_py() or 0
    tables = {
        "labels": [judge.label_table(images, raw, scores, decided, columns)],
        "record_labels": [records],
        "features": _features(bundle, images, seen, columns),
        "score_histograms": [histogram_table(images, [head.slug for head in bundle.heads], scores, columns)],
    }
    schemas = {**SCHEMAS, "features": features_schema(bundle.embedding_width, len(bundle.heads))}
    return {name: [lake.write_part(run, name, batch.number, table, schemas[name])] for name, table in tables.items()}


def _features(bundle: Bundle, images: Rows, seen: Seen, columns: Mapping[str, Any]) -> Iterator[pa.Table]:
    schema = features_schema(bundle.embedding_width, len(bundle.heads))
    for group in groups_of(images, FEATURES_TOGETHER):
        ids = [image["image_id"] for image in group]
        matrices: dict[str, npt.NDArray[Any]] = {"raw_scores": seen.raw(ids), "embedding": seen.embeddings(ids)}
        arrays = {
            "record_id": texts(group, "record_id"),
            "image_id": texts(group, "image_id"),
            **{
                name: pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), type=schema.field(name).type)
                for name, matrix in matrices.items()
            },
        }
        yield filled_table(schema, arrays, columns)


def _unreadable(image: Mapping[str, Any]) -> dict[str, Any]:
    """The outcome row of a picture that is not, or not whole, where the images say that it is."""
    detail = f"the picture at byte {image['shard_offset']} of {image['shard_uri']} cannot be read"
    source = f"{image['record_id']}|{image['image_url']}"
    return asdict(OutcomeRow(STAGE, source, image["record_id"], Outcome.FAILED, Reason.CORRUPT, detail))
