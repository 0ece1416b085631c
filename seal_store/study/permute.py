"""Permutation tests of case against control, in blocks, exact where there are few ways.

Labels are permuted over variants; with families, within each family, so that every family keeps
its numbers of case and control variants: with one of each, that is turning its sign.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

ENTRIES = 1 << 23
"""Entries of a block of permuted labels, float64: 64 MiB."""
EQUAL = 1e-9
"""Differences that are closer than this, in parts of the largest value, count as equal."""


@dataclass(frozen=True)
class Tested:
    """Differences of means and their two-sided p-values, float64 ``(values,)``.

    ``count`` is the number of permutations, all there are if ``exact``.
    """

    difference: np.ndarray
    p: np.ndarray
    count: int
    exact: bool


def ways(case: np.ndarray, family: np.ndarray, most: int) -> int:
    """In how many ways the labels ``case``, bool ``(variants,)``, can be dealt within families.

    Where there are more than ``most``, the number is not whole: it stops beyond.
    """
    code = np.unique(family, return_inverse=True)[1]
    sizes, cases = np.bincount(code).tolist(), np.bincount(code, case).astype(int).tolist()
    found = 1
    for size, own in zip(sizes, cases, strict=True):
        few = min(own, size - own)
        if few and size > most:
            return most + 1
        found *= math.comb(size, few) if few < 64 or size < 1_000 else most + 1
        if found > most:
            break
    return found


def difference_of_means(
    values: np.ndarray, case: np.ndarray, family: np.ndarray, permutations: int, seed: int
) -> Tested:
    """Test mean of case minus mean of control for each column of ``values`` (variants, values).

    ``case`` is bool and ``family`` int64, both ``(variants,)``. The difference is the mean over
    families of their own differences, weighted by ``cases * controls / (cases + controls)`` of
    each, which is that of a linear model with families: one of one label only decides nothing, of
    pairs it is the mean of theirs. If there are no more ways to deal the labels than
    ``permutations``, all are tried and p is the share of those with a difference at least as large
    in size, the real one among them. Else so many are drawn, and p is (b + 1) / (n + 1). Memory is
    bounded by :data:`ENTRIES`. Some family must have both labels.
    """
    code = np.unique(family, return_inverse=True)[1]
    sizes, cases = np.bincount(code), np.bincount(code, case)
    # deviations from the family's mean: the sum over its cases is its weight times its difference
    centred = values.astype(np.float64)
    sums = np.add.reduceat(centred[np.argsort(code, kind="stable")], np.cumsum(sizes) - sizes)
    centred -= (sums / sizes[:, None])[code]
    centred /= (cases * (sizes - cases) / sizes).sum()
    real = case.astype(np.float64) @ centred
    least = np.abs(real) - EQUAL * np.abs(centred).max(0, initial=0)
    exact = ways(case, family, permutations) <= permutations
    size = max(1, ENTRIES // len(case))
    blocks = _every(case, family, size) if exact else _drawn(case, family, permutations, size, seed)
    larger, count = np.zeros(values.shape[1], np.int64), 0
    for labels in blocks:
        larger += (np.abs(labels @ centred) >= least).sum(0)
        count += len(labels)
    p = larger / count if exact else (larger + 1) / (count + 1)
    return Tested(real, p, count, exact)


def _drawn(
    case: np.ndarray, family: np.ndarray, count: int, size: int, seed: int
) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    if len(np.unique(family)) == 1:
        for start in range(0, count, size):
            own = min(size, count - start)
            yield rng.permuted(np.tile(case.astype(np.float64), (own, 1)), axis=1)
        return
    code = np.unique(family, return_inverse=True)[1]
    own_order = np.argsort(code, kind="stable")
    dealt = case[own_order].astype(np.float64)
    for start in range(0, count, size):
        own = min(size, count - start)
        order = np.argsort(code + rng.random((own, len(code))), axis=1)
        labels = np.empty(order.shape)
        np.put_along_axis(labels, order, np.broadcast_to(dealt, order.shape), axis=1)
        yield labels


def _every(case: np.ndarray, family: np.ndarray, size: int) -> Iterator[np.ndarray]:
    members = [np.flatnonzero(family == code) for code in np.unique(family)]
    chosen = [list(combinations(own.tolist(), int(case[own].sum()))) for own in members]
    block: list[np.ndarray] = []
    for dealt in product(*chosen):
        labels = np.zeros(len(case))
        labels[[i for own in dealt for i in own]] = 1
        block.append(labels)
        if len(block) == size:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """False discovery rates of p-values, float64 like ``p``, by Benjamini and Hochberg."""
    order = np.argsort(-p, kind="stable")
    rank = np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.minimum.accumulate(p[order] * len(p) / rank)
    return np.minimum(found, 1)
