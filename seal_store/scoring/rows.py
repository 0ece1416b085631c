"""Scored rows: their columns and effects, for writers and readers; contexts chosen by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seal_store.errors import HeadsError
from seal_store.scoring.haplotype import Stretch

TEXT = np.dtypes.StringDType()


@dataclass(frozen=True)
class Rows:
    """Scored rows: ``columns`` by name and ``effect`` float32 ``(rows, contexts)``.

    The columns are those of :data:`seal_store.store.layout.RESULTS`, one entry a row;
    ``attribution`` has arrays of :data:`seal_store.store.layout.ATTRIBUTION` and ``calibrated``
    those of :data:`seal_store.store.layout.CALIBRATED`, if they were asked for. ``lines`` has the
    ``line`` of each row's allele, and is empty for rows that were read from results.
    """

    columns: dict[str, np.ndarray]
    effect: np.ndarray
    attribution: dict[str, np.ndarray] = field(default_factory=dict)
    calibrated: dict[str, np.ndarray] = field(default_factory=dict)
    lines: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.effect)


def columns_of(
    stretches: Sequence[Stretch], matches: Sequence[bool], gene_id: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns of :data:`seal_store.store.layout.RESULTS`, one entry for each of ``stretches``.

    ``matches`` says whether REF is the genome's, ``gene_id`` names the genes of the store.
    """
    tasks = [stretch.task for stretch in stretches]
    alleles = [task.allele for task in tasks]
    status = ["scored" if stretch.count else "outside_grid" for stretch in stretches]
    return {
        "contig": np.array([t.contig for t in tasks], np.str_),
        "pos": np.array([a.pos for a in alleles], np.int64),
        "id": np.array([a.id for a in alleles], TEXT),
        "ref": np.array([a.alt if a.swapped else a.ref for a in alleles], TEXT),
        "alt": np.array([a.ref if a.swapped else a.alt for a in alleles], TEXT),
        "kind": np.array([a.kind for a in alleles], np.str_),
        "gene_id": gene_id[np.array([t.gene for t in tasks], np.int64)],
        "strand": np.array([t.strand for t in tasks], np.int8),
        "dist_to_tss": np.array([t.allele.pos - t.tss for t in tasks], np.int64),
        "ref_match": np.array(matches, np.bool_),
        "status": np.array(status, np.str_),
    }


def origin_columns(stretches: Sequence[Stretch]) -> dict[str, np.ndarray]:
    """What :data:`seal_store.store.layout.LIFTED` holds of alleles that have an origin."""
    origins = [s.task.allele.origin for s in stretches if s.task.allele.origin is not None]
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
