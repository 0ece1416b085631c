"""The arrays of an atlas, as data.

A gene's entries stand by position and alternative base: ``position`` ``i`` is ``TSS - span + i`` on
the contig (1-based, + strand, whatever the gene's strand), ``alt`` 0 to 2 are the bases other than
the reference's in the order A, C, G, T.
"""

from __future__ import annotations

from dataclasses import replace

from seal_store.scoring.attribution_arrays import Asked, attribution_arrays
from seal_store.store.layout import STORE as STORE_ARRAYS
from seal_store.store.layout import ArraySpec, spec

BASES = b"ACGT"
ALTS = 3

_WHERE = "gene_id contig strand tss"
_LN = "ln(expression + pseudocount)"
_NEAR = {"position": 1024}
"""Of arrays with few numbers an SNV: 12 kB a chunk."""


def _of_snv(
    name: str, dtype: str, meaning: str, unit: str = "", more: tuple[str, ...] = ()
) -> ArraySpec:
    dims = ("gene", "position", "alt", *more)
    return ArraySpec(
        name, dtype, dims, meaning, unit, _WHERE, _NEAR, sharded=True, written="shards"
    )


BASE = ArraySpec(
    "base",
    "uint8",
    ("gene", "position"),
    "ASCII reference base of the + strand where there are entries, else 0",
    "",
    _WHERE,
    _NEAR,
    sharded=True,
    written="shards",
)

SUMMARY = (
    _of_snv("largest", "float32", "effect of the largest size over all contexts, signed", _LN),
    _of_snv("largest_context", "int16", "its context, by position along context"),
    _of_snv("rms", "float32", "root mean square of the effects over all contexts", _LN),
    _of_snv(
        "largest_by_set",
        "float32",
        "effect of the largest size over the contexts of each head set, signed",
        _LN,
        ("head_set",),
    ),
)

QUANTILE = _of_snv(
    "quantile",
    "float32",
    "place of `largest` among the background's effects in its context, -1 to 1",
)
"""Of atlases whose store had a calibration that fits."""

COMPACT = (
    _of_snv(
        "step",
        "float32",
        "unit of the coefficients; negative: these are the effects themselves, not components",
        _LN,
    ),
    ArraySpec(
        "coefficient",
        "int16",
        ("gene", "position", "component", "alt"),
        "effects as whole numbers of steps: effect = step * (coefficient @ basis)",
        "",
        _WHERE,
        {"position": 128},
        sharded=True,
        written="shards",
    ),
    ArraySpec(
        "basis",
        "float32",
        ("gene", "component", "context"),
        "directions of the effects, the first `rank` of them; else 0",
        "",
        f"{_WHERE} context_name context_set",
        sharded=True,
        written="shards",
    ),
)

FULL = ArraySpec(
    "effect",
    "float32",
    ("gene", "position", "alt", "context"),
    "predicted change of expression, alt minus ref",
    _LN,
    f"{_WHERE} context_name context_set",
    {"position": 32},
    sharded=True,
    written="shards",
)

FACTS = (
    ArraySpec("rank", "int32", ("gene",), "directions in `basis`; 0: effects without one"),
    ArraySpec("entries", "int64", ("gene",), "SNVs that have an entry"),
    ArraySpec("other_bases", "int64", ("gene",), "positions left out: no A, C, G or T there"),
    ArraySpec(
        "error", "float32", ("gene",), "largest error of an effect, as share of its SNV's largest"
    ),
)
"""Known once a gene is done; the error is of what is above the floor."""

LABELS = (
    *(spec(STORE_ARRAYS, name) for name in ("gene_id", "gene_symbol", "contig", "strand", "tss")),
    ArraySpec("context_name", "str", ("context",), "context"),
    ArraySpec("context_set", "str", ("context",), "head set"),
    ArraySpec("head_set", "str", ("head_set",), "head set"),
)

TARGETS = (
    ArraySpec("target_name", "str", ("target",), "context attributed"),
    ArraySpec("target_set", "str", ("target",), "its head set"),
    ArraySpec("feature_name", "str", ("feature",), "unique name"),
)
"""Labels of an atlas with attributions."""


def of_attributions(asked: Asked) -> tuple[ArraySpec, ...]:
    """Arrays of the strongest attributions of each SNV, as results have them of a variant."""
    found = []
    for entry in attribution_arrays(asked):
        dims = ("gene", "position", "alt", *("top" if d == "rank" else d for d in entry.dims[1:]))
        found.append(
            replace(
                entry,
                dims=dims,
                coordinates=f"{_WHERE} target_name target_set",
                chunks={"position": 128},
                sharded=True,
                written="shards",
            )
        )
    return tuple(found)
