"""``seal-store export``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _options
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.store.place import Place


@click.command()
@click.argument("results", type=_options.PLACE)
@click.argument("out", type=_options.PLACE, required=False)
@click.option("--out", "out_option", type=_options.PLACE, help="The same as the argument OUT.")
@_options.contexts
@_options.selecting
@click.option(
    "--attributions",
    type=click.IntRange(1),
    metavar="N",
    help="Write the N strongest attributions of each row and target instead of effects (.tsv, "
    ".parquet, .arrow, .feather); --contexts chooses among the targets.",
)
@click.option("--vcf", type=_options.PLACE, help="The VCF to annotate. Default: that of RESULTS.")
@click.option(
    "--store",
    type=_options.PLACE,
    help="The store RESULTS were made from. Default: the one they name.",
)
@click.option(
    "--feature",
    help="Tracks: reference values of this feature from the store given as RESULTS.",
)
@_options.gene(
    "Tracks: only this gene, exactly one for effects; with --feature, or those of a file of ids, "
    "repeatable."
)
@_options.choice(
    "--per-position",
    ["strongest", "mean"],
    "Tracks: which effect stands for the SNVs of one base.",
)
@_options.precision
@_options.cache
@_options.work
@_options.reporting
def export(results: Place, out: Place | None, out_option: Place | None, **common: Any) -> None:
    """Write RESULTS (a .zarr of `score`) in another format, by the ending of OUT.

    \b
    .tsv, .tsv.gz           Seal's own columns
    .parquet                the same columns (pip install 'seal-store[parquet]')
    .arrow, .feather        the same as Arrow IPC
    .vcf, .vcf.gz, .bcf     the scored VCF with INFO fields `SEAL_...` ('seal-store[htslib]')
    .bw, .bigwig, .bedgraph effects of SNVs on one context along a gene, or, with --feature and
                            a store as RESULTS, a feature's profile ('seal-store[bigwig]')

    Haplotypes as RESULTS: .parquet, .arrow, .feather; a line for each gene, sample, copy, context.
    """  # noqa: D301 - click's own mark
    from seal_store.exporting.export import ExportOptions, export_to

    if (out is None) == (out_option is None):
        raise click.UsageError("give one output, as OUT or with --out")
    target = out or out_option
    assert target is not None
    _check(target, common)
    chosen = _options.selection(common)
    genes = _options.names(common.pop("gene"))
    for name in ("contexts", "min_effect", "top", "long"):
        common.pop(name)
    with Meter() as progress:
        options = ExportOptions(chosen, gene=genes, **common)
        done = export_to(results, target, options, progress)
    facts: dict[str, Any] = {"out": str(target), "rows": done.rows}
    if done.notes:
        facts["notes"] = done.notes
    lines = [f"{target}: {counted(done.rows, 'row')}", *(f"  {note}" for note in done.notes)]
    _options.say(facts, "\n".join(lines))


def _check(out: Place, common: dict[str, Any]) -> None:
    """Refuse options that do nothing in this output."""
    from seal_store.exporting.tracks import is_track

    name, unused = out.name.lower(), _options.refuse_unused
    if is_track(out):
        unused({"top", "long", "min_effect", "vcf", "attributions"}, f"in {out.name}, a track")
        if common["feature"] is not None:
            unused({"contexts", "store", "per_position"}, "with --feature")
        return
    unused({"per_position"}, f"in {out.name}: it is for tracks")
    if common["attributions"] is not None:
        unused({"min_effect", "top", "long"}, "with --attributions")
    if not name.endswith((".vcf", ".vcf.gz", ".bcf")):
        unused({"vcf", "store"}, f"in {out.name}: it is for an annotated VCF")
    if name.endswith((".parquet", ".arrow", ".feather")):
        unused({"precision"}, f"in {out.name}: it is no text")
