"""`enrich model evaluate`: figures for people on the screen, all of them in a file."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.errors import CriticalError
from pipeline.settings import Settings

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


def evaluate_command(model: str, collection: Path, json_file: Path | None, split: str | None, out: Console) -> None:
    """Evaluate NAME or NAME@VERSION, print a table and write the file that was asked for."""
    from pipeline.training.evaluate import evaluate_model

    name, version = _name_and_version(model)
    figures = evaluate_model(name, version, collection, split=split, settings=Settings())
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    table = Table(
        "figure", "value", title=f"{figures['model']} on {figures['n_images']:,} pictures of split {figures['split']}"
    )
    for key, words in _SHOWN.items():
        value = figures[key]
        spread = figures.get(f"{key}_interval")
        table.add_row(words, "–" if value is None else f"{value}" + (f"  (95 %: {spread[0]}–{spread[1]})" if spread else ""))
    table.add_row("concepts that abstain", ", ".join(figures["abstaining"]) or "none")
    out.print(table)


def _name_and_version(model: str) -> tuple[str, int | None]:
    name, at, version = model.partition("@")
    if not name or (at and not version.isdigit()):
        raise CriticalError(f"--model {model}: say NAME, or NAME@VERSION with a number")
    return name, int(version) if version else None
