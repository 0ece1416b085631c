"""Measures of agreement with a truth, with intervals over loci rather than over variants.

Variants of one locus are not independent: the bootstrap draws loci, each with all its variants.
Measures are scikit-learn's, rank correlation the Pearson correlation of mean ranks (Spearman's r),
so that lines may have weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

INTERVAL = (2.5, 97.5)
"""Percentiles of the bootstrap: a 95 % interval."""
FEWEST = 3
"""Below this many variants, or of either label one, there is no measure."""

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def auroc(truth: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Area under the ROC curve of ``score`` for labels 0 and 1; NaN with one label only."""
    from sklearn.metrics import roc_auc_score

    if not _has_both(truth, weight):
        return math.nan
    return float(roc_auc_score(truth, score, sample_weight=weight))


def auprc(truth: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Average precision of ``score`` for labels 0 and 1; NaN with one label only."""
    from sklearn.metrics import average_precision_score

    if not _has_both(truth, weight):
        return math.nan
    return float(average_precision_score(truth, score, sample_weight=weight))


def rank_correlation(truth: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Spearman's r; NaN where a side is constant."""
    from scipy.stats import rankdata

    if len(truth) < FEWEST or weight.sum() <= 0:
        return math.nan
    x, y = rankdata(truth), rankdata(score)
    x, y = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    scale = math.sqrt(float((weight * x * x).sum()) * float((weight * y * y).sum()))
    return float((weight * x * y).sum()) / scale if scale > 0 else math.nan


def size_correlation(truth: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Spearman's r of the size of the truth with a score of size."""
    return rank_correlation(np.abs(truth), score, weight)


def sign_agreement(truth: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Share of variants of equal sign among those whose truth has one; a score of 0 is half."""
    own = truth != 0
    if not own.any() or weight[own].sum() <= 0:
        return math.nan
    right = np.where(score == 0, 0.5, np.sign(score) == np.sign(truth))[own]
    return float(np.average(right, weights=weight[own]))


@dataclass(frozen=True)
class Metric:
    """A measure: of ``labels`` or of signed effects, by a score's ``size`` or by its sign."""

    name: str
    measure: Measure
    labels: bool
    size: bool


METRICS = (
    Metric("auroc", auroc, labels=True, size=True),
    Metric("auprc", auprc, labels=True, size=True),
    Metric("spearman", rank_correlation, labels=False, size=False),
    Metric("spearman_size", size_correlation, labels=False, size=True),
    Metric("sign_agreement", sign_agreement, labels=False, size=False),
)


@dataclass(frozen=True)
class Measured:
    """A measure, and those of the draws: float64, NaN where a draw has none."""

    value: float
    draws: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; NaN if fewer than half of the draws have a value."""
        return interval(self.draws)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the draws that have a value; NaN if fewer than half have one."""
    there = draws[~np.isnan(draws)]
    if not len(there) or len(there) * 2 < len(draws):
        return math.nan, math.nan
    low, high = np.percentile(there, INTERVAL)
    return float(low), float(high)


def resampled(locus: np.ndarray, count: int, seed: int) -> Iterator[np.ndarray]:
    """``count`` draws of as many loci as there are, with replacement.

    Each is positions of all variants of the loci drawn, int64. ``locus`` int64 or text
    ``(variants,)``. The same ``seed`` gives the same draws.
    """
    _, code = np.unique(locus, return_inverse=True)
    order = np.argsort(code, kind="stable")
    lengths = np.bincount(code)
    starts = np.cumsum(lengths) - lengths
    rng = np.random.default_rng(seed)
    for _ in range(count):
        drawn = rng.integers(len(lengths), size=len(lengths))
        size = lengths[drawn]
        first = np.repeat(starts[drawn] - (np.cumsum(size) - size), size)
        yield order[first + np.arange(size.sum())]


def measured(
    measure: Measure,
    truth: np.ndarray,
    score: np.ndarray,
    weight: np.ndarray,
    locus: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> Measured:
    """``measure`` of all variants and of each draw of loci; arrays are ``(variants,)``."""
    if not len(truth):
        return Measured(math.nan, np.full(draws, np.nan))
    found = [measure(truth[i], score[i], weight[i]) for i in resampled(locus, draws, seed)]
    return Measured(measure(truth, score, weight), np.array(found, float))


def _has_both(truth: np.ndarray, weight: np.ndarray) -> bool:
    there = truth[weight > 0]
    return bool(len(there)) and bool((there == 1).any()) and bool((there == 0).any())
