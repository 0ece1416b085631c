"""``seal-store export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _options
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.common.progress import Progress
    from seal_store.exporting.render import Exported


@click.command()
@click.argument("results", type=_options.PATH)
@click.argument("out", type=_options.PATH, required=False)
@click.option("--out", "out_option", type=_options.PATH, help="The same as the argument OUT.")
@_options.contexts
@_options.selecting
@click.option(
    "--attributions",
    type=click.IntRange(1),
    metavar="N",
    help="Write the N strongest attributions of each row and target instead of effects (.tsv); "
    "--contexts chooses among the targets.",
)
@click.option("--vcf", type=_options.PATH, help="The VCF to annotate. Default: that of RESULTS.")
@click.option(
    "--store",
    type=_options.PATH,
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
@_options.reporting
def export(results: Path, out: Path | None, out_option: Path | None, **common: Any) -> None:
    """Write RESULTS (a .zarr of `score`) in another format, by the ending of OUT.

    \b
    .tsv, .tsv.gz           Seal's own columns
    .parquet                the same columns (pip install 'seal-store[parquet]')
    .arrow, .feather        the same as Arrow IPC
    .vcf, .vcf.gz, .bcf     the scored VCF with INFO fields `SEAL_...` ('seal-store[htslib]')
    .bw, .bigwig, .bedgraph effects of SNVs on one context along a gene, or, with --feature and
                            a store as RESULTS, a feature's profile ('seal-store[bigwig]')
    """  # noqa: D301 - click's own mark
    from seal_store.exporting.tracks import is_track

    if (out is None) == (out_option is None):
        raise click.UsageError("give one output, as OUT or with --out")
    target = out or out_option
    assert target is not None
    _check(target, common)
    with Meter() as progress:
        write = _track if is_track(target) else _table
        done = write(results, target, common, progress)
    facts: dict[str, Any] = {"out": str(target), "rows": done.rows}
    if done.notes:
        facts["notes"] = done.notes
    lines = [f"{target}: {done.rows} rows", *(f"  {note}" for note in done.notes)]
    _options.say(facts, "\n".join(lines))


def _check(out: Path, common: dict[str, Any]) -> None:
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


def _table(path: Path, out: Path, common: dict[str, Any], progress: Progress) -> Exported:
    from seal_store.errors import InputError
    from seal_store.exporting.render import Exported, Form, export
    from seal_store.exporting.tsv import export_attributions
    from seal_store.results.group import Results
    from seal_store.variants.source import VariantSource

    for name in ("feature", "gene"):
        if common[name]:
            raise InputError(f"--{name} is for tracks", "name the output .bw or .bedgraph")
    top, precision, overwrite = (common[n] for n in ("attributions", "precision", "overwrite"))
    if top is not None and out.suffix != ".tsv":
        raise InputError(f"{out}: attributions are exported as text", "name it .tsv")
    results, selection = Results(path), _options.selection(common)
    if top is not None:
        own = {"targets": selection.contexts, "precision": precision, "overwrite": overwrite}
        return Exported(export_attributions(results, out, top=top, **own))
    form = Form(selection, precision, VariantSource(common["vcf"]) if common["vcf"] else None)
    return export(results, out, form, store=common["store"], overwrite=overwrite, progress=progress)


def _track(path: Path, out: Path, common: dict[str, Any], progress: Progress) -> Exported:
    from seal_store.errors import InputError
    from seal_store.exporting.render import Exported
    from seal_store.exporting.tracks import effect_track, profile_track, track_lengths, write_track
    from seal_store.results.group import Results
    from seal_store.store.store import Store

    selection, genes = _options.selection(common), _options.names(common["gene"])
    own = {"precision": common["precision"], "overwrite": common["overwrite"]}
    if common["feature"] is not None:
        store = Store(path)
        parts = profile_track(store, common["feature"], genes, progress)
        return Exported(write_track(parts, out, track_lengths(store), **own))
    if len(selection.contexts) != 1 or len(genes) > 1:
        raise InputError(
            f"{out}: a track is of one context and one gene",
            "give one --contexts, and --gene if RESULTS have several; or a store and --feature",
        )
    results = Results(path)
    recorded = Path(common["store"] or results.attributes.store.path)
    lengths = None
    if common["store"] or recorded.exists() or not out.name.lower().endswith(".bedgraph"):
        lengths = track_lengths(Store(recorded))
    gene = genes[0] if genes else None
    tracks = effect_track(results, selection.contexts[0], gene, common["per_position"])
    return Exported(write_track(tracks, out, lengths, **own))
