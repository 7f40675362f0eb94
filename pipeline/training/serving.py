"""What will run a version that was trained: engines are tried on pictures of the collection."""

from pathlib import Path

from pipeline.collection import read_collection
from pipeline.database import connect
from pipeline.datasets.lake import open_lake
from pipeline.errors import CriticalError
from pipeline.model.bundle import Bundle
from pipeline.model.engines.trial import Outcome, try_engines
from pipeline.model.preprocessing import Pixels
from pipeline.model.registry import bundle_in_force
from pipeline.settings import Settings
from pipeline.training.dataset import labelled_rows, load_rows
from pipeline.vocabulary import load_vocabulary

CALIBRATING, COMPARED = 128, 500  # pictures at most that engines are made and tried with


def choose_engine(name: str, version: int | None, collection: Path | None, *, settings: Settings) -> tuple[Bundle, Outcome]:
    """Try every engine on a version (None: the released one), and keep the fastest that decides as Keras does.

    Pictures of split `train` set the ranges of 8-bit numbers, the others are decided on. Raises CriticalError when there is
    no such version, no folder, or when it has too few pictures.
    """
    if collection is None:
        raise CriticalError("engines are tried on pictures: name a folder with --collection DIR, or set TRUTH_COLLECTION")
    store = open_lake(settings).store
    bundle = bundle_in_force(connect(settings), store, name, version)
    calibration, pictures = _pictures(collection, bundle, settings)
    outcome = try_engines(
        store, bundle, pictures, calibration=calibration, at_once=settings.inference_batch, floor=settings.hidden_floor
    )
    return bundle, outcome


def _pictures(folder: Path, bundle: Bundle, settings: Settings) -> tuple[Pixels, Pixels]:
    """As the network sees them: some of split `train`, and some of the others."""
    found = read_collection(folder)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    rows = labelled_rows(found)
    sides = []
    for count, side in (
        (CALIBRATING, [row for row in rows if row.split == "train"]),
        (COMPARED, [row for row in rows if row.split != "train"]),
    ):
        some = side[:: max(1, len(side) // count)][:count]  # from all over the table, which may be in some order
        images = load_rows(found, some, (), vocabulary, side_px=bundle.side_px, settings=settings)
        if images is None:
            raise CriticalError(f"{folder}: engines are tried on pictures of split train and of others, and one side has none")
        sides.append(images.pixels)
    return sides[0], sides[1]
