"""`enrich explain`: why a model says what it says of one picture."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.cli.model import name_and_version
from pipeline.errors import PermanentError
from pipeline.settings import Settings

if TYPE_CHECKING:  # importing them takes seconds
    from PIL import Image

    from pipeline.collection import Collection
    from pipeline.model.bundle import Bundle
    from pipeline.model.examples import Neighbour
    from pipeline.model.predictor import Predictor
    from pipeline.reporting.explanation import ShownConcept, ShownExample

out = Console()
MOST_CONCEPTS = 4
# In the order in which they are shown.
_WORDS = {"publish": "published", "review": "for review", "hidden": "hidden", "drop": "dropped"}


def explain(
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="A record id (of --collection, or of the lake), an image id, or a picture file.")
    ],
    file: Annotated[Path, typer.Option("--out", help="The PNG to write.")],
    model: Annotated[str | None, typer.Option(help="NAME for the released version, or NAME@VERSION; else MODEL_NAME.")] = None,
    concept: Annotated[str | None, typer.Option(help="Only this concept (a slug), whatever its score.")] = None,
    collection: Annotated[
        Path | None, typer.Option(help="A folder with metadata.csv: ID may be one of its records, examples come as pictures.")
    ] = None,
) -> None:
    """Draw where a model sees its concepts on a picture, and which training pictures it finds nearest.

    Examples:  enrich explain /2021650/abc --out why.png  ·  enrich explain scan.jpg --concept painting --out why.png
    """
    from pipeline.collection import read_collection
    from pipeline.database import connect
    from pipeline.datasets.lake import open_lake
    from pipeline.model.predictor import Predictor
    from pipeline.model.registry import bundle_in_force
    from pipeline.reporting.explanation import Explanation, drawn

    settings = Settings()
    name, version = name_and_version(model or settings.model_name)
    store = open_lake(settings).store
    bundle = bundle_in_force(connect(settings), store, name, version)
    folder = read_collection(collection) if collection is not None else None
    picture = _picture(identity, folder, settings)
    predictor = Predictor(store, bundle)
    concepts, embedding = _concepts(predictor, picture, concept, settings)
    examples = _examples(store, bundle, embedding, identity, folder, settings)
    drawn(Explanation(f"{bundle.name}@{bundle.version} on {identity}", picture, concepts, examples)).save(file, "PNG")
    for shown in concepts:
        limit = "never published" if shown.threshold is None else f"threshold {shown.threshold:.3f}"
        out.print(f"{shown.label}: {shown.decision}, score {shown.score:.3f}, {limit}", highlight=False)
    out.print(f"{file} is written", highlight=False, soft_wrap=True)


def _picture(identity: str, folder: "Collection | None", settings: Settings) -> "Image.Image":
    """The derivative of a collection's record, of a file, or of the lake's newest picture, whichever there is first."""
    from pipeline.images.export import get_picture
    from pipeline.imaging.derivative import decode_derivative

    row = next((row for row in folder.rows if row.record_id == identity), None) if folder is not None else None
    if folder is not None and row is not None:
        path = folder.image_path(row)
        if path is None:
            raise PermanentError(f"{identity}: this record of {folder.folder} has no picture")
        return _prepared(path, settings)
    if Path(identity).is_file():
        return _prepared(Path(identity), settings)
    return decode_derivative(get_picture(identity, original=False, settings=settings))


def _prepared(path: Path, settings: Settings) -> "Image.Image":
    """A file as the nightly run would keep it; PermanentError with the reason when it would not."""
    from pipeline.imaging.derivative import decode_derivative
    from pipeline.imaging.examine import Examiner, rules_of

    with Examiner(rules_of(settings)) as examiner:
        found = examiner.examine(path.read_bytes())
    if found.jpeg is None:
        raise PermanentError(f"{path} cannot be used as a picture: {found.reason} ({found.detail})")
    return decode_derivative(found.jpeg)


def _concepts(
    predictor: "Predictor", picture: "Image.Image", chosen: str | None, settings: Settings
) -> tuple[list["ShownConcept"], Any]:
    """The concepts to show, published ones first, with their maps; and the picture's embedding (1, width)."""
    from pipeline.labels.decisions import Judge
    from pipeline.model.explain import maps_of
    from pipeline.model.preprocessing import network_input
    from pipeline.reporting.explanation import ShownConcept
    from pipeline.vocabulary import load_policy, load_vocabulary

    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    judge = Judge.of(predictor.bundle, vocabulary, load_policy(settings.policy_file), settings)
    pixels = network_input(picture, predictor.bundle.side_px)[None]
    found = predictor.predict(pixels)
    # The rights of a picture are no reason of the model's: here they hold nothing back.
    image = dict.fromkeys(("record_id", "image_id", "image_url", "provider"), "")
    image["rights_category"] = min(judge.rights, default="")
    order = list(_WORDS)
    columns = predictor.bundle.columns() | {"run_id": "", "created_at": datetime.now(UTC)}
    decided = judge.decide([image], found.scores)
    rows = sorted(
        judge.label_table([image], found.raw, found.scores, decided, columns, dropped=True).to_pylist(),
        key=lambda row: (order.index(row["decision"]), row["rank"]),
    )
    if chosen is not None:
        rows = [row for row in rows if row["label"] == chosen]
    slugs = [row["label"] for row in rows[:MOST_CONCEPTS]] if rows else [str(chosen)]
    maps = maps_of(predictor, pixels, slugs)[0]
    shown = [
        ShownConcept(row["label"], row["score"], row["threshold"], _WORDS[row["decision"]], heat)
        for row, heat in zip(rows, maps, strict=False)
    ]
    return shown, found.embeddings


def _examples(
    store: Any, bundle: "Bundle", embedding: Any, identity: str, folder: "Collection | None", settings: Settings
) -> "list[ShownExample] | None":
    """The nearest training pictures, as pictures where the folder has them; None where the version keeps none."""
    from pipeline.model.examples import load_examples, nearest
    from pipeline.reporting.explanation import ShownExample

    examples = load_examples(store, bundle.folder)
    if examples is None:
        return None
    paths = {row.record_id: folder.image_path(row) for row in folder.rows} if folder is not None else {}

    def shown(near: "Neighbour") -> ShownExample:
        path = paths.get(near.record_id)
        note = "this record" if near.record_id == identity else ""
        try:
            return ShownExample(near, _prepared(path, settings) if path is not None else None, note)
        except (OSError, PermanentError):  # a file that is gone or no picture: its text is shown
            return ShownExample(near, None, note)

    return [shown(near) for near in nearest(examples, embedding)[0]]
