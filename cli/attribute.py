"""``seal-store attribute``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _options, command_line
from ._attribution import announce, attributing, describe, facts_of, take
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.store.place import Place


@click.command()
@click.argument("results", type=_options.PLACE)
@click.option(
    "--store", type=_options.PLACE, help="The store of the results. Default: where it was."
)
@_options.cache
@_options.work
@attributing
@_options.engine
@_options.reporting
def attribute(results: Place, store: Place | None, overwrite: bool, **common: Any) -> None:
    """Add attributions to RESULTS (a .zarr of `score`).

    Every row is evaluated again from the store; the results stay as they are until it is done.
    """
    from seal_store.results.group import Results
    from seal_store.run.attributions import add_attributions, scorer_of
    from seal_store.store.store import Store

    options = take(common)
    if options is None:
        raise click.UsageError("Missing option '--method'.")
    opened = Results(results)
    scorer = scorer_of(opened, None if store is None else Store(store), options, **common)
    announce(scorer.attributor, len(opened))
    with Meter() as progress:
        add_attributions(
            opened, scorer, overwrite=overwrite, command=command_line(), progress=progress
        )
    kind = facts_of(scorer.attributor, scorer.completeness)
    _options.say(
        {"results": str(results), "rows": len(opened), "attribution": kind},
        f"{results}: {counted(len(opened), 'row')}\n{describe(kind)}",
    )
