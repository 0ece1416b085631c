"""Public Python API: build, open and score, with outputs as xarray and pandas."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.errors import VariantError
from seal_store.model.grid import MAX_DISTANCE
from seal_store.results.group import Results, result_attributes
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store import frames
from seal_store.store.store import Store
from seal_store.variants.given import from_table, from_tuples, is_table
from seal_store.variants.source import Alleles, read_variants

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    Tuples = Iterable[tuple[str, int, str, str]]
    Columns = Mapping[str, Sequence[Any]]
    Variants: TypeAlias = pd.DataFrame | Columns | Tuples | str | os.PathLike[str]


def open(path: str | os.PathLike[str]) -> Store:
    """Open a store that ``seal-store build`` wrote, read only.

    Raises :class:`~seal_store.errors.UnfinishedError` if it was never finished, and
    :class:`~seal_store.errors.FormatError` if it is none, damaged or of another version.
    """
    return Store(Path(path))


def open_results(path: str | os.PathLike[str]) -> Results:
    """Open a results group (``.zarr``) that ``seal-store score`` wrote, read only.

    Raises as :func:`open` does.
    """
    return Results(Path(path))


def score(
    store: Store | str | os.PathLike[str],
    variants: Variants,
    *,
    scheme: str = "grid",
    genes: str = "nearest",
    max_distance: int = MAX_DISTANCE,
    ref_mismatch: str = "flag",
    heads: Sequence[str] = (),
    contexts: Sequence[str] = (),
    device: str = "auto",
    tf32: bool = False,
    batch: int = 128,
    progress: Progress = silent,
) -> xr.Dataset:
    """Effects of variants on expression, as ``seal-store score vcf`` computes them.

    Everything is held in memory; for whole genomes use the command, and :func:`open_results`.
    Needs the extra ``xarray``.

    Parameters
    ----------
    store
        A store, or its path.
    variants
        One of: a pandas DataFrame (or a mapping) with columns ``contig`` (or ``chrom``), ``pos``
        (1-based), ``ref``, ``alt`` and optionally ``id``; an iterable of tuples (contig, pos,
        ref, alt); the path of a VCF. An ALT of several alleles, ``A,T``, is split.
    scheme
        ``grid`` or ``centered``; do not compare effects across schemes.
    genes
        ``nearest``: the gene with the nearest TSS; ``all``: every gene within the distance.
    max_distance
        Largest distance to the TSS, bp, at most 20000.
    ref_mismatch
        Where REF differs from the store's genome: ``flag``, ``skip`` or ``error``.
    heads
        Names of head sets; all by default.
    contexts
        Names of contexts, each ``name`` or ``set:name``; all by default, in the store's order.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    tf32
        Whether TF32 products are allowed on CUDA: faster, less exact.
    batch
        Variants at once: speed and memory only.
    progress
        Called as ``progress("alleles", done, None)`` from time to time.

    Returns
    -------
    xarray.Dataset
        ``effect`` float32 (variant, context): predicted change of ln(expression + pseudocount),
        alt minus ref. Along ``variant``, one entry for each allele and gene in the order of the
        input, stand the columns of results (``contig``, ``pos`` 1-based, ``id``, ``ref``,
        ``alt``, ``kind``, ``gene_id``, ``strand``, ``dist_to_tss``, ``ref_match``, ``status``),
        and ``row``, the row of the table or the number of the tuple, from 0 (for a VCF ``line``,
        from 1). Along ``context``: names, sets and labels; ``context_name`` is an index.
        ``attrs`` has the scheme and options, ``counts`` (with ``not_scored``, alleles by reason,
        and ``examples``), and ``store`` with its ``sha256`` and whether it is ``synthetic``.

    Raises
    ------
    VariantError
        ``variants`` lacks a column, is of another shape, or cannot be read; or REF differs from
        the genome and ``ref_mismatch`` is ``error``.
    HeadsError
        A head set or context is not in the store.
    InputError
        An option has another value.
    StoreError
        ``store`` cannot be opened.
    MissingExtraError
        xarray is not installed.
    """
    require("xarray", "score from Python")
    options = ScoreOptions(
        scheme=scheme,
        genes=genes,
        max_distance=max_distance,
        ref_mismatch=ref_mismatch,
        heads=heads,
        contexts=contexts,
        device=device,
        tf32=tf32,
        batch=batch,
    )
    scorer = Scorer(store if isinstance(store, Store) else open(store), options)
    alleles, place = _alleles(variants)
    found = list(scorer.score(alleles, progress=progress))
    columns = {
        name: np.concatenate([rows.columns[name] for rows in found]) for name in found[0].columns
    }
    columns[place] = np.concatenate([np.array(rows.lines, np.int64) for rows in found])
    attributes = result_attributes(scorer.provenance(), alleles, "seal_store.score")
    return frames.effects(
        columns,
        np.concatenate([rows.effect for rows in found]),
        scorer.context_set,
        scorer.context_name,
        {**attributes, "counts": scorer.counts.to_dict()},
    )


def build(
    out: str | os.PathLike[str],
    *,
    from_seal: str | os.PathLike[str] | None = None,
    genome: str | os.PathLike[str] | None = None,
    genes: str | os.PathLike[str] | None = None,
    cnn: str | os.PathLike[str] | None = None,
    heads: Sequence[str | os.PathLike[str]] = (),
    from_profiles: str | os.PathLike[str] | None = None,
    gene: Sequence[str] = (),
    near_vcf: str | os.PathLike[str] | None = None,
    tss: str = "gene",
    gene_type: Sequence[str] = (),
    first_offset: int = -19_900,
    keep_bits: int | None = None,
    hidden: bool = True,
    device: str = "auto",
    tf32: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Store:
    """Run the CNN over every gene's 40 kb and write a store, as ``seal-store build`` does.

    Once per genome: hours on a CPU for a whole one. The store appears only once it is whole.

    Parameters
    ----------
    out
        The store to write, ``.zarr``.
    from_seal
        Folder with Seal's files, as ``seal-store fetch`` leaves it: what is not named otherwise
        is found there.
    genome, genes, cnn
        FASTA, plain or bgzip; gene table (BED, GTF, GFF3 or geneanno CSV); CNN weights,
        ``deepsea.beluga.pth``. Needed without ``from_seal``.
    heads
        Model summary files of head sets, or folders of them.
    from_profiles
        Take Seal's ``<gene>.npy`` profiles from this folder instead of running the CNN.
    gene
        Ids of the only genes to compute. The gene table in the store stays whole.
    near_vcf
        Compute only genes with a variant of this VCF within 20 kb.
    tss
        TSS of a GTF or GFF3: of each ``gene``, of its ``canonical`` transcript, or of every
        ``transcript``.
    gene_type
        Only genes of these types.
    first_offset
        Offset of window 0 from the TSS, bp.
    keep_bits
        Round features to this many mantissa bits; None is lossless.
    hidden
        Whether the first linear layer's output is stored: twice the size, faster scoring.
    device, tf32
        As in :func:`score`.
    overwrite
        Replace an existing ``out``.
    resume
        Go on with an unfinished build of the same inputs; a finished one is opened.
    progress
        Called as ``progress(what, done, total)`` from time to time.

    Returns
    -------
    Store
        Opened.

    Raises
    ------
    InputError
        An input is missing, damaged or does not fit the others; the message says which.
    OutputError
        ``out`` exists and neither ``overwrite`` nor ``resume`` is given, or is being written.
    """
    from seal_store.building import build as building  # PyTorch: not needed to open a store
    from seal_store.building.options import gather

    inputs = gather(
        Path(out),
        from_seal=_path(from_seal),
        near_vcf=_path(near_vcf),
        genome=_path(genome),
        genes=_path(genes),
        cnn=_path(cnn),
        heads=tuple(map(Path, _several(heads))),
        from_profiles=_path(from_profiles),
        gene=tuple(map(str, _several(gene))),
        tss=tss,
        gene_type=tuple(map(str, _several(gene_type))),
        first_offset=first_offset,
        keep_bits=keep_bits,
        hidden=hidden,
        overwrite=overwrite,
        resume=resume,
        command="seal_store.build",
    )
    return building.build(inputs.options, device, tf32=tf32, progress=progress)


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


def _several(given: Sequence[Any] | Any) -> Sequence[Any]:
    """One name or path stands for a sequence of one."""
    return (given,) if isinstance(given, str | os.PathLike) else given


def _alleles(variants: Any) -> tuple[Alleles, str]:
    """The alleles, and the coordinate that counts their rows."""
    if isinstance(variants, str | os.PathLike):
        return read_variants(os.fspath(variants)), "line"
    if is_table(variants):
        return Alleles(from_table(variants), "table"), "row"
    if isinstance(variants, Iterable):
        return Alleles(from_tuples(variants), "tuples"), "row"
    raise VariantError(
        f"variants: a {type(variants).__name__}",
        "give a DataFrame, tuples (contig, pos, ref, alt), or the path of a VCF",
    )
