"""A store's attributes, kept as ``seal_store`` in its Zarr group, as dataclasses.

``schemas/store-1.json`` bounds the same fields, and is checked first: attributes that come from
elsewhere may hold anything. A test compares the two, field by field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import zarr

from seal_store.common.records import LEFT_OUT, Record
from seal_store.model.config import CnnConfig
from seal_store.model.grid import Grid
from seal_store.store.layout import GENES_PER_SHARD

ATTRIBUTE = "seal_store"


@dataclass(frozen=True, kw_only=True)
class GenomeAttributes(Record):
    """The FASTA; ``contigs``: lengths in bp of those of the gene table that it has."""

    file: str
    sha256: str
    contigs: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class GeneTableAttributes(Record):
    """The gene table: its rows, how many have each status, what was taken of the file.

    ``tss`` is None for the 5' ends of genes, ``gene_types`` for all types.
    """

    file: str
    sha256: str
    genes: int
    status: dict[str, int]
    tss: str | None = field(default=None, metadata=LEFT_OUT)
    gene_types: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True, kw_only=True)
class FileAttributes(Record):
    """A file: its name and the SHA-256 of its bytes."""

    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class CnnAttributes(Record):
    """The CNN: its file, SHA-256 over the tensors' names, shapes and values, and sizes.

    ``features`` is the table that the features' labels are from, None for the published ones.
    """

    file: str
    sha256: str
    config: CnnConfig
    features: FileAttributes | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True, kw_only=True)
class SequenceAttributes(Record):
    """``sequence``: its first base relative to the TSS, and bases a gene."""

    offset: int
    length: int


@dataclass(frozen=True, kw_only=True)
class HeadSetAttributes(Record):
    """A head set: SHA-256 over context names and weights, sizes, lines of its summary file."""

    name: str
    sha256: str
    contexts: int
    latent: int
    summary: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CalibrationBin(Record):
    """Rows of these kinds with ``start <= |dist_to_tss| < stop`` bp; ``stop`` None: no end."""

    kinds: tuple[str, ...]
    start: int
    stop: int | None
    rows: int


@dataclass(frozen=True, kw_only=True)
class CalibrationAttributes(Record):
    """A background: its VCF, effects in each context, options and head sets (SHA-256 by name).

    ``by``, ``bin_edges`` and ``bin_least`` are what was asked for, ``bins`` what came of it;
    None without bins.
    """

    file: str
    sha256: str
    rows: int
    genes: str
    max_distance: int
    ref_mismatch: str = "flag"
    normalize: bool = False
    tf32: bool
    heads: dict[str, str]
    counts: dict[str, Any]
    by: str | None = field(default=None, metadata=LEFT_OUT)
    bin_edges: tuple[int, ...] | None = field(default=None, metadata=LEFT_OUT)
    bin_least: int | None = field(default=None, metadata=LEFT_OUT)
    bins: tuple[CalibrationBin, ...] | None = field(default=None, metadata=LEFT_OUT)
    software: dict[str, str]
    command: str


@dataclass(frozen=True, kw_only=True)
class StoreAttributes(Record):
    """All of them; docs/formats.md says what each one is.

    ``tf32`` is None until the store is finalized, and in stores that do not say.
    """

    format_version: int
    assembly: str
    genome: GenomeAttributes
    gene_table: GeneTableAttributes
    cnn: CnnAttributes
    grid: Grid
    sequence: SequenceAttributes
    genes_per_shard: int = GENES_PER_SHARD
    keep_bits: int | None
    hidden: bool
    source: str
    heads: tuple[HeadSetAttributes, ...]
    software: dict[str, str]
    command: str
    tf32: bool | None = field(default=None, metadata=LEFT_OUT)
    calibration: dict[str, CalibrationAttributes] = field(default_factory=dict, metadata=LEFT_OUT)

    @property
    def genes(self) -> int:
        """Genes computed."""
        return self.gene_table.status.get("computed", 0)

    @property
    def shards(self) -> int:
        """Shards that hold them."""
        return -(-self.genes // self.genes_per_shard)

    @property
    def allowed_tf32(self) -> bool:
        """Whether TF32 was allowed for any shard; older stores tell by their command."""
        return "--tf32" in self.command.split() if self.tf32 is None else self.tf32

    def sizes(self) -> dict[str, int]:
        """Lengths of the dimensions of :data:`~seal_store.store.layout.STORE` and ``CNN``."""
        config = self.cnn.config
        return {
            "gene": self.genes,
            "table_gene": self.gene_table.genes,
            "window": self.grid.bins,
            "decay": 2 * len(self.grid.rates),
            "feature": config.features,
            "unit": config.hidden,
            "strand_read": 2,
            "base": self.sequence.length,
            "context": sum(entry.contexts for entry in self.heads),
            "tap": config.kernel,
            "position": config.positions,
            **{f"conv{n}": width for n, width in enumerate((4, *config.channels))},
        }

    def head_sizes(self, heads: HeadSetAttributes) -> dict[str, int]:
        """Lengths of the dimensions of :data:`~seal_store.store.layout.HEADS` for a head set."""
        inputs = 2 * len(self.grid.rates) * self.cnn.config.features
        return {"latent": heads.latent, "input": inputs, "output": heads.contexts}


def attributes_of(group: zarr.Group) -> StoreAttributes:
    """Those of a store that is being written, so that they are our own."""
    return StoreAttributes.parse(group.attrs[ATTRIBUTE])
