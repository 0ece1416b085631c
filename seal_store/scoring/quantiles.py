"""Calibrated effects: their quantile and z among the effects of a store's background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seal_store.common.device import to_device
from seal_store.errors import InputError, StoreError
from seal_store.scoring.bins import bin_of
from seal_store.scoring.calibration import arrays_of, key_of, names_of, source_of
from seal_store.store.attributes import CalibrationBin
from seal_store.store.store import Store

MEASURES = ("effect_quantile", "mean", "sd")


@dataclass(frozen=True)
class Calibration:
    """The distributions of ``n`` contexts, on one device.

    ``level`` float64 ``(levels,)`` ascends from 0 to 1, ``knots`` float32 ``(n, levels)`` are the
    background's quantiles there, ``mean`` and ``sd`` float64 ``(n,)`` its moments. ``source``
    says what it was made from, JSON-ready. ``parts`` are the distributions of its ``bins``.
    """

    level: Tensor
    knots: Tensor
    mean: Tensor
    sd: Tensor
    source: dict[str, Any]
    bins: Sequence[CalibrationBin] = ()
    parts: Sequence[Calibration] = ()

    def of(self, effect: Tensor, kind: np.ndarray, distance: np.ndarray) -> dict[str, Tensor]:
        """``quantile`` and ``z`` of rows of these ``kind`` and ``dist_to_tss`` in bp.

        Each row's are from its bin; without bins all are from the whole background. NaN for a
        row in no bin.
        """
        if not self.bins:
            return self(effect)
        found = {name: torch.full_like(effect, torch.nan) for name in ("quantile", "z")}
        own = bin_of(self.bins, kind, distance)
        for i in np.unique(own[own >= 0]).tolist():
            rows = to_device(np.flatnonzero(own == i), effect.device)
            for name, values in self.parts[i](effect[rows]).items():
                found[name][rows] = values
        return found

    def part(self, kind: str | None = None, distance: int | None = None) -> int | None:
        """The bin of variants of a ``kind`` and ``distance`` in bp; None for the whole background.

        It is the whole one without bins, and if neither is given. Raises :class:`InputError` if
        what tells the bins apart is not given, or is of none.
        """
        if not self.bins or (kind is None and distance is None):
            return None
        given = {"distance": distance, "kind": kind}
        for name, value in given.items():
            if value is None and self.source["by"] in (name, "both"):
                raise InputError(f"`{name}` is not given", "the calibration has bins of it")
        kinds = np.array([kind or self.bins[0].kinds[0]])
        (found,) = bin_of(self.bins, kinds, np.array([distance or 0])).tolist()
        if found < 0:
            raise InputError(f"`kind` {kind!r}: in no bin of the calibration")
        return int(found)

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
    store: Store,
    scheme: str,
    contexts: list[tuple[str, str]],
    device: torch.device,
    name: str = "",
) -> Calibration:
    """The calibration ``name`` of ``contexts``, each (head set, name), in that order.

    Raises :class:`StoreError` if the store has none for ``scheme``, or lacks a context there.
    """
    source, key = source_of(store, scheme, name), key_of(scheme, name)
    called = f"calibration {name}" if name else "calibration"
    again = f"seal-store calibrate {store.path} BACKGROUND.vcf --scheme {scheme}"
    again += f" --name {name}" if name else ""
    if source is None:
        others = ", ".join(store.attributes.calibration)
        raise StoreError(
            f"{store.path} has no {called} for scheme {scheme}"
            + (f" (it has one for {others})" if others else ""),
            f"make one with `{again}`"
            + (", or name one that is there: `calibration`" if "." in others else ""),
        )
    arrays = arrays_of(store, key)
    place = {context: i for i, context in enumerate(names_of(arrays))}
    lacking = [context for context in contexts if context not in place]
    if lacking:
        raise StoreError(
            f"{store.path}: its {called} for scheme {scheme} lacks {len(lacking)} of "
            f"{len(contexts)} contexts, {':'.join(lacking[0])} first",
            f"make it again with `{again} --overwrite`, or choose contexts that it has",
        )
    rows = [place[context] for context in contexts]
    level = to_device(arrays["quantile"], device)
    bins = store.attributes.calibration[key].bins or ()

    def made(knots: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        on = [to_device(values[rows], device) for values in (knots, mean, sd)]
        return on[0], on[1], on[2]

    parts = [
        Calibration(level, *made(*(arrays[f"bin_{name}"][i] for name in MEASURES)), source)
        for i in range(len(bins))
    ]
    return Calibration(level, *made(*(arrays[name] for name in MEASURES)), source, bins, parts)
