"""What the commands of studies share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seal_store.common.words import counted

from . import _options

if TYPE_CHECKING:
    from seal_store.store.place import Place
    from seal_store.study.writing import Study
    from seal_store.variants.bases import StoreBases

OUT = ".tsv, .tsv.gz, .parquet, .arrow, .feather, or .html (a page that asks no network)."
results = click.argument("results", type=_options.PLACE)
store = click.option(
    "--store",
    type=_options.PLACE,
    help="Left-align insertions and deletions of both sides by the sequences of this store.",
)
seed = _options.number("--seed", 0, "Where random draws begin.", 0, 2**63 - 1)


def bases(store: Place | None) -> StoreBases | None:
    """What left-aligns, of ``--store``."""
    if store is None:
        return None
    from seal_store.store.store import Store
    from seal_store.variants.bases import StoreBases

    return StoreBases(Store(store))


def finish(study: Study, out: Place | None, overwrite: bool, lines: list[str]) -> None:
    """Write the table, if it is to be written, and say what was found."""
    from seal_store.study.writing import accounts

    written = [f"{out}: {counted(len(study), 'line')}"] if out is not None else []
    if out is not None:
        study.write(out, overwrite=overwrite)
    facts = {"out": None if out is None else str(out), "rows": len(study), **study.facts}
    _options.say(facts, [*written, *accounts(study.facts), *lines])
