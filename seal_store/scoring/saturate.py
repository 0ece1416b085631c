"""Saturation mutagenesis: every SNV around a TSS."""

from __future__ import annotations

from collections.abc import Iterator

from seal_store.store.store import Store, sequence_start
from seal_store.variants.alleles import Allele
from seal_store.variants.source import Alleles


def saturation(store: Store, gene_id: str, span: int) -> Alleles:
    """All three SNVs of every base within ``span`` bp of a gene's TSS, by 1-based position.

    Bases other than A, C, G, T are left out. Raises :class:`GeneTableError` if the gene was not
    computed.
    """
    store.gene(gene_id)  # raises before anything is begun
    name = f"SNVs within {span} bp of the TSS of {gene_id}"
    return Alleles(_snvs(store, gene_id, span), name, place="")


def _snvs(store: Store, gene_id: str, span: int) -> Iterator[Allele]:
    sequence = store.sequence(store.gene(gene_id)).tobytes().decode("ascii")
    row = store.table.row(gene_id)
    contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
    for pos in range(tss - span, tss + span + 1):
        ref = sequence[pos - 1 - sequence_start(tss)]
        if ref in "ACGT":
            for alt in "ACGT".replace(ref, ""):
                yield Allele(0, contig, pos, "", ref, alt, "snv")
