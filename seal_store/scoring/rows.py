"""Scored rows as they pass from the engine to writers and readers; contexts chosen by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seal_store.errors import HeadsError
from seal_store.variants.alleles import Allele

TEXT = np.dtypes.StringDType()


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


def origin_columns(alleles: Sequence[Allele]) -> dict[str, np.ndarray]:
    """What :data:`seal_store.store.layout.LIFTED` holds of alleles that have an origin."""
    origins = [allele.origin for allele in alleles if allele.origin is not None]
    read = [origin.allele for origin in origins]
    return {
        "source_contig": np.array([a.contig for a in read], TEXT),
        "source_pos": np.array([a.pos for a in read], np.int64),
        "source_ref": np.array([a.ref for a in read], TEXT),
        "source_alt": np.array([a.alt for a in read], TEXT),
        "liftover": np.array([origin.note for origin in origins], TEXT),
    }


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
