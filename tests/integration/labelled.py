"""A run with labels that nobody had to predict: what publication and withdrawal need, in no time."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.cli.stages import run_stage
from pipeline.collection.reader import EXPECTED
from pipeline.database import connect, models
from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import OUTCOMES, SCHEMAS
from pipeline.datasets.stage import outcomes_dataset
from pipeline.domain.scope import Scope
from pipeline.harvest.steps import start_run
from pipeline.sandbox.process import SandboxProcess
from pipeline.settings import Settings
from pipeline.vocabulary import load_vocabulary
from tests.conftest import NOW

MODEL = {"model_name": "default", "model_sha256": "0" * 64, "preprocessing_version": "1", "vocabulary_version": "v"}
Label = tuple[str, str, str, float]  # record, concept, decision, score


def write_pictures(folder: Path) -> None:
    """A collection of twelve records with small pictures, of two institutions; one picture is that of two records."""
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, EXPECTED, restval="")
        writer.writeheader()
        for number in range(12):
            noise = np.random.default_rng(max(number, 1)).integers(0, 255, (96, 96, 3), np.uint8)
            Image.fromarray(noise).resize((192, 192)).save(folder / f"{number}.png")
            row = {"record_id": f"/7/p{number:02d}", "image_file": f"{number}.png", "title": f"Picture {number}"}
            owner = "City Archive" if number < 4 else "Museum"
            rights = "http://creativecommons.org/publicdomain/zero/1.0/"
            writer.writerow({**row, "provider": "Aggregator", "data_provider": owner, "rights": rights})


def settings_for(platform: SandboxProcess, var: Any, **changes: Any) -> Settings:
    """Settings that send to a platform without any waiting."""
    values: dict[str, Any] = {
        "var_dir": var,
        "europeana_api_url": f"{platform.url}/europeana",
        "europeana_auth_url": f"{platform.url}/auth",
        "europeana_api_key": platform.key,
        "annotation_client_id": "sandbox",
        "annotation_client_secret": "sandbox",
        "annotation_index_lag_s": 0,
        "api_timeout_s": 2,
        "api_attempts": 3,
        "api_backoff_s": 0.02,
        "publish_pause_s": 0.05,
    }
    return Settings(_env_file=None, **(values | changes))


def release(settings: Settings, version: int) -> None:
    """A version of the model `default` that is in force; only its name is needed."""
    engine = connect(settings)
    if models.find(engine, "default", version) is None:
        facts = {"bundle_key": "none", "sha256": "0" * 64, "dataset_id": "none", "metrics": {}, "now": NOW}
        models.register(engine, name="default", version=version, **facts)  # type: ignore[arg-type]
    models.release(engine, "default", version)


def labelled_run(
    settings: Settings,
    labels: Iterable[Label],
    *,
    run_id: str = "night",
    version: int = 1,
    why: str = "",
    gone: Iterable[str] = (),
    data_provider: str = "City Archive",
    dry_run: bool = False,
) -> str:
    """A run whose harvest and labels are published; returns its key."""
    key = start_run(run_id=run_id, source="default", scope=Scope("full"), created_at=NOW, settings=settings, dry_run=dry_run)
    lake = open_lake(settings)
    run = lake.run(key)
    rows = list(labels)
    ids = list(dict.fromkeys(record_id for record_id, *_ in rows))
    publish_rows(lake, run, "records", [_record(run, record_id, data_provider) for record_id in ids])
    publish_rows(lake, run, "record_labels", label_rows(run, rows, settings, version=version, why=why))
    lost = [
        {
            "stage": "harvest",
            "input_id": record_id,
            "record_id": record_id,
            "outcome": "gone",
            "reason": "gone",
            "detail": "",
            "attempt": 1,
            "raw": None,
            **run.columns(),
        }
        for record_id in gone
    ]
    publish_rows(lake, run, outcomes_dataset("harvest"), lost, OUTCOMES)
    return key


def publish(settings: Settings, key: str) -> dict[str, Any]:
    """Publish a run; returns the stage's report."""
    report: dict[str, Any] = open_lake(settings).read_json(run_stage("publish", key, settings))
    return report


def paintings(count: int, *, decision: str = "publish", score: float = 0.9, first: int = 0) -> list[Label]:
    """So many records with one label each."""
    return [(f"/90402/w_{number:04d}", "painting", decision, score) for number in range(first, first + count)]


def standing(platform: SandboxProcess, name: str = "annotation") -> dict[str, tuple[str, str]]:
    """id → (record, body) of what stands on a platform, by its journal; nothing may be deleted twice."""
    there: dict[str, tuple[str, str]] = {}
    for entry in platform.journal():
        if entry["platform"] == name and entry["operation"] == "create":
            there[entry["id"]] = (entry["record_id"], entry["body"])
        elif entry["platform"] == name and entry["operation"] in ("delete", "erase"):
            del there[entry["id"]]
    return there


def label_rows(
    run: Run, labels: Sequence[Label], settings: Settings, *, version: int = 1, why: str = ""
) -> list[dict[str, Any]]:
    """Rows of `record_labels`."""
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    return [
        {
            "record_id": record_id,
            "concept_uri": vocabulary.by_slug[slug].concept_uri,
            "label": slug,
            "max_score": score,
            "mean_score": score,
            "image_id": hashlib.sha256(record_id.encode()).hexdigest(),
            "images": 1,
            "decision": decision,
            "why": why or ("threshold" if decision == "publish" else "floor"),
            "model_version": str(version),
            **MODEL,
            **run.columns(),
        }
        for record_id, slug, decision, score in labels
    ]


def publish_rows(lake: Lake, run: Run, dataset: str, rows: list[dict[str, Any]], schema: Any = None) -> None:
    """Make rows visible as a dataset of one part."""
    schema = schema or SCHEMAS[dataset]
    table = as_table(dataset, rows, schema)
    lake.publish(run, dataset, [lake.write_part(run, dataset, 0, [table], schema)])


def _record(run: Run, record_id: str, data_provider: str) -> dict[str, Any]:
    texts = dict.fromkeys(("title", "media_type", "dataset_name", "country", "rights", "record_rights"), "")
    maps: dict[str, Any] = {
        name: [] for name in ("titles", "descriptions", "creator_names", "subjects", "types", "concept_labels")
    }
    lists: dict[str, Any] = {name: [] for name in ("creators", "concept_uris", "languages", "image_urls", "media")}
    return {
        **texts,
        **maps,
        **lists,
        "record_id": record_id,
        "dataset_id": "90402",
        "provider": "Aggregator",
        "data_provider": data_provider,
        "rights_category": "open",
        "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
        **run.columns(),
    }
