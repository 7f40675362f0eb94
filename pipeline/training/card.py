"""The model card: what a version is, what it was trained on, how right it is, and where it must not be trusted."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.model.bundle import Bundle
from pipeline.training.gate import Verdict
from pipeline.vocabulary import Vocabulary

_FIGURES = {
    "n_images": "pictures",
    "n_concepts": "concepts with at least five of them",
    "macro_ap": "macro average precision",
    "macro_f1": "macro F1",
    "ece": "calibration error (ECE, 15 bins)",
    "published_n": "labels that would be published",
    "published_precision": "of these, right",
    "published_recall": "true labels that would be published",
}


def model_card(
    bundle: Bundle, verdict: Verdict | None, vocabulary: Vocabulary, *, learned_from: Mapping[str, int], data: str
) -> str:
    """Markdown; every figure is the bundle's own.

    `learned_from` is how many true pictures each concept had in training, `data` the dataset's own card where it has one.
    """
    abstaining = [head.slug for head in bundle.heads if head.thresholds.publish is None]
    lines = [
        f"# Model {bundle.name}, version {bundle.version}",
        "",
        f"- {len(bundle.heads)} concepts of vocabulary {bundle.vocabulary_version}; pictures of {bundle.side_px} × "
        f"{bundle.side_px} px, preprocessing {bundle.preprocessing_version}",
        f"- recipe {bundle.recipe}, data {bundle.dataset_id}",
        f"- model.keras: SHA-256 `{bundle.sha256}`",
        "- meant for pictures of cultural heritage like those that it was trained on; a label is a suggestion of a machine",
        "",
        "## Held-out pictures",
        "",
        *_table(bundle, ""),
    ]
    if "cross_validated" in bundle.metrics:
        lines += ["", "## Training pictures, each scored by a network that did not see its group", ""]
        lines += [*_table(bundle, "cross_validated"), "", *_folds(bundle.metrics["cross_validated"]["folds"])]
    if "unseen" in bundle.metrics:
        lines += ["", "## Providers that no training picture came from", "", *_table(bundle, "unseen")]
    lines += [
        "",
        "## Concepts",
        "",
        f"Never published, as their precision is not sure enough: {', '.join(abstaining) or 'none'}.",
        "",
        "| concept | URI | learned from | held-out positives | average precision | published from | of published, right |",
        "|---|---|---|---|---|---|---|",
    ]
    for head in bundle.heads:
        own = bundle.metrics.get("per_concept", {}).get(head.slug, {})
        cells = (own.get("n_pos"), own.get("ap"), head.thresholds.publish, own.get("published_precision"))
        known = f"| {head.slug} | {vocabulary.by_slug[head.slug].concept_uri} | {learned_from.get(head.slug, 0):,} | "
        lines.append(known + " | ".join(_written(value) for value in cells) + " |")
    lines += ["", "## Release", ""]
    if verdict is None:
        lines.append("There was no version to be held against.")
    elif verdict.allowed:
        lines.append(f"No worse than version {verdict.figures['against']}, which was in force.")
    else:
        lines += ["Refused:", "", *(f"- {reason}" for reason in verdict.reasons)]
    if data:  # its headings stand below ours
        lines += ["", "## Data", "", *(f"##{line}" if line.startswith("#") else line for line in data.splitlines())]
    return "\n".join([*lines, ""])


def _folds(folds: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a fold."""
    names = ("n_images", "macro_ap", "macro_f1", "ece", "published_precision")
    rows = [
        f"| {number} | " + " | ".join(_written(fold.get(name)) for name in names) + " |"
        for number, fold in enumerate(folds, start=1)
    ]
    return ["| fold | " + " | ".join(_FIGURES[name] for name in names) + " |", "|---" * (len(names) + 1) + "|", *rows]


def _table(bundle: Bundle, part: str) -> list[str]:
    figures = bundle.metrics[part] if part else bundle.metrics
    rows = [f"| {words} | {_written(figures.get(name))} |" for name, words in _FIGURES.items()]
    return ["| figure | value |", "|---|---|", *rows]


def _written(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
