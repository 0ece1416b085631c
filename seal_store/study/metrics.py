"""Measures of agreement with a truth, with intervals over loci rather than over variants.

Variants of one locus are not independent: the bootstrap draws loci, each with all its variants. A
variant of weight w counts as w variants, so a draw is nothing but weights, and a measure takes many
draws at once: ``truth`` and ``score`` are float64 ``(variants,)``, ``weights`` float64 ``(draws,
variants)``, and what it gives is float64 ``(draws,)``, NaN where there is no measure. The values
that are shown as areas are scikit-learn's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

INTERVAL = (2.5, 97.5)
"""Percentiles of the bootstrap: a 95 % interval."""
FEWEST = 3
"""Below this many variants there is no measure."""
ENTRIES = 1 << 20
"""Weights that are held at a time, about."""

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def auroc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for labels 0 and 1; NaN with one label only."""
    ones, zeros = _by_score(truth, score, weights)
    below = np.cumsum(zeros, 1) - zeros / 2
    return _divided((ones * below).sum(1), ones.sum(1) * zeros.sum(1))


def auprc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision for labels 0 and 1; NaN with one label only."""
    ones, zeros = _by_score(truth, -score, weights)
    precision = _divided(np.cumsum(ones, 1), np.cumsum(ones + zeros, 1))
    found = _divided((ones * np.nan_to_num(precision)).sum(1), ones.sum(1))
    return np.where(zeros.sum(1) > 0, found, np.nan)


def rank_correlation(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's r, with mean ranks for ties; NaN where a side is constant."""
    x, y = (_centred(_ranks(side, weights), weights) for side in (truth, score))
    product = (weights * x * y).sum(1)
    one, other = ((weights * side * side).sum(1) for side in (x, y))
    least = 1e-12 * weights.sum(1) ** 3  # a constant side has rounding only
    varies = (one > least) & (other > least)
    return np.where(varies, _divided(product, np.sqrt(one * other)), np.nan)


def size_correlation(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's r of the size of the truth with a score of size."""
    return rank_correlation(np.abs(truth), score, weights)


def sign_agreement(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of variants of equal sign among those whose truth has one; a score of 0 is half."""
    own = truth != 0
    right = np.where(score == 0, 0.5, np.sign(score) == np.sign(truth)) * own
    return _divided(weights @ right, weights @ own.astype(np.float64))


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


def drawn(locus: np.ndarray, count: int, seed: int) -> Iterator[np.ndarray]:
    """How often each variant is in each of ``count`` draws: blocks of int64 ``(draws, variants)``.

    A draw is of as many loci as there are, with replacement, each with all its variants.
    ``locus`` is ``(variants,)``. The same ``seed`` gives the same draws.
    """
    _, code = np.unique(locus, return_inverse=True)
    loci = int(code.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    size = max(1, ENTRIES // max(1, len(code)))
    for start in range(0, count, size):
        own = min(size, count - start)
        times = [np.bincount(rng.integers(loci, size=loci), minlength=loci) for _ in range(own)]
        yield np.stack(times)[:, code]


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
    """``measure`` of all variants and of each draw of loci; arrays are ``(variants,)``.

    Draws of one locus are all the same, and have no value.
    """
    if not len(truth):
        return Measured(math.nan, np.full(draws, np.nan))
    if (locus == locus[0]).all():
        return Measured(value(measure, truth, score, weight), np.full(draws, np.nan))
    parts = [measure(truth, score, times * weight) for times in drawn(locus, draws, seed)]
    return Measured(value(measure, truth, score, weight), np.concatenate(parts))


def value(measure: Measure, truth: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """``measure`` of all variants; the areas by scikit-learn."""
    found = float(measure(truth, score, weight[None].astype(np.float64))[0])
    if math.isnan(found) or measure not in (auroc, auprc):
        return found
    from sklearn.metrics import average_precision_score, roc_auc_score

    theirs = roc_auc_score if measure is auroc else average_precision_score
    return float(theirs(truth, score, sample_weight=weight))


def _by_score(
    truth: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight of labels 1 and of labels 0 at each score, ascending: ``(draws, scores)`` each."""
    order, starts = _order(score)
    own, is_one = weights[:, order].astype(np.float64), truth[order] == 1
    ones, both = (np.add.reduceat(part, starts, axis=1) for part in (own * is_one, own))
    return ones, both - ones


def _order(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in ascending order, and where in it each value begins."""
    order = np.argsort(values, kind="stable")
    own = values[order]
    return order, np.flatnonzero(np.concatenate([[True], own[1:] != own[:-1]]))


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean ranks, counting each value by its weight: ``(draws, variants)``."""
    order, starts = _order(values)
    groups = np.add.reduceat(weights[:, order].astype(np.float64), starts, axis=1)
    middle = np.cumsum(groups, 1) - groups / 2
    found = np.empty(weights.shape)
    found[:, order] = np.repeat(middle, np.diff([*starts, len(order)]), axis=1)
    return found


def _centred(ranks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean = _divided((ranks * weights).sum(1), weights.sum(1))
    found: np.ndarray = ranks - mean[:, None]
    return found


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A quotient; NaN where the divisor is 0."""
    found: np.ndarray = np.divide(
        above, below, out=np.full(np.shape(above), np.nan), where=below > 0
    )
    return found
