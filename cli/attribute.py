"""``seal-store attribute``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import _options, command_line
from ._attribution import announce, attributing, describe, facts_of, take
from ._progress import Meter


@click.command()
@click.argument("results", type=_options.PATH)
@click.option(
    "--store", type=_options.PATH, help="The store of the results. Default: where it was."
)
@attributing
@_options.engine
@_options.reporting
def attribute(results: Path, store: Path | None, overwrite: bool, **common: Any) -> None:
    """Add attributions to RESULTS (a .zarr of `score`).

    Every row is evaluated again from the store; the results stay as they are until it is done.
    """
    from seal_store.errors import StoreError
    from seal_store.results.group import Results
    from seal_store.run.attributions import add_attributions, scorer_of
    from seal_store.store.store import Store

    options = take(common)
    if options is None:
        raise click.UsageError("Missing option '--method'.")
    opened = Results(results)
    recorded = Path(opened.attributes.store.path)
    if store is None and not recorded.exists():
        raise StoreError(
            f"{results} was made from {recorded}, which is not there",
            "give the store with --store",
        )
    scorer = scorer_of(opened, Store(store or recorded), options, **common)
    announce(scorer.attributor, len(opened))
    with Meter() as progress:
        add_attributions(
            opened, scorer, overwrite=overwrite, command=command_line(), progress=progress
        )
    kind = facts_of(scorer)
    _options.say(
        {"results": str(results), "rows": len(opened), "attribution": kind},
        f"{results}: {len(opened)} rows\n{describe(kind)}",
    )
