"""The run report: counts that add up from harvest to annotations, figures, versions; as JSON and as a page."""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.datasets.lake import Lake, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.stage import Counts, outcomes_dataset
from pipeline.domain.label import Decision
from pipeline.domain.scope import scope_to_json
from pipeline.errors import CriticalError, PoisonedResultError
from pipeline.reporting.evaluation import evaluate_run
from pipeline.reporting.exports import LICENCE, write_exports
from pipeline.reporting.page import render_page
from pipeline.reporting.provenance import provenance
from pipeline.reporting.quality import quality_page, read_checked
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary

STAGES = ("harvest", "images", "labels", "suggestions", "publish")
RECONCILIATION = "reconciliation.json"  # what the last comparison of ledger and platform found
PREDICTED_BY = "predicted_by_"  # and the engine's name: how many pictures it has looked at, among the labels stage's counts
OUTCOMES_SHOWN = 500
DRIFT_SHOWN = 40
_BESIDE = ("run_report.json", "run_report.html", "quality.json", "quality.html", "provenance.jsonld")


def write_report(run_key: str, *, settings: Settings) -> str:
    """Write exports and report of a finished run, in the store and under `var/`, and point `var/latest` at them.

    Returns the key of `run_report.json`. Raises PoisonedResultError when the counts of the stages do not add up.
    """
    lake = open_lake(settings)
    run = lake.run(run_key)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    exports = settings.var_dir / "exports"
    exports.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=exports))
    try:
        files = write_exports(lake, run, folder, vocabulary, settings)
        report = build_report(lake, run, vocabulary, settings)
        report["files"] = sorted([*files, *_BESIDE])
        checked = read_checked(lake, run)
        (folder / "quality.json").write_text(json.dumps(checked, indent=1), encoding="utf-8")
        (folder / "quality.html").write_text(quality_page(run, checked), encoding="utf-8")
        (folder / "provenance.jsonld").write_text(json.dumps(provenance(run, report, folder, settings), indent=1))
        (folder / "run_report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
        (folder / "run_report.html").write_text(render_page(lake, run, report), encoding="utf-8")
        for path in sorted(folder.iterdir()):
            lake.store.put_file(f"exports/run={run.run_id}/{path.name}", path)
        place = _moved(folder, exports / f"{run.run_id}.{run.attempt}")
        _point_latest_at(place, settings.var_dir / "latest")
        _remove_older(exports, run, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lake.write_json(run.finished_key, report["summary"])
    return f"exports/run={run.run_id}/run_report.json"


def build_report(lake: Lake, run: Run, vocabulary: Vocabulary, settings: Settings) -> dict[str, Any]:
    """Everything that is known about a run, as JSON values."""
    stages = {stage: lake.read_json(f"{run.folder}/{stage}.json") for stage in STAGES}
    accounting = _accounting({stage: Counts.from_json(value["counts"]) for stage, value in stages.items()})
    if wrong := [check for check in accounting if not check["adds_up"]]:
        raise PoisonedResultError(f"run {run.run_id}: the counts do not add up: {wrong}")
    outcomes, reasons = _outcomes(lake, run)
    by_provider, rights = _pictures(lake, run)
    report: dict[str, Any] = {
        "run": {
            "run_id": run.run_id,
            "source": run.source,
            "selection": asdict(run.selection),
            "limits": asdict(run.rules.limits),
            "scope": scope_to_json(run.scope),
            "created_at": run.created_at.isoformat(),
            "dry_run": run.dry_run,
        },
        "summary": _summary(stages),
        "stages": stages,
        "accounting": accounting,
        "completeness": stages["harvest"]["harvest"] | _completeness(stages["harvest"]["counts"]["extra"]),
        "failures": {
            "by_reason": reasons,
            "by_provider": {provider: found.total() for provider, found in by_provider.items()},
            "by_provider_and_reason": by_provider,
            "rows": outcomes,
        },
        "quality": _quality(lake, run),
        "images": _images(stages["images"]),
        "labels_per_concept": _labels_per_concept(lake, run),
        "score_histograms": _score_histograms(lake, run),
        "model": _model(lake, run),
        "engines": {
            name.removeprefix(PREDICTED_BY): count
            for name, count in stages["labels"]["counts"]["extra"].items()
            if name.startswith(PREDICTED_BY)
        },
        "vocabulary_version": vocabulary.version,
        "licence": LICENCE,
        "rights_of_images": rights,
        "evaluation": None,
        "reconciliation": lake.read_json(RECONCILIATION) if lake.store.exists(RECONCILIATION) else None,
    }
    if settings.truth_collection:
        report["evaluation"] = evaluate_run(lake, run, settings.truth_collection, vocabulary)
    return report


def _accounting(counts: dict[str, Counts]) -> list[dict[str, Any]]:
    """Each stage's inputs are what the stage before handed on."""
    harvest, images, labels = counts["harvest"], counts["images"], counts["labels"]
    suggestions, publish = counts["suggestions"], counts["publish"]
    checks = [
        ("harvested = with image + every reason", harvest.inputs, harvest.ok + harvest.reasons.total()),
        ("image candidates = records with image", images.extra["records"], harvest.ok),
        ("addresses visited = ok + every reason", images.inputs, images.ok + images.reasons.total()),
        ("images to label = images ok", labels.inputs, images.ok),
        ("images to label = labelled + every reason", labels.inputs, labels.ok + labels.reasons.total()),
        ("records with suggestions or none = records labelled", suggestions.inputs, labels.extra["records"]),
        ("statements = record labels decided publish", publish.inputs, labels.extra["records_publish"]),
        ("statements = on the platform + every other state", publish.inputs, publish.ok + publish.reasons.total()),
    ]
    return [{"check": check, "left": left, "right": right, "adds_up": left == right} for check, left, right in checks]


def _completeness(extra: dict[str, int]) -> dict[str, int]:
    """What the source promised, what is missing of it, what came twice; a run that reaches a limit stops on purpose."""
    names = ("total_results", "missing", "duplicate_ids", "repeated_across_windows", "walks_again", "requests")
    return {name: extra.get(name, 0) for name in names}


def _images(stage: dict[str, Any]) -> dict[str, Any]:
    """Hosts and providers, and what stood in for the providers' own files."""
    extra = stage["counts"]["extra"]
    named = {name: stage[name] for name in ("hosts", "providers", "placeholders", "near_duplicates")}
    return named | {name: extra.get(name, 0) for name in ("thumbnail", "iiif", "not_modified", "bytes")}


def _summary(stages: dict[str, Any]) -> dict[str, Any]:
    counts = {stage: value["counts"] for stage, value in stages.items()}
    return {
        "records": counts["harvest"]["inputs"],
        "records_with_image": counts["harvest"]["ok"],
        "images": counts["images"]["ok"],
        "labels": stages["labels"]["datasets"]["labels"],
        "labels_by_decision": {str(d): counts["labels"]["extra"].get(d, 0) for d in Decision},
        "suggestions": stages["suggestions"]["datasets"]["suggestions"],
        "annotations": counts["publish"]["inputs"],
        "annotations_on_platform": counts["publish"]["ok"],
        "annotations_sent_now": stages["publish"]["sent_now"],
        "not_ok": sum(sum(counts[stage]["reasons"].values()) for stage in STAGES),
    }


def _rows(lake: Lake, run: Run, dataset: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """None where the run was done by an earlier version of the code, which had no such dataset."""
    return lake.rows(run, dataset, columns) if lake.is_published(run, dataset) else iter(())


def _outcomes(lake: Lake, run: Run) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The first rows that are not ok, and counts by reason."""
    rows: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    columns = ("stage", "record_id", "input_id", "outcome", "reason", "detail")
    for stage in STAGES:
        for batch in _rows(lake, run, outcomes_dataset(stage), columns):
            reasons.update(batch["reason"].to_pylist())
            rows += batch.slice(0, OUTCOMES_SHOWN - len(rows)).to_pylist()
    return rows, dict(reasons.most_common())


def _pictures(lake: Lake, run: Run) -> tuple[dict[str, Counter[str]], dict[str, int]]:
    """Images that failed, by provider and reason, the worst first; rights statements of those that did not."""
    failed: dict[str, Counter[str]] = {}
    rights: Counter[str] = Counter()
    for batch in lake.rows(run, "images", ("provider", "reason", "rights")):
        for row, count in _counted(batch, ("provider", "reason", "rights")):
            if row["reason"] is None:
                rights[row["rights"]] += count
            else:
                failed.setdefault(row["provider"], Counter())[row["reason"]] += count
    worst = sorted(failed, key=lambda provider: (-failed[provider].total(), provider))
    return {provider: failed[provider] for provider in worst}, dict(rights.most_common())


def _labels_per_concept(lake: Lake, run: Run) -> dict[str, dict[str, int]]:
    table: dict[str, Counter[str]] = {}
    for batch in lake.rows(run, "record_labels", ("label", "decision")):
        for row, count in _counted(batch, ("label", "decision")):
            table.setdefault(row["label"], Counter())[row["decision"]] += count
    order = sorted(table, key=lambda label: (-table[label][Decision.PUBLISH], label))
    return {label: {str(d): table[label][d] for d in Decision} for label in order}


def _counted(batch: pa.RecordBatch, columns: Sequence[str]) -> Iterator[tuple[dict[str, Any], int]]:
    """The values that stand together in rows, each once, and how often."""
    for row in pa.Table.from_batches([batch]).group_by(list(columns)).aggregate([([], "count_all")]).to_pylist():
        yield row, row["count_all"]


def _score_histograms(lake: Lake, run: Run) -> dict[str, list[dict[str, Any]]]:
    """Of each concept the images by interval of the calibrated score, over all providers."""
    found: dict[str, dict[tuple[float, float], int]] = {}
    for batch in _rows(lake, run, "score_histograms", ("label", "score_from", "score_to", "images")):
        for row in batch.to_pylist():
            bins = found.setdefault(row["label"], {})
            interval = (round(row["score_from"], 6), round(row["score_to"], 6))
            bins[interval] = bins.get(interval, 0) + row["images"]
    return {
        label: [{"from": low, "to": high, "images": count} for (low, high), count in sorted(bins.items())]
        for label, bins in sorted(found.items())
    }


def _quality(lake: Lake, run: Run) -> dict[str, Any]:
    """What did not hold, and how far the scores have moved from the model's reference: its first published run."""
    checked = {one["dataset"]: one for one in read_checked(lake, run)}
    broken = [
        f"{name}: {result['sentence']}" for name, one in checked.items() for result in one["results"] if not result["passed"]
    ]
    drift = checked["labels"]["figures"].get("drift", []) if "labels" in checked else []
    return {
        "expectations": sum(len(one["results"]) for one in checked.values()),
        "warnings": broken,
        "drift": drift[:DRIFT_SHOWN],
    }


def _model(lake: Lake, run: Run) -> dict[str, Any]:
    for batch in lake.rows(run, "features", ("model_name", "model_version", "model_sha256", "preprocessing_version")):
        if batch.num_rows:
            row: dict[str, Any] = batch.slice(0, 1).to_pylist()[0]
            bundle = lake.read_json(f"models/{row['model_name']}/{row['model_version']}/bundle.json")
            thresholds = {head["slug"]: head["thresholds"] for head in bundle["heads"]}
            return row | {"recipe": bundle["recipe"], "dataset_id": bundle["dataset_id"], "thresholds": thresholds}
    return {}


def _moved(folder: Path, place: Path) -> Path:
    """Into a place of its own for each attempt: what `latest` points at stays until the link has been swapped."""
    if place.exists():
        shutil.rmtree(place)
    folder.chmod(0o755)
    return folder.rename(place)


def _remove_older(exports: Path, run: Run, newest: Path) -> None:
    for path in exports.glob(f"{run.run_id}.*"):
        if path != newest:
            shutil.rmtree(path, ignore_errors=True)


def _point_latest_at(folder: Path, link: Path) -> None:
    """Swap the link in one step: a reader finds the old run or the new one."""
    if link.exists() and not link.is_symlink():
        raise CriticalError(f"{link} is in the way: it must be a link that points at the newest run's exports")
    temporary = link.with_name(f".latest-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.relative_to(link.parent), target_is_directory=True)
    temporary.replace(link)
