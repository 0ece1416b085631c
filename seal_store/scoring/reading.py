"""Alleles -> chunks: assigned to genes, REF checked, sequences and decay sums read.

All that happens before the CNN, and without PyTorch. Chunks are bounded, so memory does not grow
with the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from seal_store.errors import VariantError
from seal_store.scoring.assign import Assigner, Counts, Task, has_alternative, reference_matches
from seal_store.scoring.haplotype import Stretch, centered_stretch, grid_stretch
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.rows import columns_of, origin_columns
from seal_store.store.shards import ShardFiles
from seal_store.store.store import Store
from seal_store.variants.alleles import Allele
from seal_store.variants.bases import StoreBases
from seal_store.variants.prepare import NORMALIZED, Preparation
from seal_store.variants.source import Alleles

ALLELES_PER_CHUNK = 1_024

Assign: TypeAlias = Callable[[Allele, Counts], list[Task]]
"""An allele's tasks; none if it was counted under a reason."""


@dataclass
class Chunk:
    """Alleles read and assigned, with what their evaluation needs on the CPU.

    ``stretches`` and the ``columns`` of :class:`~seal_store.scoring.rows.Rows` have an entry a
    row; ``sequences`` holds the bases of their genes by position in the store, ``aggregated``
    float32 ``(gene, decay, feature)`` their decay sums in the same order.
    """

    counts: Counts
    stretches: list[Stretch]
    columns: dict[str, np.ndarray]
    sequences: dict[int, bytes]
    aggregated: np.ndarray


class Reader:
    """Reads what ``options`` need of alleles from a store.

    ``assign`` finds their genes; by default an :class:`~seal_store.scoring.assign.Assigner`.
    """

    def __init__(
        self,
        store: Store,
        options: ScoreOptions,
        gene: str | None = None,
        assign: Assign | None = None,
    ) -> None:
        self.store, self.options = store, options
        self.assign = assign or Assigner(store, options, gene)
        swap = options.ref_mismatch == "swap"
        self.prepare = Preparation(StoreBases(store), swap=swap, normalize=options.normalize)
        self.sequences = ShardFiles(store.array("sequence"))
        self.aggregated = ShardFiles(store.array("aggregated"))

    def reason(self, allele: Allele) -> str:
        """Why ``allele`` has no row: one of ``assign.REASONS``; empty if it has.

        Nothing is counted.
        """
        counts = Counts()
        tasks = self.assign(self.prepare(allele), counts)
        if tasks:
            self.read([tasks], counts, Alleles([allele]))
        return next(iter(counts.not_scored), "")

    def chunks(self, alleles: Alleles, rows: int | None = None) -> Iterator[Chunk]:
        """Chunks bounded in alleles and, if ``rows`` are given, in rows; the last may be empty."""
        for assigned, counts in self.assigned(alleles, rows):
            yield self.read(assigned, counts, alleles)

    def assigned(
        self, alleles: Alleles, rows: int | None = None
    ) -> Iterator[tuple[list[list[Task]], Counts]]:
        """The tasks of each allele of a chunk and what was counted: chunks that are not read yet.

        Where one ends depends on the alleles in it alone, so alleles from the end of a chunk on
        give the same chunks as in a run that began before.
        """
        most = max(ALLELES_PER_CHUNK, 4 * self.options.batch)
        assigned: list[list[Task]] = []
        waiting, counts = 0, Counts()
        for allele in alleles:
            found = self.assign(self.prepare(allele), counts)
            counts.alleles += 1
            assigned.append(found)
            waiting += len(found)
            if len(assigned) >= most or (rows is not None and waiting >= rows):
                yield assigned, counts
                assigned, waiting, counts = [], 0, Counts()
        yield assigned, counts

    def read(self, assigned: Sequence[list[Task]], counts: Counts, alleles: Alleles) -> Chunk:
        """Check REF and read what the evaluation of a chunk needs; adds to its ``counts``."""
        genes = sorted({task.gene for tasks in assigned for task in tasks})
        block = self.sequences.read([(gene, 0) for gene in genes])[:, 0]
        sequences = {gene: row.tobytes() for gene, row in zip(genes, block, strict=True)}
        policy = self.options.ref_mismatch
        matches: list[bool] = []
        status: list[str] = []
        stretches: list[Stretch] = []
        for group in assigned:
            kept, reason = 0, ""
            for task in group:
                sequence = sequences[task.gene]
                allele = task.allele
                match = reference_matches(task, sequence)
                has_alt = match is False and has_alternative(task, sequence)
                stretch = self._stretch(task, sequence) if match is not None else None
                if match is False and policy == "error":
                    hint = "wrong assembly? `ref_mismatch='flag'` or `ref_mismatch='skip'` goes on"
                    raise VariantError(
                        f"{alleles.name}: {allele}: REF differs from the store's genome"
                        + ", which has ALT" * has_alt,
                        "`ref_mismatch='swap'` exchanges them" if has_alt else hint,
                    )
                if match is False and policy == "skip":
                    reason = "alt_is_reference" if has_alt else "ref_mismatch"
                elif match is None or stretch is None:
                    reason = "too_long"
                    counts.genes_too_long += 1
                else:
                    turned = allele.swapped and not allele.shown.swapped
                    matches.append(match and not turned)
                    kind = "alt_is_reference" if has_alt else "swapped" if turned else "scored"
                    status.append(kind if stretch.count else "outside_grid")
                    stretches.append(stretch)
                    kept += 1
            if kept:
                counts.alleles_scored += 1
            elif group:
                counts.reject(group[0].allele, reason)
        counts.ref_mismatches = matches.count(False)
        counts.alt_is_reference = status.count("alt_is_reference")
        counts.swapped = sum(stretch.task.allele.swapped for stretch in stretches)
        counts.normalized = sum(
            stretch.task.allele.origin is not None and stretch.task.allele.origin.note == NORMALIZED
            for stretch in stretches
        )
        counts.rows = len(stretches)
        columns = columns_of(stretches, matches, status, self.store)
        if alleles.columns:
            columns |= origin_columns(stretches)
        sums = self.aggregated.read([(gene, 0, 0) for gene in genes])[:, 0]
        return Chunk(counts, stretches, columns, sequences, sums)

    def _stretch(self, task: Task, sequence: bytes) -> Stretch | None:
        if self.options.scheme == "grid":
            return grid_stretch(task, sequence, self.store.grid)
        return centered_stretch(task, sequence)
