"""Plan a store: check every input, choose the genes, write ``OUT.partial``.

The plan holds all that the shards need (sequences, weights, the gene table), so a shard runs
from that folder alone, on any machine that sees it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from seal_store.common.files import difference, file_sha256
from seal_store.common.lock import hold
from seal_store.common.progress import Progress, silent
from seal_store.errors import (
    GeneTableError,
    GenomeError,
    HeadsError,
    InputError,
    OutputError,
    ProfileError,
)
from seal_store.model.beluga import Beluga, CnnConfig, load_cnn
from seal_store.model.grid import MAX_DISTANCE, Grid
from seal_store.model.heads import HeadSet, check_cnn, load_heads
from seal_store.model.labels import feature_labels
from seal_store.reference.assembly import check_variants
from seal_store.reference.contigs import assemblies_that_hold, called, differ
from seal_store.reference.fasta import Genome
from seal_store.reference.gene_files import read_genes
from seal_store.reference.gene_table import GeneTable
from seal_store.store import manifest
from seal_store.store.layout import (
    FORMAT_VERSION,
    GENES_PER_SHARD,
    SEQUENCE_LENGTH,
    SEQUENCE_OFFSET,
    STORE,
    ArraySpec,
    create,
    get,
    put_weight,
)
from seal_store.store.store import ATTRIBUTE, grid_slice, sequence_start, software


@dataclass(frozen=True)
class BuildOptions:
    """What to build from and where to; see ``seal-store build --help`` for each.

    ``near`` holds (contig, 1-based position) pairs: only genes with a TSS within
    ``max_distance`` bp of one are computed. ``near_lengths`` has the lengths of the contigs that
    these positions are on, if they are known. ``tss`` and ``gene_type`` are those of
    :func:`seal_store.reference.gene_files.read_genes`.
    """

    genome: Path
    genes: Path
    cnn: Path
    heads: tuple[Path, ...]
    out: Path
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
    overwrite: bool = False
    resume: bool = False
    command: str = ""


@dataclass(frozen=True)
class Planned:
    """An unfinished store: its folder, number of genes and of shards, genes by status."""

    path: Path
    genes: int
    shards: int
    status: dict[str, int]
    contigs_not_in_fasta: dict[str, int]
    without_profile: list[str]


def plan(options: BuildOptions, progress: Progress = silent) -> Planned:
    """Check every input and write ``OUT.partial`` with all that the shards need.

    With ``resume`` and an unfinished folder: check that it was planned from the same inputs and
    options, and keep it. Raises an :class:`InputError` for an input that is wrong and
    :class:`OutputError` if the output exists, is being written, or the plan differs.
    """
    options = replace(options, out=manifest.followed(options.out))
    with hold(options.out):
        return write_plan(options, progress)


def write_plan(options: BuildOptions, progress: Progress = silent) -> Planned:
    """:func:`plan`, for the one who holds the lock of the output already."""
    genes = read_genes(options.genes, tss=options.tss, gene_types=options.gene_type)
    heads = [head_set for path in options.heads for head_set in load_heads(path)]
    if options.keep_bits is not None and not 1 <= options.keep_bits <= 23:
        raise InputError(f"--keep-bits {options.keep_bits}: not between 1 and 23")
    grid = Grid(first_offset=options.first_offset)
    for strand in (1, -1):
        try:
            grid_slice(grid, 0, strand)
        except ValueError as error:
            raise InputError(
                f"--first-offset: {error} (possible: -21499 to -18301)", "use -19900 or -20000"
            ) from None
    model = load_cnn(options.cnn)
    check_heads(heads, model.config, grid, [], model.sha256())
    with Genome(options.genome) as genome:
        _check_assembly(genes, genome, options)
        status = _select(genes, genome, options)
        attributes = _attributes(options, genes, genome, model, grid, heads, status)
        selected = np.flatnonzero(status == "computed")
        absent = genes.contig[status == "contig_not_in_fasta"]
        partial = manifest.partial_path(options.out)
        planned = Planned(
            partial,
            len(selected),
            -(-len(selected) // GENES_PER_SHARD),
            attributes["gene_table"]["status"],
            _counts(absent),
            [str(gene) for gene in genes.gene_id[status == "no_profile"]],
        )
        unfinished = (partial / manifest.JOURNAL).exists() or (partial / manifest.MANIFEST).exists()
        if options.resume and (unfinished or options.out.exists()):
            found = partial if unfinished else options.out
            _check_same_plan(found, attributes, genes.gene_id[selected])
            return planned
        manifest.claim(
            options.out,
            # one interrupted while planning may go: nothing computed is in it
            overwrite=options.overwrite or options.resume,
            kind=ATTRIBUTE,
            resume_hint=manifest.RESUME_HINT,
        )
        group = zarr.create_group(str(partial), zarr_format=3, attributes={ATTRIBUTE: attributes})
        _write_labels(group, genes, status, selected, model.config, grid, options)
        _write_cnn(group, model)
        for head_set in heads:
            write_head_set(group, head_set)
        _write_sequences(group, genes, selected, genome, progress)
    (partial / manifest.JOURNAL).mkdir()
    return planned


def _check_assembly(genes: GeneTable, genome: Genome, options: BuildOptions) -> None:
    """Refuse a gene table or variants of another assembly than the genome's."""
    if differ(genes.assembly, genome.assembly):
        raise GenomeError(
            f"{options.genes} is of {called(genes.assembly)}, {options.genome} is of "
            f"{called(genome.assembly)}",
            "give both of one assembly",
        )
    check_variants(
        "--near-vcf",
        options.near_lengths,
        genome.assembly,
        genome.lengths,
        str(options.genome),
        "give variants of the same assembly",
    )


def _beyond(genes: GeneTable, row: int, genome: Genome, options: BuildOptions) -> GenomeError:
    """A TSS beyond the end of its contig, with what the whole table's positions tell."""
    contig = genome.resolve(str(genes.contig[row])) or ""
    largest = {str(name): int(genes.tss[genes.contig == name].max()) for name in set(genes.contig)}
    fitting = assemblies_that_hold(largest)
    fits = f"; its positions fit {' and '.join(map(called, fitting))}" if fitting else ""
    return GenomeError(
        f"gene {genes.gene_id[row]}: TSS {genes.tss[row]} is beyond the end of {contig} "
        f"({genome.lengths[contig]} bp) in {options.genome}, which is of {called(genome.assembly)}",
        f"gene table and FASTA are of different assemblies{fits}",
    )


def _select(genes: GeneTable, genome: Genome, options: BuildOptions) -> np.ndarray:
    """Status of every gene of the table."""
    status = np.full(len(genes), "computed", dtype="<U20")
    known = {name for name in np.unique(genes.contig) if genome.resolve(str(name)) is None}
    status[np.isin(genes.contig, list(known))] = "contig_not_in_fasta"
    for row in map(int, np.flatnonzero(status == "computed")):
        contig = genome.resolve(str(genes.contig[row])) or ""
        if genes.tss[row] > genome.lengths[contig]:
            raise _beyond(genes, row, genome, options)
    wanted = np.ones(len(genes), bool)
    if options.gene:
        wanted[:] = False
        for gene in options.gene:
            row = genes.row(gene)
            if status[row] != "computed":
                raise GenomeError(
                    f"gene {gene}: no contig {str(genes.contig[row])!r} in {options.genome}",
                    "check the assembly",
                )
            wanted[row] = True
    if options.near is not None:
        near = np.zeros(len(genes), bool)
        for contig, position in options.near:
            name = genes.contig_name(contig)
            if name is not None:
                near[genes.within(name, position, options.max_distance)] = True
        wanted &= near
    if options.from_profiles is not None:
        folder = options.from_profiles
        if not folder.is_dir():
            raise ProfileError(f"profile folder not found: {folder}", "check --from-profiles")
        have = {path.stem for path in folder.glob("*.npy")}
        status[(status == "computed") & ~np.isin(genes.gene_id, list(have))] = "no_profile"
    status[(status == "computed") & ~wanted] = "not_selected"
    if not (status == "computed").any():
        counts = ", ".join(f"{n} {s}" for s, n in _counts(status).items())
        raise GeneTableError(f"{options.genes}: no gene left to compute ({counts})")
    return status


def _counts(values: np.ndarray) -> dict[str, int]:
    return {str(n): int(c) for n, c in zip(*np.unique(values, return_counts=True), strict=True)}


def _attributes(
    options: BuildOptions,
    genes: GeneTable,
    genome: Genome,
    model: Beluga,
    grid: Grid,
    heads: Sequence[HeadSet],
    status: np.ndarray,
) -> dict[str, Any]:
    contigs = {str(name): genome.resolve(str(name)) for name in np.unique(genes.contig)}
    return {
        "format_version": FORMAT_VERSION,
        "assembly": genome.assembly,
        "genome": {
            "file": options.genome.name,
            "sha256": file_sha256(options.genome),
            "contigs": {n: genome.lengths[own] for n, own in contigs.items() if own is not None},
        },
        "gene_table": {
            "file": options.genes.name,
            "sha256": file_sha256(options.genes),
            "genes": len(genes),
            "status": _counts(status),
            **({} if options.tss == "gene" else {"tss": options.tss}),
            **({"gene_types": sorted(options.gene_type)} if options.gene_type else {}),
        },
        "cnn": {
            "file": options.cnn.name,
            "sha256": model.sha256(),
            "config": model.config.to_dict(),
        },
        "grid": {**asdict(grid), "rates": list(grid.rates)},
        "sequence": {"offset": SEQUENCE_OFFSET, "length": SEQUENCE_LENGTH},
        "keep_bits": options.keep_bits,
        "hidden": options.hidden and options.from_profiles is None,
        "source": "cnn" if options.from_profiles is None else "profiles",
        "heads": [describe_heads(head_set) for head_set in heads],
        "software": software(),
        "command": options.command,
    }


def describe_heads(heads: HeadSet) -> dict[str, Any]:
    """What the store's attributes say of a head set."""
    return {
        "name": heads.name,
        "sha256": heads.sha256(),
        "contexts": len(heads.contexts),
        "latent": len(heads.b1),
        "summary": heads.summary,
    }


_TAKEN = (".partial", ".tmp", "zarr.json")


def check_heads(
    heads: Sequence[HeadSet], config: CnnConfig, grid: Grid, present: Sequence[str], cnn: str
) -> None:
    """Raise :class:`HeadsError` if a set does not fit the CNN or its name is not usable.

    ``cnn`` is the CNN's SHA-256. Seal's own head sets do not say which features they take in
    which order; those that were trained from a store do (:data:`seal_store.model.heads.CNN`).
    """
    expected = 2 * len(grid.rates) * config.features
    seen = list(present)
    for head_set in heads:
        if head_set.inputs != expected:
            raise HeadsError(
                f"head set {head_set.name}: takes {head_set.inputs} inputs, "
                f"this CNN gives {expected} ({2 * len(grid.rates)} decay sums of "
                f"{config.features} features); SHA-256 of the heads {head_set.sha256()}, "
                f"of the CNN {cnn}",
                "heads and CNN must belong together",
            )
        check_cnn(head_set, cnn)
        if head_set.name in seen:
            raise HeadsError(f"head set {head_set.name} is there already", "rename its files")
        if not head_set.name[:1].isalnum() or not all(
            c.isalnum() or c in "._-" for c in head_set.name
        ):
            raise HeadsError(
                f"head set {head_set.name!r}: a name has only letters, digits, '.', '_' and '-'"
            )
        if head_set.name.endswith(_TAKEN):
            raise HeadsError(
                f"head set {head_set.name!r}: names of files that are being written end so",
                "rename its files",
            )
        seen.append(head_set.name)


def _check_same_plan(partial: Path, attributes: dict[str, Any], gene_id: np.ndarray) -> None:
    group = zarr.open_group(str(partial), mode="r", use_consolidated=False)
    found: Any = group.attrs[ATTRIBUTE]
    heads = found["heads"][: len(attributes["heads"])]  # more may have been added since
    found = {k: v for k, v in found.items() if k not in ("calibration", "tf32")} | {"heads": heads}
    if {**found, "command": ""} != {**attributes, "command": ""}:
        begun, wanted = ({**x, "command": ""} for x in (found, attributes))
        key, then, now = difference(begun, wanted)
        raise OutputError(
            f"{partial}: planned with another {key}: {json.dumps(then)[:120]}, "
            f"now {json.dumps(now)[:120]}",
            "use the same inputs and options, or --overwrite to start again",
        )
    if list(np.asarray(get(group, "gene_id")[:])) != list(gene_id):
        raise OutputError(f"{partial}: planned for other genes", "use the same gene selection")


def _write_labels(
    group: zarr.Group,
    genes: GeneTable,
    status: np.ndarray,
    selected: np.ndarray,
    config: CnnConfig,
    grid: Grid,
    options: BuildOptions,
) -> None:
    sizes = {
        "gene": len(selected),
        "table_gene": len(genes),
        "window": grid.bins,
        "decay": 2 * len(grid.rates),
        "feature": config.features,
        "unit": config.hidden,
        "strand_read": 2,
        "base": SEQUENCE_LENGTH,
    }
    columns = {
        "gene_id": genes.gene_id,
        "gene_symbol": genes.symbol,
        "gene_type": genes.gene_type,
        "contig": genes.contig,
        "strand": genes.strand,
        "tss": genes.tss,
    }
    values = {name: column[selected] for name, column in columns.items()}
    values |= {f"table/{name}": column for name, column in columns.items()}
    values |= {"table/status": status}
    values |= {"window_offset": grid.offsets, "decay_weight": grid.decay_weights}
    values |= feature_labels(config.features)
    group.create_group("table")
    for entry in STORE:
        if "context" in entry.dims:
            continue
        if entry.name == "hidden" and (not options.hidden or options.from_profiles is not None):
            continue
        array = create(group, entry, sizes)
        if entry.name in values:
            array[...] = values[entry.name]


def _write_cnn(group: zarr.Group, model: Beluga) -> None:
    cnn = group.create_group("cnn")
    dims = {
        "conv": ("channel_out", "channel_in", "tap"),
        "linear1": ("position", "channel", "unit"),
        "linear2": ("feature", "unit"),
    }
    for name, values in model.named_buffers():
        layer, _, part = name.partition("_")
        named = dims["conv" if layer.startswith("conv") else layer]
        out = {"conv": "channel_out", "linear1": "unit", "linear2": "feature"}
        bias = (out["conv" if layer.startswith("conv") else layer],)
        put_weight(cnn, name, values.numpy(), named if part == "weight" else bias)


def write_head_set(group: zarr.Group, heads: HeadSet) -> None:
    """Write the weights and context names of a head set below ``heads/``."""
    target = group.require_group("heads").create_group(heads.name, overwrite=True)
    dims = {
        "w1": ("latent", "input"),
        "b1": ("latent",),
        "w2": ("output", "latent"),
        "b2": ("output",),
    }
    for name, named in dims.items():
        put_weight(target, name, getattr(heads, name), named)
    names = np.array(heads.contexts)
    entry = ArraySpec("context", "str", ("output",), "context names, in output order")
    create(target, entry, {"output": len(names)})[...] = names


def _write_sequences(
    group: zarr.Group,
    genes: GeneTable,
    selected: np.ndarray,
    genome: Genome,
    progress: Progress,
) -> None:
    array = get(group, "sequence")
    progress("sequences", 0, len(selected))
    for first in range(0, len(selected), GENES_PER_SHARD):
        rows = selected[first : first + GENES_PER_SHARD]
        block = np.empty((len(rows), SEQUENCE_LENGTH), np.uint8)
        for i, row in enumerate(rows):
            start = sequence_start(int(genes.tss[row]))
            bases = genome.fetch(str(genes.contig[row]), start, start + SEQUENCE_LENGTH)
            block[i] = np.frombuffer(bases, np.uint8)
        array[first : first + len(rows)] = block
        progress("sequences", first + len(rows), len(selected))
