"""``seal-store expression``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from . import _options


@click.command()
@click.argument("store", type=_options.PATH)
@click.option("--out", type=_options.PATH, required=True, help="OUT.tsv.")
@click.option(
    "--gene",
    type=_options.NAME_OR_FILE,
    multiple=True,
    help="Only this gene, or those of a file of ids. Repeatable.",
)
@_options.contexts
@_options.precision
@_options.overwrite
@_options.as_json
def expression(
    store: Path,
    out: Path,
    gene: tuple[str, ...],
    contexts: tuple[str, ...],
    precision: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the reference predictions of STORE: genes x contexts, ln(expression + pseudocount)."""
    from seal_store.errors import InputError
    from seal_store.exporting.tsv import export_expression
    from seal_store.store.store import Store

    if out.suffix != ".tsv":
        raise InputError(f"{out}: unknown kind of output", "name it .tsv")
    genes, columns = export_expression(
        Store(store),
        out,
        genes=_options.names(gene),
        contexts=_options.names(contexts),
        precision=precision,
        overwrite=overwrite,
    )
    facts = {"out": str(out), "genes": genes, "contexts": columns}
    text = f"{out}: {genes} genes, {columns} contexts"
    click.echo(json.dumps(facts) if as_json else text)
