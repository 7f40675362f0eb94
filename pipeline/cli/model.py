"""`enrich model …`: which versions there are and how good they are, and which of them is in force."""

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline.errors import CriticalError, RefusedReleaseError
from pipeline.settings import Settings

if TYPE_CHECKING:  # importing it takes seconds
    from pipeline.model.bundle import Bundle
    from pipeline.model.engines.trial import Outcome
    from pipeline.training.steps import Trained

model = typer.Typer(no_args_is_help=True, help="Models that were trained here.")
out = Console()
REFUSED = 3  # exit code of a training whose version is not released

_SHOWN = {
    "macro_ap": "macro average precision",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "top1_accuracy": "main type right at first place",
    "lrap": "label ranking average precision",
    "ece": "calibration error (ECE)",
    "published_precision": "precision of published labels",
    "published_recall": "true labels published",
}


_LISTED = ("macro_ap", "macro_f1", "published_precision", "published_recall")


@model.command("list")
def list_versions(name: Annotated[str | None, typer.Argument(help="Only versions of this model.")] = None) -> None:
    """All versions of all models, with their figures on the held-out split.

    Example:  enrich model list museum
    """
    from pipeline.database import connect, models

    table = Table("name", "version", "status", "macro AP", "macro F1", "published precision", "published recall", "trained")
    for row in models.versions(connect(Settings()), name):
        status = f"{row['status']} (refused)" if _refused(row) else row["status"]
        figures = [str(row["metrics"].get(figure, "–")) for figure in _LISTED]
        table.add_row(row["name"], str(row["version"]), status, *figures, f"{row['created_at']:%Y-%m-%d %H:%M}")
    out.print(table)


@model.command("show")
def show(name: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Without a version: the released one.")]) -> None:
    """One version: where it comes from, its figures, what the release gate said, each concept's threshold.

    Example:  enrich model show museum@2
    """
    from pipeline.database import connect, models
    from pipeline.datasets.lake import open_lake
    from pipeline.model.bundle import load_bundle

    settings = Settings()
    bare, version = name_and_version(name)
    row = models.find(connect(settings), bare, version)
    if row is None:
        raise CriticalError(
            f"there is no {'such' if version else 'released'} version of model {bare!r}; see: enrich model list"
        )
    bundle = load_bundle(open_lake(settings).store, row["bundle_key"])
    out.print(
        f"[bold]{bare} {row['version']}[/], {row['status']}; recipe {bundle.recipe}, {bundle.side_px} px", highlight=False
    )
    out.print(f"trained {row['created_at']:%Y-%m-%d %H:%M} UTC on {bundle.dataset_id}", highlight=False, soft_wrap=True)
    out.print(f"file {bundle.folder}/model.keras, SHA-256 {bundle.sha256}", highlight=False, soft_wrap=True)
    for line in _gate_lines(row["gate"]):
        out.print(line, highlight=False, soft_wrap=True)
    table = Table("concept", "publish from", "review from", "AP", "positives in test")
    for head in bundle.heads:
        own = bundle.metrics.get("per_concept", {}).get(head.slug, {})
        limits = [
            f"{limit:.3f}" if limit is not None else "never" for limit in (head.thresholds.publish, head.thresholds.review)
        ]
        ap = own.get("ap")
        table.add_row(head.slug, *limits, "–" if ap is None else f"{ap:.3f}", str(own.get("n_pos", "–")))
    out.print(table)


@model.command("release")
def release(
    name: str,
    version: int,
    override: Annotated[
        str | None, typer.Option(help="Overrule the gate's refusal; say why, it is kept with the version.")
    ] = None,
) -> None:
    """Make a version the one that the nightly run uses.

    Examples:  enrich model release default 2  ·  enrich model release default 3 --override "checked 200 labels by hand"
    """
    from pipeline.database import connect, models

    overruled = {"by": getpass.getuser(), "why": override} if override else None
    models.release(connect(Settings()), name, version, override=overruled)
    out.print(f"{name} {version} is released" + (", against the gate's word" if override else ""))


@model.command("rollback")
def rollback(name: str) -> None:
    """Put the version back in force that was so before the present one.

    Example:  enrich model rollback default
    """
    from pipeline.database import connect, models

    engine = connect(Settings())
    version = models.former(engine, name)["version"]
    models.release(engine, name, version)
    out.print(f"{name} {version} is released again")


@model.command("evaluate")
def evaluate(
    name: Annotated[str, typer.Option("--model", help="NAME for the released version, or NAME@VERSION.")],
    collection: Annotated[Path, typer.Option(help="A folder with pictures and metadata.csv.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write index.html (a page with plots and failures) and figures.json to this folder.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Which rows: train, test, unseen or all. Without it: test where there are such rows, else all."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME[@VERSION]", help="Another model: how much better is the first, and how surely?")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What runs it: keras, or an engine that was tried on it (enrich model bench-engines).")
    ] = "keras",
) -> None:
    """Measure a model on a labelled collection; nothing is fitted on it.

    Examples:  enrich model evaluate --model museum@2 --collection DIR --json figures.json
    ·  enrich model evaluate --model museum@2 --collection DIR --report var/museum-2
    ·  enrich model evaluate --model museum@2 --against museum@1 --collection DIR
    ·  enrich model evaluate --model museum@2 --engine openvino-int8 --collection DIR
    """
    from pipeline.training.evaluate import evaluate_model
    from pipeline.training.evaluation_report import report_evaluation

    bare, version = name_and_version(name)
    other = name_and_version(against) if against else None
    if report is None:
        figures = evaluate_model(bare, version, collection, split=split, settings=Settings(), against=other, engine=engine)
    else:
        figures = report_evaluation(
            bare, version, collection, report, split=split, settings=Settings(), against=other, engine=engine
        )
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    table = Table(
        "figure",
        "value",
        title=f"{figures['model']} by {figures['engine']} on {figures['n_images']:,} pictures of split {figures['split']}",
    )
    for key, words in _SHOWN.items():
        value = figures[key]
        spread = figures.get(f"{key}_interval")
        table.add_row(words, "–" if value is None else f"{value}" + (f"  (95 %: {spread[0]}–{spread[1]})" if spread else ""))
    for key, change in figures.get("against", {}).items():
        if key in _SHOWN:
            low, high = change["interval"]
            words = f"{_SHOWN[key]}, more than {figures['against']['model']}"
            table.add_row(words, f"{change['difference']:+.4f}  (95 %: {low:+.4f} to {high:+.4f})")
    table.add_row("concepts that abstain", ", ".join(figures["abstaining"]) or "none")
    out.print(table)
    if report is not None:
        out.print(f"the page is {report / 'index.html'}", highlight=False, soft_wrap=True)


@model.command("bench-engines")
def bench_engines(
    name: Annotated[str, typer.Option("--model", help="NAME for the released version, or NAME@VERSION.")],
    collection: Annotated[
        Path | None,
        typer.Option(help="A folder with pictures and metadata.csv; without it TRUTH_COLLECTION."),
    ] = None,
) -> None:
    """Try what can run a model on this machine, against Keras, and keep the fastest that decides as Keras does.

    Example:  enrich model bench-engines --model museum --collection DIR
    """
    from pipeline.training.serving import choose_engine

    settings = Settings()
    bare, version = name_and_version(name)
    show_engines(*choose_engine(bare, version, collection or settings.truth_collection, settings=settings), out)


def show_engines(bundle: "Bundle", outcome: "Outcome", console: Console) -> None:
    """What came of a trial of engines, as a table, and why some were not tried."""
    table = Table(
        *("engine", "images/s", "x Keras", "same decisions", "largest difference", "verdict"),
        title=f"{bundle.name}@{bundle.version}, {bundle.side_px} px, {outcome.pictures:,} pictures",
    )
    trials = outcome.tried.trials
    for engine, trial in sorted(trials.items(), key=lambda item: -item[1].images_per_s):
        table.add_row(
            engine,
            f"{trial.images_per_s:,.1f}",
            f"{trial.images_per_s / trials['keras'].images_per_s:.2f}",
            f"{trial.equal_decisions:.2%}",
            f"{trial.largest_difference:.4f}",
            "[bold]chosen[/]" if engine == outcome.tried.chosen else "agrees" if trial.agrees else "does not agree: never used",
        )
    console.print(table)
    for engine, why in outcome.skipped.items():
        console.print(f"{engine} was not tried: {why}", highlight=False, soft_wrap=True)


def name_and_version(model: str) -> tuple[str, int | None]:
    """NAME or NAME@VERSION taken apart; CriticalError when it is neither."""
    name, at, version = model.partition("@")
    if not name or (at and not version.isdigit()):
        raise CriticalError(f"--model {model}: say NAME, or NAME@VERSION with a number")
    return name, int(version) if version else None


def show_trained(trained: "Trained", console: Console) -> None:
    """What came of a training; RefusedReleaseError with the gate's reasons when the version is not released."""
    from pipeline.database import models

    bundle, verdict = trained.bundle, trained.verdict
    figures = {key: value for key, value in bundle.metrics.items() if key not in ("per_concept", "unseen", "cross_validated")}
    console.print(f"model {bundle.name} version {bundle.version}; test split: {figures}", soft_wrap=True)
    if verdict is not None and not verdict.allowed:
        raise RefusedReleaseError(models.refusal(bundle.name, bundle.version, verdict.reasons))
    console.print(f"version {bundle.version} is released")


def _refused(row: Any) -> bool:
    gate = row["gate"]
    return bool(gate) and not gate["allowed"] and "override" not in gate


def _gate_lines(gate: dict[str, Any] | None) -> list[str]:
    """What the release gate said, a line each."""
    if not gate:
        return ["release gate: there was no version to be held against"]
    against = gate.get("figures", {}).get("against")
    lines = [f"release gate, against version {against}: {'passed' if gate['allowed'] else 'refused'}"] if against else []
    lines += [f"  - {reason}" for reason in gate["reasons"]]
    if said := gate.get("override"):
        lines.append(f"overruled by {said['by']} at {said['at'][:16]}: {said['why']}")
    return lines
