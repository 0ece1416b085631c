"""Assign alleles to genes, and count by reason those that are not scored.

Every allele becomes one task or more, or is counted under one reason. Nothing is lost:
``alleles == alleles_scored + sum(not_scored)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seal_store.reference.assembly import check_name
from seal_store.reference.contigs import resolve_contig
from seal_store.scoring.options import ScoreOptions
from seal_store.store.layout import SEQUENCE_LENGTH
from seal_store.store.store import Store, sequence_start
from seal_store.variants.alleles import SCORABLE, Allele, place

EXAMPLES = 3

REASONS = {
    "no_change": "ALT equals REF",
    "symbolic": "symbolic allele or breakend of which it is not told exactly what it changes",
    "sv_length": "<DEL>, <DUP> or <INV> whose END and SVLEN disagree or hold no base",
    "sv_outside": "<DEL>, <DUP> or <INV> that no computed gene's stored sequence holds as a whole",
    "reference_block": "<NON_REF> or <*> of a gVCF: as the reference, or any other allele",
    "star": "* (an upstream deletion)",
    "missing": "no ALT or no REF",
    "iupac": "bases other than A, C, G, T",
    "malformed": "not a VCF line",
    "telomere": "POS 0 or one behind the contig: a telomere, which has no bases",
    "contig_length": "the input's header gives this contig another length than the store has",
    "liftover_unmapped": "its bases are on no chain to the store's assembly",
    "liftover_ambiguous": "its bases are on several chains",
    "liftover_split": "its bases do not stay side by side on the store's assembly",
    "liftover_gap": "an indel at a gap of the chain: what the store's assembly has is not certain",
    "not_an_snv": "an atlas has changes of single bases only",
    "not_in_atlas": "the atlas has no entry there: too far from its genes, or no base",
    "unknown_contig": "no gene on this contig in the store's gene table",
    "beyond_contig": "position beyond the end of the contig",
    "no_gene_in_range": "no TSS within the distance",
    "gene_not_computed": "its gene is in the table but was not computed in this store",
    "too_long": "REF, ALT or net deletion too long for the scheme or the stored sequence",
    "ref_mismatch": "REF differs from the genome",
    "alt_is_reference": "REF differs from the genome, which has ALT",
}
"""Why an allele is not scored."""


@dataclass(frozen=True, slots=True)
class Task:
    """An allele against one gene; ``gene`` is its position in the store."""

    allele: Allele
    contig: str
    gene: int
    tss: int
    strand: int


def reasons(
    not_scored: Mapping[str, int], examples: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, int, Sequence[str]]]:
    """Of each reason its name, what it means, how many alleles it had, and some of them."""
    return [
        (reason, REASONS.get(reason, reason), count, examples.get(reason, ()))
        for reason, count in not_scored.items()
    ]


@dataclass
class Counts:
    """Where the input went. ``examples`` keeps the first few alleles of each reason.

    ``genes_not_computed`` and ``genes_too_long`` count pairs of allele and gene that gave no row,
    also where the allele has a row for another gene. ``swapped`` counts rows evaluated with REF
    and ALT exchanged, since the store's genome has ALT, ``alt_is_reference`` those that were not
    exchanged, and ``normalized`` those evaluated in a shorter form or further to the left.
    """

    alleles: int = 0
    alleles_scored: int = 0
    rows: int = 0
    ref_mismatches: int = 0
    alt_is_reference: int = 0
    swapped: int = 0
    normalized: int = 0
    genes_not_computed: int = 0
    genes_too_long: int = 0
    not_scored: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def reject(self, allele: Allele, reason: str) -> None:
        """Count ``allele`` under ``reason``."""
        self.not_scored[reason] += 1
        seen = self.examples.setdefault(reason, [])
        if len(seen) < EXAMPLES:
            seen.append(f"{allele}: {allele.problem}" if allele.problem else str(allele))

    def add(self, other: Counts) -> None:
        """Add the counts of input that came later."""
        for name, value in vars(other).items():
            if isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
        self.not_scored.update(other.not_scored)
        for reason, examples in other.examples.items():
            own = self.examples.setdefault(reason, [])
            own += examples[: EXAMPLES - len(own)]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Counts:
        """What :meth:`to_dict` gave."""
        return cls(**{**values, "not_scored": Counter(values["not_scored"])})

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        examples = {reason: list(found) for reason, found in sorted(self.examples.items())}
        not_scored = dict(sorted(self.not_scored.items()))
        return {**vars(self), "not_scored": not_scored, "examples": examples}


class Assigner:
    """Finds an allele's genes in a store, among those with ``|pos - TSS| <= max_distance``.

    ``pos`` is that of the trimmed allele. The genes are all of them or the nearest, decided on the
    whole gene table, as ``options.genes`` says; or ``gene`` alone. An accession of another assembly
    than the store's raises :class:`VariantError`.
    """

    def __init__(self, store: Store, options: ScoreOptions, gene: str | None = None) -> None:
        self.table, self.computed = store.table, store.gene_position
        self.only = None if gene is None else self.table.row(gene)
        self.lengths = store.attributes.genome.contigs
        self.assembly = store.attributes.assembly
        self.options = options

    def __call__(self, allele: Allele, counts: Counts) -> list[Task]:
        """Tasks of one allele; none if it was counted under a reason."""
        if allele.kind not in SCORABLE:
            return self._reject(allele, allele.kind, counts)
        check_name(allele.contig, self.assembly)
        contig = self.table.contig_name(allele.contig)
        if contig is None:
            return self._reject(allele, "unknown_contig", counts)
        length = self.lengths.get(resolve_contig(contig, self.lengths) or "")
        if length is not None and allele.pos + len(allele.ref) - 1 > length:
            reason = "telomere" if allele.pos == length + 1 else "beyond_contig"
            return self._reject(allele, reason, counts)
        if (
            max(len(allele.ref), len(allele.alt)) > SEQUENCE_LENGTH
        ):  # nor are such rows held in memory
            return self._reject(allele, "too_long", counts)
        rows = self._rows(contig, place(allele.pos, allele.ref, allele.alt))
        if not rows:
            return self._reject(allele, "no_gene_in_range", counts)
        tasks = []
        for row in rows:
            gene = self.computed.get(str(self.table.gene_id[row]))
            if gene is None:
                counts.genes_not_computed += 1
                continue
            tss, strand = int(self.table.tss[row]), int(self.table.strand[row])
            tasks.append(Task(allele, contig, gene, tss, strand))
        return tasks or self._reject(allele, "gene_not_computed", counts)

    def _rows(self, contig: str, pos: int) -> list[int]:
        distance = self.options.max_distance
        if self.only is None and self.options.genes == "all":
            return self.table.within(contig, pos, distance)
        row = self.table.nearest(contig, pos) if self.only is None else self.only
        if row is None or contig != self.table.contig[row]:
            return []
        return [row] if abs(pos - int(self.table.tss[row])) <= distance else []

    @staticmethod
    def _reject(allele: Allele, reason: str, counts: Counts) -> list[Task]:
        counts.reject(allele, reason)
        return []


def reference_matches(task: Task, sequence: bytes) -> bool | None:
    """Whether REF equals the gene's stored ``sequence``; None if that does not hold it all."""
    first = task.allele.pos - 1 - sequence_start(task.tss)
    end = first + len(task.allele.ref)
    if first < 0 or end > SEQUENCE_LENGTH:
        return None
    return sequence[first:end] == task.allele.ref.encode("ascii")


def has_alternative(task: Task, sequence: bytes) -> bool:
    """Whether the gene's stored ``sequence`` has ALT in the place of a REF of the same length."""
    ref, alt = task.allele.ref, task.allele.alt
    first = task.allele.pos - 1 - sequence_start(task.tss)
    return len(ref) == len(alt) and sequence[first : first + len(alt)] == alt.encode("ascii")
