"""Metadata of an atlas: the attribute ``seal_store_atlas``, as dataclasses; its arrays.

``schemas/atlas-1.json`` bounds the same fields; a test compares the two, field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seal_store.atlas.arrays import (
    ALTS,
    BASE,
    COMPACT,
    FACTS,
    FULL,
    LABELS,
    QUANTILE,
    SUMMARY,
    TARGETS,
    of_attributions,
)
from seal_store.common.records import LEFT_OUT, Record
from seal_store.results.attributes import AttributionAttributes, BackgroundAttributes, MadeFrom
from seal_store.store.layout import ArraySpec, shape_of
from seal_store.store.opening import check_attributes
from seal_store.store.place import Place
from seal_store.store.untrusted import Expected

ATTRIBUTE = "seal_store_atlas"
ATLAS_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class AtlasAttributes(Record):
    """All of them; docs/atlas.md says what each one is.

    ``max_error`` is None for effects that are stored as they are. ``floor`` is an effect below
    which errors may be as large as that of it. ``max_distance`` is the span: none is farther.
    """

    atlas_version: int
    scheme: str
    genes: str
    span: int
    max_error: float | None
    floor: float
    regions: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT)
    gene_count: int
    genes_per_shard: int
    contexts: int
    head_sets: int
    device: str
    tf32: bool = False
    calibration: BackgroundAttributes | None = None
    attribution: AttributionAttributes | None = None
    features: int
    store: MadeFrom
    contigs: dict[str, int]
    genome_sha256: str
    gene_table_sha256: str
    software: dict[str, str]
    command: str

    @property
    def is_full(self) -> bool:
        """Whether effects are stored as they are."""
        return self.max_error is None

    @property
    def shards(self) -> int:
        """Shards that hold the genes."""
        return -(-self.gene_count // self.genes_per_shard)

    @property
    def computed(self) -> tuple[ArraySpec, ...]:
        """The arrays that shards have."""
        more = (QUANTILE,) if self.calibration else ()
        why = of_attributions(self.attribution) if self.attribution else ()
        return (BASE, *SUMMARY, *more, *((FULL,) if self.is_full else COMPACT), *why)

    @property
    def arrays(self) -> tuple[ArraySpec, ...]:
        """All arrays."""
        return (*self.computed, *FACTS, *LABELS, *(TARGETS if self.attribution else ()))

    def files_of(self, shard: int) -> dict[str, str]:
        """The file of a shard in each array that shards have, by the array's name."""
        return {
            entry.name: "/".join([entry.name, "c", str(shard), *("0" for _ in entry.dims[1:])])
            for entry in self.computed
        }

    def sizes(self) -> dict[str, int]:
        """Lengths of the dimensions."""
        return {
            "gene": self.gene_count,
            "position": 2 * self.span + 1,
            "alt": ALTS,
            "component": self.contexts,
            "context": self.contexts,
            "head_set": self.head_sets,
            "feature": self.features,
            "target": self.attribution.targets if self.attribution else 0,
            "top": (self.attribution.top_features or 0) if self.attribution else 0,
        }


def parse_attributes(attributes: Mapping[str, Any], where: Place) -> AtlasAttributes:
    """Those of an atlas, checked. Raises :class:`FormatError` as :func:`check_attributes`."""
    return AtlasAttributes.parse(
        check_attributes(attributes, where, ATTRIBUTE, "atlas", ATLAS_VERSION)
    )


def expected_arrays(attributes: AtlasAttributes) -> dict[str, Expected]:
    """Every array of an atlas that has these attributes."""
    sizes, shard = attributes.sizes(), attributes.genes_per_shard
    return {
        entry.name: Expected(entry, shape_of(entry, sizes), shard if entry.sharded else 0)
        for entry in attributes.arrays
    }
