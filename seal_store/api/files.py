"""Results and profiles written to files of other formats, from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence

from seal_store.common.progress import Progress, silent
from seal_store.exporting.export import ExportOptions, export_to
from seal_store.exporting.render import Exported
from seal_store.results.group import Results
from seal_store.results.view import Selection
from seal_store.store.place import given_place
from seal_store.store.store import Store


def export(
    results: Results | Store | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    contexts: str | Sequence[str] = (),
    long: bool = False,
    top: int | None = None,
    min_effect: float = 0.0,
    attributions: int | None = None,
    vcf: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    work: str | os.PathLike[str] | None = None,
    feature: str | None = None,
    gene: str | Sequence[str] = (),
    per_position: str = "strongest",
    precision: int = 6,
    overwrite: bool = False,
    progress: Progress | None = silent,
) -> Exported:
    """Write results in another format, by the ending of ``out``, as ``seal-store export`` does.

    Parameters
    ----------
    results
        What :func:`open_results` gives, or its path; for a profile a store.
    out
        ``.tsv``, ``.tsv.gz``, ``.parquet``, ``.arrow``, ``.feather`` (tables); ``.vcf``,
        ``.vcf.gz``, ``.bcf`` (the scored VCF annotated); ``.bw``, ``.bigwig``, ``.bedgraph``
        (tracks).
    contexts
        Names of contexts, or of targets with ``attributions``; all by default.
    long
        Tables: a line for each context instead of a column.
    top
        Only so many strongest contexts of each variant and gene; a table becomes long.
    min_effect
        Only variants and genes with an effect of at least that, either sign.
    attributions
        Write so many strongest attributions of each row and target instead of effects: a table.
    vcf
        The VCF to annotate; by default that of the results.
    store
        The store the results were made from; by default the one they name.
    cache
        Folder to keep what is read of results or a store at an address.
    work
        Folder in which an ``out`` in a bucket is made; by default the current one.
    feature
        Tracks: reference values of this feature, with a store as ``results``.
    gene
        Tracks: only this gene, exactly one for effects; several with ``feature``.
    per_position
        Tracks: ``strongest`` or ``mean`` of the SNVs of one base.
    precision
        Significant digits in text.
    overwrite
        Replace an existing ``out``.
    progress
        Called as ``progress(what, done, total)`` from time to time.

    Returns
    -------
    Exported
        ``rows``: lines or records written; ``notes`` on them, one text each.

    Raises
    ------
    InputError
        Options do not fit each other or ``out``.
    OutputError
        ``out`` exists already or is of an unknown kind.
    MissingExtraError
        A package that the format needs is not installed.
    """
    options = ExportOptions(
        Selection(contexts, min_effect, top, long),
        attributions=attributions,
        vcf=None if vcf is None else given_place("vcf", vcf),
        store=None if store is None else given_place("store", store, cache),
        feature=feature,
        gene=gene,
        per_position=per_position,
        precision=precision,
        overwrite=overwrite,
    )
    given = results.path if isinstance(results, Results | Store) else results
    source = given_place("results", given, cache)
    return export_to(source, given_place("out", out, work=work), options, progress or silent)
