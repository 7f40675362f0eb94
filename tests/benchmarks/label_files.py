"""Label files: how fast `labels.csv` and `labels.parquet` are written, and in how much memory; the SQL of a report against
pandas on the same files; and what a second run costs that meets pictures which the model has labelled before.

Rows are as the lake gives them, in batches; pandas' `to_csv` on the same cells informs. The second run is the whole stage,
from plan to publication, on EfficientNetV2-B0 at 224 px with random weights.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import IMAGES, LABELS, RECORD_LABELS
from pipeline.domain.scope import Scope, Selection
from pipeline.labels.tables import filled_table
from pipeline.reporting import exports
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary
from tests.benchmarks.figure import Figure
from tests.benchmarks.for_images.pictures import make_pictures
from tests.benchmarks.for_images.places import BENCH, PICTURES
from tests.benchmarks.harvest import _peak_mb
from tests.benchmarks.labels import ELSEWHERE, Bench

TURNS = 3
BATCH = 16_384  # rows: what the lake reads at once
WRITTEN, FEW, MANY = 2_000_000, 1_000_000, 10_000_000
QUERIED = 180 * BATCH
PICTURES_USED, IMAGES_AGAIN = 500, 10_000  # each picture stands for twenty images: only their ids differ
RUN = Run("bench", "bench", Selection("query", "*:*"), Scope("full"), datetime(2026, 1, 2, tzinfo=UTC))
MODEL = {
    "model_name": "default",
    "model_version": "1",
    "model_sha256": "a" * 64,
    "preprocessing_version": "squash-bicubic-1",
    "vocabulary_version": "33ba6b3165ce",
    **RUN.columns(),
}


def measure(*, full: bool) -> list[Figure]:
    """All figures; the long form has twice as many images in the second run."""
    BENCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="label-files-", dir=BENCH) as name:
        folder = Path(name)
        figures = [*_written(folder), *_memory(), *_queries(folder)]
        return [*figures, *_again(folder / "again", IMAGES_AGAIN * (2 if full else 1))]


def _vocabulary() -> Vocabulary:
    settings = Settings.from_environment_alone()
    return load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)


def _batch(number: int, vocabulary: Vocabulary) -> pa.RecordBatch:
    """Rows of `labels`, eight an image."""
    rng = np.random.default_rng(number)
    image = pa.array(np.repeat(np.arange(BATCH // 8), 8))
    concept = pa.array(rng.integers(0, len(vocabulary.concepts), BATCH))
    names = [f"{number:04d}{place:06d}" for place in range(BATCH // 8)]

    def one_of(values: list[str]) -> pa.Array:
        return pa.array(values).take(pa.array(rng.integers(0, len(values), BATCH)))

    arrays = {
        "record_id": pa.array([f"/2021650/{name}" for name in names]).take(image),
        "image_id": pa.array([hashlib.sha256(name.encode()).hexdigest() for name in names]).take(image),
        "image_url": pa.array([f"https://images.example.org/{name}/full.jpg" for name in names]).take(image),
        "concept_uri": pa.array([one.concept_uri for one in vocabulary.concepts]).take(concept),
        "label": pa.array([one.slug for one in vocabulary.concepts]).take(concept),
        "score": pa.array(rng.random(BATCH, np.float32)),
        "raw_score": pa.array(rng.random(BATCH, np.float32)),
        "threshold": pa.array(rng.random(len(vocabulary.concepts), np.float32)).take(concept),
        "decision": one_of(["publish", "review", "hidden"]),
        "why": one_of(["threshold", "review_threshold", "floor"]),
        "rank": pa.array(rng.integers(1, 9, BATCH), pa.int32()),
        "provider": one_of(["A museum", "An archive", "A library"]),
    }
    return filled_table(LABELS, arrays, MODEL).combine_chunks().to_batches()[0]


def _rows(count: int, vocabulary: Vocabulary) -> Iterator[pa.RecordBatch]:
    """So many rows, of eight batches in turn."""
    made = [_batch(number, vocabulary) for number in range(8)]
    for turn in range(count // BATCH):
        yield made[turn % len(made)]


def _write_parquet(path: Path, batches: Iterator[pa.RecordBatch], vocabulary: Vocabulary) -> None:
    exports._write_parquet(path, batches, LABELS)


def _write_csv(path: Path, batches: Iterator[pa.RecordBatch], vocabulary: Vocabulary) -> None:
    exports._write_csv(path, (exports._label_cells(batch, vocabulary, ["en"]) for batch in batches))


WRITERS: dict[str, Callable[[Path, Iterator[pa.RecordBatch], Vocabulary], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
}


def _written(folder: Path) -> list[Figure]:
    """Rows a second of each file, and of pandas' CSV of the same cells."""
    vocabulary = _vocabulary()
    batches = list(_rows(WRITTEN, vocabulary))
    rates: dict[str, list[float]] = {name: [] for name in (*WRITERS, "pandas")}
    frame = exports._label_cells(batches[0], vocabulary, ["en"]).to_pandas()
    for _ in range(TURNS):
        for name, write in WRITERS.items():
            rates[name].append(_rate(len(batches) * BATCH, lambda w=write, n=name: w(folder / n, iter(batches), vocabulary)))
        rates["pandas"].append(_rate(len(frame), lambda: frame.to_csv(folder / "pandas", index=False)))
    return [
        Figure("labels_csv", "M rows/s", rates["csv"], at_least=4),
        Figure("labels_parquet", "M rows/s", rates["parquet"], at_least=4),
        Figure("pandas_csv", "M rows/s of pandas.to_csv", rates["pandas"]),
    ]


def _rate(rows: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return round(rows / (time.perf_counter() - started) / 1e6, 2)


def _memory() -> list[Figure]:
    """Peak of a process that writes both files, for few rows and for many."""
    figures = []
    for name in WRITERS:
        few, many = (_child("write", name, str(rows)) for rows in (FEW, MANY))
        figures.append(Figure(f"{name}_growth", f"MB more for {MANY:,} rows than for {FEW:,}", [many - few], at_most=50))
        figures.append(Figure(f"{name}_mb", f"MB at the peak, {MANY:,} rows", [many]))
    return figures


def _child(*arguments: str, **environment: str) -> Any:
    command = [sys.executable, "-m", "tests.benchmarks.label_files", *arguments]
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=os.environ | ELSEWHERE | environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stderr[-3_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _queries(folder: Path) -> list[Figure]:
    """`labels_by_concept.sql` over parts of the lake, and the same counts and means by pandas."""
    import duckdb
    import pandas as pd

    lake = open_lake(Settings(_env_file=None, var_dir=folder / "queried", storage_url=""))  # type: ignore[call-arg]
    parts = _record_labels(lake)
    paths = [folder / "queried" / "lake" / part for part in parts]
    sql = (PROJECT_ROOT / "sql" / "reports" / "labels_by_concept.sql").read_text()
    variables = f"SET VARIABLE lake = '{folder / 'queried' / 'lake'}'; SET VARIABLE run = '{RUN.run_id}';"

    def by_duckdb() -> dict[str, int]:
        with duckdb.connect() as connection:
            connection.execute(variables)
            return {row[0]: row[2] for row in connection.execute(sql).fetchall()}

    def by_pandas() -> dict[str, int]:
        columns = ["label", "concept_uri", "decision", "max_score", "why", "model_name", "model_version"]
        frame = pd.concat([pd.read_parquet(path, columns=columns) for path in paths])
        counts = frame.groupby(["label", "concept_uri"])["decision"].value_counts().unstack(fill_value=0)
        frame[frame["decision"] == "publish"].groupby(["label", "concept_uri"])["max_score"].mean()
        frame.assign(abstains=frame["why"] == "abstains").groupby(["label", "concept_uri"])["abstains"].any()
        frame.groupby(["label", "concept_uri"])[["model_name", "model_version"]].first()
        return {label: int(count) for (label, _), count in counts["publish"].items()}

    seconds: dict[str, list[float]] = {"duckdb": [], "pandas": []}
    for turn in range(-1, TURNS):  # the first turn warms both up
        found = {}
        for name, query in (("duckdb", by_duckdb), ("pandas", by_pandas)):
            started = time.perf_counter()
            found[name] = query()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
        assert found["duckdb"] == found["pandas"]
    ratios = [round(slow / quick, 2) for slow, quick in zip(seconds["pandas"], seconds["duckdb"], strict=True)]
    return [
        Figure("report_query", f"x pandas' time, {QUERIED:,} record labels", ratios, at_least=10),
        Figure("report_query_s", "s of DuckDB", [round(one, 3) for one in seconds["duckdb"]]),
    ]


def _record_labels(lake: Lake) -> list[str]:
    """Parts of `record_labels` with so many rows; their keys."""
    vocabulary, parts = _vocabulary(), []
    for number in range(10):
        tables = []
        for batch in _rows(QUERIED // 10, vocabulary):
            table = pa.Table.from_batches([batch])
            renamed = {"max_score": table["score"], "mean_score": table["raw_score"], "images": table["rank"]}
            tables.append(pa.table({name: renamed[name] if name in renamed else table[name] for name in RECORD_LABELS.names}))
        parts.append(
            lake.write_part(RUN, "record_labels", number, (table.cast(RECORD_LABELS) for table in tables), RECORD_LABELS)
        )
    lake.publish(RUN, "record_labels", parts)
    return [part.key for part in parts]


def _again(folder: Path, images: int) -> list[Figure]:
    """The stage on pictures that it has not seen, and on the same ones in another run."""
    folder.mkdir()
    make_pictures(PICTURES, PICTURES_USED)
    Bench(folder, PICTURES_USED).prepare()
    told = _child("again", str(images), VAR_DIR=str(folder / "var"), ENV_FILE="")
    share = round(100 * told["second_s"] / told["first_s"], 2)
    return [
        Figure("second_run", f"% of the first run's time, {images:,} images, plan to publication", [share], at_most=2),
        Figure("second_run_s", "s", [told["second_s"]]),
        Figure("first_run_s", "s, with Keras", [told["first_s"]]),
    ]


def _stage_twice(images: int) -> dict[str, float]:
    import great_expectations  # noqa: F401, TID253 - a worker's start is not the stage's time

    from pipeline.cli.stages import run_stage

    settings = Settings.from_environment_alone()
    lake = open_lake(settings)
    known = [row for batch in lake.rows(lake.run("runs/run=bench/run.json"), "images") for row in batch.to_pylist()]
    seconds = {}
    for place, name in enumerate(("first", "second")):
        run = Run(name, name, RUN.selection, RUN.scope, RUN.created_at + timedelta(days=place))
        lake.save_run(run)
        lake.publish(run, "images", list(_copies(lake, run, known, images)))
        started = time.perf_counter()
        run_stage("labels", run.key, settings)
        seconds[f"{name}_s"] = round(time.perf_counter() - started, 2)
        counts = lake.read_json(f"{run.folder}/labels.json")["counts"]
        assert (counts["ok"], counts["extra"]["pictures_predicted"]) == (images, images * (place == 0))
    return seconds


def _copies(lake: Lake, run: Run, known: list[dict[str, Any]], images: int) -> Iterator[Any]:
    for number in range(images // len(known)):
        rows = [
            row
            | run.columns()
            | {"record_id": f"/{number}/{row['record_id'].rpartition('/')[2]}"}
            | {"image_id": hashlib.sha256(f"{number}{row['image_id']}".encode()).hexdigest()}
            for row in known
        ]
        yield lake.write_part(run, "images", number, [as_table("images", rows)], IMAGES)


def _main(command: str, *arguments: str) -> None:
    if command == "again":
        print(json.dumps(_stage_twice(int(arguments[0]))))
        return
    name, rows = arguments
    with tempfile.TemporaryDirectory(prefix="label-files-", dir=BENCH) as folder:
        vocabulary = _vocabulary()
        WRITERS[name](Path(folder) / name, _rows(int(rows), vocabulary), vocabulary)
    print(json.dumps(_peak_mb()))


if __name__ == "__main__":
    _main(*sys.argv[1:])
