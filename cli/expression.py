"""``seal-store expression``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import _options


@click.command()
@click.argument("store", type=_options.PATH)
@click.option("--out", type=_options.PATH, required=True, help="OUT.tsv.")
@_options.gene("Only this gene, or those of a file of ids. Repeatable.")
@_options.contexts
@_options.precision
@_options.overwrite
@_options.as_json
def expression(
    store: Path, out: Path, gene: tuple[str, ...], contexts: tuple[str, ...], **form: Any
) -> None:
    """Write the reference predictions of STORE: genes x contexts, ln(expression + pseudocount)."""
    from seal_store.errors import InputError
    from seal_store.exporting.tsv import export_expression
    from seal_store.store.store import Store

    if out.suffix != ".tsv":
        raise InputError(f"{out}: unknown kind of output", "name it .tsv")
    ids, chosen = _options.names(gene), _options.names(contexts)
    genes, columns = export_expression(Store(store), out, genes=ids, contexts=chosen, **form)
    facts = {"out": str(out), "genes": genes, "contexts": columns}
    _options.say(facts, f"{out}: {genes} genes, {columns} contexts")
