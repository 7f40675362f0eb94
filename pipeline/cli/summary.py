"""The summary of a run on the terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.settings import PROJECT_ROOT


def print_summary(report: dict[str, Any], folder: Path, *, seconds: float, out: Console) -> None:
    """Records, images, labels, suggestions, annotations; how many failed and why; where the files are."""
    summary, decisions = report["summary"], report["summary"]["labels_by_decision"]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("records", f"{summary['records']:,}", f"{summary['records_with_image']:,} with an image")
    table.add_row("images", f"{summary['images']:,}", "usable, normalised, in shards")
    by_decision = ", ".join(f"{count:,} {decision}" for decision, count in decisions.items())
    table.add_row("labels", f"{summary['labels']:,}", by_decision)
    table.add_row("suggestions", f"{summary['suggestions']:,}", "related images")
    table.add_row("annotations", f"{summary['annotations']:,}", _annotations(report))
    table.add_row("not ok", f"{summary['not_ok']:,}", _reasons(report["failures"]["by_reason"]))
    out.print()
    out.print(f"[bold]Run {report['run']['run_id']}[/] in {seconds:.0f} s")
    out.print(table)
    if evaluation := report["evaluation"]:
        out.print(_evaluation(evaluation))
    shown = folder.relative_to(PROJECT_ROOT) if folder.is_relative_to(PROJECT_ROOT) else folder
    out.print(f"[bold]files[/]  {shown}/: {', '.join(report['files'])}")


def _annotations(report: dict[str, Any]) -> str:
    summary = report["summary"]
    if report["run"]["dry_run"]:
        return "planned; dry run: nothing was sent"
    before = max(0, summary["annotations_on_platform"] - summary["annotations_sent_now"])
    hidden = report["stages"]["publish"].get("hidden_sent_now")
    text = f"{summary['annotations_sent_now']:,} sent now, {before:,} were there before; nothing stands there twice"
    return text if hidden is None else f"{text}; {hidden:,} hidden labels sent to WITH"


def _reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in reasons.items()) or "every input passed"


def _evaluation(figures: dict[str, Any]) -> str:
    matching = figures["suggestions"]["matching_share"]
    return (
        f"[bold]quality[/] on the held-out split: precision of published labels {figures['published_precision']}, "
        f"{figures['published_recall']} of true labels published, macro average precision {figures['macro_ap']}, "
        f"suggestions that share a main type {matching}"
    )
