"""The built-in collection: the same bytes every time, an honest split, and exactly the faults it means to have."""

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from PIL import Image

from pipeline.collection import Collection, CollectionRow, read_collection
from pipeline.errors import CriticalError
from pipeline.sandbox.builtin import write_builtin_collection, writer
from pipeline.sandbox.builtin.plan import KINDS, counts, series
from pipeline.sandbox.builtin.shipped import photographs

SMALL = 60
BROKEN = 22


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("builtin") / "collection"
    write_builtin_collection(path, pictures=SMALL)
    return path


@pytest.fixture(scope="module")
def collection(folder: Path) -> Collection:
    return read_collection(folder)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def state(collection: Collection, row: CollectionRow) -> str:
    """What a reader meets when it opens the row's picture."""
    path = collection.image_path(row)
    if path is None:
        return "missing"
    if not path.exists():
        return "dead"
    if path.read_bytes().startswith(b"<!DOCTYPE html"):
        return "html"
    with Image.open(path) as image:
        try:
            extremes = image.convert("L").getextrema()
        except OSError:
            return "truncated"
        if max(image.size) <= 16:
            return "tiny"
        return "blank" if extremes[0] == extremes[1] else "good"


def test_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_builtin_collection(again, pictures=SMALL)
    assert digests(again) == digests(folder)


def test_another_seed_replaces_the_folder_and_gives_other_pictures(tmp_path: Path) -> None:
    path = tmp_path / "collection"
    write_builtin_collection(path, pictures=40, seed=1)
    first = digests(path)
    write_builtin_collection(path, pictures=40, seed=2)
    assert digests(path) != first
    assert [entry.name for entry in tmp_path.iterdir()] == ["collection"]


def test_a_folder_with_the_same_version_is_left_alone(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_builtin_collection(folder, pictures=SMALL)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("keep me")
    with pytest.raises(CriticalError, match="other than a built-in collection"):
        write_builtin_collection(tmp_path, pictures=SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


def test_an_interrupted_call_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "_photographed", interrupted)
    monkeypatch.setattr(writer, "_drawn", lambda *_: iter(()))
    with pytest.raises(KeyboardInterrupt):
        write_builtin_collection(tmp_path / "collection", pictures=SMALL)
    assert not list(tmp_path.iterdir())


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CriticalError, match="at least"):
        write_builtin_collection(tmp_path / "collection", pictures=3)


def test_it_holds_the_pictures_asked_for_the_photographs_and_the_faults(collection: Collection) -> None:
    assert len(collection.rows) == SMALL + len(photographs()) + BROKEN
    assert len({row.record_id for row in collection.rows}) == len(collection.rows)
    assert all(row.title and row.provider and row.data_provider and row.rights for row in collection.rows)


def test_the_only_problems_are_the_four_dead_links(collection: Collection) -> None:
    assert len(collection.problems) == 4
    assert all("its link will be dead" in problem for problem in collection.problems)


def test_every_fault_is_there_and_outside_the_split(collection: Collection) -> None:
    found = {row.record_id: state(collection, row) for row in collection.rows}
    expected = {"dead": 4, "html": 4, "truncated": 4, "missing": 4, "tiny": 2, "blank": 2}
    assert Counter(value for value in found.values() if value != "good") == expected
    assert {row.split for row in collection.rows if found[row.record_id] != "good"} == {""}


def test_two_files_are_delivered_twice_on_the_test_side(collection: Collection) -> None:
    same = defaultdict(list)
    for row in collection.rows:
        if state(collection, row) == "good":
            same[hashlib.sha256((collection.folder / row.image_file).read_bytes()).hexdigest()].append(row)
    pairs = [rows for rows in same.values() if len(rows) > 1]
    assert [len(rows) for rows in pairs] == [2, 2]
    assert all(row.split == "test" for rows in pairs for row in rows)
    assert all(first.group == second.group for first, second in pairs)


def test_a_group_lies_on_one_side_of_the_split(collection: Collection) -> None:
    sides = defaultdict(set)
    for row in collection.rows:
        sides[row.group].add(row.split)
    assert all(len(split) == 1 for split in sides.values())


def test_a_portrait_shows_people_and_no_concept_is_both_known_and_unknown(collection: Collection) -> None:
    for row in collection.rows:
        assert "portrait" not in row.concepts or "people" in row.concepts
        assert not set(row.concepts) & set(row.not_annotated)
    assert any(row.not_annotated for row in collection.rows)


def test_pictures_have_the_size_of_a_thumbnail_or_more(collection: Collection) -> None:
    drawn = [row for row in collection.rows if "drawn_" in row.image_file]
    assert len(drawn) == SMALL
    for row in drawn:
        with Image.open(collection.folder / row.image_file) as image:
            assert 240 <= max(image.size) <= 420
    assert any(row.image_file.endswith(".png") for row in collection.rows)


def test_the_full_plan_gives_every_concept_enough_pictures_on_both_sides() -> None:
    works = series(720, 20260101)
    sides: dict[str, Counter[str]] = {"train": Counter(), "test": Counter()}
    for work in works:
        sides[work.split].update({concept: work.views for concept in work.kind.concepts})
    for item, _ in photographs():
        sides[item.split].update(item.concepts)
    concepts = {concept for kind in KINDS for concept in kind.concepts}
    assert len(concepts) == 14
    assert min(sides["test"][concept] for concept in concepts) >= 25
    assert min(sides["train"][concept] for concept in concepts) >= 60


@pytest.mark.parametrize("pictures", [40, 333, 720, 1000])
def test_the_kinds_add_up_to_what_was_asked(pictures: int) -> None:
    assert sum(counts(pictures)) == pictures
    assert sum(work.views for work in series(pictures, 5)) == pictures
