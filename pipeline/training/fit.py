"""Fit a network by a recipe; every training picture also gets a score from a model that never saw its group."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import structlog

from pipeline.model import networks
from pipeline.model.heads import KernelHeads, LinearHeads
from pipeline.model.runtime import keras, make_deterministic
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings
from pipeline.training.curves import Epoch
from pipeline.training.dataset import LabelledImages
from pipeline.training.heads import kernel_heads, linear_heads
from pipeline.training.recipes import Recipe
from pipeline.training.state import State
from pipeline.training.transfer import transfer

log = structlog.get_logger()

Scores = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]
Folds = Sequence[tuple[Rows, Rows]]  # (fit on, score)


@dataclass(frozen=True)
class Fitted:
    """The network, and grouped out-of-fold scores (n, concepts) of the training pictures.

    A score is NaN where the recipe has no network that did not see the picture. `folds` (n,) is which fold it stands in.
    `epochs` are there where heads or layers were trained in such. `embeddings` (n, width) are the network's of the training
    pictures, where training has come by them.
    """

    network: Any
    out_of_fold: Scores
    folds: Rows
    epochs: Sequence[Epoch] = ()
    embeddings: Floats | None = None

    def judged(self, truth: npt.NDArray[np.int8]) -> tuple[Scores, npt.NDArray[np.int8]]:
        """Out-of-fold scores, and the truth beside them: unknown (-1) where there is no score."""
        missing = np.isnan(self.out_of_fold)
        return np.where(missing, 0.0, self.out_of_fold), np.where(missing, -1, truth).astype(np.int8)


def fit(train: LabelledImages, recipe: Recipe, settings: Settings, *, resumed_in: Path | None = None) -> Fitted:
    """Train by the recipe; same seed, same data, same result.

    `resumed_in`: a folder in which training keeps how far it is, and goes on from it when it is there.
    """
    make_deterministic(recipe.seed)
    folds = list(_folds(train, recipe))
    if recipe.kind == "scratch":
        return _fit_small(train, folds, recipe, settings, resumed_in)
    if recipe.kind == "frozen":
        return _fit_heads(train, folds, recipe, settings, resumed_in)
    found = transfer(train.pixels, train.truth, folds, recipe, settings, resumed_in=resumed_in)
    if recipe.single_label:
        shares = np.exp(found.logits - found.logits.max(axis=1, keepdims=True))
        return Fitted(found.network, shares / shares.sum(axis=1, keepdims=True), _numbered(folds), found.epochs)
    return Fitted(found.network, 1 / (1 + np.exp(-found.logits)), _numbered(folds), found.epochs)


def _folds(train: LabelledImages, recipe: Recipe) -> Iterator[tuple[Rows, Rows]]:
    """(fit on, score) rows of shuffled groups; no group is on both sides."""
    from sklearn.model_selection import GroupKFold

    # One group for everything says nothing about what belongs together: then every picture stands for itself.
    names, groups = np.unique(train.groups, return_inverse=True)
    groups = groups if len(names) > 1 else np.arange(len(train.groups))
    if 1 < len(names) < recipe.folds:
        log.warning("few_groups", groups=len(names), folds=recipe.folds, problem="each fold learns from fewer pictures")
    folds = GroupKFold(n_splits=min(recipe.folds, len(np.unique(groups))), shuffle=True, random_state=recipe.seed)
    return folds.split(groups, groups=groups)  # type: ignore[no-any-return]


def _numbered(folds: Folds) -> Rows:
    """In which fold each picture is scored."""
    numbers = np.zeros(sum(len(scored) for _, scored in folds), np.intp)
    for number, (_, scored) in enumerate(folds):
        numbers[scored] = number
    return numbers


# --- a small network from scratch -------------------------------------------------------------------------------------


def _fit_small(train: LabelledImages, folds: Folds, recipe: Recipe, settings: Settings, resumed_in: Path | None) -> Fitted:
    out_of_fold, epochs = np.zeros(train.truth.shape), list[Epoch]()
    with Progress("training", "epochs", settings=settings, total=recipe.epochs * (len(folds) + 1)) as progress:
        for number, fitted_on in enumerate([*(rows for rows, _ in folds), np.arange(len(train.pixels))]):
            kept = resumed_in / f"small-{number}.npz" if resumed_in else None
            network, own = _train(train, fitted_on, recipe, number, kept, progress)
            epochs += own
            if number < len(folds):
                scored = folds[number][1]
                out_of_fold[scored] = _scores(network, train.pixels, scored, recipe.batch_size)
    return Fitted(network, out_of_fold, _numbered(folds), epochs)


def _train(
    train: LabelledImages, fitted_on: Rows, recipe: Recipe, number: int, kept: Path | None, progress: Progress
) -> tuple[Any, Sequence[Epoch]]:
    """A network and its epochs; how far it is lies in `kept`."""
    k = keras()
    k.utils.set_random_seed(recipe.seed)
    network = networks.small_network(recipe.side_px, train.truth.shape[1], width=recipe.width)
    steps = -(-len(fitted_on) // recipe.batch_size)
    total = recipe.epochs * steps
    schedule = k.optimizers.schedules.CosineDecay(
        0.0, total - total // 20, warmup_target=recipe.learning_rate, warmup_steps=total // 20
    )
    learner = k.Model(network.input, network.output["scores"])
    learner.compile(optimizer=k.optimizers.Adam(schedule), loss=_masked_loss)
    learner.optimizer.build(learner.trainable_variables)
    state = State(learner, kept)
    progress.advance(len(state.epochs))
    targets = train.truth.astype(np.float32)
    for epoch in range(len(state.epochs), recipe.epochs):
        random = np.random.default_rng([recipe.seed, epoch])
        order, losses = random.permutation(fitted_on), []
        for start in range(0, len(order), recipe.batch_size):
            rows = order[start : start + recipe.batch_size]
            losses.append(learner.train_on_batch(_augmented(train.pixels[rows], random), targets[rows]))
        state.ended(Epoch(number, epoch, float(np.mean([float(loss) for loss in losses])), None))
        progress.advance()
    return network, state.epochs


def _masked_loss(truth: Any, scores: Any) -> Any:
    """Binary cross-entropy over the known labels (truth ≥ 0)."""
    ops = keras().ops
    known = ops.cast(truth >= 0, "float32")
    scores = ops.clip(scores, 1e-6, 1 - 1e-6)
    loss = -(truth * ops.log(scores) + (1 - truth) * ops.log(1 - scores))
    return ops.sum(loss * known) / ops.maximum(ops.sum(known), 1.0)


def _augmented(pixels: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Mirrored, shifted by a few pixels, brighter or darker, tinted: what scanning and photographing change anyway."""
    count, shift = len(pixels), max(1, pixels.shape[1] // 16)
    mirrored = random.random(count) < 0.5
    moves = random.integers(-shift, shift + 1, size=(count, 2))
    changed = np.where(mirrored[:, None, None, None], pixels[:, :, ::-1], pixels)
    changed = np.stack([np.roll(picture, move, axis=(0, 1)) for picture, move in zip(changed, moves, strict=True)])
    gain = random.uniform(0.8, 1.2, size=(count, 1, 1, 1)).astype(np.float32)
    tint = random.uniform(-15, 15, size=(count, 1, 1, 3)).astype(np.float32)
    return np.asarray(np.clip(changed * gain + tint, 0, 255), dtype=np.uint8)


def _scores(network: Any, pixels: npt.NDArray[np.uint8], rows: Rows, batch_size: int) -> Scores:
    scores = np.zeros((len(rows), network.output["scores"].shape[-1]))
    for at in range(0, len(rows), batch_size):
        some = slice(at, at + batch_size)
        scores[some] = network.predict_on_batch(pixels[rows[some]])["scores"]
    return scores


# --- a frozen backbone with heads in closed form ----------------------------------------------------------------------


def _fit_heads(train: LabelledImages, folds: Folds, recipe: Recipe, settings: Settings, resumed_in: Path | None) -> Fitted:
    weights = None if recipe.weights == "none" else settings.model_weights_file or "imagenet"
    backbone = networks.frozen_backbone(recipe.backbone, recipe.side_px, weights, layers=recipe.layers, mirror=recipe.mirror)
    features, embeddings = _features(backbone, train.pixels, recipe.batch_size, settings, resumed_in)
    out_of_fold = np.zeros(train.truth.shape)
    with Progress("training", "folds", settings=settings, total=len(folds) + 1) as progress:
        for fitted_on, scored in folds:
            heads = _heads(features[fitted_on], train.truth[fitted_on], recipe)
            out_of_fold[scored] = 1 / (1 + np.exp(-heads.logits(features[scored])))
            progress.advance()
        heads = _heads(features, train.truth, recipe)
        progress.advance()
    return Fitted(networks.with_heads(backbone, heads), out_of_fold, _numbered(folds), embeddings=embeddings)


def _heads(features: Floats, truth: npt.NDArray[np.int8], recipe: Recipe) -> LinearHeads | KernelHeads:
    if not recipe.landmarks:
        return linear_heads(features, truth, recipe.regularisation)
    return kernel_heads(
        features,
        truth,
        landmarks=recipe.landmarks,
        sharpness=recipe.sharpness,
        regularisation=recipe.regularisation,
        seed=recipe.seed,
    )


def _features(
    backbone: Any, pixels: npt.NDArray[np.uint8], batch_size: int, settings: Settings, kept_in: Path | None
) -> tuple[Floats, Floats]:
    """What the heads see of the pictures, and their embeddings; with `kept_in`, a folder, from where a kill left off."""
    with (
        _kept(kept_in, "features", backbone) as features,
        _kept(kept_in, "embedding", backbone) as embeddings,
        Progress("training", "features", settings=settings, total=len(pixels)) as progress,
    ):
        done = min(features.rows, embeddings.rows) // batch_size * batch_size  # whole batches
        features.cut(done)
        embeddings.cut(done)
        progress.advance(done)
        for at in range(done, len(pixels), batch_size):
            found = _looked_at(backbone, pixels[at : at + batch_size])
            features.add(found["features"])
            embeddings.add(found["embedding"])
            progress.advance(len(found["features"]))
        return features.read(), embeddings.read()


def _looked_at(backbone: Any, pixels: npt.NDArray[np.uint8]) -> dict[str, Floats]:
    return {name: np.asarray(values, np.float32) for name, values in backbone.predict_on_batch(pixels).items()}


class _RowFile:
    """Rows (n, width) of float32 in a file that grows."""

    def __init__(self, file: IO[bytes], width: int) -> None:
        self._file, self._width = file, width

    @property
    def rows(self) -> int:
        """How many are there whole."""
        return self._file.seek(0, io.SEEK_END) // (4 * self._width)

    def cut(self, rows: int) -> None:
        """Keep the first."""
        self._file.truncate(rows * 4 * self._width)
        self._file.seek(0, io.SEEK_END)

    def add(self, values: Floats) -> None:
        """More of them."""
        self._file.write(np.ascontiguousarray(values).tobytes())
        self._file.flush()

    def read(self) -> Floats:
        """All of them."""
        self._file.seek(0)
        return np.frombuffer(self._file.read(), np.float32).reshape(-1, self._width)


@contextmanager
def _kept(folder: Path | None, name: str, backbone: Any) -> Iterator[_RowFile]:
    width = int(backbone.output[name].shape[-1])
    if folder is None:
        with tempfile.TemporaryFile(prefix="enrich-") as file:
            yield _RowFile(file, width)
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.f32"
    path.touch()
    with path.open("r+b") as file:
        yield _RowFile(file, width)
