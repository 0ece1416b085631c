"""Checks that the numbers of a store's calibrations follow from each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seal_store.scoring.bins import ALL, bin_of
from seal_store.scoring.calibration import arrays_of, levels
from seal_store.store.attributes import CalibrationAttributes
from seal_store.store.store import Store

CLOSE = 1e-6
"""Of a mean to the mean of the bins' means, as share of the largest effect."""


def faults(store: Store) -> Iterator[tuple[str, str]]:
    """What is wrong: the array below the store, or ``zarr.json``, and a message."""
    for key, made in store.attributes.calibration.items():
        arrays = arrays_of(store, key)
        if made.bins:
            yield from (("zarr.json", f"calibration {key} {text}") for text in _bins(made))
        for name, text in _arrays(arrays, made):
            yield f"calibration/{key}/{name}", text


def _bins(made: CalibrationAttributes) -> Iterator[str]:
    """Every kind at every distance is in one bin, and every row."""
    bins = made.bins or ()
    if sum(own.rows for own in bins) != made.rows:
        yield "has bins of other rows than it has"
    at = np.unique([0, *(own.start for own in bins), *(own.stop or 0 for own in bins)])
    for kind in ALL:
        kinds = np.full(len(at), kind)
        times = sum((bin_of([own], kinds, at) == 0).astype(int) for own in bins)
        if (times != 1).any():
            yield f"has not one bin for {kind} at {at[times != 1][0]} bp"


def _arrays(
    arrays: dict[str, np.ndarray], made: CalibrationAttributes
) -> Iterator[tuple[str, str]]:
    if not np.array_equal(arrays["quantile"], levels()):
        yield "quantile", "are not the levels"
    if (arrays["count"] != made.rows).any():
        yield "count", f"is not {made.rows}, as the attributes say"
    for prefix in ("", "bin_") if made.bins else ("",):
        knots, mean, sd = (arrays[prefix + name] for name in ("effect_quantile", "mean", "sd"))
        size = np.abs(knots).max(-1)
        if (np.diff(knots, axis=-1) < 0).any():
            yield f"{prefix}effect_quantile", "does not ascend"
        elif ((mean < knots[..., 0] - CLOSE * size) | (mean > knots[..., -1] + CLOSE * size)).any():
            yield f"{prefix}mean", "is beyond all effects"
        if (sd < 0).any():
            yield f"{prefix}sd", "is negative"
    if made.bins:
        rows = np.array([own.rows for own in made.bins])
        mean = rows @ arrays["bin_mean"] / rows.sum()
        largest = np.abs(arrays["effect_quantile"]).max(-1)
        if (np.abs(mean - arrays["mean"]) > CLOSE * largest).any():
            yield "bin_mean", "do not make up the mean"
