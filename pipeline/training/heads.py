"""Heads in closed form: one logistic regression a concept, or one regression on the nearness to landmarks."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipeline.model.heads import KernelHeads, LinearHeads, nearness

Floats = npt.NDArray[np.float32]
Truth = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]
_STEADY = 1e-6  # a feature that deviates less says nothing
_STEEP = 8.0  # logits from estimates of a probability: a straight line through 0 at one half


def linear_heads(features: Floats, truth: Truth, regularisation: float) -> LinearHeads:
    """One logistic regression per concept on standardised features (n, width), known rows only; its C is `regularisation`.

    The standardisation is folded into the kernel and the bias.
    """
    from sklearn.linear_model import LogisticRegression

    mean, deviation = _spread(features)
    standard = (features - mean) / deviation
    kernel = np.zeros((features.shape[1], truth.shape[1]))
    bias = _sure(truth)
    for concept, known, true in _to_learn(truth):
        fitted = LogisticRegression(C=regularisation, max_iter=500).fit(standard[known], true)
        kernel[:, concept] = fitted.coef_[0] / deviation
        bias[concept] = fitted.intercept_[0] - float(fitted.coef_[0] @ (mean / deviation))
    return LinearHeads(kernel.astype(np.float32), bias.astype(np.float32))


def kernel_heads(
    features: Floats, truth: Truth, *, landmarks: int, sharpness: float, regularisation: float, seed: int
) -> KernelHeads:
    """Kernel ridge regression per concept, known rows only, with a Gaussian kernel on standardised features (n, width).

    `sharpness` is told for a squared distance of the rows' mean squared length. Of more rows than `landmarks`, so many
    are drawn and the kernel is approximated from them (Williams and Seeger 2000, "Using the Nyström Method to Speed Up
    Kernel Machines"); of fewer it is exact. `regularisation` is the ridge.
    """
    mean, deviation = _spread(features)
    standard = (features - mean) / deviation
    sharp = sharpness / max(float((standard**2).sum(axis=1).mean()), _STEADY)
    rows = np.sort(np.random.default_rng(seed).permutation(len(standard))[:landmarks])
    chosen = standard[rows]
    # Coordinates in which the kernel is a plain product.
    values, vectors = np.linalg.eigh(nearness(chosen, chosen, sharp).astype(np.float64))
    kept = values > 1e-6 * values[-1]
    whitening = vectors[:, kept] / np.sqrt(values[kept])
    coordinates = nearness(standard, chosen, sharp) @ whitening
    kernel, bias = np.zeros((len(rows), truth.shape[1])), _sure(truth)
    together: dict[bytes, list[int]] = {}  # concepts that are known of the same rows are solved at once
    for concept, known, _ in _to_learn(truth):
        together.setdefault(known.tobytes(), []).append(concept)
    for concepts in together.values():
        known = truth[:, concepts[0]] >= 0
        own, true = coordinates[known], truth[known][:, concepts] == 1
        shares = true.mean(axis=0)
        solved = np.linalg.solve(own.T @ own + regularisation * np.eye(own.shape[1]), own.T @ (true - shares))
        kernel[:, concepts], bias[concepts] = _STEEP * (whitening @ solved), _STEEP * (shares - 0.5)
    return KernelHeads(mean, deviation, chosen, sharp, kernel.astype(np.float32), bias.astype(np.float32))


def _to_learn(truth: Truth) -> Iterator[tuple[int, Flags, Flags]]:
    """Of each concept with known rows of both kinds: its column, which rows are known, and which of those are true."""
    for concept in range(truth.shape[1]):
        known = truth[:, concept] >= 0
        true = truth[known, concept] == 1
        if true.any() and not true.all():
            yield concept, known, true


def _sure(truth: Truth) -> npt.NDArray[np.float64]:
    """Logits of concepts of which there is nothing to learn: true of everything that was looked at, or of nothing."""
    return np.where(((truth == 1).any(axis=0)) & ~((truth == 0).any(axis=0)), 10.0, -10.0)


def _spread(features: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each feature; 1 for one that never changed, so that nobody is far away because of it."""
    deviation = features.std(axis=0)
    return features.mean(axis=0), np.where(deviation > _STEADY, deviation, np.float32(1))
