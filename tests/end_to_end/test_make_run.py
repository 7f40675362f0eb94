"""`enrich run`, as `make run` calls it: sandbox, training, Airflow's own DAG, summary. The real thing, as a user has it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipeline.domain.annotation import annotation_errors
from pipeline.sandbox.process import free_port
from tests.conftest import ROOT

pytestmark = pytest.mark.alone

REAL = ROOT.parent / "shared" / "images"
WEIGHTS = ROOT.parent / "shared" / "weights" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
FILES = (
    "annotations.jsonl",
    "labels.csv",
    "labels.parquet",
    "run_report.html",
    "run_report.json",
    "suggestions.csv",
    "suggestions.parquet",
)


def enrich_run(var: Path, port: int, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "run", "--port", str(port), *arguments]
    return subprocess.run(
        command, env={**os.environ, "VAR_DIR": str(var), **environment}, capture_output=True, text=True, timeout=1_200
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("builtin"), free_port()


@pytest.fixture(scope="module")
def first(place):
    """The built-in collection, from nothing."""
    var, port = place
    done = enrich_run(var, port)
    assert done.returncode == 0, done.stdout + done.stderr
    return var, json.loads((var / "latest" / "run_report.json").read_text()), done.stdout


def test_the_built_in_collection_is_enriched_from_nothing_to_annotations(first):
    var, report, said = first
    summary = report["summary"]
    assert summary["records"] >= 600
    assert summary["images"] > 0.9 * summary["records"]
    assert summary["suggestions"] == 10 * summary["images"]
    assert summary["annotations_sent_now"] == summary["annotations"] > 0
    assert all((var / "latest" / name).stat().st_size > 0 for name in FILES)
    for word in ("records", "images", "labels", "suggestions", "annotations", "not ok", "var" if "var" in said else "latest"):
        assert word in said


def test_published_labels_are_right_nine_times_in_ten_on_the_held_out_split(first):
    _, report, _ = first
    evaluation = report["evaluation"]
    assert evaluation["n_images"] >= 150
    assert evaluation["published_n"] >= 50
    assert evaluation["published_precision"] >= 0.9
    assert len(evaluation["per_concept"]) >= 8
    assert all(0 <= figures["f1"] <= 1 for figures in evaluation["per_concept"].values())
    assert evaluation["macro_f1"] >= 0.7


def test_each_broken_record_appears_with_its_reason_and_the_counts_add_up(first):
    _, report, _ = first
    assert all(check["adds_up"] for check in report["accounting"])
    assert set(report["failures"]["by_reason"]) == {"gone", "not_an_image", "truncated", "no_image", "too_small", "near_blank"}
    assert len(report["failures"]["rows"]) == report["summary"]["not_ok"] == sum(report["failures"]["by_reason"].values())


def test_annotations_are_w3c(first):
    var, _, _ = first
    documents = [json.loads(line) for line in (var / "latest" / "annotations.jsonl").read_text().splitlines()]
    assert documents
    assert [error for document in documents for error in annotation_errors(document)] == []


def test_a_second_run_meets_the_same_platform_and_sends_nothing_twice(first, place):
    var, report, _ = first
    again = enrich_run(*place)
    assert again.returncode == 0, again.stdout + again.stderr
    summary = json.loads((var / "latest" / "run_report.json").read_text())["summary"]
    assert summary["annotations_sent_now"] == 0
    assert summary["annotations_on_platform"] == report["summary"]["annotations"]
    assert "0 sent now" in again.stdout and "nothing stands there twice" in " ".join(again.stdout.split())


def test_a_port_that_is_taken_gives_one_clear_message(first, place):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = enrich_run(place[0], taken.getsockname()[1])
    assert done.returncode == 2
    assert "is taken" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    not (REAL.is_dir() and WEIGHTS.is_file()), reason="no ../shared/images and ../shared/weights beside the project"
)
def test_a_folder_of_real_pictures_with_pretrained_weights(tmp_path):
    """A subset of the real pictures, with bad rows that must be named and must not stop the run."""
    collection = tmp_path / "real"
    ids = _subset(collection, every=6)
    done = enrich_run(
        tmp_path / "var", free_port(), "--collection", str(collection), MODEL_WEIGHTS_FILE=str(WEIGHTS), TARGET_PRECISION="0.8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "var" / "latest" / "run_report.json").read_text())
    assert report["summary"]["records"] == len(ids) + 1
    assert report["summary"]["images"] == len(ids)
    assert report["failures"]["by_reason"] == {"gone": 1}
    assert f"line {len(ids) + 2}: record_id 'no slash'" in done.stdout.replace("\n", " ")
    assert "line 1: the column creator is missing" in done.stdout.replace("\n", " ")
    assert f"line {len(ids) + 3}: the concept 'no_such_concept' is not in the vocabulary" in done.stdout.replace("\n", " ")
    assert report["evaluation"]["macro_ap"] > 0.5
    assert report["evaluation"]["suggestions"]["matching_share"] > 0.6


def _subset(folder: Path, *, every: int) -> Counter[str]:
    """Every so-many-th picture, without the column `creator`, and two bad rows at the end."""
    with (REAL / "metadata.csv").open(encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if "\n" not in row["title"]][::every]
    columns = [name for name in rows[0] if name != "creator"]
    folder.mkdir()
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, columns, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            (folder / row["image_file"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REAL / row["image_file"], folder / row["image_file"])
            writer.writerow(row)
        writer.writerow({"record_id": "no slash", "image_file": rows[0]["image_file"]})
        writer.writerow(
            rows[0] | {"record_id": "/1/dead_link", "image_file": "pictures/nowhere.jpg", "concepts": "no_such_concept"}
        )
    return Counter(row["record_id"] for row in rows)
