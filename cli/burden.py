"""``seal-store burden``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import _options, _study
from ._progress import Meter

if TYPE_CHECKING:
    from pathlib import Path

    from seal_store.store.place import Place


@click.command()
@_study.results
@click.option(
    "--groups",
    type=_options.PATH,
    required=True,
    metavar="TABLE",
    help="TSV or CSV: contig, pos, ref, alt (or variant), group (case, control); if you like "
    "family and gene.",
)
@_study.store
@_options.contexts
@click.option(
    "--gene-set",
    type=_options.PATH,
    multiple=True,
    metavar="FILE",
    help="Only rows of these genes: GMT, or one id or symbol a line. Repeatable.",
)
@_options.number("--permutations", 10_000, "At most; all there are, if fewer.", most=10_000_000)
@_study.seed
@click.option("--out", type=_options.PLACE, required=True, help=f"Table to write: {_study.OUT}")
@_options.cache
@_options.work
@_options.reporting
def burden(
    results: Place,
    groups: Path,
    store: Place | None,
    contexts: tuple[str, ...],
    gene_set: tuple[Path, ...],
    permutations: int,
    seed: int,
    out: Place,
    overwrite: bool,
) -> None:
    """Compare effects in RESULTS of variants of cases with those of controls, by permutation.

    Differences of mean effects and of mean sizes, per context and per head set, with p-values and
    false discovery rates. With families, labels are permuted within each.
    """
    from seal_store.results.group import Results
    from seal_store.study.burden import BurdenOptions, summary
    from seal_store.study.burden import burden as work
    from seal_store.study.writing import check_free

    names = _options.names(contexts)
    options = BurdenOptions(names, permutations, seed, list(map(str, gene_set)))
    check_free(out, overwrite=overwrite)
    with Meter() as progress:
        study = work(Results(results), groups, options, progress, _study.bases(store))
    _study.finish(study, out, overwrite, summary(study))
