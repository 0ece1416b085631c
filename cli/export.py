"""``seal-store export``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from seal_store.cli import _options


@click.command()
@click.argument("results", type=_options.PATH)
@click.argument("out", type=_options.PATH)
@_options.precision
@_options.overwrite
@_options.as_json
def export(results: Path, out: Path, precision: int, overwrite: bool, as_json: bool) -> None:
    """Write RESULTS (a .zarr of `score`) as OUT.tsv, with Seal's own columns."""
    from seal_store.errors import InputError
    from seal_store.results import Results, export_tsv

    if out.suffix != ".tsv":
        raise InputError(f"{out}: unknown kind of output", "name it .tsv")
    opened = Results(results)
    export_tsv(opened, out, precision=precision, overwrite=overwrite)
    facts = {"out": str(out), "rows": len(opened)}
    click.echo(json.dumps(facts) if as_json else f"{out}: {len(opened)} rows")
