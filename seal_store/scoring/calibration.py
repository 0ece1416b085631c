"""Calibrations in a store: the distribution of a background's effects, for each context.

A calibration belongs to one scheme and to the head sets that it was made with. For every context
it holds quantiles of the effects of the background's rows, their mean and their standard
deviation; :mod:`seal_store.run.calibrate` makes it, :mod:`seal_store.scoring.quantiles` looks
effects up in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seal_store.scoring.options import ScoreOptions
from seal_store.store.layout import CALIBRATION, get, read
from seal_store.store.store import Store

CALIBRATION_GROUP = "calibration"
STEPS = 1_000
TAILS = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4)


def levels() -> np.ndarray:
    """Levels of the quantiles kept, float64, ascending: 0 to 1 by 0.001, finer at both ends."""
    tails = np.array(TAILS)
    return np.sort(np.concatenate([np.arange(STEPS + 1) / STEPS, tails, 1 - tails]))


def source_of(store: Store, scheme: str) -> dict[str, Any] | None:
    """What the store's calibration for ``scheme`` was made from; None if it has none."""
    found = store.attributes.calibration.get(scheme)
    if found is None:
        return None
    return {key: getattr(found, key) for key in ("file", "sha256", "rows", "genes", "max_distance")}


def uncalibrated(store: Store, scheme: str) -> list[tuple[str, str]]:
    """Contexts of ``store``, each (head set, name), that its calibration for ``scheme`` lacks."""
    if not store.head_sets:
        return []
    have = set(names_of(arrays_of(store, scheme))) if source_of(store, scheme) else set()
    names, sets = store.contexts()
    contexts = zip(sets.tolist(), names.tolist(), strict=True)
    return [context for context in contexts if context not in have]


def fits(store: Store, options: ScoreOptions) -> bool:
    """Whether the store's calibration is of these options' scheme, genes and contexts."""
    source = source_of(store, options.scheme)
    chosen = ("genes", "max_distance")
    if source is None or any(source[name] != getattr(options, name) for name in chosen):
        return False
    lacking = uncalibrated(store, options.scheme)
    return not any(name in options.heads or not options.heads for name, _ in lacking)


def in_words(quantile: float | None) -> str:
    """How unusual an effect is among its background, of its ``quantile`` from -1 to 1.

    Shares are rounded down, so that none is said to be 100 %. Empty without a quantile.
    """
    if quantile is None:
        return ""
    where = "higher" if quantile >= 0 else "lower"
    if abs(quantile) >= 1:
        return f"{where} than all of the background"
    rest = (1 - abs(quantile)) / 2  # the share of the background on the other side
    digits = max(1, int(np.ceil(-np.log10(rest))) - 1)
    share = np.floor((1 - rest) * 100 * 10**digits + 1e-6) / 10**digits
    return f"{where} than {share:.{digits}f} % of the background"


def names_of(arrays: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """Contexts of a calibration, each (head set, name)."""
    columns = arrays["context_set"], arrays["context_name"]
    return [(str(s), str(name)) for s, name in zip(*columns, strict=True)]


def arrays_of(store: Store, scheme: str) -> dict[str, np.ndarray]:
    """The arrays of a calibration; that their shapes fit was checked when the store was opened."""
    group = f"{CALIBRATION_GROUP}/{scheme}"
    return {entry.name: read(get(store.group, f"{group}/{entry.name}")) for entry in CALIBRATION}
