"""Shell completion of names: contexts and head sets, of the store on the command line if one is.

A shell waits for it at each Tab, so a store's attributes are read as JSON, without Zarr. Where
no name fits, files are offered: options that take names take files of names too.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.shell_completion import CompletionItem


def contexts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of contexts; for ``--target`` also ``all``."""
    names = [name for _, own in _head_sets(ctx) for name in own]
    return _items(["all", *names] if param.name == "targets" else names, incomplete)


def head_sets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of head sets."""
    return _items([head_set for head_set, _ in _head_sets(ctx)], incomplete)


def devices(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The devices that need no looking for."""
    return _items(["auto", "cpu", "cuda"], incomplete)


def _items(names: list[str], incomplete: str) -> list[CompletionItem]:
    known = {name for name in names if name.startswith(incomplete)}
    fitting = sorted(filter(str.isprintable, known))  # the shell prints them
    return [CompletionItem(name) for name in fitting] or [CompletionItem(incomplete, type="file")]


def _head_sets(ctx: click.Context) -> list[tuple[str, list[str]]]:
    """(head set, its contexts) of the store, or else as published."""
    from seal_store.common.beside import GROUP, METADATA_BYTES
    from seal_store.common.files import resource_table
    from seal_store.common.plain import read_plain

    found: dict[str, list[str]] = {}
    for row in resource_table("contexts"):
        found.setdefault(row["head_set"], []).append(row["name"])
    store = ctx.params.get("store")
    try:
        text = read_plain(Path(store) / GROUP, METADATA_BYTES) if store else "{}"
        entries = json.loads(text)["attributes"]["seal_store"]["heads"]
        return [(e["name"], _names(e["summary"]) or found.get(e["name"], [])) for e in entries]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return list(found.items())


def _names(summary: dict[str, str]) -> list[str]:
    """Contexts that a model summary names: those of the fine-tuned model, else the general ones."""
    lines = (summary.get(f"Name of {kind} contexts", "") for kind in ("specific", "general"))
    return next(([name.strip() for name in line.split(",")] for line in lines if line), [])
