"""Calibrations in a store: the distribution of a background's effects, for each context.

A calibration belongs to one scheme and to the head sets that it was made with; a store has one
without a name and any number of named ones for each scheme. For every context it holds quantiles
of the effects of the background's rows, their mean and their standard deviation, of all rows and,
if asked for, of each bin (:mod:`seal_store.scoring.bins`). :mod:`seal_store.run.calibrate` makes
it, :mod:`seal_store.scoring.quantiles` looks effects up in it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from seal_store.errors import InputError
from seal_store.scoring.bins import label
from seal_store.scoring.options import ScoreOptions
from seal_store.store.layout import CALIBRATION, CALIBRATION_BINS, get, read
from seal_store.store.store import Store

CALIBRATION_GROUP = "calibration"
STEPS = 1_000
TAILS = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4)

PINNED = 0.01
"""Share of a background at its smallest or its largest effect from which it is told."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def key_of(scheme: str, name: str = "") -> str:
    """Under what a store has the calibration: ``SCHEME``, or ``SCHEME.NAME``.

    Raises :class:`InputError` for a name that cannot be one.
    """
    if name and not _NAME.fullmatch(name):
        raise InputError(
            f"`name` {name[:100]!r}: not 1 to 100 of A-Z, a-z, 0-9, '.', '_' and '-'",
            "begin it with a letter or digit",
        )
    return f"{scheme}.{name}" if name else scheme


def levels() -> np.ndarray:
    """Levels of the quantiles kept, float64, ascending: 0 to 1 by 0.001, finer at both ends."""
    tails = np.array(TAILS)
    return np.sort(np.concatenate([np.arange(STEPS + 1) / STEPS, tails, 1 - tails]))


def source_of(store: Store, scheme: str, name: str = "") -> dict[str, Any] | None:
    """What the store's calibration for ``scheme`` was made from; None if it has none."""
    found = store.attributes.calibration.get(key_of(scheme, name))
    if found is None:
        return None
    keys = ("file", "sha256", "rows", "genes", "max_distance")
    more = {"name": name, "by": found.by}
    return {key: getattr(found, key) for key in keys} | {k: v for k, v in more.items() if v}


def uncalibrated(store: Store, scheme: str, name: str = "") -> list[tuple[str, str]]:
    """Contexts of ``store``, each (head set, name), that its calibration for ``scheme`` lacks."""
    if not store.head_sets:
        return []
    key = key_of(scheme, name)
    have = set(names_of(arrays_of(store, key))) if key in store.attributes.calibration else set()
    names, sets = store.contexts()
    contexts = zip(sets.tolist(), names.tolist(), strict=True)
    return [context for context in contexts if context not in have]


def fits(store: Store, options: ScoreOptions) -> bool:
    """Whether the store's calibration is of these options' scheme, genes and contexts."""
    source = source_of(store, options.scheme, options.calibration)
    chosen = ("genes", "max_distance")
    if source is None or any(source[name] != getattr(options, name) for name in chosen):
        return False
    lacking = uncalibrated(store, options.scheme, options.calibration)
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


def arrays_of(store: Store, key: str) -> dict[str, np.ndarray]:
    """The arrays of a calibration; that their shapes fit was checked when the store was opened."""
    group, made = f"{CALIBRATION_GROUP}/{key}", store.attributes.calibration[key]
    table = (*CALIBRATION, *(CALIBRATION_BINS if made.bins else ()))
    return {entry.name: read(get(store.group, f"{group}/{entry.name}")) for entry in table}


def tied(level: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Share of a background at its smallest or its largest effect, the larger, float64 ``(n,)``.

    ``knots`` float ``(n, levels)`` are its quantiles at ``level``. The share is rounded down to
    levels: 0 where one row is the smallest and one the largest.
    """
    lowest = (knots == knots[:, :1]).cumprod(1).sum(1) - 1
    highest = len(level) - (knots == knots[:, -1:])[:, ::-1].cumprod(1).sum(1)
    return np.maximum(level[lowest], 1 - level[highest])


def pinned(store: Store, key: str) -> list[dict[str, Any]]:
    """Where a share of :data:`PINNED` or more of a background is at one end and cannot be ranked.

    JSON-ready: ``context`` (``set:name``), ``bin`` in words, empty for the whole background, and
    ``share`` (see :func:`tied`).
    """
    arrays, bins = arrays_of(store, key), store.attributes.calibration[key].bins or ()
    own = [("", arrays["effect_quantile"])]
    own += zip(map(label, bins), arrays["bin_effect_quantile"], strict=True) if bins else ()
    contexts = [":".join(context) for context in names_of(arrays)]
    found = []
    for where, knots in own:
        share = tied(arrays["quantile"], knots)
        for i in np.flatnonzero(share >= PINNED):
            found.append({"context": contexts[i], "bin": where, "share": round(float(share[i]), 6)})
    return found
