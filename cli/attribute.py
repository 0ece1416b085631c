"""``seal-store attribute``."""

from __future__ import annotations

import json
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
@_options.batch
@_options.device
@_options.tf32
@_options.overwrite
@_options.quiet
@_options.as_json
def attribute(results: Path, store: Path | None, **common: Any) -> None:
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
    source = Store(store or recorded)
    scorer = scorer_of(
        opened,
        source,
        options,
        device=common["device"],
        tf32=common["tf32"],
        batch=common["batch"],
    )
    announce(scorer.attributor, len(opened), quiet=common["quiet"])
    with Meter(quiet=common["quiet"]) as progress:
        add_attributions(
            opened,
            scorer,
            overwrite=common["overwrite"],
            command=command_line(),
            progress=progress,
        )
    kind = facts_of(scorer)
    facts = {"results": str(results), "rows": len(opened), "attribution": kind}
    text = f"{results}: {len(opened)} rows\n{describe(kind)}"
    click.echo(json.dumps(facts) if common["as_json"] else text)
