"""What a store is built from: named one by one, or found in a folder of Seal's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seal_store.building.plan import BuildOptions
from seal_store.building.seal_folder import SealFolder, locate
from seal_store.errors import InputError
from seal_store.variants.source import VariantSource


@dataclass(frozen=True)
class Inputs:
    """Options of a build, and what of them was found in the folder."""

    options: BuildOptions
    found: SealFolder | None = None


def gather(
    out: Path,
    *,
    from_seal: Path | None = None,
    near_vcf: Path | None = None,
    **given: Any,
) -> Inputs:
    """Options from those of :func:`seal_store.build`; what is ``given`` is not looked for.

    Raises :class:`InputError` if genome, genes or weights are neither given nor found.
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
        given["near"] = [(a.contig, a.pos) for a in near.alleles() if a.pos]
    return Inputs(BuildOptions(out=out, **given), found)
