"""Training a worse model: it is registered, refused in words, released only over somebody's word, and rolled back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.collection import read_collection
from pipeline.database import connect, models
from pipeline.errors import CriticalError
from pipeline.settings import Settings
from pipeline.training.by_form import dataset_of_form, follow_up, overrule, report_noise_of_form, train_from_form
from tests.conftest import NOW

WORSE = "kind: scratch\nside_px: 32\nwidth: 4\nepochs: 1\nbatch_size: 64\nlearning_rate: 0.0001\nfolds: 2\nseed: 7\n"
FORM = {
    "collection": "", "sources": [], "recipe": "small", "name": "default", "again": False, "noise_report": False,
    "evaluation": False, "engines": False,
}  # fmt: skip


@pytest.fixture
def var(trained_var: Path, tmp_path: Path) -> Path:
    """A copy of the trained folder, to add versions to."""
    return Path(shutil.copytree(trained_var, tmp_path / "var"))


def test_a_worse_version_is_refused_and_every_step_after_it_is_on_record(
    var: Path, small_collection: Path, tmp_path: Path
) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "worse.yaml").write_text(WORSE)

    def enrich(*arguments: object, code: int = 0) -> str:
        environment = {
            **os.environ,
            "VAR_DIR": str(var),
            "RECIPES_DIR": str(recipes),
            "TARGET_PRECISION": "0.6",
            "COLUMNS": "200",
        }
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *map(str, arguments)],
            env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    refused = enrich("train", "--collection", small_collection, "--recipe", "worse", code=3)
    assert "registered but not released" in refused and "macro average precision falls from" in refused
    assert "enrich model release default 2 --override" in refused
    listed = enrich("model", "list", "default")
    assert "registered (refused)" in listed and "released" in listed
    assert "in force" in enrich("model", "release", "default", "2", code=2)
    enrich("model", "release", "default", "2", "--override", "only to try it")
    shown = enrich("model", "show", "default")
    assert "default 2, released" in shown and "only to try it" in shown and "refused" in shown
    assert "default 1 is released again" in enrich("model", "rollback", "default")
    assert "default 1, released" in enrich("model", "show", "default")


def test_the_form_of_the_dag_trains_and_a_refusal_is_overruled_only_with_a_reason(
    var: Path, small_collection: Path, tmp_path: Path
) -> None:
    (tmp_path / "worse.yaml").write_text(WORSE)
    settings = Settings(_env_file=None, var_dir=var, recipes_dir=tmp_path, target_precision=0.6)  # type: ignore[call-arg]
    form = FORM | {"collection": f"{small_collection} ", "recipe": "worse"}
    collection = dataset_of_form(form=form, run_id="manual__1", now=NOW, settings=settings)
    assert collection == str(small_collection)
    assert report_noise_of_form(collection=collection, form=form, run_id="manual__1", settings=settings) == ""
    trained = train_from_form(collection=collection, form=form, now=NOW, settings=settings)
    assert (trained["name"], trained["version"], trained["released"]) == ("default", 2, False)
    assert "macro average precision falls" in trained["refusal"]
    assert follow_up(collection=collection, form=form, trained=trained, settings=settings) == {
        "evaluation": "not wanted", "engine": "not wanted",
    }  # fmt: skip
    wanted = form | {"evaluation": True, "engines": True}
    done = follow_up(collection=collection, form=wanted, trained=trained, settings=settings)
    assert done == {"evaluation": str(var / "evaluations/default-2"), "engine": "not wanted"}  # it is not in force
    assert json.loads((var / "evaluations/default-2/figures.json").read_text())["split"] == "test"
    card = (var / "lake/models/default/2/card.md").read_text()
    assert "# Model default, version 2" in card and "Refused:" in card and "macro average precision falls" in card
    registered = models.find(connect(settings), "default", 2)
    assert registered is not None and f"| macro average precision | {registered['metrics']['macro_ap']:.3f} |" in card
    answer = {"chosen_options": ["Release it all the same"], "responded_by_user": {"id": "7", "name": "curator"}}
    with pytest.raises(CriticalError, match="not why"):
        overrule(trained=trained, answer=answer | {"params_input": {"why": " "}}, settings=settings)
    told = overrule(trained=trained, answer=answer | {"params_input": {"why": "the old one is gone"}}, settings=settings)
    assert "on the word of curator" in told
    row = models.find(connect(settings), "default")
    assert row is not None and (row["version"], row["gate"]["override"]["why"]) == (2, "the old one is gone")


def test_a_form_with_sources_builds_one_dataset_a_run_and_makes_a_cut_off_one_anew(
    small_collection: Path, tmp_path: Path
) -> None:
    settings = Settings(_env_file=None, var_dir=tmp_path)  # type: ignore[call-arg]
    (tmp_path / "sorted" / "coin").mkdir(parents=True)
    shutil.copy(next(path for path in sorted(small_collection.rglob("*.jpg"))), tmp_path / "sorted/coin/one.jpg")
    form = FORM | {"sources": [f"folders:{tmp_path / 'sorted'}"]}
    (tmp_path / "datasets/manual--1").mkdir(parents=True)
    (tmp_path / "datasets/manual--1/metadata.csv").write_text("cut off in the mid")
    folder = Path(dataset_of_form(form=form, run_id="manual__1", now=NOW, settings=settings))
    (row,) = read_collection(folder).rows
    assert folder == tmp_path / "datasets/manual--1" and row.concepts == ("coin",)
    written = (folder / "card.md").stat().st_mtime_ns
    assert dataset_of_form(form=form, run_id="manual__1", now=NOW, settings=settings) == str(folder)
    assert (folder / "card.md").stat().st_mtime_ns == written


def test_the_form_asks_for_a_collection_or_sources(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, var_dir=tmp_path)  # type: ignore[call-arg]
    with pytest.raises(CriticalError, match="which folder.*or name sources"):
        dataset_of_form(form=FORM | {"collection": " "}, run_id="manual__1", now=NOW, settings=settings)
