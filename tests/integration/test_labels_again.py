"""Pictures are looked at once, what a model has said is found again, and a damaged shard costs only itself."""

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.cli.stages import run_stage
from pipeline.database import connect, models
from pipeline.datasets.lake import Lake, open_lake
from pipeline.domain.harvest_rules import HarvestRules
from pipeline.domain.label import Thresholds
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError, PoisonedResultError
from pipeline.harvest.steps import start_run
from pipeline.labels import steps
from pipeline.labels.relabel import start_relabel
from pipeline.model import predictor
from pipeline.model.bundle import Bundle, ConceptHead, save_bundle
from pipeline.model.preprocessing import PREPROCESSING_VERSION
from pipeline.model.runtime import gpus
from pipeline.reporting import page, report
from pipeline.settings import Settings
from pipeline.vocabulary import load_vocabulary
from tests.conftest import NOW

SIZES = {"images_per_batch": 8, "images_per_shard": 4}
PICTURES, CONCEPTS, WIDTH = 24, 4, 6


class Engine:
    """Stands in for a network: what it says follows from the picture's colours."""

    answer: Callable[[Any, Any], tuple[Any, Any]] = staticmethod(lambda scores, embeddings: (scores, embeddings))

    def run(self, pixels: Any) -> tuple[Any, Any]:
        colours = pixels.reshape(len(pixels), -1, 3).mean(axis=1, dtype=np.float32) / 255
        scores = np.column_stack([colours, colours.mean(axis=1)])
        return Engine.answer(scores, np.column_stack([colours, colours**2]))


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor, "open_engine", lambda *_, **__: Engine())
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pictures of different colours, a record each."""
    folder = tmp_path_factory.mktemp("collection")
    rng = np.random.default_rng(0)
    lines = ["record_id,image_file,provider,rights"]
    for number in range(PICTURES):
        noise = rng.integers(-40, 40, (12, 12, 3)) + rng.integers(50, 200, 3)
        picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8)).resize((96, 96), Image.Resampling.NEAREST)
        picture.save(folder / f"{number}.png")
        lines.append(f"/1/r{number:02d},{number}.png,Museum {number % 2},http://creativecommons.org/publicdomain/zero/1.0/")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def labelled_var(folder: Path, engine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A var folder with a released model and a labelled run `first`, of a source that is a folder."""
    var = tmp_path_factory.mktemp("labelled") / "var"
    settings = Settings(var_dir=var, **SIZES)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    bundle = Bundle(
        name="default",
        version=1,
        sha256="0" * 64,
        heads=tuple(ConceptHead(one.slug, (1.0, 0.0), Thresholds(0.5, 0.3)) for one in vocabulary.concepts[:CONCEPTS]),
        side_px=16,
        embedding_width=WIDTH,
        preprocessing_version=PREPROCESSING_VERSION,
        vocabulary_version=vocabulary.version,
        recipe="none",
        dataset_id="none",
        metrics={},
    )
    key, database = save_bundle(open_lake(settings).store, bundle), connect(settings)
    models.register(
        database, name="default", version=1, bundle_key=key, sha256=bundle.sha256, dataset_id="none", metrics={}, now=NOW
    )
    models.release(database, "default", 1)
    labelled(settings, folder, "first")
    return var


@pytest.fixture
def settings(labelled_var: Path, tmp_path: Path) -> Settings:
    shutil.copytree(labelled_var, tmp_path / "var")
    return Settings(var_dir=tmp_path / "var", **SIZES)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The ids of the pictures that the model is shown."""
    shown: list[str] = []

    def watched(batches: Any, predictor: Any) -> Iterator[Any]:
        for images, prediction in predicted(batches, predictor):
            shown.extend(row["image_id"] for row in images.rows)
            yield images, prediction

    predicted: Callable[..., Iterator[Any]] = steps.predicted
    monkeypatch.setattr(steps, "predicted", watched)
    return shown


def labelled(settings: Settings, folder: Path, run_id: str, source: str = "folder") -> Lake:
    """Harvest, fetch and label a folder."""
    key = start_run(
        settings=settings,
        run_id=run_id,
        source=source,
        scope=Scope("full"),
        created_at=NOW + timedelta(days=run_id != "first"),
        selection=Selection("folder", str(folder)),
        rules=HarvestRules(service="folder"),
    )
    for stage in ("harvest", "images", "labels"):
        run_stage(stage, key, settings)
    return open_lake(settings)


def rows(lake: Lake, run_id: str, dataset: str) -> list[dict[str, Any]]:
    """The rows of a run, but for what names the run."""
    run = lake.run(f"runs/run={run_id}/run.json")
    found = [row for batch in lake.rows(run, dataset) for row in batch.to_pylist()]
    return [{name: value for name, value in row.items() if name not in ("run_id", "created_at")} for row in found]


def counts(lake: Lake, run_id: str) -> dict[str, Any]:
    report: dict[str, Any] = lake.read_json(f"runs/run={run_id}/labels.json")
    return report["counts"]


def label_anew(settings: Settings) -> Lake:
    """The first run as if it had never been labelled."""
    lake = settings.var_dir / "lake"
    shutil.rmtree(lake / "runs" / "run=first" / "labels")
    shutil.rmtree(lake / "predictions")
    run_stage("labels", "runs/run=first/run.json", settings)
    return open_lake(settings)


def shards(settings: Settings) -> list[Path]:
    return sorted((settings.var_dir / "lake" / "shards").rglob("*.tar"))


def test_pictures_of_another_source_that_were_labelled_before_are_not_predicted_again(
    settings: Settings, folder: Path, looked_at: list[str]
) -> None:
    lake = labelled(settings, folder, "second", source="elsewhere")
    assert looked_at == []
    for dataset in ("labels", "record_labels", "features", "score_histograms"):
        assert rows(lake, "second", dataset) == rows(lake, "first", dataset) != []
    pictures = {row["image_id"] for row in rows(lake, "first", "features")}
    assert counts(lake, "second")["extra"]["pictures_recalled"] == len(pictures)
    assert counts(lake, "first")["extra"]["pictures_predicted"] == len(pictures)
    assert counts(lake, "first")["extra"]["predicted_by_keras"] == len(pictures)
    assert not [name for name in counts(lake, "second")["extra"] if name.startswith("predicted_by_")]


def test_decisions_are_made_anew_from_what_is_remembered(
    settings: Settings, folder: Path, looked_at: list[str], tmp_path: Path
) -> None:
    policy = yaml.safe_load(settings.policy_file.read_text()) | {"publishable_rights": []}
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy))
    settings = settings.model_copy(update={"policy_file": tmp_path / "policy.yaml"})
    lake = labelled(settings, folder, "second")
    assert looked_at == []
    before = {row["why"] for row in rows(lake, "first", "labels") if row["decision"] == "publish"}
    after = {row["why"] for row in rows(lake, "second", "labels") if row["decision"] == "hidden"}
    assert before == {"threshold"} and "rights_restricted" in after
    assert counts(lake, "second")["extra"]["publish"] == 0


@pytest.mark.parametrize(("most", "held"), [(3, True), (4, False), (None, False)])
def test_labels_of_a_picture_that_stands_at_too_many_records_stay_hidden_and_so_do_those_of_nearly_the_same_one(
    settings: Settings, folder: Path, tmp_path: Path, most: int | None, held: bool
) -> None:
    own = tmp_path / "collection"
    shutil.copytree(folder, own)
    with Image.open(folder / "0.png") as picture:
        picture.save(own / "nearly.jpg", quality=85)  # other bytes, the same look
    lines = [
        f"/1/x{number},{file},Museum 2,http://creativecommons.org/publicdomain/zero/1.0/"
        for number, file in enumerate(("0.png", "0.png", "nearly.jpg"))
    ]
    table = (folder / "metadata.csv").read_text() + "\n".join(lines) + "\n"
    (own / "metadata.csv").write_text(table)
    policy = yaml.safe_load(settings.policy_file.read_text()) | {"most_records_per_picture": most}
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy))
    lake = labelled(settings.model_copy(update={"policy_file": tmp_path / "policy.yaml"}), own, "second")
    found = rows(lake, "second", "labels")
    crowd = [row for row in found if row["record_id"] in ("/1/r00", "/1/x0", "/1/x1", "/1/x2")]
    others = [row for row in found if row not in crowd]
    assert len({row["image_id"] for row in crowd}) == 2 and any(row["score"] >= 0.5 for row in crowd)
    assert all((row["why"] == "shared_picture") == held for row in crowd)
    assert not held or {row["decision"] for row in crowd} == {"hidden"}
    assert "shared_picture" not in {row["why"] for row in others} and "publish" in {row["decision"] for row in others}
    if most == 3:  # labels that are decided anew later know of the crowd, too
        settings = settings.model_copy(update={"policy_file": tmp_path / "policy.yaml"})
        scope = Scope("ids", ids=tuple(sorted({row["record_id"] for row in crowd})))
        (settings.var_dir / "lake" / "predictions").rename(settings.var_dir / "lake" / "forgotten")
        key = start_relabel(run_id="anew", scope=scope, budget=9, created_at=NOW + timedelta(days=2), settings=settings)
        run_stage("labels", key, settings)
        anew = rows(lake, "anew", "labels")
        assert {row["record_id"] for row in anew} == set(scope.ids) and {row["why"] for row in anew} == {"shared_picture"}


def test_what_is_no_longer_in_the_lake_is_predicted_again_and_nothing_else(
    settings: Settings, folder: Path, looked_at: list[str]
) -> None:
    lake = open_lake(settings)
    part = lake.parts(lake.run("runs/run=first/run.json"), "features")[0]
    gone = [image_id for batch in lake.part_rows(part.key, ("image_id",)) for image_id in batch["image_id"].to_pylist()]
    lake.store.delete(part.key)
    lake = labelled(settings, folder, "second")
    assert sorted(looked_at) == sorted(set(gone))
    assert counts(lake, "second")["ok"] == counts(lake, "first")["ok"]


def test_the_plan_of_a_restart_is_that_of_the_first_start(settings: Settings, looked_at: list[str]) -> None:
    first = steps.plan_labels("runs/run=first/run.json", settings=settings)
    assert [open_lake(settings).read_json(key)["items"]["known"] for key in first] == [[]] * len(first)
    results = [steps.infer_batch(key, settings=settings) for key in first]
    assert looked_at == [] and len(results) == len(first) > 1


def test_what_becomes_of_other_runs_meanwhile_does_not_change_what_a_restart_plans(settings: Settings, folder: Path) -> None:
    lake = labelled(settings, folder, "second")
    key = "runs/run=second/run.json"
    before = [lake.read_json(batch)["items"]["known"] for batch in steps.plan_labels(key, settings=settings)]
    assert any(before)
    shutil.rmtree(settings.var_dir / "lake" / "predictions")
    again = [lake.read_json(batch)["items"]["known"] for batch in steps.plan_labels(key, settings=settings)]
    assert again == before


def test_a_run_that_was_labelled_before_these_datasets_were_kept_is_reported_without_them(settings: Settings) -> None:
    run = open_lake(settings).run("runs/run=first/run.json")
    for dataset in ("outcomes/stage=labels", "score_histograms"):
        shutil.rmtree(settings.var_dir / "lake" / run.dataset_folder(dataset))
    lake = open_lake(settings)
    assert report._score_histograms(lake, run) == {}
    assert report._rows(lake, run, "outcomes/stage=images", ("reason",)) is not None
    assert list(report._rows(lake, run, "outcomes/stage=labels", ("reason",))) == []


def test_a_worker_without_the_gpu_that_is_demanded_labels_nothing_and_says_what_to_do(
    settings: Settings, folder: Path, looked_at: list[str]
) -> None:
    if gpus():
        pytest.skip("this machine has a GPU")
    with pytest.raises(CriticalError, match=r"INFERENCE_DEVICE=gpu, and Keras on \w+ sees no GPU.*INFERENCE_DEVICE=any"):
        labelled(settings.model_copy(update={"inference_device": "gpu"}), folder, "second")
    assert looked_at == [] and not open_lake(settings).store.exists("runs/run=second/labels.json")
    labelled(settings, folder, "third")
    assert open_lake(settings).store.exists("runs/run=third/labels.json")


@pytest.mark.parametrize("damage", ["gone", "overwritten"])
def test_a_corrupt_shard_costs_its_own_pictures_only(settings: Settings, damage: str) -> None:
    shard = shards(settings)[1]
    before = {row["image_id"]: row for row in rows(open_lake(settings), "first", "images") if row["outcome"] == "ok"}
    lost = {image_id for image_id, row in before.items() if row["shard_uri"].endswith(shard.name)}
    shard.unlink() if damage == "gone" else shard.write_bytes(b"\x00" * shard.stat().st_size)
    lake = label_anew(settings)
    assert {row["image_id"] for row in rows(lake, "first", "features")} == before.keys() - lost
    found = rows(lake, "first", "outcomes/stage=labels")
    assert len(found) == counts(lake, "first")["reasons"]["corrupt"] == len(lost)
    assert {(row["outcome"], row["reason"]) for row in found} == {("failed", "corrupt")}
    assert all(shard.name in row["detail"] for row in found)
    (warned,) = lake.read_json("runs/run=first/labels.json")["checks"][0]["warnings"]
    assert "failed_share" in warned
    run_stage("suggestions", "runs/run=first/run.json", settings)
    shown = page._samples(lake, lake.run("runs/run=first/run.json"))  # the report does without its pictures
    records = {row["record_id"] for image_id, row in before.items() if image_id not in lost}
    assert shown and {one["record_id"] for one in shown} <= records


def test_many_corrupt_shards_block_the_run(settings: Settings) -> None:
    for shard in shards(settings)[:-1]:
        shard.write_bytes(b"")
    with pytest.raises(PoisonedResultError, match="run first is blocked: labels figures: .* on failed_share fails"):
        label_anew(settings)


@pytest.mark.parametrize("poison", ["nan", "width"])
def test_an_impossible_answer_writes_nothing_of_its_batch_and_names_the_shard(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, poison: str
) -> None:
    wrong = {
        "nan": lambda scores, embeddings: (scores * np.float32("nan"), embeddings),
        "width": lambda scores, embeddings: (scores[:, 1:], embeddings),
    }
    monkeypatch.setattr(Engine, "answer", staticmethod(wrong[poison]))
    lake = settings.var_dir / "lake"
    for dataset in ("labels", "record_labels", "features"):
        shutil.rmtree(lake / dataset)
    said = "not finite" if poison == "nan" else "scores of shape"
    with pytest.raises(PoisonedResultError, match=rf"{said}.*shards/.*\.tar"):
        label_anew(settings)
    assert not (lake / "labels").exists()
    with pytest.raises(CriticalError, match="no published labels"):
        rows(open_lake(settings), "first", "labels")


def test_a_model_that_knows_nothing_yet_labels_what_it_is_asked_for_oldest_first_and_within_a_budget(
    settings: Settings, looked_at: list[str]
) -> None:
    shutil.rmtree(settings.var_dir / "lake" / "predictions")  # as for a version that has just been released
    order = [row for row in rows(open_lake(settings), "first", "images") if row["outcome"] == "ok"]

    def relabelled(run_id: str, scope: Scope, budget: int) -> list[str]:
        key = start_relabel(run_id=run_id, scope=scope, budget=budget, created_at=NOW + timedelta(days=2), settings=settings)
        run_stage("labels", key, settings)
        return sorted({row["record_id"] for row in rows(open_lake(settings), run_id, "record_labels")})

    ids = [row["record_id"] for row in order]
    assert relabelled("one", Scope("full"), 10) == sorted(ids[:10])
    assert sorted(looked_at) == sorted({row["image_id"] for row in order[:10]})
    assert relabelled("one", Scope("full"), 10) == sorted(ids[:10])  # started again, it keeps what was chosen
    assert relabelled("two", Scope("full"), 5) == sorted(ids[10:15])
    assert relabelled("three", Scope("ids", ids=(ids[3], ids[20])), 5) == [ids[20]]
    window = Scope("window", start=NOW + timedelta(hours=1), end=NOW + timedelta(days=1))
    assert relabelled("four", window, 5) == []
    assert len(looked_at) == len(set(looked_at)) == 16
