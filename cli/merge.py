"""``seal-store merge``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seal_store.common.words import counted

from . import _options, command_line
from ._progress import Meter
from ._scored import accounts

if TYPE_CHECKING:
    from seal_store.store.place import Place


@click.command()
@click.argument("results", type=_options.PLACE, nargs=-1, required=True)
@click.option(
    "--out",
    type=_options.PLACE,
    required=True,
    help="OUT.zarr (results group); .tsv, .tsv.gz, .parquet, .arrow, .feather (table).",
)
@_options.work
@_options.cache
@_options.precision
@_options.reporting
def merge(results: tuple[Place, ...], out: Place, precision: int, overwrite: bool) -> None:
    """Write the rows of all RESULTS (.zarr of `score`) to OUT, in the order they are given.

    For results that were made apart, as one of each chromosome. They must be of one store, with
    the same scheme, options and contexts, and have no variants of one input in common; what differs
    is named. OUT says what each was made of.
    """
    from seal_store.exporting.render import Form
    from seal_store.results.group import Results
    from seal_store.run.merge import merge

    with Meter() as progress:
        counts = merge(
            [Results(path) for path in results],
            out,
            form=Form(precision=precision),
            overwrite=overwrite,
            command=command_line(),
            progress=progress,
        )
    facts = {"out": str(out), "merged": len(results), **counts.to_dict()}
    lines = [f"{out}: {counted(counts.rows, 'row')} of {len(results)} results", *accounts(facts)]
    _options.say(facts, "\n".join(lines))
