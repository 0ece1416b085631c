"""``seal-store expression``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _options

if TYPE_CHECKING:
    from seal_store.store.place import Place


@click.command()
@click.argument("store", type=_options.PLACE)
@_options.cache
@_options.work
@click.option("--out", type=_options.PLACE, required=True, help="OUT.tsv.")
@_options.gene("Only this gene, or those of a file of ids. Repeatable.")
@_options.contexts
@_options.precision
@_options.overwrite
@_options.as_json
def expression(
    store: Place, out: Place, gene: tuple[str, ...], contexts: tuple[str, ...], **form: Any
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
    _options.say(facts, f"{out}: {counted(genes, 'gene')}, {counted(columns, 'context')}")
