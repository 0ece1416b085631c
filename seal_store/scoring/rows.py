"""Scored rows: their columns and effects, for writers and readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seal_store.scoring.haplotype import Stretch
from seal_store.store.store import Store

TEXT = np.dtypes.StringDType()


@dataclass(frozen=True)
class Rows:
    """Scored rows: ``columns`` by name and ``effect`` float32 ``(rows, contexts)``.

    The columns are those of :data:`seal_store.store.layout.RESULTS` and of
    :data:`seal_store.store.layout.NAMED`, one entry a row;
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
    stretches: Sequence[Stretch], matches: Sequence[bool], status: Sequence[str], store: Store
) -> dict[str, np.ndarray]:
    """The columns of results, one entry for each of ``stretches``.

    They are those of :data:`seal_store.store.layout.RESULTS` and
    :data:`seal_store.store.layout.NAMED`. ``matches`` says whether the REF shown is the genome's.
    """
    tasks = [stretch.task for stretch in stretches]
    alleles = [task.allele.shown for task in tasks]
    genes = np.array([t.gene for t in tasks], np.int64)
    return {
        "contig": np.array([t.contig for t in tasks], np.str_),
        "pos": np.array([a.pos for a in alleles], np.int64),
        "id": np.array([a.id for a in alleles], TEXT),
        "ref": np.array([a.ref for a in alleles], TEXT),
        "alt": np.array([a.alt for a in alleles], TEXT),
        "kind": np.array([a.kind for a in alleles], np.str_),
        "gene_id": store.gene_id[genes],
        "strand": np.array([t.strand for t in tasks], np.int8),
        "dist_to_tss": np.array(
            [a.pos - t.tss for a, t in zip(alleles, tasks, strict=True)], np.int64
        ),
        "ref_match": np.array(matches, np.bool_),
        "status": np.array(status, np.str_),
        "input_chrom": np.array([a.read.contig for a in alleles], TEXT),
        "gene_symbol": store.column("gene_symbol")[genes],
        "end": np.array([a.last for a in alleles], np.int64),
    }


def origin_columns(stretches: Sequence[Stretch]) -> dict[str, np.ndarray]:
    """What :data:`seal_store.store.layout.LIFTED` holds of alleles that have an origin."""
    shown = [s.task.allele.shown for s in stretches]
    read = [allele.read for allele in shown]
    notes = [allele.origin.note if allele.origin is not None else "" for allele in shown]
    return {
        "source_contig": np.array([a.contig for a in read], TEXT),
        "source_pos": np.array([a.pos for a in read], np.int64),
        "source_ref": np.array([a.ref for a in read], TEXT),
        "source_alt": np.array([a.alt for a in read], TEXT),
        "liftover": np.array(notes, TEXT),
    }
