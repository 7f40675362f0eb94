"""How far a training is: what a start after a kill goes on from."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.runtime import keras
from pipeline.training.curves import Epoch


class State:
    """A network's variables after its last whole epoch, in a file (None: nowhere), and the best ones by held-out loss."""

    def __init__(self, learner: Any, path: Path | None, *, keeps_best: bool = False) -> None:
        """`keeps_best`: the variables of the epoch with the lowest held-out loss, too."""
        self._learner, self._path, self._keeps_best = learner, path, keeps_best
        self.epochs: list[Epoch] = []
        self._best: list[npt.NDArray[Any]] | None = None
        self.restored = path is not None and path.is_file()
        if self.restored and path is not None:
            self.epochs = epochs_in(path)
            with np.load(path) as file:
                self._set(self._variables, [file[f"now{number}"] for number in range(len(self._variables))])
                if "best0" in file:
                    self._best = [file[f"best{number}"] for number in range(len(learner.variables))]

    @property
    def _variables(self) -> list[Any]:
        return [*self._learner.variables, *self._learner.optimizer.variables]

    def ended(self, epoch: Epoch) -> None:
        """An epoch has come to its end: from here a killed training goes on."""
        now = self._values(self._variables)
        if self._keeps_best and _loss(epoch) < min(map(_loss, self.epochs), default=math.inf):
            self._best = now[: len(self._learner.variables)]
        self.epochs.append(epoch)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            arrays = {f"now{number}": value for number, value in enumerate(now)}
            arrays |= {f"best{number}": value for number, value in enumerate(self._best or [])}
            written = self._path.with_suffix(".part.npz")
            np.savez(written, epochs=json.dumps([asdict(one) for one in self.epochs]), **arrays)  # type: ignore[arg-type]
            os.replace(written, self._path)

    def stopped(self, patience: int) -> bool:
        """Has the held-out loss not fallen for so many epochs? 0: never mind."""
        losses = [_loss(one) for one in self.epochs]
        return bool(patience and losses) and len(losses) - 1 - losses.index(min(losses)) >= patience

    def take_best(self) -> None:
        """Back to the epoch with the lowest held-out loss."""
        if self._best is not None:
            self._set(self._learner.variables, self._best)

    @staticmethod
    def _values(variables: Sequence[Any]) -> list[npt.NDArray[Any]]:
        return [np.array(keras().ops.convert_to_numpy(variable)) for variable in variables]

    @staticmethod
    def _set(variables: Sequence[Any], values: Sequence[npt.NDArray[Any]]) -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def epochs_in(path: Path | None) -> list[Epoch]:
    """The epochs that a file tells of; none where there is no file."""
    if path is None or not path.is_file():
        return []
    with np.load(path) as file:
        return [Epoch(**one) for one in json.loads(str(file["epochs"]))]


def _loss(epoch: Epoch) -> float:
    return math.inf if epoch.held_out_loss is None else epoch.held_out_loss
