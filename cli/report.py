"""``seal-store report``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _options
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.store.place import Place


@click.command()
@click.argument("results", type=_options.PLACE)
@click.option("--out", type=_options.PLACE, required=True, help="Page to write, ending in .html.")
@_options.number("--top", 5_000, "Show so many rows: those of largest effect.")
@_options.contexts
@_options.cache
@_options.work
@_options.reporting
def report(results: Place, **common: Any) -> None:
    """Write a page about RESULTS: what was scored, what was not, and the strongest variants.

    One file that needs no network, with tables to sort and filter and an effect map of every
    variant. `pip install 'seal-store[plot]'`.
    """
    from seal_store.report import ReportOptions, write_report

    chosen = ReportOptions(common["top"], _options.names(common["contexts"]))
    with Meter() as progress:
        done = write_report(
            results, common["out"], chosen, overwrite=common["overwrite"], progress=progress
        )
    _options.say(
        {"out": str(common["out"]), **asdict(done)},
        f"{common['out']}: {done.shown:,} of {counted(done.rows, 'row')}, {done.size / 1e6:.1f} MB",
    )
