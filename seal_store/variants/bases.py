"""Reference bases from a store: those that it keeps around the TSSs of its computed genes."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from seal_store.reference.gene_table import GeneTable
from seal_store.store.layout import SEQUENCE_LENGTH
from seal_store.store.store import Store, sequence_start

SEQUENCES = 32
"""Genes whose sequence is kept at hand."""


class Reference(Protocol):
    """Bases of an ``assembly``, as far as they are known."""

    @property
    def assembly(self) -> str: ...  # noqa: D102

    def __call__(self, contig: str, first: int, last: int) -> str | None:
        """The bases from one 1-based position to another, both included; None if not known."""


class StoreBases:
    """The bases of a contig from one 1-based position to another, both included."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.assembly = store.attributes.assembly
        self._sequence = lru_cache(SEQUENCES)(lambda gene: store.sequence(gene).tobytes())

    @cached_property
    def _genes(self) -> GeneTable:
        """The computed genes, in the order of the store."""
        table = self._store.table
        rows = np.array([table.row(str(gene)) for gene in self._store.gene_id])
        columns = (table.gene_id, table.symbol, table.contig, table.strand, table.tss)
        return GeneTable(*(c[rows] for c in (*columns, table.gene_type)))

    def __call__(self, contig: str, first: int, last: int) -> str | None:
        """None unless one gene's sequence holds them all; beyond the ends of a contig it has N.

        Of ``last`` one before ``first`` they are none: an empty text.
        """
        name = self._genes.contig_name(contig)
        # a sequence is as long on both sides of the middle before its TSS: the nearest holds most
        middle = (first + last + 2) // 2
        gene = self._genes.nearest(name, middle) if name is not None else None
        if gene is None:
            return None
        start = sequence_start(int(self._genes.tss[gene])) + 1
        if first < start or last >= start + SEQUENCE_LENGTH:
            return None
        return str(self._sequence(gene)[first - start : last + 1 - start], "ascii")
