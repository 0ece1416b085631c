"""``seal-store export``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from seal_store.cli import _options


@click.command()
@click.argument("results", type=_options.PATH)
@click.argument("out", type=_options.PATH)
@click.option(
    "--attributions",
    "top",
    type=click.IntRange(1),
    metavar="N",
    help="Write the N strongest attributions of each row and target instead of effects.",
)
@_options.precision
@_options.overwrite
@_options.as_json
def export(
    results: Path, out: Path, top: int | None, precision: int, overwrite: bool, as_json: bool
) -> None:
    """Write RESULTS (a .zarr of `score`) as OUT.tsv, with Seal's own columns."""
    from seal_store.errors import InputError
    from seal_store.results import Results
    from seal_store.tables import export_attributions, export_tsv

    if out.suffix != ".tsv":
        raise InputError(f"{out}: unknown kind of output", "name it .tsv")
    opened, rows = Results(results), 0
    if top is None:
        export_tsv(opened, out, precision=precision, overwrite=overwrite)
        rows = len(opened)
    else:
        rows = export_attributions(opened, out, top=top, precision=precision, overwrite=overwrite)
    facts = {"out": str(out), "rows": rows}
    click.echo(json.dumps(facts) if as_json else f"{out}: {rows} rows")
