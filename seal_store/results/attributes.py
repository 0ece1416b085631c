"""Metadata of a results group: the attribute ``seal_store_results``, as dataclasses.

``schemas/results-1.json`` bounds the same fields; a test compares the two, field by field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from seal_store.common.records import LEFT_OUT, Record
from seal_store.model.grid import Grid


@dataclass(frozen=True, kw_only=True)
class AttributionAttributes(Record):
    """How attributions were made; without samples ``samples``, ``seed`` and ``captum`` are None."""

    method: str
    targets: int
    samples: int | None
    seed: int | None
    top_features: int | None
    by: tuple[str, ...]
    dtype: str
    device: str | None = field(default=None, metadata=LEFT_OUT)
    captum: str | None = None


@dataclass(frozen=True, kw_only=True)
class BackgroundAttributes(Record):
    """The background of ``quantile`` and ``z``, as the store's calibration has it."""

    file: str
    sha256: str
    rows: int
    genes: str
    max_distance: int
    name: str | None = field(default=None, metadata=LEFT_OUT)
    by: str | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True, kw_only=True)
class LiftoverAttributes(Record):
    """The chain file by which the variants were lifted."""

    chain: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class MadeFrom(Record):
    """The store that results were made from; ``heads`` are SHA-256 by name."""

    path: str
    sha256: str
    synthetic: bool = False
    assembly: str
    grid: Grid | None = field(default=None, metadata=LEFT_OUT)
    cnn_sha256: str
    heads: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class AtlasSource(Record):
    """The atlas that rows were looked up in, and the largest error that it states."""

    path: str
    sha256: str
    max_error: float | None


@dataclass(frozen=True, kw_only=True)
class CountsAttributes(Record):
    """Where the input went; see :class:`seal_store.scoring.assign.Counts`."""

    alleles: int
    alleles_scored: int
    rows: int
    ref_mismatches: int
    alt_is_reference: int = 0
    swapped: int = 0
    normalized: int = 0
    genes_not_computed: int = 0
    genes_too_long: int = 0
    not_scored: dict[str, int]
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MergedFrom(Record):
    """Results that were merged: what they had of their own, and ``sha256`` of their manifest."""

    variants: str
    variants_sha256: str | None
    regions: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT)
    command: str
    software: dict[str, str]
    device: str | None = field(default=None, metadata=LEFT_OUT)
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ResultsAttributes(Record):
    """All of them; docs/formats.md says what each one is."""

    results_version: int
    scheme: str
    genes: str
    max_distance: int
    ref_mismatch: str
    normalize: bool = False
    gene: str | None = None
    device: str | None = field(default=None, metadata=LEFT_OUT)
    tf32: bool = False
    attribution: AttributionAttributes | None = None
    calibration: BackgroundAttributes | None = None
    variants: str
    variants_sha256: str | None = None
    liftover: LiftoverAttributes | None = None
    store: MadeFrom
    atlas: AtlasSource | None = field(default=None, metadata=LEFT_OUT)
    software: dict[str, str]
    command: str
    regions: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT)
    counts: CountsAttributes
    attribution_command: str | None = field(default=None, metadata=LEFT_OUT)
    attribution_software: dict[str, str] | None = field(default=None, metadata=LEFT_OUT)
    merged: tuple[MergedFrom, ...] | None = field(default=None, metadata=LEFT_OUT)
