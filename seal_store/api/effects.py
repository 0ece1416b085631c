"""Effects of variants on expression, from Python: scored, saturated, explained, calibrated."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from seal_store.api.outputs import check_one, effects, group_path, is_file, scored
from seal_store.atlas.entries import Entries
from seal_store.atlas.known import Known
from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.common.typed import path as as_path
from seal_store.common.typed import paths, text, texts, truth, whole
from seal_store.errors import InputError, ParameterError
from seal_store.model.grid import MAX_DISTANCE
from seal_store.results.group import Results
from seal_store.run.attributions import add_attributions, scorer_of
from seal_store.run.calibrate import calibrate as run_calibrate
from seal_store.run.crew import Crew
from seal_store.run.job import Prepared, ScoreJob
from seal_store.run.watch import matched
from seal_store.scoring.bins import EDGES, LEAST, Binning
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.place import Place, given_place
from seal_store.store.store import Store
from seal_store.variants.bases import StoreBases
from seal_store.variants.given import given_alleles
from seal_store.variants.regions import chosen
from seal_store.variants.source import Alleles

if TYPE_CHECKING:
    import xarray as xr
    from narwhals.typing import IntoFrame

    Tuples = Iterable[tuple[Any, ...]]
    Rows = Iterable[Mapping[str, Any]]
    Columns = Mapping[str, Sequence[Any]]
    Variants: TypeAlias = (
        IntoFrame | Columns | Tuples | Rows | Iterable[str] | Alleles | str | os.PathLike[str]
    )
    Attributions: TypeAlias = AttributionOptions | Mapping[str, Any] | None

SPAN = 1_000
"""Bases to either side of a TSS that :func:`saturate` scores."""


def score(
    store: Store | str | os.PathLike[str],
    variants: Variants,
    *,
    scheme: str = "grid",
    genes: str = "nearest",
    max_distance: int = MAX_DISTANCE,
    ref_mismatch: str = "flag",
    normalize: bool = False,
    heads: str | Sequence[str] = (),
    contexts: str | Sequence[str] = (),
    calibrated: bool = False,
    calibration: str = "",
    attributions: Attributions = None,
    cache: str | os.PathLike[str] | None = None,
    region: str | Sequence[str] = (),
    regions_file: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    liftover: str | os.PathLike[str] | None = None,
    check_assembly: bool = True,
    atlas: Entries | str | os.PathLike[str] | None = None,
    device: str = "auto",
    tf32: bool = False,
    batch: int = 128,
    workers: int | None = None,
    scheduler: str = "",
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    work: str | os.PathLike[str] | None = None,
    progress: Progress | None = silent,
) -> xr.Dataset:
    """Effects of variants on expression, as ``seal-store score vcf`` computes them.

    Everything is held in memory, or written to ``out`` in bounded memory and opened. None for an
    option is its default. Needs the extra ``xarray``.

    Parameters
    ----------
    store, cache
        A store, or its path or address; what is read from an address is kept in the folder
        ``cache``.
    variants
        One of: a table of pandas, polars, Arrow or DuckDB, lazy or not, a structured array, a
        mapping, or effects that were scored before, with columns ``contig`` (or ``chrom``),
        ``pos`` (1-based), ``ref``, ``alt`` and optionally ``id``; rows of these names; tuples
        (contig, pos, ref, alt) or (contig, pos, ref, alt, id); texts such as ``chr1:867550:C:G``
        or HGVS, one or several, whose ``id`` is the text; the path of a VCF or what
        :func:`read_variants` gives. An ALT of several alleles, ``A,T``, is split.
    scheme
        ``grid`` or ``centered``; do not compare effects across schemes.
    genes
        ``nearest``: the gene with the nearest TSS; ``all``: every gene within the distance.
    max_distance
        Largest distance to the TSS, bp, at most 20000.
    ref_mismatch
        Where REF differs from the store's genome: ``flag``, ``skip``, ``error``, or ``swap``: where
        the genome has ALT, REF is scored as its change and the sign turned, others are flagged.
    normalize
        Left-align and trim alleles before they are scored; rows keep POS, REF and ALT.
    heads
        Names of head sets; all by default.
    contexts
        Names of contexts, each ``name`` or ``set:name``; all by default, in the store's order.
    calibrated
        Add ``quantile`` and ``z`` of every effect, from the store's calibration.
    calibration
        The same, from the calibration of this name.
    attributions
        :class:`AttributionOptions`, or a mapping with the same names: adds how much each
        chromatin feature contributes, by a ``method`` to the ``targets``.
    region, regions_file
        Of a variant file only what touches these: ``CONTIG:FROM-TO``, 1-based, both included, one
        or several; files of them (BED if the name ends so).
    liftover
        Chain file from the assembly of the variants to the store's. Rows are then on the store's.
    check_assembly
        Refuse variants that seem to be of another assembly: by the header of a file, or if that
        does not tell, where most REF bases differ from the genome.
    atlas
        An atlas of the store, or its path: SNVs that it has are taken from it, others computed;
        ``source`` along ``variant`` says which.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N``, or ``cuda:all``: a process on each GPU.
    tf32
        Whether products with what an allele changes are computed in TF32: faster on a CUDA device
        that has it, others are refused; errors of up to 0.3 % of a variant's largest effect.
    batch
        Variants at once: speed and memory only.
    workers, scheduler
        Processes to share the work of a file's variants to ``out``: so many of this machine, or
        those of the Dask scheduler at this address (``local``: one that is started here). The
        same bytes. A script needs ``if __name__ == "__main__":`` then.
    out
        A results group to write, ``.zarr``, at a path or an address of a bucket:
        :func:`open_results` reads it, :func:`export` writes it in other formats. What is returned
        is then read when it is used.
    overwrite
        Replace an existing ``out``.
    resume
        Go on with an interrupted run to ``out``; of variants of a file only.
    work
        As in :func:`build`.
    progress
        Called as ``progress("alleles", done, None)`` from time to time.

    Returns
    -------
    xarray.Dataset
        ``effect`` float32 (variant, context): predicted change of ln(expression + pseudocount),
        alt minus ref; ``quantile`` and ``z`` too if calibrated; ``attribution`` (variant,
        target, feature) and its kin if asked for (docs/formats.md). Along ``variant``, one entry
        for each allele and gene in the order of the input, stand the columns of results
        (``contig``, ``pos`` 1-based, ``id``, ``ref``, ``alt``, ``kind``, ``gene_id``,
        ``strand``, ``dist_to_tss``, ``ref_match``, ``status``, ``input_chrom``,
        ``gene_symbol``), and ``row``, the row of the table or list, from 0 (for a VCF ``line``,
        from 1). Along ``context``: names, sets and labels;
        ``context_name`` is an index. ``attrs`` has the scheme and options, ``counts`` (with
        ``not_scored``, alleles by reason, and ``examples``), and ``store`` with its ``sha256``
        and whether it is ``synthetic``. :func:`open_results` gives the same.

    Raises
    ------
    VariantError
        ``variants`` lacks a column, is of another shape, cannot be read, or none of it is a
        variant; or REF differs from the genome and ``ref_mismatch`` is ``error``.
    HeadsError
        A head set or context is not in the store.
    InputError
        An option has another value; :class:`~seal_store.errors.ParameterError`: another type.
    StoreError
        ``store`` cannot be opened, or has no calibration.
    OutputError
        ``out`` exists already, or is not ``.zarr``.
    MissingExtraError
        xarray is not installed.
    """
    require("xarray", "score from Python")
    crew = Crew(workers, scheduler, device)
    options = ScoreOptions(
        scheme=scheme,
        genes=genes,
        max_distance=max_distance,
        ref_mismatch=ref_mismatch,
        normalize=normalize,
        heads=heads,
        contexts=contexts,
        device=crew.kind,
        tf32=tf32,
        batch=batch,
        calibrated=calibrated,
        calibration=calibration,
    )
    opened, attribution = _opened(store, cache), attribution_options(attributions)
    regions, named = chosen(texts("region", region), paths("regions_file", regions_file))
    chain = None if liftover is None else as_path("liftover", liftover)
    checked = truth("check_assembly", check_assembly)
    how: dict[str, Any] = {"overwrite": overwrite, "resume": resume}
    if is_file(variants) and out is not None:
        job = ScoreJob(
            opened.path,
            group_path(out, work),
            str(os.fspath(cast(Any, variants))),
            options=options,
            attribution=attribution,
            regions=tuple(regions),
            named=tuple(named),
            liftover=chain,
            check_assembly=checked,
            atlas=None if atlas is None else _place_of(atlas),
            command="seal_store.score",
        )
        return scored(Prepared(job, opened), crew, progress or silent, **how)
    check_one(crew)
    own = None
    if atlas is not None:
        entries = atlas if isinstance(atlas, Entries) else Entries(_place_of(atlas))
        own = Known(entries, opened, options)
    scorer = Scorer(opened, options, attribution=attribution, known=own)
    alleles, watch = matched(
        opened,
        given_alleles(variants, StoreBases(opened), regions, named),
        liftover=chain,
        check_assembly=checked,
    )
    how["watch"] = watch
    group = None if out is None else group_path(out, work)
    return effects(scorer, alleles, group, "seal_store.score", progress or silent, **how)


def saturate(
    store: Store | str | os.PathLike[str],
    gene: str,
    *,
    span: int = SPAN,
    scheme: str = "grid",
    heads: str | Sequence[str] = (),
    contexts: str | Sequence[str] = (),
    calibrated: bool = False,
    calibration: str = "",
    attributions: Attributions = None,
    cache: str | os.PathLike[str] | None = None,
    device: str = "auto",
    tf32: bool = False,
    batch: int = 128,
    workers: int | None = None,
    scheduler: str = "",
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    work: str | os.PathLike[str] | None = None,
    progress: Progress | None = silent,
) -> xr.Dataset:
    """Effects of every SNV around the TSS of a gene, as ``seal-store score saturate``.

    ``gene`` is an id or a symbol, ``span`` the bases to either side of its TSS, at most 20000.
    All else is as in :func:`score`; rows come in the order of the positions, 1-based.
    """
    require("xarray", "score from Python")
    if not 0 <= whole("span", span) <= MAX_DISTANCE:
        raise InputError(f"`span` {span}: not between 0 and {MAX_DISTANCE}")
    crew = Crew(workers, scheduler, device)
    options = ScoreOptions(
        scheme=scheme,
        heads=heads,
        contexts=contexts,
        device=crew.kind,
        tf32=tf32,
        batch=batch,
        calibrated=calibrated,
        calibration=calibration,
    )
    opened = _opened(store, cache)
    gene = str(opened.gene_id[opened.position(gene)])
    attribution = attribution_options(attributions)
    how: dict[str, Any] = {"overwrite": overwrite, "resume": resume}
    if out is not None:
        job = ScoreJob(
            opened.path,
            group_path(out, work),
            gene=gene,
            span=span,
            options=options,
            attribution=attribution,
            command="seal_store.saturate",
        )
        return scored(Prepared(job, opened), crew, progress or silent, **how)
    check_one(crew)
    scorer = Scorer(opened, options, gene, attribution)
    alleles = saturation(opened, gene, span)
    return effects(scorer, alleles, None, "seal_store.saturate", progress or silent, **how)


def attribute(
    results: Results | str | os.PathLike[str],
    attributions: Attributions,
    *,
    store: Store | str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    device: str = "auto",
    tf32: bool = False,
    batch: int = 128,
    overwrite: bool = False,
    work: str | os.PathLike[str] | None = None,
    progress: Progress | None = silent,
) -> Results:
    """Add attributions to a results group, as ``seal-store attribute`` does; the group, reopened.

    Every row is evaluated again from ``store``, by default where it was; the results stay as
    they are until it is done, those in a bucket until they are sent (``work`` is as in
    :func:`build`). ``overwrite`` replaces attributions. Raises
    :class:`~seal_store.errors.StoreError` if the store is not there or another one, and
    :class:`~seal_store.errors.OutputError` if there are attributions already.
    """
    if not isinstance(results, Results):
        results = Results(given_place("results", results, cache, work))
    options = attribution_options(attributions)
    if options is None:
        raise ParameterError("`attributions` None: nothing to add", "give method and targets")
    engine: dict[str, Any] = {"device": device, "tf32": tf32, "batch": batch}
    given = None if store is None else _opened(store, cache)
    scorer = scorer_of(results, given, options, **engine)
    add_attributions(
        results,
        scorer,
        overwrite=overwrite,
        command="seal_store.attribute",
        progress=progress or silent,
    )
    return Results(results.path)


def calibrate(
    store: Store | str | os.PathLike[str],
    background: str | os.PathLike[str],
    *,
    scheme: str = "grid",
    name: str = "",
    by: str | None = None,
    bin_edges: Sequence[int] = EDGES,
    bin_least: int = LEAST,
    genes: str = "nearest",
    max_distance: int = MAX_DISTANCE,
    ref_mismatch: str = "flag",
    normalize: bool = False,
    check_assembly: bool = True,
    device: str = "auto",
    tf32: bool = False,
    batch: int = 128,
    workers: int | None = None,
    scheduler: str = "",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = silent,
) -> Store:
    """Keep in ``store`` how the effects of a background are distributed; the store, reopened.

    As ``seal-store calibrate`` does: ``score(..., calibrated=True)`` then gives every effect its
    quantile and z among those of the VCF ``background``. A ``Store`` that is open stays as it
    was. A store has one calibration without a ``name`` for each scheme, and any number of others.

    ``by`` keeps distributions for each ``distance`` to the TSS, each ``kind`` of variant (SNVs and
    MNVs; indels) or ``both``; a variant is then compared with its like. ``bin_edges`` are the
    distances in bp where a bin begins, beside 0. A bin with fewer than ``bin_least`` effects of
    the background is pooled with its neighbour: ``store.attributes.calibration`` has the ``bins``
    that came of it.

    Raises :class:`~seal_store.errors.OutputError` if there is such a calibration already and
    neither ``overwrite`` nor ``resume`` is given, and :class:`~seal_store.errors.InputError` if no
    variant could be scored or a parameter has another value.
    """
    binning = Binning(by, bin_edges, bin_least)
    opened = _opened(store)
    crew = Crew(workers, scheduler, device)
    options = ScoreOptions(
        scheme=scheme,
        genes=genes,
        max_distance=max_distance,
        ref_mismatch=ref_mismatch,
        normalize=normalize,
        device=crew.kind,
        tf32=tf32,
        batch=batch,
    )
    run_calibrate(
        opened,
        given_place("background", background),
        options,
        name=text("name", name),
        binning=binning,
        crew=crew,
        check_assembly=truth("check_assembly", check_assembly),
        overwrite=overwrite,
        resume=resume,
        command="seal_store.calibrate",
        progress=progress or silent,
    )
    return Store(opened.path)


def _opened(
    store: Store | str | os.PathLike[str], cache: str | os.PathLike[str] | None = None
) -> Store:
    return store if isinstance(store, Store) else Store(given_place("store", store, cache))


def _place_of(atlas: Entries | str | os.PathLike[str]) -> Place:
    return atlas.path if isinstance(atlas, Entries) else given_place("atlas", atlas)


def attribution_options(given: Any) -> AttributionOptions | None:
    """Options of attributions from whatever stands for them."""
    if given is None or isinstance(given, AttributionOptions):
        return given
    known = [entry.name for entry in fields(AttributionOptions)]
    hint = f"give a mapping of {', '.join(known)}"
    if not isinstance(given, Mapping):
        raise ParameterError(f"`attributions`: a {type(given).__name__}", hint)
    other = [name for name in given if name not in known]
    if other or "method" not in given:
        what = f"no option {other[0]!r}" if other else "no `method`"
        raise InputError(f"`attributions`: {what}", hint)
    return AttributionOptions(**given)
