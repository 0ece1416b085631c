"""The window grid around a TSS, decay weights and sums. NumPy only; used by build and score.

Window ``i`` of a gene is centred on ``TSS + strand * (first_offset + step * i)``: index 0 is the
most upstream window on either strand, while the sequence itself is always read on the genome's
+ strand. Window starts and ends are 0-based and half-open, a TSS is 1-based.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Decay rates per 200 bp."""

RATE_UNIT = 200.0

MAX_DISTANCE = 20_000
"""Largest distance of a variant to a TSS, bp: what the published grid covers."""


@dataclass(frozen=True)
class Run:
    """Consecutive windows of a gene in genome order: ``count`` windows from ``start`` on.

    ``index`` holds their window indices (0 = most upstream), int64 ``(count,)``.
    """

    start: int
    count: int
    index: np.ndarray


@dataclass(frozen=True)
class Grid:
    """Positions of a gene's windows.

    ``first_offset`` is the offset of window 0 from the TSS in bp: -19900 for Seal's predictions,
    -20000 in ExPecto's training features.
    """

    first_offset: int = -19_900
    step: int = 200
    bins: int = 200
    window: int = 2_000
    rates: tuple[float, ...] = RATES

    @property
    def offsets(self) -> np.ndarray:
        """Offset of each window's centre from the TSS, downstream positive; int64 ``(bins,)``."""
        return self.first_offset + self.step * np.arange(self.bins, dtype=np.int64)

    @property
    def decay_weights(self) -> np.ndarray:
        """Weights of the decay sums, float64 ``(2 * rates, bins)``."""
        return decay_weights(self.offsets, self.rates)

    def starts(self, tss: int, strand: int) -> np.ndarray:
        """0-based start of each window, by window index; int64 ``(bins,)``.

        A window centred on 1-based position c is ``[c - 1000, c + 1000)`` (0-based).
        """
        return tss + strand * self.offsets - self.window // 2

    def first_start(self, tss: int, strand: int) -> int:
        """0-based start of the window that comes first in genome order."""
        first = (
            self.first_offset if strand > 0 else -self.first_offset - self.step * (self.bins - 1)
        )
        return tss + first - self.window // 2

    def index_of(self, order: np.ndarray, strand: int) -> np.ndarray:
        """Window indices of positions in genome order (its own inverse)."""
        return order if strand > 0 else self.bins - 1 - order

    def run_length(self, count: int) -> int:
        """Bases covered by ``count`` consecutive windows."""
        return self.step * (count - 1) + self.window

    def touched(self, tss: int, strand: int, start: int, end: int) -> Run | None:
        """Windows that overlap the 0-based stretch ``[start, end)``; None if there are none."""
        first = self.first_start(tss, strand)
        low = max(0, (start - self.window - first) // self.step + 1)
        high = min(self.bins - 1, -((first - end) // self.step) - 1)
        if low > high:
            return None
        order = np.arange(low, high + 1, dtype=np.int64)
        return Run(first + self.step * low, high - low + 1, self.index_of(order, strand))

    def nearest_bin(self, offset: np.ndarray) -> np.ndarray:
        """Index of the window whose centre is nearest to each offset from the TSS.

        Halfway between two centres the upstream one counts; beyond the grid the outermost one.
        With the default ``first_offset`` this is Seal's ``ceil(offset / 200) + 99``.
        """
        steps = -((self.first_offset + self.step // 2 - np.asarray(offset)) // self.step)
        return np.clip(steps, 0, self.bins - 1)


def decay_weights(offsets: np.ndarray, rates: tuple[float, ...] = RATES) -> np.ndarray:
    """Exponential decay weights at ``offsets`` (bp from the TSS); float64 ``(2 * rates, n)``.

    The first rows, one per rate k, are ``exp(-k |offset| / 200)`` where ``offset <= 0`` and 0
    elsewhere (upstream); the last rows the same where ``offset >= 0``. Offset 0 counts in both.
    """
    offsets = np.asarray(offsets, np.float64)
    decay = np.exp(-np.outer(rates, np.abs(offsets)) / RATE_UNIT)
    return np.concatenate([decay * (offsets <= 0), decay * (offsets >= 0)])


def aggregate(weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Decay sums ``weights (decay, windows) @ features (..., windows, feature)``.

    Summed in float64, returned as float32 ``(..., decay, feature)``.
    """
    return np.matmul(weights.astype(np.float64), features).astype(np.float32)
