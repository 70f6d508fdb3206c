"""Logistic regression: the weights of columns that tell one kind of row from another."""

from typing import Any

_STEPS, _EXACT = 100, 1e-10


def fit_logistic(matrix: Any, accepted: Any, penalty: Any) -> Any:
    """Weights w with the least Σ (log(1 + exp(z)) - y z) + ½ Σ penalty w², z = `matrix` w.

    Ridge logistic regression (le Cessie and van Houwelingen, Applied Statistics 41, 1992) by
    Newton's method, which is iteratively reweighted least squares (Hastie, Tibshirani and Friedman,
    The Elements of Statistical Learning, 2009, 4.4.1); a step that would lead up is halved. Raises
    `ValueError` when the gradient is not 0 after a hundred steps.
    """
    import numpy as np

    def loss(weights: Any) -> float:
        logit = matrix @ weights
        fit = np.logaddexp(0, logit).sum() - accepted @ logit
        return float(fit + penalty @ weights**2 / 2)

    weights = np.zeros(matrix.shape[1])
    for _ in range(_STEPS):
        chance = np.exp(-np.logaddexp(0, -(matrix @ weights)))
        gradient = matrix.T @ (chance - accepted) + penalty * weights
        if np.abs(gradient).max() <= _EXACT * len(accepted):
            return weights
        curve = (matrix.T * (chance * (1 - chance))) @ matrix + np.diag(penalty)
        step = np.linalg.solve(curve, gradient)
        while loss(weights - step) > loss(weights) and np.abs(step).max() > _EXACT:
            step = step / 2
        weights = weights - step
    raise ValueError(f"the logistic regression does not converge in {_STEPS} steps")
