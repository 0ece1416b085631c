"""Plan a store: check every input, choose the genes, write ``OUT.partial``.

The plan holds all that the shards need (sequences, weights, the gene table), so a shard runs
from that folder alone, on any machine that sees it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import zarr

from seal_store.building.genes import check_assembly, counts, select
from seal_store.building.head_sets import check_heads, describe_heads, write_head_set
from seal_store.building.options import BuildOptions
from seal_store.common.beside import check_plain
from seal_store.common.files import difference, file_sha256, local_path
from seal_store.common.odd_lines import OddLines
from seal_store.common.output import JOURNAL, Output
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, OutputError
from seal_store.model.beluga import Beluga, load_cnn
from seal_store.model.grid import Grid
from seal_store.model.head_set import HeadSet
from seal_store.model.heads import load_heads
from seal_store.model.labels import feature_labels
from seal_store.reference.fasta import Genome
from seal_store.reference.gene_files import read_genes
from seal_store.reference.gene_table import GeneTable
from seal_store.store import manifest, shard_journal
from seal_store.store.attributes import (
    ATTRIBUTE,
    CnnAttributes,
    FileAttributes,
    GeneTableAttributes,
    GenomeAttributes,
    SequenceAttributes,
    StoreAttributes,
    attributes_of,
)
from seal_store.store.layout import (
    CNN,
    FORMAT_VERSION,
    SEQUENCE_LENGTH,
    SEQUENCE_OFFSET,
    STORE,
    create,
    get,
)
from seal_store.store.place import Place, files_at, output_at, place
from seal_store.store.store import Store, grid_slice, sequence_start, software


@dataclass(frozen=True)
class Planned:
    """An unfinished store: its folder, number of genes and of shards, genes by status.

    ``odd_lines`` are those of the gene table that were not used as they stand.
    """

    path: Path
    genes: int
    shards: int
    status: dict[str, int]
    contigs_not_in_fasta: dict[str, int]
    without_profile: list[str]
    odd_lines: OddLines


def store_at(out: Place | Output) -> AbstractContextManager[Output]:
    """The store ``out`` as an output; one that is held already stays held."""
    if isinstance(out, Output):
        return nullcontext(out)
    return output_at(out, kind=ATTRIBUTE, checkpoint=JOURNAL)


def plan(
    options: BuildOptions, progress: Progress = silent, *, out: Output | None = None
) -> Planned:
    """Check every input and write ``OUT.partial`` with all that the shards need.

    With ``resume`` and an unfinished folder: check that it was planned from the same inputs and
    options, and keep it. ``out`` is given where it is held already. Raises an :class:`InputError`
    for an input that is wrong and :class:`OutputError` if the output exists, is being written, or
    the plan differs.
    """
    inputs = (options.genome, options.genes, options.cnn, options.features, *options.heads)
    for path in filter(None, (*inputs, options.from_profiles)):
        local_path(path)
    genes = read_genes(options.genes, tss=options.tss, gene_types=options.gene_type)
    heads = [head_set for path in options.heads for head_set in load_heads(path)]
    if options.keep_bits is not None and not 1 <= options.keep_bits <= 23:
        raise InputError(f"`keep_bits` {options.keep_bits}: not between 1 and 23")
    if not 1 <= options.genes_per_shard <= 4096:
        raise InputError(f"`genes_per_shard` {options.genes_per_shard}: not between 1 and 4096")
    grid = Grid(first_offset=options.first_offset)
    for strand in (1, -1):
        try:
            grid_slice(grid, 0, strand)
        except ValueError as error:
            raise InputError(
                f"`first_offset`: {error} (possible: -21499 to -18301)", "use -19900 or -20000"
            ) from None
    model = load_cnn(options.cnn)
    check_heads(heads, model.config, grid, [], model.sha256())
    features = feature_labels(model.config.features, options.features)
    with store_at(out or options.out) as held, Genome(options.genome) as genome:
        check_assembly(genes, genome, options)
        status = select(genes, genome, options)
        attributes = _attributes(options, genes, genome, model, grid, heads, status)
        selected = np.flatnonzero(status == "computed")
        absent = genes.contig[status == "contig_not_in_fasta"]
        partial = held.partial
        planned = Planned(
            partial,
            len(selected),
            attributes.shards,
            attributes.gene_table.status,
            counts(absent),
            [str(gene) for gene in genes.gene_id[status == "no_profile"]],
            genes.odd,
        )
        unfinished = held.begun or (partial / manifest.MANIFEST).exists()
        resume = options.resume
        if resume and (unfinished or is_finished(held)):
            try:
                _check_same_plan(held, attributes, genes.gene_id[selected], unfinished=unfinished)
                return planned
            except OutputError:
                if not options.overwrite:
                    raise
                resume = False
        held.claim(overwrite=options.overwrite, resume=resume)
        group = zarr.create_group(
            str(partial), zarr_format=3, attributes={ATTRIBUTE: attributes.to_dict()}
        )
        _write_labels(group, attributes, genes, status, selected, features)
        _write_cnn(group, attributes, model)
        for head_set in heads:
            write_head_set(group, attributes, head_set)
        _write_sequences(group, attributes, genes, selected, genome, progress)
        shard_journal.begin(partial)
    return planned


def is_finished(held: Output) -> bool:
    """Whether a whole store is there. An empty folder, as workflow engines make, is none."""
    return files_at(place(held.place)).has(manifest.MANIFEST)


def _attributes(
    options: BuildOptions,
    genes: GeneTable,
    genome: Genome,
    model: Beluga,
    grid: Grid,
    heads: Sequence[HeadSet],
    status: np.ndarray,
) -> StoreAttributes:
    contigs = {str(name): genome.resolve(str(name)) for name in np.unique(genes.contig)}
    return StoreAttributes(
        format_version=FORMAT_VERSION,
        assembly=genome.assembly,
        genome=GenomeAttributes(
            file=options.genome.name,
            sha256=file_sha256(options.genome),
            contigs={n: genome.lengths[own] for n, own in contigs.items() if own is not None},
        ),
        gene_table=GeneTableAttributes(
            file=options.genes.name,
            sha256=file_sha256(options.genes),
            genes=len(genes),
            status=counts(status),
            tss=None if options.tss == "gene" else options.tss,
            gene_types=tuple(sorted(options.gene_type)) or None,
        ),
        cnn=CnnAttributes(
            file=options.cnn.name,
            sha256=model.sha256(),
            config=model.config,
            features=None
            if options.features is None
            else FileAttributes(file=options.features.name, sha256=file_sha256(options.features)),
        ),
        grid=grid,
        sequence=SequenceAttributes(offset=SEQUENCE_OFFSET, length=SEQUENCE_LENGTH),
        genes_per_shard=options.genes_per_shard,
        keep_bits=options.keep_bits,
        hidden=options.hidden and options.from_profiles is None,
        source="cnn" if options.from_profiles is None else "profiles",
        heads=tuple(describe_heads(head_set) for head_set in heads),
        software=software(),
        command=options.command,
    )


def _check_same_plan(
    held: Output, attributes: StoreAttributes, gene_id: np.ndarray, *, unfinished: bool
) -> None:
    where = held.partial if unfinished else held.place
    if unfinished:
        check_plain(held.partial)
        group = zarr.open_group(str(held.partial), mode="r", use_consolidated=False)
    else:
        group = Store(held.place).group
    found = attributes_of(group)
    # more may have been added since
    heads = found.heads[: len(attributes.heads)]
    begun = replace(found, command="", heads=heads, tf32=None, calibration={})
    wanted = replace(attributes, command="")
    if begun != wanted:
        key, then, now = difference(begun.to_dict(), wanted.to_dict())
        raise OutputError(
            f"{where}: planned with another {key}: {json.dumps(then)[:120]}, "
            f"now {json.dumps(now)[:120]}",
            "use the same inputs and options, or `overwrite=True` to start again",
        )
    if list(np.asarray(get(group, "gene_id")[:])) != list(gene_id):
        raise OutputError(f"{where}: planned for other genes", "use the same gene selection")


def _write_labels(
    group: zarr.Group,
    attributes: StoreAttributes,
    genes: GeneTable,
    status: np.ndarray,
    selected: np.ndarray,
    features: dict[str, np.ndarray],
) -> None:
    """Create the arrays of :data:`STORE` but those that need heads; fill those of labels."""
    grid = attributes.grid
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
    values |= features
    group.create_group("table")
    for entry in STORE:
        if entry.written == "finalize" or (entry.name == "hidden" and not attributes.hidden):
            continue
        array = create(group, entry, attributes.sizes(), attributes.genes_per_shard)
        if entry.name in values:
            array[...] = values[entry.name]


def _write_cnn(group: zarr.Group, attributes: StoreAttributes, model: Beluga) -> None:
    group.create_group("cnn")
    weights = dict(model.named_buffers())
    for entry in CNN:
        values = weights[entry.name.partition("/")[2]].numpy()
        create(group, entry, attributes.sizes())[...] = values


def _write_sequences(
    group: zarr.Group,
    attributes: StoreAttributes,
    genes: GeneTable,
    selected: np.ndarray,
    genome: Genome,
    progress: Progress,
) -> None:
    array, shard = get(group, "sequence"), attributes.genes_per_shard
    progress("sequences", 0, len(selected))
    for first in range(0, len(selected), shard):
        rows = selected[first : first + shard]
        block = np.empty((len(rows), SEQUENCE_LENGTH), np.uint8)
        for i, row in enumerate(rows):
            start = sequence_start(int(genes.tss[row]))
            bases = genome.fetch(str(genes.contig[row]), start, start + SEQUENCE_LENGTH)
            block[i] = np.frombuffer(bases, np.uint8)
        array[first : first + len(rows)] = block
        progress("sequences", first + len(rows), len(selected))
