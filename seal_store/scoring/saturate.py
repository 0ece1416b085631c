"""Saturation mutagenesis: every SNV around a TSS or another position."""

from __future__ import annotations

from collections.abc import Iterator

from seal_store.store.store import Store, sequence_start
from seal_store.variants.alleles import Allele
from seal_store.variants.source import Alleles


def saturation(store: Store, gene_id: str, span: int, center: int | None = None) -> Alleles:
    """All three SNVs of every base within ``span`` bp of a gene's TSS, by 1-based position.

    ``center`` is another position (1-based, on the gene's contig) to take in place of the TSS.
    Bases other than A, C, G, T are left out, and what the store does not hold. Raises
    :class:`GeneTableError` if the gene was not computed.
    """
    store.gene(gene_id)  # raises before anything is begun
    around = f"the TSS of {gene_id}" if center is None else f"{center:,}, against {gene_id}"
    name = f"SNVs within {span} bp of {around}"
    return Alleles(_snvs(store, gene_id, span, center), name, place="")


def _snvs(store: Store, gene_id: str, span: int, center: int | None) -> Iterator[Allele]:
    sequence = store.sequence(store.gene(gene_id)).tobytes().decode("ascii")
    row = store.table.row(gene_id)
    contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
    first, middle = sequence_start(tss) + 1, tss if center is None else center
    held = range(max(middle - span, first), min(middle + span + 1, first + len(sequence)))
    for pos in held:
        ref = sequence[pos - first]
        if ref in "ACGT":
            for alt in "ACGT".replace(ref, ""):
                yield Allele(0, contig, pos, "", ref, alt, "snv")
