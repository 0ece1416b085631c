"""Effects of haplotypes: a Zarr group of distinct haplotypes, and which of them each copy carries.

The attribute ``seal_store_haplotypes`` says how they were made; ``schemas/haplotypes-1.json``
bounds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from seal_store.common.extras import require
from seal_store.common.output import Output
from seal_store.common.records import Record
from seal_store.common.typed import texts
from seal_store.common.words import counted
from seal_store.errors import InputError
from seal_store.model.contexts import select_contexts
from seal_store.results.attributes import MadeFrom
from seal_store.scoring.assign import REASONS
from seal_store.store import manifest
from seal_store.store import untrusted as guard
from seal_store.store.layout import STORE, ArraySpec, create, get, read, shape_of, spec
from seal_store.store.opening import check_attributes, consolidate, open_all
from seal_store.store.place import Place, place
from seal_store.store.summary import Shown
from seal_store.store.untrusted import Expected, column
from seal_store.variants.genotypes import LEFT_OUT, REFERENCE

if TYPE_CHECKING:
    import anndata
    import pandas as pd

ATTRIBUTE = "seal_store_haplotypes"
VERSION = 1

WHY = {
    "unphased": "heterozygous and not phased: its copy is not known",
    "missing_genotype": "not called on a copy, which is scored without it",
    "ref_mismatch": "REF differs from the store's genome",
    "overlapping": "overlaps an allele before it on the same copy",
    "genes_left_out": "genes of samples: several phase sets in its windows, or on request",
    "no_records": "genes of samples: on a contig of which the file has no record",
    "contig_length": "genes of samples: the file's header gives the contig another length",
    "partial_copy": "on a copy that the sample has of a part of the windows only",
    "too_long": "a haplotype that the stored sequence is too short for",
}
"""Why an allele on a copy, or a gene of a sample, is left out; others are kinds of alleles."""

_BY = ("context",)


def _of_haplotype(name: str, dtype: str, meaning: str, by: tuple[str, ...] = ()) -> ArraySpec:
    """An array of a value for each haplotype, or for each and what it is ``by``."""
    about = ("ln(expression + pseudocount)", "haplotype_gene context_name context_set")
    own = about if by else ("", "")
    return ArraySpec(name, dtype, ("haplotype", *by), meaning, *own, {"haplotype": 2048})


ARRAYS = (
    _of_haplotype(
        "effect",
        "float32",
        "predicted change of expression, all alleles of a haplotype together minus the genome",
        _BY,
    ),
    _of_haplotype(
        "interaction",
        "float32",
        "effect minus the sum of the effects of its alleles, each alone",
        _BY,
    ),
    _of_haplotype("haplotype_gene", "int32", "its gene, by place along gene"),
    _of_haplotype("alleles", "str", "POS:REF>ALT of its alleles, 1-based, trimmed"),
    _of_haplotype("copies", "int64", "copies that carry it"),
    ArraySpec(
        "haplotype_of",
        "int32",
        ("gene", "sample", "copy"),
        "haplotype by place; -1: the genome's bases, -2: left out, -3: no such copy",
        "",
        "gene_id sample",
        {"gene": 64},
    ),
    *(spec(STORE, name) for name in ("gene_id", "gene_symbol", "contig", "strand", "tss")),
    ArraySpec("sample", "str", ("sample",), "name"),
    ArraySpec("context_name", "str", ("context",), "context"),
    ArraySpec("context_set", "str", ("context",), "head set"),
)


@dataclass(frozen=True, kw_only=True)
class HaplotypesAttributes(Record):
    """How haplotypes were scored; ``counts`` are what was left out, by reason."""

    haplotypes_version: int
    variants: str
    variants_sha256: str
    unphased: str
    phase_sets: str
    genes: int
    samples: int
    haplotypes: int
    contexts: int
    device: str
    tf32: bool
    counts: dict[str, int]
    store: MadeFrom
    software: dict[str, str]
    command: str
    missing: str = "leave-out"

    def sizes(self) -> dict[str, int]:
        """Lengths of the dimensions."""
        return {
            "gene": self.genes,
            "sample": self.samples,
            "copy": 2,
            "haplotype": self.haplotypes,
            "context": self.contexts,
        }


def parse_attributes(attributes: Mapping[str, Any], where: Place) -> HaplotypesAttributes:
    """Those of haplotypes, checked. Raises :class:`FormatError` as :func:`check_attributes`."""
    return HaplotypesAttributes.parse(
        check_attributes(attributes, where, ATTRIBUTE, "haplotypes", VERSION)
    )


def expected_arrays(attributes: HaplotypesAttributes) -> dict[str, Expected]:
    """Every array of haplotypes that have these attributes."""
    sizes = attributes.sizes()
    return {entry.name: Expected(entry, shape_of(entry, sizes)) for entry in ARRAYS}


def write_haplotypes(
    out: Output,
    attributes: HaplotypesAttributes,
    parts: Callable[[str], Iterable[np.ndarray]],
) -> None:
    """Write a group to ``out`` and publish it; ``parts`` of each array follow one another.

    No more of an array is held than a chunk and a part.
    """
    about = {ATTRIBUTE: attributes.to_dict()}
    group = zarr.create_group(str(out.partial), zarr_format=3, attributes=about)
    for entry in ARRAYS:
        _fill(create(group, entry, attributes.sizes()), parts(entry.name))
    consolidate(out.partial)
    manifest.publish(out, {})


def _fill(array: zarr.Array[Any], parts: Iterable[np.ndarray]) -> None:
    """Write ``parts`` one after another, whole chunks at once."""
    chunk = np.empty((array.chunks[0], *array.shape[1:]), array.dtype)
    start = filled = 0
    for part in parts:
        while len(part):
            own, part = np.split(part, [len(chunk) - filled])
            chunk[filled : filled + len(own)] = own
            filled += len(own)
            if filled == len(chunk):
                array[start : start + filled] = chunk
                start, filled = start + filled, 0
    if filled:
        array[start:] = chunk[:filled]


class Haplotypes(Shown, manifest.Finished):
    """Finished effects of haplotypes, read only. ``attributes`` say how they were made."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises :class:`~seal_store.errors.FormatError` for what is none."""
        self.path: Place = place(path)
        self.listed = self._listed("haplotypes", "score them again")
        metadata = guard.read_metadata(self.path, self.listed)
        self.attributes = parse_attributes(metadata["attributes"], self.path)
        self.group = open_all(self.path, metadata, expected_arrays(self.attributes), self.listed)

    def __len__(self) -> int:
        return self.attributes.haplotypes

    def _summary(self) -> tuple[str, dict[str, str]]:
        """What a notebook shows: a title and lines, of names from anywhere."""
        made = self.attributes
        lines = {
            "haplotypes": f"{len(self):,}, distinct ones of {counted(made.genes, 'gene')}",
            "samples": f"{made.samples:,}",
            "contexts": f"{made.contexts:,}",
            "variants": made.variants,
            "left out": ", ".join(f"{n:,} {why}" for why, n in made.counts.items()) or "none",
            "store": f"{made.store.path}, sha256 {made.store.sha256[:16]}",
        }
        if made.store.synthetic:
            lines["weights"] = "SYNTHETIC: no biological meaning"
        return f"Haplotypes {self.path}", lines

    def column(self, name: str) -> np.ndarray:
        """A whole array; strings as numpy ``U``."""
        return column(get(self.group, name), self.path)

    def dosage(self, context: str) -> pd.DataFrame:
        """Mean effect of the copies of each gene on one context: samples in rows, genes in columns.

        ``context`` is a name, or ``set:name`` where several head sets have it. A copy with the
        genome's bases counts 0; of a copy that is not there nothing is counted. NaN where a gene
        of a sample was left out. Raises :class:`~seal_store.errors.HeadsError` for another name,
        :class:`~seal_store.errors.InputError` if several contexts are meant.
        """
        import pandas as pd

        return pd.DataFrame(
            self._dosage(self._context(context)).T,
            index=pd.Index(self.column("sample"), name="sample"),
            columns=pd.Index(self.column("gene_id"), name="gene_id"),
        )

    def left_out(self) -> list[tuple[str, int, str]]:
        """Of each reason for which something was left out its name, how often, what it means."""
        meanings = REASONS | WHY
        return [
            (reason, count, meanings.get(reason, "not scored"))
            for reason, count in self.attributes.counts.items()
        ]

    def contexts(self) -> list[tuple[str, str]]:
        """Head set and name of each context."""
        sets, names = self.column("context_set"), self.column("context_name")
        return list(zip(sets.tolist(), names.tolist(), strict=True))

    def _context(self, context: str) -> int:
        found = select_contexts(self.contexts(), (context,))
        if len(found) != 1:
            first = ":".join(self.contexts()[found[0]])
            raise InputError(
                f"`context` {context}: {len(found)} contexts are meant", f"name one, as {first}"
            )
        return int(found[0])

    def _dosage(self, context: int) -> np.ndarray:
        """Of one context ``(genes, samples)``."""
        effect = read(get(self.group, "effect"), (slice(None), context))
        place = self.column("haplotype_of")
        own = np.where(place >= 0, effect[np.maximum(place, 0)] if len(effect) else 0, 0)
        there = place >= REFERENCE
        count = there.sum(2)
        mean = np.divide(
            (own * there).sum(2), count, out=np.full(count.shape, np.nan), where=count > 0
        )
        mean[(place == LEFT_OUT).any(2)] = np.nan
        return mean

    def to_anndata(self, contexts: str | Sequence[str] = ()) -> anndata.AnnData:
        """Dosages as AnnData: samples x genes, a layer for each of ``contexts`` (all by default).

        Needs the extra ``anndata``.
        """
        require("anndata", "dosages as AnnData")
        import anndata
        import pandas as pd

        names = texts("contexts", contexts) or tuple(map(":".join, self.contexts()))
        layers = {name: self._dosage(self._context(name)).T for name in names}
        genes = {n: self.column(n) for n in ("gene_symbol", "contig", "strand", "tss")}
        return anndata.AnnData(
            obs=pd.DataFrame(index=self.column("sample")),
            var=pd.DataFrame(genes, index=self.column("gene_id")),
            layers=layers,
            uns={ATTRIBUTE: self.attributes.to_dict()},
        )
