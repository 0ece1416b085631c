"""``seal-store demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _options, command_line
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.results.group import Results


@click.command()
@click.argument("directory", type=_options.PATH)
@_options.overwrite
@_options.quiet
def demo(directory: Path, overwrite: bool) -> None:
    """Write a small synthetic world to DIRECTORY, build its store and score its variants."""
    from seal_store.building.build import build
    from seal_store.building.options import BuildOptions
    from seal_store.errors import OutputError
    from seal_store.exporting.render import export
    from seal_store.results.group import Results
    from seal_store.run.scores import write_scores
    from seal_store.scoring.options import ScoreOptions
    from seal_store.scoring.scorer import Scorer
    from seal_store.synthetic import write_world
    from seal_store.variants.source import read_variants

    scores, table = directory / "scores.zarr", directory / "scores.tsv"
    if directory.exists() and not overwrite:
        raise OutputError(f"{directory} exists already", "choose another folder or add --overwrite")
    world = write_world(directory)
    inputs = world.genome, world.genes, world.cnn, (world.heads,), directory / "store.zarr"
    making: dict[str, Any] = {"overwrite": overwrite, "command": command_line()}
    with Meter() as progress:
        store = build(BuildOptions(*inputs, **making), "cpu", progress=progress)
        scorer = Scorer(store, ScoreOptions(device="cpu"))
        variants = read_variants(world.variants)
        counts = write_scores(scorer, variants, scores, progress=progress, **making)
    export(Results(scores), table, overwrite=overwrite)
    click.echo("written:")
    for path in (world.genome, world.genes, world.cnn, world.heads, world.variants):
        click.echo(f"  {path}")
    click.echo(f"  {store.path}  {len(store)} genes")
    for path in (scores, table):
        click.echo(
            f"  {path}  {counts.rows} rows, {sum(counts.not_scored.values())} alleles not scored"
        )
    click.echo("strongest effects (weights are SYNTHETIC random numbers: no biological meaning):")
    for line in summary(Results(scores), 5):
        click.echo(f"  {line}")
    click.echo(f"next: seal-store inspect {store.path}")


def summary(results: Results, count: int) -> list[str]:
    """The ``count`` rows with the largest effects, each with its strongest context."""
    import numpy as np

    from seal_store.results.view import strongest

    rows, (names, _) = results.rows(), results.contexts()
    best = strongest(rows.effect, 1)[:, 0]
    peak = rows.effect[np.arange(len(rows)), best]
    c = rows.columns
    return [
        f"{c['contig'][i]}:{c['pos'][i]} {c['ref'][i]}>{c['alt'][i]}  {c['gene_id'][i]}  "
        f"{c['dist_to_tss'][i]:+d} bp  {peak[i]:+.4g}  {names[best[i]]}"
        for i in np.argsort(-np.abs(peak))[:count]
    ]
