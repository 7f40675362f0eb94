"""`enrich model evaluate --report` on a folder with planted errors and an unseen provider: the page and its figures."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLANTED = 4
HOME, ABROAD = "Museum at home", "Museum abroad"


@pytest.fixture(scope="module")
def published_concept(trained_var: Path) -> str:
    """A main type that the model publishes."""
    heads = json.loads((trained_var / "lake/models/default/1/bundle.json").read_text())["heads"]
    return next(head["slug"] for head in heads if head["thresholds"]["publish"] is not None and ":" not in head["slug"])


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, small_collection: Path, published_concept: str) -> Path:
    """Pictures that the model knows well; four that show the concept are said to show something else."""
    folder = tmp_path_factory.mktemp("planted") / "own"
    with (small_collection / "metadata.csv").open() as handle:
        lines = [line for line in csv.DictReader(handle) if line["split"] == "train" and line["concepts"]]
    lines = [line for line in lines if (small_collection / line["image_file"]).is_file() and line["image_file"]][:90]
    planted = 0
    for place, line in enumerate(lines):
        line["split"], line["data_provider"] = ("unseen", ABROAD) if place % 2 else ("test", HOME)
        concepts = line["concepts"].split(";")
        if published_concept in concepts and not place % 2 and planted < PLANTED:
            line["concepts"], line["not_annotated"] = "no-such-concept", ""
            line["title"] = f"Planted <{planted}>"
            planted += 1
        target = folder / line["image_file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((small_collection / line["image_file"]).read_bytes())
    with (folder / "metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return folder


@pytest.fixture(scope="module")
def report(trained_var: Path, collection: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the report, and what the command said."""
    folder = tmp_path_factory.mktemp("reports") / "deep" / "report"
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "model", "evaluate", "--model", "default", "--collection", str(collection),
         "--json", str(folder.parent.parent / "f.json"), "--report", str(folder)],
        env={**os.environ, "VAR_DIR": str(trained_var)}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_planted_errors_are_in_the_gallery_with_title_provider_concept_and_score(
    report: tuple[Path, str], published_concept: str
) -> None:
    figures = json.loads((report[0] / "figures.json").read_text())
    found = [one for one in figures["failures"]["wrong"] if one["title"].startswith("Planted")]
    assert any(one["concept"] == published_concept and one["provider"] == HOME for one in found)
    page = (report[0] / "index.html").read_text()
    gallery = page[page.index('<h2 id="wrong">') : page.index('<h2 id="missed">')]
    for one in found:
        assert f"Planted &lt;{one['title'][-2]}&gt;" in gallery
        assert f"score {one['score']:.3f}" in gallery
    assert gallery.count("data:image/jpeg;base64,") == len(figures["failures"]["wrong"])


def test_the_file_of_the_report_and_that_of_json_hold_the_same_figures(report: tuple[Path, str]) -> None:
    figures = json.loads((report[0] / "figures.json").read_text())
    assert figures == json.loads((report[0].parent.parent / "f.json").read_text())
    assert (figures["split"], set(one["provider"] for one in figures["per_provider"])) == ("test", {HOME})
    before, after = figures["calibration"]["before"], figures["calibration"]["after"]
    assert before["n_pairs"] == after["n_pairs"] and before["bins"] != after["bins"]
    assert "index.html" in report[1]


def test_the_drop_to_the_unseen_provider_is_told_though_its_pictures_are_not_judged(report: tuple[Path, str]) -> None:
    figures = json.loads((report[0] / "figures.json").read_text())
    drop = figures["unseen"]
    assert drop["seen"]["n_images"] == figures["n_images"] > 0 and drop["unseen"]["n_images"] > 0
    assert drop["concepts"] and drop["macro_ap_drop_interval"] is not None
    assert drop["drop"]["macro_ap"] == pytest.approx(drop["seen"]["macro_ap"] - drop["unseen"]["macro_ap"], abs=2e-4)
    assert "Providers that no training picture comes from" in (report[0] / "index.html").read_text()


def test_a_report_whose_folder_cannot_be_made_is_said_before_the_work(
    trained_var: Path, collection: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("here is a file")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "model", "evaluate", "--model", "nobody", "--collection", str(collection),
         "--report", str(tmp_path / "file")],
        env={**os.environ, "VAR_DIR": str(trained_var)}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "file" in done.stderr and "Traceback" not in done.stderr and "nobody" not in done.stderr


def test_the_page_shows_where_the_network_looked_on_twenty_pictures_of_each_held_out_split(report: tuple[Path, str]) -> None:
    page = (report[0] / "index.html").read_text()
    maps = page[page.index('<h2 id="maps">') :]
    assert maps.count("data:image/jpeg;base64,") == 40 == maps.count("<br>like ")
    assert maps.index("<h3>test</h3>") < maps.index("<h3>unseen</h3>")
