"""``seal-store loci``."""

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
    "--credible-sets",
    type=_options.PATH,
    required=True,
    metavar="TABLE",
    help="TSV or CSV of SuSiE, FINEMAP or others: variant (or chr, pos, and ref, alt or allele1, "
    "allele2), locus (or region, cs), PIP (or prob).",
)
@_study.store
@_options.contexts
@_options.number("--top", 5, "Name so many variants and features a line, the largest first.")
@click.option("--out", type=_options.PLACE, required=True, help=f"Table to write: {_study.OUT}")
@_options.cache
@_options.work
@_options.reporting
def loci(
    results: Place,
    credible_sets: Path,
    store: Place | None,
    contexts: tuple[str, ...],
    top: int,
    out: Place,
    overwrite: bool,
) -> None:
    """Weight effects in RESULTS by the posterior of credible sets, per locus, gene and context.

    Alleles whose order is not known are tried both ways; the sign is turned where they are
    swapped, and the line says so.
    """
    from seal_store.results.group import Results
    from seal_store.study.loci import LociOptions, summary
    from seal_store.study.loci import loci as work
    from seal_store.study.writing import check_free

    options = LociOptions(_options.names(contexts), top)
    check_free(out, overwrite=overwrite)
    with Meter() as progress:
        study = work(Results(results), credible_sets, options, progress, _study.bases(store))
    _study.finish(study, out, overwrite, summary(study))
