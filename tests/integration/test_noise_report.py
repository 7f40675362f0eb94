"""A curator's labels are partly wrong: the noise report finds which concept, and which rows, through real training."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

RECIPE = "kind: scratch\nside_px: 32\nwidth: 8\nepochs: 25\nbatch_size: 16\nlearning_rate: 0.003\nfolds: 3\nseed: 7\n"
CONCEPTS = ("coin", "map", "textile", "painting")
EACH = 45
PLANTED = 11  # of 56 pictures labelled `map`: every fifth


def draw(concept: str, random: np.random.Generator) -> Image.Image:
    """Discs, roads, weaves and patches of colour: easy to tell apart, no two alike."""
    picture = Image.new("RGB", (120, 120), tuple(int(value) for value in random.integers(150, 230, 3)))
    pen = ImageDraw.Draw(picture)
    ink = tuple(int(value) for value in random.integers(0, 90, 3))
    if concept == "coin":
        x, y, r = random.integers(45, 75), random.integers(45, 75), random.integers(22, 38)
        pen.ellipse([x - r, y - r, x + r, y + r], fill=ink)
    elif concept == "map":
        for _ in range(9):
            pen.line([tuple(int(value) for value in random.integers(0, 120, 2)) for _ in range(3)], fill=ink, width=2)
    elif concept == "textile":
        step = int(random.integers(7, 12))
        for at in range(0, 120, step):
            pen.line([(at, 0), (at, 120)], fill=ink, width=3)
            pen.line([(0, at), (120, at)], fill=ink, width=3)
    else:
        for _ in range(14):
            x, y = (int(value) for value in random.integers(0, 100, 2))
            colour = tuple(int(value) for value in random.integers(0, 255, 3))
            pen.rectangle([x, y, x + 30, y + 30], fill=colour)
    return picture


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A collection in which every fifth picture that is labelled `map` shows something else; and those records."""
    folder = tmp_path_factory.mktemp("noisy")
    random = np.random.default_rng(5)
    (folder / "pictures").mkdir()
    others = [f"/1/{concept}{number}" for concept in CONCEPTS if concept != "map" for number in range(EACH)]
    planted = set(random.choice(others, PLANTED, replace=False))
    with (folder / "metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["record_id", "image_file", "title", "provider", "concepts", "group", "split"])
        writer.writeheader()
        for concept in CONCEPTS:
            for number in range(EACH):
                record_id, file = f"/1/{concept}{number}", f"pictures/{concept}{number}.jpg"
                draw(concept, random).save(folder / file, quality=92)
                said = f"{concept};map" if record_id in planted else concept
                writer.writerow(
                    {"record_id": record_id, "image_file": file, "title": record_id, "provider": "A museum",
                     "concepts": said, "group": record_id, "split": "train"}
                )  # fmt: skip
    return folder, planted


@pytest.fixture(scope="module")
def report(noisy: tuple[Path, set[str]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What `enrich dataset noise` wrote, and what it said."""
    work = tmp_path_factory.mktemp("work")
    (work / "recipes").mkdir()
    (work / "recipes/tiny.yaml").write_text(RECIPE)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "dataset", "noise", "--collection", str(noisy[0]), "--recipe", "tiny",
         "--out", str(work / "noise")],
        env={**os.environ, "VAR_DIR": str(work / "var"), "RECIPES_DIR": str(work / "recipes"), "COLUMNS": "160"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return work / "noise", done.stdout


def test_the_concept_with_planted_labels_comes_first(report: tuple[Path, str]) -> None:
    concepts = list(csv.DictReader((report[0] / "concepts.csv").open()))
    assert {one["slug"] for one in concepts} == set(CONCEPTS)
    assert concepts[0]["slug"] == "map"
    assert float(concepts[0]["precision"]) == pytest.approx(EACH / (EACH + PLANTED), abs=0.1)


def test_the_planted_rows_are_found_and_few_others_are_doubted(report: tuple[Path, str], noisy: tuple[Path, set[str]]) -> None:
    lines = list(csv.DictReader((report[0] / "suspicious.csv").open()))
    doubted = {line["record_id"] for line in lines if line["concept"] == "map"}
    found = doubted & noisy[1]
    assert len(found) >= 0.7 * PLANTED
    assert len(found) >= 0.7 * len(doubted)
    assert all(line["question"] == "is it map?" for line in lines if line["record_id"] in found and line["concept"] == "map")


def test_the_page_shows_the_most_doubtful_pictures_and_the_command_says_where_it_is(report: tuple[Path, str]) -> None:
    page = (report[0] / "page.html").read_text()
    assert "is it map?" in page and page.count("data:image/jpeg;base64,") >= PLANTED // 2
    assert "page.html" in report[1] and "map" in report[1]
