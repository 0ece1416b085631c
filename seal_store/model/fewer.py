"""A convolution with fewer multiplications, for long rows of positions.

Of a convolution with an even number of taps, ``y[k] = sum over t of x[k + t] @ w[t]``, let ``a``
and ``b`` be the even and the odd taps, each a convolution of half the taps over every second
position. With ``X`` the even and ``Z`` the odd positions, and ``X'`` the even ones from the second
on::

    even k:  X * a + Z * b  = Z * (a + b) + (X - Z) * a
    odd k:   Z * a + X' * b = Z * (a + b) + (X' - Z) * b

Three convolutions do the work of four (Karatsuba's trick). Applied to each of them again, three
times for eight taps, 27 matrix products do the work of 64, and what remains are sums. In exact
arithmetic it is the same number. So it nearly is in float32: no number is multiplied but by a
weight or a sum of weights, and the error is of the size that a plain convolution has.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS_AT_ONCE = 4096
"""Positions whose sums stay in a processor's cache."""

Parts = Tensor | tuple["Parts", "Parts", "Parts"]
"""One tap ``(in, out)``; or the parts of the even taps, of the sums, and of the odd taps."""


class FewerProducts:
    """The convolution with ``taps`` ``(2 ** n, in, out)`` and ``bias`` ``(out,)``."""

    def __init__(self, taps: Tensor, bias: Tensor) -> None:
        self.parts, self.bias, self.taps = _split(taps), bias, len(taps)

    def __call__(self, x: Tensor) -> Tensor:
        """``(L, in)`` to ``(L - taps + 1, out)``."""
        taps, count = self.taps, len(x) - self.taps + 1
        out = x.new_empty((-(-count // taps) * taps, len(self.bias)))
        for start in range(0, len(out), ROWS_AT_ONCE):
            rows = out[start : start + ROWS_AT_ONCE]
            inside = x[start : start + len(rows) + taps - 1]
            if missing := len(rows) + taps - 1 - len(inside):
                inside = F.pad(inside, (0, 0, 0, missing))
            _add(self.bias, inside, self.parts, rows)
        return out[:count]


def _split(taps: Tensor) -> Parts:
    if len(taps) == 1:
        return taps[0]
    even, odd = taps[::2], taps[1::2]
    return _split(even), _split(even + odd), _split(odd)


def _add(base: Tensor | None, x: Tensor, parts: Parts, out: Tensor) -> None:
    """Write ``base`` (rows like ``out``, one row for all, or nothing) plus the convolution."""
    if isinstance(parts, Tensor):
        torch.mm(x, parts, out=out) if base is None else torch.addmm(base, x, parts, out=out)
        return
    even_taps, sums, odd_taps = parts
    even, odd = x[::2], x[1::2]
    rows = base if base is not None and base.ndim == 2 else None
    shared = out.new_empty((len(out) // 2, out.shape[1]))
    _add(base if rows is None else None, odd, sums, shared)
    for i, part in ((0, even_taps), (1, odd_taps)):
        known = shared if rows is None else shared + rows[i::2]
        _add(known, even[i : i + len(odd)] - odd, part, out[i::2])
