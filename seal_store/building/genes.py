"""Which genes of a gene table a store computes, and why the others not."""

from __future__ import annotations

import numpy as np

from seal_store.building.options import BuildOptions
from seal_store.errors import GeneTableError, GenomeError, ProfileError
from seal_store.reference.assembly import check_variants
from seal_store.reference.contigs import assemblies_that_hold, called, differ
from seal_store.reference.fasta import Genome
from seal_store.reference.gene_table import GeneTable


def check_assembly(genes: GeneTable, genome: Genome, options: BuildOptions) -> None:
    """Raise an :class:`InputError` if gene table or variants are of another assembly."""
    if differ(genes.assembly, genome.assembly):
        raise GenomeError(
            f"{options.genes} is of {called(genes.assembly)}, {options.genome} is of "
            f"{called(genome.assembly)}",
            "give both of one assembly",
        )
    check_variants(
        "`near_vcf`",
        options.near_lengths,
        genome.assembly,
        genome.lengths,
        str(options.genome),
        "give variants of the same assembly",
    )


def select(genes: GeneTable, genome: Genome, options: BuildOptions) -> np.ndarray:
    """Status of every gene of the table: ``computed``, or why it is not.

    Raises an :class:`InputError` if a TSS lies beyond its contig, a gene asked for is not there,
    or none is left to compute.
    """
    status = np.full(len(genes), "computed", dtype="<U20")
    absent = [name for name in np.unique(genes.contig) if genome.resolve(str(name)) is None]
    status[np.isin(genes.contig, absent)] = "contig_not_in_fasta"
    for row in map(int, np.flatnonzero(status == "computed")):
        contig = genome.resolve(str(genes.contig[row])) or ""
        if genes.tss[row] > genome.lengths[contig]:
            raise _beyond(genes, row, genome, options)
    wanted = np.ones(len(genes), bool)
    if options.gene:
        rows = [genes.row(gene) for gene in options.gene]
        for row in rows:
            if status[row] != "computed":
                raise GenomeError(
                    f"gene {genes.gene_id[row]}: no contig {str(genes.contig[row])!r} in "
                    f"{options.genome}",
                    "check the assembly",
                )
        wanted &= np.isin(np.arange(len(genes)), rows)
    if options.near is not None:
        near = np.zeros(len(genes), bool)
        for contig, position in options.near:
            name = genes.contig_name(contig)
            if name is not None:
                near[genes.within(name, position, options.max_distance)] = True
        wanted &= near
    if options.from_profiles is not None:
        folder = options.from_profiles
        if not folder.is_dir():
            raise ProfileError(f"profile folder not found: {folder}", "check `from_profiles`")
        have = [path.stem for path in folder.glob("*.npy")]
        status[(status == "computed") & ~np.isin(genes.gene_id, have)] = "no_profile"
    status[(status == "computed") & ~wanted] = "not_selected"
    if not (status == "computed").any():
        found = ", ".join(f"{n} {s}" for s, n in counts(status).items())
        raise GeneTableError(f"{options.genes}: no gene left to compute ({found})")
    return status


def _beyond(genes: GeneTable, row: int, genome: Genome, options: BuildOptions) -> GenomeError:
    """A TSS beyond the end of its contig, with what the whole table's positions tell."""
    contig = genome.resolve(str(genes.contig[row])) or ""
    largest = {str(name): int(genes.tss[genes.contig == name].max()) for name in set(genes.contig)}
    fitting = assemblies_that_hold(largest)
    fits = f"; its positions fit {' and '.join(map(called, fitting))}" if fitting else ""
    return GenomeError(
        f"gene {genes.gene_id[row]}: TSS {genes.tss[row]} is beyond the end of {contig} "
        f"({genome.lengths[contig]} bp) in {options.genome}, which is of {called(genome.assembly)}",
        f"gene table and FASTA are of different assemblies{fits}",
    )


def counts(values: np.ndarray) -> dict[str, int]:
    """How often each value is there."""
    return {str(n): int(c) for n, c in zip(*np.unique(values, return_counts=True), strict=True)}
