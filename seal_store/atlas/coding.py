"""Effects of one gene's SNVs as whole numbers, each within a given error of what it was.

The effects of an SNV on all contexts are written as ``step * (coefficient @ basis)``: a few
directions that the gene's effects have in common, whole numbers along these, and a step for each
SNV, in proportion to its allowed error. How many directions, and how long a step, is chosen by what
is estimated to take the least space. Whatever is chosen, every value is decoded again and compared;
an SNV with one beyond its allowed error is written without directions: ``coefficient`` is then the
effect itself, in steps, which cannot be farther away than half of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PLAIN = 1.99
"""Step without directions, in allowed errors: rounding is off by half of it, and by float32's."""

LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Steps along directions that are tried, in allowed errors: their errors add up."""

SAMPLE = 1_536
"""SNVs by which number and length are chosen."""

ROWS = 8_192
"""SNVs at once: 26 MB of effects on 802 contexts."""

LARGEST = np.iinfo(np.int16).max
APART = 1.2
"""Space of an SNV without directions among others with them, in that of one among its like."""


@dataclass(frozen=True)
class Coded:
    """Effects of ``n`` SNVs on ``c`` contexts.

    ``coefficient`` int16 ``(n, c)``, ``step`` float32 ``(n,)``, ``basis`` float32 ``(c, c)`` with
    ``rank`` rows that are not 0. ``error`` is the largest error in allowed ones.
    """

    coefficient: np.ndarray
    step: np.ndarray
    basis: np.ndarray
    rank: int
    error: float


Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def decoded(
    coefficient: np.ndarray,
    step: np.ndarray,
    basis: np.ndarray,
    rank: int,
    product: Product = np.matmul,
) -> np.ndarray:
    """Effects float32 ``(n, c)`` of a gene's SNVs; the arguments are as in :class:`Coded`."""
    plain = step <= 0
    found = np.empty(coefficient.shape, np.float32)
    found[plain] = coefficient[plain]
    if not plain.all():
        along = ~plain
        found[along] = product(coefficient[along, :rank].astype(np.float32), basis[:rank])
    found *= np.abs(step)[:, None]
    return found


def coded(effect: np.ndarray, allowed: np.ndarray) -> Coded:
    """Code effects float32 ``(n, c)``, each with an error up to its row's of ``allowed``.

    ``allowed`` float32 ``(n,)`` is positive where the row is not all 0.
    """
    count, contexts = effect.shape
    basis = np.zeros((contexts, contexts), np.float32)
    unit = np.where(allowed > 0, allowed, 1).astype(np.float32)
    directions = _directions(effect, unit)
    rank, length = _chosen(_sample(effect, unit), directions)
    basis[:rank] = directions[:rank]
    coefficient = np.zeros((count, contexts), np.int16)
    step = np.zeros(count, np.float32)
    worst = 0.0
    for start in range(0, count, ROWS):
        part = slice(start, start + ROWS)
        rows, own = effect[part], allowed[part]
        steps = -np.float32(PLAIN) * own
        fits = np.zeros(len(rows), bool)
        if rank:
            along = np.float32(length) * own
            whole = np.rint(_divided(_product(rows, basis[:rank].T), along))
            fits = np.abs(whole).max(1, initial=0) <= LARGEST
            values = _product(whole.astype(np.float32), basis[:rank]) * along[:, None]
            fits &= (np.abs(values - rows) <= own[:, None]).all(1) & (own > 0)
            coefficient[part, :rank][fits] = whole[fits]
            steps[fits] = along[fits]
        apart = ~fits
        coefficient[part][apart] = np.rint(_divided(rows[apart], np.abs(steps[apart])))
        step[part] = steps
        back = decoded(coefficient[part], steps, basis, rank, _product)
        off = np.abs(back - rows).max(1, initial=0)
        worst = max(worst, float(_divided(off[:, None], own).max(initial=0)))
    return Coded(coefficient, step, basis, rank, worst)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A matrix product by as many threads as PyTorch has: NumPy's may be others.

    Its last bits depend on their number, and the bytes of an atlas on those.
    """
    import torch  # for writing; what is read needs none

    left, right = (torch.from_numpy(np.ascontiguousarray(values)) for values in (a, b))
    return np.asarray((left @ right).numpy())


def _divided(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Rows of ``values``, each divided by its own; 0 where that is 0."""
    return np.divide(values, by[:, None], out=np.zeros_like(values), where=by[:, None] > 0)


def _directions(effect: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Orthonormal directions float32 ``(c, c)`` in rows, those with most of the effects first.

    Every SNV counts alike, whatever the size of its effects.
    """
    contexts = effect.shape[1]
    products = np.zeros((contexts, contexts))
    for start in range(0, len(effect), ROWS):
        part = slice(start, start + ROWS)
        rows = effect[part] / unit[part, None]
        products += _product(rows.T, rows)
    import torch

    vectors = torch.linalg.eigh(torch.from_numpy(products)).eigenvectors.numpy()
    return np.ascontiguousarray(vectors.T[::-1], np.float32)


def _sample(effect: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Some of the rows, evenly apart, in allowed errors."""
    rows = np.unique(np.linspace(0, len(effect) - 1, SAMPLE).round().astype(np.int64))
    rows = rows[: len(effect)]
    return effect[rows] / unit[rows, None]


def _chosen(sample: np.ndarray, directions: np.ndarray) -> tuple[int, float]:
    """Number of directions and length of a step that take the least space; (0, 0): none."""
    if not sample.any():
        return 0, 0.0
    contexts = sample.shape[1]
    plain = _bits(np.rint(sample / PLAIN))
    best, chosen = plain, (0, 0.0)
    shares = _product(sample, directions.T)
    ranks = sorted({int(2 ** (i / 2)) for i in range(2 * contexts.bit_length())})
    for rank in (r for r in ranks if r < contexts):
        kept = shares[:, :rank]
        rest = sample - _product(kept, directions[:rank])
        if (np.abs(rest).max(1) > 1).mean() > 0.5:
            continue  # most SNVs need more
        for length in LENGTHS:
            whole = np.rint(kept / length)
            off = rest + _product(kept - whole * length, directions[:rank])
            failing = float((np.abs(off).max(1) > 1).mean())
            space = (1 - failing) * _bits(whole) + failing * APART * plain
            if space < best:
                best, chosen = space, (rank, length)
    return chosen


def _bits(whole: np.ndarray) -> float:
    """Bits an SNV of whole numbers: the sum of the columns' entropies."""
    total = 0.0
    for column in whole.T:
        counts = np.unique(column, return_counts=True)[1]
        share = counts / counts.sum()
        total -= float((share * np.log2(share)).sum())
    return total
