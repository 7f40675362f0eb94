"""Two labelled folders become one dataset: pictures once, broken ones named, near duplicates on one side, a card."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.collection import read_collection
from pipeline.imaging.look import look_at, sketch, sketch_distance

COLUMNS = [
    "record_id",
    "image_file",
    "title",
    "provider",
    "data_provider",
    "rights",
    "concepts",
    "not_annotated",
    "group",
    "split",
]
MUSEUMS = ("North Museum", "South Museum", "East Museum")


def picture(seed: int) -> Image.Image:
    """Soft patches of colour; no two seeds look alike."""
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 255, (6, 6, 3), np.uint8)).resize((240, 240), Image.Resampling.BICUBIC)


def write(folder: Path, lines: list[dict[str, str]]) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(lines)
    return folder


def build(*arguments: object, var: Path, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "dataset", "build", *map(str, arguments)],
        env={**os.environ, "VAR_DIR": str(var)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == (2 if fails else 0), done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """30 pictures of three museums; the second folder has copies, near copies and broken files of the first."""
    work = tmp_path_factory.mktemp("build")
    (work / "one").mkdir()
    (work / "two").mkdir()
    first, second = [], []
    for number in range(30):
        picture(number).save(work / f"one/p{number}.jpg", quality=92)
        first.append(
            {"record_id": f"/1/p{number}", "image_file": f"p{number}.jpg", "title": f"No. {number}", "provider": "Aggregator",
             "data_provider": MUSEUMS[number % 3 if number < 27 else 0], "rights": "http://rights.example/by",
             "concepts": "coin", "not_annotated": "people"}
        )  # fmt: skip
    (work / "two/copy.jpg").write_bytes((work / "one/p3.jpg").read_bytes())
    second.append({"record_id": "/2/copy", "image_file": "copy.jpg", "concepts": "coin;people", "group": "one object"})
    picture(77).save(work / "two/friend.jpg", quality=92)
    second.append({"record_id": "/2/friend", "image_file": "friend.jpg", "concepts": "coin", "group": "one object"})
    for number in range(8):
        picture(number).resize((180, 180)).save(work / f"two/near{number}.jpg", quality=60)
        second.append(
            {"record_id": f"/2/near{number}", "image_file": f"near{number}.jpg", "data_provider": "West", "concepts": "map"}
        )
    (work / "two/broken.jpg").write_bytes((work / "one/p5.jpg").read_bytes()[:2_000])
    second.append({"record_id": "/2/broken", "image_file": "broken.jpg", "concepts": "map"})
    second.append({"record_id": "/2/none", "image_file": "none.jpg", "concepts": "map"})
    told = build(
        "--collection", write(work / "one", first), "--collection", write(work / "two", second), "--out", work / "out",
        var=work / "var",
    )  # fmt: skip
    return work / "out", told


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open() as handle:
        return list(csv.DictReader(handle))


def test_no_id_no_picture_and_no_near_duplicate_is_on_two_sides(built: tuple[Path, str]) -> None:
    rows = lines_of(built[0] / "metadata.csv")
    assert {row["split"] for row in rows} == {"train", "test", "unseen"}
    for name in ("record_id", "image_id"):
        assert len({row[name] for row in rows}) == len(rows)
    side = {row["record_id"]: row["split"] for row in rows}
    cluster = {row["record_id"]: row["group"] for row in rows}
    near = [number for number in range(8) if f"/2/near{number}" in side]
    assert near  # what is left of them stands where the picture stands that it is like
    for number in near:
        assert cluster[f"/2/near{number}"] == cluster[f"/1/p{number}"]
        assert side[f"/2/near{number}"] == side[f"/1/p{number}"]
    hashes = [(int(row["perceptual_hash"], 16), row["split"]) for row in rows]
    assert all(
        one[1] == other[1] or (one[0] ^ other[0]).bit_count() > 3
        for at, one in enumerate(hashes)
        for other in hashes[:at]
    )  # fmt: skip


def test_a_picture_that_comes_twice_is_kept_once_with_the_labels_of_both(built: tuple[Path, str]) -> None:
    (row,) = [row for row in lines_of(built[0] / "metadata.csv") if row["record_id"] == "/1/p3"]
    assert row["concepts"] == "coin;people" and row["not_annotated"] == ""
    left_out = {line["record_id"]: line for line in lines_of(built[0] / "left_out.csv")}
    assert left_out["/2/copy"]["reason"] == "duplicate" and "/1/p3" in left_out["/2/copy"]["detail"]


def checked_by_people(work: Path, metadata: str, people: list[str]) -> dict[str, str]:
    """A dataset of eight pictures whose metadata all say the same, the first ones looked at by people: concepts by record."""
    lines = []
    for number in range(8):
        (work / "one").mkdir(exist_ok=True)
        picture(number).save(work / f"one/p{number}.jpg", quality=92)
        lines.append({"record_id": f"/1/p{number}", "image_file": f"p{number}.jpg", "concepts": metadata})
    for number, said in enumerate(people):
        (work / "checked" / said).mkdir(parents=True, exist_ok=True)
        shutil.copy(work / f"one/p{number}.jpg", work / f"checked/{said}/{number}.jpg")
    collection, source = write(work / "one", lines), f"folders:{work / 'checked'}"
    build("--collection", collection, "--source", source, "--out", work / "out", var=work)
    return {row["record_id"]: row["concepts"] for row in lines_of(work / "out" / "metadata.csv")}


def test_what_people_say_goes_before_metadata_and_how_often_they_agree_is_told(tmp_path: Path) -> None:
    concepts = checked_by_people(tmp_path, "coin;people", ["map"] * 2 + ["coin"] * 4)
    assert concepts["/1/p0"] == "map;people" and concepts["/1/p5"] == "coin;people" == concepts["/1/p7"]
    agreement = {line["concept"]: line for line in lines_of(tmp_path / "out" / "agreement.csv")}
    assert set(agreement) == {"coin", "map"}  # nobody asked people about people
    coin, maps = agreement["coin"], agreement["map"]
    assert (coin["both"], coin["only_metadata"], coin["precision"]) == ("4", "2", "0.6667")
    assert (maps["only_people"], maps["recall"], maps["precision"]) == ("2", "0.0", "")


def test_what_people_deny_is_denied_of_narrower_concepts_that_only_metadata_name(tmp_path: Path) -> None:
    concepts = checked_by_people(tmp_path, "tapestry", ["painting"] + ["textile"] * 5)
    assert concepts["/1/p0"] == "painting" and concepts["/1/p1"] == "tapestry;textile"


def test_what_belongs_to_a_copy_belongs_to_the_picture_that_is_kept(built: tuple[Path, str]) -> None:
    rows = {row["record_id"]: row for row in lines_of(built[0] / "metadata.csv")}
    for name in ("group", "split"):
        assert rows["/2/friend"][name] == rows["/1/p3"][name]


def test_what_is_not_usable_is_named_with_its_reason(built: tuple[Path, str]) -> None:
    left_out = {line["record_id"]: line["reason"] for line in lines_of(built[0] / "left_out.csv")}
    assert (left_out["/2/broken"], left_out["/2/none"]) == ("truncated", "no_picture")
    rows = lines_of(built[0] / "metadata.csv")
    assert len(rows) + len(left_out) == 30 + 12


def test_the_dataset_is_a_collection_and_parquet_and_a_card_say_the_same(built: tuple[Path, str]) -> None:
    folder, told = built
    collection = read_collection(folder)
    assert collection.problems == () and not collection.split_drawn
    assert all((folder / row.image_file).is_file() for row in collection.rows)
    assert pq.read_table(folder / "dataset.parquet").to_pylist() == lines_of(folder / "metadata.csv")
    card = (folder / "card.md").read_text()
    assert "http://rights.example/by" in card and "| coin |" in card and all(museum in card for museum in MUSEUMS)
    assert "unseen provider" in card and "card.md" in told


def test_a_dataset_is_never_overwritten(built: tuple[Path, str], tmp_path: Path) -> None:
    assert "is not empty" in build("--collection", built[0], "--out", built[0], var=tmp_path, fails=True)


def test_the_near_copies_of_this_test_do_look_alike() -> None:
    one, smaller, other = (
        sketch(look_at(np.asarray(image.convert("RGB")))) for image in (picture(1), picture(1).resize((180, 180)), picture(2))
    )
    assert sketch_distance(one, smaller) < 4 < sketch_distance(one, other)
