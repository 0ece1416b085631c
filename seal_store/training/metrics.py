"""How well predictions agree with measurements: per context over genes, per gene over contexts.

Arrays are ``(genes, contexts)``. Rank correlations are Spearman's r with mean ranks for ties; where
one side is constant there is none, and the value is NaN.
"""

from __future__ import annotations

import numpy as np

FEWEST_CONTEXTS = 3
"""Below this a rank correlation over contexts says nothing."""


def mse(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Mean squared error over genes, unweighted: float64 ``(contexts,)``."""
    error: np.ndarray = np.square(predicted.astype(np.float64) - measured).mean(0)
    return error


def spearman(a: np.ndarray, b: np.ndarray, axis: int = 0) -> np.ndarray:
    """Spearman's r along ``axis`` for each slice: float64, NaN where a side is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(side, axis=axis) for side in (a, b)]
    x, y = (rank - rank.mean(axis, keepdims=True) for rank in ranks)
    scale = np.sqrt((x * x).sum(axis) * (y * y).sum(axis))
    r: np.ndarray = np.where(scale > 0, (x * y).sum(axis) / np.where(scale > 0, scale, 1), np.nan)
    return r


def across_contexts(
    predicted: np.ndarray, measured: np.ndarray, *, centred: bool = False
) -> np.ndarray:
    """Per gene, Spearman's r over contexts of predicted and measured: float64 ``(genes,)``.

    ``centred``: each context's mean over these genes is subtracted first, on either side. What
    is left is how a gene differs from the other genes of the same context, so a context in which
    everything is high no longer makes every gene agree. NaN with fewer than three contexts.
    """
    if predicted.shape[1] < FEWEST_CONTEXTS:
        return np.full(len(predicted), np.nan)
    if centred:
        predicted, measured = (m - m.mean(0, dtype=np.float64) for m in (predicted, measured))
    return spearman(predicted, measured, axis=1)


def median(values: np.ndarray) -> float:
    """Median of the values that are there; NaN if there are none."""
    there = values[~np.isnan(values)]
    return float(np.median(there)) if len(there) else float("nan")


def or_none(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return None if np.isnan(value) else value
