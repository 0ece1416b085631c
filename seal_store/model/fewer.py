"""A convolution with fewer multiplications.

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

ROWS_AT_ONCE = {"cpu": 4096, "cuda": 1 << 20}
"""Positions summed at once: on a CPU their sums stay in its cache, on a GPU they fill it."""

Parts = Tensor | tuple["Parts", "Parts", "Parts"]
"""One tap ``(in, out)``; or the parts of the even taps, of the sums, and of the odd taps."""


class FewerProducts:
    """The convolution with ``taps`` ``(2 ** n, in, out)`` and ``bias`` ``(out,)``."""

    def __init__(self, taps: Tensor, bias: Tensor) -> None:
        self.parts, self.bias, self.taps = _split(taps), bias, len(taps)

    def __call__(self, x: Tensor) -> Tensor:
        """``(n, L, in)`` to ``(n, L - taps + 1, out)``.

        All are evaluated as one row of positions, and what begins in one of them and ends in the
        next is left out: the result is a view.
        """
        taps, count, length = self.taps, *x.shape[:2]
        row = x.flatten(0, 1)
        out = x.new_empty((-(-len(row) // taps) * taps, len(self.bias)))
        at_once = ROWS_AT_ONCE[x.device.type]
        for start in range(0, len(out), at_once):
            rows = out[start : start + at_once]
            inside = row[start : start + len(rows) + taps - 1]
            if missing := len(rows) + taps - 1 - len(inside):
                inside = F.pad(inside, (0, 0, 0, missing))
            _add(self.bias, inside, self.parts, rows)
        return out[: len(row)].unflatten(0, (count, length))[:, : length - taps + 1]


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
