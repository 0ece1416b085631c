"""``seal-store heads``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from seal_store.common.words import counted

from . import _options
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.store.place import Place


@click.group()
def heads() -> None:
    """Head sets of a store."""


@heads.command()
@click.argument("store", type=_options.PATH)
@click.argument("path", type=_options.PATH)
@_options.quiet
@_options.as_json
def add(store: Path, path: Path) -> None:
    """Add the head sets at PATH (a model summary file or a folder of them) to STORE."""
    from seal_store.building.build import add_heads

    with Meter() as progress:
        added = add_heads(store, path, progress)
    facts = [{"name": s.name, "contexts": len(s.contexts), "sha256": s.sha256()} for s in added]
    lines = [f"added {own.name}: {counted(len(own.contexts), 'context')}" for own in added]
    _options.say(facts, lines)


@heads.command("list")
@click.argument("store", type=_options.PLACE)
@_options.cache
@click.option("--contexts", is_flag=True, help="List every context too.")
@_options.as_json
def list_(store: Place, contexts: bool) -> None:
    """List the head sets of STORE."""
    from seal_store.store.store import Store

    opened = Store(store)
    facts = [entry.to_dict() for entry in opened.attributes.heads]
    names, sets = opened.contexts() if contexts and facts else ((), ())
    lines = []
    for fact in facts:
        fact.pop("summary", None)
        lines.append(
            f"{fact['name']}\t{counted(fact['contexts'], 'context')}\t{fact['latent']} hidden units"
        )
        if contexts:
            fact["context_names"] = names[sets == fact["name"]].tolist()
            lines += [f"  {name}" for name in fact["context_names"]]
    _options.say(facts, lines)
