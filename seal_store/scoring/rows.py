"""Scored rows as they pass from the engine to writers and readers; contexts chosen by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seal_store.errors import HeadsError


@dataclass(frozen=True)
class Rows:
    """Scored rows: ``columns`` by name and ``effect`` float32 ``(rows, contexts)``.

    The columns are those of :data:`seal_store.store.layout.RESULTS`, one entry a row;
    ``attribution`` has arrays of :data:`seal_store.store.layout.ATTRIBUTION` and ``calibrated``
    those of :data:`seal_store.store.layout.CALIBRATED`, if they were asked for.
    """

    columns: dict[str, np.ndarray]
    effect: np.ndarray
    attribution: dict[str, np.ndarray] = field(default_factory=dict)
    calibrated: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.effect)


def select_contexts(names: Sequence[tuple[str, str]], wanted: Sequence[str]) -> np.ndarray:
    """Positions, ascending, of the contexts asked for, each ``name`` or ``set:name``.

    Raises :class:`HeadsError` for one that is not there. Without any, all are chosen.
    """
    if not wanted:
        return np.arange(len(names))
    by_label: dict[str, set[int]] = defaultdict(set)
    for i, (head_set, name) in enumerate(names):
        by_label[name].add(i)
        by_label[f"{head_set}:{name}"].add(i)
    for label in wanted:
        if label not in by_label:
            raise HeadsError(
                f"no context {label!r} in the chosen head sets",
                "`seal-store heads list STORE --contexts` prints their names",
            )
    return np.array(sorted(set().union(*(by_label[label] for label in wanted))))
