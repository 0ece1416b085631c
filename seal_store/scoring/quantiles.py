"""Calibrated effects: their quantile and z among the effects of a store's background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seal_store.common.device import to_device
from seal_store.errors import StoreError
from seal_store.scoring.calibration import arrays_of, names_of, source_of
from seal_store.store.store import Store


@dataclass(frozen=True)
class Calibration:
    """The distributions of ``n`` contexts, on one device.

    ``level`` float64 ``(levels,)`` ascends from 0 to 1, ``knots`` float32 ``(n, levels)`` are the
    background's quantiles there, ``mean`` and ``sd`` float64 ``(n,)`` its moments. ``source``
    says what it was made from, JSON-ready.
    """

    level: Tensor
    knots: Tensor
    mean: Tensor
    sd: Tensor
    source: dict[str, Any]

    def __call__(self, effect: Tensor) -> dict[str, Tensor]:
        """``quantile`` and ``z`` of effects float32 ``(rows, n)``, both float32 of that shape.

        ``F(x)`` interpolates linearly between the quantiles kept: 0 below the smallest effect of
        the background, 1 above its largest. Where several levels have the quantile ``x``, as
        with many equal effects, it is the middle of the lowest and the highest of them. Then
        ``quantile = 2 F(x) - 1`` and ``z = (x - mean) / sd``: the background's median has
        quantile 0, and a background and effects of opposite sign give the opposite of both. NaN
        in a context whose background effects are all the same.
        """
        values = effect.T.contiguous()
        # the knots below i are smaller than x, those from j on are larger
        i = torch.searchsorted(self.knots, values)
        j = torch.searchsorted(self.knots, values, right=True)
        last = len(self.level) - 1
        low, high = (i - 1).clamp(0, last), j.clamp(0, last)
        left, right = self.knots.gather(1, low).double(), self.knots.gather(1, high).double()
        # beyond the ends left and right are the same knot, and its level is 0 or 1
        share = ((values.double() - left) / (right - left)).nan_to_num(0, 0, 0).clamp(0, 1)
        between = self.level[low] + share * (self.level[high] - self.level[low])
        equal = (self.level[i.clamp(0, last)] + self.level[(j - 1).clamp(0, last)]) / 2
        found = between.where(i == j, equal)
        sd = self.sd.where(self.sd > 0, torch.nan)[:, None]
        quantile = (2 * found - 1) + 0 * sd
        z = (values.double() - self.mean[:, None]) / sd
        return {"quantile": quantile.T.float(), "z": z.T.float()}


def read_calibration(
    store: Store, scheme: str, contexts: list[tuple[str, str]], device: torch.device
) -> Calibration:
    """The calibration of ``contexts``, each (head set, name), in that order.

    Raises :class:`StoreError` if the store has none for ``scheme``, or lacks a context there.
    """
    source = source_of(store, scheme)
    again = f"seal-store calibrate {store.path} BACKGROUND.vcf --scheme {scheme}"
    if source is None:
        others = ", ".join(store.attributes.calibration)
        raise StoreError(
            f"{store.path} has no calibration for scheme {scheme}"
            + (f" (it has one for {others})" if others else ""),
            f"make one with `{again}`",
        )
    arrays = arrays_of(store, scheme)
    place = {context: i for i, context in enumerate(names_of(arrays))}
    lacking = [context for context in contexts if context not in place]
    if lacking:
        raise StoreError(
            f"{store.path}: its calibration for scheme {scheme} lacks {len(lacking)} of "
            f"{len(contexts)} contexts, {':'.join(lacking[0])} first",
            f"make it again with `{again} --overwrite`, or choose others with `heads`",
        )
    rows = [place[context] for context in contexts]
    level = to_device(arrays["quantile"], device)
    knots, mean, sd = (
        to_device(arrays[name][rows], device) for name in ("effect_quantile", "mean", "sd")
    )
    return Calibration(level, knots, mean, sd, source)
