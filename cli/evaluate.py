"""``seal-store evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import _options, _study
from ._progress import Meter

if TYPE_CHECKING:
    from pathlib import Path

    from seal_store.store.place import Place


@click.group()
def evaluate() -> None:
    """Compare effects with what is known. Needs `pip install 'seal-store[study]'`.

    Head sets are compared with expression by `seal-store train evaluate`.
    """


@evaluate.command()
@_study.results
@click.option(
    "--truth",
    type=_options.PATH,
    required=True,
    metavar="TABLE",
    help="TSV or CSV: contig, pos, ref, alt, and effect (signed) or label (1, 0); if you like "
    "gene, weight, group, fold, locus, and other models' scores.",
)
@_study.store
@_options.contexts
@click.option(
    "--choose",
    type=click.Choice(["mean", "each", "largest", "nested"]),
    help="How contexts are chosen: their mean, each alone, of each variant the largest, or the "
    "best on other folds. Default: mean with --contexts, else largest.",
)
@_options.number("--bootstrap", 1_000, "Draws of loci for the intervals.", most=1_000_000)
@_study.seed
@click.option("--out", type=_options.PLACE, help=f"Table to write: {_study.OUT}")
@_options.cache
@_options.work
@_options.reporting
def variants(
    results: Place,
    truth: Path,
    store: Place | None,
    contexts: tuple[str, ...],
    choose: str | None,
    bootstrap: int,
    seed: int,
    out: Place | None,
    overwrite: bool,
) -> None:
    """See whether RESULTS are right on variants whose effects are known.

    AUROC, AUPRC, Spearman's r and sign agreement, with intervals over loci, by distance to the
    TSS and by group, beside distance alone, chance and other scores. Contexts are never chosen by
    how well they fit.
    """
    from seal_store.results.group import Results
    from seal_store.study.evaluate import EvaluateOptions, evaluate_variants, summary
    from seal_store.study.writing import check_free

    options = EvaluateOptions(_options.names(contexts), choose or "", bootstrap, seed)
    check_free(out, overwrite=overwrite)
    with Meter() as progress:
        study = evaluate_variants(Results(results), truth, options, progress, _study.bases(store))
    _study.finish(study, out, overwrite, summary(study))
