"""The training pictures that a version was made from, as the network sees them: which of them is a picture most like?

They lie beside the network as `training.npz`; versions that were trained before that have none.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import CriticalError
from pipeline.model.bundle import Bundle
from pipeline.storage import ObjectStore

FILE = "training.npz"
_ROWS_AT_ONCE = 65_536  # half-precision rows that are widened for one product


@dataclass(frozen=True)
class Examples:
    """n training pictures: embeddings float16 (n, width) of length 1, and what is known of each."""

    embeddings: npt.NDArray[np.float16]
    record_ids: Sequence[str]
    image_files: Sequence[str]  # as the collection named them; empty where that is not known
    concepts: Sequence[tuple[str, ...]]  # slugs that are true


@dataclass(frozen=True)
class Neighbour:
    """A training picture and the cosine between its embedding and the one in question, -1–1."""

    record_id: str
    image_file: str
    concepts: tuple[str, ...]
    similarity: float


def keep_examples(
    store: ObjectStore,
    bundle: Bundle,
    embeddings: npt.NDArray[np.floating],
    record_ids: Sequence[str],
    truth: npt.NDArray[np.int8],
    image_files: Mapping[str, str],
) -> None:
    """Save the training pictures with a version: embeddings (n, width), truth (n, concepts) in 1, 0, -1 in the order of the
    bundle's heads, and the picture's file by record id. Raises what `save_examples` raises.
    """
    slugs = [head.slug for head in bundle.heads]
    concepts = [[slug for slug, true in zip(slugs, row, strict=True) if true == 1] for row in truth]
    files = [image_files.get(record_id, "") for record_id in record_ids]
    save_examples(store, bundle.folder, embeddings, record_ids, concepts, image_files=files)


def save_examples(
    store: ObjectStore,
    folder: str,
    embeddings: npt.NDArray[np.floating],
    record_ids: Sequence[str],
    concepts: Sequence[Sequence[str]],
    *,
    image_files: Sequence[str] | None = None,
) -> str:
    """Write `training.npz` into a version's folder and return its key.

    embeddings (n, width), of any length; they are kept with length 1 and in half precision, which moves a cosine by less
    than 0.001. Raises ValueError when the numbers of embeddings, ids, concepts and files differ.
    """
    files = image_files if image_files is not None else [""] * len(record_ids)
    if len({len(embeddings), len(record_ids), len(concepts), len(files)}) != 1:
        raise ValueError(f"{len(embeddings)} embeddings, {len(record_ids)} ids, {len(concepts)} concepts, {len(files)} files")
    key, buffer = f"{folder}/{FILE}", io.BytesIO()
    np.savez_compressed(
        buffer,
        embeddings=_unit(np.asarray(embeddings)).astype(np.float16),
        record_ids=np.array(record_ids, dtype=np.str_),
        image_files=np.array(files, dtype=np.str_),
        concepts=np.array([";".join(slugs) for slugs in concepts], dtype=np.str_),
    )
    store.put_bytes(key, buffer.getvalue())
    return key


def load_examples(store: ObjectStore, folder: str) -> Examples | None:
    """What `save_examples` wrote, or None where a version has none; CriticalError when the file is damaged."""
    key = f"{folder}/{FILE}"
    if not store.exists(key):
        return None
    try:
        with np.load(io.BytesIO(store.get_bytes(key)), allow_pickle=False) as found:
            return Examples(
                found["embeddings"],
                found["record_ids"].tolist(),
                found["image_files"].tolist(),
                [tuple(text.split(";")) if text else () for text in found["concepts"].tolist()],
            )
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CriticalError(f"{store.address(key)}: not a file of training examples ({error})") from error


def nearest(examples: Examples, embeddings: npt.NDArray[np.floating], count: int = 5) -> list[list[Neighbour]]:
    """For each of m embeddings (m, width) the training pictures with the largest cosine, best first, at most `count`.

    Raises CriticalError when the widths differ.
    """
    known = examples.embeddings
    if known.shape[1] != embeddings.shape[1]:
        raise CriticalError(f"training examples have width {known.shape[1]}, the embeddings {embeddings.shape[1]}")
    queries = _unit(np.asarray(embeddings)).T
    parts = [known[at : at + _ROWS_AT_ONCE].astype(np.float32) @ queries for at in range(0, len(known), _ROWS_AT_ONCE)]
    cosines = np.concatenate(parts) if parts else np.zeros((0, len(embeddings)), np.float32)
    best = np.argsort(-cosines, axis=0, kind="stable")[:count]
    return [
        [
            Neighbour(examples.record_ids[row], examples.image_files[row], examples.concepts[row], float(cosines[row, query]))
            for row in best[:, query]
        ]
        for query in range(len(embeddings))
    ]


def _unit(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    wide = vectors.astype(np.float32)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12), dtype=np.float32)
