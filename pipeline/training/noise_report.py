"""The label-noise report of a collection: a page to look at, a CSV for reviewers, and a table of concepts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image

from pipeline.collection import CollectionRow, read_collection
from pipeline.settings import Settings
from pipeline.training.dataset import LabelledImages, load_images
from pipeline.training.evaluation_report import data_uri
from pipeline.training.fit import fit
from pipeline.training.noise import ConceptNoise, Suspicion, find_noise
from pipeline.training.recipes import load_recipe
from pipeline.training.tables import write_csv
from pipeline.vocabulary import load_vocabulary

SHOWN = 60  # pictures on the page
SUSPICIOUS = ("record_id", "image_file", "concept", "given", "score", "question", "title", "provider", "split")


@dataclass(frozen=True)
class NoiseReport:
    """What was found, and where it is written."""

    concepts: Sequence[ConceptNoise]
    suspicions: Sequence[Suspicion]
    folder: Path


def report_noise(collection_dir: Path, recipe_name: str, folder: Path, *, settings: Settings) -> NoiseReport:
    """Cross-validate on all labelled pictures of the collection, whatever their split, and write into `folder`.

    `page.html`, `suspicious.csv` (a doubted label a line, the most doubtful first) and `concepts.csv`. Raises
    CriticalError when the collection or the recipe cannot be used.
    """
    recipe = replace(load_recipe(settings.recipes_dir, recipe_name), networks=0)  # every picture needs a score
    collection = read_collection(collection_dir)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    images = load_images(collection, vocabulary, side_px=recipe.side_px, settings=settings)
    concepts, suspicions = find_noise(images.slugs, *fit(images, recipe, settings).judged(images.truth))
    rows = {row.record_id: row for row in collection.rows}
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "concepts.csv", [field.name for field in fields(ConceptNoise)], map(asdict, concepts))
    lines = (_line(one, rows[images.record_ids[one.row]]) for one in suspicions)
    write_csv(folder / "suspicious.csv", SUSPICIOUS, lines)
    page = _page(collection_dir.name, recipe.name, concepts, suspicions, images, rows)
    (folder / "page.html").write_text(page, encoding="utf-8")
    return NoiseReport(concepts, suspicions, folder)


def _line(one: Suspicion, row: CollectionRow) -> dict[str, Any]:
    return {
        "record_id": row.record_id,
        "image_file": row.image_file,
        "concept": one.slug,
        "given": int(one.given),
        "score": round(one.score, 4),
        "question": f"is it {one.slug}?" if one.given else f"is it not {one.slug}?",
        "title": row.title,
        "provider": row.owner,
        "split": row.split,
    }


def _page(
    name: str,
    recipe: str,
    concepts: Sequence[ConceptNoise],
    suspicions: Sequence[Suspicion],
    images: LabelledImages,
    rows: dict[str, CollectionRow],
) -> str:
    samples = [
        {
            **asdict(one),
            "record_id": images.record_ids[one.row],
            "provider": rows[images.record_ids[one.row]].owner,
            "picture": data_uri(Image.fromarray(images.pixels[one.row])),
        }
        for one in suspicions[:SHOWN]
    ]
    environment = Environment(loader=PackageLoader("pipeline.training"), autoescape=select_autoescape())
    return environment.get_template("noise.html").render(
        collection=name,
        recipe=recipe,
        pictures=len(images.pixels),
        concepts=concepts,
        doubted=len(suspicions),
        samples=samples,
    )
