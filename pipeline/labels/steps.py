"""Steps of the label stage: one batch per images part, prediction, the gate, publication of the datasets."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.database import connect
from pipeline.datasets.lake import Lake, Part, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import LABELS, RECORD_LABELS, features_schema
from pipeline.datasets.stage import Batch, Counts, Result, merge_results, plan_stage, publish_stage, run_batch
from pipeline.domain.label import Decision
from pipeline.labels.decisions import Judge, record_rows
from pipeline.labels.reader import ImageBatch, read_batches, usable_images
from pipeline.model.bundle import Bundle, load_bundle
from pipeline.model.predictor import Prediction, Predictor
from pipeline.model.registry import bundle_in_force
from pipeline.quality.gates import check_parts
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings
from pipeline.vocabulary import load_policy, load_vocabulary

STAGE = "labels"
_SETTINGS = ("hidden_floor", "hidden_top")


def plan_labels(run_key: str, *, settings: Settings) -> list[str]:
    """One batch per few thousand images; the model in force now is the model of the whole run."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    bundle = bundle_in_force(connect(settings), lake.store, settings.model_name)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    batches = [
        {
            "images": [part.key for part in parts],
            "images_sha256": [part.sha256 for part in parts],
            "model": f"{bundle.folder}/bundle.json",
            "sha256": bundle.sha256,
        }
        for parts in _together(lake.parts(run, "images"), settings.images_per_batch)
    ]
    mark = f"{settings.fingerprint(*_SETTINGS)}|{vocabulary.version}|{settings.policy_file.read_text(encoding='utf-8')}"
    return plan_stage(lake, run, STAGE, batches, fingerprint=mark, max_batches=settings.max_batches)


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
    checks = [check_parts(lake, run, name, result.parts.get(name, [])) for name in ("labels", "record_labels")]
    return publish_stage(lake, run, STAGE, result, ["labels", "record_labels", "features"], checks=checks)


@dataclass(frozen=True)
class _Output:
    """What one batch of pictures became."""

    labels: list[dict[str, Any]]
    features: list[dict[str, Any]]


def _infer(lake: Lake, run: Run, batch: Batch, settings: Settings) -> Result:
    started = time.monotonic()
    counts = Counts()
    bundle = load_bundle(lake.store, batch.items["model"])
    outputs = list(_outputs(lake, run, batch, bundle, counts, settings))
    columns = _provenance(bundle, run, settings)
    labels = [row for output in outputs for row in output.labels]
    records = [row | columns for row in record_rows(labels)]
    schema = features_schema(bundle.embedding_width)
    features = [as_table("features", output.features, schema) for output in outputs]
    parts = {
        "labels": [lake.write_part(run, "labels", batch.number, [as_table("labels", labels)], LABELS)],
        "record_labels": [
            lake.write_part(run, "record_labels", batch.number, [as_table("record_labels", records)], RECORD_LABELS)
        ],
        "features": [lake.write_part(run, "features", batch.number, features, schema)],
    }
    for row in labels:
        counts.extra[row["decision"]] += 1
    counts.extra["records"] = len({row["record_id"] for row in records})
    counts.extra["records_publish"] = sum(row["decision"] == Decision.PUBLISH for row in records)
    return Result(counts, parts, time.monotonic() - started)


def _outputs(lake: Lake, run: Run, batch: Batch, bundle: Bundle, counts: Counts, settings: Settings) -> Iterator[_Output]:
    rows = list(usable_images(lake, batch.items["images"]))
    if not rows:
        return
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    judge = Judge.of(bundle, vocabulary, load_policy(settings.policy_file), settings)
    predictor = Predictor(lake.store, bundle, at_once=settings.inference_batch)
    columns = _provenance(bundle, run, settings)
    with Progress(STAGE, "images", settings=settings, total=len(rows)) as progress:
        for images in read_batches(lake.store, iter(rows), size=settings.inference_batch, side_px=bundle.side_px):
            yield _output(images, predictor.predict(images.pixels), judge, columns)
            for _ in images.rows:
                counts.add(None)
            progress.advance(len(images.rows))


def _provenance(bundle: Bundle, run: Run, settings: Settings) -> dict[str, Any]:
    """The model's columns, but the vocabulary that names the concepts is today's, not that of the training."""
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    return bundle.columns() | {"vocabulary_version": vocabulary.version} | run.columns()


def _output(images: ImageBatch, prediction: Prediction, judge: Judge, columns: dict[str, Any]) -> _Output:
    labels, features = [], []
    for place, image in enumerate(images.rows):
        labels += [row | columns for row in judge.label_rows(image, prediction.raw[place], prediction.scores[place])]
        embedding = prediction.embeddings[place].astype("float16")
        features.append({"record_id": image["record_id"], "image_id": image["image_id"], "embedding": embedding} | columns)
    return _Output(labels, features)
