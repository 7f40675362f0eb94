"""What a model has already said of pictures: found in the lake by picture, and read back instead of predicted again.

`features` keeps every raw score and the embedding, so decisions can be made anew from it. The dataset `predictions` says
in which parts of it a picture is found: eight bytes of its id and a part, small enough to be read through for each run.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import PREDICTIONS
from pipeline.domain.outcome import Outcome
from pipeline.model.bundle import Bundle, Floats

Keys = npt.NDArray[np.uint64]
Halves = npt.NDArray[np.float16]

_COLUMNS = ("image_id", "model_sha256", "preprocessing_version", "raw_scores", "embedding")
NO_KEYS: Keys = np.zeros(0, np.uint64)
_KEY_DIGITS = 16  # of the image id: pictures that share them are told apart when the part is read

log = structlog.get_logger()


class Seen:
    """Pictures that were looked at: `place` of an image id, and for all of them raw scores and embeddings, in that order."""

    def __init__(self, bundle: Bundle) -> None:
        self.place: dict[str, int] = {}
        self._raw: list[Floats] = [np.zeros((0, len(bundle.heads)), np.float32)]
        self._embeddings: list[Halves] = [np.zeros((0, bundle.embedding_width), np.float16)]

    def add(self, image_ids: Sequence[str], raw: Floats, embeddings: npt.NDArray[np.floating[Any]]) -> None:
        """Raw scores (n, concepts) and embeddings (n, width) of n pictures; of one that is there already nothing changes."""
        new: dict[str, int] = {}
        for row, image_id in enumerate(image_ids):
            if image_id not in self.place:
                new.setdefault(image_id, row)
        self.place.update(zip(new, range(len(self.place), len(self.place) + len(new)), strict=True))
        rows = list(new.values())
        self._raw.append(raw[rows].astype(np.float32))
        self._embeddings.append(embeddings[rows].astype(np.float16))

    def raw(self, image_ids: Sequence[str]) -> Floats:
        """Raw scores (n, concepts) of pictures that are there."""
        return self._together(self._raw)[[self.place[image_id] for image_id in image_ids]]

    def embeddings(self, image_ids: Sequence[str]) -> Halves:
        """Embeddings (n, width) of pictures that are there."""
        return self._together(self._embeddings)[[self.place[image_id] for image_id in image_ids]]

    @staticmethod
    def _together(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        arrays[:] = [np.concatenate(arrays)]
        return arrays[0]


def predictions_dataset(model_sha256: str, preprocessing_version: str) -> str:
    """One of its own for each network and way of preparing pictures, whatever thresholds and names go with it."""
    return f"predictions/model={model_sha256[:16]}-{preprocessing_version}"


def publish_predictions(lake: Lake, run: Run, features: Sequence[Part]) -> None:
    """Let later runs find the pictures of these parts, which are all of one model."""
    models = (batch for part in features for batch in lake.part_rows(part.key, ("model_sha256", "preprocessing_version")))
    model = next((batch.slice(0, 1).to_pylist()[0] for batch in models if batch.num_rows), None)
    if model is None:
        return
    dataset = predictions_dataset(**model)
    tables = (
        pa.table(
            {
                "key": pa.array(keys_of_images(batch["image_id"].to_pylist())),
                "part": pa.repeat(pa.scalar(part.key), batch.num_rows),
            },
            schema=PREDICTIONS,
        )
        for part in features
        for batch in lake.part_rows(part.key, ("image_id",))
    )
    lake.publish(run, dataset, [lake.write_part(run, dataset, 0, tables, PREDICTIONS)])


def known_parts(lake: Lake, run: Run, bundle: Bundle, batches: Sequence[Sequence[Part]]) -> list[list[str]]:
    """For each batch of images parts, the features parts that hold what the model has said of its pictures, if any.

    Of several that hold a picture the newest run's is taken. What this very attempt of the run has written does not
    count, so that a restart plans what the first start has planned. Memory: twelve bytes a picture of the run.
    """
    keys, counts = _keys_of_batches(lake, batches)
    wanted, where = np.unique(keys, return_inverse=True)
    found = np.full(len(wanted), -1, np.int32)
    parts: dict[str, int] = {}
    for batch in _index(lake, run, predictions_dataset(bundle.sha256, bundle.preprocessing_version)) if len(wanted) else ():
        key, part = batch["key"].to_numpy(zero_copy_only=False), batch["part"].dictionary_encode()
        place = np.minimum(np.searchsorted(wanted, key), len(wanted) - 1)
        hits = wanted[place] == key
        codes = np.array([parts.setdefault(name, len(parts)) for name in part.dictionary.to_pylist()], np.int32)
        found[place[hits]] = codes[part.indices.to_numpy(zero_copy_only=False)[hits]]
    names = list(parts)
    groups = np.split(found[where], np.cumsum(counts))[:-1]  # behind the last batch nothing is left
    return [sorted(names[code] for code in np.unique(group) if code >= 0) for group in groups]


def known_keys(lake: Lake, run: Run, bundle: Bundle) -> Keys:
    """The keys of all pictures that the model has looked at, sorted: eight bytes each."""
    keys = [
        batch["key"].to_numpy() for batch in _index(lake, run, predictions_dataset(bundle.sha256, bundle.preprocessing_version))
    ]
    return np.unique(np.concatenate(keys)) if keys else np.zeros(0, np.uint64)


def recall(lake: Lake, bundle: Bundle, part_keys: Sequence[str], wanted: Iterable[str]) -> Seen:
    """What the features parts hold of the wanted pictures; a part that has gone since is one that knows nothing."""
    seen, left = Seen(bundle), set(wanted)
    for key in part_keys:
        try:
            for ids, raw, embeddings in _predictions(lake, bundle, key, left - seen.place.keys()):
                seen.add(ids, raw, embeddings)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            log.warning("predictions_unreadable", part=key, problem=str(error))
    return seen


def _predictions(lake: Lake, bundle: Bundle, key: str, wanted: set[str]) -> Iterator[tuple[list[str], Floats, Halves]]:
    """Ids, raw scores and embeddings; only row groups that hold a wanted picture are read."""
    values = pa.array(sorted(wanted), pa.string())
    with lake.store.local_copy(key) as path, pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=["image_id"])["image_id"]
            if not pc.any(pc.is_in(ids, value_set=values)).as_py():
                continue
            table = file.read_row_group(group, columns=list(_COLUMNS)).filter(
                pc.field("image_id").isin(values)
                & (pc.field("model_sha256") == bundle.sha256)
                & (pc.field("preprocessing_version") == bundle.preprocessing_version)
            )
            yield table["image_id"].to_pylist(), _matrix(table["raw_scores"]), _matrix(table["embedding"])


def _matrix(lists: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Lists of one length as an array (rows, length)."""
    values: npt.NDArray[Any] = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(lists), lists.type.list_size)


def keys_of_images(image_ids: Iterable[str]) -> Keys:
    """By which a picture is found."""
    return np.fromiter((int(image_id[:_KEY_DIGITS], 16) for image_id in image_ids), np.uint64)


def keys_of_records(record_ids: Iterable[str]) -> Keys:
    """Eight bytes of each: enough to tell the records of a lake apart."""
    digests = (blake2b(record_id.encode(), digest_size=8).digest() for record_id in record_ids)
    return np.frombuffer(b"".join(digests), np.uint64)


def _keys_of_batches(lake: Lake, batches: Sequence[Sequence[Part]]) -> tuple[Keys, list[int]]:
    """The keys of the usable pictures of all batches, one after the other, and how many each has."""
    keys, counts = [np.zeros(0, np.uint64)], list[int]()
    for parts in batches:
        before = len(keys)
        for part in parts:
            for batch in lake.part_rows(part.key, ("image_id", "outcome")):
                usable = batch.filter(pc.equal(batch["outcome"], str(Outcome.OK)))
                keys.append(keys_of_images(usable["image_id"].to_pylist()))
        counts.append(sum(map(len, keys[before:])))
    return np.concatenate(keys), counts


def _index(lake: Lake, run: Run, dataset: str) -> Iterator[pa.RecordBatch]:
    """The rows of all runs, oldest first."""
    manifests = [lake.read_json(key) for key in lake.store.list(f"{dataset}/") if key.endswith("/_manifest.json")]
    own = f"{run.dataset_folder(dataset)}/part-{run.part_number(0):05d}.parquet"
    for manifest in sorted(manifests, key=lambda one: (one["created_at"], one["run_id"])):
        for part in manifest["parts"]:
            if part["key"] != own:
                yield from lake.part_rows(part["key"])
