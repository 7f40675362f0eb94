"""Labels: from shards to written Parquet, EfficientNetV2-B0 at 224 px with random weights, against a plain Keras loop
(batches of 32, Pillow, `predict`) over the same shards.

Both sides are processes of their own, in turn; their clocks include the loading of the model, not of libraries.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.model.engines.with_openvino import has_bf16
from pipeline.settings import PROJECT_ROOT
from tests.benchmarks.figure import Figure
from tests.benchmarks.for_images.pictures import make_pictures
from tests.benchmarks.for_images.places import BENCH, PICTURES
from tests.benchmarks.for_images.watch import Watched, run_watched

COUNT, TURNS = 2_000, 3
# What the caller's environment may say of other places: empty means below VAR_DIR.
ELSEWHERE = {"STORAGE_URL": "", "DATABASE_URL": "", "S3_ENDPOINT_URL": "", "PROGRESS_FILE": ""}


def measure(*, full: bool, count: int = COUNT) -> list[Figure]:
    """All figures; `--full` labels more pictures. Fewer than `count` are for trying the benchmark itself."""
    count = 5_000 if full else count
    make_pictures(PICTURES, count)
    BENCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="labels-", dir=BENCH) as name:
        bench = Bench(Path(name), count)
        bench.prepare()
        loops, figures = [], []
        engines = {"openvino-bf16" if has_bf16() else "openvino": 3.0, "openvino-int8": 4.5}
        sides: dict[str, list[Side]] = {engine: [] for engine in engines}
        for _ in range(TURNS):
            loops.append(bench.loop())
            for engine, found in sides.items():
                found.append(bench.ours(engine))
        for engine, goal in engines.items():
            figures += _figures(engine, goal, sides[engine], loops, count)
        figures.append(Figure("loop", "images/s, the Keras loop", [round(count / one.seconds, 1) for one in loops]))
        figures.append(Figure("loop_mb", "MB at the peak", [round(one.watched.peak_mb) for one in loops]))
    return figures


@dataclass(frozen=True)
class Side:
    """How a side went: seconds by its own clock; of our side, the engine's own rate and how long it takes to open."""

    seconds: float
    watched: Watched
    alone: Mapping[str, float]


@dataclass
class Bench:
    """A lake with pictures and a model below `folder`."""

    folder: Path
    count: int
    run: str = ""

    def prepare(self) -> None:
        """Make the lake."""
        told = self._child("prepare", str(PICTURES), str(self.count))[1]
        if told["pictures"] != self.count:
            raise RuntimeError(f"{self.count} pictures were to be stored, and {told['pictures']} are")
        self.run = told["run"]

    def ours(self, engine: str) -> Side:
        """Our side with an engine, and right after it the engine alone."""
        results = list((self.folder / "var" / "lake").glob("**/labels/result-*.json"))
        for result in results:  # or else all would be done already
            result.unlink()
        watched, told = self._child("ours", self.run, INFERENCE_ENGINE=engine)
        alone = self._child("forward", INFERENCE_ENGINE=engine)[1]
        print(
            f"{engine}: {self.count / told['seconds']:.1f} images/s, {alone['images_per_s']:.1f} by itself, opened in "
            f"{alone['open_s']:.1f} s, {watched.peak_mb:.0f} MB at the peak",
            flush=True,
        )
        return Side(told["seconds"], watched, alone)

    def loop(self) -> Side:
        """The peer."""
        watched, told = self._child("loop", self.run)
        print(f"Keras loop: {self.count / told['seconds']:.1f} images/s, {watched.peak_mb:.0f} MB at the peak", flush=True)
        return Side(told["seconds"], watched, {})

    def _child(self, *command: str, **environment: str) -> tuple[Watched, dict[str, Any]]:
        name, *arguments = command
        answer = self.folder / "answer.json"
        (self.folder / "var").mkdir(exist_ok=True)
        watched = run_watched(
            [sys.executable, "-m", "tests.benchmarks.for_labels.child", name, str(answer), *arguments],
            environment={
                **os.environ,
                **ELSEWHERE,
                "PYTHONPATH": str(PROJECT_ROOT),
                "VAR_DIR": str(self.folder / "var"),
                **environment,
            },
            log=self.folder / f"{name}.log",
        )
        return watched, json.loads(answer.read_text())


def _figures(engine: str, goal: float, ours: list[Side], loops: list[Side], count: int) -> list[Figure]:
    """Of one engine against the loop, in the same turn."""
    faster = [round(peer.seconds / own.seconds, 3) for own, peer in zip(ours, loops, strict=True)]
    share = [round(count / (own.seconds - own.alone["open_s"]) / own.alone["images_per_s"], 3) for own in ours]
    return [
        Figure(f"ratio_{engine}", f"x the Keras loop's images/s, {count:,} pictures", faster, at_least=goal),
        Figure(f"share_{engine}", "of the engine's own rate on pixels in memory, its opening aside", share, at_least=0.85),
        Figure(f"rate_{engine}", "images/s", [round(count / own.seconds, 1) for own in ours]),
        Figure(f"alone_{engine}", "images/s on pixels in memory", [round(own.alone["images_per_s"], 1) for own in ours]),
        Figure(f"mb_{engine}", "MB at the peak", [round(own.watched.peak_mb) for own in ours], at_most=600),
    ]
