"""The evaluation report of a model: one page with figures, plots and the worst failures, and the figures as JSON."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image

from pipeline.collection import read_collection
from pipeline.model.engines.kinds import KERAS
from pipeline.model.examples import Examples, Neighbour, load_examples, nearest
from pipeline.model.predictor import Predictor
from pipeline.reporting.explanation import explained
from pipeline.settings import Settings
from pipeline.training.dataset import LabelledImages
from pipeline.training.evaluate import Evaluated, Floats, evaluated_model
from pipeline.training.splits import HELD_OUT

EXPLAINED = 20  # pictures of each split, evenly over it
NEAREST = 3  # training pictures that are named for each
PROVIDERS_SHOWN = 60  # on the page; the JSON has all of them
_SUMMARY = (
    ("macro_ap", "Macro average precision", "mean over the concepts with at least five true pictures"),
    ("micro_ap", "Micro average precision", "all pairs of picture and concept in one ranking"),
    ("macro_f1", "Macro F1", "at a score of 0.5, as the next five"),
    ("macro_precision", "Macro precision", ""),
    ("macro_recall", "Macro recall", ""),
    ("micro_f1", "Micro F1", ""),
    ("micro_precision", "Micro precision", ""),
    ("micro_recall", "Micro recall", ""),
    ("published_precision", "Precision of published labels", "at each concept's own threshold"),
    ("published_recall", "True labels published", "share of all that are true"),
    ("subset_accuracy", "Subset accuracy", "every known concept of a picture right"),
    ("coverage", "Coverage error", "labels to read until all true ones are seen; the fewer the better"),
    ("lrap", "Label ranking average precision", "as the figures around it: of pictures with both true and other concepts"),
    ("ranking_loss", "Ranking loss", "share of pairs in the wrong order; 0 is best"),
    ("ndcg", "NDCG", ""),
    ("ece", "Calibration error (ECE)", "15 bins over all known pairs; 0 is best"),
)  # fmt: skip


def report_evaluation(
    name: str,
    version: int | None,
    collection_dir: Path,
    folder: Path,
    *,
    split: str | None,
    settings: Settings,
    against: tuple[str, int | None] | None = None,
    engine: str = KERAS,
) -> dict[str, Any]:
    """Write `index.html` and `figures.json` into `folder`, and return the figures; arguments as in `evaluate_model`.

    Raises CriticalError as `evaluate_model` does, and OSError when the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)  # before the work: a folder that cannot be made is said at once
    evaluated = evaluated_model(name, version, collection_dir, split=split, settings=settings, against=against, engine=engine)
    content = json.dumps(evaluated.figures, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "figures.json").write_text(content, encoding="utf-8")
    (folder / "index.html").write_text(
        render(evaluated, collection_dir.resolve().name, _explained(evaluated)), encoding="utf-8"
    )
    return evaluated.figures


def report_held_out(name: str, version: int, collection_dir: Path, folder: Path, *, settings: Settings) -> bool:
    """`report_evaluation` of a version on the rows that it was not trained on; False where there are none."""
    splits = {row.split for row in read_collection(collection_dir).rows if row.image_file}
    split = next((one for one in HELD_OUT if one in splits), None)
    if split is not None:
        report_evaluation(name, version, collection_dir, folder, split=split, settings=settings)
    return split is not None


def render(evaluated: Evaluated, collection: str, maps: Mapping[str, Sequence[dict[str, Any]]] | None = None) -> str:
    """The page as HTML that needs nothing but itself; `collection` is its name there, `maps` by split what is explained."""
    environment = Environment(loader=PackageLoader("pipeline.training"), autoescape=select_autoescape(), trim_blocks=True)
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["share"] = _share
    figures = evaluated.figures
    return environment.get_template("evaluation.html").render(
        figures=figures,
        bundle=evaluated.bundle,
        collection=collection,
        summary=[(words, figures[key], figures.get(f"{key}_interval"), note) for key, words, note in _SUMMARY],
        concepts=sorted(figures["per_concept"].items(), key=lambda one: (one[1]["ap"] is None, one[1]["ap"])),
        providers=figures["per_provider"][:PROVIDERS_SHOWN],
        failures=_with_pictures(evaluated),
        explained=maps or {},
    )


def _share(value: float | None) -> str:
    """A figure between 0 and 1 with three places, or a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def _with_pictures(evaluated: Evaluated) -> dict[str, list[dict[str, Any]]]:
    """The failures with the picture as the network saw it; one that failed twice is encoded once."""
    places = {record_id: place for place, record_id in enumerate(evaluated.images.record_ids)}
    wanted = {one["record_id"] for sort in evaluated.figures["failures"].values() for one in sort}
    pictures = {record_id: data_uri(Image.fromarray(evaluated.images.pixels[places[record_id]])) for record_id in wanted}
    return {
        sort: [{**one, "picture": pictures[one["record_id"]]} for one in failures]
        for sort, failures in evaluated.figures["failures"].items()
    }


def _explained(evaluated: Evaluated) -> dict[str, list[dict[str, Any]]]:
    """By split, some pictures, right and wrong as they come, with the map of their likeliest concept over them."""
    examples = load_examples(evaluated.store, evaluated.bundle.folder) if evaluated.store else None
    sides = [(evaluated.images, evaluated.scores), *([evaluated.beside] if evaluated.beside else [])]
    return {
        str(split): _explained_rows(evaluated.predictor, images, scores, np.flatnonzero(images.splits == split), examples)
        for images, scores in sides
        for split in np.unique(images.splits)
    }


def _explained_rows(
    predictor: Predictor, images: LabelledImages, scores: Floats, among: npt.NDArray[np.intp], examples: Examples | None
) -> list[dict[str, Any]]:
    rows = among[np.unique(np.linspace(0, len(among) - 1, min(EXPLAINED, len(among))).astype(int))]
    best = scores[rows].argmax(axis=1)
    overlays = explained(predictor, images.pixels[rows], [images.slugs[column] for column in best])
    alike: list[list[Neighbour]] = [[] for _ in rows]
    if examples is not None:
        alike = nearest(examples, predictor.predict(images.pixels[rows]).embeddings, NEAREST)
    return [
        {
            "picture": data_uri(shown),
            "record_id": images.record_ids[row],
            "concept": images.slugs[column],
            "score": float(scores[row, column]),
            "true": [slug for slug, truth in zip(images.slugs, images.truth[row], strict=True) if truth == 1],
            "alike": [f"{one.record_id} ({one.similarity:.2f})" for one in others],
        }
        for row, column, shown, others in zip(rows, best, overlays, alike, strict=True)
    ]


def data_uri(picture: Image.Image) -> str:
    """The picture as a JPEG inside an address."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
