"""The arrays of a store and of a results group, as data.

Shapes, chunks, validation and documentation follow from these tables. Every array names its
dimensions (so xarray can open the group), is chunked in multiples of 8 elements where it is
bit-shuffled, and ends each chunk with a crc32c.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from seal_store.errors import FormatError

FORMAT_VERSION = 1
RESULTS_VERSION = 1

GENES_PER_SHARD = 64
"""Unless the plan of a store says another number; of all stores that do not tell theirs."""

WINDOWS_PER_CHUNK = 20
VARIANTS_PER_CHUNK = 2048

SEQUENCE_OFFSET = -22_500
SEQUENCE_LENGTH = 45_000
"""``sequence`` holds 1-based TSS - 22500 ... TSS + 22499 of the + strand."""

CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class ArraySpec:
    """One array: name, dtype, dimensions, meaning, unit and ``coordinates`` (for xarray).

    ``chunks`` gives chunk lengths by dimension where they are not the whole dimension;
    ``sharded`` arrays have a chunk for each gene and ``WINDOWS_PER_CHUNK`` windows, or as
    ``chunks`` says, and keep the genes of a shard in one file. ``written`` in a build by the
    ``plan``, each of the ``shards`` or ``finalize``, which writes those that need head sets.
    ``weights`` are not compressed, as they hardly shrink, and have chunks of ``CHUNK_BYTES`` along
    their first dimension.
    """

    name: str
    dtype: str
    dims: tuple[str, ...]
    meaning: str
    unit: str = ""
    coordinates: str = ""
    chunks: Mapping[str, int] | None = None
    sharded: bool = False
    written: str = "plan"
    weights: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes of one value in memory; 16 for a string."""
        return 16 if self.dtype == "str" else np.dtype(self.dtype).itemsize

    @property
    def attributes(self) -> dict[str, Any]:
        """What the array says of itself."""
        about = {"long_name": self.meaning, "units": self.unit, "coordinates": self.coordinates}
        return {key: value for key, value in about.items() if value}


_GENE = "gene_id gene_symbol contig strand tss"
_FEATURE = "feature_name feature_assay_type"
_CONTEXT = "context_name context_set"
_EFFECT = f"contig pos ref alt gene_id {_CONTEXT}"
_TARGET = "contig pos ref alt gene_id target_name target_set"
_LN = "ln(expression + pseudocount)"

STORE = (
    ArraySpec(
        "features",
        "float32",
        ("gene", "window", "feature"),
        "reference chromatin features, mean of both strands; window 0 is the most upstream",
        "probability",
        f"{_GENE} window_offset {_FEATURE}",
        sharded=True,
        written="shards",
    ),
    ArraySpec(
        "hidden",
        "float16",
        ("gene", "window", "strand_read", "unit"),
        "output of the first linear layer before its ReLU; strand_read 0 is the genome's + strand,"
        " 1 its reverse complement",
        "",
        f"{_GENE} window_offset",
        sharded=True,
        written="shards",
    ),
    ArraySpec(
        "aggregated",
        "float32",
        ("gene", "decay", "feature"),
        "exponential decay sums of the unrounded features",
        "",
        f"{_GENE} {_FEATURE}",
        sharded=True,
        written="shards",
    ),
    ArraySpec(
        "sequence",
        "uint8",
        ("gene", "base"),
        "ASCII bases of the + strand, 1-based TSS-22500 to TSS+22499; N beyond the contig",
        "",
        _GENE,
        sharded=True,
    ),
    ArraySpec(
        "expression",
        "float32",
        ("gene", "context"),
        "heads on aggregated: reference predictions",
        _LN,
        f"{_GENE} {_CONTEXT}",
        {"gene": 256},
        written="finalize",
    ),
    ArraySpec("gene_id", "str", ("gene",), "gene id, as in the gene table"),
    ArraySpec("gene_symbol", "str", ("gene",), "gene symbol"),
    ArraySpec("gene_type", "str", ("gene",), "gene type"),
    ArraySpec("contig", "str", ("gene",), "contig, as the gene table spells it"),
    ArraySpec("strand", "int8", ("gene",), "+1 or -1"),
    ArraySpec("tss", "int64", ("gene",), "CAGE representative TSS", "bp, 1-based"),
    ArraySpec("window_offset", "int64", ("window",), "window centre relative to the TSS", "bp"),
    ArraySpec("decay_weight", "float64", ("decay", "window"), "weights of the decay sums"),
    ArraySpec("feature_name", "str", ("feature",), "unique name"),
    ArraySpec("feature_assay_type", "str", ("feature",), "TF, Histone or DNase"),
    ArraySpec("feature_factor", "str", ("feature",), "protein, mark or DNase"),
    ArraySpec("feature_cell_type", "str", ("feature",), "cell type of the experiment"),
    ArraySpec("feature_treatment", "str", ("feature",), "treatment of the cells"),
    ArraySpec(
        "context_name", "str", ("context",), "context, as its head set names it", written="finalize"
    ),
    ArraySpec("context_set", "str", ("context",), "head set", written="finalize"),
    ArraySpec("context_kind", "str", ("context",), "region or cell", written="finalize"),
    ArraySpec("context_stage", "str", ("context",), "developmental stage", written="finalize"),
    ArraySpec("context_region", "str", ("context",), "brain region", written="finalize"),
    ArraySpec("context_cell_type", "str", ("context",), "cell type", written="finalize"),
    ArraySpec("table/gene_id", "str", ("table_gene",), "gene id, the whole table in file order"),
    ArraySpec("table/gene_symbol", "str", ("table_gene",), "gene symbol"),
    ArraySpec("table/gene_type", "str", ("table_gene",), "gene type"),
    ArraySpec("table/contig", "str", ("table_gene",), "contig"),
    ArraySpec("table/strand", "int8", ("table_gene",), "+1 or -1"),
    ArraySpec("table/tss", "int64", ("table_gene",), "TSS", "bp, 1-based"),
    ArraySpec(
        "table/status",
        "str",
        ("table_gene",),
        "computed, not_selected, contig_not_in_fasta or no_profile",
    ),
)

SHARD_ARRAYS = tuple(entry.name for entry in STORE if entry.written == "shards")


def _weight(name: str, dims: tuple[str, ...]) -> ArraySpec:
    return ArraySpec(name, "float32", dims, "weights", weights=True)


CNN = (
    *(
        entry
        for n in range(1, 7)
        for entry in (
            _weight(f"cnn/conv{n}_weight", (f"conv{n}", f"conv{n - 1}", "tap")),
            _weight(f"cnn/conv{n}_bias", (f"conv{n}",)),
        )
    ),
    _weight("cnn/linear1_weight", ("position", "conv6", "unit")),
    _weight("cnn/linear1_bias", ("unit",)),
    _weight("cnn/linear2_weight", ("feature", "unit")),
    _weight("cnn/linear2_bias", ("feature",)),
)
"""Of a store, beside :data:`STORE`: named as the CNN's tensors, in its order."""

HEADS = (
    _weight("w1", ("latent", "input")),
    _weight("b1", ("latent",)),
    _weight("w2", ("output", "latent")),
    _weight("b2", ("output",)),
    ArraySpec("context", "str", ("output",), "context names, in output order"),
)
"""In the group ``heads/SET`` of a store, for each head set."""


def _by_context(name: str, meaning: str, unit: str = "") -> ArraySpec:
    return ArraySpec(name, "float32", ("variant", "context"), meaning, unit, _EFFECT)


RESULTS = (
    _by_context("effect", "predicted change of expression, alt minus ref", _LN),
    ArraySpec("contig", "str", ("variant",), "contig, as the gene table spells it"),
    ArraySpec("pos", "int64", ("variant",), "position as in the input", "bp, 1-based"),
    ArraySpec("id", "str", ("variant",), "ID as in the input"),
    ArraySpec("ref", "str", ("variant",), "reference allele, upper case"),
    ArraySpec("alt", "str", ("variant",), "alternative allele, upper case"),
    ArraySpec("kind", "str", ("variant",), "snv, mnv, insertion, deletion or complex"),
    ArraySpec("gene_id", "str", ("variant",), "gene"),
    ArraySpec("strand", "int8", ("variant",), "strand of the gene, +1 or -1"),
    ArraySpec("dist_to_tss", "int64", ("variant",), "pos - TSS", "bp"),
    ArraySpec("ref_match", "bool", ("variant",), "the input's REF equals the genome"),
    ArraySpec("status", "str", ("variant",), "scored, swapped, alt_is_reference or outside_grid"),
    ArraySpec("context_name", "str", ("context",), "context"),
    ArraySpec("context_set", "str", ("context",), "head set"),
)

NAMED = (
    ArraySpec("input_chrom", "str", ("variant",), "contig, as the input spells it"),
    ArraySpec("gene_symbol", "str", ("variant",), "symbol of the gene; empty if not known"),
    ArraySpec("end", "int64", ("variant",), "last base of REF, or END of an SV", "bp, 1-based"),
)
"""In results of this version of the package, beside :data:`RESULTS`; older ones lack them."""

LIFTED = (
    ArraySpec("source_contig", "str", ("variant",), "contig in the input"),
    ArraySpec("source_pos", "int64", ("variant",), "position in the input", "bp, 1-based"),
    ArraySpec("source_ref", "str", ("variant",), "reference allele in the input"),
    ArraySpec("source_alt", "str", ("variant",), "alternative allele in the input"),
    ArraySpec(
        "liftover",
        "str",
        ("variant",),
        "lifted, or swapped (the store's genome has ALT); with _reverse on the other strand",
    ),
)
"""In results of lifted variants: ``contig``, ``pos``, ``ref`` and ``alt`` are the store's."""

SOURCE = ArraySpec("source", "str", ("variant",), "atlas (looked up) or computed")
"""In results of which an atlas was asked."""

PLACES = (
    ArraySpec("line", "int64", ("variant",), "line in the file, 0 where not known", "1-based"),
    ArraySpec("row", "int64", ("variant",), "row of the table or list given in Python", "0-based"),
)
"""One of them in results: where in the input each row's variant stands."""

CALIBRATED = (
    _by_context(
        "quantile",
        "place of the effect among those of the store's background, -1 to 1; 0 is their median",
    ),
    _by_context("z", "effect minus the background's mean, in its standard deviations"),
)
"""Beside the effects in a results group that was scored with a calibration."""

CALIBRATION_LEVELS = 1_019
"""Quantiles kept of a background's effects in each context."""

CALIBRATION = (
    ArraySpec("quantile", "float64", ("level",), "share of the background at or below"),
    ArraySpec(
        "effect_quantile",
        "float32",
        ("context", "level"),
        "quantiles of the background's effects",
        _LN,
        _CONTEXT,
    ),
    ArraySpec("mean", "float64", ("context",), "mean of the background's effects", _LN, _CONTEXT),
    ArraySpec(
        "sd",
        "float64",
        ("context",),
        "standard deviation of the background's effects (divisor: their number)",
        _LN,
        _CONTEXT,
    ),
    ArraySpec("count", "int64", ("context",), "effects of the background", "", _CONTEXT),
    ArraySpec("context_name", "str", ("context",), "context"),
    ArraySpec("context_set", "str", ("context",), "head set"),
)
"""In ``calibration/SCHEME``, or ``calibration/SCHEME.NAME``, of a store that is calibrated."""

CALIBRATION_BINS = tuple(
    replace(
        entry,
        name=f"bin_{entry.name}",
        dims=("bin", *entry.dims),
        meaning=f"{entry.meaning} in each bin",
        chunks={"bin": 1},
    )
    for entry in CALIBRATION
    if entry.name in ("effect_quantile", "mean", "sd")
)
"""Beside them where the calibration has bins."""


def _by_target(
    name: str,
    meaning: str,
    unit: str = "",
    *,
    dim: str = "",
    labels: str = "",
    dtype: str = "float32",
) -> ArraySpec:
    """An array of one value for each row and target, or of one for each ``dim`` of these."""
    dims = ("variant", "target", dim) if dim else ("variant", "target")
    return ArraySpec(name, dtype, dims, meaning, unit, f"{_TARGET} {labels}".strip())


ATTRIBUTION = (
    _by_target(
        "attribution",
        "share of each feature in the effect on the target context, ten decay rows added up",
        _LN,
        dim="feature",
        labels=_FEATURE,
    ),
    _by_target(
        "attribution_feature",
        "index of the feature that each attribution belongs to, strongest first; -1: none",
        dim="rank",
        dtype="int32",
    ),
    _by_target("attribution_scale", "number to multiply a float16 attribution with"),
    _by_target("completeness", "sum of all attributions minus effect", _LN),
    *(
        _by_target(
            f"attribution_{by}",
            f"attributions added up by {by} of the feature",
            _LN,
            dim=by,
            labels=by,
        )
        for by in ("assay", "factor", "cell_type")
    ),
    ArraySpec("target_name", "str", ("target",), "context attributed"),
    ArraySpec("target_set", "str", ("target",), "its head set"),
    *(e for e in STORE if "feature_" in e.name and e.name != "feature_treatment"),
    ArraySpec("assay", "str", ("assay",), "assay type of features"),
    ArraySpec("factor", "str", ("factor",), "protein, mark or DNase of features"),
    ArraySpec("cell_type", "str", ("cell_type",), "cell type of features"),
)
"""Beside the effects in a results group that has attributions; some are there by option."""


def spec(table: Iterable[ArraySpec], name: str) -> ArraySpec:
    """The entry of a table by name."""
    return next(entry for entry in table if entry.name == name)


WHOLE: Any = {"write_empty_chunks": True}
"""Of floats all chunks are written, also of NaN, their fill value: what is not there was lost."""


def get(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """The array ``name`` of ``group``. Raises :class:`FormatError` if there is none."""
    found = group.get(name)
    if not isinstance(found, zarr.Array):
        raise FormatError(f"{group.store_path.store}: array {name} is missing", "build it again")
    return found.with_config(WHOLE) if found.dtype.kind == "f" else found


def read(array: zarr.Array[Any], key: Any = ..., *, orthogonal: bool = False) -> np.ndarray:
    """Values of an array. Raises :class:`FormatError` if a chunk is damaged or unreadable."""
    try:
        return np.asarray(array.oindex[key] if orthogonal else array[key])
    except (ValueError, RuntimeError, OSError) as error:
        why = "wrong checksum" if "checksum" in str(error) else str(error).splitlines()[0][:120]
        raise FormatError(
            f"{str(array.store_path).removeprefix('file://')}: damaged data ({why})",
            "`seal-store verify` names all that is; copy it again or make it again",
        ) from error


def rows_per_chunk(entry: ArraySpec, sizes: Mapping[str, int]) -> int:
    """Variants in a chunk of an array of a results group: about ``CHUNK_BYTES``, bounded."""
    return min(VARIANTS_PER_CHUNK, _chunk_rows(entry, [sizes[dim] for dim in entry.dims[1:]]))


def _chunk_rows(entry: ArraySpec, row: Sequence[int]) -> int:
    """Rows of shape ``row`` that ``CHUNK_BYTES`` hold, at least one."""
    return max(1, CHUNK_BYTES // max(1, entry.itemsize * math.prod(row)))


def shape_of(entry: ArraySpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Lengths of an array's dimensions."""
    return tuple(sizes[name] for name in entry.dims)


def create(
    group: zarr.Group,
    entry: ArraySpec,
    sizes: Mapping[str, int],
    genes_per_shard: int = GENES_PER_SHARD,
) -> zarr.Array[Any]:
    """Create ``entry`` in ``group``; ``sizes`` gives the length of each dimension."""
    shape = shape_of(entry, sizes)
    limits = dict(entry.chunks or {})
    if entry.sharded:
        limits = {"gene": 1, "window": WINDOWS_PER_CHUNK, **limits}
    if entry.weights:
        limits = {entry.dims[0]: _chunk_rows(entry, shape[1:])}
    chunks = tuple(
        min(length, limits.get(dim, length)) or limits.get(dim, 1)
        for dim, length in zip(entry.dims, shape, strict=True)
    )
    shards = shards_of(shape, chunks, genes_per_shard) if entry.sharded else None
    return create_array(group, entry, shape, chunks, shards)


def shards_of(
    shape: tuple[int, ...], chunks: tuple[int, ...], genes_per_shard: int
) -> tuple[int, ...]:
    """Shape of the shards of an array: some genes, and all chunks of these."""
    whole = [-(-length // chunk) * chunk for length, chunk in zip(shape, chunks, strict=True)]
    return (min(genes_per_shard, max(1, shape[0])), *whole[1:])


def create_array(
    group: zarr.Group,
    entry: ArraySpec,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None = None,
    *,
    checksum: bool = True,
) -> zarr.Array[Any]:
    """Create an array with this package's codecs, fill value and attributes."""
    dtype = np.dtype(entry.dtype) if entry.dtype != "str" else None
    compressor = (
        BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=dtype.itemsize)
        if dtype is not None and dtype.itemsize > 1
        else ZstdCodec(level=3)
    )
    return group.create_array(
        entry.name,
        config=WHOLE if "float" in entry.dtype else None,
        shape=shape,
        chunks=chunks,
        shards=shards,
        dtype=str if dtype is None else dtype,
        compressors=[compressor] * (not entry.weights) + [Crc32cCodec()] * checksum,
        fill_value=np.nan if "float" in entry.dtype else None,
        dimension_names=entry.dims,
        attributes=entry.attributes,
    )
