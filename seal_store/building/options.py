"""Options of a build: named one by one, or found in a folder of Seal's files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seal_store.building.seal_folder import SealFolder, locate
from seal_store.common.typed import conform
from seal_store.errors import InputError
from seal_store.model.grid import MAX_DISTANCE
from seal_store.store.layout import GENES_PER_SHARD
from seal_store.store.place import Place
from seal_store.variants.alleles import SCORABLE, place
from seal_store.variants.source import VariantSource


@dataclass(frozen=True)
class BuildOptions:
    """What to build from and where to; see ``seal-store build --help`` for each.

    ``near`` holds (contig, 1-based position) pairs: only genes with a TSS within
    ``max_distance`` bp of one are computed. ``near_lengths`` has the lengths of the contigs that
    these positions are on, if they are known. ``tss`` and ``gene_type`` are those of
    :func:`seal_store.reference.gene_files.read_genes`, ``features`` a table of
    :func:`seal_store.model.labels.read_features`. ``genes_per_shard`` genes (1 to 4096) lie
    in one file of each large array, which one process writes.
    """

    genome: Path
    genes: Path
    cnn: Path
    heads: tuple[Path, ...]
    out: Place
    features: Path | None = None
    from_profiles: Path | None = None
    gene: tuple[str, ...] = ()
    near: Iterable[tuple[str, int]] | None = None
    near_lengths: Mapping[str, int] = field(default_factory=dict)
    tss: str = "gene"
    gene_type: tuple[str, ...] = ()
    max_distance: int = MAX_DISTANCE
    first_offset: int = -19_900
    keep_bits: int | None = None
    hidden: bool = True
    genes_per_shard: int = GENES_PER_SHARD
    overwrite: bool = False
    resume: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        conform(self)


@dataclass(frozen=True)
class Inputs:
    """Options of a build, and what of them was found in a folder of Seal's files."""

    options: BuildOptions
    found: SealFolder | None = None


def gather(
    out: Place,
    *,
    from_seal: Path | None = None,
    near_vcf: Place | None = None,
    **given: Any,
) -> Inputs:
    """Options from those of :func:`seal_store.build`; what is ``given`` is not looked for.

    Raises :class:`InputError` if genome, genes or weights
    are neither given nor found.
    """
    found = None
    if from_seal is not None:
        found = locate(from_seal, [name for name, value in given.items() if value])
        given |= {name: value for name, value in vars(found).items() if value}
    if not all(given.get(name) for name in ("genome", "genes", "cnn")):
        raise InputError(
            "inputs are missing", "give `from_seal`, or `genome`, `genes` and `cnn`, to build from"
        )
    if near_vcf is not None:
        near = VariantSource(near_vcf)
        given["near_lengths"] = near.contig_lengths
        given["near"] = [
            (a.contig, place(a.pos, a.ref, a.alt) if a.kind in SCORABLE else a.pos)
            for a in near.alleles()
            if a.pos
        ]
    return Inputs(BuildOptions(out=out, **given), found)
