"""The loop from votes to a better model: a model whose published labels are right in 75 % of all cases, voters who are right
in 90 %, and three rounds of questions, votes, new training and new thresholds. How precise are its published labels then?

Everything but the voters is what a user runs: labels of a pool of pictures, active sampling, the import of an export of
CrowdHeritage, a dataset out of verdicts, training with its gate, a proposal of thresholds that is applied and released.
Precision is measured on pictures that are neither trained on nor voted on, against the truth of the built-in collection.
"""

import csv
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cli.stages import run_stage
from pipeline.collection import CollectionRow, read_collection
from pipeline.database import connect, models
from pipeline.datasets.lake import open_lake
from pipeline.domain.harvest_rules import HarvestRules
from pipeline.domain.label import Thresholds
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError
from pipeline.feedback.proposal import apply, propose
from pipeline.feedback.sample import Candidate, choose_labels
from pipeline.feedback.steps import Wish, import_feedback
from pipeline.model.bundle import save_bundle
from pipeline.model.predictor import Predictor
from pipeline.model.registry import bundle_in_force
from pipeline.reporting.truth import known_labels
from pipeline.sandbox.builtin import write_builtin_collection
from pipeline.settings import Settings
from pipeline.training.assemble import build_dataset
from pipeline.training.dataset import load_rows
from pipeline.training.evaluate import predict, published
from pipeline.training.steps import train
from pipeline.vocabulary import load_vocabulary
from tests.benchmarks.figure import Figure

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PICTURES, ROUNDS, BUDGET = 2_400, 3, 1_000
START, GOAL = 0.75, 0.90
VOTERS, RIGHT = 3, 0.9  # people a label, and how often one of them is right
WRONG = 0.25  # of the first training labels
SHARES = {"seed": 0.25, "pool": 0.5}  # of the pictures; on the others precision is measured
RECIPE = "kind: scratch\nside_px: 64\nwidth: 16\nepochs: 30\nbatch_size: 32\nlearning_rate: 0.002\nfolds: 3\nseed: 20260101\n"


def measure(*, full: bool) -> list[Figure]:
    """Precision of published labels before the first round and after each; `--full` has five rounds."""
    with tempfile.TemporaryDirectory(prefix="feedback-") as name:
        loop = Loop(Path(name))
        loop.begin()
        found = [loop.precision()]
        for number in range(1, 1 + (5 if full else ROUNDS)):
            loop.round(number)
            found.append(loop.precision())
            print(f"feedback_loop: after round {number} {found[-1]}")
        figures = [Figure("start", "of published labels, right; known before the first round", [found[0].share])]
        for number, one in enumerate(found[1:], start=1):
            goal = GOAL if number == len(found) - 1 else None
            figures.append(Figure(f"round_{number}", "of published labels, right", [one.share], at_least=goal))
        figures.append(Figure("published_start", "labels published of the judged pictures", [found[0].published]))
        figures.append(Figure("published_end", "labels published of the judged pictures", [found[-1].published]))
        figures.append(Figure("voters", "of votes, right", [round(loop.votes_right / loop.votes, 4)]))
        figures.append(Figure("overruled", "refusals of the gate that a person has overruled", [loop.overruled]))
        figures.append(Figure("labels_voted", "labels that people were asked about", [loop.asked]))
        return figures


@dataclass(frozen=True)
class Precision:
    """Labels that would be published of the judged pictures, and the share that is right."""

    published: int
    share: float


class Loop:
    """One house with its model, and a crowd."""

    def __init__(self, folder: Path) -> None:
        recipes = folder / "recipes"
        recipes.mkdir(parents=True)
        (recipes / "loop.yaml").write_text(RECIPE)
        self._folder = folder
        self.settings = Settings(_env_file=None, var_dir=folder / "var", recipes_dir=recipes)  # type: ignore[call-arg]
        self._vocabulary = load_vocabulary(self.settings.vocabulary_file, base_url=self.settings.vocab_base)
        self._random = random.Random(20260101)
        self._rows: dict[str, CollectionRow] = {}
        self.votes = self.votes_right = self.asked = self.overruled = 0

    def begin(self) -> None:
        """The three sets of pictures, and a model that is right in 75 % of what it publishes."""
        whole = self._folder / "whole"
        write_builtin_collection(whole, pictures=PICTURES)
        collection = read_collection(whole)
        self._rows = {row.record_id: row for row in collection.rows if row.image_file and row.concepts}
        sides: dict[str, list[CollectionRow]] = {"seed": [], "pool": [], "judged": []}
        for row in self._rows.values():
            draw = random.Random(row.group or row.record_id).random()
            sides["seed" if draw < SHARES["seed"] else "pool" if draw < sum(SHARES.values()) else "judged"].append(row)
        slugs = sorted({slug for row in self._rows.values() for slug in row.concepts})
        self._write("seed", sides["seed"], whole, lambda row: self._spoilt(row, slugs))
        self._write("pool", sides["pool"], whole, lambda _: ())
        self._write("judged", sides["judged"], whole, lambda row: row.concepts)
        train(self._folder / "seed", "loop", "default", settings=self.settings, now=NOW)
        self._set_precision(sides["judged"])

    def _spoilt(self, row: CollectionRow, slugs: Sequence[str]) -> Sequence[str]:
        """A label in four is another one."""
        return [self._random.choice(slugs) if self._random.random() < WRONG else slug for slug in row.concepts]

    def _write(
        self, name: str, rows: Sequence[CollectionRow], whole: Path, said: Callable[[CollectionRow], Sequence[str]]
    ) -> None:
        folder = self._folder / name
        (folder / "pictures").mkdir(parents=True)
        with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(["record_id", "image_file", "provider", "rights", "concepts", "not_annotated", "group", "split"])
            for row in rows:
                source = whole / row.image_file
                if not source.is_file():
                    continue
                file = f"pictures/{row.record_id.strip('/').replace('/', '_')}{source.suffix}"
                shutil.copyfile(source, folder / file)
                split = {"seed": "train", "judged": "test"}.get(name, "")
                concepts, unknown = ";".join(said(row)), ";".join(row.not_annotated)
                rights = "http://creativecommons.org/publicdomain/zero/1.0/"
                writer.writerow([row.record_id, file, row.owner, rights, concepts, unknown, row.group, split])

    def _set_precision(self, rows: Sequence[CollectionRow]) -> None:
        """One threshold for all concepts, with which 75 % of what is published of the judged pictures is right."""
        scores, truth = self._judged()
        limits = np.sort(scores[truth >= 0])[::-1]
        right = np.array(
            [(truth[(scores >= limit) & (truth >= 0)] == 1).mean() for limit in limits[:: max(1, len(limits) // 400)]]
        )
        limit = limits[:: max(1, len(limits) // 400)][np.flatnonzero(right >= START).max()]
        engine, store = connect(self.settings), open_lake(self.settings).store
        old = bundle_in_force(engine, store, "default")
        version = models.reserve(engine, "default", NOW)
        heads = tuple(replace(head, thresholds=Thresholds(float(limit), float(limit) / 2)) for head in old.heads)
        new = replace(old, version=version, heads=heads)
        for key in list(store.list(f"{old.folder}/")):
            if not key.endswith("bundle.json"):
                store.put_bytes(f"{new.folder}/{key.rpartition('/')[2]}", store.get_bytes(key))
        facts: dict[str, Any] = {"sha256": new.sha256, "dataset_id": "set", "metrics": {}, "now": NOW}
        models.register(engine, name="default", version=version, bundle_key=save_bundle(store, new), **facts)
        models.release(engine, "default", version)

    def _judged(self) -> tuple[Any, Any]:
        """Calibrated scores and truth (n, concepts) of the judged pictures, by the model in force."""
        store = open_lake(self.settings).store
        bundle = bundle_in_force(connect(self.settings), store, "default")
        collection = read_collection(self._folder / "judged")
        slugs = tuple(head.slug for head in bundle.heads)
        images = load_rows(collection, collection.rows, slugs, self._vocabulary, side_px=bundle.side_px, settings=self.settings)
        assert images is not None
        self._published = published(bundle, scores := predict(Predictor(store, bundle), images))
        return scores, images.truth

    def precision(self) -> Precision:
        """Of the model in force, on the judged pictures."""
        _, truth = self._judged()
        shown = self._published & (truth >= 0)
        return Precision(int(shown.sum()), round(float((truth[shown] == 1).mean()), 4) if shown.any() else 0.0)

    def round(self, number: int) -> None:
        """Ask people about labels of the pool, learn from what they say, and set thresholds anew."""
        now = NOW + timedelta(days=10 * number)
        chosen = self._labelled(f"round-{number}", now, number)
        export = self._folder / f"votes-{number}.json"
        export.write_text(json.dumps({"@context": {}, "@graph": [said for one in chosen if (said := self._asked(one))]}))
        wish = Wish(export, "crowdheritage", campaign=f"round {number}")
        import_feedback(wish, settings=self.settings, now=now + timedelta(days=1))
        built = self._folder / f"dataset-{number}"
        pictures = [str(self._folder / "pool")]
        sources = ["feedback:all"]
        build_dataset(
            [self._folder / "seed"], built, settings=self.settings, now=now, unseen="", sources=sources, pictures=pictures
        )
        trained = train(built, "loop", "default", settings=self.settings, now=now + timedelta(days=2))
        if not trained.released and trained.verdict is not None:
            print(f"feedback_loop: version {trained.bundle.version} is refused: {'; '.join(trained.verdict.reasons)}")
            why = {"by": "the benchmark", "why": "the guarantees of the version in force were set by hand, and were false"}
            models.release(connect(self.settings), "default", trained.bundle.version, override=why)
            self.overruled += 1
        self._labelled(f"round-{number}-again", now + timedelta(days=3), number)
        self._apply_thresholds(number, now + timedelta(days=4))

    def _labelled(self, run_id: str, now: datetime, seed: int) -> Sequence[Candidate]:
        """A run over the pool by the model in force; the labels to ask about next."""
        selection = Selection("folder", str(self._folder / "pool"))
        key = start_folder_run(self.settings, run_id, selection, now)
        for stage in ("harvest", "images", "labels"):
            run_stage(stage, key, self.settings)
        lake = open_lake(self.settings)
        return choose_labels(lake, lake.run(key), BUDGET, seed=seed, settings=self.settings)

    def _asked(self, one: Candidate) -> Mapping[str, Any] | None:
        """What CrowdHeritage exports of a label after people have voted; None for one that nobody knows the truth of."""
        concept = self._vocabulary.by_slug[one.label]
        true, unknown = known_labels(self._rows[one.record_id], self._vocabulary)
        if concept.body_uri is None or one.label in unknown:
            return None
        self.asked += 1
        up = 0
        for _ in range(VOTERS):
            is_right = self._random.random() < RIGHT
            up += (one.label in true) == is_right
            self.votes, self.votes_right = self.votes + 1, self.votes_right + is_right
        return {
            "created": "Wed Apr 01 17:17:52 UTC 2026",
            "creator": {"type": "Software", "id": "urn:m", "name": one.model},
            "confidence": one.score,
            "body": concept.body_uri,
            "target": {"source": one.record_id},
            "review": {"type": "Validation", "upvotes": up, "downvotes": VOTERS - up},
        }

    def _apply_thresholds(self, number: int, now: datetime) -> None:
        file = self._folder / f"thresholds-{number}.json"
        file.write_text(json.dumps(propose(settings=self.settings)))
        try:
            name, version = apply(file, settings=self.settings, now=now)
        except CriticalError as problem:  # it changes nothing
            print(f"feedback_loop: {problem}")
            return
        why = {"by": "the benchmark", "why": "people's verdicts go before the guarantee of a concept"}
        models.release(connect(self.settings), name, version, override=why)


def start_folder_run(settings: Settings, run_id: str, selection: Selection, now: datetime) -> str:
    """A run over a folder."""
    from pipeline.harvest.steps import start_run

    return start_run(
        settings=settings,
        run_id=run_id,
        source="folder",
        scope=Scope("full"),
        created_at=now,
        selection=selection,
        rules=HarvestRules(service="folder"),
    )
