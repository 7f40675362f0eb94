"""`enrich explain`: a PNG with maps and neighbours for a picture file, a collection's record and a picture of the lake."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.collection import read_collection
from pipeline.errors import CriticalError, PermanentError
from pipeline.model.bundle import load_bundle
from pipeline.model.examples import FILE, keep_examples, load_examples
from pipeline.model.predictor import Predictor
from pipeline.reporting import explanation
from pipeline.reporting.explanation import explained, overlay
from pipeline.settings import Settings
from pipeline.storage.local import LocalStore
from pipeline.training.dataset import LabelledImages, load_images
from pipeline.vocabulary import load_vocabulary
from tests.integration.pictures import do_images, image_host, record, rows_of, settings_of, write_run
from tests.integration.test_model_evaluate import enrich


@pytest.fixture(scope="module")
def explained_var(trained_var: Path, small_collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A var folder with a model whose training examples are kept."""
    var = tmp_path_factory.mktemp("explained") / "var"
    shutil.copytree(trained_var, var)
    predictor = predictor_of(var)
    train = training_pictures(small_collection, predictor)
    files = {row.record_id: row.image_file for row in read_collection(small_collection).rows}
    keep_examples(
        LocalStore(var / "lake"),
        predictor.bundle,
        predictor.predict(train.pixels).embeddings,
        train.record_ids,
        train.truth,
        files,
    )
    return var


def why(var: Path, *arguments: object) -> Result:
    """`enrich explain` in this process."""
    words = ["explain", *map(str, arguments)]
    return CliRunner().invoke(app, words, env={"VAR_DIR": str(var)}, catch_exceptions=False)


def training_pictures(folder: Path, predictor: Predictor) -> LabelledImages:
    settings = Settings()
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    return load_images(read_collection(folder), vocabulary, side_px=predictor.bundle.side_px, settings=settings).split("train")


def predictor_of(var: Path) -> Predictor:
    store = LocalStore(var / "lake")
    return Predictor(store, load_bundle(store, "models/default/1/bundle.json"))


def some_row(collection: Path, split: str = "train"):
    return next(row for row in read_collection(collection).rows if row.split == split and row.image_file)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.convert("RGB")


def test_a_picture_file_becomes_a_png_with_maps_and_neighbours(
    explained_var: Path, small_collection: Path, tmp_path: Path
) -> None:
    path = small_collection / some_row(small_collection, "test").image_file
    done = enrich(explained_var, "explain", path, "--out", tmp_path / "why.png", "--collection", small_collection)
    assert done.returncode == 0, done.stderr
    page = opened(tmp_path / "why.png")
    assert page.width > 1000 and page.height > 600
    with Image.open(path) as image:
        assert np.asarray(page).std() > 20 and image.size
    assert done.stdout.count("score ") == 4


def test_the_examples_of_a_record_are_drawn_as_pictures_with_the_collection_and_as_text_without(
    explained_var: Path, small_collection: Path, tmp_path: Path
) -> None:
    row = some_row(small_collection)
    with_it, without = tmp_path / "with.png", tmp_path / "without.png"
    done = why(explained_var, row.record_id, "--out", with_it, "--collection", small_collection)
    assert done.exit_code == 0
    path = small_collection / row.image_file
    assert why(explained_var, path, "--out", without).exit_code == 0
    lower = [np.asarray(opened(file))[400:] for file in (with_it, without)]
    assert len(np.unique(lower[0].reshape(-1, 3), axis=0)) > 10 * len(np.unique(lower[1].reshape(-1, 3), axis=0))


def test_a_version_without_examples_says_so_in_the_picture(
    explained_var: Path, small_collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    var = tmp_path / "old"
    shutil.copytree(explained_var, var)
    (var / "lake/models/default/1" / FILE).unlink()
    headings: list[str] = []
    monkeypatch.setattr(explanation, "_heading", lambda draw, top, text: headings.append(text))
    path = small_collection / some_row(small_collection).image_file
    assert why(var, path, "--out", tmp_path / "why.png").exit_code == 0
    assert headings[1] == "no training examples stored with this version"
    assert opened(tmp_path / "why.png").height < 500


def test_a_concept_can_be_chosen_and_one_that_the_model_does_not_know_is_named(
    explained_var: Path, small_collection: Path, tmp_path: Path
) -> None:
    path = small_collection / some_row(small_collection).image_file
    slug = predictor_of(explained_var).bundle.heads[-1].slug
    done = why(explained_var, path, "--concept", slug, "--model", "default@1", "--out", tmp_path / "a.png")
    assert done.exit_code == 0 and done.output.count("score ") == 1 and f"{slug}: " in done.output
    with pytest.raises(CriticalError, match="knows no concept unicorn"):
        why(explained_var, path, "--concept", "unicorn", "--out", tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_what_is_no_picture_is_refused_with_its_reason(explained_var: Path, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(PermanentError, match="cannot be used as a picture: not_an_image"):
        why(explained_var, tmp_path / "page.jpg", "--out", tmp_path / "why.png")
    with pytest.raises(PermanentError, match="/1/nowhere: no picture"):
        why(explained_var, "/1/nowhere", "--out", tmp_path / "why.png")


def test_a_record_and_an_image_of_the_lake_are_explained(explained_var: Path, tmp_path: Path) -> None:
    shutil.copytree(explained_var, tmp_path / "var")
    with image_host("127.0.0.1") as host:
        settings = settings_of(tmp_path / "var", host.names)
        key = write_run(settings, [record("/1/r00", host.draw("/0", 3))])
        do_images(settings, key)
    pages = []
    for place, identity in enumerate(("/1/r00", rows_of(settings, key)[0]["image_id"])):
        assert why(tmp_path / "var", identity, "--out", tmp_path / f"{place}.png").exit_code == 0
        pages.append(np.asarray(opened(tmp_path / f"{place}.png"))[60:])  # below the title
    assert np.array_equal(*pages)


def test_the_command_has_help_with_an_example() -> None:
    assert "Example" in CliRunner().invoke(app, ["explain", "--help"]).output


def test_kept_examples_carry_the_truth_and_the_files_of_training(explained_var: Path, small_collection: Path) -> None:
    examples = load_examples(LocalStore(explained_var / "lake"), "models/default/1")
    assert examples is not None
    rows = {row.record_id: row for row in read_collection(small_collection).rows}
    assert {rows[record_id].split for record_id in examples.record_ids} == {"train"}
    assert examples.image_files == [rows[record_id].image_file for record_id in examples.record_ids]
    train = training_pictures(small_collection, predictor_of(explained_var))
    assert [len(concepts) for concepts in examples.concepts] == (train.truth == 1).sum(axis=1).tolist()
    for record_id, concepts in zip(examples.record_ids, examples.concepts, strict=True):
        assert set(rows[record_id].concepts) & set(train.slugs) <= set(concepts)


def test_a_report_gets_one_overlay_for_each_picture(explained_var: Path, small_collection: Path) -> None:
    predictor = predictor_of(explained_var)
    train = training_pictures(small_collection, predictor)
    pixels, slugs = train.pixels[:8], [train.slugs[column] for column in train.truth[:8].argmax(axis=1)]
    shown = explained(predictor, pixels, slugs)
    assert [picture.size for picture in shown] == [(predictor.bundle.side_px,) * 2] * 8
    changed = [not np.array_equal(np.asarray(one), picture) for one, picture in zip(shown, pixels, strict=True)]
    assert sum(changed) >= 6  # what is true of a training picture is spoken for by it
    with pytest.raises(ValueError, match="8 pictures, 7 concepts"):
        explained(predictor, pixels, slugs[:7])


def test_where_a_map_is_zero_the_picture_stays_as_it_is() -> None:
    picture = Image.effect_noise((60, 40), 80).convert("RGB")
    heat = np.zeros((40, 60), np.float32)
    assert np.array_equal(np.asarray(overlay(picture, heat)), np.asarray(picture))
    heat[:, :30] = 1
    changed = np.abs(np.asarray(overlay(picture, heat), np.int16) - np.asarray(picture)).sum(axis=2)
    assert changed[:, 31:].max() == 0 and (changed[:, :29] > 0).mean() > 0.95
