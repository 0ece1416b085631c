"""How an effect compares with those of a background: the distributions kept in a store.

A calibration belongs to one scheme and to the head sets that it was made with. For every context
it holds quantiles of the effects of the background's rows, their mean and their standard
deviation; :mod:`seal_store.run.calibrate` makes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from seal_store.common.device import to_device
from seal_store.errors import FormatError, StoreError
from seal_store.store.layout import CALIBRATION, get, read
from seal_store.store.store import Store

GROUP = "calibration"
STEPS = 1_000
TAILS = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4)


def levels() -> np.ndarray:
    """Levels of the quantiles kept, float64, ascending: 0 to 1 by 0.001, finer at both ends."""
    tails = np.array(TAILS)
    return np.sort(np.concatenate([np.arange(STEPS + 1) / STEPS, tails, 1 - tails]))


class Calibration:
    """The distributions of ``n`` contexts, on one device.

    ``level`` ``(levels,)`` ascends from 0 to 1, ``knots`` ``(n, levels)`` are the background's
    quantiles there, ``mean`` and ``sd`` ``(n,)`` its moments. ``source`` says what it was made
    from, JSON-ready.
    """

    def __init__(
        self,
        level: np.ndarray,
        knots: np.ndarray,
        mean: np.ndarray,
        sd: np.ndarray,
        device: torch.device,
        source: dict[str, Any],
    ) -> None:
        self.level = to_device(level, device)
        self.knots = to_device(np.ascontiguousarray(knots), device)
        self.mean, self.sd = to_device(mean, device), to_device(sd, device)
        self.source = source

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
) -> Calibration:
    """The calibration of ``contexts``, each (head set, name), in that order.

    Raises :class:`StoreError` if the store has none for ``scheme``, or lacks a context there,
    :class:`FormatError` if its arrays do not fit together.
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
    arrays = _arrays(store, scheme)
    own = _names(arrays)
    place = {context: i for i, context in enumerate(own)}
    lacking = [context for context in contexts if context not in place]
    if lacking:
        raise StoreError(
            f"{store.path}: its calibration for scheme {scheme} lacks {len(lacking)} of "
            f"{len(contexts)} contexts, {':'.join(lacking[0])} first",
            f"make it again with `{again} --overwrite`, or choose others with --heads",
        )
    rows = [place[context] for context in contexts]
    return Calibration(
        arrays["quantile"],
        arrays["effect_quantile"][rows],
        arrays["mean"][rows],
        arrays["sd"][rows],
        device,
        source,
    )


def source_of(store: Store, scheme: str) -> dict[str, Any] | None:
    """What the store's calibration for ``scheme`` was made from; None if it has none."""
    found = store.attributes.calibration.get(scheme)
    if found is None:
        return None
    return {key: getattr(found, key) for key in ("file", "sha256", "rows", "genes", "max_distance")}


def uncalibrated(store: Store, scheme: str) -> list[tuple[str, str]]:
    """Contexts of ``store``, each (head set, name), that its calibration for ``scheme`` lacks."""
    have = set(_names(_arrays(store, scheme))) if source_of(store, scheme) else set()
    contexts = [(s.name, name) for s in store.heads() for name in s.contexts]
    return [context for context in contexts if context not in have]


def _names(arrays: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    columns = arrays["context_set"], arrays["context_name"]
    return [(str(s), str(name)) for s, name in zip(*columns, strict=True)]


def _arrays(store: Store, scheme: str) -> dict[str, np.ndarray]:
    """The arrays of a calibration, checked against each other."""
    where = f"{GROUP}/{scheme}"
    arrays = {entry.name: read(get(store.group, f"{where}/{entry.name}")) for entry in CALIBRATION}
    sizes = {"level": arrays["quantile"].size, "context": arrays["context_name"].size}
    for entry in CALIBRATION:
        if arrays[entry.name].shape != tuple(sizes[dim] for dim in entry.dims):
            raise FormatError(
                f"{store.path}: {where}/{entry.name} has shape {arrays[entry.name].shape}",
                "calibrate again with --overwrite",
            )
    return arrays
