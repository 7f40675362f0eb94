"""Transfer from a backbone: heads on its frozen features first, then its last layers together with the heads.

What never changes is computed once: the trunk's activations of every picture and of its changed copies lie in a file
while training goes on. Each fold tunes a branch of its own on the shared trunk; the model is the average of them, and
every picture's out-of-fold score comes from the branch that never saw its group.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import CriticalError
from pipeline.model import networks
from pipeline.model.runtime import keras
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings
from pipeline.training.curves import TUNING, Epoch
from pipeline.training.heads import linear_heads
from pipeline.training.losses import loss_on_logits, positive_weights
from pipeline.training.recipes import FEWEST_FOLDS, Recipe
from pipeline.training.sampling import changed, epoch_rows
from pipeline.training.state import State, epochs_in

Floats = npt.NDArray[np.float32]
Truth = npt.NDArray[np.int8]
Rows = npt.NDArray[np.intp]
_WARM_UP = 0.05  # share of the steps until the learning rate is at its height


@dataclass(frozen=True)
class Transferred:
    """The network; out-of-fold logits (n, concepts), NaN where no fold scored a picture; and the epochs."""

    network: Any
    logits: npt.NDArray[np.float64]
    epochs: Sequence[Epoch]


def transfer(
    pixels: npt.NDArray[np.uint8],
    truth: Truth,
    folds: Sequence[tuple[Rows, Rows]],
    recipe: Recipe,
    settings: Settings,
    *,
    resumed_in: Path | None = None,
) -> Transferred:
    """Train by a recipe of kind `transfer`; `folds` are (fit on, score) rows.

    With `resumed_in`, a folder, each epoch's state is kept there, and a training that was killed goes on from it.
    Raises CriticalError when there are too few groups to end early by.
    """
    k = keras()
    if recipe.patience and len(folds) < FEWEST_FOLDS:
        raise CriticalError(
            f"recipe {recipe.name!r} ends early by pictures that are neither learned from nor judged on: that needs "
            f"{FEWEST_FOLDS} folds with groups of their own, and there are {len(folds)}"
        )
    if recipe.mixed_precision:
        k.mixed_precision.set_global_policy("mixed_float16")
    try:
        weights = None if recipe.weights == "none" else settings.model_weights_file or "imagenet"
        trunk, tail = networks.cut(networks.pretrained(recipe.backbone, recipe.side_px, weights), recipe.tune_from or 0)
        if recipe.tune_from == "" and recipe.pooling == "average":  # a fiftieth of what would have to be kept and read
            trunk, tail = networks.pooled(trunk)
        chosen = folds[: recipe.networks or len(folds)]
        with _activations(trunk, pixels, recipe, settings) as views:
            fits = _Fits(views, truth, recipe, weights, resumed_in, tail)
            total = len(chosen) * (_head_epochs(recipe) + (recipe.epochs if recipe.tune_from != "" else 0))
            logits = np.full(truth.shape, np.nan)
            branches = []
            with Progress("training", "epochs", settings=settings, total=total) as progress:
                for number, (fitted_on, scored) in enumerate(chosen):
                    watched = scored
                    if recipe.patience:  # pictures that choose the epoch can neither be learned from nor judge it
                        watched = folds[(number + 1) % len(folds)][1]
                        fitted_on = np.setdiff1d(fitted_on, watched)
                    branch = fits.branch(number, fitted_on, watched, progress)
                    logits[scored] = fits.logits(branch, scored)
                    branches.append(branch)
        network = networks.joined(
            recipe.backbone, recipe.side_px, trunk, branches, mirror=recipe.mirror, single=recipe.single_label
        )
        return Transferred(network, logits, fits.epochs)
    finally:
        if recipe.mixed_precision:
            k.mixed_precision.set_global_policy("float32")


def _head_is_exact(recipe: Recipe) -> bool:
    """A linear head is a logistic regression, which has an exact solution."""
    return recipe.dense == 0 and not recipe.single_label


def _head_epochs(recipe: Recipe) -> int:
    return 1 if _head_is_exact(recipe) else recipe.head_epochs


@dataclass(frozen=True)
class _Views:
    """The trunk's activations: as the model will see the pictures (`plain`: one or two views), and of changed copies."""

    plain: Sequence[Floats]
    copies: Sequence[Floats]

    def batch(self, rows: Rows, of: Rows) -> Floats:
        """Activations of rows, each of its own view."""
        every = [*self.plain, *self.copies]
        return np.stack([every[view][row] for row, view in zip(rows, of, strict=True)]).astype(np.float32)

    def __len__(self) -> int:
        return len(self.plain) + len(self.copies)


@contextmanager
def _activations(trunk: Any, pixels: npt.NDArray[np.uint8], recipe: Recipe, settings: Settings) -> Iterator[_Views]:
    """All views' activations (float16), in a file that goes with the context: they may be larger than the memory."""
    k = keras()
    inputs = k.Input(pixels.shape[1:], dtype="uint8")
    looking = k.Model(inputs, trunk(networks.prepared(recipe.backbone, inputs), training=False))
    plain = 2 if recipe.mirror else 1
    count = plain + recipe.variants
    shape = (count, len(pixels), *looking.output.shape[1:])
    with tempfile.TemporaryFile(prefix="enrich-") as file:
        views = np.memmap(file, np.float16, "w+", shape=shape)
        with Progress("training", "features", settings=settings, total=count * len(pixels)) as progress:
            for number in range(count):
                random = np.random.default_rng([recipe.seed, number])
                for at in range(0, len(pixels), recipe.batch_size):
                    batch = pixels[at : at + recipe.batch_size]
                    if number >= plain:
                        batch = changed(batch, random, strength=recipe.strength)
                    elif number == 1:
                        batch = batch[:, :, ::-1]
                    found = np.asarray(looking.predict_on_batch(batch))
                    views[number, at : at + len(batch)] = np.clip(found, -65_000, 65_000)
                    progress.advance(len(batch))
        yield _Views(list(views[:plain]), list(views[plain:]))


@dataclass(frozen=True)
class _Branch:
    """What a fold tunes: `body` activations in, [pooled, embedding] out; `head` pooled in, logits out; `whole` both."""

    body: Any
    head: Any
    whole: Any


class _Fits:
    """Fits branches, one a fold."""

    def __init__(
        self,
        views: _Views,
        truth: Truth,
        recipe: Recipe,
        weights: str | Path | None,
        resumed_in: Path | None,
        tail: Any,
    ) -> None:
        self._views, self._truth, self._recipe, self._weights = views, truth, recipe, weights
        self._resumed_in, self._tail = resumed_in, tail
        self.epochs: list[Epoch] = []

    def branch(self, number: int, fitted_on: Rows, watched: Rows, progress: Progress) -> Any:
        """A branch fitted on some rows: activations in, [logits, embedding] out. Its loss is told of the rows `watched`."""
        recipe = self._recipe
        keras().utils.set_random_seed(recipe.seed + number)
        if recipe.tune_from == "":  # the tail has no weights: a backbone of its own would be built for nothing
            branch = self._built(keras().models.clone_model(self._tail), number)
            self.epochs += self._fit_head(branch, number, fitted_on, watched, progress)
        else:
            base = networks.pretrained(recipe.backbone, recipe.side_px, self._weights)
            branch = self._built(networks.cut(base, recipe.tune_from)[1], number)
            self._tune(branch, number, fitted_on, watched, progress)
        return branch.whole

    def logits(self, whole: Any, rows: Rows) -> npt.NDArray[np.float64]:
        """Of rows, averaged over the plain views, as the joined network does."""
        found = [self._run(whole, view, rows)[0] for view in self._views.plain]
        return np.asarray(np.mean(found, axis=0, dtype=np.float64))

    def _run(self, network: Any, view: Floats, rows: Rows) -> tuple[Floats, Floats]:
        """Both outputs of a network for rows of a view."""
        size = self._recipe.batch_size
        parts = [
            network.predict_on_batch(np.asarray(view[rows[at : at + size]], np.float32)) for at in range(0, len(rows), size)
        ]
        first, second = (np.concatenate([np.asarray(part[place], np.float32) for part in parts]) for place in (0, 1))
        return first, second

    def _built(self, tail: Any, number: int) -> _Branch:
        k, recipe = keras(), self._recipe
        layers = k.layers
        inputs = k.Input(tail.input.shape[1:], name="activations")
        # Batch statistics of a few hundred pictures are worse than those that the backbone came with.
        last = tail(inputs, training=False)
        average = layers.GlobalAveragePooling2D()(last) if len(last.shape) == networks.WITH_PLACES else last
        pooled = {
            "average": lambda: average,
            "maximum": lambda: layers.GlobalMaxPooling2D()(last),
            "flatten": lambda: layers.Flatten()(last),
        }[recipe.pooling]()
        given = k.Input(pooled.shape[1:])
        hidden = layers.Dense(recipe.dense, activation="relu")(given) if recipe.dense else given
        dropped = layers.Dropout(recipe.dropout, seed=recipe.seed)(hidden) if recipe.dropout else hidden
        head = k.Model(given, layers.Dense(self._truth.shape[1], dtype="float32", name="logits")(dropped))
        return _Branch(
            k.Model(inputs, [pooled, average]), head, k.Model(inputs, [head(pooled), average], name=f"branch_{number}")
        )

    # --- phase 1: the head, on features that are computed once ---

    def _fit_head(self, branch: _Branch, number: int, rows: Rows, watched: Rows, progress: Progress) -> Sequence[Epoch]:
        """The head's epochs: none where it has an exact solution."""
        recipe = self._recipe
        if _head_is_exact(recipe):
            features = np.mean([self._run(branch.body, view, rows)[0] for view in self._views.plain], axis=0)
            heads = linear_heads(features, self._truth[rows], recipe.regularisation)
            branch.head.get_layer("logits").set_weights([heads.kernel, heads.bias])
            progress.advance()
            return ()
        features = np.stack([self._run(branch.body, view, rows)[0] for view in (*self._views.plain, *self._views.copies)])
        seen = [self._run(branch.body, view, watched)[0] for view in self._views.plain]
        learner = keras().Model(branch.head.input, branch.head.output)  # a compiled head would be saved with its loss
        loss = self._loss(rows)
        learner.compile(optimizer=self._optimizer(recipe.head_learning_rate), loss=loss)
        learner.optimizer.build(learner.trainable_variables)
        state = State(learner, self._kept(f"head-{number}"))
        progress.advance(len(state.epochs))
        truth = self._truth[rows].astype(np.float32)
        for epoch in range(len(state.epochs), recipe.head_epochs):
            losses = [
                learner.train_on_batch(features[of, places], truth[places]) for places, of in self._batches(rows, 1, epoch)
            ]
            logits = np.mean([np.asarray(branch.head.predict_on_batch(view)) for view in seen], axis=0)
            state.ended(Epoch(number, epoch, _late(losses), self._held_out(loss, watched, logits)))
            progress.advance()
        return state.epochs

    def _kept(self, name: str) -> Path | None:
        return self._resumed_in / f"{name}.npz" if self._resumed_in else None

    def _held_out(self, loss: Any, rows: Rows, logits: npt.NDArray[Any]) -> float:
        ops = keras().ops
        truth = ops.array(self._truth[rows].astype(np.float32))
        return float(ops.convert_to_numpy(loss(truth, ops.array(logits, "float32"))))

    # --- phase 2: the tail together with the head ---

    def _tune(self, branch: _Branch, number: int, fitted_on: Rows, watched: Rows, progress: Progress) -> None:
        recipe = self._recipe
        learner = keras().Model(branch.whole.input, branch.whole.output[0])
        steps = recipe.epochs * -(-len(fitted_on) // recipe.batch_size)
        loss = self._loss(fitted_on)
        learner.compile(optimizer=self._optimizer(recipe.learning_rate, steps=steps), loss=loss)
        learner.optimizer.build(learner.trainable_variables)
        state = State(learner, self._kept(f"fold-{number}"), keeps_best=bool(recipe.patience))
        if state.restored:
            progress.advance(_head_epochs(recipe) + len(state.epochs))
            self.epochs += epochs_in(self._kept(f"head-{number}"))
        else:
            self.epochs += self._fit_head(branch, number, fitted_on, watched, progress)
        first = 0 if _head_is_exact(recipe) else recipe.head_epochs
        truth = self._truth.astype(np.float32)
        for epoch in range(len(state.epochs), recipe.epochs):
            if state.stopped(recipe.patience):
                progress.advance(recipe.epochs - epoch)
                break
            losses = [
                learner.train_on_batch(self._views.batch(fitted_on[places], of), truth[fitted_on[places]])
                for places, of in self._batches(fitted_on, 2, epoch)
            ]
            held_out = self._held_out(loss, watched, self.logits(branch.whole, watched))
            state.ended(Epoch(number, first + epoch, _late(losses), held_out, TUNING))
            progress.advance()
        if recipe.patience:
            state.take_best()
        self.epochs += state.epochs

    def _batches(self, rows: Rows, phase: int, epoch: int) -> Iterator[tuple[Rows, Rows]]:
        """(places in rows, view of each) of an epoch's batches; the same whenever the epoch is done again."""
        recipe = self._recipe
        random = np.random.default_rng([recipe.seed, phase, epoch])
        order = epoch_rows(self._truth[rows], random, most=recipe.most_per_concept, fewest=recipe.fewest_per_concept)
        views = random.integers(0, len(self._views), len(order))
        for at in range(0, len(order), recipe.batch_size):
            yield order[at : at + recipe.batch_size], views[at : at + recipe.batch_size]

    def _loss(self, rows: Rows) -> Any:
        recipe = self._recipe
        weights = positive_weights(self._truth[rows]) if recipe.class_weights else None
        return loss_on_logits(recipe.loss, smoothing=recipe.smoothing, positive_weights=weights, single=recipe.single_label)

    def _optimizer(self, height: float, *, steps: int = 0) -> Any:
        optimizers, recipe = keras().optimizers, self._recipe
        rate: Any = height
        if steps:
            warm = max(1, round(_WARM_UP * steps))
            rate = optimizers.schedules.CosineDecay(
                height * _WARM_UP, max(1, steps - warm), warmup_target=height, warmup_steps=warm, alpha=0.02
            )
        if recipe.optimizer == "rmsprop":
            return optimizers.RMSprop(rate)
        if recipe.optimizer == "sgd":
            return optimizers.SGD(rate, momentum=0.9)
        return optimizers.AdamW(rate, weight_decay=recipe.weight_decay, global_clipnorm=1.0)


def _late(losses: Sequence[Any]) -> float:
    """The mean of an epoch's second half: at its beginning the network was another one."""
    return float(np.mean([float(loss) for loss in losses[len(losses) // 2 :]]))
