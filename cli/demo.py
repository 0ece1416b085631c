"""``seal-store demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _options, command_line
from ._progress import Meter
from ._text import tell

if TYPE_CHECKING:
    from seal_store.results.group import Results


@click.command()
@click.argument("directory", type=_options.PATH)
@_options.overwrite
@_options.quiet
def demo(directory: Path, overwrite: bool) -> None:
    """Write a small synthetic world to DIRECTORY, build its store and score its variants.

    Its motifs are invented and its network is made to see them, so what each planted variant does
    is known. The last lines say whether the scores are that; if not, the exit code is 1.
    """
    from seal_store.building.build import build
    from seal_store.building.options import BuildOptions
    from seal_store.common.beside import attribute_names, partial_path
    from seal_store.errors import OutputError
    from seal_store.exporting.render import export
    from seal_store.invented.check import findings, one_context_each
    from seal_store.invented.motifs import NOTE
    from seal_store.invented.world import write_planted_world
    from seal_store.results.group import Results
    from seal_store.run.scores import write_scores
    from seal_store.scoring.options import SCHEMES, ScoreOptions
    from seal_store.scoring.scorer import Scorer
    from seal_store.store.attributes import ATTRIBUTE
    from seal_store.variants.source import read_variants

    scores = {"grid": directory / "scores.zarr", "centered": directory / "centered.zarr"}
    table = directory / "scores.tsv"
    if directory.exists() and not overwrite:
        raise OutputError(f"{directory} exists already", "choose another folder or add --overwrite")
    stores = directory / "store.zarr", partial_path(directory / "store.zarr")
    known = set().union(*map(attribute_names, stores))
    if directory.exists() and any(directory.iterdir()) and ATTRIBUTE not in known:
        raise OutputError(f"{directory} is no folder of an earlier demo", "choose another folder")
    world = write_planted_world(directory)
    making: dict[str, Any] = {"overwrite": overwrite, "command": command_line()}
    with Meter() as progress:
        inputs = world.genome, world.genes, world.cnn, (world.heads,), directory / "store.zarr"
        options = BuildOptions(*inputs, features=world.features, **making)
        store = build(options, "cpu", progress=progress)
        why = one_context_each(store)
        for scheme in SCHEMES:
            scorer = Scorer(store, ScoreOptions(scheme, device="cpu"), attribution=why)
            variants = read_variants(world.variants)
            counts = write_scores(scorer, variants, scores[scheme], progress=progress, **making)
    results = [Results(scores[scheme]) for scheme in SCHEMES]
    export(results[0], table, overwrite=overwrite)
    tell(f"written ({NOTE}: no biological meaning):")
    for path in (world.genome, world.genes, world.cnn, world.features, world.heads):
        tell(f"  {path}")
    tell(f"  {world.variants}")
    tell(f"  {world.table}  what {len(world.truth)} planted variants do")
    tell(f"  {store.path}  {len(store)} genes")
    for path in (*scores.values(), table):
        tell(f"  {path}  {counts.rows} rows, {sum(counts.not_scored.values())} alleles not scored")
    tell(f"strongest effects ({NOTE}):")
    for line in summary(results[0], 5):
        tell(f"  {line}")
    tell(f"are they what was planted ({NOTE})?")
    found = findings(world.truth, results)
    for finding in found:
        tell(f"  {'ok   ' if finding.right else 'WRONG'}  {finding.text}")
    tell(f"next: seal-store inspect {store.path}")
    if not all(finding.right for finding in found):
        raise SystemExit(1)


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
