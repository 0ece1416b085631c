"""Genes and their TSSs: the nearest TSS of a position, all genes within a distance.

A TSS is a 1-based position. Files of genes are read by :mod:`seal_store.reference.gene_files`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from ncls import NCLS

from seal_store.common.odd_lines import OddLines
from seal_store.errors import GeneTableError
from seal_store.reference.contigs import UNKNOWN, resolve_contig
from seal_store.reference.gtf import without_version


@dataclass(frozen=True)
class GeneTable:
    """Genes in the order of their file, one row a gene.

    ``tss`` int64, 1-based; ``strand`` int8, +1 or -1; the others are arrays of str. ``assembly``
    is the one that the file's header or accessions name, or ``unknown``; ``odd`` counts the lines
    of the file that were not used as they stand.
    """

    gene_id: np.ndarray
    symbol: np.ndarray
    contig: np.ndarray
    strand: np.ndarray
    tss: np.ndarray
    gene_type: np.ndarray
    assembly: str = field(default=UNKNOWN, kw_only=True)
    odd: OddLines = field(default_factory=OddLines, kw_only=True, compare=False)

    def __len__(self) -> int:
        return len(self.gene_id)

    @cached_property
    def _by_contig(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Per contig the rows sorted by TSS (stable: file order within one TSS), and the TSSs."""
        order = np.lexsort((self.tss, self.contig))
        names, starts = np.unique(self.contig[order], return_index=True)
        return {
            str(name): (rows, self.tss[rows])
            for name, rows in zip(names, np.split(order, starts[1:]), strict=True)
        }

    @cached_property
    def _row_of_id(self) -> dict[str, int]:
        return {gene: row for row, gene in enumerate(self.gene_id.tolist())}

    @cached_property
    def _rows_of_name(self) -> dict[str, list[int]]:
        """Rows by id without version, and by symbol where no id without version is so."""
        found: dict[str, list[int]] = {}
        for names in (map(without_version, self.gene_id.tolist()), self.symbol.tolist()):
            more: dict[str, list[int]] = defaultdict(list)
            for row, name in enumerate(names):
                if name:
                    more[name].append(row)
            found = {**more, **found}
        return found

    @cached_property
    def _trees(self) -> dict[str, NCLS]:
        return {
            name: NCLS(tss.astype(np.int64), tss.astype(np.int64) + 1, rows.astype(np.int64))
            for name, (rows, tss) in self._by_contig.items()
        }

    def contig_name(self, name: str) -> str | None:
        """This table's spelling of a contig, under any of its names; None if it has no gene."""
        return resolve_contig(name, self._by_contig)

    def row(self, gene: str) -> int:
        """Row of a gene by its id, with or without Ensembl's version, or by its symbol.

        Raises :class:`GeneTableError` if it is not in the table, or if several genes go by it.
        """
        for name in (gene, without_version(gene)):
            if name in self._row_of_id:
                return self._row_of_id[name]
        named = self._rows_of_name
        rows = named.get(gene) or named.get(without_version(gene), [])
        if len(rows) == 1:
            return rows[0]
        if rows:
            ids = ", ".join(self.gene_id[rows[:5]].tolist())
            raise GeneTableError(f"several genes are called {gene!r}: {ids}", "give one's id")
        raise GeneTableError(
            f"gene {gene!r} is not in the gene table", "give its id or symbol as the table has it"
        )

    def nearest(self, contig: str, position: int) -> int | None:
        """Row of the gene whose TSS is nearest to 1-based ``position``; None without genes there.

        Ties as in Seal's ``closest-features --closest``: at equal distance the left TSS; among
        genes with the same TSS the last row on the left or at the position itself, the first
        row on the right.
        """
        if contig not in self._by_contig:
            return None
        rows, tss = self._by_contig[contig]
        right = int(np.searchsorted(tss, position, side="right"))
        if right == len(tss):
            return int(rows[right - 1])
        if right == 0 or tss[right] - position < position - tss[right - 1]:
            return int(rows[right])
        return int(rows[right - 1])

    def nearest_rows(self, contig: str, positions: np.ndarray) -> np.ndarray:
        """:meth:`nearest` of many positions on a contig that has genes; int64."""
        rows, tss = self._by_contig[contig]
        right = np.searchsorted(tss, positions, side="right")
        left, last = right - 1, np.minimum(right, len(tss) - 1)
        is_right = (right == 0) | (
            (right < len(tss)) & (tss[last] - positions < positions - tss[left])
        )
        return rows[np.where(is_right, last, left)]

    def within(self, contig: str, position: int, distance: int) -> list[int]:
        """Rows of all genes with ``|position - TSS| <= distance``, in table order."""
        tree = self._trees.get(contig)
        if tree is None:
            return []
        found = tree.find_overlap(max(0, position - distance), position + distance + 1)
        return sorted(row for _, _, row in found)
