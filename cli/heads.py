"""``seal-store heads``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from . import _options
from ._progress import Meter


@click.group()
def heads() -> None:
    """Head sets of a store."""


@heads.command()
@click.argument("store", type=_options.PATH)
@click.argument("path", type=_options.PATH)
@_options.quiet
@_options.as_json
def add(store: Path, path: Path, quiet: bool, as_json: bool) -> None:
    """Add the head sets at PATH (a model summary file or a folder of them) to STORE."""
    from seal_store.building.build import add_heads

    with Meter(quiet=quiet) as progress:
        added = add_heads(store, path, progress)
    facts = [{"name": s.name, "contexts": len(s.contexts), "sha256": s.sha256()} for s in added]
    text = "\n".join(f"added {fact['name']}: {fact['contexts']} contexts" for fact in facts)
    click.echo(json.dumps(facts) if as_json else text)


@heads.command("list")
@click.argument("store", type=_options.PATH)
@click.option("--contexts", is_flag=True, help="List every context too.")
@_options.as_json
def list_(store: Path, contexts: bool, as_json: bool) -> None:
    """List the head sets of STORE."""
    from seal_store.store.store import Store

    opened = Store(store)
    facts = [entry.to_dict() for entry in opened.attributes.heads]
    for fact in facts:
        fact.pop("summary", None)
    if contexts and facts:
        names, sets = opened.contexts()
        for fact in facts:
            fact["context_names"] = names[sets == fact["name"]].tolist()
    if as_json:
        click.echo(json.dumps(facts))
        return
    for fact in facts:
        click.echo(f"{fact['name']}\t{fact['contexts']} contexts\t{fact['latent']} hidden units")
        for name in fact.get("context_names", []):
            click.echo(f"  {name}")
