"""Variants of another assembly than the store's are lifted, or refused by header or REF bases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seal_store.errors import VariantError
from seal_store.reference.assembly import GO_ON, ONLY_HEADER, check_variants, same_lengths
from seal_store.scoring.assign import Counts
from seal_store.store.store import Store
from seal_store.variants.liftover import Lifter
from seal_store.variants.source import Alleles, VariantSource

LOOKED_AT = 500
"""Pairs of allele and gene after which it is decided."""
MOST = 0.65
"""Share of them whose REF differs: three quarters in another assembly, half where REF and ALT
are exchanged at random."""


class Watch:
    """Is asked after each chunk; raises :class:`VariantError` if most REF bases differ.

    It decides once, after :data:`LOOKED_AT` pairs, and only if ``active``: for an input whose
    header does not tell the assembly.
    """

    def __init__(self, where: str = "input", *, active: bool = True) -> None:
        self.where, self.active = where, active

    def __call__(self, counts: Counts) -> None:
        """Look at the counts so far."""
        skipped = counts.not_scored["ref_mismatch"] + counts.not_scored["alt_is_reference"]
        seen, differ = counts.rows + skipped, counts.ref_mismatches + skipped
        if not self.active or seen < LOOKED_AT:
            return
        self.active = False
        if differ > MOST * seen:
            raise VariantError(
                f"{self.where}: REF differs from the store's genome in {differ} of the first "
                f"{seen} variants: another assembly?",
                GO_ON,
            )


UNWATCHED = Watch(active=False)
"""Never raises."""


def matched(
    store: Store, alleles: Alleles, *, liftover: Path | None = None, check_assembly: bool = True
) -> tuple[Alleles, Watch]:
    """``alleles``, none of which was read, on the genome of ``store``, and a watch over them.

    With a chain file ``liftover`` they are lifted. Else, and with ``check_assembly``, a file is
    refused whose header is of another assembly; what its header does not tell, the watch does.
    Alleles on a contig of another length than the store's become ``contig_length``. Raises
    :class:`VariantError`, also for a region on a contig that nobody knows, and
    :class:`LiftoverError` for a chain file that does not fit.
    """
    source, facts = alleles.source, store.attributes
    own = facts.genome.contigs
    header = source.contig_lengths if source else {}
    name = source.name if source else alleles.name
    if source is not None:
        source.check_regions({*own, *map(str, store.table.contig)})
    watch = Watch(name, active=check_assembly and not any(same_lengths(header, own).values()))
    if liftover is not None:
        lifter = Lifter(liftover, store)
        lifter.check_variants(name, header)
        return lifter.lift(alleles), watch
    if source is not None and check_assembly:
        check_header(source, facts.assembly, own, f"the store {store.path}")
    return alleles, watch


def check_header(
    source: VariantSource, assembly: str, contigs: Mapping[str, int], where: str
) -> None:
    """Raise :class:`VariantError` if a file's header is not of ``where``, of these contigs."""
    header, named = source.contig_lengths, source.named_assembly
    own = header, assembly, contigs, where, ONLY_HEADER
    source.refuse(check_variants(source.name, *own, named=named))
