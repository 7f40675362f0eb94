"""Linear heads in closed form: one logistic regression a concept."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def linear_heads(features: Floats, truth: npt.NDArray[np.int8], regularisation: float) -> tuple[Floats, Floats]:
    """One logistic regression per concept on standardised features, known rows only.

    The standardisation is folded into the returned kernel (width, concepts) and bias (concepts,).
    """
    from sklearn.linear_model import LogisticRegression

    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    standard = (features - mean) / deviation
    kernel = np.zeros((features.shape[1], truth.shape[1]))
    bias = np.zeros(truth.shape[1])
    for concept in range(truth.shape[1]):
        known = truth[:, concept] >= 0
        true = truth[known, concept] == 1
        if true.all() or not true.any():
            bias[concept] = 10.0 if len(true) and true.all() else -10.0
            continue
        fitted = LogisticRegression(C=regularisation, max_iter=500).fit(standard[known], true)
        kernel[:, concept] = fitted.coef_[0] / deviation
        bias[concept] = fitted.intercept_[0] - float(fitted.coef_[0] @ (mean / deviation))
    return kernel.astype(np.float32), bias.astype(np.float32)
