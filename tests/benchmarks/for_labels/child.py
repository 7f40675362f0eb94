"""One side in a process of its own: `python -m tests.benchmarks.for_labels.child <command> <answer> …`.

`prepare` makes the lake: pictures in shards, a model, its engines' files. `ours` labels all of them as a task does, `loop`
as people do by hand; `forward` finds the rate of the engine alone. Each writes its answer as JSON into the file `answer`;
clocks start when the libraries are there and stop when the Parquet files are. The settings are the environment's.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.settings import Settings

BACKBONE, SIDE_PX, CONCEPTS = "EfficientNetV2B0", 224, 32
PER_SHARD = 1_000
BATCH = 32
FORWARD_S = 8.0


def prepare(settings: Settings, pictures: str, count: str) -> dict[str, Any]:
    """A run with the first `count` pictures of a folder, and a released model with random weights."""
    from datetime import UTC, datetime

    from pipeline.datasets.lake import as_table, open_lake
    from pipeline.datasets.schemas import IMAGES
    from pipeline.domain.harvest_rules import HarvestRules
    from pipeline.domain.scope import Scope, Selection
    from pipeline.harvest.steps import start_run

    now = datetime(2026, 1, 2, tzinfo=UTC)
    _model(settings, now)
    key = start_run(
        run_id="bench",
        source="pictures",
        scope=Scope("full"),
        created_at=now,
        settings=settings,
        selection=Selection("query", "*:*"),
        rules=HarvestRules(),
    )
    lake = open_lake(settings)
    run = lake.run(key)
    rows = [row | run.columns() for row in stored_pictures(settings, sorted(Path(pictures).glob("*.jpg"))[: int(count)])]
    lake.publish(run, "images", [lake.write_part(run, "images", 0, [as_table("images", rows)], IMAGES)])
    return {"run": key, "pictures": len(rows)}


def _model(settings: Settings, now: Any) -> None:
    """A backbone with a linear head, and files for all engines. Whether they agree is not this benchmark's question."""
    import numpy as np

    from pipeline.database import connect, models
    from pipeline.datasets.lake import open_lake
    from pipeline.domain.label import Thresholds
    from pipeline.model.bundle import Bundle, ConceptHead, bundle_folder, load_network, save_bundle, save_network
    from pipeline.model.engines.convert import write_tflite
    from pipeline.model.engines.kinds import FLOAT, INT8, KERAS, KINDS
    from pipeline.model.engines.record import Trial, Tried, digest, save_tried
    from pipeline.model.heads import LinearHeads
    from pipeline.model.networks import frozen_backbone, with_heads
    from pipeline.model.preprocessing import PREPROCESSING_VERSION
    from pipeline.vocabulary import load_vocabulary

    store, rng = open_lake(settings).store, np.random.default_rng(0)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    backbone = frozen_backbone(BACKBONE, SIDE_PX, None)
    width = int(backbone.output["features"].shape[-1])
    kernel = rng.normal(0, 0.05, (width, CONCEPTS)).astype(np.float32)
    network = with_heads(backbone, LinearHeads(kernel, np.zeros(CONCEPTS, np.float32)))
    bundle = Bundle(
        name=settings.model_name,
        version=1,
        sha256=save_network(store, bundle_folder(settings.model_name, 1), network),
        heads=tuple(ConceptHead(one.slug, (1.0, 0.0), Thresholds(0.9, 0.6)) for one in vocabulary.concepts[:CONCEPTS]),
        side_px=SIDE_PX,
        embedding_width=width,
        preprocessing_version=PREPROCESSING_VERSION,
        vocabulary_version=vocabulary.version,
        recipe="benchmark",
        dataset_id="none",
        metrics={},
    )
    key, engine = save_bundle(store, bundle), connect(settings)
    models.register(
        engine, name=bundle.name, version=1, bundle_key=key, sha256=bundle.sha256, dataset_id="none", metrics={}, now=now
    )
    models.release(engine, bundle.name, 1)
    files, noise = {}, rng.integers(0, 256, (16, SIDE_PX, SIDE_PX, 3), np.uint8)
    for name in (FLOAT, INT8):
        path = settings.var_dir / name
        write_tflite(load_network(store, bundle), path, calibration=noise if name == INT8 else None)
        store.put_file(f"{bundle.folder}/{name}", path)
        files[name] = digest(path)
    save_tried(store, bundle, Tried(KERAS, {name: Trial(0, 0, 0, True) for name in (KERAS, *KINDS)}, files))


def stored_pictures(settings: Settings, pictures: list[Path]) -> Iterator[dict[str, Any]]:
    """Their derivatives in shards, and a row for each."""
    import hashlib

    from pipeline.datasets.lake import open_lake
    from pipeline.images.shards import ShardWriter
    from pipeline.imaging.examine import examine_here, rules_of

    store, rules = open_lake(settings).store, rules_of(settings)
    for number, at in enumerate(range(0, len(pictures), PER_SHARD)):
        path, key = settings.var_dir / "shard.tar", f"shards/bench/{number:05d}.tar"
        with ShardWriter(path) as shard:
            for picture in pictures[at : at + PER_SHARD]:
                content = picture.read_bytes()
                jpeg = examine_here(content, rules).jpeg
                if jpeg is None:
                    raise RuntimeError(f"{picture} is to be a good picture")
                image_id = hashlib.sha256(content).hexdigest()
                offset, size = shard.add(image_id, jpeg)
                yield _row(picture.stem, image_id, key, offset, size)
        store.put_file(key, path)


def _row(name: str, image_id: str, shard: str, offset: int, size: int) -> dict[str, Any]:
    from pipeline.datasets.schemas import IMAGES

    rights = "http://creativecommons.org/publicdomain/zero/1.0/"
    return {field.name: None for field in IMAGES if field.nullable} | {
        "record_id": f"/1/p{name}",
        "image_url": f"http://localhost/{name}.jpg",
        "position": 0,
        "fetched_as": "original",
        "host": "localhost",
        "image_id": image_id,
        "outcome": "ok",
        "detail": "",
        "attempts": 1,
        "provider": "A provider",
        "rights": rights,
        "rights_category": "open",
        "shard_uri": shard,
        "shard_offset": offset,
        "shard_size": size,
    }


def ours(settings: Settings, run: str) -> dict[str, Any]:
    """The label stage without its publication."""
    from pipeline.labels.steps import infer_batch, plan_labels

    started = time.perf_counter()
    results = [infer_batch(batch, settings=settings) for batch in plan_labels(run, settings=settings)]
    return {"seconds": time.perf_counter() - started, "results": results}


def loop(settings: Settings, run: str) -> dict[str, Any]:
    """Load the model; by 32: read from the shards, decode with Pillow, `predict`; write scores and embeddings as Parquet."""
    import io

    import keras
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    from pipeline.datasets.lake import open_lake

    lake = open_lake(settings)
    rows = [row for batch in lake.rows(lake.run(run), "images") for row in batch.to_pylist()]
    started = time.perf_counter()
    with lake.store.local_copy(f"models/{settings.model_name}/1/model.keras") as path:
        model = keras.saving.load_model(path, compile=False)
    found: dict[str, list[Any]] = {"scores": [], "embedding": []}
    for at in range(0, len(rows), BATCH):
        pixels = []
        for row in rows[at : at + BATCH]:
            with lake.store.local_copy(row["shard_uri"]) as path, path.open("rb") as shard:
                shard.seek(row["shard_offset"])
                picture = Image.open(io.BytesIO(shard.read(row["shard_size"]))).convert("RGB")
            pixels.append(np.asarray(picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)))
        answer = model.predict(np.stack(pixels), batch_size=BATCH, verbose=0)
        for name, values in answer.items():
            found[name] += list(values)
    table = pa.table({"image_id": [row["image_id"] for row in rows]} | found)
    pq.write_table(table, settings.var_dir / "loop.parquet", compression="zstd")
    return {"seconds": time.perf_counter() - started}


def forward(settings: Settings) -> dict[str, Any]:
    """How long the model takes to open, and the images/s of its engine on pixels in memory."""
    import numpy as np

    from pipeline.database import connect
    from pipeline.datasets.lake import open_lake
    from pipeline.model.engines.record import open_engine
    from pipeline.model.registry import bundle_in_force

    store = open_lake(settings).store
    bundle = bundle_in_force(connect(settings), store, settings.model_name)
    pixels = np.random.default_rng(0).integers(0, 256, (settings.inference_batch, SIDE_PX, SIDE_PX, 3), np.uint8)
    started = time.perf_counter()
    engine = open_engine(store, bundle, settings.inference_engine, len(pixels))
    engine.run(pixels)
    opened = time.perf_counter() - started
    done, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < FORWARD_S:
        engine.run(pixels)
        done += len(pixels)
    return {"open_s": opened, "images_per_s": done / seconds}


def main() -> None:
    """Do one command."""
    name, answer, *arguments = sys.argv[1:]
    command: Any = {"prepare": prepare, "ours": ours, "loop": loop, "forward": forward}[name]
    Path(answer).write_text(json.dumps(command(Settings.from_environment_alone(), *arguments)))


if __name__ == "__main__":
    main()
