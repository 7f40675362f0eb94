"""A label task that is killed at any moment: the labels that it ends with are those of an undisturbed run, byte for byte."""

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cli.stages import run_stage
from pipeline.collection.reader import EXPECTED
from pipeline.database import connect, models
from pipeline.datasets.lake import open_lake
from pipeline.domain.harvest_rules import HarvestRules
from pipeline.domain.label import Thresholds
from pipeline.domain.scope import Scope, Selection
from pipeline.harvest.steps import start_run
from pipeline.model import networks
from pipeline.model.bundle import Bundle, ConceptHead, bundle_folder, save_bundle, save_network
from pipeline.model.engines import trial
from pipeline.model.preprocessing import PREPROCESSING_VERSION
from pipeline.settings import Settings
from pipeline.vocabulary import load_vocabulary
from tests.conftest import NOW
from tests.integration.pictures import Command

pytest.importorskip("openvino")

PICTURES, PER_BATCH, SIDE, CONCEPTS = 240, 4, 32, 4
KILLS = {"predicting": 14, "writing": 4, "publishing": 2}
DATASETS = ("labels", "record_labels", "features", "score_histograms", "outcomes/stage=labels", "predictions")
WITHIN_S = 60


def settings_of(var: Path) -> Settings:
    return Settings(_env_file=None, var_dir=var, images_per_batch=PER_BATCH, images_per_shard=PER_BATCH)  # type: ignore[call-arg]


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A var folder with a run whose pictures are there, and a released model that a quick engine serves."""
    settings, folder = settings_of(tmp_path / "var"), tmp_path / "collection"
    folder.mkdir()
    colours = np.random.default_rng(5)
    lines = [",".join(EXPECTED[:2])]
    for number in range(PICTURES):
        patches = colours.integers(0, 255, (6, 6, 3), np.uint8)
        Image.fromarray(patches).resize((96, 96), Image.Resampling.NEAREST).save(folder / f"{number}.png")
        lines.append(f"/1/r{number:03d},{number}.png")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    _released(settings, monkeypatch)
    key = start_run(
        settings=settings,
        run_id="night",
        source="folder",
        scope=Scope("full"),
        created_at=NOW,
        selection=Selection("folder", str(folder)),
        rules=HarvestRules(service="folder"),
    )
    for stage in ("harvest", "images"):
        run_stage(stage, key, settings)
    return settings.var_dir


def _released(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that has learned nothing: whoever looks at the same picture says the same."""
    store, vocabulary = open_lake(settings).store, load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    network = networks.small_network(SIDE, CONCEPTS, width=4)
    bundle = Bundle(
        name="default",
        version=1,
        sha256=save_network(store, bundle_folder("default", 1), network),
        heads=tuple(ConceptHead(one.slug, (1.0, 0.0), Thresholds(0.6, 0.5)) for one in vocabulary.concepts[:CONCEPTS]),
        side_px=SIDE,
        embedding_width=96,
        preprocessing_version=PREPROCESSING_VERSION,
        vocabulary_version=vocabulary.version,
        recipe="none",
        dataset_id="none",
        metrics={},
    )
    key, database = save_bundle(store, bundle), connect(settings)
    models.register(
        database, name="default", version=1, bundle_key=key, sha256=bundle.sha256, dataset_id="none", metrics={}, now=NOW
    )
    models.release(database, "default", 1)
    pixels = np.random.default_rng(1).integers(0, 255, (32, SIDE, SIDE, 3), np.uint8)
    monkeypatch.setattr(trial, "KINDS", {"openvino": trial.KINDS["openvino"]})
    monkeypatch.setattr(trial, "ROUND_S", 0.05)
    trial.try_engines(store, bundle, pixels, calibration=pixels, at_once=settings.inference_batch, floor=0.05)


class Task:
    """The label stage in a process of its own, on a copy of the folder, until it is done."""

    def __init__(self, fetched: Path, folder: Path) -> None:
        shutil.copytree(fetched, folder / "var")
        self.settings, self._folder = settings_of(folder / "var"), folder
        self.lake = self.settings.var_dir / "lake"
        self._random = random.Random(7)

    def start(self) -> Command:
        arguments = ("stage", "labels", "--run", "runs/run=night/run.json")
        return Command(self.settings, *arguments, folder=self._folder / "processes", INFERENCE_ENGINE="openvino")

    def kill(self, moment: str) -> bool:
        """Start it and kill it at a moment of this kind; was it there to be killed?"""
        before, command = self.batches_done(), self.start()
        wanted = before + self._random.randint(0, 1)
        moments: dict[str, Callable[[], bool]] = {
            "predicting": lambda: self.batches_done() >= wanted,
            "writing": lambda: any(self.lake.rglob(".tmp-*")),
            "publishing": lambda: self.batches_done() == PICTURES // PER_BATCH,
        }
        deadline = time.monotonic() + WITHIN_S
        while not moments[moment]() and command.process.is_alive():
            assert time.monotonic() < deadline, f"{moment} did not come within {WITHIN_S} s"
            time.sleep(0.001)
        time.sleep(self._random.uniform(0, {"predicting": 0.1, "writing": 0.0, "publishing": 0.1}[moment]))
        return command.kill()

    def batches_done(self) -> int:
        return len(list((self.lake / "runs/run=night/labels").glob("result-*.json")))

    def visible(self) -> list[Path]:
        return [path for name in DATASETS for path in (self.lake / name).rglob("_manifest.json")]

    def files(self) -> dict[str, bytes]:
        """What readers see of the stage: parts and manifests."""
        paths = [path for name in DATASETS for path in sorted((self.lake / name).rglob("*"))]
        kinds = (".parquet", ".json")
        return {str(path.relative_to(self.lake)): path.read_bytes() for path in paths if path.suffix in kinds}


def test_labels_of_a_task_killed_twenty_times_are_those_of_an_undisturbed_one(fetched: Path, tmp_path: Path) -> None:
    undisturbed, task = Task(fetched, tmp_path / "undisturbed"), Task(fetched, tmp_path / "killed")
    first = undisturbed.start().end()
    assert first.code == 0, first.complaints

    moments = [moment for moment in ("predicting", "writing") for _ in range(KILLS[moment])]
    random.Random(7).shuffle(moments)
    killed = 0
    for moment in moments:
        killed += task.kill(moment)
        assert not task.visible()
    assert killed == len(moments) and 2 <= task.batches_done() < PICTURES // PER_BATCH
    killed += sum(task.kill("publishing") for _ in range(KILLS["publishing"]))
    assert killed == sum(KILLS.values())
    last = task.start().end()
    assert last.code == 0, last.complaints

    expected = undisturbed.files()
    assert task.files() == expected
    assert sum(name.startswith("labels/") and name.endswith(".parquet") for name in expected) == PICTURES // PER_BATCH
    lake = open_lake(task.settings)
    batches = lake.rows(lake.run("runs/run=night/run.json"), "labels", ["record_id"])
    assert {row["record_id"] for batch in batches for row in batch.to_pylist()} == {
        f"/1/r{number:03d}" for number in range(PICTURES)
    }
