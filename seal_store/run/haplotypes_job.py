"""What haplotypes are scored of: store, genotypes and options; which genes, samples, contexts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.common.records import from_json
from seal_store.errors import InputError
from seal_store.reference.assembly import check_variants
from seal_store.reference.contigs import resolve_contig
from seal_store.results.attributes import MadeFrom
from seal_store.results.haplotypes import VERSION, HaplotypesAttributes
from seal_store.scoring.carried import RULES, Rules
from seal_store.scoring.options import DEFAULTS, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.outside import check_outside
from seal_store.store.place import Place
from seal_store.store.store import Store
from seal_store.variants.genotypes import Genotypes, whole_sha256
from seal_store.variants.source import VariantSource


@dataclass(frozen=True)
class HaplotypesJob:
    """What haplotypes are scored of. It can be sent to a process.

    ``vcf`` is in BGZF, or BCF, with an index; ``samples`` of it are by default all. ``genes`` of
    the store are ids or symbols, by default all. With ``check_assembly`` a file is refused whose
    header is of another assembly than the store. Raises :class:`InputError` for another scheme
    than ``grid``.
    """

    store: Place
    out: Place
    vcf: Path
    samples: tuple[str, ...] = ()
    genes: tuple[str, ...] = ()
    options: ScoreOptions = DEFAULTS
    rules: Rules = RULES
    check_assembly: bool = True
    command: str = ""

    def __post_init__(self) -> None:
        if self.options.scheme != "grid":
            raise InputError(
                f"`scheme` {self.options.scheme!r}: haplotypes are anchored at the TSS",
                "use `grid`",
            )

    def on(self, device: str) -> HaplotypesJob:
        """The same job on another device."""
        return replace(self, options=replace(self.options, device=device))


class Prepared:
    """A job whose store and genotypes are opened; ``genes`` are positions in the store, sorted.

    ``other_lengths`` are contigs of the store that have another length in the file's header.
    Raises :class:`~seal_store.errors.VariantError` for a file without index, without a sample, or
    of another assembly, :class:`~seal_store.errors.OutputError` if ``out`` is in the store.
    """

    def __init__(self, job: HaplotypesJob, store: Store | None = None) -> None:
        self.job = job
        self.store = store or Store(job.store)
        check_outside(job.out, self.store, job.vcf)
        self.genotypes = Genotypes(job.vcf, job.samples)
        self.other_lengths = self._other_lengths() if job.check_assembly else frozenset()
        found = {self.store.gene(gene) for gene in job.genes}
        self.genes = sorted(found) or list(range(len(self.store)))
        self.scorer = Scorer(self.store, job.options)

    def _other_lengths(self) -> frozenset[str]:
        source, facts = VariantSource(self.job.vcf), self.store.attributes
        others = check_variants(
            *(self.job.vcf, source.contig_lengths, facts.assembly, facts.genome.contigs),
            f"the store {self.store.path}",
            "lift them over first; or go on with `check_assembly=False`",
            source.named_assembly,
        )
        known = set(map(str, self.store.column("contig")))
        return frozenset(filter(None, (resolve_contig(name, known) for name in others)))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the VCF, all of which is read. Raises as :func:`whole_sha256`."""
        return whole_sha256(self.job.vcf)

    def attributes(self, haplotypes: int, counts: dict[str, int]) -> HaplotypesAttributes:
        """Those of the output."""
        job, made = self.job, self.scorer.provenance()
        return HaplotypesAttributes(
            haplotypes_version=VERSION,
            variants=str(job.vcf),
            variants_sha256=self.sha256,
            unphased=job.rules.unphased,
            phase_sets=job.rules.phase_sets,
            missing=job.rules.missing,
            genes=len(self.genes),
            samples=len(self.genotypes.samples),
            haplotypes=haplotypes,
            contexts=len(self.scorer.context_name),
            device=made["device"],
            tf32=made["tf32"],
            counts=dict(sorted(counts.items())),
            store=from_json(MadeFrom, made["store"]),
            software=made["software"],
            command=job.command,
        )

    def labels(self) -> dict[str, np.ndarray]:
        """Values of the arrays that name genes, samples and contexts."""
        named = ("gene_id", "gene_symbol", "contig", "strand", "tss")
        return {
            **{name: self.store.column(name)[self.genes] for name in named},
            "sample": np.array(self.genotypes.samples),
            "context_name": np.array(self.scorer.context_name),
            "context_set": np.array(self.scorer.context_set),
        }

    def fingerprint(self) -> dict[str, Any]:
        """Whatever must be the same for runs to end with the same bytes, JSON-ready."""
        return fingerprint(self.attributes(0, {}), self.labels())


def fingerprint(attributes: HaplotypesAttributes, labels: dict[str, np.ndarray]) -> dict[str, Any]:
    """What haplotypes were made of: their attributes, but for what came of it, and labels."""
    found = attributes.to_dict()
    for name in ("command", "variants", "haplotypes", "counts"):
        del found[name]
    del found["store"]["path"]
    names = ("gene_id", "sample", "context_set", "context_name")
    return found | {f"{name}s": _digest(labels[name].tolist()) for name in names}


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
