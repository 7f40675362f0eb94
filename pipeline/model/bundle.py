"""A model at rest: `model.keras` and `bundle.json`, immutable under `models/<name>/<version>/`."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.domain.label import Thresholds
from pipeline.errors import CriticalError
from pipeline.model.preprocessing import PREPROCESSING_VERSION
from pipeline.model.runtime import keras
from pipeline.storage import ObjectStore

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ConceptHead:
    """One output of the network: what it means, how its score is calibrated, where its thresholds lie."""

    slug: str
    calibration: tuple[float, float]  # calibrated = sigmoid(a · logit + b)
    thresholds: Thresholds


@dataclass(frozen=True)
class Bundle:
    """Everything about a model but its weights."""

    name: str
    version: int
    sha256: str  # of model.keras
    heads: tuple[ConceptHead, ...]
    side_px: int
    embedding_width: int
    preprocessing_version: str
    vocabulary_version: str
    recipe: str
    dataset_id: str
    metrics: Mapping[str, Any]
    implied: tuple[tuple[int, int], ...] = ()  # (head, head of a broader concept): never surer of the first than of the second

    @property
    def folder(self) -> str:
        """Its place in the object store."""
        return bundle_folder(self.name, self.version)

    @property
    def published_concepts(self) -> set[str]:
        """The concepts with a precision guarantee: the others are never published."""
        return {head.slug for head in self.heads if head.thresholds.publish is not None}

    def columns(self) -> dict[str, str]:
        """The provenance columns of every row that this model leads to."""
        return {
            "model_name": self.name,
            "model_version": str(self.version),
            "model_sha256": self.sha256,
            "preprocessing_version": self.preprocessing_version,
            "vocabulary_version": self.vocabulary_version,
        }

    def calibrated(self, raw: Floats) -> Floats:
        """Raw scores (n, concepts) → calibrated ones, both in 0–1."""
        slope = np.array([head.calibration[0] for head in self.heads], dtype=np.float64)
        shift = np.array([head.calibration[1] for head in self.heads], dtype=np.float64)
        clipped = np.clip(raw.astype(np.float64), 1e-7, 1 - 1e-7)
        scores = (1 / (1 + np.exp(-(slope * np.log(clipped / (1 - clipped)) + shift)))).astype(np.float32)
        return with_broader_scores(scores, self.implied)


def with_broader_scores(scores: npt.NDArray[Any], implied: Sequence[tuple[int, int]]) -> npt.NDArray[Any]:
    """Scores (n, concepts) in which a broader concept has at least the score of each that implies it; a copy."""
    raised = scores.copy()
    for _ in implied:  # as often as a chain can be long
        for narrow, broad in implied:
            raised[:, broad] = np.maximum(raised[:, broad], raised[:, narrow])
    return raised


def bundle_folder(name: str, version: int) -> str:
    """Where a version's files lie."""
    return f"models/{name}/{version}"


def save_network(store: ObjectStore, folder: str, network: Any) -> str:
    """Write `model.keras` and return its SHA-256."""
    with tempfile.TemporaryDirectory(prefix="enrich-") as temporary:
        path = Path(temporary) / "model.keras"
        network.save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        store.put_file(f"{folder}/model.keras", path)
    return digest


def save_bundle(store: ObjectStore, bundle: Bundle) -> str:
    """Write `bundle.json`, the last file of a version: a version without it does not exist. Returns its key."""
    key = f"{bundle.folder}/bundle.json"
    store.put_bytes(key, json.dumps(asdict(bundle), indent=1).encode())
    return key


def load_bundle(store: ObjectStore, key: str) -> Bundle:
    """Read `bundle.json`; CriticalError when it was made for other preprocessing than this code does."""
    value = json.loads(store.get_bytes(key))
    heads = tuple(
        ConceptHead(head["slug"], tuple(head["calibration"]), Thresholds(**head["thresholds"])) for head in value["heads"]
    )
    implied = tuple((narrow, broad) for narrow, broad in value.get("implied", ()))
    bundle = Bundle(**{**value, "heads": heads, "implied": implied})
    if bundle.preprocessing_version != PREPROCESSING_VERSION:
        raise CriticalError(
            f"model {bundle.name} {bundle.version} was trained with preprocessing {bundle.preprocessing_version}, "
            f"this code does {PREPROCESSING_VERSION}: train it again or use the code that it was trained with"
        )
    return bundle


def load_network(store: ObjectStore, bundle: Bundle) -> Any:
    """The Keras model; CriticalError when the file is not the one that was registered."""
    with store.local_copy(f"{bundle.folder}/model.keras") as path:
        if hashlib.sha256(path.read_bytes()).hexdigest() != bundle.sha256:
            raise CriticalError(f"{store.address(bundle.folder)}/model.keras is not the file that was registered")
        return keras().saving.load_model(path, compile=False)
