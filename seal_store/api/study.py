"""Studies with results, from Python: known variants, credible sets, cases and controls."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.results.group import Results
from seal_store.store.place import given_place
from seal_store.store.store import Store
from seal_store.study.writing import Study, check_free
from seal_store.variants.bases import StoreBases

if TYPE_CHECKING:
    import pandas as pd

Given = Results | str | os.PathLike[str]


def evaluate_variants(
    results: Given,
    truth: Any,
    *,
    contexts: str | Sequence[str] = (),
    choose: Literal["mean", "each", "largest", "nested"] | None = None,
    bootstrap: int = 1_000,
    seed: int = 0,
    store: Store | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = silent,
) -> pd.DataFrame:
    """Compare effects with what is known of variants, as ``seal-store evaluate variants`` does.

    Needs the extra ``study``; see docs/study.md.

    Parameters
    ----------
    results
        What :func:`open_results` gives, or its path.
    truth
        The path of a table, or a data frame of pandas or polars: contig, pos (1-based), ref, alt,
        and ``effect`` (signed) or ``label`` (1, 0); if you like gene, weight, group, fold, locus,
        and other models' scores.
    contexts
        Names of contexts; all by default.
    choose
        ``mean``, ``each``, ``largest`` or ``nested``: how contexts are chosen. By default
        ``mean`` where contexts are named, else ``largest``.
    bootstrap, seed
        Draws of loci for the 95 % intervals, and where they begin.
    store
        Left-align insertions and deletions of both sides by the sequences of this store: what
        :func:`open` gives, or its path.
    out
        Write the table too: .tsv, .tsv.gz, .parquet, .arrow, .feather, .html.
    overwrite
        Replace ``out``.
    progress
        Called as ``progress(what, done, total)`` from time to time.

    Returns
    -------
    pandas.DataFrame
        A row for each ``metric``, ``stratum`` and ``score``: ``value`` with ``low`` and
        ``high``, how much it is over distance to the TSS alone, and numbers of variants and loci.
        ``attrs`` say what was matched, what was not and why, and how contexts were chosen.

    Raises
    ------
    InputError
        The truth or an option is wrong; the message says which.
    HeadsError
        A context is not in the results.
    OutputError
        ``out`` exists, or has an ending that is no table's.
    """
    from seal_store.study.evaluate import EvaluateOptions
    from seal_store.study.evaluate import evaluate_variants as work

    require("study", "an evaluation")
    options = EvaluateOptions(contexts, choose or "", bootstrap, seed)
    check_free(out, overwrite=overwrite)
    found = work(_opened(results), truth, options, progress or silent, _bases(store))
    return _finished(found, out, overwrite)


def loci(
    results: Given,
    credible_sets: Any,
    *,
    contexts: str | Sequence[str] = (),
    top: int = 5,
    store: Store | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = silent,
) -> pd.DataFrame:
    """PIP-weighted effects of credible sets on genes and contexts, as ``seal-store loci`` does.

    ``credible_sets`` is the path of a table, or a data frame, of variants with a PIP and a locus,
    named as SuSiE and FINEMAP name them (docs/study.md). ``top`` variants are named in each row.
    The other parameters, and what is raised, are those of :func:`evaluate_variants`.

    Returns a row for each locus, gene and context: ``effect`` (sum of PIP times effect, in
    ln(expression + pseudocount)), ``size`` (sum of PIP times ``|effect|``), the sums of PIP with
    and without a row, and the variants that carry it. Needs the extra ``xarray``.
    """
    from seal_store.study.loci import LociOptions
    from seal_store.study.loci import loci as work

    require("xarray", "a study as a table of pandas")
    options = LociOptions(contexts, top)
    check_free(out, overwrite=overwrite)
    found = work(_opened(results), credible_sets, options, progress or silent, _bases(store))
    return _finished(found, out, overwrite)


def burden(
    results: Given,
    groups: Any,
    *,
    contexts: str | Sequence[str] = (),
    gene_set: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    permutations: int = 10_000,
    seed: int = 0,
    store: Store | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = silent,
) -> pd.DataFrame:
    """Variants of cases against those of controls, as ``seal-store burden`` does.

    ``groups`` is the path of a table, or a data frame, of variants with ``group`` (case or
    control) and, if you like, ``family`` and ``gene``. ``gene_set`` names files of genes (GMT, or
    one a line): only rows of these count. At most ``permutations`` are tried; all there are if
    they are fewer. The other parameters, and what is raised, are those of
    :func:`evaluate_variants`.

    Returns a row for each context and measure, and for each head set: ``difference`` of the means
    of case and control, ``p`` (two-sided) and ``q`` (false discovery rate by Benjamini and
    Hochberg). Needs the extra ``xarray``.
    """
    from seal_store.study.burden import BurdenOptions
    from seal_store.study.burden import burden as work

    require("xarray", "a study as a table of pandas")
    several = [gene_set] if isinstance(gene_set, str | os.PathLike) else gene_set
    options = BurdenOptions(contexts, permutations, seed, [os.fspath(path) for path in several])
    check_free(out, overwrite=overwrite)
    found = work(_opened(results), groups, options, progress or silent, _bases(store))
    return _finished(found, out, overwrite)


def _opened(results: Given) -> Results:
    return results if isinstance(results, Results) else Results(results)


def _bases(store: Store | str | os.PathLike[str] | None) -> StoreBases | None:
    if store is None:
        return None
    return StoreBases(store if isinstance(store, Store) else Store(given_place("store", store)))


def _finished(found: Study, out: str | os.PathLike[str] | None, overwrite: bool) -> pd.DataFrame:
    if out is not None:
        found.write(out, overwrite=overwrite)
    return found.to_frame()
